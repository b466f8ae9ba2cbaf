"""Matches between slices, as lines from spot to spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.coordinates import coordinates
from spotscape._core.geometry import evenly_spread
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import (
    require_choice,
    require_data,
    require_key,
    require_positive_int,
    slice_labels,
)
from spotscape.pl._values import Categories, Numbers, read_values

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._pair import Pair
    from spotscape.pl._palette import Palette

Layout = Literal["beside", "above"]


def matching(
    adata: AnnData,
    *,
    key: str = keys.MATCH,
    query: str | Sequence[str] | None = None,
    color: str | None = None,
    n_lines: int = 100,
    layout: Layout = "above",
    spatial_key: str = keys.SPATIAL,
    palette: Palette | None = None,
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    size: float | None = None,
    linewidth: float = 0.9,
    invert_y: bool = True,
    legend: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Show matches between slices: a panel for each query slice, with lines to the reference.

    A sample of spots, spread evenly over the query slice, is joined with their best matches; the lines have the colours
    of the query's spots. Where labels were transferred, the query shows those that it received and the reference those
    that it gave.

    Parameters
    ----------
    adata
        With the results of :func:`spotscape.tl.match_slices`.
    key
        Their name, ``key_added`` there.
    query
        Query slices to show. ``None`` shows all that were matched.
    color
        Column of ``adata.obs`` or gene by which to colour. ``None`` means the transferred labels, or the similarity of
        the best match if none were transferred; spots of the reference are then light grey.
    n_lines
        Number of lines in a panel.
    layout
        ``"above"``: the reference above the query, both laid down in perspective. ``"beside"``: the query on the left,
        the reference on the right, as they are.
    spatial_key
        Coordinates in ``adata.obsm``; the first two columns are shown.
    palette
        Colours of categories, as in :func:`spotscape.pl.domains`.
    cmap
        Colormap of numbers.
    vmin, vmax
        Ends of the scale of numbers. ``None`` means their 1st and 99th percentile.
    size
        Size of a spot as a multiple of the spot spacing. ``None`` means 1.
    linewidth
        Width of the lines in points.
    invert_y
        Whether y points down, as in images; ``False`` for y pointing up.
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
    The :class:`~matplotlib.figure.Figure`, or ``ax`` if it is given; not registered with pyplot. Slices whose sizes
    differ more than twofold, as in different units, are drawn at the same size. Colours of categories are written where
    they are missing, or ``palette`` is given:

    ``adata.uns["<color>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If there are no such results, coordinates, column or gene.
    TypeError
        If ``n_lines`` is not an integer.
    ValueError
        If a query was not matched, ``size`` is not positive, or ``ax`` is given for more than one panel.

    See Also
    --------
    spotscape.tl.match_slices : Makes the matches.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=300, n_genes=60, n_domains=3, difficulty=0.2)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.tl.match_slices(
    ...     adata, library_key="slice", reference="slice_1", use_rep="X_smoothed_pca", labels_key="domain"
    ... )
    >>> figure = sp.pl.matching(adata)
    >>> [ax.get_title() for ax in figure.axes]
    ['slice_2 → slice_1']
    """
    from spotscape.pl._pair import draw_pair, draw_pairs
    from spotscape.pl._sheet import Style

    require_data(adata, genes=False)
    require_positive_int(n_lines, "n_lines")
    require_choice(layout, "layout", ("above", "beside"))
    if size is not None and not size > 0:
        msg = f"size={size} must be positive; it is a multiple of the spot spacing."
        raise ValueError(msg)
    params = _params(adata, key)
    pairs = _pairs(adata, key, params, query, spatial_key=spatial_key, n_lines=n_lines)
    if ax is not None and len(pairs) != 1:
        msg = f"ax takes one panel, but there are {len(pairs)} query slices; name one by query, or leave ax out."
        raise ValueError(msg)
    values = _values(adata, key, params, color, palette=palette, vmin=vmin, vmax=vmax)
    style = Style(ncols=1, size=size, cmap=cmap, invert_y=invert_y, legend=legend)
    if ax is not None:
        return draw_pair(ax, pairs[0], values, style, layout=layout, linewidth=linewidth, legend=legend)
    return draw_pairs(pairs, values, style, layout=layout, linewidth=linewidth, figsize=figsize, dpi=dpi)


def _params(adata: AnnData, key: str) -> Mapping[str, Any]:
    hint = "Make matches first: sp.tl.match_slices(adata, ...)"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    require_key(adata.obs, key, "adata.obs", hint=hint)
    entry = adata.uns[key]
    params = entry.get("params", {}) if isinstance(entry, Mapping) else {}
    if "reference" not in params or "library_key" not in params:
        msg = f"adata.uns[{key!r}] is not a record of matches. {hint}."
        raise KeyError(msg)
    warn_if_changed(adata, entry, f"the match {key!r}", "sp.tl.match_slices(adata, ...)")
    return params


def _pairs(
    adata: AnnData,
    key: str,
    params: Mapping[str, Any],
    query: str | Sequence[str] | None,
    *,
    spatial_key: str,
    n_lines: int,
) -> list[Pair]:
    from spotscape.pl._pair import Pair
    from spotscape.pl._panel import Slice

    coords = coordinates(adata, spatial_key)[:, :2]
    slices = np.asarray(slice_labels(adata, str(params["library_key"]))).astype(str)
    best = adata.obs_names.get_indexer(pd.Index(adata.obs[key].astype("string").fillna("")))
    known = [str(name) for name in params["query"] if (slices == str(name)).any()]
    reference = str(params["reference"])

    def piece(name: str) -> Slice:
        rows = np.flatnonzero(slices == name)
        return Slice.of(name, rows, coords[rows], None)

    if not (slices == reference).any() or not known:
        msg = f"adata has no spots of the reference {reference!r} or none of its queries; was it subset since?"
        raise ValueError(msg)
    pairs = []
    for name in _wanted(query, known):
        matched = np.flatnonzero((slices == name) & (best >= 0))
        drawn = matched[evenly_spread(coords[matched], n_lines)]
        pairs.append(Pair(piece(name), piece(reference), drawn, best[drawn]))
    return pairs


def _wanted(query: str | Sequence[str] | None, known: list[str]) -> list[str]:
    wanted = known if query is None else [query] if isinstance(query, str) else [str(name) for name in query]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        msg = f"query={query!r}: matches were made for the slices {known}."
        raise ValueError(msg)
    return wanted


def _values(
    adata: AnnData,
    key: str,
    params: Mapping[str, Any],
    color: str | None,
    *,
    palette: Palette | None,
    vmin: float | None,
    vmax: float | None,
) -> Categories | Numbers:
    label, given = f"{key}_label", params.get("labels_key")
    received = color is None and given is not None and {label, given} <= set(adata.obs)
    name = color or (str(given) if received else f"{key}_similarity")
    values = read_values(adata, name, layer=None, palette=palette, vmin=vmin, vmax=vmax)
    if color is None and isinstance(values, Numbers):
        return replace(values, key="similarity")
    if not received or not isinstance(values, Categories):
        return values
    in_query = np.isin(adata.obs[str(params["library_key"])].astype(str), [str(name) for name in params["query"]])
    codes = pd.Categorical(adata.obs[label].astype("string"), categories=values.names).codes
    return replace(values, codes=np.where(in_query, codes, values.codes))
