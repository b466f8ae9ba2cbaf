"""Slices on each other, before and after registration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import geometry, keys
from spotscape._core.coordinates import coordinates
from spotscape._core.validation import require_data, require_key, slice_labels
from spotscape.pl._palette import category_colors

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._palette import Palette

_PANEL = 4.2
_SIZE_IN_SPACINGS = 0.55


def registration(
    adata: AnnData,
    *,
    library_key: str,
    spatial_key: str | None = None,
    key: str = keys.SPATIAL_ALIGNED,
    palette: Palette | None = None,
    size: float = _SIZE_IN_SPACINGS,
    alpha: float = 0.6,
    invert_y: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> Figure:
    """Show all slices on each other, before registration on the left and after it on the right.

    Under each panel stands the mean distance of the slices to their partners: the root mean square distance of a spot
    to the nearest of the other slice. It says how well lattices of spots cover each
    other, which the eye judges better by the outlines.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.pp.register_slices` has been applied to.
    library_key
        Categorical column of ``adata.obs`` with the slice of every spot.
    spatial_key
        Coordinates before registration. ``None`` means those that were registered.
    key
        Name of the registration in ``adata.obsm`` and ``adata.uns``.
    palette
        Colours of the slices: name of a matplotlib colormap, list, or dict from slice to colour. ``None`` takes
        ``adata.uns["<library_key>_colors"]``, or else 24 colours that colour-blind people can tell apart. Nothing is
        written.
    size
        Diameter of a spot as a multiple of the spot spacing; below 1, so that slices can be seen through each other.
    alpha
        Opacity of the spots, above 0 and at most 1.
    invert_y
        Whether y points down, as in images.
    figsize
        Width and height of the figure in inches.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.

    Returns
    -------
    The :class:`~matplotlib.figure.Figure`, not registered with pyplot.

    Raises
    ------
    KeyError
        If there is no such registration or column.
    ValueError
        If ``size`` is not positive or ``alpha`` outside (0, 1].

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=500, n_genes=60)
    >>> sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
    >>> figure = sp.pl.registration(adata, library_key="slice")
    >>> [ax.get_title() for ax in figure.axes]
    ['before', 'after']
    """
    import matplotlib.pyplot as plt

    require_data(adata, genes=False)
    if not size > 0:
        msg = f"size={size} must be positive; it is a multiple of the spot spacing."
        raise ValueError(msg)
    if not 0 < alpha <= 1:
        msg = f"alpha={alpha} lies outside (0, 1]."
        raise ValueError(msg)
    hint = f"Call sp.pp.register_slices(adata, library_key={library_key!r}) first"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    labels = slice_labels(adata, library_key)
    before = coordinates(adata, spatial_key or str(entry["params"]["spatial_key"]))[:, :2]
    require_key(adata.obsm, key, "adata.obsm", hint=hint)
    panels = {"before": (before, "rmse_before"), "after": (coordinates(adata, key)[:, :2], "rmse")}
    names = [str(name) for name in labels.categories] if labels is not None else []
    colors = _colors(adata, library_key, names, palette)
    figure = plt.figure(
        figsize=figsize or (2 * _PANEL + _legend_width(names), _PANEL + 0.5), dpi=dpi, layout="constrained"
    )
    # Closing takes the figure out of pyplot's state; Jupyter then shows it once, as the value of the cell.
    plt.close(figure)
    for position, (title, (coords, measure)) in enumerate(panels.items()):
        ax = figure.add_subplot(1, 2, position + 1)
        codes = np.asarray(labels.codes) if labels is not None else np.zeros(adata.n_obs, dtype=int)
        _overlay(ax, coords, codes, colors, size=size, alpha=alpha, invert_y=invert_y)
        ax.set_title(title)
        ax.text(0.5, -0.02, _caption(entry, measure), transform=ax.transAxes, ha="center", va="top", fontsize="small")
    _legend(figure.axes[-1], names, colors)
    return figure


def _colors(adata: AnnData, key: str, names: list[str], palette: Palette | None) -> list[str]:
    return category_colors(adata, key, names, palette)[0]


def _overlay(
    ax: Axes, coords: np.ndarray, codes: np.ndarray, colors: list[str], *, size: float, alpha: float, invert_y: bool
) -> None:
    """Draw the spots of all slices in one random order, so that none lies on top of all others."""
    from matplotlib.colors import to_rgba_array

    from spotscape.pl._panel import Tiles, shape
    from spotscape.pl._sheet import RASTER_ABOVE

    order = np.random.default_rng(0).permutation(len(coords))
    spacing = float(np.median([geometry.spot_spacing(coords[codes == code]) for code in np.unique(codes)]))
    disc = shape(geometry.Lattice("irregular", spacing, 0.0), size / 1.45)
    faces = to_rgba_array(colors)[codes[order]]
    faces[:, 3] = alpha
    tiles = Tiles(
        [disc],
        offsets=coords[order],
        offset_transform=ax.transData,
        facecolors=faces,
        edgecolors="none",
        rasterized=len(coords) > RASTER_ABOVE,
    )
    ax.add_collection(tiles, autolim=False)
    low, high = coords.min(axis=0), coords.max(axis=0)
    margin = spacing + 0.02 * (high - low).max()
    (x0, y0), (x1, y1) = low - margin, high + margin
    ax.set(xlim=(x0, x1), ylim=(y1, y0) if invert_y else (y0, y1), aspect="equal")
    ax.set_axis_off()


def _caption(entry: dict[str, Any], measure: str) -> str:
    moved = np.array([str(a) != str(b) for a, b in zip(entry["library"], entry["partners"], strict=True)])
    spacing = np.asarray(entry["spacing"])[list(entry["library"]).index(entry["reference"])]
    value = float(np.mean(np.asarray(entry[measure])[moved]))
    return f"RMSE {value:.3g} = {value / spacing:.2f} spacings"


def _legend(ax: Axes, names: list[str], colors: list[str]) -> None:
    from matplotlib.lines import Line2D

    ax.legend(
        handles=[Line2D([], [], marker="o", ls="", ms=8, color=c, label=n) for n, c in zip(names, colors, strict=True)],
        ncols=-(-len(names) // 14),
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.0,
    )


def _legend_width(names: list[str]) -> float:
    return -(-len(names) // 14) * (0.45 + 0.085 * max(map(len, names), default=0))
