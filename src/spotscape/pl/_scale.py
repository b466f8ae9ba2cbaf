"""The curve that the scale is chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

_COLOR, _CHOSEN = "#0072B2", "#CC3311"


@public
def scale(
    adata: AnnData,
    *,
    key: str = keys.SCALE,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> Figure:
    """Show how well neighbourhoods of each size predict their spots, and the size chosen.

    The lower axis is the distance of the last neighbour, in the unit of the coordinates, the upper one the number of
    neighbours. Sizes in the shaded range reach 0.9 of the highest prediction and are as good as each other.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.pp.choose_scale` has been applied to.
    key
        Where its record is in ``adata.uns``.
    figsize
        Width and height of the figure in inches. ``None`` means 4.6 by 3.2.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.

    Returns
    -------
    The :class:`~matplotlib.figure.Figure`.

    Raises
    ------
    KeyError
        If there is no such record.
    ValueError
        If the record has no curve, because there was nothing to compare; the message says why.

    See Also
    --------
    spotscape.pp.choose_scale : Which leaves the record.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=500, n_genes=100, n_domains=3, geometry="irregular")
    >>> sp.pp.prepare(adata)
    >>> sp.pp.choose_scale(adata)
    >>> sp.pl.scale(adata).axes[0].get_ylabel()
    'share predicted by neighbours'
    """
    import matplotlib.pyplot as plt

    hint = "It is made by sp.pp.choose_scale(adata)"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    for name in ("curve", "n_neighs"):
        require_key(entry, name, f"adata.uns[{key!r}]", hint=hint)
    numbers, radius, share = (np.asarray(entry["curve"][name]) for name in ("n_neighs", "radius", "predicted"))
    if not np.isfinite(share).any():
        msg = f"adata.uns[{key!r}] has no curve: {entry['reason']}."
        raise ValueError(msg)
    figure, ax = plt.subplots(figsize=figsize or (4.6, 3.2), dpi=dpi, layout="constrained")
    plt.close(figure)
    flat = radius[share >= 0.9 * share.max()]
    ax.axvspan(flat[0], flat[-1], color=_COLOR, alpha=0.1, linewidth=0)
    ax.plot(radius, share, color=_COLOR, linewidth=1.6, marker="o", markersize=3.5)
    chosen = int(entry["n_neighs"])
    at = np.flatnonzero(numbers == chosen)
    ax.plot(radius[at], share[at], color=_CHOSEN, marker="o", markersize=7, linestyle="", label=f"chosen: {chosen}")
    ax.axvline(float(entry["radius"]), color=_CHOSEN, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_ylim(min(0.0, 1.1 * share.min()), 1.15 * share.max())
    ax.set_xlabel("distance of the last neighbour")
    ax.set_ylabel("share predicted by neighbours")
    ax.legend(frameon=False, loc="lower right", handletextpad=0.2)
    ax.spines["right"].set_visible(False)
    upper = ax.secondary_xaxis("top")
    upper.set_xticks(radius, [str(number) for number in numbers], fontsize="small")
    upper.set_xlabel("neighbours")
    return figure
