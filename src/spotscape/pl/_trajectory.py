"""A trajectory in the tissue: pseudotime, and beside it the graph of domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.provenance import require_unchanged
from spotscape._core.validation import require_data, require_in_range, require_key
from spotscape.pl._options import Panels, require_known
from spotscape.pl._values import Categories, read_categories, read_values, store_colors

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._options import Shown
    from spotscape.pl._palette import Palette
    from spotscape.pl._slices import Slice

_HINT = "Make it first: sp.tl.trajectory(adata, root=...)"


@public
def trajectory(
    adata: AnnData,
    *,
    key: str = keys.PSEUDOTIME,
    min_connectivity: float = 0.05,
    palette: Palette | None = None,
    **panels: Unpack[Panels],
) -> Shown:
    """Show pseudotime on the tissue, and beside it the graph of domains, each where it lies.

    Nodes have the names of their domains, the legend their order, and the root a dark ring. Lines join domains that
    PAGA finds connected in the embedding, the wider the more; those of its spanning tree are dark, others light. Of
    those the strongest are drawn, at most one for each domain. With several slices there is a row for each of the two,
    and the graph, one for all, is laid over every slice; a domain has a node where it makes up at least 0.5 % of the
    slice.

    Parameters
    ----------
    adata
        With the results of :func:`spotscape.tl.trajectory`.
    key
        Their name, ``key_added`` there.
    min_connectivity
        Connections of PAGA below this, from 0 to 1, are not shown.
    palette
        Colours of domains, as in :func:`spotscape.pl.domains`.
    **panels
        ``library_key`` (``None`` means that of the trajectory), ``spatial_key``, ``ncols``, ``size``, ``cmap`` (of
        pseudotime), ``title``, ``legend_loc``, ``ax``, ``show``, ``return_fig`` and all else that lays out panels in
        :func:`spotscape.pl.domains`; ``img`` is ``False`` here.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does. New colours of domains are written:

    ``adata.uns["<groups>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If there are no such results, or no coordinates.
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
    >>> figure = sp.pl.trajectory(adata, return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['pseudotime', 'domain']
    """
    from spotscape.pl._route import draw_route, fade, route
    from spotscape.pl._sheet import show_spots

    require_data(adata, genes=False)
    require_known(panels, Panels, "trajectory")
    require_in_range(min_connectivity, "min_connectivity", low=0, high=1)
    entry = _record(adata, key)
    groups = str(entry["params"]["groups"])
    mend = f"sp.tl.trajectory(adata, root={entry['params'].get('root')!r}, ...)"
    require_unchanged(adata, entry, f"the trajectory {key!r}", mend, groups=groups)
    time = replace(read_values(adata, key, vmin=0.0), key="pseudotime")
    stored = _domains(adata, entry, groups, palette)
    domains = _ordered(stored, entry)
    graph = route(entry, domains.names, min_connectivity)

    def add_graph(ax: Axes, piece: Slice, column: int) -> None:
        if column == 1:
            fade(ax)
            draw_route(ax, piece, domains, graph)

    options: dict[str, Any] = {"img": False, "library_key": entry["params"].get("library_key"), **panels}
    shown = show_spots(adata, [time, domains], options, decorate=add_graph)
    store_colors(adata, [stored])
    return shown


def _record(adata: AnnData, key: str) -> Mapping[str, Any]:
    require_key(adata.uns, key, "adata.uns", hint=_HINT)
    require_key(adata.obs, key, "adata.obs", hint=_HINT)
    entry = adata.uns[key]
    if not isinstance(entry, Mapping) or "connectivities_tree" not in entry:
        msg = f"adata.uns[{key!r}] is not a record of a trajectory. {_HINT}."
        raise KeyError(msg)
    return entry


def _domains(adata: AnnData, entry: Mapping[str, Any], groups: str, palette: Palette | None) -> Categories:
    values = read_categories(adata, groups, palette)
    known = [str(name) for name in entry["groups"]]
    if not {name for code, name in enumerate(values.names) if (values.codes == code).any()} <= set(known):
        msg = (
            f"adata.obs[{groups!r}] has other domains than the trajectory, which was made of {known}; make it anew: "
            "sp.tl.trajectory(adata, root=...)."
        )
        raise ValueError(msg)
    return values


def _ordered(values: Categories, entry: Mapping[str, Any]) -> Categories:
    """The domains that occur, in the order of the trajectory; those that it does not reach come last."""
    occurring = [name for code, name in enumerate(values.names) if (values.codes == code).any()]
    reached = [name for name in map(str, entry["order"]) if name in occurring]
    names = [*reached, *(name for name in occurring if name not in reached)]
    places = np.array([names.index(name) if name in names else -1 for name in values.names] + [-1])
    colors = [values.colors[values.names.index(name)] for name in names]
    # These colours are in another order than the categories, and not to be stored.
    return replace(values, codes=places[values.codes], names=names, colors=colors, origin="stored")
