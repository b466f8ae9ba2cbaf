"""Local inverse Simpson index: how many slices, or domains, a spot's neighbourhood in the embedding holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.arguments import public
from spotscape._core.graphs import nearest_others
from spotscape.metrics._arrays import encode, encode_library, encode_points, require_two_labels, require_two_slices

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PERPLEXITY = 30.0
# As published: to this difference in log perplexity, in at most that many steps.
_TOLERANCE = 1e-5
_MAX_STEPS = 50
_BLOCK = 20_000


@public
def lisi(labels: ArrayLike, embedding: ArrayLike, *, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Compute LISI, the local inverse Simpson index: the effective number of labels among a spot's neighbours.

    The ``3 * perplexity - 1`` nearest spots get weights that fall exponentially with their distance, at a rate that
    gives this perplexity. The index is one over the probability that two neighbours drawn by these weights have the
    same label.

    Parameters
    ----------
    labels
        Slice (for integration) or domain of each spot; unlabelled (NaN or None) spots are left out, also as neighbours.
    embedding
        Position of each spot, shape ``(n_spots, n_dims)``. The search for neighbours is exact. Up to 15 dimensions it
        takes near-linear time. Above, it compares all pairs and needs linear memory.
    perplexity
        Effective number of neighbours. Default: 30, as published; a third of the spots where there are fewer than 90.

    Returns
    -------
    Float64 array ``(n_spots,)``: 1 where all neighbours have one label, up to the number of labels where all are
    equally frequent; NaN for unlabelled spots.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5))
    >>> round(float(np.median(sp.metrics.lisi(["s1", "s2"] * 100, embedding))), 1)
    1.9

    References
    ----------
    Korsunsky et al., *Fast, sensitive and accurate integration of single-cell data with Harmony*, Nature Methods 2019.
    """
    codes, points, _ = encode_points(labels, embedding, "embedding")
    labelled = encode(labels) >= 0
    found = np.full(len(labelled), np.nan)
    found[labelled] = lisi_of(codes, *lisi_neighbours(points, perplexity), perplexity)
    return found


@public
def ilisi(library: ArrayLike, embedding: ArrayLike, *, perplexity: float = PERPLEXITY) -> float:
    """Compute iLISI (integration LISI): how well slices mix in the embedding, scaled to [0, 1].

    This is the median of :func:`lisi` over all spots, minus 1, divided by the number of slices minus 1.

    Returns
    -------
    Between 0 (slices apart) and 1 (all slices equally frequent around the median spot). Slices of different size cannot
    reach 1, and neither should a domain that one slice lacks. Use it together with :func:`clisi`.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5))
    >>> sp.metrics.ilisi(["s1", "s2"] * 100, embedding) > 0.9
    True

    References
    ----------
    Korsunsky et al., Nature Methods 2019; scaled as in Luecken et al., *Benchmarking atlas-level data integration in
    single-cell genomics*, Nature Methods 2022.
    """
    slices, points = encode_library(library, embedding)
    require_two_slices(slices, "ilisi")
    return ilisi_of(slices, *lisi_neighbours(points, perplexity), perplexity)


@public
def clisi(labels: ArrayLike, embedding: ArrayLike, *, perplexity: float = PERPLEXITY) -> float:
    """Compute cLISI (label LISI): how separate known domains are in the embedding, scaled to [0, 1].

    Subtract the median of :func:`lisi` over the labelled spots from the number of domains, and divide by the number of
    domains minus 1.

    Returns
    -------
    Between 0 (domains mixed) and 1 (only spots of its own domain around the median spot).

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> domain = np.repeat([0, 1], 100)
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5)) + 9 * domain[:, None]
    >>> sp.metrics.clisi(domain, embedding) > 0.99
    True

    References
    ----------
    Korsunsky et al., Nature Methods 2019; scaled as in Luecken et al., Nature Methods 2022.
    """
    codes, points, _ = encode_points(labels, embedding, "embedding")
    require_two_labels(codes, "clisi")
    return clisi_of(codes, *lisi_neighbours(points, perplexity), perplexity)


@public
def f1_lisi(labels: ArrayLike, library: ArrayLike, embedding: ArrayLike, *, perplexity: float = PERPLEXITY) -> float:
    """Compute F1-LISI: the harmonic mean of mixing of slices (iLISI) and separation of domains (cLISI).

    The score is ``2 * ilisi * clisi / (ilisi + clisi)``, both over the labelled spots. In the publication, the two are
    scaled by the lowest and highest values in a comparison of methods. Here they are scaled by their bounds, so that a
    value does not depend on the other methods.

    Returns
    -------
    Between 0 (slices apart or domains mixed) and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> domain = np.repeat([0, 1], 100)
    >>> embedding = np.random.default_rng(0).normal(size=(200, 5)) + 9 * domain[:, None]
    >>> sp.metrics.f1_lisi(domain, ["s1", "s2"] * 100, embedding) > 0.9
    True

    References
    ----------
    Tran et al., *A benchmark of batch-effect correction methods for single-cell RNA sequencing data*, Genome Biology
    2020.
    """
    codes, points, slices = encode_points(labels, embedding, "embedding", library)
    require_two_labels(codes, "f1_lisi")
    require_two_slices(slices, "f1_lisi")
    neighbours = lisi_neighbours(points, perplexity)
    return harmonic(ilisi_of(slices, *neighbours, perplexity), clisi_of(codes, *neighbours, perplexity))


def lisi_neighbours(points: np.ndarray, perplexity: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of the nearest spots that :func:`lisi` looks at."""
    if len(points) < 2:
        msg = "lisi looks at neighbours, but there is one labelled spot only."
        raise ValueError(msg)
    # As in the published code, whose count of 3 * perplexity includes the spot itself.
    return nearest_others(points, max(1, min(round(3 * perplexity), len(points)) - 1))


def lisi_of(codes: np.ndarray, distances: np.ndarray, indices: np.ndarray, perplexity: float) -> np.ndarray:
    """Inverse Simpson index of ``codes`` in given neighbourhoods ``(n_spots, n_neighs)``; shape ``(n_spots,)``."""
    _, codes = np.unique(codes, return_inverse=True)
    n_codes = codes.max() + 1
    effective = min(perplexity, max(1.0, len(codes) / 3))
    found = np.empty(len(codes))
    for first in range(0, len(codes), _BLOCK):
        block = slice(first, first + _BLOCK)
        weights = perplexity_weights(distances[block], effective)
        cells = np.arange(len(weights))[:, None] * n_codes + codes[indices[block]]
        shares = np.bincount(cells.ravel(), weights.ravel(), minlength=len(weights) * n_codes)
        found[block] = 1 / (shares.reshape(len(weights), n_codes) ** 2).sum(axis=1)
    return found


def ilisi_of(slices: np.ndarray, distances: np.ndarray, indices: np.ndarray, perplexity: float) -> float:
    """Scaled integration LISI in given neighbourhoods."""
    n_slices = len(np.unique(slices))
    return float((np.median(lisi_of(slices, distances, indices, perplexity)) - 1) / (n_slices - 1))


def clisi_of(codes: np.ndarray, distances: np.ndarray, indices: np.ndarray, perplexity: float) -> float:
    """Scaled label LISI in given neighbourhoods."""
    n_labels = len(np.unique(codes))
    return float((n_labels - np.median(lisi_of(codes, distances, indices, perplexity))) / (n_labels - 1))


def harmonic(first: float, second: float) -> float:
    """Harmonic mean of two numbers that are not negative; 0 if both are."""
    total = first + second
    return 2 * first * second / total if total > 0 else 0.0


def perplexity_weights(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Weights ``exp(-β d)``, normalised by row, with β by bisection such that their entropy is ``log(perplexity)``."""
    # Neither a shift nor the unit changes the solution; without them exp underflows and the search starts far away.
    scaled: np.ndarray = distances - distances.min(axis=1, keepdims=True)
    mean = scaled.mean(axis=1, keepdims=True)
    scaled /= np.where(mean > 0, mean, 1)
    weights: np.ndarray = np.empty_like(scaled)
    beta, low, high = np.ones(len(scaled)), np.zeros(len(scaled)), np.full(len(scaled), np.inf)
    todo = np.arange(len(scaled))
    for _ in range(_MAX_STEPS):
        found = np.exp(-beta[todo, None] * scaled[todo])
        total = found.sum(axis=1, keepdims=True)
        weights[todo] = found = found / total
        entropy = np.log(total[:, 0]) + beta[todo] * np.einsum("ij,ij->i", scaled[todo], found)
        excess = entropy - np.log(perplexity)
        wide = excess > 0
        low[todo[wide]], high[todo[~wide]] = beta[todo[wide]], beta[todo[~wide]]
        todo = todo[np.abs(excess) >= _TOLERANCE]
        if not len(todo):
            break
        beta[todo] = np.where(np.isinf(high[todo]), 2 * beta[todo], (low[todo] + high[todo]) / 2)
    return weights
