"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.validation import require_key, the_one_present
from spotscape.pl._options import Output, require_known

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._options import Shown

# A curve that falls by more than this is read on a logarithmic scale.
_LOG_ABOVE = 10
_NCOLS = 4
# One panel alone in a second row would look like an afterthought.
_ONE_ROW = 5
_TITLES = {"lr": "learning rate"}


@public
def history(
    adata: AnnData | Mapping[str, Any],
    *,
    key: str | None = None,
    **output: Unpack[Output],
) -> Shown:
    """Show how a training went: one small panel for every curve of its history.

    ``loss`` is what was minimised, the weighted sum; its parts are shown without their weights.

    Parameters
    ----------
    adata
        AnnData with the record of a method in ``adata.uns[key]``, or that record, or its ``history`` itself (a dict
        from name to values, one per epoch).
    key
        Where the record is in ``adata.uns``. Default: ``"spotscape"`` or ``"spacross"``, whichever is there; if both
        are, name one.
    **output
        ``figsize``, ``dpi``, ``ax`` (one for each curve), ``show`` and ``return_fig``, as in
        :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does. Positive curves that span more than a
    factor of 10 have a logarithmic axis.

    Raises
    ------
    KeyError
        If there is no such record, or it has no history.
    ValueError
        If the history is empty or a curve is not one-dimensional; if there are records of both encoders and ``key``
        names none.

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
    from spotscape.pl._sheet import hand_out, open_axes

    require_known(output, Output, "history")
    curves = _curves(adata, key)
    across = len(curves) if len(curves) <= _ONE_ROW else _NCOLS
    down = -(-len(curves) // across)
    with open_axes(output, len(curves), (3 * across, 2.4 * down), across=across) as axes:
        for ax, (name, values) in zip(axes, curves.items(), strict=True):
            _draw(ax, name, values)
    return hand_out(axes, output)


def _curves(source: AnnData | Mapping[str, Any], key: str | None) -> dict[str, np.ndarray]:
    if not isinstance(source, Mapping):
        if key is None:
            key = the_one_present(source.uns, keys.ENCODERS, "adata.uns", "key")
        hint = "An encoder leaves its record there: sp.tl.spotscape(adata) or sp.tl.spacross(adata)"
        require_key(source.uns, key, "adata.uns", hint=hint)
        source = source.uns[key]
        require_key(source, "history", f"adata.uns[{key!r}]")
    stored = source.get("history", source)
    if not isinstance(stored, Mapping) or not stored:
        msg = "the history holds no curves; expected a dict from name to one value per epoch."
        raise ValueError(msg)
    curves = {str(name): np.asarray(values, dtype=np.float64) for name, values in stored.items()}
    for name, values in curves.items():
        if values.ndim != 1:
            msg = f"the curve {name!r} of the history has shape {values.shape}; expected one value per epoch."
            raise ValueError(msg)
    return curves


def _draw(ax: Axes, name: str, values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.plot(np.arange(1, len(values) + 1), values, color="#0072B2", linewidth=1.6)
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() > _LOG_ABOVE * finite.min():
        ax.set_yscale("log")
    elif finite.size and finite.min() == finite.max():
        # A constant has no range of its own; matplotlib's would show digits that are not there.
        ax.set_yticks(finite[:1], [f"{finite[0]:g}"])
    ax.set_title(_TITLES.get(name, name))
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3, linewidth=0.6)
