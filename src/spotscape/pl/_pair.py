"""Two slices on one pair of axes, joined by lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.transforms import Affine2D

from spotscape.pl._panel import add_tiles, face_colors
from spotscape.pl._sheet import add_legend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from spotscape.pl._sheet import Look
    from spotscape.pl._slices import Slice
    from spotscape.pl._values import Categories, Numbers

# A slice laid down: y is shortened, and what is farther back moves to the right.
_LAID_DOWN = np.array([[1.0, 0.42], [0.0, 0.5]])
_GAP = {"above": 0.34, "beside": 0.22}
_WIDTH = {"above": 4.6, "beside": 7.5}


@dataclass(frozen=True)
class Pair:
    """Two slices, and the rows of the spots that are joined."""

    query: Slice
    reference: Slice
    query_rows: np.ndarray
    reference_rows: np.ndarray


@dataclass(frozen=True)
class Placed:
    """A slice with where its spots are drawn, and the linear map that its tiles undergo."""

    piece: Slice
    matrix: np.ndarray
    points: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Corners of the drawn spots with a margin."""
        margin = np.abs(self.matrix).sum(axis=1) * self.piece.lattice.spacing
        return np.stack([self.points.min(axis=0) - margin, self.points.max(axis=0) + margin])

    def points_of(self, rows: np.ndarray) -> np.ndarray:
        """Where the spots ``rows`` of the AnnData are drawn."""
        return np.asarray(self.points[np.searchsorted(self.piece.rows, rows)])

    def moved(self, shift: np.ndarray) -> Placed:
        """Return the same slice elsewhere."""
        return Placed(self.piece, self.matrix, self.points + shift)


def place(pair: Pair, layout: str, *, invert_y: bool) -> tuple[Placed, Placed]:
    """Lay both slices out, y pointing up: the reference above the query or to its right."""
    longest = [np.ptp(piece.coords, axis=0).max() for piece in (pair.query, pair.reference)]
    differ = max(longest) > 2 * min(longest) > 0
    placed = []
    for piece, extent in zip((pair.query, pair.reference), longest, strict=True):
        matrix = np.diag([1.0, -1.0 if invert_y else 1.0]) / (extent if differ else 1.0)
        if layout == "above":
            matrix = _LAID_DOWN @ matrix
        centre = piece.coords.min(axis=0) / 2 + piece.coords.max(axis=0) / 2
        placed.append(Placed(piece, matrix, (piece.coords - centre) @ matrix.T))
    query, reference = placed
    extents = np.stack([np.ptp(one.box, axis=0) for one in placed])
    if layout == "above":
        # The gap has to let lines be told apart, whatever the height of the slices.
        rise = extents[:, 1].mean() + _GAP[layout] * extents[:, 0].max()
        return query, reference.moved(np.array([0.0, rise]))
    return query, reference.moved(np.array([extents[:, 0].mean() + _GAP[layout] * extents[:, 0].max(), 0.0]))


def pair_size(pairs: Sequence[Pair], values: Categories | Numbers, look: Look, layout: str) -> tuple[float, float]:
    """Size in inches: panels side by side where slices lie above each other, else below each other."""
    across, down = (len(pairs), 1) if layout == "above" else (1, len(pairs))
    boxes = [_frame(*place(pair, layout, invert_y=look.invert_y)) for pair in pairs]
    aspect = float(np.clip(max((box[1] - box[0])[1] / (box[1] - box[0])[0] for box in boxes), 0.2, 2))
    return across * _WIDTH[layout] + look.margin(values), down * (_WIDTH[layout] * aspect + 0.3)


def draw_pair(
    ax: Axes, pair: Pair, values: Categories | Numbers, look: Look, *, layout: str, linewidth: float, legend: bool
) -> None:
    """Draw two slices and the lines between them."""
    query, reference = place(pair, layout, invert_y=look.invert_y)
    for placed in (query, reference):
        laid = Affine2D(np.block([[placed.matrix, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]]))
        scale = 1.0 if look.size is None else look.size
        piece = placed.piece
        add_tiles(ax, piece.lattice, placed.points, piece.rows, values, look=look, scale=scale, shape_transform=laid)
    ends = np.stack([query.points_of(pair.query_rows), reference.points_of(pair.reference_rows)], axis=1)
    if len(ends):
        colors = face_colors(values, pair.query_rows, look)
        # A light rim keeps a line visible over spots of its own colour.
        ax.add_collection(LineCollection(list(ends), colors="white", linewidths=linewidth + 0.7, alpha=0.4, zorder=2))
        ax.add_collection(LineCollection(list(ends), colors=colors, linewidths=linewidth, alpha=0.9, zorder=3))
    low, high = _frame(query, reference)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    ax.set_title(f"{pair.query.name} → {pair.reference.name}")
    if legend:
        add_legend(ax, pair.query.lattice.kind, values, look, title=values.key)


def _frame(query: Placed, reference: Placed) -> np.ndarray:
    boxes = np.stack([query.box, reference.box])
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])
