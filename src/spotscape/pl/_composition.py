"""Domains beside other columns and other labelings: what they are made of, how sure they are, and where they differ."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Unpack

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import FontProperties
from scipy.optimize import linear_sum_assignment

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.reading import domain_column, domain_columns
from spotscape._core.validation import read_groups, require_data, slice_labels, the_one_present
from spotscape.metrics._agreement import matched
from spotscape.pl._colors import Categories, Numbers, read_categories, read_confidence, scale, store_colors
from spotscape.pl._legend import add_legend, broken, inches
from spotscape.pl._sheet import Look, Output, Panels, draw_panels, hand_out, open_axes, panel_size, per_row
from spotscape.pl._slices import find_slices, read_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    with open_axes(output, 1, (4.2, 0.3 + 0.32 * len(names) + 0.5 * len(set(groups)))) as axes:
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
        add_legend(ax, "square", labelled, Look.of(output, adata.n_obs), title=key)
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
    below = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in map(str, names[1])]
    turned = sum(map(len, below)) > 6 * len(below)
    with open_axes(output, 1, (0.55 * table.shape[1], 0.42 * table.shape[0])) as axes:
        ax, top = axes[0], float(shown.max()) if axis is None else 1.0
        ax.imshow(shown, cmap=cmap, vmin=0, vmax=top, aspect="auto")
        for row, column in np.ndindex(*shown.shape):
            value = shown[row, column]
            if round(value, 2) > 0:
                text = f"{value:,}" if axis is None else f"{value:.2f}".removeprefix("0")
                color = "white" if value > 0.6 * top else "black"
                ax.text(column, row, text, ha="center", va="center", fontsize="small", color=color)
        ax.set_yticks(range(len(names[0])), names[0])
        ax.set_xticks(range(len(below)), below, rotation=40 if turned else 0, ha="right" if turned else "center")
        ax.set_xticks(np.arange(shown.shape[1] + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(shown.shape[0] + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=1)
        ax.tick_params(which="both", length=0)
        ax.spines[:].set_visible(False)
        ax.set(xlabel=broken(to, max(2.0, inches(ax, "width"))), ylabel=broken(key, inches(ax, "height")))
    return hand_out(axes, output)


def _table(codes: np.ndarray, n: int, values: Categories) -> np.ndarray:
    labelled = (values.codes >= 0) & (codes >= 0)
    table = np.zeros((n, len(values.names)), dtype=np.int64)
    np.add.at(table, (codes[labelled], values.codes[labelled]), 1)
    return table


# Between panels, as a share of the width of one.
_GAP = 0.06
# Height in inches of a bar, and the least. Where the legend has longer names, in letters, bars have numbers.
_BAR, _LEAST_BAR, _LONGEST_BESIDE = 0.17, 0.1, 16


@public
def confidence(
    adata: AnnData,
    key: str | None = None,
    *,
    confidence_key: str | None = None,
    palette: Palette | None = None,
    **panels: Unpack[Panels],
) -> Shown:
    """Show the confidence of domains: on the tissue, where unsure spots fade, and as a bar for each domain.

    Bars are medians; lines reach from the 10th to the 90th percentile of the spots.

    Parameters
    ----------
    adata
        Annotated data with domains and their confidence, as :func:`spotscape.tl.consensus_domains`,
        :func:`spotscape.tl.domains` and :func:`spotscape.tl.transfer_domains` write them.
    key
        Column of ``adata.obs`` with the domains. ``None`` means those that :func:`spotscape.tl.domains` or
        :func:`spotscape.tl.consensus_domains` has found with a confidence; name one if there are several.
    confidence_key
        Column of ``adata.obs`` with their confidence, between 0 and 1. ``None`` means ``"<key>_confidence"``.
    **panels
        Arguments that lay out panels, as in :func:`spotscape.pl.domains`; ``ax`` takes one more than there are slices.

    Raises
    ------
    ValueError
        If the confidence lies outside 0 to 1.

    Examples
    --------
    >>> import numpy as np, spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=30)
    >>> adata.obs["domain_confidence"] = np.linspace(0.5, 1, 300)
    >>> figure = sp.pl.confidence(adata, "domain", return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['domain', 'confidence']
    """
    require_data(adata, genes=False)
    if key is None:
        known = [name for name in domain_columns(adata) if keys.confidence_of(name) in adata.obs]
        key = the_one_present(dict.fromkeys(known), known or keys.DOMAINS, "adata.obs", "key")
    sure = read_confidence(adata, confidence_key or keys.confidence_of(key))
    values = read_categories(adata, key, palette)
    return _with_bars(adata, replace(values, confidence=sure), values, sure, title="confidence", options=panels)


@public
def disagreement(
    adata: AnnData, labelings: Sequence[str], *, palette: Palette | None = None, **panels: Unpack[Panels]
) -> Shown:
    """Show where several labelings of the same spots differ, for each spot and each domain.

    Domains of each labeling are matched one to one with those of the first, such that most spots agree. The
    disagreement of a spot is the share of the other labelings that give it another domain than the first labeling does.
    A labeling without a label for the spot does not count. With two labelings the disagreement is 0 or 1. If one of
    them is an annotation, it shows where the domains differ from the annotation.

    Parameters
    ----------
    adata
        Annotated data with the labelings.
    labelings
        Two or more columns of ``adata.obs``: domains of several methods, seeds or settings, or an annotation.
    palette
        Colours of the domains of the first, as in :func:`spotscape.pl.domains`.
    **panels
        Arguments that lay out panels, as in :func:`spotscape.pl.domains`; ``ax`` takes one more than there are slices,
        ``cmap`` is ``"Reds"`` here and ``img`` ``False``.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does. Nothing is written.

    Raises
    ------
    ValueError
        If fewer than two columns are named.

    See Also
    --------
    spotscape.tl.consensus_domains : The domains on which trainings agree.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=30)
    >>> adata.obs["other"] = adata.obs["domain"].cat.rename_categories(["c", "a", "b"])
    >>> figure = sp.pl.disagreement(adata, ["domain", "other"], return_fig=True)
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['disagreement', 'disagreement']
    """
    require_data(adata, genes=False)
    if isinstance(labelings, str) or len(labelings) < 2:
        msg = f"labelings={labelings!r} must name two or more columns of adata.obs."
        raise ValueError(msg)
    first, *others = (read_categories(adata, name, palette if name == labelings[0] else None) for name in labelings)
    differ, known = np.zeros(adata.n_obs), np.zeros(adata.n_obs)
    for other in others:
        both = (first.codes >= 0) & (other.codes >= 0)
        known += both
        if both.any():
            here, there = matched(first.codes[both], other.codes[both])
            differ[both] += here != there
    share = np.divide(differ, known, out=np.full(adata.n_obs, np.nan), where=known > 0)
    shown = Numbers("disagreement", share, scale(share, 0.0, 1.0))
    return _with_bars(
        adata, shown, first, share, title="disagreement", options={"cmap": "Reds", "img": False, **panels}
    )


def _with_bars(
    adata: AnnData, shown: Categories | Numbers, domains: Categories, numbers: np.ndarray, *, title: str, options: Any
) -> Shown:
    """The tissue, and a bar for each domain in a last panel."""
    pieces, options, domains = read_slices(adata, options), {**options, "longest": _LONGEST_BESIDE}, domains.in_order()
    ordered = shown.in_order() if isinstance(shown, Categories) else shown
    look = Look.of(options, adata.n_obs)
    kept = [code for code in range(len(domains.names)) if np.isfinite(numbers[domains.codes == code]).any()]
    numbered = isinstance(shown, Categories) and look.numbered(domains)
    names = [str(code + 1) if numbered else domains.names[code] for code in kept]
    width, height = size = panel_size(pieces)
    across = per_row(options, len(pieces) + 1, size, look.ncols)
    # Rows of slices are as high as slices: higher ones, for many bars, would leave gaps.
    is_row = across > len(pieces)
    size, options = (width, max(height, (_BAR if is_row else _LEAST_BAR) * len(names))), {**options, "ncols": across}
    look = replace(look, ncols=across)
    # The names of the bars need a gap to the legend or the numbers of the colour bar on their left.
    with open_axes(options, len(pieces) + 1, size, across=across, gridspec_kw={"wspace": _GAP}) as axes:
        draw_panels(axes[:-1], pieces, [ordered], look, options)
        ax, dark = axes[-1], plt.rcParams["text.color"]
        for place, code in enumerate(kept):
            own = numbers[domains.codes == code]
            # A disagreement of 0 or 1 has a mean; its median is not informative.
            middle = np.nanmedian(own) if title == "confidence" else np.nanmean(own)
            ax.barh(place, middle, color=domains.colors[code], height=0.7)
            if title == "confidence":
                ax.plot(np.nanpercentile(own, [10, 90]), [place, place], color=dark, linewidth=1.4)
        high, is_square = inches(ax, "height"), _BAR * len(names) < 3
        high = min(high, inches(ax, "width")) if is_square else high
        usual = FontProperties(size=plt.rcParams["ytick.labelsize"]).get_size_in_points()
        letters = min(usual, 60 * high / max(len(names), 1))
        ax.set_yticks(range(len(names)), names, fontsize=letters)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1), title=title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="x", alpha=0.3, linewidth=0.6)
        ax.set_box_aspect(1 if is_square else None)
    store_colors(adata, [shown])
    return hand_out(axes, options)
