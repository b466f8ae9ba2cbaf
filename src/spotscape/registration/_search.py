"""Poses of one slice on another: searched, scored and refined.

All shifts are searched at once, as correlations of images. Small motions that bring outlines and features together, by
weighted least squares, then refine the best poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.spatial import cKDTree

from spotscape.registration._section import about, displacement, grid_points, motion, move, moved_outline

if TYPE_CHECKING:
    from spotscape.registration._section import Field, Section


_PIXELS = 64
_BLUR = 0.03
_FEATURE_BLUR = 0.05
_LEAST_OVERLAP = 0.45
_IMAGE_AREA_WEIGHT = 0.2
_IMAGE_FEATURE_WEIGHT = 1.5
_PEAKS_PER_ANGLE = 3
_DISTINCT = 0.06


class PoseSearch:
    """Scores of all shifts of a query on a reference: correlation of outlines and of features, and overlap.

    The outlines are gradients of the blurred tissues. An edge counts only if the other tissue has an edge of the same
    direction, so an edge that the border of the slide has cut does no harm.
    """

    def __init__(self, query: Section, reference: Section) -> None:
        size = max(query.diameter, reference.diameter)
        self.query, self.reference, self.step = query, reference, max(1 / 3, size / _PIXELS)
        self._blur = max(1.5, _BLUR * size)
        self._half = 0.5 * query.diameter + 2 * self._blur
        side = int(np.ceil(2 * self._half / self.step)) + 1
        offsets = (np.arange(side) - (side - 1) / 2) * self.step
        self._query_grid = grid_points([offsets, offsets])
        self._corner, self._side = offsets[0], side
        self._middle = (query.points.min(axis=0) + query.points.max(axis=0)) / 2
        low, high = reference.points.min(axis=0) - 2 * self._blur, reference.points.max(axis=0) + 2 * self._blur
        axes = [np.arange(low[i], high[i] + self.step, self.step) for i in range(2)]
        self._low, self._extent = low, [len(axis) for axis in axes]
        self._shape = tuple(fft.next_fast_len(len(axis) + side, real=True) for axis in axes)
        guided = query.features is not None and reference.features is not None
        blur = max(1.5, _FEATURE_BLUR * size)
        self._fields = (query.smooth_features(blur), reference.smooth_features(blur)) if guided else None
        grid = grid_points(axes)
        images = self._images(reference, grid, (len(axes[0]), len(axes[1])), which=1)
        self._area, self._fixed = images[0].sum(), self._transforms(*images)
        # The squared gradient of a Gaussian.
        kx, ky = 2 * np.pi * fft.fftfreq(self._shape[0])[:, None], 2 * np.pi * fft.rfftfreq(self._shape[1])[None]
        squared = kx**2 + ky**2
        self._filter = squared * np.exp(-squared * (self._blur / self.step) ** 2)
        self._fixed_outline = self._outline_energy(self._fixed[0])

    def poses(self, angles: np.ndarray, *, mirror: bool) -> list[tuple[float, np.ndarray]]:
        """The best few shifts of every angle, as pairs of score and matrix."""
        found = []
        for angle in angles:
            turn = motion(angle, mirror=mirror)
            score = self._score(turn)
            for row, column in _peaks(score, _PEAKS_PER_ANGLE, reach=int(np.ceil(2 * self._blur / self.step))):
                steps = [
                    i if i < n else i - m for i, n, m in zip((row, column), self._extent, self._shape, strict=True)
                ]
                shift = self._low + self.step * np.array(steps)
                matrix = about(turn, self._middle)
                matrix[:2, 2] += shift - self._corner - self._middle
                found.append((float(score[row, column]), matrix))
        return found

    def _images(
        self, piece: Section, points: np.ndarray, shape: tuple[int, int], *, which: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A tissue and its features as images."""
        depth = piece.depth.at(points, outside=-self.step)[:, 0]
        tissue = np.clip(depth / self.step + 0.5, 0, 1)
        if self._fields is None:
            return tissue.reshape(shape), np.zeros((0, *shape))
        features = self._fields[which].at(points) * tissue[:, None]
        return tissue.reshape(shape), features.T.reshape(-1, *shape)

    def _transforms(self, tissue: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fourier transforms on the padded grid: of the tissue, of each feature, and of the features' energy."""
        energy = (features**2).sum(axis=0)
        return fft.rfft2(tissue, self._shape), fft.rfft2(features, self._shape), fft.rfft2(energy, self._shape)

    def _score(self, turn: np.ndarray) -> np.ndarray:
        # A grid point of the turned image shows what the inverse motion finds on the query.
        points = self._query_grid @ turn[:2, :2] + self._middle
        images = self._images(self.query, points, (self._side, self._side), which=0)
        tissue, features, energy = self._transforms(*images)
        fixed_tissue, fixed_features, fixed_energy = self._fixed
        cross = fixed_tissue * tissue.conj()
        overlap = self._back(cross) / min(self._area, images[0].sum())
        moving = self._outline_energy(tissue)
        score = self._back(cross * self._filter) / np.sqrt(moving * self._fixed_outline) + _IMAGE_AREA_WEIGHT * overlap
        if len(features):
            together = self._back((fixed_features * features.conj()).sum(axis=0))
            here, there = self._back(fixed_energy * tissue.conj()), self._back(fixed_tissue * energy.conj())
            least = 1e-3 * max(float(here.max()), float(there.max()), 1e-12)
            score += _IMAGE_FEATURE_WEIGHT * together / np.sqrt(np.maximum(here, least) * np.maximum(there, least))
        score[overlap < _LEAST_OVERLAP] = -np.inf
        return np.asarray(score)

    def _back(self, spectrum: np.ndarray) -> np.ndarray:
        return np.asarray(fft.irfft2(spectrum, self._shape))

    def _outline_energy(self, spectrum: np.ndarray) -> float:
        """Correlation of an outline with itself where it lies."""
        return float(self._back(self._filter * np.abs(spectrum) ** 2)[0, 0])


def distinct(
    poses: list[tuple[float, np.ndarray]], points: np.ndarray, size: float, *, most: int
) -> list[tuple[float, np.ndarray]]:
    """The best poses, each of which moves the points elsewhere than all better ones do."""
    kept: list[tuple[float, np.ndarray]] = []
    for score, matrix in sorted(poses, key=lambda pose: -pose[0]):
        if np.isfinite(score) and all(displacement(matrix, other, points) > _DISTINCT * size for _, other in kept):
            kept.append((score, matrix))
        if len(kept) == most:
            break
    return kept


def _peaks(score: np.ndarray, most: int, *, reach: int) -> list[tuple[int, int]]:
    """The highest entries, each at least ``reach`` away from all higher ones; the image is a torus."""
    left = score.copy()
    found = []
    for _ in range(most):
        row, column = divmod(int(left.argmax()), left.shape[1])
        if not np.isfinite(left[row, column]):
            break
        found.append((row, column))
        rows = np.arange(row - reach, row + reach + 1) % left.shape[0]
        left[np.ix_(rows, np.arange(column - reach, column + reach + 1) % left.shape[1])] = -np.inf
    return found


_AREA_WEIGHT = 0.1
_FEATURE_WEIGHT = 2.5
_FEATURE_SIGMA = 2.0
_OUTLINE_WIDTH = 0.7
# Outlines that run beside each other at this distance, in spacings, contradict a pose.
_BESIDE = (2.0, 5.0)
# Least agreement of normals that face the same way.
_ALIGNED = 0.5


@dataclass(frozen=True)
class Score:
    """Parts of a pose's score, each at most 1."""

    # Share of both outlines that lies on the other one, facing the same way, less the share that runs beside it.
    outline: float
    overlap: float  # Share of the smaller tissue that lies on the other one
    features: float  # Correlation of the features there; ``nan`` without guidance

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
    weights = tukey * np.clip(agreement - _ALIGNED, 0, None)
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
