"""What is written around panels: legends, colour bars and titles, and the room that they take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.cbook import is_math_text
from matplotlib.cm import ScalarMappable
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

from spotscape.pl._colors import Categories

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.legend import Legend

    from spotscape.pl._colors import Numbers
    from spotscape.pl._sheet import Look

NOWHERE = (None, "none")
_MARKERS = {"hexagonal": "h", "square": "s", "irregular": "o"}
# Rows beyond which a legend gets another column where its columns are not too wide, and where they are; inches.
_ROWS, _MOST_ROWS, _WIDEST = 14, 30, 4.0
# Inches of a row, and of a marker with the space around it, at a size of 10 points.
_ROW, _MARKER = 0.23, 0.45
# Share of a figure's width for a legend, and the share of their usual size to which letters shrink to keep to it.
_WIDE, _SMALLEST = 0.6, 0.6
# Inches between a title and the next panel.
_TITLE_GAP = 0.15


def inches(ax: Axes, side: Literal["width", "height"]) -> float:
    """A side of the axes."""
    return float(getattr(ax.get_position(), side) * getattr(ax.figure.bbox, side) / ax.figure.dpi)


def text_width(text: str, size: str | float) -> float:
    """Width of a line in inches, in a size of matplotlib's."""
    # The outlines of TextPath would give the same fifty times slower.
    line = text.strip(" ") or "."
    measured = text_to_path.get_text_width_height_descent(line, FontProperties(size=size), ismath=is_math_text(line))
    return float(measured[0] / 72)


def broken(name: str, width: float, size: str | float = "medium") -> str:
    """A name in lines that are no longer than so many inches.

    It breaks after spaces; words that are too long alone break after underscores and hyphens.
    """
    if "\n" in name:
        return "\n".join(broken(line, width, size) for line in name.split("\n"))
    lines = [""]
    for word in re.findall(r"[^ ]+ *| +", name):
        for part in [word] if text_width(word, size) <= width else re.findall(r"[^_-]*[_-]|[^_-]+", word):
            if lines[-1] and text_width(lines[-1] + part, size) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def add_title(ax: Axes, title: str) -> None:
    """Write a title over the axes; :func:`fit_titles` gives it the room that it has when all is in its place."""
    ax.set_title(broken(title, inches(ax, "width"), plt.rcParams["axes.titlesize"]))
    # Matplotlib does not draw the label of a text, which keeps the title as it was given.
    ax.title.set_label(title)


def fit_titles(figure: Any) -> None:
    """Break titles where the next panel or the figure ends: they may stand over the legend of their panel too."""
    for ax in figure.axes:
        # A layout moves axes; those of fixed aspect shrink when they are drawn.
        if ax.get_axes_locator() is None:
            ax.apply_aspect()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    labels = [ax.yaxis.get_tightbbox() if ax.axison else None for ax in figure.axes]
    starts = [box.x0 if own is None else min(box.x0, own.x0) for box, own in zip(boxes, labels, strict=True)]
    for ax, box in zip(figure.axes, boxes, strict=True):
        if not (title := ax.title.get_label()):
            continue
        beside = [
            start
            for one, start in zip(boxes, starts, strict=True)
            if one.x0 >= box.x1 and one.y0 < box.y1 and one.y1 > box.y0
        ]
        dpi, size = figure.dpi, plt.rcParams["axes.titlesize"]
        room = (min(beside, default=figure.bbox.x1) - box.x0) / dpi - _TITLE_GAP
        lines = broken(str(title), max(room, box.width / dpi), size)
        # Titles that are wider than their panel begin where it begins.
        is_wide = max(text_width(line, size) for line in lines.split("\n")) > box.width / dpi
        ax.title.set(text=lines, ha="left" if is_wide else "center", x=0.0 if is_wide else 0.5)


class _Share(Artist):
    """The room that a legend beside several rows of panels needs beside the first: its width, a part of its height."""

    def __init__(self, legend: Legend, rows: int) -> None:
        super().__init__()
        self._legend, self._rows = legend, rows

    def get_tightbbox(self, renderer: RendererBase | None = None) -> Bbox:
        box = self._legend.get_window_extent(renderer)
        return Bbox([[box.x0, box.y1 - box.height / self._rows], [box.x1, box.y1]])


def add_legend(
    ax: Axes,
    kind: str,
    values: Categories | Numbers,
    look: Look,
    *,
    title: str | None,
    edge: float = 1.0,
    rows: int = 1,
) -> None:
    """Put the legend or colour bar to the right of ``ax``, or where it is wanted.

    What is drawn ends at ``edge``, in widths of the axes. In a figure of a given size, letters shrink to keep to it. A
    legend that is higher than the axes may reach down beside as many ``rows`` of panels.
    """
    if not isinstance(values, Categories):
        if look.colorbar:
            label = broken(title or "", inches(ax, "height"))
            add_colorbar(ax, ScalarMappable(values.norm, look.cmap), label, edge=edge)
        return
    # 2 before 10; categories that have spots; spots without a category come last.
    values = values.in_order()
    used, numbered = np.unique(values.codes), look.numbered(values)
    known = [f"{number} {name}" if numbered else name for number, name in enumerate(values.names, start=1)]
    entries = [(known[code], values.colors[code]) for code in used if code >= 0]
    entries += [(values.rest, look.na_color)] if values.names and (used < 0).any() else []
    if look.legend_loc in (*NOWHERE, "on data") or not entries:
        return
    beside = look.legend_loc == "right margin"
    place: Any = "center left" if beside else look.legend_loc

    def put(size: float, most_rows: int) -> Legend:
        wide = size / 10 * _MARKER + max(text_width(name, size) for name, _ in entries)
        n_columns = max(-(-len(entries) // most_rows), min(-(-len(entries) // _ROWS), int(_WIDEST / wide)))
        return ax.legend(
            handles=[
                Line2D([], [], marker=_MARKERS[kind], ls="", ms=0.8 * size, color=color, label=name)
                for name, color in entries
            ],
            ncols=max(1, n_columns), loc=place,
            bbox_to_anchor=(edge + 0.02, 0.5) if beside else None, frameon=not beside, title=title,
            fontsize=size, alignment="left", handletextpad=0.3, columnspacing=1.0,
        )  # fmt: skip

    wanted = FontProperties(size=look.legend_fontsize or plt.rcParams["legend.fontsize"])
    size = float(wanted.get_size_in_points())
    legend = put(size, _MOST_ROWS)
    if look.is_fixed:
        sheet, spec = ax.figure.bbox, ax.get_subplotspec()
        high = sheet.height / (1 if spec is None else spec.get_gridspec().nrows)
        if look.legend_fontsize is None:
            box = legend.get_window_extent()
            size *= float(np.clip(min(_WIDE * sheet.width / box.width, rows * high / box.height), _SMALLEST, 1))
        legend = put(size, max(1, round(rows * high / ax.figure.dpi / (_ROW * size / 10)) - 1))
    if beside and rows > 1 and legend.get_window_extent().height > ax.bbox.height:
        legend.set_loc("upper left")
        legend.set_bbox_to_anchor((edge + 0.02, 1.0), ax.transAxes)
        legend.set_in_layout(False)
        ax.add_artist(_Share(legend, rows)).set_clip_on(False)


def add_colorbar(ax: Axes, mappable: ScalarMappable, label: str, *, edge: float = 1.0) -> None:
    """Put a colour bar to the right of ``ax``, of which what is drawn ends at ``edge``."""
    bar = ax.figure.colorbar(mappable, cax=ax.inset_axes((edge + 0.03, 0.2, 0.05, 0.6)))
    bar.outline.set_visible(False)
    bar.set_label(label)
