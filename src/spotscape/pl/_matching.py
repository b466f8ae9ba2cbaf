"""Matches between slices, as lines from spot to spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.coordinates import coordinates
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import (
    require_choice,
    require_data,
    require_key,
    require_positive_int,
    slice_labels,
)
from spotscape.pl._options import Looks, require_known
from spotscape.pl._values import Categories, Numbers, read_values, store_colors

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._options import Shown
    from spotscape.pl._pair import Pair
    from spotscape.pl._palette import Palette
    from spotscape.pl._values import Bound

Layout = Literal["beside", "above"]


@public
def matching(
    adata: AnnData,
    query: str | Sequence[str] | None = None,
    *,
    key: str = keys.MATCH,
    color: str | None = None,
    n_lines: int = 100,
    layout: Layout = "above",
    linewidth: float = 0.9,
    spatial_key: str = keys.SPATIAL,
    palette: Palette | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    **looks: Unpack[Looks],
) -> Shown:
    """Show matches between slices: a panel for each query slice, with lines to the reference.

    A sample of spots, spread evenly over the query slice, is joined with their best matches; the lines have the colours
    of the query's spots. Where labels were transferred, the query shows those that it received and the reference those
    that it gave. Slices whose sizes differ more than twofold, as in different units, are drawn at the same size.

    Parameters
    ----------
    adata
        With the results of :func:`spotscape.tl.match_slices`.
    query
        Query slices to show. ``None`` shows all that were matched.
    key
        Name of the matches, ``key_added`` there.
    color
        Column of ``adata.obs`` or gene by which to colour. ``None`` means the transferred labels, or the similarity of
        the best match if none were transferred; spots of the reference are then light grey.
    n_lines
        Number of lines in a panel.
    layout
        ``"above"``: the reference above the query, both laid down in perspective. ``"beside"``: the query on the left,
        the reference on the right, as they are.
    linewidth
        Width of the lines in points.
    spatial_key
        Coordinates in ``adata.obsm``; the first two columns are shown.
    palette, vmin, vmax
        Colours of categories, and ends of the scale of numbers, as in :func:`spotscape.pl.domains`.
    **looks
        ``size``, ``alpha``, ``cmap``, ``na_color``, ``invert_y``, ``legend_loc``, ``legend_fontsize``, ``colorbar``,
        ``figsize``, ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does. New colours of categories are written:

    ``adata.uns["<color>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If there are no such results, coordinates, column or gene.
    TypeError
        If ``n_lines`` is not an integer.
    ValueError
        If a query was not matched, ``size`` is not positive, or ``ax`` does not fit the number of panels.

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
    >>> figure = sp.pl.matching(adata, return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['slice_2 → slice_1']
    """
    from spotscape.pl._pair import draw_pair, pair_size
    from spotscape.pl._sheet import Look, hand_out, open_axes

    require_data(adata, genes=False, unique=["obs"])
    require_known(looks, Looks, "matching")
    require_positive_int(n_lines, "n_lines")
    require_choice(layout, "layout", ("above", "beside"))
    look = Look.of(looks, adata.n_obs)
    params = _params(adata, key)
    pairs = _pairs(adata, key, params, query, spatial_key=spatial_key, n_lines=n_lines)
    values = _values(adata, key, params, color, palette=palette, vmin=vmin, vmax=vmax)
    across = len(pairs) if layout == "above" else 1
    with open_axes(looks, len(pairs), pair_size(pairs, values, look, layout), across=across) as axes:
        for index, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            draw_pair(ax, pair, values, look, layout=layout, linewidth=linewidth, legend=index == across - 1)
    store_colors(adata, [values])
    return hand_out(axes, looks)


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
    from spotscape.pl._slices import Slice

    coords = coordinates(adata, spatial_key)[:, :2]
    slices = np.asarray(slice_labels(adata, str(params["library_key"]))).astype(str)
    best = adata.obs_names.get_indexer(pd.Index(adata.obs[key].astype("string").fillna("")))
    known = [str(name) for name in params["query"] if (slices == str(name)).any()]
    reference = str(params["reference"])

    def piece(name: str) -> Slice:
        rows = np.flatnonzero(slices == name)
        return Slice(name, rows, coords[rows], geometry.lattice(coords[rows]))

    if not (slices == reference).any() or not known:
        msg = f"adata has no spots of the reference {reference!r} or none of its queries; was it subset since?"
        raise ValueError(msg)
    pairs = []
    for name in _wanted(query, known):
        matched = np.flatnonzero((slices == name) & (best >= 0))
        drawn = matched[geometry.evenly_spread(coords[matched], n_lines)]
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
    vmin: Bound,
    vmax: Bound,
) -> Categories | Numbers:
    label, given = f"{key}_label", params.get("labels_key")
    received = color is None and given is not None and {label, given} <= set(adata.obs)
    name = color or (str(given) if received else f"{key}_similarity")
    values = read_values(adata, name, palette=palette, vmin=vmin, vmax=vmax)
    if color is None and isinstance(values, Numbers):
        return replace(values, key="similarity")
    if not received or not isinstance(values, Categories):
        return values
    in_query = np.isin(adata.obs[str(params["library_key"])].astype(str), [str(name) for name in params["query"]])
    codes = pd.Categorical(adata.obs[label].astype("string"), categories=values.names).codes
    return replace(values, codes=np.where(in_query, codes, values.codes))
