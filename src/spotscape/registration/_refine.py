"""Refinement of a pose by small motions that bring outlines and features together, with weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from spotscape.registration._section import about, displacement, motion, move, moved_outline

if TYPE_CHECKING:
    from spotscape.registration._section import Field, Section

_ALIGNED_NORMALS = 0.5
_ROUNDS_PER_WIDTH = 4
_FINAL_ROUNDS = 40
_TOLERANCE = 0.005
_MAX_FEATURE_SPOTS = (500, 2000)
_SCALE_LIMIT = 1.25
# This near to its border, in spacings, a slice's smoothed features lean to the inside.
_RIM = 1.0
_FEATURE_SIGMAS = (3.0, 0.8)
# The outline determines the motion across it, and features the motion along it; this weight balances both.
_FEATURE_SHARE = 1.5


@dataclass(frozen=True)
class Residuals:
    """Weighted linear equations for a small motion: ``rows @ (shift, turn, growth) + values`` should vanish."""

    rows: np.ndarray
    values: np.ndarray
    weights: np.ndarray


class Refiner:
    """Improves poses of a query on a reference, in units of the spot spacing."""

    def __init__(self, query: Section, reference: Section, *, scale: bool) -> None:
        self.query, self.reference, self.scale = query, reference, scale
        self._tree = cKDTree(reference.contour)
        self._feature_terms = _feature_terms(query, reference)

    def refine(self, matrix: np.ndarray, *, widths: np.ndarray, finish: bool) -> np.ndarray:
        """Follow the outlines from coarse to fine: ``widths`` are the largest distances of pairs, decreasing.

        ``finish`` continues at the last of them until nothing moves any more.
        """
        start = matrix
        for index, width in enumerate(widths):
            last = finish and index == len(widths) - 1
            for _ in range(_FINAL_ROUNDS if last else _ROUNDS_PER_WIDTH):
                moved = self._step(matrix, width, finest=finish)
                if not self._acceptable(moved, start):
                    return matrix
                change = displacement(moved, matrix, self.query.contour)
                matrix = moved
                if change < _TOLERANCE:
                    break
        return matrix

    def _acceptable(self, matrix: np.ndarray, start: np.ndarray) -> bool:
        growth = np.sqrt(abs(np.linalg.det(matrix[:2, :2]) / np.linalg.det(start[:2, :2])))
        return bool(np.isfinite(matrix).all() and 1 / _SCALE_LIMIT < growth < _SCALE_LIMIT)

    def _step(self, matrix: np.ndarray, width: float, *, finest: bool) -> np.ndarray:
        centre = move(matrix, self.query.centre[None])[0]
        (contour, normals), theirs = moved_outline(matrix, self.query), self.reference
        pairs = self._tree.query(contour)[1], cKDTree(contour).query(theirs.contour)[1]
        forth = contour, theirs.contour[pairs[0]], theirs.normals[pairs[0]], normals
        back = contour[pairs[1]], theirs.contour, normals[pairs[1]], theirs.normals
        systems = [_point_to_line(*way, width=width, centre=centre) for way in (forth, back)]
        if self._feature_terms:
            systems.append(self._feature_terms[-1 if finest else 0].residuals(matrix, centre))
        unknowns = 4 if self.scale else 3
        # A weak pull to stay keeps the equations solvable where the outline does not decide, as along a straight edge.
        normal, right = 1e-6 * np.diag([1.0, 1.0, len(self.query.contour), len(self.query.contour)]), np.zeros(4)
        for system in systems:
            weighted = system.rows * system.weights[:, None]
            normal = normal + weighted.T @ system.rows
            right = right - weighted.T @ system.values
        solution = np.zeros(4)
        solution[:unknowns] = np.linalg.solve(normal[:unknowns, :unknowns], right[:unknowns])
        turn = motion(
            float(np.rad2deg(np.clip(solution[2], -0.3, 0.3))), scale=1 + float(np.clip(solution[3], -0.1, 0.1))
        )
        small = about(turn, centre)
        small[:2, 2] += solution[:2]
        return np.asarray(small @ matrix)


def _point_to_line(
    moving: np.ndarray,
    fixed: np.ndarray,
    normals: np.ndarray,
    other_normals: np.ndarray,
    *,
    width: float,
    centre: np.ndarray,
) -> Residuals:
    gap = moving - fixed
    values = (normals * gap).sum(axis=1)
    distance = np.sqrt((gap**2).sum(axis=1))
    agreement = (normals * other_normals).sum(axis=1)
    tukey = np.clip(1 - (distance / width) ** 2, 0, None) ** 2
    weights = tukey * np.clip(agreement - _ALIGNED_NORMALS, 0, None)
    return Residuals(_jacobian(normals, moving - centre), values, weights)


def _jacobian(slopes: np.ndarray, arms: np.ndarray) -> np.ndarray:
    """How a quantity with the given slopes changes as points at ``arms`` from the centre shift, turn, and grow."""
    turning = slopes[:, 1] * arms[:, 0] - slopes[:, 0] * arms[:, 1]
    return np.column_stack([slopes, turning, (slopes * arms).sum(axis=1)])


@dataclass(frozen=True)
class FeatureTerm:
    """Smooth features of the query's spots, and the reference's field that they should agree with."""

    points: np.ndarray
    wanted: np.ndarray
    field: Field
    slopes: Field
    reference: Section

    def residuals(self, matrix: np.ndarray, centre: np.ndarray) -> Residuals:
        """Equations for the spots that lie on the reference; their weights are the inverse of what is left over."""
        moved = move(matrix, self.points)
        inside = self.reference.depth.at(moved, outside=-1.0)[:, 0] > _RIM
        moved = moved[inside]
        values = self.field.at(moved) - self.wanted[inside]
        slopes = self.slopes.at(moved).reshape(len(moved), values.shape[1], 2)
        rows = [_jacobian(slopes[:, channel], moved - centre) for channel in range(values.shape[1])]
        squared = (values**2).sum(axis=1)
        typical = max(float(np.median(squared)) if len(squared) else 1.0, 1e-12)
        robust = 1 / (1 + squared / (3 * typical))
        share = _FEATURE_SHARE * len(self.reference.contour) / max(len(self.points) * values.shape[1], 1)
        weights = np.tile(share * robust * values.shape[1] / typical, values.shape[1])
        return Residuals(np.vstack(rows), values.T.ravel(), weights)


def _feature_terms(query: Section, reference: Section) -> list[FeatureTerm]:
    if query.features is None or reference.features is None:
        return []
    inner = query.points[query.depth.at(query.points)[:, 0] > _RIM]
    guides = []
    for sigma, most in zip(_FEATURE_SIGMAS, _MAX_FEATURE_SPOTS, strict=True):
        drawn = inner[:: max(1, len(inner) // most)]
        field = reference.smooth_features(sigma)
        wanted = query.smooth_features(sigma).at(drawn)
        guides.append(FeatureTerm(drawn, wanted, field, field.gradient(), reference))
    return guides
