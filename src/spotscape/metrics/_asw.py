"""Average silhouette widths by which integrations are compared: of domains, and of slices within domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.arguments import public
from spotscape._core.validation import require_positive_int
from spotscape.metrics._arrays import encode_points, require_shared_labels, require_two_labels, require_two_slices
from spotscape.metrics._silhouettes import mean_width, rows_by, sampled_widths

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from spotscape._core.randomness import Seed


@public
def label_asw(
    labels: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = None, random_state: Seed = 0
) -> float:
    """Average silhouette width of known domains in the embedding, scaled to [0, 1].

    ``(s + 1) / 2`` of the mean width ``s`` that :func:`silhouette` returns; here of all spots by default.

    Parameters
    ----------
    labels
        Known domain of each spot; unlabelled (NaN or None) spots are left out.
    embedding
        Position of each spot, shape ``(n_spots, n_dims)``.
    max_spots
        Above this number of spots, a seeded sample of about this size is taken as in :func:`silhouette`. Default: all
        spots, exactly, in memory that grows linearly and time that grows with the square of their number.
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
    _require_max_spots(max_spots)
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
    """Average silhouette width of slices within each known domain, turned so that 1 is the best mixing.

    Within a domain, the mean of ``1 - |s|`` over the widths ``s`` of its spots among slices; then the mean over the
    domains, whatever their sizes. Domains that are in one slice only, or have no two spots of one slice, are left out.

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
        Default: all spots, exactly, in memory that grows linearly and time that grows with the square of the size of
        the domains.
    random_state
        Seed of the sample.

    Returns
    -------
    Between 0 and 1; near 1 where the slices of each domain lie over each other.

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
    _require_max_spots(max_spots)
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


def _require_max_spots(max_spots: int | None) -> None:
    if max_spots is not None:
        require_positive_int(max_spots, "max_spots", minimum=2)
