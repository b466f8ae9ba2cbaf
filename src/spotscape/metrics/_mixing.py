"""How slices mix in an embedding, and whether domains stay whole and apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import chdtrc, rel_entr

from spotscape._core.arguments import public
from spotscape._core.graphs import nearest_others
from spotscape.metrics._arrays import (
    UndefinedScoreError,
    encode_library,
    encode_points,
    require_shared_labels,
    require_two_labels,
    require_two_slices,
    rows_by,
)
from spotscape.metrics._spatial import mean_width, sampled_widths

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from spotscape._core.randomness import Seed

# Neighbours whose slices are compared with the whole, and neighbours to which a spot is joined.
N_TESTED = 50
N_JOINED = 15


@public
def kbet(library: ArrayLike, embedding: ArrayLike, *, n_neighs: int = N_TESTED, alpha: float = 0.05) -> float:
    """Compute the acceptance rate of kBET: the share of spots around which slices are as frequent as overall.

    For every spot the slices of its nearest spots are compared with those of all spots by Pearson's χ² test.

    Parameters
    ----------
    n_neighs
        Number of nearest spots that are tested, without the spot itself. If there are fewer other spots, all are
        tested. More spots make the test stricter. Default: 50.
    alpha
        Level of the test: if slices are assigned at random, the test accepts about ``1 - alpha`` of the spots.

    Returns
    -------
    Between 0 (slices apart) and 1. The test is strict: it rejects slices that contain different tissue, even if they
    are mixed correctly. :func:`js_divergence` measures the same comparison in degrees.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5))
    >>> sp.metrics.kbet(["s1", "s2"] * 100, embedding) > 0.9
    True

    References
    ----------
    Büttner et al., *A test metric for assessing single-cell RNA-seq batch correction*, Nature Methods 2019.
    """
    slices, points = encode_library(library, embedding)
    require_two_slices(slices, "kbet")
    return kbet_of(slices, _neighbours(points, n_neighs), alpha)


@public
def js_divergence(library: ArrayLike, embedding: ArrayLike, *, n_neighs: int = N_TESTED) -> float:
    """Compute the mean Jensen–Shannon divergence between the slices around a spot and those of all spots, in bits.

    Parameters
    ----------
    n_neighs
        Number of nearest spots that are examined, without the spot itself. If there are fewer other spots, all are
        examined. Few spots have a noisy composition, which gives a divergence of about ``0.18 * (n_slices - 1) /
        n_neighs`` under perfect mixing. Default: 50.

    Returns
    -------
    Below 1, and 0 if every neighbourhood has the composition of the whole. Lower values mean better mixing. Two slices
    of equal size that lie apart have 0.311.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.js_divergence(["a", "a", "b", "b"], [[0.0], [1.0], [8.0], [9.0]], n_neighs=1), 3)
    0.311

    References
    ----------
    Lin, *Divergence measures based on the Shannon entropy*, IEEE Transactions on Information Theory 1991.
    """
    slices, points = encode_library(library, embedding)
    require_two_slices(slices, "js_divergence")
    return js_divergence_of(slices, _neighbours(points, n_neighs))


@public
def graph_connectivity(labels: ArrayLike, embedding: ArrayLike, *, n_neighs: int = N_JOINED) -> float:
    """Compute the graph connectivity: the share of a domain's spots that are connected in the embedding.

    Parameters
    ----------
    n_neighs
        Number of nearest spots to which each spot is joined, without the spot itself. An edge counts in both
        directions. Default: 15.

    Returns
    -------
    Above 0 and at most 1, where every domain is connected. It is low if slices are not mixed, because each domain then
    has several parts. It is not lower if domains overlap.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.graph_connectivity(["a", "a", "a", "b", "b"], [[0.0], [1.0], [7.0], [8.0], [9.5]], n_neighs=1)
    0.8333333333333333

    References
    ----------
    Luecken et al., *Benchmarking atlas-level data integration in single-cell genomics*, Nature Methods 2022.
    """
    codes, points, _ = encode_points(labels, embedding, "embedding")
    if len(codes) < 2:
        msg = "graph_connectivity looks at neighbours, but there is one labelled spot only."
        raise ValueError(msg)
    return graph_connectivity_of(codes, _neighbours(points, n_neighs))


@public
def label_asw(
    labels: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = None, random_state: Seed = 0
) -> float:
    """Compute the label ASW: the silhouette width of known domains in the embedding, scaled to [0, 1].

    The score is ``(s + 1) / 2``, where ``s`` is the mean width that :func:`silhouette` returns. By default it uses all
    spots.

    Parameters
    ----------
    max_spots
        Above this number of spots, a seeded sample of about this size is taken as in :func:`silhouette`. Default: all
        spots, without sampling. Memory then grows linearly with their number, and time with its square.

    Returns
    -------
    Between 0 and 1. Higher values mean better separated domains; 0.5 means that they are not separated.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.label_asw(["a", "a", "b", "b"], [[0.0], [1.0], [9.0], [10.0]]), 3)
    0.944

    References
    ----------
    Luecken et al., *Benchmarking atlas-level data integration in single-cell genomics*, Nature Methods 2022.
    """
    codes, points, _ = encode_points(labels, embedding, "embedding")
    require_two_labels(codes, "label_asw")
    require_shared_labels(codes, "label_asw")
    return (mean_width(codes, points, max_spots, random_state) + 1) / 2


@public
def batch_asw(
    labels: ArrayLike, library: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = None, random_state: Seed = 0
) -> float:
    """Compute the batch ASW: the silhouette width of slices within known domains; 1 is the best mixing.

    The value of a domain is the mean of ``1 - |s|`` over its spots, where ``s`` is the silhouette width among slices.
    The score is the mean over the domains, each with the same weight. Domains that are in one slice only, or have no
    two spots of one slice, are left out.

    Parameters
    ----------
    max_spots
        Above this number of spots of a domain, a seeded sample of about this size is taken as in :func:`silhouette`.
        Default: all spots, without sampling. Memory then grows linearly with the size of the domains, and time with its
        square.

    Returns
    -------
    Between 0 and 1; near 1 where the slices of each domain coincide.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5))
    >>> sp.metrics.batch_asw([0, 0, 1, 1] * 50, ["s1", "s2"] * 100, embedding) > 0.9
    True

    References
    ----------
    Luecken et al., *Benchmarking atlas-level data integration in single-cell genomics*, Nature Methods 2022.
    """
    codes, points, slices = encode_points(labels, embedding, "embedding", library)
    require_two_slices(slices, "batch_asw")
    return batch_asw_of(codes, slices, points, max_spots, random_state)


def kbet_of(slices: np.ndarray, indices: np.ndarray, alpha: float = 0.05) -> float:
    """Acceptance rate of kBET in given neighbourhoods ``(n_spots, n_neighs)``."""
    observed, shares = _compositions(slices, indices)
    expected = shares * indices.shape[1]
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float(np.mean(chdtrc(len(shares) - 1, statistic) >= alpha))


def js_divergence_of(slices: np.ndarray, indices: np.ndarray) -> float:
    """Mean Jensen–Shannon divergence in given neighbourhoods ``(n_spots, n_neighs)``."""
    observed, shares = _compositions(slices, indices)
    found = observed / indices.shape[1]
    middle = (found + shares) / 2
    nats = (rel_entr(found, middle) + rel_entr(shares, middle)).sum(axis=1) / 2
    return float(nats.mean() / np.log(2))


def graph_connectivity_of(codes: np.ndarray, indices: np.ndarray) -> float:
    """Mean share of the largest component of each domain in given neighbourhoods ``(n_spots, n_neighs)``."""
    starts, ends = np.repeat(np.arange(len(indices)), indices.shape[1]), indices.ravel()
    inside = codes[starts] == codes[ends]
    edges = (np.ones(inside.sum(), dtype=bool), (starts[inside], ends[inside]))
    _, component = connected_components(sparse.csr_matrix(edges, shape=(len(codes),) * 2), directed=False)
    return float(np.mean([np.bincount(component[rows]).max() / len(rows) for rows in rows_by(codes)]))


def batch_asw_of(
    codes: np.ndarray, slices: np.ndarray, points: np.ndarray, max_spots: int | None, random_state: Seed
) -> float:
    """Mean over domains of how little slices stand apart within each."""
    scores = []
    for rows in rows_by(codes):
        if 1 < len(np.unique(slices[rows])) < len(rows):
            widths, weights = sampled_widths(slices[rows], points[rows], max_spots, random_state)
            scores.append(1 - np.average(np.abs(widths), weights=weights))
    if not scores:
        msg = "batch_asw needs a domain in two slices, with at least two spots in one of them; there is none."
        raise UndefinedScoreError(msg)
    return float(np.mean(scores))


def _neighbours(points: np.ndarray, n_neighs: int) -> np.ndarray:
    return nearest_others(points, min(n_neighs, len(points) - 1))[1]


def _compositions(slices: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each slice is among the neighbours ``(n_spots, n_slices)``, and its share of all spots."""
    _, slices = np.unique(slices, return_inverse=True)
    totals = np.bincount(slices)
    cells = np.arange(len(slices))[:, None] * len(totals) + slices[indices]
    counts = np.bincount(cells.ravel(), minlength=len(slices) * len(totals))
    return counts.reshape(len(slices), len(totals)), totals / len(slices)
