"""Figures: a block of panels for every key, with its legend or colour bar beside it, handed out as scanpy does."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypedDict, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend

from spotscape._core.colors import UNLABELLED
from spotscape.pl._colors import READABLE, Categories, Numbers, store_colors
from spotscape.pl._legend import NOWHERE, add_legend, add_title, broken, fit_titles, inches
from spotscape.pl._panel import RASTER_ABOVE, draw_slice
from spotscape.pl._slices import read_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._slices import Slice

    Shown = Figure | Axes | list[Axes] | None


class Output(TypedDict, total=False):
    """Where a plot goes, see :func:`spotscape.pl.domains`."""

    figsize: tuple[float, float] | None
    dpi: float | None
    ax: Axes | Sequence[Axes] | None
    show: bool | None
    return_fig: bool


class Looks(Output, total=False):
    """How spots look, see :func:`spotscape.pl.domains`."""

    size: float | None
    alpha: float
    cmap: Any
    na_color: Any
    invert_y: bool
    legend_loc: str | None
    legend_fontsize: float | None
    colorbar: bool


class Panels(Looks, total=False):
    """How slices are laid out, see :func:`spotscape.pl.domains`."""

    library_key: str | None
    spatial_key: str
    ncols: int
    img: bool
    img_res_key: str | None
    img_alpha: float
    img_contrast: tuple[float, float] | None
    crop_coord: tuple[float, float, float, float] | None
    scalebar: float | None
    frameon: bool
    title: str | Sequence[str] | None


# Inches; one panel alone fills a slide's half, as scanpy's does.
_PANEL_WIDTH, _ONLY_PANEL_WIDTH = 3.2, 4.8
_PASSES = 3
# Inches that the layout leaves around each panel.
_PAD = 0.08
# Inches above and below a panel that its title and its labels take.
_AROUND = 0.5
# Longer names take too much room on the tissue.
_SHORT = 4
_LOCATIONS = ("right margin", "on data", *NOWHERE, *Legend.codes)


@dataclass(frozen=True)
class Look:
    """How panels look, whatever they show."""

    ncols: int = 4
    size: float | None = None
    alpha: float = 1.0
    cmap: Any = "viridis"
    na_color: Any = UNLABELLED
    invert_y: bool = True
    frameon: bool = False
    legend_loc: str | None = "right margin"
    legend_fontsize: float | None = None
    colorbar: bool = True
    img_alpha: float = 1.0
    img_contrast: tuple[float, float] | None = None
    scalebar: float | None = None
    rasterized: bool = False
    # Whether the user has chosen the size of the figure.
    is_fixed: bool = False
    # Longest name, in letters, that is written on the tissue although the legend has it too.
    longest: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], n_obs: int) -> Look:
        """Pick what is a matter of looks from the arguments of a plot."""
        names = {one.name for one in fields(cls)} & options.keys()
        is_fixed = any(options.get(name) is not None for name in ("figsize", "ax"))
        look = cls(**{name: options[name] for name in names}, rasterized=n_obs > RASTER_ABOVE, is_fixed=is_fixed)
        if look.legend_loc not in _LOCATIONS:
            msg = f"legend_loc={look.legend_loc!r} is not one of {list(_LOCATIONS)}."
            raise ValueError(msg)
        return look

    def numbered(self, values: Categories) -> bool:
        """Whether numbers stand for names on the tissue, where many long ones, or very long ones, would hide it."""
        if self.legend_loc in ("on data", *NOWHERE) or not values.names:
            return False
        longest = _SHORT if len(values.names) > READABLE else self.longest
        return longest is not None and max(map(len, values.names)) > longest


def hand_out(axes: Sequence[Axes], options: Mapping[str, Any]) -> Shown:
    """What a plot returns: the figure, its axes, or ``None`` where pyplot has it and shows it."""
    if options.get("return_fig"):
        figure = cast("Figure", axes[0].figure)
        if options.get("ax") is None:
            # Jupyter would show it twice, as an open figure and as the value of the cell.
            plt.close(figure)
        return figure
    if options.get("show"):
        plt.show()
    if options.get("show") is not False:
        return None
    return axes[0] if len(axes) == 1 else list(axes)


def given_axes(options: Mapping[str, Any], n_panels: int | None = None) -> list[Axes] | None:
    """The axes that the user wants to be drawn on, one for each panel."""
    ax = options.get("ax")
    if ax is None:
        return None
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if n_panels is not None and len(axes) != n_panels:
        msg = f"ax has {len(axes)} axes for {n_panels} panels; give one for each, or leave ax out."
        raise ValueError(msg)
    return axes


@contextmanager
def open_axes(
    options: Mapping[str, Any],
    n_panels: int,
    size: tuple[float, float],
    *,
    across: int | None = None,
    n_blocks: int = 1,
    **kwargs: Any,
) -> Iterator[list[Axes]]:
    """Axes for blocks of panels in rows of ``across``: the user's, or those of a new figure.

    ``size`` is that of a panel in inches. What stands around panels makes the figure larger, unless its size was asked
    for. The figure is pyplot's, which the user's backend shows; one that cannot be finished is closed again.
    """
    axes = given_axes(options, n_blocks * n_panels)
    if axes is not None:
        yield axes
        settle(axes[0].figure)
        return
    across = across or n_panels
    down = -(-n_panels // across)
    panels = across * size[0], n_blocks * down * size[1]
    figure = plt.figure(figsize=options.get("figsize") or panels, dpi=options.get("dpi"), layout="constrained")
    try:
        grid = figure.subplots(n_blocks * down, across, squeeze=False, **kwargs).reshape(n_blocks, -1)
        for ax in grid[:, n_panels:].ravel():
            ax.remove()
        yield list(grid[:, :n_panels].ravel())
        if options.get("figsize") is None:
            _make_room(figure)
        settle(figure)
    except BaseException:
        plt.close(figure)
        raise


def settle(figure: Any) -> None:
    """Lay panels out so that all words are seen. A figure without a layout stays as it is where they are seen already.

    Panels of fixed aspect move as legends get room, and the one pass that drawing makes leaves some of them cut off.
    Each pass mends three quarters of what is left.
    """
    whole = figure.canvas.figure
    engine = whole.get_layout_engine()
    if engine is None and _is_crowded(whole):
        engine = ConstrainedLayoutEngine()
    for _ in range(1 if engine is None else _PASSES):
        if engine is not None:
            engine.execute(whole)
        fit_titles(figure)


def _is_crowded(figure: Figure) -> bool:
    """Whether what belongs to an axes in a grid leaves the figure, or lies on other axes than those that it is on."""
    axes = [ax for ax in figure.axes if ax.get_visible() and ax.get_subplotspec() is not None]
    around: Any = [ax.get_tightbbox(for_layout_only=True) for ax in axes]
    boxes = [(ax.bbox, box.padded(-1)) for ax, box in zip(axes, around, strict=True) if box is not None]
    sheet = figure.bbox
    return any(not (sheet.contains(*box.min) and sheet.contains(*box.max)) for _, box in boxes) or any(
        box.overlaps(other) and not panel.overlaps(beside) for (panel, box), (beside, other) in combinations(boxes, 2)
    )


def per_row(options: Mapping[str, Any], n_panels: int, size: tuple[float, float], most: int) -> int:
    """How many panels stand in a row: at most so many, or, in a figure of a given size, what makes them largest."""
    if options.get("ncols") is not None:
        return min(int(options["ncols"]), n_panels)
    if (figsize := options.get("figsize")) is None:
        return -(-n_panels // -(-n_panels // most))

    def share(across: int) -> float:
        high = figsize[1] / -(-n_panels // across) - _AROUND
        return float(min(figsize[0] / across / size[0], high / size[1]))

    return max(range(1, n_panels + 1), key=share)


def _make_room(figure: Figure) -> None:
    """Enlarge a figure by what stands around its panels, such as legends, names and titles."""
    specs: Any = [ax.get_subplotspec() for ax in figure.axes]
    sides = [np.zeros((n, 2)) for n in reversed(specs[0].get_gridspec().get_geometry())]
    for ax, spec in zip(figure.axes, specs, strict=True):
        around: Any = ax.get_tightbbox(for_layout_only=True)
        box = ax.get_position(original=True).transformed(figure.transFigure)
        for axis, place in enumerate((spec.colspan.start, spec.rowspan.start)):
            beyond = box.min[axis] - around.min[axis], around.max[axis] - box.max[axis]
            sides[axis][place] = np.maximum(sides[axis][place], beyond)
    figure.set_size_inches(figure.get_size_inches() + [own.sum() / figure.dpi + _PAD * len(own) for own in sides])


def show_spots(
    adata: AnnData,
    columns: Sequence[Categories | Numbers],
    options: Mapping[str, Any],
    *,
    decorate: Callable[[Axes, Slice, int], None] | None = None,
    pieces: list[Slice] | None = None,
) -> Shown:
    """Draw every slice for every column: columns below each other, or side by side where there is one slice.

    ``decorate`` may add to a panel, given its slice and the number of the column.
    """
    look = Look.of(options, adata.n_obs)
    pieces = read_slices(adata, options) if pieces is None else pieces
    shown = [one.only(options.get("groups")).in_order() if isinstance(one, Categories) else one for one in columns]
    n_panels, n_blocks = (len(shown), 1) if len(pieces) == 1 else (len(pieces), len(shown))
    size = panel_size(pieces, alone=n_panels * n_blocks == 1)
    with open_axes(options, n_panels, size, across=min(look.ncols, n_panels), n_blocks=n_blocks) as axes:
        draw_panels(axes, pieces, shown, look, options, decorate=decorate)
    store_colors(adata, columns)
    return hand_out(axes, options)


def draw_panels(
    axes: Sequence[Axes],
    pieces: Sequence[Slice],
    columns: Sequence[Categories | Numbers],
    look: Look,
    options: Mapping[str, Any],
    *,
    decorate: Callable[[Axes, Slice, int], None] | None = None,
) -> None:
    """Draw all slices for every column in turn, with titles and legends."""
    title, several = options.get("title"), len(pieces) > 1
    titles = [piece.name if several else one.key for one in columns for piece in pieces]
    if title is not None:
        titles = [title] if isinstance(title, str) else [str(one) for one in title]
    if len(titles) != len(axes):
        msg = f"title has {len(titles)} entries for {len(axes)} panels ({len(columns)} key(s), {len(pieces)} slice(s))."
        raise ValueError(msg)
    boxes = _boxes(pieces)
    for index, values in enumerate(columns):
        block = slice(index * len(pieces), (index + 1) * len(pieces))
        for ax, piece, box, own_title in zip(axes[block], pieces, boxes, titles[block], strict=True):
            draw_slice(ax, piece, values, look, box=box)
            add_title(ax, own_title)
            if decorate is not None:
                decorate(ax, piece, index)
        first = axes[block][0]
        if several and len(columns) > 1:
            first.annotate(
                broken(values.key, inches(first, "height"), "large"), (0, 0.5), xytext=(-8, 0),
                xycoords="axes fraction", textcoords="offset points", rotation=90, ha="right", va="center",
                fontsize="large",
            )  # fmt: skip
        # A row that is named at its left needs no heading at its right.
        heading = values.key if several and len(columns) == 1 else None
        row, rows = len(pieces), 1
        if options.get("ax") is None:
            row = min(look.ncols, len(pieces))
            rows = -(-len(pieces) // row)
        add_legend(axes[block][row - 1], pieces[0].lattice.kind, values, look, title=heading, rows=rows)


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


def panel_size(pieces: Sequence[Slice], *, alone: bool = False) -> tuple[float, float]:
    """Width and height in inches of panels of these slices; larger if there is only one."""
    extents = np.array([box[1] - box[0] for box in _boxes(pieces)])
    # Spots in one place are given room as on a square.
    extents = np.maximum(extents, 1e-9 * (extents.max() or 1.0))
    aspect = float(np.clip(np.max(extents[:, 1] / extents[:, 0]), 0.4, 2.0))
    width = _ONLY_PANEL_WIDTH / max(1.0, aspect) ** 0.5 if alone else _PANEL_WIDTH
    return width, width * aspect
