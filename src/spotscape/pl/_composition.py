"""Tables of domains: their shares in slices and conditions, and how they meet an annotation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
from scipy.optimize import linear_sum_assignment

from spotscape._core.arguments import public
from spotscape._core.reading import domain_column
from spotscape._core.validation import read_groups, require_data, slice_labels
from spotscape.pl._colors import Categories, read_categories, store_colors
from spotscape.pl._sheet import Look, Output, add_legend, hand_out, open_axes
from spotscape.pl._slices import find_slices

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._colors import Palette
    from spotscape.pl._sheet import Shown

Normalize = Literal["rows", "columns", "none"]

# Letters of a name below a column; longer ones would run out of the figure.
_LONGEST = 30


@public
def composition(
    adata: AnnData,
    key: str | None = None,
    *,
    library_key: str | None = None,
    condition: str | None = None,
    palette: Palette | None = None,
    **output: Unpack[Output],
) -> Shown:
    """Show the shares of the domains in each slice, with slices grouped by condition.

    Parameters
    ----------
    adata
        Annotated data with domains.
    key
        Column of ``adata.obs`` with the domains; spots without one are left out. ``None`` means those that
        :func:`spotscape.tl.domains` has found.
    condition
        Column of ``adata.obs`` by which slices are grouped, such as the patient or the treatment.

    Raises
    ------
    TypeError
        If ``key`` holds fractions.
    ValueError
        If a slice has spots of several conditions.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=3, n_domains=4, n_spots=200, n_genes=30)
    >>> ax = sp.pl.composition(adata, "domain", library_key="slice", show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['slice_1', 'slice_2', 'slice_3']
    """
    require_data(adata, genes=False)
    key = domain_column(adata, key, "key")
    stored = read_categories(adata, key, palette)
    values = stored.in_order()
    slices = slice_labels(adata, library_key or find_slices(adata))
    names = ["all spots"] if slices is None else [str(name) for name in slices.categories]
    codes = np.zeros(adata.n_obs, dtype=int) if slices is None else np.asarray(slices.codes)
    groups = [(0, "")] * len(names)
    if condition is not None:
        conditions = read_groups(adata, condition, argument="condition")
        named = [*map(str, conditions.categories), "nan"]
        found = [np.unique(conditions.codes[codes == code]) for code in range(len(names))]
        mixed = [name for name, own in zip(names, found, strict=True) if len(own) > 1]
        if mixed:
            msg = f"slice {mixed[0]!r} has spots of several conditions of adata.obs[{condition!r}]; it needs one."
            raise ValueError(msg)
        # In the order of the categories; spots without a condition have the code -1, which comes last.
        groups = [(int(own[0]) % len(named), named[own[0]]) for own in found]
    table = _table(codes, len(names), values)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    look = Look()
    height = 1 + 0.32 * len(names) + 0.5 * len(set(groups))
    size = 4.6 + look.margin(values) + 0.07 * max(map(len, names)), max(height, look.legend_height(values) + 0.5)
    with open_axes(output, 1, size) as axes:
        ax = axes[0]
        # Stacked bars from top to bottom, with a gap and a name between conditions.
        order = sorted(range(len(names)), key=lambda index: groups[index])
        headings = [groups[index][1] for index in order]
        places = np.arange(len(order)) + 1.2 * np.cumsum([0, *(a != b for a, b in pairwise(headings))])
        left = np.zeros(len(order))
        for own, color in zip(shares[order].T, values.colors, strict=True):
            ax.barh(places, own, left=left, color=color, height=0.82, edgecolor="white", linewidth=0.4)
            left += own
        ax.set_yticks(places, [names[index] for index in order])
        for name in dict.fromkeys(headings):
            top = places[headings.index(name)] - 0.55
            ax.text(0, top, name, fontweight="bold", va="bottom", fontsize="small")
        ax.set_ylim(places[-1] + 0.6, places[0] - (1.3 if headings[0] else 0.6))
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(left=False)
        labelled = replace(values, codes=values.codes[values.codes >= 0])
        add_legend(ax, "square", labelled, look, title=key)
        ax.set(xlim=(0, 1), xlabel="share of the spots")
    store_colors(adata, [stored])
    return hand_out(axes, output)


@public
def crosstab(
    adata: AnnData,
    key: str | None = None,
    *,
    to: str,
    normalize: Normalize = "rows",
    cmap: str = "Blues",
    **output: Unpack[Output],
) -> Shown:
    """Show how many spots of each domain lie in each region of an annotation.

    Rows are domains, in the order of the regions that they match best, so a good match shows as a diagonal.

    Parameters
    ----------
    adata
        Annotated data with both columns.
    key
        Column of ``adata.obs`` with the domains. ``None`` means those that :func:`spotscape.tl.domains` has found.
    to
        Column of ``adata.obs`` with the annotation, or other domains. Spots that lack a label in either column are left
        out.
    normalize
        Meaning of colours and numbers: ``"rows"``, the share of the domain that lies in the region; ``"columns"``, the
        share of the region that has the domain; ``"none"``, the number of spots.

    See Also
    --------
    spotscape.metrics.ari : The agreement as one number.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=30)
    >>> adata.obs["found"] = adata.obs["domain"].cat.rename_categories(["2", "0", "1"])
    >>> ax = sp.pl.crosstab(adata, "found", to="domain", show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['2', '0', '1']
    """
    require_data(adata, genes=False)
    key = domain_column(adata, key, "key")
    found, known = (read_categories(adata, name).in_order() for name in (key, to))
    both = (found.codes >= 0) & (known.codes >= 0)
    table = _table(np.where(both, found.codes, -1), len(found.names), known)
    rows, columns = table.sum(axis=1) > 0, table.sum(axis=0) > 0
    table = table[rows][:, columns]
    names = [np.array(one.names)[kept] for one, kept in ((found, rows), (known, columns))]
    paired, partners = linear_sum_assignment(table, maximize=True)
    place = np.full(len(table), len(table), dtype=float)
    place[paired] = partners
    order = np.argsort(place, kind="stable")
    table, names[0] = table[order], names[0][order]
    axis = {"rows": 1, "columns": 0, "none": None}[normalize]
    shown = table if axis is None else table / np.maximum(table.sum(axis=axis, keepdims=True), 1)
    with open_axes(output, 1, (1.8 + 0.55 * table.shape[1], 1.2 + 0.42 * table.shape[0])) as axes:
        ax, top = axes[0], float(shown.max()) if axis is None else 1.0
        ax.imshow(shown, cmap=cmap, vmin=0, vmax=top, aspect="auto")
        for row, column in np.ndindex(*shown.shape):
            value = shown[row, column]
            if round(value, 2) > 0:
                text = f"{value:,}" if axis is None else f"{value:.2f}".removeprefix("0")
                color = "white" if value > 0.6 * top else "black"
                ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
        below = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in map(str, names[1])]
        turned = sum(map(len, below)) > 6 * len(below)
        ax.set_yticks(range(len(names[0])), names[0])
        ax.set_xticks(range(len(below)), below, rotation=40 if turned else 0, ha="right" if turned else "center")
        ax.set_xticks(np.arange(shown.shape[1] + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(shown.shape[0] + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=1)
        ax.tick_params(which="both", length=0)
        ax.spines[:].set_visible(False)
        ax.set(xlabel=to, ylabel=key)
    return hand_out(axes, output)


def _table(codes: np.ndarray, n: int, values: Categories) -> np.ndarray:
    labelled = (values.codes >= 0) & (codes >= 0)
    table = np.zeros((n, len(values.names)), dtype=np.int64)
    np.add.at(table, (codes[labelled], values.codes[labelled]), 1)
    return table
