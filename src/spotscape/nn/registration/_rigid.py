"""Rigid motions and similarities of the plane as homogeneous 3-by-3 matrices."""

from __future__ import annotations

import numpy as np


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points ``(n, 2)`` by a homogeneous matrix ``(3, 3)``.

    >>> move(motion(90.0, (1.0, 0.0)), np.array([[2.0, 0.0]])).round(6).tolist()
    [[1.0, 2.0]]
    """
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


def angle_of(matrix: np.ndarray) -> float:
    """Degrees by which a matrix turns, in ``(-180, 180]``; of a mirroring one after its mirroring of x."""
    column = matrix[:2, 1]
    return float(np.rad2deg(np.arctan2(-column[0], column[1])))


def mirrors(matrix: np.ndarray) -> bool:
    """Whether a matrix turns the plane over."""
    return bool(np.linalg.det(matrix[:2, :2]) < 0)


def displacement(one: np.ndarray, other: np.ndarray, points: np.ndarray) -> float:
    """Root mean square distance between where two matrices move the same points."""
    return float(np.sqrt(((move(one, points) - move(other, points)) ** 2).sum(axis=1).mean()))


def fit_rigid(
    source: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    scale: bool = False,
    mirror: bool | None = False,
) -> np.ndarray:
    """The rigid motion, or similarity, that takes ``source`` nearest to ``target``, point by point, in least squares.

    Parameters
    ----------
    source, target
        Shape ``(n, 2)``; row ``i`` of one belongs to row ``i`` of the other.
    weights
        Non-negative, shape ``(n,)``; ``None`` weighs all alike.
    scale
        Whether the size may change.
    mirror
        Whether the motion turns the plane over: yes, no, or ``None`` for what fits better.

    Returns
    -------
    Homogeneous matrix ``(3, 3)``.

    References
    ----------
    S. Umeyama, IEEE Transactions on Pattern Analysis and Machine Intelligence 13 (1991) 376-380.
    """
    share = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    means = share @ source, share @ target
    left, right = source - means[0], target - means[1]
    u, strengths, vt = np.linalg.svd(right.T @ (share[:, None] * left))
    natural = np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0
    wanted = natural if mirror is None else (-1.0 if mirror else 1.0)
    signs = np.array([1.0, natural * wanted])
    spread = float(share @ (left**2).sum(axis=1))
    size = float(strengths @ signs) / spread if scale and spread > 0 else 1.0
    matrix = np.eye(3)
    matrix[:2, :2] = size * (u * signs) @ vt
    matrix[:2, 2] = means[1] - matrix[:2, :2] @ means[0]
    return matrix
