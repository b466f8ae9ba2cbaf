"""One slice on one pair of axes: spots as tiles in data units, over the tissue image where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import allow_rasterization
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize, to_rgba_array
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from spotscape._core import geometry
from spotscape.pl._palette import UNLABELLED
from spotscape.pl._values import Categories

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

    from spotscape.pl._values import Numbers

# Cells overlap a little where they crowd and still leave no holes where they do not.
_DISC_IN_SPACINGS = 1.45
_SIZE_OVER_IMAGE = 0.7
# What spots without confidence fade to, and the share of their colour that they keep: it still says which domain.
_PALE = "#F7F7F7"
_FAINTEST = 0.08


class Tiles(PathCollection):
    """One shape at many places, its size in data units: it grows with the axes, unlike the markers of ``scatter``."""

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: RendererBase) -> None:
        """Scale the shape by the linear part of the data transform, then draw."""
        if self.axes is None:
            return
        matrix = self.axes.transData.get_affine().get_matrix().copy()
        matrix[:2, 2] = 0
        self.set_transform(Affine2D(matrix))
        super().draw(renderer)


@dataclass(frozen=True)
class Slice:
    """Spots of one slice, how they are arranged, and the image they lie on."""

    name: str
    rows: np.ndarray
    coords: np.ndarray
    lattice: geometry.Lattice
    image: np.ndarray | None
    image_scale: float

    @classmethod
    def of(cls, name: str, rows: np.ndarray, coords: np.ndarray, entry: Mapping[str, Any] | None) -> Slice:
        """Measure the arrangement of the spots and pick the best resolved image of an entry of ``uns["spatial"]``."""
        image, scale = _image(entry or {})
        return cls(name, rows, coords, geometry.lattice(coords), image, scale)

    @property
    def box(self) -> np.ndarray:
        """Corners ``[[x0, y0], [x1, y1]]`` of the spots with a margin."""
        low, high = self.coords.min(axis=0), self.coords.max(axis=0)
        margin = self.lattice.spacing + 0.01 * (high - low).max()
        return np.stack([low - margin, high + margin])


def draw_slice(
    ax: Axes,
    piece: Slice,
    values: Categories | Numbers,
    *,
    box: np.ndarray,
    size: float | None,
    cmap: str,
    invert_y: bool,
    rasterized: bool,
) -> None:
    """Draw the spots of a slice, their image, and nothing else: no ticks, no frame."""
    if piece.image is not None:
        height, width = piece.image.shape[:2]
        extent = (0, width / piece.image_scale, height / piece.image_scale, 0)
        ax.imshow(piece.image, extent=extent, origin="upper", interpolation="antialiased", cmap="gray")
    scale = (1.0 if piece.image is None else _SIZE_OVER_IMAGE) if size is None else size
    tiles = Tiles(
        [shape(piece.lattice, scale)],
        offsets=piece.coords,
        offset_transform=ax.transData,
        facecolors=face_colors(values, piece.rows, cmap),
        # Tiles that touch would otherwise be parted by hairlines of the renderer.
        edgecolors="face" if piece.lattice.kind != "irregular" and scale == 1 else "none",
        linewidths=0.35,
        rasterized=rasterized,
    )
    ax.add_collection(tiles, autolim=False)
    (x0, y0), (x1, y1) = box
    ax.set(xlim=(x0, x1), ylim=(y1, y0) if invert_y else (y0, y1), aspect="equal")
    ax.set_axis_off()


def shape(lattice: geometry.Lattice, scale: float) -> Path:
    """Make a hexagon or square that fills its cell of the lattice, or a disc; centred, in data units."""
    if lattice.kind == "irregular":
        return Path.unit_circle().transformed(Affine2D().scale(scale * _DISC_IN_SPACINGS * lattice.spacing / 2))
    corners = 6 if lattice.kind == "hexagonal" else 4
    half_turn = np.pi / corners
    radius = scale * lattice.spacing / (2 * np.cos(half_turn))
    angles = lattice.angle + half_turn + 2 * half_turn * np.arange(corners + 1)
    return Path(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), closed=True)


def face_colors(values: Categories | Numbers, rows: np.ndarray, cmap: str) -> np.ndarray:
    """RGBA of the spots ``rows``."""
    if isinstance(values, Categories):
        # The last colour serves the code -1.
        colors_of_rows = np.asarray(to_rgba_array([*values.colors, UNLABELLED])[values.codes[rows]])
        return colors_of_rows if values.confidence is None else faded(colors_of_rows, values.confidence[rows])
    colors: np.ndarray = np.array(color_scale(values, cmap).to_rgba(values.values[rows]))
    colors[~np.isfinite(values.values[rows])] = to_rgba_array(UNLABELLED)
    return colors


def faded(colors: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Colours mixed with near-white, opaque: transparent tiles would show where they overlap."""
    strength = _FAINTEST + (1 - _FAINTEST) * confidence[:, None]
    return np.asarray(strength * colors + (1 - strength) * to_rgba_array(_PALE))


def color_scale(values: Numbers, cmap: str) -> ScalarMappable:
    """Make the one scale that all panels of a key share."""
    return ScalarMappable(Normalize(values.vmin, values.vmax), cmap)


def _image(entry: Mapping[str, Any]) -> tuple[np.ndarray | None, float]:
    for resolution in ("hires", "lowres"):
        image = entry.get("images", {}).get(resolution)
        scale = entry.get("scalefactors", {}).get(f"tissue_{resolution}_scalef")
        if image is not None and scale:
            return np.asarray(image), float(scale)
    return None, 1.0
