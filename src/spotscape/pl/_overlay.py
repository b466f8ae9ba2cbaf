"""Several slices on one pair of axes: their spots, their density, their outlines, or a checkerboard of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from scipy.ndimage import gaussian_filter

from spotscape._core import geometry
from spotscape.pl._panel import add_tiles
from spotscape.pl._slices import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from spotscape.pl._sheet import Look
    from spotscape.pl._values import Categories, Numbers

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
