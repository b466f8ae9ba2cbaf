"""Rigid motions and similarities of the plane, as homogeneous matrices."""

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


def displacement(one: np.ndarray, other: np.ndarray, points: np.ndarray) -> float:
    """Root mean square distance between where two matrices move the same points."""
    return float(np.sqrt(((move(one, points) - move(other, points)) ** 2).sum(axis=1).mean()))
