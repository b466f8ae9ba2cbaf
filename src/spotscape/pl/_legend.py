"""What is written around panels: legends, colour bars and titles, and the room that they take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from spotscape.pl._colors import Categories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from spotscape.pl._colors import Numbers
    from spotscape.pl._sheet import Look

NOWHERE = (None, "none")
_MARKERS = {"hexagonal": "h", "square": "s", "irregular": "o"}
# Rows beyond which a legend gets another column where its columns are not too wide, and where they are; inches.
_ROWS, _MOST_ROWS, _WIDEST = 14, 30, 4.0
# Inches of a wide letter, of a row, and of a marker with the space around it, at a size of 10 points.
_LETTER, _ROW, _MARKER = 0.085, 0.23, 0.45
# Share of a figure's width for a legend, and the share of their usual size to which letters shrink to keep to it.
_WIDE, _SMALLEST = 0.6, 0.6
# Inches between a title and the next panel.
_TITLE_GAP = 0.15


def legend_entries(values: Categories, look: Look) -> tuple[list[str], list[Any]]:
    """Names and colours of a legend, of categories that have spots; spots without a category come last."""
    if not values.names:
        return [], []
    rest = [values.rest] if (values.codes < 0).any() else []
    names = values.names
    if look.numbered(values):
        names = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    used = [code for code in np.unique(values.codes) if code >= 0]
    return (
        [*(names[code] for code in used), *rest],
        [*(values.colors[code] for code in used), *(look.na_color for _ in rest)],
    )


def legend_size(names: Sequence[str], heading: str, size: float | None) -> tuple[float, float]:
    """Width and height in inches of a legend with a heading, in letters of ``size`` points."""
    if not names:
        return 0.0, 0.0
    columns, unit = _columns(names, size, _MOST_ROWS), _points(size) / 10
    width = max(columns * _column_width(names, size), unit * (_MARKER + _LETTER * len(heading)))
    return width, unit * _ROW * (-(-len(names) // columns) + 1)


def _points(size: float | None) -> float:
    return float(FontProperties(size=size or plt.rcParams["legend.fontsize"]).get_size_in_points())


def _column_width(names: Sequence[str], size: float | None) -> float:
    return _points(size) / 10 * (_MARKER + _LETTER * max(map(len, names)))


def _columns(names: Sequence[str], size: float | None, most_rows: int) -> int:
    """Columns of a legend that has at most so many rows."""
    not_too_wide = int(_WIDEST / _column_width(names, size))
    return max(1, -(-len(names) // most_rows), min(-(-len(names) // _ROWS), not_too_wide))


def _fitted(ax: Axes, names: Sequence[str], size: float | None) -> tuple[float, int]:
    """Size in points and most rows of a legend beside the axes; letters are smaller where the figure is too small."""
    spec, sheet = ax.get_subplotspec(), ax.figure.bbox
    width = _WIDE * sheet.width / ax.figure.dpi
    high = sheet.height / ax.figure.dpi / (1 if spec is None else spec.get_gridspec().nrows)
    if size is None:
        needed = legend_size(names, "", None)
        size = _points(None) * float(np.clip(min(width / needed[0], high / needed[1]), _SMALLEST, 1))
    return size, max(1, round(high / (_ROW * size / 10)) - 1)


def inches(ax: Axes, side: Literal["width", "height"]) -> float:
    """A side of the axes."""
    return float(getattr(ax.get_position(), side) * getattr(ax.figure.bbox, side) / ax.figure.dpi)


def text_width(text: str, size: str | float) -> float:
    """Width of a line in inches, in a size of matplotlib's."""
    return float(TextPath((0, 0), text.strip(" ") or ".", prop=FontProperties(size=size)).get_extents().width / 72)


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
    boxes = [ax.get_window_extent() for ax in figure.axes]
    for ax, box in zip(figure.axes, boxes, strict=True):
        if not (title := ax.title.get_label()):
            continue
        beside = [one.x0 for one in boxes if one.x0 >= box.x1 and one.y0 < box.y1 and one.y1 > box.y0]
        dpi, size = figure.dpi, plt.rcParams["axes.titlesize"]
        room = (min(beside, default=figure.bbox.x1) - box.x0) / dpi - _TITLE_GAP
        lines = broken(str(title), max(room, box.width / dpi), size)
        # Titles that are wider than their panel begin where it begins.
        is_wide = max(text_width(line, size) for line in lines.split("\n")) > box.width / dpi
        ax.title.set(text=lines, ha="left" if is_wide else "center", x=0.0 if is_wide else 0.5)


def add_legend(
    ax: Axes, kind: str, values: Categories | Numbers, look: Look, *, title: str | None, edge: float = 1.0
) -> None:
    """Put the legend or colour bar to the right of ``ax``, for which the layout makes room, or where it is wanted.

    What is drawn ends at ``edge``, in widths of the axes.
    """
    if not isinstance(values, Categories):
        if look.colorbar:
            label = broken(title or "", inches(ax, "height"))
            add_colorbar(ax, ScalarMappable(values.norm, look.cmap), label, edge=edge)
        return
    names, colors = legend_entries(values, look)
    if look.legend_loc in (*NOWHERE, "on data") or not names:
        return
    beside = look.legend_loc == "right margin"
    place: Any = "center left" if beside else look.legend_loc
    size, rows = _fitted(ax, names, look.legend_fontsize)
    ax.legend(
        handles=[
            Line2D([], [], marker=_MARKERS[kind], ls="", ms=0.8 * size, color=color, label=name)
            for name, color in zip(names, colors, strict=True)
        ],
        ncols=_columns(names, size, rows),
        loc=place,
        bbox_to_anchor=(edge + 0.02, 0.5) if beside else None,
        frameon=not beside,
        title=title,
        fontsize=size,
        alignment="left",
        handletextpad=0.3,
        columnspacing=1.0,
    )


def add_colorbar(ax: Axes, mappable: ScalarMappable, label: str, *, edge: float = 1.0) -> None:
    """Put a colour bar to the right of ``ax``, of which what is drawn ends at ``edge``."""
    bar = ax.figure.colorbar(mappable, cax=ax.inset_axes((edge + 0.03, 0.2, 0.05, 0.6)))
    bar.outline.set_visible(False)
    bar.set_label(label)
