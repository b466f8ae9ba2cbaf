"""Where the spots lie: lattices and irregular cells, and the outline of the tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from spotscape.datasets._fields import SmoothField

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Centre to centre in micrometres: Visium and square arrays, and neighbouring cells of dense tissue.
SPACING: Final = {"hexagonal": 100.0, "square": 100.0, "irregular": 15.0}
# The share of cells that an irregular tissue leaves out (vessels, cells that failed quality control).
_LOST_CELLS = 0.12
_OUTLINE_FREQUENCIES = np.arange(2, 6)


@dataclass(frozen=True)
class Outline:
    """A rounded, irregular tissue outline around the origin, in spot spacings.

    Attributes
    ----------
    semi_axes
        Shape ``(2,)``.
    amplitudes, phases
        Of the bumps around the rim, shape ``(4,)`` each.
    """

    semi_axes: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, n_spots: int, geometry: str) -> Outline:
        """Draw an outline that holds about ``n_spots`` spots."""
        aspect = rng.uniform(1.05, 1.35)
        radius = np.sqrt(n_spots * _area_per_spot(geometry) / np.pi) * 0.93
        amplitudes = 0.07 * rng.uniform(0.3, 1.0, 4) / np.sqrt(_OUTLINE_FREQUENCIES / 2)
        phases = rng.uniform(0, 2 * np.pi, 4)
        return cls(radius * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)]), amplitudes, phases)

    @property
    def radius(self) -> float:
        """The mean radius."""
        return float(np.sqrt(self.semi_axes.prod()))

    def level(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Below 1 inside the tissue, growing outwards; shape ``(n, 2)`` to ``(n,)``."""
        scaled = np.abs(points / self.semi_axes)
        angle = np.arctan2(points[:, 1], points[:, 0])
        rim = 1 + np.cos(angle[:, None] * _OUTLINE_FREQUENCIES + self.phases) @ self.amplitudes
        return np.asarray((scaled**2.6).sum(axis=1) ** (1 / 2.6) / rim)

    def grid(self, n_per_side: int = 96) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """A square grid of points over the tissue, shape ``(n_per_side ** 2, 2)``, and which of them lie inside."""
        axes = [np.linspace(-1.3 * half, 1.3 * half, n_per_side) for half in self.semi_axes]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return points, self.level(points) < 1


def lay_spots(geometry: str, half_width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Spots that fill a square around the origin, in spot spacings, shape ``(n, 2)``."""
    extent = half_width + 2
    if geometry == "square":
        points = _lattice(extent, row_height=1.0, row_shift=0.0)
    elif geometry == "hexagonal":
        points = _lattice(extent, row_height=np.sqrt(3) / 2, row_shift=0.5)
    else:
        return _irregular_cells(extent, rng)
    return points + rng.uniform(-0.5, 0.5, 2)


def _area_per_spot(geometry: str) -> float:
    shares = {"square": 1.0, "hexagonal": np.sqrt(3) / 2, "irregular": np.sqrt(3) / 2 / (1 - _LOST_CELLS)}
    return float(shares[geometry])


def _lattice(extent: float, *, row_height: float, row_shift: float) -> NDArray[np.float64]:
    n_rows, n_columns = int(np.ceil(extent / row_height)), int(np.ceil(extent))
    row, column = np.mgrid[-n_rows : n_rows + 1, -n_columns : n_columns + 1].reshape(2, -1)
    return np.column_stack([column + row_shift * (row % 2), row * row_height])


def _irregular_cells(extent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    points = _lattice(extent * 1.1, row_height=np.sqrt(3) / 2, row_shift=0.5)
    points = points + rng.normal(0, 0.2, points.shape)
    stretch = [SmoothField.draw(rng, 25.0)(points) for _ in range(2)]
    points = points + 0.8 * np.column_stack(stretch)
    return points[rng.random(len(points)) > _LOST_CELLS]
