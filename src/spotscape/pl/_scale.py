"""The curve that the scale is chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import require_key
from spotscape.pl._options import Output, require_known

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._options import Shown

_COLOR, _CHOSEN = "#0072B2", "#CC3311"


@public
def scale(
    adata: AnnData,
    *,
    key: str = keys.SCALE,
    **output: Unpack[Output],
) -> Shown:
    """Show how well neighbourhoods of each size predict their spots, and the size chosen.

    The lower axis is the distance of the last neighbour, in the unit of the coordinates, the upper one the number of
    neighbours. Sizes in the shaded range reach 0.9 of the highest prediction and are as good as each other.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.pp.choose_scale` has been applied to.
    key
        Where its record is in ``adata.uns``.
    **output
        ``figsize``, ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does.

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
    >>> sp.pl.scale(adata, show=False).get_ylabel()
    'share predicted by neighbours'
    """
    from spotscape.pl._sheet import hand_out, open_axes

    require_known(output, Output, "scale")
    hint = "It is made by sp.pp.choose_scale(adata)"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    for name in ("curve", "n_neighs"):
        require_key(entry, name, f"adata.uns[{key!r}]", hint=hint)
    curve = {str(name): np.asarray(values) for name, values in entry["curve"].items()}
    if not np.isfinite(curve["predicted"]).any():
        msg = f"adata.uns[{key!r}] has no curve: {entry['reason']}."
        raise ValueError(msg)
    with open_axes(output, 1, (4.6, 3.2)) as axes:
        _draw(axes[0], curve, int(entry["n_neighs"]), float(entry["radius"]))
    return hand_out(axes, output)


def _draw(ax: Axes, curve: dict[str, np.ndarray], chosen: int, chosen_radius: float) -> None:
    numbers, radius, share = (curve[name] for name in ("n_neighs", "radius", "predicted"))
    flat = radius[share >= 0.9 * share.max()]
    ax.axvspan(flat[0], flat[-1], color=_COLOR, alpha=0.1, linewidth=0)
    ax.plot(radius, share, color=_COLOR, linewidth=1.6, marker="o", markersize=3.5)
    at = np.flatnonzero(numbers == chosen)
    ax.plot(radius[at], share[at], color=_CHOSEN, marker="o", markersize=7, linestyle="", label=f"chosen: {chosen}")
    ax.axvline(chosen_radius, color=_CHOSEN, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_ylim(min(0.0, 1.1 * share.min()), 1.15 * share.max())
    ax.set_xlabel("distance of the last neighbour")
    ax.set_ylabel("share predicted by neighbours")
    ax.legend(frameon=False, loc="lower right", handletextpad=0.2)
    ax.spines["right"].set_visible(False)
    upper = ax.secondary_xaxis("top")
    upper.set_xticks(radius, [str(number) for number in numbers], fontsize="small")
    upper.set_xlabel("neighbours")
