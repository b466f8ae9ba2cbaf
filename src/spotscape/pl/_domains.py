"""Domains, or anything else that spots have, on the tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.coordinates import coordinates
from spotscape._core.validation import require_data, require_positive_int, slice_labels
from spotscape.pl._values import Categories, Numbers, read_confidence, read_values

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._palette import Palette
    from spotscape.pl._panel import Slice


def domains(
    adata: AnnData,
    *,
    color: str | Sequence[str],
    library_key: str | None = None,
    spatial_key: str = "spatial",
    layer: str | None = None,
    ncols: int = 4,
    palette: Palette | None = None,
    confidence: str | None = None,
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    size: float | None = None,
    image: bool = True,
    invert_y: bool = True,
    title: str | Sequence[str] | None = None,
    legend: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Show domains, any other column of ``obs``, or genes on the tissue: one panel per slice and key.

    Spots are drawn in the unit of the coordinates: hexagons where they lie on a hexagonal lattice (Visium), squares on
    a square one (ST, binned data), discs elsewhere (cells). A category has the same colour in all slices, and numbers
    share one scale. Above 50,000 spots they are rasterised, so that PDF and SVG files stay small.

    Parameters
    ----------
    adata
        Spots with coordinates.
    color
        Column of ``adata.obs`` or gene, or several of them. Numbers get a colour bar, all else a legend; spots without
        a value are light grey.
    library_key
        Categorical column of ``adata.obs`` with the slice of every spot: one panel each. ``None`` means a single slice.
    spatial_key
        Coordinates in ``adata.obsm``; the first two columns are shown.
    layer
        Layer from which genes are taken. ``None`` means ``adata.X``.
    ncols
        Largest number of panels side by side.
    palette
        Colours of categories: name of a matplotlib colormap, list, or dict from category to colour. ``None`` takes
        ``adata.uns["<color>_colors"]``, and where that is missing 24 colours that colour-blind people can tell apart.
    confidence
        Column of ``adata.obs`` with numbers between 0 and 1 by which the colours of categories fade, such as
        ``"consensus_domain_confidence"`` of :func:`spotscape.tl.consensus_domains`. ``None`` shows them in full colour.
    cmap
        Colormap of numbers.
    vmin, vmax
        Ends of the scale of numbers. ``None`` means their 1st and 99th percentile.
    size
        Size of a spot as a multiple of the spot spacing. ``None`` means 1, and 0.7 over a tissue image.
    image
        Whether to show the tissue image of the slice, ``adata.uns["spatial"][slice]["images"]``, if there is one.
    invert_y
        Whether y points down, as in images; ``False`` for y pointing up.
    title
        Title of the panel, or of all panels in order. ``None`` means the slice, or the key if there is one slice.
    legend
        Whether to show the legend or colour bar.
    figsize
        Width and height of the figure in inches. ``None`` fits it to the panels.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.
    ax
        Axes to draw on, for a single panel.

    Returns
    -------
    The :class:`~matplotlib.figure.Figure`, or ``ax`` if it is given. The figure is not registered with pyplot: a
    notebook shows it as the value of a cell, and ``figure.savefig(...)`` writes it. Where they are missing, or
    ``palette`` is given, the colours are written:

    ``adata.uns["<color>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If ``color``, ``layer``, ``confidence``, the coordinates or ``library_key`` do not exist.
    ValueError
        If ``palette`` or ``title`` do not fit, ``size`` is not positive, ``confidence`` lies outside 0 to 1, or ``ax``
        is given for more than one panel.
    TypeError
        If ``library_key`` is not categorical, or ``confidence`` not numeric.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    >>> adata = AnnData(np.ones((100, 1)), obsm={"spatial": grid})
    >>> adata.obs["domain"] = np.where(grid[:, 0] < 5, "left", "right")
    >>> figure = sp.pl.domains(adata, color="domain")
    >>> len(figure.axes)
    1
    """
    from spotscape.pl._sheet import Style, draw_on, draw_sheet

    require_data(adata, genes=False)
    ncols = require_positive_int(ncols, "ncols")
    if size is not None and not size > 0:
        msg = f"size={size} must be positive; it is a multiple of the spot spacing."
        raise ValueError(msg)
    pieces = _slices(adata, spatial_key=spatial_key, library_key=library_key, image=image)
    names = [color] if isinstance(color, str) else list(color)
    titles = _titles(title, names, pieces, legend=legend)
    if ax is not None and len(titles) != 1:
        msg = f"ax takes one panel, but {len(pieces)} slice(s) of {len(names)} key(s) make {len(titles)}; leave ax out."
        raise ValueError(msg)
    columns = [read_values(adata, name, layer=layer, palette=palette, vmin=vmin, vmax=vmax) for name in names]
    if confidence is not None:
        columns = _fade(columns, read_confidence(adata, confidence))
    style = Style(ncols=ncols, size=size, cmap=cmap, invert_y=invert_y, legend=legend)
    if ax is not None:
        return draw_on(ax, pieces[0], columns[0], style, titles[0])
    return draw_sheet(pieces, columns, style, titles=titles, figsize=figsize, dpi=dpi)


def _fade(columns: list[Categories | Numbers], confidence: np.ndarray) -> list[Categories | Numbers]:
    return [replace(one, confidence=confidence) if isinstance(one, Categories) else one for one in columns]


def _slices(adata: AnnData, *, spatial_key: str, library_key: str | None, image: bool) -> list[Slice]:
    from spotscape.pl._panel import Slice

    coords = coordinates(adata, spatial_key)[:, :2]
    labels = slice_labels(adata, library_key)
    stored = adata.uns.get("spatial", {}) if image else {}
    if not isinstance(stored, Mapping):
        stored = {}
    if labels is None:
        # An image without a slice to go by is shown only where there is no choice.
        entry: Any = next(iter(stored.values())) if len(stored) == 1 else None
        return [Slice.of("", np.arange(adata.n_obs), coords, entry)]
    rows = [np.flatnonzero(labels.codes == code) for code in range(len(labels.categories))]
    named = zip(labels.categories, rows, strict=True)
    return [Slice.of(str(name), index, coords[index], stored.get(str(name))) for name, index in named]


def _titles(
    title: str | Sequence[str] | None, names: Sequence[str], pieces: Sequence[Slice], *, legend: bool
) -> list[str]:
    n_panels = len(names) * len(pieces)
    if n_panels == 0:
        msg = "color is empty; name at least one column of adata.obs or gene."
        raise ValueError(msg)
    if title is None:
        if len(pieces) == 1:
            return list(names)
        # The legend names the key; without one the titles have to.
        return [piece.name if legend else f"{name}, {piece.name}" for name in names for piece in pieces]
    titles = [title] if isinstance(title, str) else list(title)
    if len(titles) != n_panels:
        msg = f"title has {len(titles)} entries for {n_panels} panels ({len(names)} key(s), {len(pieces)} slice(s))."
        raise ValueError(msg)
    return titles
