"""The curve that the number of domains is chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOR, _PICKED = "#0072B2", "#CC3311"
_COLUMNS = ("k", "mean", "sd", "bic")


@public
def n_domains(
    adata: AnnData,
    *,
    key: str = keys.N_DOMAINS,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> Figure:
    """Show how stable the domains are for each number of them, and the number chosen.

    On the left the agreement of domains of different samples of the spots, mean and standard deviation over pairs of
    samples; on the right the mixture's Bayesian information criterion, as the difference from its lowest value. On
    smoothed data it seldom turns: what counts is where it stops falling steeply.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.tl.choose_n_domains` has been applied to.
    key
        Where its record is in ``adata.uns``.
    figsize
        Width and height of the figure in inches. ``None`` means 8.4 by 3.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.

    Returns
    -------
    The :class:`~matplotlib.figure.Figure`.

    Raises
    ------
    KeyError
        If there is no such record, or it has no curve.

    See Also
    --------
    spotscape.tl.choose_n_domains : Which leaves the record.

    Examples
    --------
    >>> import anndata as ad, numpy as np, spotscape as sp
    >>> rng = np.random.default_rng(0)
    >>> adata = ad.AnnData(np.zeros((90, 1), dtype="float32"))
    >>> adata.obsm["X_spotscape"] = rng.normal(size=(90, 3)) + 9 * np.eye(3)[np.arange(90) % 3]
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.tl.choose_n_domains(adata, k_range=(2, 6))
    >>> [ax.get_ylabel() for ax in sp.pl.n_domains(adata).axes]
    ['stability (ARI)', 'BIC above its lowest']
    """
    import matplotlib.pyplot as plt

    entry = _read(adata, key)
    curve, picked = entry["curve"], int(entry["picked"])
    figure = plt.figure(figsize=figsize or (8.4, 3), dpi=dpi, layout="constrained")
    plt.close(figure)
    stability, criterion = figure.subplots(1, 2)
    numbers, mean, sd, bic = (np.asarray(curve[name], dtype=np.float64) for name in _COLUMNS)
    stability.fill_between(numbers, mean - sd, np.minimum(mean + sd, 1), color=_COLOR, alpha=0.18, linewidth=0)
    stability.set_ylim(min(0.0, float((mean - sd).min())), 1.03)
    for ax, values, label in (
        (stability, mean, "stability (ARI)"),
        (criterion, bic - bic.min(), "BIC above its lowest"),
    ):
        _draw(ax, numbers, values, picked)
        ax.set_ylabel(label)
    stability.set_title("Agreement between samples")
    criterion.set_title("Gaussian mixture")
    return figure


def _read(adata: AnnData, key: str) -> Any:
    hint = "It is made by sp.tl.choose_n_domains(adata)"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    for name in ("curve", "picked"):
        require_key(entry, name, f"adata.uns[{key!r}]", hint=hint)
    return entry


def _draw(ax: Axes, numbers: np.ndarray, values: np.ndarray, picked: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.axvline(picked, color=_PICKED, linewidth=1, linestyle=(0, (4, 3)))
    ax.plot(numbers, values, color=_COLOR, linewidth=1.6, marker="o", markersize=3.5)
    height = values[numbers == picked]
    ax.plot([picked], height, color=_PICKED, marker="o", markersize=7, linestyle="", label=f"chosen: {picked}")
    ax.legend(frameon=False, loc="best", handletextpad=0.2)
    ax.set_xlabel("number of domains")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3, linewidth=0.6)
