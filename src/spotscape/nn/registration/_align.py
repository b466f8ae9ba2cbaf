"""One slice onto another: search everywhere, refine the best poses, judge them, and say if two are as good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spotscape._core.geometry import spot_spacing
from spotscape.nn.registration._piece import Piece
from spotscape.nn.registration._refine import Refiner
from spotscape.nn.registration._rigid import displacement
from spotscape.nn.registration._score import Judge, Score
from spotscape.nn.registration._search import Search, distinct

_ANGLE_STEP = 5.0
_CANDIDATES = 20
_AMBIGUOUS = 0.06


@dataclass(frozen=True)
class Alignment:
    """How a query is moved onto its reference.

    Attributes
    ----------
    matrix
        Homogeneous ``(3, 3)``, in the unit of the coordinates.
    score
        Of the pose.
    runner_up
        The best pose that is not about the same, and its score; ``None`` if there is none.
    ambiguous
        Whether it explains the slices about as well.
    """

    matrix: np.ndarray
    score: Score
    runner_up: tuple[np.ndarray, Score] | None
    ambiguous: bool


def align(
    query: np.ndarray,
    reference: np.ndarray,
    *,
    features: tuple[np.ndarray, np.ndarray] | None = None,
    allow_flip: bool = False,
    scale: bool = False,
) -> Alignment:
    unit = max(spot_spacing(query), spot_spacing(reference))
    origin = query.mean(axis=0), reference.mean(axis=0)
    q, r = (
        Piece.of((points - centre) / unit, None if features is None else features[i])
        for i, (points, centre) in enumerate(zip((query, reference), origin, strict=True))
    )
    size = max(q.diameter, r.diameter)
    search = Search(q, r)
    poses = [
        pose
        for mirror in ((False, True) if allow_flip else (False,))
        for pose in search.poses(np.arange(0.0, 360.0, _ANGLE_STEP), mirror=mirror)
    ]
    refiner, judge = Refiner(q, r, scale=scale), Judge(q, r)
    widths = np.geomspace(max(0.06 * size, 4.0), 2.0, 4)
    found = []
    for _, start in distinct(poses, q.contour, size, most=_CANDIDATES):
        matrix = refiner.refine(start, widths=widths)
        found.append((judge.score(matrix), matrix))
    found.sort(key=lambda pose: -pose[0].total)
    (best, matrix), *others = found
    far = [(m, s) for s, m in others if displacement(m, matrix, q.contour) > max(2.0, 0.06 * size)]
    runner_up = far[0] if far else None
    ambiguous = runner_up is not None and runner_up[1].total > (1 - _AMBIGUOUS) * best.total
    out = matrix.copy()
    out[:2, 2] = unit * matrix[:2, 2] + origin[1] - matrix[:2, :2] @ origin[0]
    return Alignment(out, best, runner_up, ambiguous)
