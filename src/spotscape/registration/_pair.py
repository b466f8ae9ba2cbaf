"""Registration of two slices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spotscape._core.geometry import spot_spacing
from spotscape.registration._refine import Refiner
from spotscape.registration._search import PoseScorer, PoseSearch, Score, distinct
from spotscape.registration._section import Section, displacement, motion, move
from spotscape.registration._smooth import Deformation, fit_deformation

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
        search = PoseSearch(moving, fixed)
        starts = [pose for mirror in (False, True)[: 1 + allow_flip] for pose in search.poses(_ANGLES, mirror=mirror)]
        poses = _ranked(moving, fixed, starts, scale=scale)
        if not poses:
            msg = "no position makes the outlines of two slices overlap; do they have more than a few distinct spots?"
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
