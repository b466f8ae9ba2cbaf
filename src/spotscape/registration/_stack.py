"""Registration of two slices, and of a stack of slices one after another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from spotscape._core.geometry import lattice, spacing_by_slice, spot_spacing
from spotscape.registration._search import PoseScorer, PoseSearch, Refiner, Score, distinct
from spotscape.registration._section import Section, displacement, grid_points, motion, move
from spotscape.registration._smooth import Deformation, fit_deformation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_ANGLES = np.arange(0.0, 360.0, 5.0)
_CANDIDATES, _FINALISTS = 20, 8
# Poses nearer to each other than this share of the tissue's size, or these spacings, are the same.
_SAME_SHARE, _SAME_SPACINGS = 0.06, 2.0
# A pose explains the slices "about as well" if its score is within this share of the best.
_AMBIGUOUS = 0.06
# What outlines without features must reach, so that a pose is not flagged.
_SURE_OUTLINE, _CLOSE_OUTLINES, _STRAIGHT = 0.6, 0.75, 0.34
_POOR_OUTLINE, _POOR_FEATURES = 0.15, 0.4
# Agreement on less of the tissue proves no fit: the search starts from poses that share twice as much.
_LEAST_SHARED = 0.2
# A mirror image fits better from this multiple of the score on, before it is refined, if features agree by this. On
# sections it has .5 to .8 times the score, and where one lies mirrored mostly 1.3 times and more.
_MIRRORED, _MIRRORED_FEATURES = 1.1, 0.2
_FIRST_WIDTH, _LAST_WIDTH, _N_WIDTHS = (0.06, 4.0), 1.3, 5


@dataclass(frozen=True)
class Alignment:
    """How a query is moved onto its reference."""

    matrix: np.ndarray  # Homogeneous ``(3, 3)``, in the unit of the coordinates
    score: Score  # Of the pose
    runner_up: Score | None  # The score of the best pose that moves the query elsewhere; ``None`` if there is none
    # Whether the pose may be wrong although it scores best: features alone prefer another one; or there are none, and
    # the outlines agree in part only, agree nearly as well elsewhere, or were cut straight, which looks the same on
    # either side of the cut.
    contested: bool = False
    # What follows the motion, in the frame and unit of the reference; ``None`` where nothing is bent.
    deformation: Deformation | None = None
    deformed_features: float = float("nan")  # Correlation of the features after it
    mirrored: bool = False  # Whether the mirror image of the query fits much better, but was not allowed

    @property
    def ambiguous(self) -> bool:
        """Whether another pose explains the slices about as well, or could."""
        close = self.runner_up is not None and self.runner_up.total > (1 - _AMBIGUOUS) * self.score.total
        return close or self.contested

    @property
    def poor(self) -> bool:
        """Whether neither outlines nor, on a fair part of the tissue, features agree."""
        by_features = self.score.features > _POOR_FEATURES and self.score.overlap > _LEAST_SHARED
        return self.score.outline < _POOR_OUTLINE and not by_features


def align(
    query: np.ndarray,
    reference: np.ndarray,
    *,
    features: tuple[np.ndarray, np.ndarray] | None = None,
    allow_flip: bool = False,
    scale: bool = False,
    deform: bool = False,
) -> Alignment:
    """Find the rotation and shift of a slice onto another one, its deformation, and how certain they are.

    ``query`` and ``reference`` are coordinates ``(n, 2)``, ``features`` those of their spots, see
    :func:`guiding_features`. If bending does not improve the agreement of features, the query is not bent.
    """
    here, there = (None, None) if features is None else features
    found = []
    for size in _sizes(query, reference) if scale else [1.0]:
        unit = max(size * spot_spacing(query), spot_spacing(reference))
        # Centred and in spot spacings, so that neither the place nor the unit of the coordinates matters.
        normal = motion(0.0, -size * query.mean(axis=0) / unit, scale=size / unit)
        home = motion(0.0, reference.mean(axis=0), scale=unit)
        moving = Section.of(size * (query - query.mean(axis=0)) / unit, here)
        fixed = Section.of((reference - reference.mean(axis=0)) / unit, there)
        # In the spacing of both, no tissue lies between the few spots of one of them.
        if not len(moving.contour) or not len(fixed.contour):
            sizes = f"{len(query)} and {len(reference)} spots"
            msg = f"slices of {sizes} cannot be registered: the smaller has too few to show an outline. Leave it out."
            raise ValueError(msg)
        search = PoseSearch(moving, fixed)
        starts = [pose for mirror in (False, True)[: 1 + allow_flip] for pose in search.poses(_ANGLES, mirror=mirror)]
        poses = _ranked(moving, fixed, starts, scale=scale)
        if not poses:
            msg = "no position makes the outlines of two slices overlap; look at their coordinates."
            raise ValueError(msg)
        (score, matrix), *others = poses
        apart = max(_SAME_SPACINGS, _SAME_SHARE * max(moving.diameter, fixed.diameter))
        far = [one for one, other in others if displacement(other, matrix, moving.contour) > apart]
        contested = _is_contested(score, far, (moving, fixed))
        mirrored = features is not None and not allow_flip and _fits_mirrored(search, score)
        rival = far[0] if far else None
        found.append(Alignment(home @ matrix @ normal, score, rival, contested, mirrored=mirrored))
        if not deform or features is None:
            continue
        moved = move(matrix, moving.points)
        bent = fit_deformation(Section.of(moved, here), fixed)
        agreement = -1.0 if bent is None else PoseScorer(moving, fixed).features(bent.move(moved))
        if bent is not None and agreement > score.features:
            bent = bent.scaled(unit, reference.mean(axis=0))
            found[-1] = replace(found[-1], deformation=bent, deformed_features=agreement)
    return max(found, key=lambda alignment: alignment.score.total)


def _is_contested(score: Score, far: list[Score], sections: tuple[Section, Section]) -> bool:
    if not np.isnan(score.features):
        return any(rival.features > score.features for rival in far)
    close = any(rival.total > _CLOSE_OUTLINES * score.total for rival in far)
    straight = any(piece.longest_straight_edge > _STRAIGHT * piece.diameter for piece in sections)
    return close or straight or score.outline < _SURE_OUTLINE


def _fits_mirrored(search: PoseSearch, found: Score) -> bool:
    """Whether a mirrored pose scores much higher than the one that was found."""
    moving, fixed = search.query, search.reference
    poses = search.poses(_ANGLES[::2], mirror=True)
    starts = distinct(poses, moving.contour, max(moving.diameter, fixed.diameter), most=_FINALISTS)
    judge = PoseScorer(moving, fixed)
    rivals = [rival for _, matrix in starts if (rival := judge.score(matrix)).features > _MIRRORED_FEATURES]
    return any(rival.total > _MIRRORED * found.total for rival in rivals)


def _ranked(
    moving: Section, fixed: Section, poses: list[tuple[float, np.ndarray]], *, scale: bool
) -> list[tuple[Score, np.ndarray]]:
    """Poses refined from the best of those that were found, the best first."""
    size = max(moving.diameter, fixed.diameter)
    refiner, judge = Refiner(moving, fixed, scale=scale), PoseScorer(moving, fixed)
    widths = np.geomspace(max(_FIRST_WIDTH[0] * size, _FIRST_WIDTH[1]), _LAST_WIDTH, _N_WIDTHS)
    starts = distinct(poses, moving.contour, size, most=_CANDIDATES)
    rough = [refiner.refine(start, widths=widths[:-2], finish=False) for _, start in starts]
    hopeful = distinct([(judge.score(matrix).total, matrix) for matrix in rough], moving.contour, size, most=_FINALISTS)
    refined = [refiner.refine(matrix, widths=widths[-2:], finish=True) for _, matrix in hopeful]
    return sorted(((judge.score(matrix), matrix) for matrix in refined), key=lambda pose: -pose[0].total)


def _sizes(query: np.ndarray, reference: np.ndarray) -> list[float]:
    """Factors for the size of the query: from spot spacings (one technology) or from areas (two technologies)."""
    spacings = spot_spacing(query), spot_spacing(reference)
    areas = [Section.of(points / spacing).area for points, spacing in zip((query, reference), spacings, strict=True)]
    by_spacing = spacings[1] / spacings[0]
    by_area = by_spacing * float(np.sqrt(areas[1] / areas[0]))
    return [by_spacing] if abs(np.log(by_area / by_spacing)) < 0.15 else [by_spacing, by_area]


# The grid of displacements, in spacings, at most so many points a side.
_GRID_STEP, _MOST_STEPS, _MARGIN = 2.0, 120, 4.0
# From these ratios of spot spacings on, on a lattice and elsewhere, slices are taken to have different units.
_OTHER_UNIT = (1.08, 1.4)


@dataclass(frozen=True)
class Placement:
    """Where a slice goes: a motion, and a deformation after it where the slice is bent."""

    matrix: np.ndarray  # Homogeneous ``(3, 3)``, from the slice to the common frame
    deformation: Deformation | None  # What follows, in the common frame; ``None`` where nothing is bent

    @classmethod
    def of_record(cls, entry: Mapping[str, Any], index: int) -> Placement:
        """That of the slice at ``index``, from what :func:`spotscape.pp.register_slices` has written."""
        matrix, grid = np.asarray(entry["transforms"])[index], entry.get("deformation")
        if grid is None or not np.any(values := np.asarray(grid["values"])[index]):
            return cls(matrix, None)
        return cls(matrix, Deformation(np.asarray(grid["origin"]), float(grid["step"]), values))

    def move(self, points: np.ndarray) -> np.ndarray:
        """Move points of the slice into the common frame."""
        moved = move(self.matrix, points)
        return moved if self.deformation is None else self.deformation.move(moved)

    def move_back(self, points: np.ndarray) -> np.ndarray:
        """Move points of the common frame to where they are in the slice."""
        straight = points if self.deformation is None else self.deformation.move_back(points)
        return move(np.linalg.inv(self.matrix), straight)


@dataclass(frozen=True)
class Registration:
    """All slices in one frame."""

    transforms: np.ndarray  # From each slice to the frame of the reference, shape ``(n_slices, 3, 3)``
    partners: np.ndarray  # The slice that each was registered to, shape ``(n_slices,)``; the reference its own
    alignments: tuple[Alignment | None, ...]  # What was found for each pair; ``None`` for the reference
    # What follows the motion of each slice, in the frame of the reference; ``None`` where nothing is bent.
    deformations: tuple[Deformation | None, ...]

    def place(self, index: int, points: np.ndarray) -> np.ndarray:
        """Move points of a slice into the frame of the reference."""
        return Placement(self.transforms[index], self.deformations[index]).move(points)

    def deformation_record(self) -> dict[str, Any]:
        """The deformations as they are recorded: one grid, without displacement where nothing is bent."""
        bent = next((one for one in self.deformations if one is not None), None)
        if bent is None:
            return {}
        values = [np.zeros_like(bent.values) if one is None else one.values for one in self.deformations]
        return {"deformation": {"origin": bent.origin, "step": bent.step, "values": np.stack(values)}}


def register(
    slices: Sequence[np.ndarray],
    *,
    features: Sequence[np.ndarray] | None = None,
    reference: int = 0,
    policy: str = "sequential",
    allow_flip: bool = False,
    scale: bool = False,
    deform: bool = False,
    n_threads: int = 1,
) -> Registration:
    """Bring slices, coordinates ``(n_spots, 2)`` in the order of the tissue, into the frame of ``reference``.

    ``policy="sequential"`` registers every slice to its neighbour on the side of the reference, and ``"star"`` to the
    reference itself; ``n_threads`` pairs are processed at the same time. The rest is as in :func:`align`.
    """
    partners = partners_of(len(slices), reference, policy)

    def one(index: int) -> Alignment | None:
        if index == reference:
            return None
        pair = None if features is None else (features[index], features[partners[index]])
        options = {"allow_flip": allow_flip, "scale": scale, "deform": deform}
        return align(slices[index], slices[partners[index]], features=pair, **options)

    with ThreadPoolExecutor(n_threads) as pool:
        alignments = tuple(pool.map(one, range(len(slices))))
    transforms = np.tile(np.eye(3), (len(slices), 1, 1))
    # From the reference outwards, so that a slice's partner is in its final place before the slice is.
    for index in sorted(range(len(slices)), key=lambda i: abs(i - reference)):
        found = alignments[index]
        if found is not None:
            transforms[index] = transforms[partners[index]] @ found.matrix
    return Registration(transforms, partners, alignments, _combined(slices, transforms, partners, alignments))


def _combined(
    slices: Sequence[np.ndarray], transforms: np.ndarray, partners: np.ndarray, alignments: tuple[Alignment | None, ...]
) -> tuple[Deformation | None, ...]:
    """The deformation of each slice onto its partner, and all that follow up to the reference, on one grid."""
    moved = np.vstack([move(matrix, points) for matrix, points in zip(transforms, slices, strict=True)])
    spacing = float(np.median(spacing_by_slice(slices)))
    low, high = moved.min(axis=0) - _MARGIN * spacing, moved.max(axis=0) + _MARGIN * spacing
    step = max(_GRID_STEP * spacing, float((high - low).max()) / _MOST_STEPS)
    axes = [np.arange(low[i], high[i] + step, step) for i in range(2)]
    grid = grid_points(axes)

    def combined(index: int) -> Deformation | None:
        points, bent = move(np.linalg.inv(transforms[index]), grid), False
        while (found := alignments[index]) is not None:
            points = move(found.matrix, points)
            if found.deformation is not None:
                points, bent = found.deformation.move(points), True
            index = partners[index]
        values = (points - grid).T.reshape(2, len(axes[0]), len(axes[1]))
        return Deformation(low, step, values) if bent else None

    return tuple(map(combined, range(len(slices))))


def partners_of(n_slices: int, reference: int, policy: str) -> np.ndarray:
    """The slice that each is registered to."""
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
    moved = [found.place(index, points) for index, points in enumerate(slices)]
    pairs = [(i, int(partner)) for i, partner in enumerate(found.partners)]
    known = found.alignments
    return {
        "rmse": np.array([nearest_rmse(moved[i], moved[j]) for i, j in pairs]),
        "rmse_before": np.array([nearest_rmse(slices[i], slices[j]) for i, j in pairs]),
        "overlap": np.array([1.0 if k is None else k.score.overlap for k in known]),
        "outline_agreement": np.array([1.0 if k is None else k.score.outline for k in known]),
        "feature_agreement": np.array([np.nan if k is None else k.score.features for k in known]),
        "feature_agreement_deformed": np.array([np.nan if k is None else k.deformed_features for k in known]),
        "n_pairs": np.array([n_mutual_pairs(moved[i], moved[j]) for i, j in pairs]),
        "ambiguous": np.array([k is not None and k.ambiguous for k in known]),
        "poor": np.array([k is not None and k.poor for k in known]),
        "mirrored": np.array([k is not None and k.mirrored for k in known]),
    }


def unit_ratios(slices: Sequence[np.ndarray]) -> np.ndarray:
    """How much larger each slice's unit seems to be than the first's: by spacing and extent alike, else 1.

    A finer technology changes the spacing alone, a smaller piece of tissue the extent alone; another unit changes both.
    """
    spacing = spacing_by_slice(slices)
    kinds = np.array([lattice(points).kind for points in slices])
    extent = np.array([np.sqrt(points.var(axis=0).sum()) for points in slices])
    by_spacing, by_extent = spacing / spacing[0], extent / extent[0]
    alike = np.abs(np.log(by_spacing / by_extent)) < 0.5 * np.abs(np.log(by_spacing))
    exact = (kinds == kinds[0]) & (kinds != "irregular")
    clear = np.abs(np.log(by_spacing)) > np.log(np.where(exact, *_OTHER_UNIT))
    return np.asarray(np.where(alike & clear, by_spacing, 1.0))
