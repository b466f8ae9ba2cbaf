"""Average silhouette widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn import config_context
from sklearn.metrics import silhouette_samples

from spotscape._core.arguments import public
from spotscape._core.randomness import RandomSource, Seed
from spotscape.metrics._arrays import encode_points, require_shared_labels, require_two_labels, require_two_slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

# Megabytes of distances that scikit-learn holds at a time.
_WORKING_MEMORY = 32


def rows_by(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of each code in turn."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def silhouette_widths(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Silhouette width of each point among clusters ``codes``, by Euclidean distance; shape ``(n_points,)``.

    Points that are a cluster of their own have width 0.
    """
    # Far from the origin distances would lose digits.
    with config_context(working_memory=_WORKING_MEMORY):
        return np.asarray(silhouette_samples(points - points.mean(axis=0), codes))


def sampled_widths(
    codes: np.ndarray, points: np.ndarray, max_spots: int | None, random_state: Seed
) -> tuple[np.ndarray, np.ndarray]:
    """Silhouette widths of a sample stratified by domain, and weights by which each spot counts the same."""
    if max_spots is None or len(codes) <= max_spots:
        return silhouette_widths(points, codes), np.ones(len(codes))
    generator = RandomSource(random_state).numpy("silhouette")
    share = max_spots / len(codes)
    strata = list(rows_by(codes))
    # A domain seen through a handful of spots would have a noisy distance, and often be the nearest by chance.
    fewest = max(2, max_spots // (2 * len(strata)))
    sizes = [min(len(rows), max(fewest, round(share * len(rows)))) for rows in strata]
    drawn = [generator.choice(rows, size, replace=False) for rows, size in zip(strata, sizes, strict=True)]
    sample = np.concatenate(drawn)
    weights = np.repeat([len(rows) / size for rows, size in zip(strata, sizes, strict=True)], sizes)
    return silhouette_widths(points[sample], codes[sample]), weights


def mean_width(codes: np.ndarray, points: np.ndarray, max_spots: int | None, random_state: Seed) -> float:
    """Mean silhouette width over all spots, or its estimate from a sample."""
    widths, weights = sampled_widths(codes, points, max_spots, random_state)
    return float(np.average(widths, weights=weights))


@public
def label_asw(
    labels: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = None, random_state: Seed = 0
) -> float:
    """Compute the label ASW: the silhouette width of known domains in the embedding, scaled to [0, 1].

    The score is ``(s + 1) / 2``, where ``s`` is the mean width that :func:`silhouette` returns. By default it uses all
    spots.

    Parameters
    ----------
    labels
        Known domain of each spot; unlabelled (NaN or None) spots are left out.
    embedding
        Position of each spot, shape ``(n_spots, n_dims)``.
    max_spots
        Above this number of spots, a seeded sample of about this size is taken as in :func:`silhouette`. Default: all
        spots, without sampling. Memory then grows linearly with their number, and time with its square.
    random_state
        Seed of the sample.

    Returns
    -------
    Between 0 and 1; the higher, the better separated the domains, 0.5 where they are not.

    Raises
    ------
    TypeError
        If ``max_spots`` is not an integer.
    ValueError
        If the lengths differ, no spot is labelled, all have one label or each its own, ``max_spots`` is below 2, or the
        embedding holds NaN.

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
    labels: ArrayLike,
    library: ArrayLike,
    embedding: ArrayLike,
    *,
    max_spots: int | None = None,
    random_state: Seed = 0,
) -> float:
    """Compute the batch ASW: the silhouette width of slices within known domains; 1 is the best mixing.

    The value of a domain is the mean of ``1 - |s|`` over its spots, where ``s`` is the silhouette width among slices.
    The score is the mean over the domains, each with the same weight. Domains that are in one slice only, or have no
    two spots of one slice, are left out.

    Parameters
    ----------
    labels
        Known domain of each spot; unlabelled (NaN or None) spots are left out.
    library
        Slice of each spot.
    embedding
        Position of each spot, shape ``(n_spots, n_dims)``.
    max_spots
        Above this number of spots of a domain, a seeded sample of about this size is taken as in :func:`silhouette`.
        Default: all spots, without sampling. Memory then grows linearly with the size of the domains, and time with its
        square.
    random_state
        Seed of the sample.

    Returns
    -------
    Between 0 and 1; near 1 where the slices of each domain coincide.

    Raises
    ------
    TypeError
        If ``max_spots`` is not an integer.
    ValueError
        If the lengths differ, no spot is labelled, there is one slice only or no domain with several spots in two,
        ``max_spots`` is below 2, or the embedding holds NaN.

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
        raise ValueError(msg)
    return float(np.mean(scores))
