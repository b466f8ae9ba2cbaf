"""The curve that the number of domains is chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import require_data, require_key
from spotscape.pl._options import Output, require_known

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._options import Shown

_COLOR, _PICKED = "#0072B2", "#CC3311"
# What a curve may have, and how its panel is called.
_PANELS = {
    "score": ("score", "Score that decides"),
    "mean": ("stability (ARI)", "Agreement between samples"),
    "bic": ("BIC above its lowest", "Gaussian mixture"),
}


@public
def n_domains(adata: AnnData, *, key: str = keys.N_DOMAINS, **output: Unpack[Output]) -> Shown:
    """Show the score of each number of domains, what it is made of, and the number chosen.

    The score decides: stability, and a share of the elbow of the mixture's likelihood. Stability is the agreement of
    domains of different samples of the spots, mean and standard deviation over pairs of samples. The mixture's Bayesian
    information criterion is shown as the difference from its lowest value; on smoothed data it seldom turns, and what
    counts is where it stops falling steeply.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.tl.choose_n_domains` has been applied to.
    key
        Where its record is in ``adata.uns``.
    **output
        ``figsize``, ``dpi``, ``ax`` (one for each panel), ``show`` and ``return_fig``, as in
        :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does.

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
    >>> figure = sp.pl.n_domains(adata, return_fig=True)
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['score', 'stability (ARI)', 'BIC above its lowest']
    """
    from spotscape.pl._sheet import hand_out, open_axes

    require_data(adata, genes=False)
    require_known(output, Output, "n_domains")
    entry = _read(adata, key)
    curve = {str(name): np.asarray(values, dtype=np.float64) for name, values in entry["curve"].items()}
    panels = [name for name in _PANELS if name in curve]
    with open_axes(output, len(panels), (4 * len(panels), 3)) as axes:
        for ax, name in zip(axes, panels, strict=True):
            _draw(ax, name, curve, int(entry["picked"]))
    return hand_out(axes, output)


def _read(adata: AnnData, key: str) -> Any:
    hint = "It is made by sp.tl.choose_n_domains(adata)"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    if not isinstance(entry, Mapping):
        msg = f"adata.uns[{key!r}] is not a record of a number of domains. {hint}."
        raise KeyError(msg)
    for name in ("curve", "picked"):
        require_key(entry, name, f"adata.uns[{key!r}]", hint=hint)
    for name in ("k", "mean"):
        require_key(entry["curve"], name, f"adata.uns[{key!r}]['curve']", hint=hint)
    return entry


def _draw(ax: Axes, name: str, curve: dict[str, np.ndarray], picked: int) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers, values = curve["k"], curve[name] - (curve[name].min() if name == "bic" else 0)
    ax.axvline(picked, color=_PICKED, linewidth=1, linestyle=(0, (4, 3)))
    ax.plot(numbers, values, color=_COLOR, linewidth=1.6, marker="o", markersize=3.5)
    ax.plot(
        [picked], values[numbers == picked], color=_PICKED, marker="o", markersize=7, linestyle="",
        label=f"chosen: {picked}",
    )  # fmt: skip
    if name == "mean" and "sd" in curve:
        low, high = values - curve["sd"], np.minimum(values + curve["sd"], 1)
        ax.fill_between(numbers, low, high, color=_COLOR, alpha=0.18, linewidth=0)
        ax.set_ylim(min(0.0, float(low.min())), 1.03)
    ylabel, title = _PANELS[name]
    ax.set(xlabel="number of domains", ylabel=ylabel, title=title)
    ax.legend(frameon=False, loc="best", handletextpad=0.2)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3, linewidth=0.6)
