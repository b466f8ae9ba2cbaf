"""What happens to a section on its way to the slide: turned, shifted, mirrored, torn. All of it known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

_TEAR_WIDTH = (2.5, 5.0)
# How far beside the crack the tissue is pushed, as a multiple of the opening; above 0.5 nothing folds over.
_TEAR_REACH = 4.0


@dataclass(frozen=True)
class Tear:
    """A crack from inside the tissue to its rim that opens like a wedge (slide frame before turning, spacings).

    Attributes
    ----------
    tip
        Where the crack ends, shape ``(2,)``.
    direction
        Unit vector from the tip to the rim, shape ``(2,)``.
    length
        From the tip to the rim.
    width
        Opening at the rim.
    """

    tip: NDArray[np.float64]
    direction: NDArray[np.float64]
    length: float
    width: float

    @classmethod
    def draw(cls, rng: np.random.Generator, radius: float) -> Tear:
        """Draw a crack that reaches from somewhere between centre and rim outwards."""
        angle = rng.uniform(0, 2 * np.pi)
        outwards = np.array([np.cos(angle), np.sin(angle)])
        tip = outwards * radius * rng.uniform(0.15, 0.4)
        skewed = angle + rng.uniform(-0.4, 0.4)
        direction = np.array([np.cos(skewed), np.sin(skewed)])
        return cls(tip, direction, radius, rng.uniform(*_TEAR_WIDTH))

    def close(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where torn ``points`` lay before, and which of them are on tissue and not in the crack."""
        normal = np.array([-self.direction[1], self.direction[0]])
        offset = points - self.tip
        along, across = offset @ self.direction, offset @ normal
        opening = self.width / 2 * np.clip(along / self.length, 0, None)
        beside = np.abs(across) - opening
        push = np.sign(across) * opening * np.exp(-np.clip(beside, 0, None) / (_TEAR_REACH * self.width))
        return points - push[:, None] * normal, (beside >= 0) | (opening == 0)


def rigid(angle: float, shift: Sequence[float] | NDArray[np.float64], *, mirrored: bool) -> NDArray[np.float64]:
    """The homogeneous 3-by-3 matrix that mirrors x, then turns by ``angle`` degrees, then shifts."""
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    matrix[:2, 2] = shift
    return matrix


def apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move ``points`` of shape ``(n, 2)`` by a homogeneous matrix of shape ``(3, 3)``."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def placements(
    rng: np.random.Generator,
    n_slices: int,
    *,
    rotation: float | Sequence[float],
    shift: float | Sequence[Sequence[float]],
    flip: Collection[int],
) -> NDArray[np.float64]:
    """How each slice lies on its slide: matrices from the tissue's frame to the slide's, ``(n_slices, 3, 3)``.

    A number is the largest rotation (degrees) or shift (spacings) to draw, with the first slice left in place; a
    sequence gives the values of all slices.
    """
    moved = np.arange(n_slices) > 0
    angles = rng.uniform(-1, 1, n_slices) * moved
    headings = rng.uniform(0, 2 * np.pi, n_slices)
    distances = np.sqrt(rng.random(n_slices)) * moved
    offsets = distances[:, None] * np.column_stack([np.cos(headings), np.sin(headings)])
    angles = angles * rotation if np.ndim(rotation) == 0 else np.asarray(rotation, dtype=float)
    offsets = offsets * shift if np.ndim(shift) == 0 else np.asarray(shift, dtype=float)
    return np.stack([rigid(angles[i], offsets[i], mirrored=i in flip) for i in range(n_slices)])
