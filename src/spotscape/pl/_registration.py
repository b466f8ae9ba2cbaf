"""Overlap of slices before and after registration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.places import coordinates
from spotscape._core.validation import require_data, require_key, require_record, slice_labels
from spotscape.pl._colors import Categories, read_categories, read_values
from spotscape.pl._legend import add_colorbar, add_legend, add_title, broken, inches
from spotscape.pl._panel import add_tiles, show_box, stretch
from spotscape.pl._sheet import Look, Looks, hand_out, open_axes, per_row
from spotscape.pl._slices import Slice, read_slices
from spotscape.registration._section import grid_points
from spotscape.registration._stack import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._colors import Numbers, Palette
    from spotscape.pl._sheet import Shown

Style = Literal["auto", "spots", "density", "outline"]
_PANEL, _ACROSS = 4.2, 4


@public
def registration(
    adata: AnnData,
    *,
    library_key: str | None = None,
    spatial_key: str | None = None,
    key: str = keys.SPATIAL_ALIGNED,
    style: Style = "auto",
    checkerboard: str | None = None,
    deformation: bool = True,
    palette: Palette | None = None,
    **looks: Unpack[Looks],
) -> Shown:
    """Show all slices on top of each other, before and after registration, and how they were bent.

    Under each panel stands the mean distance of the slices to their partners: the root mean square distance of a spot
    to the nearest of the other slice. It says how well the grids of spots coincide. The checkerboard shows whether the
    tissue continues across slices. Each slice that was bent gets a panel with a grid on its tissue: grey shows the grid
    after rotation and shift, and colour shows it after bending. The colour says how far the tissue has moved.

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
        the other: if slices fit, patterns continue across fields. ``"image"`` shows the images of the slices in this
        way (``adata.uns["spatial"][slice]["images"]``), each moved like its spots.
    deformation
        Whether each slice that was bent (``deform="smooth"``) gets a panel with its grid.
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
        If there is no such registration or column, or no image for ``checkerboard="image"``.
    ValueError
        If the record is of something else, ``size`` is not positive or ``alpha`` outside (0, 1], or ``ax`` has another
        number of axes than there are panels.

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
    hint = "Call sp.pp.register_slices(adata, library_key=...) first"
    entry = require_record(adata, key, ("params", "partners"), hint)
    require_key(adata.obsm, key, "adata.obsm", hint=hint)
    library_key = str(entry["params"].get("library_key")) if library_key is None else library_key
    spatial_key = spatial_key or str(entry["params"]["spatial_key"])
    before, after = coordinates(adata, spatial_key)[:, :2], coordinates(adata, key)[:, :2]
    labels = slice_labels(adata, library_key)
    occurring = [] if labels is None else list(labels.categories)
    # Fractions name slices, such as heights; unused categories of others have colours too.
    fractions = labels if adata.obs.get(library_key, labels).dtype.kind == "f" else None
    slices = read_categories(adata, library_key, palette, values=fractions).taken(occurring)
    placements = {str(name): Placement.of_record(entry, index) for index, name in enumerate(entry["library"])}
    board: Categories | Numbers | list[Slice] | None = None
    if checkerboard is not None:
        board = _board(adata, checkerboard, spatial_key, library_key)
    bent = [name for name in slices.names if deformation and name in placements and placements[name].deformation]
    own = {"alpha": 0.6, "size": 0.55, **{name: value for name, value in looks.items() if value is not None}}
    overlay = Overlay(slices, Look.of(own, adata.n_obs), style)
    n_panels = 2 + (board is not None) + len(bent)
    across = per_row(looks, n_panels, (_PANEL, _PANEL), _ACROSS)
    names, partners = ([str(name) for name in entry[key]] for key in ("library", "partners"))
    moved = [name != partner for name, partner in zip(names, partners, strict=True)]
    spacing = np.asarray(entry["spacing"])[names.index(str(entry["reference"]))]
    with open_axes(looks, n_panels, (_PANEL, _PANEL), across=across) as axes:
        for ax, coords, measure in zip(axes, (before, after), ("rmse_before", "rmse"), strict=False):
            overlay.draw(ax, coords)
            ax.set_title("before" if coords is before else "after")
            value, overlap, features = (
                float(np.mean(np.asarray(entry[name])[moved])) for name in (measure, "overlap", "feature_agreement")
            )
            said = f"RMSE {value:.3g} = {value / spacing:.2f} spacings"
            if coords is after:
                said += f"\noverlap {overlap:.0%}" + (
                    "" if np.isnan(features) else f", features agree by {features:.2f}"
                )
            _write_below(ax, said)
        add_legend(axes[1], "irregular", slices, overlay.look, title=None)
        if board is not None:
            overlay.draw_checkerboard(axes[2], after, board, placements)
            add_title(axes[2], "images" if isinstance(board, list) else board.key)
            if not isinstance(board, list):
                add_legend(axes[2], "irregular", board, overlay.look, title=None)
        grids = {name: grid_lines(before[slices.codes == slices.names.index(name)], placements[name]) for name in bent}
        draw_grids(axes[n_panels - len(bent) :], grids, overlay, after)
    return hand_out(axes, looks)


def _board(adata: AnnData, name: str, spatial_key: str, library_key: str) -> Categories | Numbers | list[Slice]:
    """What a checkerboard shows: a column or gene, or images."""
    if name != "image" or name in adata.obs or name in adata.var_names:
        return read_values(adata, name)
    pieces = read_slices(adata, {"spatial_key": spatial_key, "library_key": library_key})
    if not any(piece.image for piece in pieces):
        msg = (
            "checkerboard='image' needs an image of a slice in adata.uns['spatial'][slice]['images']; there is none. "
            "Name a column of adata.obs or a gene instead."
        )
        raise KeyError(msg)
    return pieces


def _write_below(ax: Axes, text: str) -> None:
    text = broken(text, inches(ax, "width"), "small")
    ax.text(0.5, -0.02, text, transform=ax.transAxes, ha="center", va="top", fontsize="small")


# The colours of more slices than these mix to grey.
_MIXED_SLICES = 3
_PIXELS, _IMAGE_PIXELS, _GRID_LINES, _ROOM = 240, 700, 22, 3.0
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
        found = geometry.spacing_by_slice(coords[codes == code] for code in np.unique(codes))
        # A slice in a single place has none.
        spacing = float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else 1.0
        # Outlines run a little outside of the spots.
        low, high = coords.min(axis=0), coords.max(axis=0)
        box = np.stack([low - _ROOM * spacing, high + _ROOM * spacing])
        lattice = geometry.Lattice("irregular", spacing, 0.0)
        return Slice("", np.arange(len(coords)), coords, lattice, crop=box)

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
        show_box(ax, piece.box, invert_y=self.look.invert_y)

    def draw_checkerboard(
        self,
        ax: Axes,
        coords: np.ndarray,
        values: Categories | Numbers | list[Slice],
        placements: Mapping[str, Placement],
    ) -> None:
        """Draw one slice in each field, the next slice in the next one: its spots, or its image."""
        piece = self.piece(coords)
        low, high = coords.min(axis=0), coords.max(axis=0)
        field = (high - low).max() / _FIELDS
        turn = np.floor((coords - low) / field).astype(int).sum(axis=1) % len(self.slices.names)
        if isinstance(values, list):
            # Each pixel shows the image of the slice whose turn it is, where the registration took it from.
            pixel = (high - low).max() / _IMAGE_PIXELS
            axes = [np.arange(start + pixel / 2, end, pixel) for start, end in zip(low, high, strict=True)]
            points = grid_points(axes)
            turn = np.floor((points - low) / field).astype(int).sum(axis=1) % len(self.slices.names)
            colors = np.zeros((len(points), 4))
            for piece in values:
                if piece.image is not None and piece.name in placements:
                    own = turn == self.slices.names.index(piece.name)
                    picture = stretch(piece.image.pixels, self.look.img_contrast)
                    shades = np.asarray(picture, dtype=np.float64) / (255 if picture.dtype == np.uint8 else 1)
                    bands = np.moveaxis(np.atleast_3d(shades), 2, 0)
                    bands = bands[[0, 0, 0]] if len(bands) == 1 else bands[:3]
                    # The first pixel is centred at one half.
                    places = (placements[piece.name].move_back(points[own]) * piece.image.scale)[:, ::-1].T - 0.5
                    read = [map_coordinates(band, places, order=1, mode="nearest") for band in bands]
                    inside = ((places >= -0.5) & (places <= np.array(bands.shape[1:])[:, None] - 0.5)).all(axis=0)
                    colors[own] = np.column_stack([*np.clip(read, 0, 1), inside.astype(float)])
            layer = colors.reshape(len(axes[0]), len(axes[1]), 4).swapaxes(0, 1)
            edges = [(axis[0] - pixel / 2, axis[-1] + pixel / 2) for axis in axes]
            ax.imshow(layer, extent=(*edges[0], *edges[1]), origin="lower", interpolation="antialiased")
        else:
            shown = np.flatnonzero(turn == self.slices.codes)
            look = replace(self.look, alpha=1.0, size=1.0)
            add_tiles(ax, piece.lattice, coords[shown], shown, values, look=look, scale=1.0)
        for axis, line in ((0, ax.axvline), (1, ax.axhline)):
            for place in np.arange(low[axis] + field, high[axis], field):
                line(place, color=ax.figure.get_facecolor(), linewidth=0.8, zorder=3)
        show_box(ax, piece.box, invert_y=self.look.invert_y)

    def _draw_density(self, ax: Axes, own: np.ndarray, color: str, piece: Slice, *, filled: bool) -> None:
        (x0, y0), (x1, y1) = piece.box
        pixel = max(x1 - x0, y1 - y0) / _PIXELS or 1.0
        # An outline needs two pixels along each axis.
        shape = [max(2, int(np.ceil((end - start) / pixel))) for start, end in ((x0, x1), (y0, y1))]
        edges = [start + pixel * np.arange(n + 1) for start, n in zip((x0, y0), shape, strict=True)]
        counts = np.histogram2d(own[:, 0], own[:, 1], bins=edges)[0]
        spacing = geometry.spot_spacing(own)
        spacing = spacing if np.isfinite(spacing) else piece.lattice.spacing
        density = gaussian_filter(counts, max(1.0, _SMOOTH * spacing / pixel), mode="constant")
        typical = float(np.median(density[counts > 0]))
        if filled:
            opacity = 0.45 * np.clip(density / (1.5 * typical), 0, 1) * (density > _EDGE * typical)
            layer = np.concatenate([np.broadcast_to(to_rgb(color), (*density.shape, 3)), opacity[..., None]], axis=2)
            extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
            ax.imshow(layer.swapaxes(0, 1), extent=extent, origin="lower", interpolation="bilinear")
        middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        ax.contour(*middles, density.T, levels=[_EDGE * typical], colors=[color], linewidths=1.5)


def grid_lines(coords: np.ndarray, placement: Placement) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lines on the tissue of a slice after its motion, given its spots before it, and where bending takes them."""
    rigid = replace(placement, deformation=None).move(coords)
    spacing = geometry.spot_spacing(rigid)
    low, high = rigid.min(axis=0) - spacing, rigid.max(axis=0) + spacing
    apart = (high - low).max() / _GRID_LINES
    tree, lines = cKDTree(rigid), []
    for axis in (0, 1):
        along = np.linspace(low[axis], high[axis], 10 * _GRID_LINES)
        for place in np.arange(low[1 - axis] + apart / 2, high[1 - axis], apart):
            line = np.full((len(along), 2), place)
            line[:, axis] = along
            on_tissue = tree.query(line)[0] < max(2 * spacing, apart / 4)
            parts = np.split(np.arange(len(line)), np.flatnonzero(np.diff(on_tissue)) + 1)
            lines += [line[part] for part in parts if on_tissue[part[0]] and len(part) > 1]
    bend = placement.deformation
    return lines, lines if bend is None else [bend.move(line) for line in lines]


def draw_grids(axes: Sequence[Axes], grids: Mapping[str, Any], overlay: Overlay, coords: np.ndarray) -> None:
    """Draw each grid as it was and as it is, all in one scale of colours, in spot spacings."""
    if not grids:
        return
    piece = overlay.piece(coords)
    spacing = piece.lattice.spacing
    # How far each point of the lines was moved.
    shifts = [
        [np.linalg.norm(there - here, axis=1) / spacing for here, there in zip(*grid, strict=True)]
        for grid in grids.values()
    ]
    scale = Normalize(0, max(float(np.concatenate(own).max()) for own in shifts))
    # Without the colours that cannot be seen on the background: the palest on white, the darkest on black.
    is_dark = np.mean(to_rgb(axes[0].figure.get_facecolor())) < 0.5
    cmap = ListedColormap(
        colormaps["viridis" if is_dark else "viridis_r"](np.linspace(0.35 if is_dark else 0.15, 1, 256))
    )
    for ax, (name, (lines, moved)), own in zip(axes, grids.items(), shifts, strict=True):
        ax.add_collection(LineCollection(lines, colors="#C8C8C8", linewidths=0.6), autolim=False)
        steps = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in moved])
        by = np.concatenate([(shift[1:] + shift[:-1]) / 2 for shift in own])
        bent = LineCollection(list(steps), array=by, cmap=cmap, norm=scale, linewidths=1.2)
        ax.add_collection(bent, autolim=False)
        add_title(ax, f"bending of {name}")
        _write_below(ax, f"median {np.median(by):.2g}, at most {by.max():.2g} spacings")
        show_box(ax, piece.box, invert_y=overlay.look.invert_y)
    if overlay.look.colorbar:
        add_colorbar(axes[-1], bent, broken("moved by, in spacings", inches(axes[-1], "height")))
