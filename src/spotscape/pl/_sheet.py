"""Figures: a block of panels for every key, with its legend or colour bar beside it, handed out as scanpy does."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.legend import Legend

from spotscape._core.colors import UNLABELLED
from spotscape.pl._colors import READABLE, Categories, Numbers, store_colors
from spotscape.pl._legend import NOWHERE, add_legend, add_title, broken, fit_titles, inches, legend_entries, legend_size
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
    # Longest name, in letters, that is written on the tissue although the legend has it too.
    longest: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], n_obs: int) -> Look:
        """Pick what is a matter of looks from the arguments of a plot."""
        names = {one.name for one in fields(cls)} & options.keys()
        look = cls(**{name: options[name] for name in names}, rasterized=n_obs > RASTER_ABOVE)
        if look.legend_loc not in _LOCATIONS:
            msg = f"legend_loc={look.legend_loc!r} is not one of {list(_LOCATIONS)}."
            raise ValueError(msg)
        return look

    def labels_on_tissue(self, values: Categories | Numbers) -> bool:
        """Whether names are written on the spots: when asked for, and where colours alone would not do."""
        if not isinstance(values, Categories) or self.legend_loc in NOWHERE:
            return False
        return self.legend_loc == "on data" or len(values.names) > READABLE

    def numbered(self, values: Categories) -> bool:
        """Whether numbers stand for names on the tissue, where many long ones, or very long ones, would hide it."""
        if self.legend_loc in ("on data", *NOWHERE) or not values.names:
            return False
        longest = _SHORT if len(values.names) > READABLE else self.longest
        return longest is not None and max(map(len, values.names)) > longest

    def margin(self, values: Categories | Numbers, *, headed: bool = True) -> float:
        """Width in inches of the legend, which may have the key as its heading, or colour bar beside the panels."""
        if isinstance(values, Numbers):
            return 0.8 if self.colorbar else 0.0
        names = legend_entries(values, self)[0] if self.legend_loc == "right margin" else []
        return legend_size(names, values.key if headed else "", self.legend_fontsize)[0]

    def legend_height(self, values: Categories | Numbers) -> float:
        """Height in inches of the legend beside the panels."""
        if isinstance(values, Numbers) or self.legend_loc != "right margin":
            return 0.0
        return legend_size(legend_entries(values, self)[0], "", self.legend_fontsize)[1]


@contextmanager
def new_figure(figsize: tuple[float, float], dpi: float | None) -> Iterator[Figure]:
    """Open a figure of pyplot's, which the user's backend shows; one that cannot be finished is closed again."""
    figure = plt.figure(figsize=figsize, dpi=dpi, layout="constrained")
    try:
        yield figure
        # Panels of fixed aspect move as legends get room, and the one pass that drawing makes leaves some of them cut
        # off. Each pass mends three quarters of what is left.
        if (engine := figure.get_layout_engine()) is not None:
            for _ in range(_PASSES):
                engine.execute(figure)
                fit_titles(figure)
    except BaseException:
        plt.close(figure)
        raise


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


def given_axes(options: Mapping[str, Any], n_panels: int) -> list[Axes] | None:
    """The axes that the user wants to be drawn on, one for each panel."""
    ax = options.get("ax")
    if ax is None:
        return None
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n_panels:
        msg = f"ax has {len(axes)} axes for {n_panels} panels; give one for each, or leave ax out."
        raise ValueError(msg)
    return axes


@contextmanager
def open_axes(
    options: Mapping[str, Any], n_panels: int, figsize: tuple[float, float], *, across: int | None = None, **kwargs: Any
) -> Iterator[list[Axes]]:
    """Axes for panels in rows of ``across``: the user's, or those of a new figure."""
    axes = given_axes(options, n_panels)
    if axes is not None:
        yield axes
        return
    across = across or n_panels
    with new_figure(options.get("figsize") or figsize, options.get("dpi")) as figure:
        grid = figure.subplots(-(-n_panels // across), across, squeeze=False, **kwargs).ravel()
        for ax in grid[n_panels:]:
            ax.remove()
        yield list(grid[:n_panels])


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
    names, title, n_panels = [one.key for one in shown], options.get("title"), len(shown) * len(pieces)
    titles = names if len(pieces) == 1 else [piece.name for _ in names for piece in pieces]
    if title is not None:
        titles = [title] if isinstance(title, str) else [str(one) for one in title]
    if len(titles) != n_panels:
        msg = f"title has {len(titles)} entries for {n_panels} panels ({len(names)} key(s), {len(pieces)} slice(s))."
        raise ValueError(msg)
    axes = given_axes(options, len(titles))
    if axes is not None:
        blocks = [axes[i * len(pieces) :][: len(pieces)] for i in range(len(shown))]
        _draw_blocks(blocks, pieces, shown, look, titles, across=len(pieces), decorate=decorate)
        fit_titles(axes[0].figure)
    else:
        across, blocks_across = min(look.ncols, len(pieces)), min(look.ncols, len(shown)) if len(pieces) == 1 else 1
        down, blocks_down = -(-len(pieces) // across), -(-len(shown) // blocks_across)
        headed = len(pieces) > 1 and len(shown) == 1
        margins = [look.margin(one, headed=headed) for one in shown]
        # Blocks below each other share the room for their legends.
        beside = sum(max(margins[place::blocks_across]) for place in range(blocks_across))
        width, height = sheet_size(pieces, across, down, 0.0, alone=len(titles) == 1)
        # A legend that is higher than its panel would shrink the panel.
        high = down * max(height / down, *map(look.legend_height, shown))
        figsize = options.get("figsize") or (blocks_across * width + beside, blocks_down * high)
        with new_figure(figsize, options.get("dpi")) as figure:
            grid = figure.add_gridspec(blocks_down * down, blocks_across * across)
            blocks = []
            for index in range(len(shown)):
                top, left = index // blocks_across * down, index % blocks_across * across
                places = [(top + i // across, left + i % across) for i in range(len(pieces))]
                blocks.append([figure.add_subplot(grid[place]) for place in places])
            _draw_blocks(blocks, pieces, shown, look, titles, across=across, decorate=decorate)
            axes = [ax for block in blocks for ax in block]
    store_colors(adata, columns)
    return hand_out(axes, options)


def _draw_blocks(
    blocks: Sequence[Sequence[Axes]],
    pieces: Sequence[Slice],
    columns: Sequence[Categories | Numbers],
    look: Look,
    titles: Sequence[str],
    *,
    across: int,
    decorate: Callable[[Axes, Slice, int], None] | None,
) -> None:
    boxes = _boxes(pieces)
    for index, (axes, values) in enumerate(zip(blocks, columns, strict=True)):
        own_titles = titles[index * len(pieces) :]
        for ax, piece, box, title in zip(axes, pieces, boxes, own_titles, strict=False):
            draw_slice(ax, piece, values, look, box=box)
            add_title(ax, title)
            if decorate is not None:
                decorate(ax, piece, index)
        if len(pieces) > 1 and len(columns) > 1:
            axes[0].annotate(
                broken(values.key, inches(axes[0], "height"), "large"), (0, 0.5), xytext=(-8, 0),
                xycoords="axes fraction", textcoords="offset points", rotation=90, ha="right", va="center",
                fontsize="large",
            )  # fmt: skip
        # A row that is named at its left needs no heading at its right.
        heading = values.key if len(pieces) > 1 and len(columns) == 1 else None
        add_legend(axes[across - 1], pieces[0].lattice.kind, values, look, title=heading)


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


def sheet_size(
    pieces: Sequence[Slice], across: int, down: int, beside: float, *, alone: bool = False
) -> tuple[float, float]:
    """Width and height in inches of panels of these slices with a legend beside them; larger if there is only one."""
    extents = np.array([box[1] - box[0] for box in _boxes(pieces)])
    # Spots in one place are given room as on a square.
    extents = np.maximum(extents, 1e-9 * (extents.max() or 1.0))
    aspect = float(np.clip(np.max(extents[:, 1] / extents[:, 0]), 0.4, 2.0))
    width = _ONLY_PANEL_WIDTH / max(1.0, aspect) ** 0.5 if alone else _PANEL_WIDTH
    # 0.3 inch for the title above each panel.
    return across * width + beside, down * (width * aspect + 0.3)
