"""Markers of domains: dots, a heat map, or the best of each on the tissue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import natural_order, require_data, require_key
from spotscape.get import markers_df
from spotscape.pl._colors import Numbers, as_categories, read_values
from spotscape.pl._sheet import Panels, given_axes, hand_out, show_spots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spotscape.pl._sheet import Shown

# Inches of all columns together; more of them get narrower.
_WIDEST = 15.0
_PASSES = 3
Kind = Literal["dots", "matrix", "tissue"]


@public
def markers(
    adata: AnnData,
    *,
    key: str = keys.MARKERS,
    kind: Kind = "dots",
    n_genes: int | None = None,
    group: str | Sequence[str] | None = None,
    layer: str | None = None,
    gene_symbols: str | None = None,
    standard_scale: Literal["var", "group"] | None = "var",
    **panels: Unpack[Panels],
) -> Shown:
    """Show the markers of domains: as dots, as a heat map, or the best one of each domain on the tissue.

    Parameters
    ----------
    adata
        Annotated data with the results of :func:`spotscape.tl.markers`.
    key
        Name of these results, the ``key_added`` of that function.
    kind
        ``"dots"``: scanpy's dot plot, size by the share of spots that have the gene. ``"matrix"``: scanpy's heat map of
        means. ``"tissue"``: the genes on the tissue.
    n_genes
        Markers for each domain, in the order of :func:`spotscape.get.markers_df`. ``None`` means 3, and 1 on the
        tissue. A gene that marks several domains is shown for each; on the tissue once, with the names of all of them.
    group
        Domain, or several, whose markers are shown. ``None`` means all.
    standard_scale
        Whether dots and heat map are scaled from 0 to 1, by gene (``"var"``) or by domain (``"group"``).
    **panels
        ``cmap``, ``figsize``, ``ax``, ``show``, ``return_fig``, and, for ``kind="tissue"``, all arguments that lay out
        panels in :func:`spotscape.pl.domains`.

    Raises
    ------
    ValueError
        If a ``group`` has no results.

    See Also
    --------
    spotscape.get.markers_df : The numbers.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=100, difficulty=0.2)
    >>> sp.pp.prepare(adata)
    >>> sp.tl.markers(adata, key="domain")
    >>> figure = sp.pl.markers(adata, kind="tissue", return_fig=True)
    >>> len(figure.axes)
    3
    """
    require_data(adata, unique=["var"])
    table = markers_df(adata, key=key, group=group, gene_symbols=gene_symbols)
    names_of = dict(zip(table["gene"], table["gene" if gene_symbols is None else "symbol"], strict=True))
    up, most = table[table["log2_fold_change"] > 0].sort_values("rank"), n_genes or (1 if kind == "tissue" else 3)
    chosen = {str(name): list(own["gene"].unique()[:most]) for name, own in up.groupby("group", observed=True)}
    if not chosen:
        msg = f"adata.uns[{key!r}] has no gene with higher expression in a domain."
        raise ValueError(msg)
    every = dict.fromkeys(gene for own in chosen.values() for gene in own)
    if kind == "tissue":
        domains_of = {gene: [name for name, own in chosen.items() if gene in own] for gene in every}
        columns = [
            replace(read_values(adata, gene, layer=layer), key=f"{names_of[gene]} ({', '.join(names)})")
            for gene, names in domains_of.items()
        ]
        return show_spots(adata, columns, {"cmap": "magma", "img": False, **panels})
    from anndata import AnnData

    groups = str(adata.uns[key]["params"]["key"])
    require_key(adata.obs, groups, "adata.obs", hint="The markers were found for these domains")
    labels = as_categories(adata.obs[groups]).remove_unused_categories()
    if list(labels.categories) == sorted(labels.categories):
        labels = labels.reorder_categories(natural_order(list(labels.categories)))
    chosen = {name: chosen[name] for name in labels.categories if name in chosen} | chosen
    if not len(labels.categories):
        msg = f"adata.obs[{groups!r}] labels no spot, so there is no domain to show."
        raise ValueError(msg)
    axes = given_axes(panels, 1)
    # Scanpy gets nothing but what it draws: other columns, their names and categories without spots confuse it.
    values = [read_values(adata, gene, layer=layer) for gene in every]
    data = AnnData(np.column_stack([one.values for one in values if isinstance(one, Numbers)]))
    data.var_names, data.obs["domain"] = list(every), labels
    plot = _drawn(data, chosen, kind, panels, standard_scale=standard_scale, axes=axes)
    main = plot.ax_dict["mainplot_ax"]
    main.set_xticklabels([names_of[label.get_text()] for label in main.get_xticklabels()])
    _make_room(cast("Figure", main.figure), is_fixed=axes is not None)
    return hand_out([main], panels)


def _drawn(
    data: AnnData,
    chosen: dict[str, list[str]],
    kind: Kind,
    panels: Mapping[str, Any],
    *,
    standard_scale: Literal["var", "group"] | None,
    axes: list[Axes] | None,
) -> Any:
    """Scanpy's plot, with narrower columns where there are many."""
    import scanpy as sc

    figsize, cmap = panels.get("figsize"), panels.get("cmap")
    draw: Any = sc.pl.DotPlot if kind == "dots" else sc.pl.MatrixPlot
    plot = draw(
        data, chosen, "domain", use_raw=False, standard_scale=standard_scale,
        figsize=figsize, ax=None if axes is None else axes[0],
    )  # fmt: skip
    narrower = min(1.0, _WIDEST / sum(map(len, chosen.values())) / plot.DEFAULT_CATEGORY_WIDTH)
    plot.DEFAULT_CATEGORY_WIDTH *= narrower
    plot.DEFAULT_CATEGORY_HEIGHT *= narrower
    if kind == "dots":
        plot.style(cmap=cmap or "Reds", largest_dot=plot.DEFAULT_LARGEST_DOT * narrower**2)
    else:
        plot.style(cmap=cmap or "viridis")
    try:
        plot.make_figure()
    except ValueError as error:
        msg = f"scanpy cannot lay out a figure of figsize={figsize}: {error}."
        raise ValueError(msg) from error
    return plot


def _make_room(figure: Figure, *, is_fixed: bool) -> None:
    """Make room for names that reach beyond the figure: scanpy leaves one room for them, however long.

    The user's figure keeps its size, and what is drawn gets smaller. One with a layout of its own is left to it.
    """
    if figure.get_layout_engine() is not None:
        return
    width, height = figure.get_size_inches()
    for _ in range(_PASSES if is_fixed else 1):
        box, old = figure.get_tightbbox(), figure.subplotpars
        left, bottom, right, top = (max(0.0, 0.1 - room) for room in (box.x0, box.y0, width - box.x1, height - box.y1))
        wide, high = (width, height) if is_fixed else (width + left + right, height + bottom + top)
        figure.set_size_inches(wide, high)
        shift = 0.0 if is_fixed else 1.0
        figure.subplots_adjust(
            left=(old.left * width + left) / wide,
            right=(old.right * width + shift * left - (1 - shift) * right) / wide,
            bottom=(old.bottom * height + bottom) / high,
            top=(old.top * height + shift * bottom - (1 - shift) * top) / high,
        )
