"""A trajectory in the tissue: pseudotime, and beside it the graph of domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.coordinates import coordinates
from spotscape._core.provenance import require_unchanged
from spotscape._core.validation import (
    require_data,
    require_in_range,
    require_key,
    require_positive_int,
    slice_labels,
)
from spotscape.pl._values import Categories, read_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

    from spotscape.pl._palette import Palette
    from spotscape.pl._panel import Slice

_HINT = "Make it first: sp.tl.trajectory(adata, root=...)"


def trajectory(
    adata: AnnData,
    *,
    key: str = keys.PSEUDOTIME,
    library_key: str | None = None,
    spatial_key: str = keys.SPATIAL,
    min_connectivity: float = 0.05,
    ncols: int = 4,
    palette: Palette | None = None,
    cmap: str = "viridis",
    size: float | None = None,
    invert_y: bool = True,
    legend: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> Figure:
    """Show pseudotime on the tissue, and beside it the graph of domains, each where it lies.

    Domains are numbered in the order of the trajectory, 1 for the root. Lines join domains that PAGA finds connected in
    the embedding, the wider the more; those of its spanning tree are dark, others light. With several slices there is a
    row for each of the two, and the graph, one for all, is laid over every slice.

    Parameters
    ----------
    adata
        With the results of :func:`spotscape.tl.trajectory`.
    key
        Their name, ``key_added`` there.
    library_key
        Categorical column of ``adata.obs`` with the slice of every spot. ``None`` means that of the trajectory, if it
        had one.
    spatial_key
        Coordinates in ``adata.obsm``; the first two columns are shown.
    min_connectivity
        Connections of PAGA below this, from 0 to 1, are not shown.
    ncols
        Largest number of panels side by side.
    palette
        Colours of domains, as in :func:`spotscape.pl.domains`.
    cmap
        Colormap of pseudotime.
    size
        Size of a spot as a multiple of the spot spacing. ``None`` means 1.
    invert_y
        Whether y points down, as in images; ``False`` for y pointing up.
    legend
        Whether to show the colour bar and the legend.
    figsize
        Width and height of the figure in inches. ``None`` fits it to the panels.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.

    Returns
    -------
    The :class:`~matplotlib.figure.Figure`, not registered with pyplot. A domain's node is at its spot nearest to the
    middle of the domain. Colours of domains are written where they are missing, or ``palette`` is given:

    ``adata.uns["<groups>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If there are no such results, or no coordinates.
    TypeError
        If ``library_key`` is not categorical.
    ValueError
        If ``min_connectivity`` is not between 0 and 1, ``size`` is not positive, or the domains are no longer those of
        the trajectory.

    See Also
    --------
    spotscape.tl.trajectory : Makes the trajectory.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=400, n_genes=100, difficulty=0.3)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata)
    ...     sp.pp.spatial_neighbors_knn(adata)
    ...     sp.tl.smoothed_pca(adata, n_comps=10)
    ...     sp.tl.trajectory(adata, root="Layer_1", groups="domain", use_rep="X_smoothed_pca")
    >>> figure = sp.pl.trajectory(adata)
    >>> [ax.get_title() for ax in figure.axes]
    ['pseudotime', 'domain']
    """
    from spotscape.pl._route import draw_route, fade, route
    from spotscape.pl._sheet import Style, draw_sheet

    require_data(adata, genes=False)
    require_positive_int(ncols, "ncols")
    require_in_range(min_connectivity, "min_connectivity", low=0, high=1)
    if size is not None and not size > 0:
        msg = f"size={size} must be positive; it is a multiple of the spot spacing."
        raise ValueError(msg)
    entry = _record(adata, key)
    params = entry["params"]
    mend = f"sp.tl.trajectory(adata, root={params.get('root')!r}, ...)"
    require_unchanged(adata, entry, f"the trajectory {key!r}", mend, groups=str(params["groups"]))
    pieces = _slices(adata, spatial_key, slice_labels(adata, library_key or params.get("library_key")))
    time = replace(read_values(adata, key, layer=None, palette=None, vmin=0.0, vmax=None), key="pseudotime")
    domains = _ordered(adata, entry, str(params["groups"]), palette)
    titles = [piece.name for piece in pieces] * 2 if len(pieces) > 1 else ["pseudotime", domains.key]
    style = Style(ncols=ncols, size=size, cmap=cmap, invert_y=invert_y, legend=legend)
    figure = draw_sheet(pieces, [time, domains], style, titles=titles, figsize=figsize, dpi=dpi)
    graph = route(entry, domains.names, min_connectivity)
    for ax, piece in zip(figure.axes[len(pieces) :], pieces, strict=False):
        fade(ax)
        draw_route(ax, piece, domains, graph)
    return figure


def _record(adata: AnnData, key: str) -> Mapping[str, Any]:
    require_key(adata.uns, key, "adata.uns", hint=_HINT)
    require_key(adata.obs, key, "adata.obs", hint=_HINT)
    entry = adata.uns[key]
    if not isinstance(entry, Mapping) or "connectivities_tree" not in entry:
        msg = f"adata.uns[{key!r}] is not a record of a trajectory. {_HINT}."
        raise KeyError(msg)
    return entry


def _slices(adata: AnnData, spatial_key: str, labels: pd.Categorical | None) -> list[Slice]:
    from spotscape.pl._panel import Slice

    coords = coordinates(adata, spatial_key)[:, :2]
    if labels is None:
        return [Slice.of("", np.arange(adata.n_obs), coords, None)]
    rows = [np.flatnonzero(labels.codes == code) for code in range(len(labels.categories))]
    return [
        Slice.of(str(name), index, coords[index], None) for name, index in zip(labels.categories, rows, strict=True)
    ]


def _ordered(adata: AnnData, entry: Mapping[str, Any], groups: str, palette: Palette | None) -> Categories:
    """The domains in the order of the trajectory, numbered; those that it does not reach come last, without number."""
    require_key(adata.obs, groups, "adata.obs", hint="The trajectory was made of these domains")
    values = read_values(adata, groups, layer=None, palette=palette, vmin=None, vmax=None)
    known = [str(name) for name in entry["groups"]]
    codes = set(values.codes.tolist()) if isinstance(values, Categories) else set()
    used = [name for code, name in enumerate(getattr(values, "names", [])) if code in codes]
    if not isinstance(values, Categories) or not set(used) <= set(known):
        msg = (
            f"adata.obs[{groups!r}] has other domains than the trajectory, which was made of {known}; make it anew: "
            "sp.tl.trajectory(adata, root=...)."
        )
        raise ValueError(msg)
    reached = [name for name in map(str, entry["order"]) if name in used]
    names = [*reached, *(name for name in used if name not in reached)]
    places = np.array([names.index(name) if name in names else -1 for name in values.names] + [-1])
    colors = [values.colors[values.names.index(name)] for name in names]
    return replace(values, codes=places[values.codes], names=names, colors=colors)
