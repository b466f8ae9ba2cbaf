"""How well a pose lays one slice on another: by outlines, tissue and features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from spotscape.registration._motion import move
from spotscape.registration._section import moved_outline

if TYPE_CHECKING:
    from spotscape.registration._section import Section

_AREA_WEIGHT = 0.1
_FEATURE_WEIGHT = 2.5
_FEATURE_SIGMA = 2.0
_OUTLINE_WIDTH = 0.7
# Outlines that run beside each other at this distance, in spacings, contradict a pose.
_BESIDE = (2.0, 5.0)
_ALIGNED = 0.5


@dataclass(frozen=True)
class Score:
    """Parts of a pose's score, each at most 1.

    Attributes
    ----------
    outline
        Share of both outlines that lies on the other one, facing the same way, less the share that runs beside it.
    overlap
        Share of the smaller tissue that lies on the other one.
    features
        Correlation of the features there; ``nan`` without guidance.
    """

    outline: float
    overlap: float
    features: float

    @property
    def total(self) -> float:
        """What poses are ranked by."""
        guided = 0.0 if np.isnan(self.features) else _FEATURE_WEIGHT * self.features
        return self.outline + _AREA_WEIGHT * self.overlap + guided


class PoseScorer:
    """Scores poses of a query on a reference."""

    def __init__(self, query: Section, reference: Section) -> None:
        self.query, self.reference = query, reference
        self._tree = cKDTree(reference.contour)
        guided = query.features is not None and reference.features is not None
        self._wanted = query.smooth_features(_FEATURE_SIGMA).at(query.points) if guided else None
        self._field = reference.smooth_features(_FEATURE_SIGMA) if guided else None

    def score(self, matrix: np.ndarray) -> Score:
        """Score a pose."""
        moved = move(matrix, self.query.points)
        back = move(np.linalg.inv(matrix), self.reference.points)
        inside = self.reference.covers(moved)
        overlap = max(float(inside.mean()), float(self.query.covers(back).mean()))
        return Score(self._outline(matrix), overlap, self.features(moved))

    def _outline(self, matrix: np.ndarray) -> float:
        contour, normals = moved_outline(matrix, self.query)
        theirs = self.reference
        forth, pair = self._tree.query(contour)
        back, reverse = cKDTree(contour).query(theirs.contour)
        agreement = (normals * theirs.normals[pair]).sum(axis=1), (normals[reverse] * theirs.normals).sum(axis=1)
        distance, same = np.concatenate([forth, back]), np.concatenate(agreement)
        on = np.exp(-((distance / _OUTLINE_WIDTH) ** 2) / 2) * np.clip(same, 0, None)
        beside = (distance > _BESIDE[0]) & (distance < _BESIDE[1]) & (same > _ALIGNED)
        return float((on - beside).mean())

    def features(self, moved: np.ndarray) -> float:
        """Correlation of the features of the query's spots with the reference's where they come to lie."""
        inside = self.reference.covers(moved)
        if self._wanted is None or self._field is None:
            return float("nan")
        if inside.sum() < 3:
            return 0.0
        here, there = self._wanted[inside], self._field.at(moved[inside])
        norm = np.sqrt((here**2).sum() * (there**2).sum())
        return float((here * there).sum() / norm) if norm > 0 else 0.0
