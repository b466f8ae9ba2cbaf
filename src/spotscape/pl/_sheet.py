"""The figure: a block of panels for every key, with its legend or colour bar beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from spotscape.pl._palette import UNLABELLED
from spotscape.pl._panel import Slice, color_scale, draw_slice
from spotscape.pl._values import Categories, Numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this many spots a vector file would take longer to open than to look at.
RASTER_ABOVE = 50_000
_PANEL_WIDTH = 3.2
_LEGEND_ROWS = 14
_MARKERS = {"hexagonal": "h", "square": "s", "irregular": "o"}


@dataclass(frozen=True)
class Style:
    """How panels look, whatever they show."""

    ncols: int
    size: float | None
    cmap: str
    invert_y: bool
    legend: bool


def draw_on(ax: Axes, piece: Slice, values: Categories | Numbers, style: Style, title: str) -> Axes:
    """Draw a single panel on the user's axes, legend beside them."""
    _panel(ax, piece, values, style, box=piece.box, title=title)
    if style.legend:
        add_legend(ax, piece, values, style, title=None)
    return ax


def draw_sheet(
    pieces: Sequence[Slice],
    columns: Sequence[Categories | Numbers],
    style: Style,
    *,
    titles: Sequence[str],
    figsize: tuple[float, float] | None,
    dpi: float | None,
) -> Figure:
    """Draw every slice for every key: keys below each other, or side by side where there is one slice."""
    boxes = _boxes(pieces)
    across = min(style.ncols, len(pieces))
    down = -(-len(pieces) // across)
    blocks_across = min(style.ncols, len(columns)) if len(pieces) == 1 else 1
    blocks_down = -(-len(columns) // blocks_across)
    if figsize is None:
        width, height = _block_size(boxes, across, down, columns, legend=style.legend)
        figsize = (blocks_across * width, blocks_down * height)
    figure = plt.figure(figsize=figsize, dpi=dpi, layout="constrained")
    # Closing takes the figure out of pyplot's state; Jupyter then shows it once, as the value of the cell.
    plt.close(figure)
    grid = figure.add_gridspec(blocks_down * down, blocks_across * across)
    for index, values in enumerate(columns):
        top, left = index // blocks_across * down, index % blocks_across * across
        axes = [figure.add_subplot(grid[top + i // across, left + i % across]) for i in range(len(pieces))]
        for ax, piece, box, title in zip(axes, pieces, boxes, titles[index * len(pieces) :], strict=False):
            _panel(ax, piece, values, style, box=box, title=title)
        if style.legend:
            heading = values.key if len(pieces) > 1 else None
            add_legend(axes[across - 1], pieces[0], values, style, title=heading)
    return figure


def _panel(ax: Axes, piece: Slice, values: Categories | Numbers, style: Style, *, box: np.ndarray, title: str) -> None:
    n_spots = len(values.codes if isinstance(values, Categories) else values.values)
    draw_slice(
        ax,
        piece,
        values,
        box=box,
        size=style.size,
        cmap=style.cmap,
        invert_y=style.invert_y,
        rasterized=n_spots > RASTER_ABOVE,
    )
    ax.set_title(title)


def add_legend(ax: Axes, piece: Slice, values: Categories | Numbers, style: Style, *, title: str | None) -> None:
    """Put the legend or colour bar to the right of ``ax``; the layout makes room for it."""
    if isinstance(values, Numbers):
        bar = ax.figure.colorbar(color_scale(values, style.cmap), cax=ax.inset_axes((1.03, 0.2, 0.05, 0.6)))
        bar.outline.set_visible(False)
        bar.set_label(title or "")
        return
    shown = list(zip(values.names, values.colors, strict=True))
    if (values.codes < 0).any():
        shown.append(("unlabelled", UNLABELLED))
    marker = _MARKERS[piece.lattice.kind]
    ax.legend(
        handles=[Line2D([], [], marker=marker, ls="", ms=8, color=color, label=name) for name, color in shown],
        ncols=-(-len(shown) // _LEGEND_ROWS),
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        title=title,
        alignment="left",
        handletextpad=0.3,
        columnspacing=1.0,
    )


def _boxes(pieces: Sequence[Slice]) -> list[np.ndarray]:
    """One frame for all slices, so that their sizes compare; its shape only, where sizes differ more than twofold."""
    boxes = [piece.box for piece in pieces]
    extents = np.array([box[1] - box[0] for box in boxes])
    longest = extents.max(axis=1)
    if longest.max() > 2 * longest.min():
        frame = (extents / longest[:, None]).max(axis=0)
        frames = frame * (extents / frame).max(axis=1, keepdims=True)
    else:
        frames = np.broadcast_to(extents.max(axis=0), extents.shape)
    centres = [box.mean(axis=0) for box in boxes]
    return [np.stack([centre - frame / 2, centre + frame / 2]) for centre, frame in zip(centres, frames, strict=True)]


def _block_size(
    boxes: Sequence[np.ndarray], across: int, down: int, columns: Sequence[Categories | Numbers], *, legend: bool
) -> tuple[float, float]:
    extents = np.array([box[1] - box[0] for box in boxes])
    aspect = float(np.clip(np.max(extents[:, 1] / extents[:, 0]), 0.4, 2.0))
    beside = max(legend_width(values) for values in columns) if legend else 0.0
    # 0.3 inch for the title above each panel.
    return across * _PANEL_WIDTH + beside, down * (_PANEL_WIDTH * aspect + 0.3)


def legend_width(values: Categories | Numbers) -> float:
    if not isinstance(values, Categories):
        return 0.8
    names = [*values.names, *(["unlabelled"] if (values.codes < 0).any() else [])]
    longest = max(map(len, [*names, values.key]))
    return -(-len(names) // _LEGEND_ROWS) * (0.45 + 0.085 * longest)
