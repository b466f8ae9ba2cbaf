"""One slice drawn on its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba_array
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, AffineDeltaTransform
from matplotlib_scalebar.scalebar import ScaleBar
from scipy.spatial import cKDTree

from spotscape.pl._colors import READABLE, Categories
from spotscape.pl._legend import NOWHERE, broken, inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

    from spotscape._core.geometry import Lattice
    from spotscape.pl._colors import Numbers
    from spotscape.pl._sheet import Look
    from spotscape.pl._slices import Slice

_CONTRAST = (1.0, 99.8)
# Vector files of more spots than this open slowly, so the spots are drawn as pixels.
RASTER_ABOVE = 50_000
# Cells overlap a little where they crowd and still leave no holes where they do not.
_DISC_IN_SPACINGS = 1.45
_SIZE_OVER_IMAGE = 0.7
# What spots without confidence fade to, and the share of their colour that they keep: it still says which domain.
_PALE = "#F7F7F7"
_FAINTEST = 0.08
# Room for a scale bar in a corner: a share of the width of the axes and points of text around it; and points of height.
_BAR_SHARE, _BAR_BESIDE, _BAR_HEIGHT = 0.25, 8, 20
# Spots looked at to find the inside of a domain, and neighbours that tell inside from border.
_SAMPLE, _AROUND = 20_000, 12
# Width of a name on the tissue, as a share of the width of the panel, beyond which it gets another line.
_NAME_SHARE = 0.5
# A category forms a region if at least this share of the neighbours of its innermost spots belongs to it.
_TOGETHER = 0.4


class Bar(ScaleBar):
    """A scale bar in the corner of the axes in which it hides the fewest spots, whatever size the axes have got."""

    spots: np.ndarray
    margin: float

    def draw(self, renderer: RendererBase, *args: Any, **kwargs: Any) -> None:
        """Choose the corner, then draw."""
        frame, point, to_pixels = self.axes.get_window_extent(renderer), self.figure.dpi / 72, self.axes.transData
        around = np.abs(np.diff(to_pixels.transform([[0, 0], [self.margin] * 2]), axis=0))[0]
        width = _BAR_SHARE * frame.width + _BAR_BESIDE * point + around[0]
        height = _BAR_HEIGHT * point + around[1]
        x, y = to_pixels.transform(self.spots).T
        beside = {"left": x < frame.x0 + width, "right": x > frame.x1 - width}
        over = {"lower": y < frame.y0 + height, "upper": y > frame.y1 - height}
        hidden = {f"{low} {side}": int((over[low] & beside[side]).sum()) for low in over for side in beside}
        self.location = min(hidden, key=hidden.__getitem__)
        super().draw(renderer, *args, **kwargs)


class Name(Text):
    """The name of a category over its spots, within the axes and not on ``others``, whatever size the axes have got."""

    def __init__(self, text: str, points: np.ndarray, others: list[Name], size: float) -> None:
        middle = np.median(points, axis=0)
        super().__init__(
            float(middle[0]), float(middle[1]), text, ha="center", va="center", fontweight="bold", fontsize=size,
            color="black", zorder=6, clip_on=True, path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )  # fmt: skip
        # The spots on which it may stand, from the middle outwards.
        self._points = points[((points - middle) ** 2).sum(axis=1).argsort()]
        self._others = others
        # It stands within the axes and needs no room beside them.
        self.set_in_layout(False)

    def draw(self, renderer: RendererBase) -> None:
        """Choose the place, then draw."""
        if self.axes is not None:
            frame, own, to_pixels = self.axes.bbox, self.get_window_extent(renderer), self.axes.transData
            half = np.minimum([own.width, own.height], [frame.width, frame.height]) / 2
            places = np.clip(to_pixels.transform(self._points), frame.min + half, frame.max - half)
            hidden = np.zeros(len(places))
            for box in (other.get_window_extent(renderer) for other in self._others):
                shared = half + np.asarray(box.size) / 2 - np.abs(places - np.mean(box.get_points(), axis=0))
                hidden += np.clip(shared, 0, None).prod(axis=1)
            x, y = to_pixels.inverted().transform(places[hidden.argmin()])
            self.set_position((float(x), float(y)))
        super().draw(renderer)


def draw_slice(ax: Axes, piece: Slice, values: Categories | Numbers, look: Look, *, box: np.ndarray) -> None:
    """Draw the spots of a slice over their image, with a scale bar where the unit is known."""
    if piece.image is not None:
        pixels = stretch(piece.image.pixels, look.img_contrast)
        ax.imshow(
            pixels, extent=piece.image.extent, origin="upper", interpolation="antialiased",
            cmap="gray", alpha=look.img_alpha, vmin=0, vmax=1,
        )  # fmt: skip
    scale = (1.0 if piece.image is None else _SIZE_OVER_IMAGE) if look.size is None else look.size
    add_tiles(ax, piece.lattice, piece.coords, piece.rows, values, look=look, scale=scale)
    show_box(ax, box, invert_y=look.invert_y, frameon=look.frameon)
    unit = piece.unit if look.scalebar is None else look.scalebar
    if unit:
        bar = Bar(
            float(unit), "um", length_fraction=0.25, box_alpha=0.6, pad=0.2, border_pad=0.3, sep=2,
            width_fraction=0.012, font_properties={"size": "x-small"}, scale_loc="top",
        )  # fmt: skip
        bar.spots, bar.margin = piece.coords, piece.lattice.spacing / 2
        ax.add_artist(bar)
    is_wanted, has_none = look.legend_loc == "on data", look.legend_loc in NOWHERE
    # When asked for, and where colours alone would not do.
    if isinstance(values, Categories) and (is_wanted or (len(values.names) > READABLE and not has_none)):
        # Names that were not requested are not written on categories that are scattered all over the tissue.
        least = 0.0 if is_wanted else _TOGETHER
        names = [str(code + 1) for code in range(len(values.names))] if look.numbered(values) else values.names
        size, others = look.legend_fontsize or 8, list[Name]()
        for code, points in inner_spots(piece.coords, values.codes[piece.rows], least=least).items():
            written = broken(names[code], _NAME_SHARE * inches(ax, "width"), size)
            others = [*others, Name(written, points, others, size)]
            ax.add_artist(others[-1])


def show_box(ax: Axes, box: np.ndarray, *, invert_y: bool, frameon: bool = False) -> None:
    """Show what lies between two corners, on one scale for both axes."""
    (x0, y0), (x1, y1) = box
    ax.set(xlim=(x0, x1), ylim=(y1, y0) if invert_y else (y0, y1), aspect="equal", xticks=[], yticks=[])
    ax.axis(frameon)


def add_tiles(
    ax: Axes,
    lattice: Lattice,
    points: np.ndarray,
    rows: np.ndarray,
    values: Categories | Numbers,
    *,
    look: Look,
    scale: float,
    shape_transform: Affine2D | None = None,
    zorder: float = 1,
) -> None:
    """Add the spots ``rows``, drawn at ``points``, to the axes."""
    # What matters lies on top: spots with a category, and where cells overlap the larger numbers, as in scanpy.
    if isinstance(values, Categories):
        order = np.argsort(values.codes[rows] >= 0, kind="stable")
    else:
        unknown_first = np.nan_to_num(values.values[rows], nan=-np.inf)
        order = np.argsort(unknown_first, kind="stable") if lattice.kind == "irregular" else np.arange(len(rows))
    path = shape(lattice, scale)
    touching = lattice.kind != "irregular" and scale == 1 and look.alpha == 1
    # In data units: they grow with the axes, unlike the markers of scatter.
    to_pixels: Any = ax.transData
    tiles = PathCollection(
        [path if shape_transform is None else path.transformed(shape_transform)],
        offsets=points[order],
        transform=AffineDeltaTransform(to_pixels),
        offset_transform=to_pixels,
        facecolors=face_colors(values, rows[order], look),
        # Tiles that touch would otherwise be parted by hairlines of the renderer.
        edgecolors="face" if touching else "none",
        linewidths=0.35,
        rasterized=look.rasterized,
        zorder=zorder,
    )
    # They end where the axes end, and there may be many of them to measure.
    tiles.set_in_layout(False)
    ax.add_collection(tiles, autolim=False)


def shape(lattice: Lattice, scale: float) -> Path:
    """Make a hexagon or square that fills its cell of the lattice, or a disc; centred, in data units.

    At a ``scale`` of 1 it also fills the gaps where spots stray from the lattice.
    """
    if lattice.kind == "irregular":
        return Path.unit_circle().transformed(Affine2D().scale(scale * _DISC_IN_SPACINGS * lattice.spacing / 2))
    corners = 6 if lattice.kind == "hexagonal" else 4
    half_turn = np.pi / corners
    width = max(lattice.spacing, lattice.widest) if scale == 1 else scale * lattice.spacing
    placed = Affine2D().scale(width / (2 * np.cos(half_turn))).rotate(lattice.angle + half_turn - np.pi / 2)
    return Path.unit_regular_polygon(corners).transformed(placed)


def face_colors(values: Categories | Numbers, rows: np.ndarray, look: Look) -> np.ndarray:
    """RGBA of the spots ``rows``."""
    if isinstance(values, Categories):
        # The last colour serves the code -1.
        colors = np.asarray(to_rgba_array([*values.colors, look.na_color])[values.codes[rows]])
        if values.confidence is not None:
            # Mixed with near-white and opaque: transparent tiles would show where they overlap.
            strength = _FAINTEST + (1 - _FAINTEST) * np.nan_to_num(values.confidence[rows])[:, None]
            colors = strength * colors + (1 - strength) * to_rgba_array(_PALE)
    else:
        colors = np.array(ScalarMappable(values.norm, look.cmap).to_rgba(values.values[rows]))
        colors[~np.isfinite(values.values[rows])] = to_rgba_array(look.na_color)
    if look.alpha < 1:
        colors[:, 3] *= look.alpha
    return colors


def inner_spots(coords: np.ndarray, codes: np.ndarray, *, least: float = 0.0) -> dict[int, np.ndarray]:
    """The spots of each category whose neighbours are of it too; its middle may lie outside of it.

    Categories of which these spots have a smaller share than ``least`` around them are left out.
    """
    drawn = np.arange(0, len(coords), max(1, len(coords) // _SAMPLE))
    coords, codes = coords[drawn], codes[drawn]
    around = cKDTree(coords).query(coords, k=min(_AROUND, len(coords)))[1].reshape(len(coords), -1)
    inside = (codes[around] == codes[:, None]).mean(axis=1)
    found = {}
    for code in np.unique(codes[codes >= 0]).tolist():
        own = np.flatnonzero(codes == code)
        core = own[inside[own] >= min(0.9, np.quantile(inside[own], 0.8))]
        if inside[core].mean() >= least:
            found[code] = coords[core]
    return found


def stretch(pixels: np.ndarray, contrast: tuple[float, float] | None) -> np.ndarray:
    """Values between 0 and 1, from one percentile to another.

    Colours that are in a range a screen can show stay as they are, unless ``contrast`` is given.
    """
    if contrast is None and pixels.ndim == 3:
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind == "f" and np.nanmax(pixels) <= 1 and np.nanmin(pixels) >= 0:
            return pixels
        if np.nanmax(pixels) <= 255 and np.nanmin(pixels) >= 0:
            return np.nan_to_num(pixels / 255)
    low, high = np.nanpercentile(pixels[..., :3], contrast or _CONTRAST)
    return np.asarray(np.clip((np.nan_to_num(pixels, nan=low) - low) / max(high - low, 1e-12), 0, 1))
