"""Slices on each other, before and after registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.coordinates import coordinates
from spotscape._core.validation import require_choice, require_data, require_key, slice_labels
from spotscape.pl._options import Looks, require_known
from spotscape.pl._palette import as_categories, category_colors
from spotscape.pl._values import Categories, read_values

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._options import Shown
    from spotscape.pl._palette import Palette

Style = Literal["auto", "spots", "density", "outline"]
_PANEL = 4.2


@public
def registration(
    adata: AnnData,
    *,
    library_key: str | None = None,
    spatial_key: str | None = None,
    key: str = keys.SPATIAL_ALIGNED,
    style: Style = "auto",
    checkerboard: str | None = None,
    palette: Palette | None = None,
    **looks: Unpack[Looks],
) -> Shown:
    """Show all slices on each other, before registration on the left and after it on the right.

    Under each panel stands the mean distance of the slices to their partners: the root mean square distance of a spot
    to the nearest of the other slice. It says how well lattices of spots cover each other; whether the tissue
    continues across slices, the checkerboard shows.

    Parameters
    ----------
    adata
        AnnData that :func:`spotscape.pp.register_slices` has been applied to.
    library_key
        Column of ``adata.obs`` with the slice of every spot. ``None`` means that of the registration.
    spatial_key
        Coordinates before registration. ``None`` means those that were registered.
    key
        Name of the registration in ``adata.obsm`` and ``adata.uns``.
    style
        ``"spots"``: every spot, see-through. ``"density"``: where spots are dense, within the outline of each slice.
        ``"outline"``: outlines alone. ``"auto"``: density for up to three slices, outlines for more.
    checkerboard
        Column of ``adata.obs`` or gene for a third panel, in which the fields of a checkerboard show one slice after
        the other: where slices fit, patterns run on across fields.
    palette
        Colours of the slices, as in :func:`spotscape.pl.domains`. Nothing is written.
    **looks
        ``size`` (``None`` means 0.55 here, so that slices can be seen through each other), ``alpha`` (of spots; 0.6 if
        left out), ``cmap``, ``na_color``, ``invert_y``, ``legend_loc``, ``legend_fontsize``, ``colorbar``,
        ``figsize``, ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does.

    Raises
    ------
    KeyError
        If there is no such registration or column.
    ValueError
        If ``size`` is not positive or ``alpha`` outside (0, 1].

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=500, n_genes=60)
    >>> sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
    >>> figure = sp.pl.registration(adata, checkerboard="domain", return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['before', 'after', 'domain']
    """
    from spotscape.pl._overlay import Overlay
    from spotscape.pl._sheet import Look, add_legend, hand_out, open_axes

    require_data(adata, genes=False)
    require_known(looks, Looks, "registration")
    require_choice(style, "style", ("auto", "spots", "density", "outline"))
    entry = _record(adata, key)
    library_key = str(entry["params"].get("library_key")) if library_key is None else library_key
    before = coordinates(adata, spatial_key or str(entry["params"]["spatial_key"]))[:, :2]
    after = coordinates(adata, key)[:, :2]
    slices = _slices(adata, library_key, palette)
    pattern = None if checkerboard is None else read_values(adata, checkerboard)
    own = {"alpha": 0.6, "size": 0.55, **{name: value for name, value in looks.items() if value is not None}}
    overlay = Overlay(slices, Look.of(own, adata.n_obs), style)
    n_panels = 2 if pattern is None else 3
    width = n_panels * _PANEL + overlay.look.margin(slices) + (0 if pattern is None else overlay.look.margin(pattern))
    with open_axes(looks, n_panels, (width, _PANEL + 0.5)) as axes:
        for ax, title, coords, measure in zip(
            axes, ("before", "after"), (before, after), ("rmse_before", "rmse"), strict=False
        ):
            overlay.draw(ax, coords)
            ax.set_title(title)
            caption = _caption(entry, measure)
            ax.text(0.5, -0.02, caption, transform=ax.transAxes, ha="center", va="top", fontsize="small")
        add_legend(axes[1], "irregular", slices, overlay.look, title=None)
        if pattern is not None:
            overlay.draw_checkerboard(axes[2], after, pattern)
            axes[2].set_title(pattern.key)
            add_legend(axes[2], "irregular", pattern, overlay.look, title=None)
    return hand_out(axes, looks)


def _record(adata: AnnData, key: str) -> Mapping[str, Any]:
    hint = "Call sp.pp.register_slices(adata, library_key=...) first"
    require_key(adata.uns, key, "adata.uns", hint=hint)
    entry = adata.uns[key]
    if not isinstance(entry, Mapping) or "partners" not in entry:
        msg = f"adata.uns[{key!r}] is not a record of a registration. {hint}."
        raise KeyError(msg)
    require_key(adata.obsm, key, "adata.obsm", hint=hint)
    return entry


def _slices(adata: AnnData, library_key: str, palette: Palette | None) -> Categories:
    """The slices as categories: those that occur, with the colours that they have in other plots."""
    values = as_categories(adata.obs[library_key]) if library_key in adata.obs else None
    labels = slice_labels(adata, library_key)
    if labels is None or values is None:
        msg = f"library_key={library_key!r} names no column of adata.obs."
        raise KeyError(msg)
    colors = category_colors(adata, library_key, values, palette)[0]
    names = [str(name) for name in labels.categories]
    own = [colors[list(values.categories).index(name)] for name in names]
    return Categories(library_key, np.asarray(labels.codes), names, own)


def _caption(entry: Mapping[str, Any], measure: str) -> str:
    moved = np.array([str(a) != str(b) for a, b in zip(entry["library"], entry["partners"], strict=True)])
    spacing = np.asarray(entry["spacing"])[[str(name) for name in entry["library"]].index(str(entry["reference"]))]
    value = float(np.mean(np.asarray(entry[measure])[moved]))
    return f"RMSE {value:.3g} = {value / spacing:.2f} spacings"
