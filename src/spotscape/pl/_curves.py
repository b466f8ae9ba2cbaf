"""Curves of a training, of the number of domains, and of the scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from matplotlib.ticker import MaxNLocator

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import require_data, require_key, require_record, the_one_present
from spotscape.pl._legend import add_title, broken, inches
from spotscape.pl._sheet import Output, hand_out, open_axes, per_row

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._sheet import Shown

_COLOR, _CHOSEN = "#0072B2", "#CC3311"
# A curve that falls by more than this is read on a logarithmic scale.
_LOG_ABOVE = 10
# Inches of a panel up to which a legend would hide its curve.
_NARROW = 1.4
_SIZE, _ACROSS = (2.4, 1.8), 5
_TITLES = {"lr": "learning rate"}


@public
def history(adata: AnnData | Mapping[str, Any], *, key: str | None = None, **output: Unpack[Output]) -> Shown:
    """Show the losses of a training: one small panel for each curve.

    ``loss`` is the weighted sum that was minimised; its parts are shown without their weights. Positive curves that
    span more than a factor of 10 have a logarithmic axis, except for the learning rate, which ends near 0.

    Parameters
    ----------
    adata
        AnnData with the record of a method in ``adata.uns[key]``, or that record, or its ``history`` itself (a dict
        from name to values, one per epoch).
    key
        Where the record is in ``adata.uns``. Default: ``"spotscape"`` or ``"spacross"``, whichever is there; if both
        are, name one.

    Raises
    ------
    ValueError
        If the record has no history, the history is empty or a curve is not one-dimensional; if there are records of
        both encoders and ``key`` names none.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Whose training it shows.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> figure = sp.pl.history({"loss": np.geomspace(1.0, 0.01, 50), "lr": np.linspace(1e-3, 0.0, 50)}, return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['loss', 'learning rate']
    """
    source = adata
    if not isinstance(source, Mapping):
        key = the_one_present(source.uns, keys.ENCODERS, "adata.uns", "key") if key is None else key
        hint = "An encoder leaves its record there: sp.tl.spotscape(adata) or sp.tl.spacross(adata)"
        source = require_record(source, key, ("history",), hint)
    stored = source.get("history", source)
    if not isinstance(stored, Mapping) or not stored:
        msg = "the history holds no curves; expected a dict from name to one value per epoch."
        raise ValueError(msg)
    try:
        curves = {str(name): np.asarray(values, dtype=np.float64) for name, values in stored.items()}
    except (TypeError, ValueError) as error:
        msg = f"the history holds what is no number: {error}."
        raise ValueError(msg) from error
    for name, values in curves.items():
        if values.ndim != 1:
            msg = f"the curve {name!r} of the history has shape {values.shape}; expected one value per epoch."
            raise ValueError(msg)
    with open_axes(output, len(curves), _SIZE, across=per_row(output, len(curves), _SIZE, _ACROSS)) as axes:
        for ax, (name, values) in zip(axes, curves.items(), strict=True):
            ax.plot(np.arange(1, len(values) + 1), values, color=_COLOR, linewidth=1.6)
            finite = values[np.isfinite(values)]
            if name != "lr" and finite.size and finite.min() > 0 and finite.max() > _LOG_ABOVE * finite.min():
                ax.set_yscale("log")
            elif finite.size and finite.min() == finite.max():
                # A constant has no range of its own; matplotlib's would show digits that are not there.
                ax.set_yticks(finite[:1], [f"{finite[0]:g}"])
            ax.set(xlabel="epoch")
            add_title(ax, _TITLES.get(name, name))
            _finish(ax, 4)
    return hand_out(axes, output)


def _draw_choice(ax: Axes, x: np.ndarray, values: np.ndarray, *, at: np.ndarray, line: float, chosen: int) -> None:
    """Draw a curve with its points, of which that ``at`` the number chosen stands out, and a line there."""
    ax.axvline(line, color=_CHOSEN, linewidth=1, linestyle=(0, (4, 3)))
    ax.plot(x, values, color=_COLOR, linewidth=1.6, marker="o", markersize=3.5)
    ax.plot(x[at], values[at], color=_CHOSEN, marker="o", markersize=7, linestyle="", label=f"chosen: {chosen}")


def _finish(ax: Axes, most_ticks: int) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(most_ticks, integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3, linewidth=0.6)


# What a curve may have, and how its panel is called.
_PANELS = {
    "score": ("score", "Score"),
    "mean": ("stability (ARI)", "Agreement between samples"),
    "bic": ("BIC above its lowest", "Gaussian mixture"),
    "elbow": ("elbow (log ratio of gains)", "Likelihood of mixtures"),
}


@public
def n_domains(adata: AnnData, *, key: str = keys.N_DOMAINS, **output: Unpack[Output]) -> Shown:
    """Show how well domains agree for each number of domains, and the number chosen.

    The agreement of two embeddings is drawn with its mean and standard deviation over pairs of clusterings; open
    circles are candidates beside the number chosen. The second panel shows the elbow of the likelihood, which decides
    if it reaches the dotted line.

    If the stability decided, there are three panels. The score is the stability plus a fifth of the elbow. Stability is
    the agreement of domains between samples of the spots. The Bayesian information criterion of the mixture is shown as
    the difference from its lowest value.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.tl.choose_n_domains` has been applied to.
    key
        Where its record is in ``adata.uns``.

    Raises
    ------
    ValueError
        If the record has no curve.

    See Also
    --------
    spotscape.tl.choose_n_domains : Writes the record.

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
    require_data(adata, genes=False)
    hint = "It is made by sp.tl.choose_n_domains(adata)"
    entry = require_record(adata, key, ("curve", "picked"), hint)
    warn_if_changed(adata, entry, f"the curve {key!r}", "sp.tl.choose_n_domains(adata, ...)")
    for name in ("k", "mean"):
        require_key(entry["curve"], name, f"adata.uns[{key!r}]['curve']", hint=hint)
    curve = {str(name): np.asarray(values, dtype=np.float64) for name, values in entry["curve"].items()}
    numbers, picked = curve["k"], int(entry["picked"])
    panels = [name for name in _PANELS if name in curve]
    with open_axes(output, len(panels), (3.2, 2.3)) as axes:
        for ax, name in zip(axes, panels, strict=True):
            values = curve[name] - (curve[name].min() if name == "bic" else 0)
            _draw_choice(ax, numbers, values, at=numbers == picked, line=picked, chosen=picked)
            if name == "elbow":
                ax.axhline(0.8, color="0.5", linewidth=1, linestyle=":")
                ax.set_ylim(top=max(0.95, 1.1 * float(values.max())))
            if name == "mean" and "elbow" in curve:
                beside = np.isin(numbers, entry.get("candidates", [])) & (numbers != picked)
                if beside.any():
                    ax.plot(
                        numbers[beside], values[beside], color=_CHOSEN, marker="o", markersize=8, linestyle="",
                        fillstyle="none", label="candidates",
                    )  # fmt: skip
            if name == "mean" and "sd" in curve:
                low, high = values - curve["sd"], np.minimum(values + curve["sd"], 1)
                ax.fill_between(numbers, low, high, color=_COLOR, alpha=0.18, linewidth=0)
                ax.set_ylim(min(0.0, float(low.min())), 1.03)
            ylabel, title = _PANELS[name]
            if name == "mean" and "score" not in curve and "bic" not in curve:
                ylabel, title = "agreement (ARI)", "Agreement of two embeddings"
            xlabel = broken("number of domains", inches(ax, "width"))
            ax.set(xlabel=xlabel, ylabel=broken(ylabel, inches(ax, "height")))
            add_title(ax, title)
            if inches(ax, "width") > _NARROW:
                ax.legend(frameon=False, loc="best", handletextpad=0.2)
            _finish(ax, 10)
    return hand_out(axes, output)


@public
def scale(adata: AnnData, *, key: str = keys.SCALE, **output: Unpack[Output]) -> Shown:
    """Show how well neighbourhoods of each size predict their spots, and the number of neighbours chosen.

    The lower axis is the distance of the last neighbour, in the unit of the coordinates, the upper one the number of
    neighbours. Sizes in the shaded range reach 0.9 of the highest prediction and count as equally good.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.pp.choose_scale` has been applied to.
    key
        Where its record is in ``adata.uns``.

    Raises
    ------
    ValueError
        If the record has no curve, because there was nothing to compare; the message says why.

    See Also
    --------
    spotscape.pp.choose_scale : Writes the record.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=500, n_genes=100, n_domains=3, geometry="irregular")
    >>> sp.pp.prepare(adata)
    >>> sp.pp.choose_scale(adata)
    >>> sp.pl.scale(adata, show=False).get_ylabel()
    'share predicted by neighbours'
    """
    entry = require_record(adata, key, ("curve", "n_neighs"), "It is made by sp.pp.choose_scale(adata)")
    curve = {str(name): np.asarray(values) for name, values in entry["curve"].items()}
    if not np.isfinite(curve["predicted"]).any():
        msg = f"adata.uns[{key!r}] has no curve: {entry['reason']}."
        raise ValueError(msg)
    numbers, radius, share = (curve[name] for name in ("n_neighs", "radius", "predicted"))
    chosen, flat = int(entry["n_neighs"]), radius[share >= 0.9 * share.max()]
    with open_axes(output, 1, (3.8, 2.2)) as axes:
        ax = axes[0]
        ax.axvspan(flat[0], flat[-1], color=_COLOR, alpha=0.1, linewidth=0)
        _draw_choice(ax, radius, share, at=numbers == chosen, line=float(entry["radius"]), chosen=chosen)
        ax.set(
            ylim=(min(0.0, 1.1 * share.min()), 1.15 * share.max()),
            xlabel="distance of the last neighbour",
            ylabel="share predicted by neighbours",
        )
        ax.legend(frameon=False, loc="lower right", handletextpad=0.2)
        ax.spines["right"].set_visible(False)
        upper = ax.secondary_xaxis("top")
        upper.set_xticks(radius, [str(number) for number in numbers], fontsize="small")
        upper.set_xlabel("neighbours")
    return hand_out(axes, output)
