"""Two slices on one pair of axes, joined by lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.transforms import Affine2D

from spotscape.pl._panel import Tiles, face_colors, shape
from spotscape.pl._sheet import RASTER_ABOVE, add_legend, legend_width
from spotscape.pl._values import Categories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._panel import Slice
    from spotscape.pl._sheet import Style
    from spotscape.pl._values import Numbers

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


def draw_pairs(
    pairs: Sequence[Pair],
    values: Categories | Numbers,
    style: Style,
    *,
    layout: str,
    linewidth: float,
    figsize: tuple[float, float] | None,
    dpi: float | None,
) -> Figure:
    """Draw a panel for each pair: side by side where slices lie above each other, else below each other."""
    across, down = (len(pairs), 1) if layout == "above" else (1, len(pairs))
    if figsize is None:
        boxes = [_frame(*place(pair, layout, invert_y=style.invert_y)) for pair in pairs]
        aspect = max((box[1] - box[0])[1] / (box[1] - box[0])[0] for box in boxes)
        beside = legend_width(values) if style.legend else 0.0
        figsize = (across * _WIDTH[layout] + beside, down * (_WIDTH[layout] * float(np.clip(aspect, 0.2, 2)) + 0.3))
    figure = plt.figure(figsize=figsize, dpi=dpi, layout="constrained")
    plt.close(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for index, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
        last = index == across - 1
        draw_pair(ax, pair, values, style, layout=layout, linewidth=linewidth, legend=style.legend and last)
    return figure


def draw_pair(
    ax: Axes,
    pair: Pair,
    values: Categories | Numbers,
    style: Style,
    *,
    layout: str,
    linewidth: float,
    legend: bool,
) -> Axes:
    """Draw two slices and the lines between them."""
    query, reference = place(pair, layout, invert_y=style.invert_y)
    for placed in (query, reference):
        _draw_tiles(ax, placed, values, style)
    ends = np.stack([query.points_of(pair.query_rows), reference.points_of(pair.reference_rows)], axis=1)
    colors = face_colors(values, pair.query_rows, style.cmap)
    if len(ends):
        # A light rim keeps a line visible over spots of its own colour.
        ax.add_collection(LineCollection(list(ends), colors="white", linewidths=linewidth + 0.7, alpha=0.4, zorder=2))
        ax.add_collection(LineCollection(list(ends), colors=colors, linewidths=linewidth, alpha=0.9, zorder=3))
    low, high = _frame(query, reference)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    ax.set_title(f"{pair.query.name} → {pair.reference.name}")
    if legend:
        add_legend(ax, pair.query, values, style, title=values.key)
    return ax


def _frame(query: Placed, reference: Placed) -> np.ndarray:
    boxes = np.stack([query.box, reference.box])
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def _draw_tiles(ax: Axes, placed: Placed, values: Categories | Numbers, style: Style) -> None:
    scale = 1.0 if style.size is None else style.size
    transform = Affine2D()
    transform.set_matrix(np.block([[placed.matrix, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]]))
    n_spots = len(values.codes if isinstance(values, Categories) else values.values)
    tiles = Tiles(
        [shape(placed.piece.lattice, scale).transformed(transform)],
        offsets=placed.points,
        offset_transform=ax.transData,
        facecolors=face_colors(values, placed.piece.rows, style.cmap),
        edgecolors="face" if placed.piece.lattice.kind != "irregular" and scale == 1 else "none",
        linewidths=0.35,
        rasterized=n_spots > RASTER_ABOVE,
        zorder=1,
    )
    ax.add_collection(tiles, autolim=False)
