r"""A smooth deformation after rotation and shift, by which features and outlines of two slices agree best.

The displacement is a cubic B-spline :math:`u`. With the features :math:`f_i` of the spot at :math:`x_i`, the features
:math:`f(x)` of the reference, and a robust loss :math:`\rho`, it minimises

.. math::
    \sum_i \rho\left(f(x_i + u(x_i)) - f_i\right) + \alpha \int |D^2 u|^2 + \beta \int |D u|^2,

plus the disagreement of the outlines, by Gauss-Newton steps, with features that are smoothed less and less. Lengths are
in spot spacings, so the penalties mean the same for all technologies.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from spotscape.registration._section import Field, Section, grid_points

# Distance of control points, at most so many a side.
_KNOTS, _MOST_KNOTS = 4.0, 60
_BENDING, _STRAIN = 8.0, 0.5
# Features are smoothed over these widths, one after the other.
_SIGMAS, _STEPS = (4.0, 2.0, 1.0), 6
_MOST_SPOTS = 6000
# Outlines farther apart than this are cut edges; nearer ones agree to about half a spacing.
_OUTLINE_REACH, _OUTLINE_SD = 4.0, 0.7
# Areas may shrink to this share; at zero the tissue would fold over.
_LEAST_AREA = 0.2
_STIFFER, _TRIES = 4.0, 5
_INVERSE_STEPS = 50


class Deformation(Field):
    """Displacements ``(2, nx, ny)`` on a regular grid, read by cubic splines; beyond the grid as at its border."""

    def displacements(self, points: np.ndarray) -> np.ndarray:
        """How far each of the points ``(n, 2)`` is moved."""
        where = ((np.asarray(points, dtype=np.float64) - self.origin) / self.step).T
        return np.stack([ndimage.map_coordinates(v, where, order=3, mode="nearest") for v in self.values], axis=1)

    def move(self, points: np.ndarray) -> np.ndarray:
        """Positions of the points after the deformation."""
        return np.asarray(points + self.displacements(points))

    def move_back(self, points: np.ndarray) -> np.ndarray:
        """Positions of the points before the deformation, by Newton's method."""
        eye, small = np.eye(2), 1e-3 * self.step
        found = points - self.displacements(points)
        for _ in range(_INVERSE_STEPS):
            gap = self.move(found) - points
            if np.abs(gap).max(initial=0) < 1e-9 * self.step:
                break
            slopes = [(self.displacements(found + small * e) - self.displacements(found - small * e)) for e in eye]
            jacobian = np.stack(slopes, axis=2) / (2 * small) + eye
            found = found - np.linalg.solve(jacobian, gap[..., None])[..., 0]
        return np.asarray(found)

    def scaled(self, unit: float, shift: np.ndarray) -> Deformation:
        """The same in another unit, with the origin elsewhere."""
        return Deformation(unit * self.origin + shift, unit * self.step, unit * self.values)

    def axes(self) -> list[np.ndarray]:
        """Coordinates of the grid, x and y."""
        return [low + self.step * np.arange(n) for low, n in zip(self.origin, self.values.shape[1:], strict=True)]

    def areas(self) -> np.ndarray:
        """By how much areas grow at each grid point; zero or less where the plane folds over."""
        (xx, xy), (yx, yy) = (np.gradient(v, self.step) for v in self.values)
        return np.asarray((1 + xx) * (1 + yy) - xy * yx)


class _Splines:
    """Cubic B-splines on a grid of control points around given points."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.step = max(_KNOTS, float((high - low).max()) / _MOST_KNOTS)
        self.shape = tuple(np.ceil((high - low) / self.step).astype(int) + 4)
        self.origin = low - 1.5 * self.step

    def basis(self, points: np.ndarray) -> sparse.csr_array:
        """Values of all splines at the points, ``(n, n_splines)``."""
        where = np.clip((points - self.origin) / self.step, 1, np.array(self.shape) - 2 - 1e-9)
        cell = np.floor(where).astype(int)
        t = where - cell
        weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        steps = np.arange(-1, 3)
        columns = (cell[:, 0, None, None] + steps[:, None]) * self.shape[1] + (cell[:, 1, None, None] + steps)
        values = weights[:, :, 0].T[:, :, None] * weights[:, :, 1].T[:, None, :]
        rows = np.repeat(np.arange(len(points)), 16)
        size = len(points), self.shape[0] * self.shape[1]
        return sparse.csr_array((values.ravel(), (rows, columns.ravel())), shape=size)

    def penalty(self) -> sparse.csr_array:
        """Bending and strain of one coordinate's displacement, quadratic in the coefficients."""
        one = [[sparse.csr_array(np.diff(np.eye(n), order, axis=0)) for n in self.shape] for order in range(3)]
        terms = []
        for x, y, weight in (
            (2, 0, _BENDING),
            (0, 2, _BENDING),
            (1, 1, 2 * _BENDING),
            (1, 0, _STRAIN),
            (0, 1, _STRAIN),
        ):
            slope = sparse.kron(one[x][0], one[y][1], format="csr")
            terms.append(weight * self.step ** (2 - 2 * (x + y)) * (slope.T @ slope))
        return sparse.csr_array(sum(terms[1:], terms[0]))


def fit_deformation(moving: Section, fixed: Section) -> Deformation | None:
    """Deform a slice that is registered to another one, by features of both; ``None`` if it would always fold.

    The second fit starts from the result of the first, because the penalties reduce each displacement a little.
    """
    first = _fit_once(moving, fixed)
    if first is None:
        return None
    second = _fit_once(Section.of(first.move(moving.points), moving.features), fixed)
    if second is None:
        return first
    grid = grid_points(first.axes())
    values = (second.move(first.move(grid)) - grid).T.reshape(first.values.shape)
    both = Deformation(first.origin, first.step, values)
    return both if both.areas().min() > _LEAST_AREA else first


def _fit_once(moving: Section, fixed: Section) -> Deformation | None:
    splines = _Splines(moving.points.min(axis=0) - 2, moving.points.max(axis=0) + 2)
    stiffness = 1.0
    for _ in range(_TRIES):
        field = _sampled(splines, _solve(moving, fixed, splines, stiffness))
        if field.areas().min() > _LEAST_AREA:
            return field
        stiffness *= _STIFFER
    return None


def _solve(moving: Section, fixed: Section, splines: _Splines, stiffness: float) -> np.ndarray:
    size = splines.shape[0] * splines.shape[1]
    penalty = stiffness * sparse.block_diag([splines.penalty()] * 2, format="csr") + 1e-6 * sparse.eye_array(2 * size)
    coefficients = np.zeros(2 * size)
    spots = moving.points[:: max(1, len(moving.points) // _MOST_SPOTS)]
    at_spots, at_outline = splines.basis(spots), splines.basis(moving.contour)
    for sigma in _SIGMAS:
        field = fixed.smooth_features(sigma)
        wanted = moving.smooth_features(sigma).at(spots)
        share = len(moving.points) / len(spots) / (4 * np.pi * sigma**2)
        for _ in range(_STEPS):
            moved = spots + _displaced(at_spots, coefficients)
            parts = [_features(moved, wanted, field, fixed, share), _outline(moving, fixed, at_outline, coefficients)]
            matrix, right = penalty, -(penalty @ coefficients)
            for basis, (normal, gradient) in zip((at_spots, at_outline), parts, strict=True):
                blocks = [[basis.T @ (basis * normal[:, i, j, None]) for j in range(2)] for i in range(2)]
                matrix = matrix + sparse.block_array(blocks, format="csr")
                right = right - np.concatenate([basis.T @ gradient[:, i] for i in range(2)])
            coefficients = coefficients + spsolve(matrix.tocsc(), right)
    return coefficients


def _displaced(basis: sparse.csr_array, coefficients: np.ndarray) -> np.ndarray:
    return np.stack([basis @ half for half in np.split(coefficients, 2)], axis=1)


def _features(
    moved: np.ndarray, wanted: np.ndarray, field: Field, fixed: Section, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each spot the 2-by-2 curvature and the gradient of its disagreement."""
    inside = fixed.depth.at(moved, outside=-1.0)[:, 0] > 1.0
    gap = field.at(moved) - wanted
    slope = field.gradient().at(moved).reshape(*gap.shape, 2)
    variance = np.median(gap[inside] ** 2, axis=0) / 0.455 if inside.any() else np.ones(gap.shape[1])
    scaled = gap**2 / np.maximum(variance, 1e-12)
    robust = inside * share / (1 + scaled.mean(axis=1) / 3)
    weights = robust[:, None] / np.maximum(variance, 1e-12)
    normal = np.einsum("nc,nci,ncj->nij", weights, slope, slope)
    return normal, np.einsum("nc,nci->ni", weights * gap, slope)


def _outline(
    moving: Section, fixed: Section, basis: sparse.csr_array, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same for each point of the outline, to the line through the nearest of the other outline."""
    moved = moving.contour + _displaced(basis, coefficients)
    distance, pair = cKDTree(fixed.contour).query(moved)
    normals = fixed.normals[pair]
    gap = (normals * (moved - fixed.contour[pair])).sum(axis=1)
    same = np.clip((normals * moving.normals).sum(axis=1), 0, None)
    # An outline has several points for each spacing of its length, which say the same.
    per_point = np.median(cKDTree(moving.contour).query(moving.contour, k=2)[0][:, 1])
    weights = per_point * same**2 * np.clip(1 - (distance / _OUTLINE_REACH) ** 2, 0, None) ** 2 / _OUTLINE_SD**2
    return weights[:, None, None] * normals[:, :, None] * normals[:, None, :], (weights * gap)[:, None] * normals


def _sampled(splines: _Splines, coefficients: np.ndarray) -> Deformation:
    step = splines.step / 2
    extent = (np.array(splines.shape) - 3) * splines.step
    axes = [splines.origin[i] + splines.step + step * np.arange(int(extent[i] / step) + 1) for i in range(2)]
    grid = grid_points(axes)
    values = _displaced(splines.basis(grid), coefficients)
    return Deformation(np.array([axes[0][0], axes[1][0]]), step, values.T.reshape(2, len(axes[0]), len(axes[1])))
