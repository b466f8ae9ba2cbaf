"""How sure domains are, and where several labelings of a tissue differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.reading import domain_columns
from spotscape._core.validation import require_data, the_one_present
from spotscape.metrics._agreement import matched
from spotscape.pl._colors import Categories, Numbers, read_categories, read_confidence, scale
from spotscape.pl._sheet import Look, Panels, hand_out, open_axes, read_pieces, sheet_size, show_spots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.pl._colors import Palette
    from spotscape.pl._sheet import Shown

# Between panels, as a share of the width of one.
_GAP = 0.1


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
    adata: AnnData,
    labelings: Sequence[str],
    *,
    palette: Palette | None = None,
    **panels: Unpack[Panels],
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
    adata: AnnData,
    shown: Categories | Numbers,
    domains: Categories,
    numbers: np.ndarray,
    *,
    title: str,
    options: Any,
) -> Shown:
    """The tissue, and a bar for each domain in a last panel."""
    pieces = read_pieces(adata, options)
    look = Look.of(options, adata.n_obs)
    across = min(look.ncols, len(pieces) + 1)
    size = sheet_size(pieces, across, -(-(len(pieces) + 1) // across), look.margin(shown))
    # The names of the bars need a gap to the legend or the numbers of the colour bar on their left.
    with open_axes(options, len(pieces) + 1, size, across=across, gridspec_kw={"wspace": _GAP}) as axes:
        inner = {**options, "ax": axes[:-1], "return_fig": False, "show": None}
        show_spots(adata, [shown], inner, pieces=pieces)
        ax, domains = axes[-1], domains.in_order()
        names = [name for code, name in enumerate(domains.names) if np.isfinite(numbers[domains.codes == code]).any()]
        for place, name in enumerate(names):
            code = domains.names.index(name)
            own = numbers[domains.codes == code]
            # A disagreement of 0 or 1 has a mean; its median is not informative.
            middle = np.nanmedian(own) if title == "confidence" else np.nanmean(own)
            ax.barh(place, middle, color=domains.colors[code], height=0.7)
            if title == "confidence":
                ax.plot(np.nanpercentile(own, [10, 90]), [place, place], color="#303030", linewidth=1.4)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1), title=title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="x", alpha=0.3, linewidth=0.6)
        ax.set_box_aspect(1)
    return hand_out(axes, options)
