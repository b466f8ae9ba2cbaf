"""Tissue in space: slices above each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D
from mpl_toolkits.mplot3d.proj3d import proj_transform

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.lazy import extra
from spotscape._core.logging import logger
from spotscape._core.places import coordinates
from spotscape._core.reading import domain_column
from spotscape._core.validation import require_data, slice_labels
from spotscape.pl._colors import Categories, Numbers, read_values, store_colors
from spotscape.pl._legend import add_legend
from spotscape.pl._panel import face_colors
from spotscape.pl._sheet import Look, Looks, hand_out, open_axes
from spotscape.pl._slices import find_slices, rows_by_slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.pl._colors import Bound, Palette
    from spotscape.pl._sheet import Shown

# Matplotlib draws every point; beyond this many an even part of them shows the same.
_MOST = 60_000
# Gap between slices as a share of their extent, where nothing says how far they lie apart.
_GAP = 0.5
# The same where it depends on the view: at least and at most, and by how much it exceeds the height that slices show.
_GAPS, _APART = (0.2, 1.5), 1.4
_ZOOM = 1.12
_NAME_SIZE = 8.0


@public
def stack_3d(
    adata: AnnData,
    color: str | None = None,
    *,
    library_key: str | None = None,
    spatial_key: str | None = None,
    slice_gap: float | None = None,
    groups: str | Sequence[Any] | None = None,
    palette: Palette | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    elev: float = 22,
    azim: float = -60,
    interactive: bool = False,
    **looks: Unpack[Looks],
) -> Shown | Any:
    """Show registered slices stacked in 3-D, or spots with three coordinates.

    Parameters
    ----------
    adata
        Annotated data with coordinates.
    spatial_key
        Coordinates in ``adata.obsm``. ``None`` means those of :func:`spotscape.pp.register_slices`, or else
        ``"spatial"``. Three columns are taken as they are, without slices.
    slice_gap
        Distance between slices in the unit of the coordinates. ``None`` keeps them apart in the view.
    groups
        Categories to show. All other spots are left out, so that you can see through the stack.
    elev, azim
        View: height above the plane and direction, in degrees.
    interactive
        Return a plotly figure that can be rotated with the mouse. It needs plotly: ``pip install
        'spotscape[interactive]'``.
    **looks
        ``size`` (of the points, 1 by default), ``alpha``, ``cmap``, ``na_color``, ``invert_y``, ``legend_loc``,
        ``legend_fontsize``, ``colorbar``, ``figsize``, ``dpi``, ``ax`` (with ``projection="3d"``), ``show`` and
        ``return_fig``, as in :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does; with ``interactive=True`` a
    :class:`plotly.graph_objects.Figure`. New colours of categories are written to ``adata.uns["<color>_colors"]``.

    Raises
    ------
    ImportError
        If ``interactive=True`` and plotly is not installed.

    See Also
    --------
    spotscape.pp.register_slices : Puts slices into one frame.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=3, n_domains=4, n_spots=200, n_genes=30)
    >>> figure = sp.pl.stack_3d(adata, "domain", library_key="slice", return_fig=True)
    >>> len(figure.axes[0].collections)
    3
    """
    require_data(adata, genes=False)
    coords, pieces = in_space(adata, spatial_key, library_key, slice_gap, view=(elev, azim))
    values = read_values(adata, color or domain_column(adata, None, "color"), palette=palette, vmin=vmin, vmax=vmax)
    shown = values.only(groups) if isinstance(values, Categories) else values
    look = Look.of(looks, adata.n_obs)
    if groups is not None and isinstance(shown, Categories):
        pieces = [(name, rows[shown.codes[rows] >= 0]) for name, rows in pieces]
    if not any(len(rows) for _, rows in pieces):
        msg = f"no spot is left to be shown: groups={groups}."
        raise ValueError(msg)
    pieces = [(name, rows[:: max(1, -(-adata.n_obs // _MOST))]) for name, rows in pieces if len(rows)]
    if interactive:
        figure = _in_plotly(coords, pieces, shown, look)
        store_colors(adata, [values])
        return figure
    with open_axes(looks, 1, (6, 5.2), subplot_kw={"projection": "3d"}) as axes:
        aspect = _draw(axes[0], coords, pieces, shown, look, view=(elev, azim))
        edge = 1.0 if look.is_fixed else _fit(axes[0], aspect, named=len(pieces) > 1)
        # Points in 3-D do not count where a picture is cut to what is on it, as notebooks do.
        axes[0].add_artist(Line2D(*_drawn_at(axes[0]), alpha=0, clip_on=False))
        if isinstance(shown, Categories):
            shown = replace(shown, codes=shown.codes[np.concatenate([rows for _, rows in pieces])])
        add_legend(axes[0], "irregular", shown, look, title=shown.key, edge=edge)
    store_colors(adata, [values])
    return hand_out(axes, looks)


def in_space(
    adata: AnnData,
    spatial_key: str | None,
    library_key: str | None,
    slice_gap: float | None,
    *,
    view: tuple[float, float] | None = None,
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Three coordinates of every spot, and name and rows of each slice that lies above another.

    Without a ``slice_gap``, slices keep apart in a ``view`` of an elevation and an azimuth in degrees.
    """
    spatial_key = spatial_key or (keys.SPATIAL_ALIGNED if keys.SPATIAL_ALIGNED in adata.obsm else keys.SPATIAL)
    coords = coordinates(adata, spatial_key)
    is_flat = coords.shape[1] == 2
    slices = slice_labels(adata, library_key or find_slices(adata, coords if is_flat else None))
    pieces = rows_by_slice(adata.n_obs, slices)
    if not is_flat:
        heights = [coords[rows, 2] for _, rows in pieces]
        is_stack = len(pieces) > 1 and sum(map(np.ptp, heights)) < np.ptp(coords[:, 2])
        return coords, pieces if is_stack else rows_by_slice(adata.n_obs, None)
    extents = np.max([np.ptp(coords[rows], axis=0) for _, rows in pieces], axis=0)
    share = _GAP
    if view is not None:
        elev, azim = np.radians(view)
        depth = np.abs([np.cos(azim), np.sin(azim)]) @ extents / max(extents.max(), 1e-300)
        share = float(np.clip(_APART * depth * abs(np.tan(elev)), *_GAPS))
    gap = share * extents.max() if slice_gap is None else slice_gap
    height = np.zeros(adata.n_obs) if slices is None else gap * np.asarray(slices.codes, dtype=np.float64)
    return np.column_stack([coords, height]), pieces


def _draw(
    ax: Any,
    coords: np.ndarray,
    pieces: list[tuple[str, np.ndarray]],
    values: Categories | Numbers,
    look: Look,
    *,
    view: tuple[float, float],
) -> np.ndarray:
    """Draw the spots; returns the shape of the block, its longest side 1."""
    n_shown = sum(len(rows) for _, rows in pieces)
    if len(coords) > _MOST:
        logger.info("Drawing %s of %s spots.", f"{n_shown:,}", f"{len(coords):,}")
    area = 4.0 * (look.size or 1.0) ** 2 * float(np.clip(10_000 / max(n_shown, 1), 0.3, 8))
    low, high = coords.min(axis=0), coords.max(axis=0)
    for name, rows in pieces:
        ax.scatter(
            *coords[rows].T, c=face_colors(values, rows, look), s=area, edgecolors="none", linewidths=0,
            depthshade=False, rasterized=look.rasterized, clip_on=False,
        )  # fmt: skip
        if name:
            near = high[1] if look.invert_y else low[1]
            # Texts in 3-D are cut off, as the size of a figure does not count them.
            at = low[0], near, coords[rows, 2].mean()
            ax.annotate(
                f"{name}  ", (0, 0), annotation_clip=False, fontsize=_NAME_SIZE, ha="right",
                xycoords=lambda _, at=at: Affine2D().translate(*_drawn_at(ax, at)[:, 0]) + ax.transData,
            )  # fmt: skip
    ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]) if look.invert_y else (low[1], high[1]))
    span = np.maximum(high - low, 1e-9)
    ax.set_zlim(low[2] - 0.02 * span.max(), high[2] + 0.02 * span.max())
    aspect: np.ndarray = np.maximum(span / span.max(), 0.05)
    ax.set_box_aspect(aspect, zoom=_ZOOM)
    ax.view_init(elev=view[0], azim=view[1])
    ax.set_axis_off()
    return aspect


def _drawn_at(ax: Any, *places: tuple[float, float, float]) -> np.ndarray:
    """Where places in space, or else the corners of the block, are drawn, ``(2, n)``."""
    corners = product(ax.get_xlim(), ax.get_ylim(), ax.get_zlim())
    return np.array(proj_transform(*np.transpose(places or list(corners)), ax.get_proj())[:2])


def _fit(ax: Any, aspect: np.ndarray, *, named: bool) -> float:
    """Make the figure as high as the block; returns where the block ends, as a share of the axes."""
    wide, high = np.ptp(_drawn_at(ax), axis=1) / (ax.viewLim.width, ax.viewLim.height)
    room = 4.6 if named else 5.6
    height = float(np.clip(room * high / wide + 0.4, 2.6, 7))
    # Axes in 3-D are a square, which the block may leave.
    side = min(6, height)
    zoom = min(room / wide, (height - 0.4) / high) / side
    ax.set_box_aspect(aspect, zoom=_ZOOM * zoom)
    ax.figure.set_figheight(height)
    return float(0.5 + wide * zoom / 2)


def _in_plotly(
    coords: np.ndarray, pieces: list[tuple[str, np.ndarray]], values: Categories | Numbers, look: Look
) -> Any:
    go = extra("plotly.graph_objects", "plotly", "interactive", "interactive=True")
    shown = np.concatenate([rows for _, rows in pieces])
    text = np.concatenate([np.full(len(rows), name, dtype=object) for name, rows in pieces])
    parts: list[tuple[str | None, Any, np.ndarray]]
    if isinstance(values, Categories):
        # The last serves the code -1.
        looks = [*zip(values.names, values.colors, strict=True), (values.rest, look.na_color)]
        parts = [(*looks[code], values.codes[shown] == code) for code in np.unique(values.codes[shown])]
    else:
        text = np.array([f"{name} {value:.3g}" for name, value in zip(text, values.values[shown], strict=True)])
        parts = [(None, list(map(to_hex, face_colors(values, shown, look))), np.ones(len(shown), dtype=bool))]
    marker = {"size": 2.5 * (look.size or 1.0), "opacity": look.alpha}
    traces = [
        go.Scatter3d(
            **dict(zip("xyz", coords[shown[own]].T, strict=True)), mode="markers", name=label, text=text[own],
            marker=marker | {"color": color},
        )
        for label, color, own in parts
    ]  # fmt: skip
    layout = {
        "scene": {"aspectmode": "data", **{axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}},
        "legend": {"title": values.key, "itemsizing": "constant"},
        "margin": dict.fromkeys("lrtb", 0),
    }
    return go.Figure(traces, layout)
