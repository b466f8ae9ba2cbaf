"""Many slices: who is registered to whom, and the motions that bring all into one frame."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from spotscape._core.geometry import lattice, spacing_by_slice, spot_spacing
from spotscape.nn.registration._align import Alignment, align
from spotscape.nn.registration._rigid import move

if TYPE_CHECKING:
    from collections.abc import Sequence

# Ratios of spot spacings, on a lattice and elsewhere, from which on another unit is believed.
_OTHER_UNIT = (1.08, 1.4)


@dataclass(frozen=True)
class Registration:
    """All slices in one frame.

    Attributes
    ----------
    transforms
        From each slice to the frame of the reference, shape ``(n_slices, 3, 3)``.
    partners
        The slice that each was registered to, shape ``(n_slices,)``; the reference its own.
    alignments
        What was found for each pair; ``None`` for the reference.
    """

    transforms: np.ndarray
    partners: np.ndarray
    alignments: tuple[Alignment | None, ...]


def register(
    slices: Sequence[np.ndarray],
    *,
    features: Sequence[np.ndarray] | None = None,
    reference: int = 0,
    policy: str = "sequential",
    allow_flip: bool = False,
    scale: bool = False,
    n_threads: int = 1,
) -> Registration:
    """Bring slices into the frame of one of them.

    Parameters
    ----------
    slices
        Coordinates of every slice in the order of the tissue, each ``(n_spots, 2)``.
    features
        Of the spots of every slice, comparable between slices; see :func:`guiding_features`.
    reference
        The slice that stays in place.
    policy
        ``"sequential"`` registers every slice to its neighbour on the side of the reference, ``"star"`` to the
        reference itself.
    allow_flip, scale
        Whether slices may lie mirrored, and may have another size.
    n_threads
        Pairs that are worked on at the same time.

    Returns
    -------
    The motions, and what is known about each.
    """
    partners = partners_of(len(slices), reference, policy)

    def one(index: int) -> Alignment | None:
        if index == reference:
            return None
        pair = None if features is None else (features[index], features[partners[index]])
        return align(slices[index], slices[partners[index]], features=pair, allow_flip=allow_flip, scale=scale)

    with ThreadPoolExecutor(n_threads) as pool:
        alignments = tuple(pool.map(one, range(len(slices))))
    transforms = np.tile(np.eye(3), (len(slices), 1, 1))
    # From the reference outwards, so that a slice's partner is in its final place before the slice is.
    for index in sorted(range(len(slices)), key=lambda i: abs(i - reference)):
        found = alignments[index]
        if found is not None:
            transforms[index] = transforms[partners[index]] @ found.matrix
    return Registration(transforms, partners, alignments)


def partners_of(n_slices: int, reference: int, policy: str) -> np.ndarray:
    """The slice that each is registered to.

    >>> partners_of(4, 1, "sequential").tolist()
    [1, 1, 1, 2]
    >>> partners_of(4, 1, "star").tolist()
    [1, 1, 1, 1]
    """
    indices = np.arange(n_slices)
    return np.full(n_slices, reference) if policy == "star" else indices - np.sign(indices - reference)


def nearest_rmse(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square distance of a spot to the nearest of the other slice, over all spots of both.

    >>> nearest_rmse(np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([[0.0, 3.0], [4.0, 3.0]]))
    3.0
    """
    distances = np.concatenate([cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]])
    return float(np.sqrt((distances**2).mean()))


def n_mutual_pairs(one: np.ndarray, other: np.ndarray) -> int:
    """Number of pairs of spots that are each other's nearest and at most one spacing apart."""
    reach = max(spot_spacing(one), spot_spacing(other))
    distance, forth = cKDTree(other).query(one)
    back = cKDTree(one).query(other)[1]
    return int(np.count_nonzero((back[forth] == np.arange(len(one))) & (distance <= reach)))


def measures(slices: Sequence[np.ndarray], found: Registration) -> dict[str, np.ndarray]:
    """What is known about the fit of every slice to its partner, before and after."""
    moved = [move(matrix, points) for matrix, points in zip(found.transforms, slices, strict=True)]
    pairs = [(i, int(partner)) for i, partner in enumerate(found.partners)]
    known = found.alignments
    return {
        "rmse": np.array([nearest_rmse(moved[i], moved[j]) for i, j in pairs]),
        "rmse_before": np.array([nearest_rmse(slices[i], slices[j]) for i, j in pairs]),
        "overlap": np.array([1.0 if k is None else k.score.overlap for k in known]),
        "outline_agreement": np.array([1.0 if k is None else k.score.outline for k in known]),
        "feature_agreement": np.array([np.nan if k is None else k.score.features for k in known]),
        "n_pairs": np.array([n_mutual_pairs(moved[i], moved[j]) for i, j in pairs]),
        "ambiguous": np.array([k is not None and k.ambiguous for k in known]),
        "poor": np.array([k is not None and k.poor for k in known]),
    }


def unit_ratios(slices: Sequence[np.ndarray]) -> np.ndarray:
    """How much larger each slice's unit seems to be than the first's: by spacing and extent alike, else 1.

    A finer technology changes the spacing alone, a smaller piece of tissue the extent alone; another unit changes both
    by the same factor. On one kind of lattice the spacing is exact; among cells it depends on their density.
    """
    spacing = spacing_by_slice(slices)
    kinds = np.array([lattice(points).kind for points in slices])
    extent = np.array([np.sqrt(points.var(axis=0).sum()) for points in slices])
    by_spacing, by_extent = spacing / spacing[0], extent / extent[0]
    alike = np.abs(np.log(by_spacing / by_extent)) < 0.5 * np.abs(np.log(by_spacing))
    exact = (kinds == kinds[0]) & (kinds != "irregular")
    clear = np.abs(np.log(by_spacing)) > np.log(np.where(exact, *_OTHER_UNIT))
    return np.asarray(np.where(alike & clear, by_spacing, 1.0))
