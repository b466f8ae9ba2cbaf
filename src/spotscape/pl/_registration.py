"""Slices on each other, before and after registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from matplotlib.colors import to_rgb
from scipy.ndimage import gaussian_filter

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.geometry import coordinates
from spotscape._core.validation import require_data, require_key, slice_labels
from spotscape.pl._colors import Categories, as_categories, category_colors, read_values
from spotscape.pl._panel import Slice, add_tiles
from spotscape.pl._sheet import Look, Looks, add_legend, hand_out, open_axes, require_known

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._colors import Numbers, Palette
    from spotscape.pl._sheet import Shown

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
    """Show all slices on top of each other, before and after registration.

    Under each panel stands the mean distance of the slices to their partners: the root mean square distance of a spot
    to the nearest of the other slice. It says how well the grids of spots coincide. The checkerboard shows whether the
    tissue continues across slices.

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
        the other: if slices fit, patterns continue across fields.
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
    require_data(adata, genes=False)
    require_known(looks, Looks, "registration")
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


# More slices than these make one grey of all colours.
_MIXED_SLICES = 3
_PIXELS = 240
# Density is smoothed over this many spacings; the outline is where it has fallen to this share of its median.
_SMOOTH, _EDGE = 1.8, 0.3
_FIELDS = 6


@dataclass(frozen=True)
class Overlay:
    """The slices, with a colour each, and how they are drawn."""

    slices: Categories
    look: Look
    style: str

    def piece(self, coords: np.ndarray) -> Slice:
        """All spots as one slice, with the spacing that spots have within theirs."""
        codes = self.slices.codes
        spacing = float(np.median([geometry.spot_spacing(coords[codes == code]) for code in np.unique(codes)]))
        return Slice("", np.arange(len(coords)), coords, geometry.Lattice("irregular", spacing, 0.0))

    def draw(self, ax: Axes, coords: np.ndarray) -> None:
        """Draw all slices in the style that lets each be seen."""
        piece = self.piece(coords)
        style = self.style
        if style == "auto":
            style = "density" if len(self.slices.names) <= _MIXED_SLICES else "outline"
        if style == "spots":
            # In one random order, so that no slice lies on top of all others.
            order = np.random.default_rng(0).permutation(len(coords))
            disc = geometry.Lattice("irregular", piece.lattice.spacing / 1.45, 0.0)
            add_tiles(ax, disc, coords[order], order, self.slices, look=self.look, scale=self.look.size or 1.0)
        else:
            for code, color in enumerate(self.slices.colors):
                self._draw_density(ax, coords[self.slices.codes == code], color, piece, filled=style == "density")
        self._frame(ax, piece)

    def draw_checkerboard(self, ax: Axes, coords: np.ndarray, values: Categories | Numbers) -> None:
        """Draw one slice in each field, the next slice in the next one."""
        piece = self.piece(coords)
        low, high = coords.min(axis=0), coords.max(axis=0)
        field = (high - low).max() / _FIELDS
        cells = np.floor((coords - low) / field).astype(int)
        shown = np.flatnonzero((cells.sum(axis=1) % len(self.slices.names)) == self.slices.codes)
        look = replace(self.look, alpha=1.0, size=1.0)
        add_tiles(
            ax,
            piece.lattice,
            coords[shown],
            shown,
            values,
            look=look,
            scale=1.0,
        )
        for axis, line in ((0, ax.axvline), (1, ax.axhline)):
            for place in np.arange(low[axis] + field, high[axis], field):
                line(place, color="white", linewidth=0.8, zorder=3)
        self._frame(ax, piece)

    def _frame(self, ax: Axes, piece: Slice) -> None:
        (x0, y0), (x1, y1) = piece.box
        ax.set(xlim=(x0, x1), ylim=(y1, y0) if self.look.invert_y else (y0, y1), aspect="equal")
        ax.set_axis_off()

    def _draw_density(self, ax: Axes, own: np.ndarray, color: str, piece: Slice, *, filled: bool) -> None:
        (x0, y0), (x1, y1) = piece.box
        pixel = max(x1 - x0, y1 - y0) / _PIXELS
        edges = [np.arange(start, end + pixel, pixel) for start, end in ((x0, x1), (y0, y1))]
        counts = np.histogram2d(own[:, 0], own[:, 1], bins=edges)[0]
        density = gaussian_filter(counts, max(1.0, _SMOOTH * geometry.spot_spacing(own) / pixel), mode="constant")
        typical = float(np.median(density[counts > 0]))
        if filled:
            opacity = 0.45 * np.clip(density / (1.5 * typical), 0, 1) * (density > _EDGE * typical)
            layer = np.concatenate([np.broadcast_to(to_rgb(color), (*density.shape, 3)), opacity[..., None]], axis=2)
            extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
            ax.imshow(layer.swapaxes(0, 1), extent=extent, origin="lower", interpolation="bilinear")
        middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        ax.contour(*middles, density.T, levels=[_EDGE * typical], colors=[color], linewidths=1.5)
