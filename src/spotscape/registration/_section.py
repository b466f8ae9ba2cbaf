"""A section as registration sees it: motions of the plane, guiding features, fields and outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points ``(n, 2)`` by a homogeneous matrix ``(3, 3)``."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], dtype=np.float64)


def motion(
    angle: float, shift: tuple[float, float] | np.ndarray = (0.0, 0.0), *, mirror: bool = False, scale: float = 1.0
) -> np.ndarray:
    """The matrix that mirrors x, then scales, then turns by ``angle`` degrees about the origin, then shifts."""
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    matrix = np.eye(3)
    matrix[:2, :2] = scale * turn @ np.diag([-1.0 if mirror else 1.0, 1.0])
    matrix[:2, 2] = shift
    return matrix


def about(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The same motion with ``centre`` in the place of the origin."""
    moved = matrix.copy()
    moved[:2, 2] += centre - matrix[:2, :2] @ centre
    return moved


def displacement(one: np.ndarray, other: np.ndarray, points: np.ndarray) -> float:
    """Root mean square distance between where two matrices move the same points."""
    return float(np.sqrt(((move(one, points) - move(other, points)) ** 2).sum(axis=1).mean()))


_MOST_FEATURES = 8


def guiding_features(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The leading common directions, at most 8, of the slices' features, without each slice's mean, on one scale.

    The mean is where batch effects are largest; directions with more variation count for more.
    """
    centred = [np.asarray(v, dtype=np.float64) - np.mean(v, axis=0, dtype=np.float64) for v in values]
    # Every slice has the same weight, whatever its number of spots.
    gram = np.sum([v.T @ v / len(v) for v in centred], axis=0)
    strengths, directions = np.linalg.eigh(gram)
    kept = directions[:, ::-1][:, :_MOST_FEATURES]
    size = np.sqrt(max(float(strengths[-1]) / len(centred), 1e-24))
    return [v @ kept / size for v in centred]


def one_hot(codes: np.ndarray, n_categories: int) -> np.ndarray:
    """Indicators ``(n, n_categories)`` of category codes; -1, unlabelled, is the share of each category."""
    indicators = np.zeros((len(codes), n_categories))
    known = codes >= 0
    indicators[np.flatnonzero(known), codes[known]] = 1.0
    if known.any():
        indicators[~known] = indicators[known].mean(axis=0)
    return indicators


def grid_points(axes: Sequence[np.ndarray]) -> np.ndarray:
    """All points of a grid, ``(n, 2)``; those of one x stand together."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


_STEP = 1 / 3
_MAX_SIDE = 600
_MAX_CONTOUR = 800
# Spots missing at random must not tear holes into the tissue: gaps below this many typical distances are closed.
_CLOSING = 1.5
_MARGIN = 3.0
_NORMAL_SIGMA = 2.0
# Points of an outline run along one line if their normals and places differ by no more, degrees and spacings.
_TURN, _STRAIGHT_WIDTH = 8.0, 1.2


@dataclass(frozen=True)
class Field:
    """Values on a regular grid, read by linear interpolation."""

    origin: np.ndarray  # Position of the first grid point, shape ``(2,)``
    step: float  # Distance of grid points
    values: np.ndarray  # Shape ``(n_channels, nx, ny)``

    def at(self, points: np.ndarray, *, outside: float = 0.0) -> np.ndarray:
        """Values at points ``(n, 2)``, shape ``(n, n_channels)``."""
        where = ((points - self.origin) / self.step).T
        read = [ndimage.map_coordinates(v, where, order=1, mode="constant", cval=outside) for v in self.values]
        return np.stack(read, axis=1)

    def gradient(self) -> Field:
        """Both derivatives of every channel: ``(d/dx, d/dy)`` of the first, of the second, and so on."""
        slopes = [d for channel in self.values for d in np.gradient(channel, self.step)]
        return Field(self.origin, self.step, np.stack(slopes))


@dataclass(frozen=True)
class Section:
    """One slice."""

    points: np.ndarray  # Spots, shape ``(n, 2)``, in units of the spot spacing
    depth: Field  # Signed distance to the outline, positive inside the tissue; one channel
    # Points of the outline and the directions out of the tissue, shape ``(n_contour, 2)`` each.
    contour: np.ndarray
    normals: np.ndarray
    features: np.ndarray | None = None  # Shape ``(n, n_features)``; ``None`` without guidance

    @classmethod
    def of(cls, points: np.ndarray, features: np.ndarray | None = None) -> Section:
        """Find the tissue under the spots and its outline."""
        depth = _depth(points)
        contour, normals = _outline(depth)
        thin = np.linspace(0, len(contour) - 1, min(len(contour), _MAX_CONTOUR)).astype(int)
        contour, normals = contour[thin], normals[thin]
        return cls(points, depth, contour, normals, features)

    @property
    def area(self) -> float:
        """Area of the tissue."""
        return float(np.count_nonzero(self.depth.values > 0) * self.depth.step**2)

    @property
    def diameter(self) -> float:
        """Diagonal of the box around the spots."""
        return float(np.linalg.norm(np.ptp(self.points, axis=0)))

    @property
    def centre(self) -> np.ndarray:
        """Mean of the spots."""
        return np.asarray(self.points.mean(axis=0))

    @property
    def longest_straight_edge(self) -> float:
        """Length of the longest part of the outline that runs along one line, as the border of a slide cuts it."""
        angles = np.arctan2(self.normals[:, 1], self.normals[:, 0])
        # Every point of the contour stands for its share of the perimeter, which is that of a thin strip of tissue.
        step = self.depth.step
        perimeter = np.count_nonzero(np.abs(self.depth.values[0]) < step) * step / 2
        longest = 0
        for angle in np.deg2rad(np.arange(0, 360, _TURN)):
            along = np.cos(angles - angle) > np.cos(np.deg2rad(_TURN))
            offset = np.sort(self.contour[along] @ [np.cos(angle), np.sin(angle)])
            longest = max(
                longest,
                int((np.searchsorted(offset, offset + _STRAIGHT_WIDTH) - np.arange(len(offset))).max(initial=0)),
            )
        return float(longest / len(self.contour) * perimeter)

    def covers(self, points: np.ndarray) -> np.ndarray:
        """Which of the points lie on this tissue."""
        return np.asarray(self.depth.at(points, outside=-1.0)[:, 0] > 0)

    def smooth_features(self, sigma: float) -> Field:
        """The features averaged over a Gaussian of width ``sigma``, on the grid of a third of it at most."""
        if self.features is None:
            msg = "a piece without features has nothing to smooth"
            raise AssertionError(msg)
        step = max(self.depth.step, sigma / 3)
        shape = np.asarray(np.array(self.depth.values.shape[1:]) * self.depth.step / step, dtype=int) + 1
        cell, inside = np.divmod((self.points - self.depth.origin) / step, 1.0)
        sums = np.zeros((1 + self.features.shape[1], int(shape.prod())))
        # Shared among the four corners of their cell; the nearest corner alone would shift what lies on a lattice.
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = np.abs(1 - np.array(corner) - inside).prod(axis=1)
            flat = np.ravel_multi_index(tuple(np.clip(cell + corner, 0, shape - 1).astype(int).T), tuple(shape))
            for channel, values in enumerate((1.0, *self.features.T)):
                sums[channel] += np.bincount(flat, share * values, minlength=sums.shape[1])
        count, *smooth = (ndimage.gaussian_filter(s.reshape(shape), sigma / step) for s in sums)
        return Field(self.depth.origin, step, np.stack(smooth) / np.maximum(count, 1e-3 * count.max()))


def typical_distance(points: np.ndarray) -> float:
    """Median distance to the sixth nearest spot, which unlike that to the first grows as spots go missing."""
    k = min(7, len(points))
    drawn = points[:: max(1, len(points) // 5000)]
    return float(np.median(cKDTree(points).query(drawn, k=k)[0][:, -1]))


def _depth(points: np.ndarray) -> Field:
    reach = _CLOSING * max(1.0, typical_distance(points))
    low, high = points.min(axis=0) - reach - _MARGIN, points.max(axis=0) + reach + _MARGIN
    step = max(_STEP, float((high - low).max()) / _MAX_SIDE)
    axes = [np.arange(low[i], high[i] + step, step) for i in range(2)]
    grid = grid_points(axes)
    distance = cKDTree(points).query(grid, distance_upper_bound=reach + 2 * step)[0]
    near = (distance <= reach).reshape(len(axes[0]), len(axes[1]))
    inside = ndimage.distance_transform_edt(near) * step
    # Half a spacing beyond the outermost spots, as if every spot stood for its cell of the lattice.
    tissue = inside > reach - 0.5
    signed = ndimage.distance_transform_edt(tissue) - ndimage.distance_transform_edt(~tissue)
    smooth = ndimage.gaussian_filter(signed * step, 1.0 / step)
    return Field(low, step, smooth[None])


def _outline(depth: Field) -> tuple[np.ndarray, np.ndarray]:
    """Where the depth is zero on the lines of the grid, and the way out of the tissue there."""
    values = depth.values[0]
    found = []
    for axis in (0, 1):
        ahead, behind = np.moveaxis(values, axis, 0)[1:], np.moveaxis(values, axis, 0)[:-1]
        along, across = np.nonzero((ahead > 0) != (behind > 0))
        start, end = behind[along, across], ahead[along, across]
        position = np.column_stack([along + start / (start - end), across])
        found.append(position[:, :: 1 if axis == 0 else -1])
    contour = np.vstack(found) * depth.step + depth.origin
    # Of a smoother field, or the roughness that spots give an outline would keep a round one from turning.
    gentle = Field(depth.origin, depth.step, ndimage.gaussian_filter(depth.values[0], _NORMAL_SIGMA / depth.step)[None])
    uphill = gentle.gradient().at(contour)
    normals = -uphill / np.maximum(np.linalg.norm(uphill, axis=1, keepdims=True), 1e-12)
    order = np.lexsort((contour[:, 1], contour[:, 0]))
    return contour[order], normals[order]


def moved_outline(matrix: np.ndarray, piece: Section) -> tuple[np.ndarray, np.ndarray]:
    """Outline and unit normals after a motion."""
    normals = piece.normals @ matrix[:2, :2].T
    return move(matrix, piece.contour), normals / np.linalg.norm(normals, axis=1, keepdims=True)
