"""The slices of an AnnData as they are drawn: spots, lattice, image, unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core import geometry, keys
from spotscape._core.logging import logger
from spotscape._core.places import coordinates
from spotscape._core.validation import params_of, slice_labels

if TYPE_CHECKING:
    from anndata import AnnData

_MAX_SLICES, _COMPARED = 200, 20
# Slices with more of their spots than this within the frame of another would hide each other, drawn together.
_HIDDEN = 0.2
# Centre to centre on a Visium slide.
_VISIUM_SPACING = 100.0


@dataclass(frozen=True)
class Image:
    """An image, and how many of its pixels make one unit of the coordinates."""

    pixels: np.ndarray
    scale: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in the unit of the coordinates."""
        height, width = self.pixels.shape[:2]
        return 0, width / self.scale, height / self.scale, 0


@dataclass(frozen=True)
class Slice:
    """Spots of one slice; ``unit`` is the number of micrometres in one unit of the coordinates, if known."""

    name: str
    rows: np.ndarray
    coords: np.ndarray
    lattice: geometry.Lattice
    image: Image | None = None
    unit: float | None = None
    crop: np.ndarray | None = None

    @property
    def box(self) -> np.ndarray:
        """Corners ``[[x0, y0], [x1, y1]]`` of what is shown: the crop, or the spots with a margin."""
        if self.crop is not None:
            return self.crop
        low, high = self.coords.min(axis=0), self.coords.max(axis=0)
        margin = self.lattice.spacing + 0.01 * (high - low).max()
        return np.stack([low - margin, high + margin])


def read_slices(adata: AnnData, options: Mapping[str, Any]) -> list[Slice]:
    """The slices as a plot wants them; without ``library_key``, those by which the data were processed."""
    coords = coordinates(adata, options.get("spatial_key", keys.SPATIAL))[:, :2]
    library_key, img, crop_coord = options.get("library_key"), options.get("img", True), options.get("crop_coord")
    if library_key is None:
        library_key = find_slices(adata, coords)
    labels = slice_labels(adata, library_key)
    parts = rows_by_slice(adata.n_obs, labels)
    layout = geometry.layout_of([coords[rows] for _, rows in parts], adata)
    stored = adata.uns.get("spatial", {})
    entries = {str(name): entry for name, entry in stored.items()} if isinstance(stored, Mapping) else {}
    entries = {name: entry for name, entry in entries.items() if isinstance(entry, Mapping)}
    crop = None
    if crop_coord is not None:
        crop = np.sort(np.reshape(crop_coord, (2, 2)).astype(np.float64), axis=1).T
        if not (np.isfinite(crop).all() and (crop[1] > crop[0]).all()):
            msg = f"crop_coord={crop_coord} must be (left, right, top, bottom) in the unit of the coordinates."
            raise ValueError(msg)
    pieces = []
    for name, rows in parts:
        # Without slices an entry is taken only where there is no choice.
        entry = entries.get(name) if labels is not None else next(iter(entries.values())) if len(entries) == 1 else None
        own = coords[rows]
        lattice = geometry.lattice(own)
        image = _image(entry or {}, name, options.get("img_res_key")) if img else None
        # Where the file says it; images of one study differ in scale.
        unit = geometry.scale_factors(entry).get("microns_per_pixel")
        if unit is None:
            is_visium = layout.platform == "Visium" and lattice.kind == "hexagonal"
            unit = _VISIUM_SPACING / lattice.spacing if is_visium else layout.um_per_unit
        pieces.append(Slice(name, rows, own, lattice, image, unit, crop))
    names, with_images = [piece.name for piece in pieces], [name for name in entries if entries[name].get("images")]
    if img and library_key is None and len(with_images) > 1:
        logger.info("There are images of %s; name the column with these ids by library_key to see them.", with_images)
    elif img and library_key is not None and with_images and not set(with_images) & set(names):
        logger.info(
            "No image is shown: `adata.uns['spatial']` has images of %s, and `adata.obs['%s']` the slices %s.",
            with_images, library_key, names,
        )  # fmt: skip
    return pieces


def rows_by_slice(n_obs: int, labels: pd.Categorical | None) -> list[tuple[str, np.ndarray]]:
    """Name and rows of every slice; a single one has no name."""
    if labels is None:
        return [("", np.arange(n_obs))]
    return [(str(name), np.flatnonzero(labels.codes == code)) for code, name in enumerate(labels.categories)]


def _n_groups(column: pd.Series) -> int:
    try:
        return int(column.nunique())
    except TypeError:
        # Lists and the like, which are no names.
        return 0


def find_slices(adata: AnnData, coords: np.ndarray | None = None) -> str | None:
    """The column that holds the slices, if there are several: the one that the graph or a method used.

    Without a record of it, a column with a usual name of slices, if its groups overlap.
    """
    recorded = []
    for key, entry in adata.uns.items():
        name = params_of(entry).get("library_key")
        if isinstance(name, str) and name in adata.obs and 1 < _n_groups(adata.obs[name]) <= _MAX_SLICES:
            recorded.append((not str(key).endswith("_neighbors"), name))
    if recorded:
        name = min(recorded)[1]
        logger.info("Taking the slices of `adata.obs['%s']`, by which the data were processed.", name)
        return name
    for name in keys.slice_columns(adata.obs):
        column = adata.obs[name]
        if coords is None or column.isna().any() or not 1 < _n_groups(column) <= _MAX_SLICES:
            continue
        codes = pd.factorize(column)[0]
        first = codes < _COMPARED
        if geometry.shares_within(coords[first], codes[first]).max() > _HIDDEN:
            logger.info("The groups of `adata.obs['%s']` overlap: taking them for slices.", name)
            return name
    return None


def _image(entry: Mapping[str, Any], name: str, img_res_key: str | None) -> Image | None:
    """The image of an entry of ``uns["spatial"]`` with the best resolution, or the one that was asked for."""
    images, factors = entry.get("images"), geometry.scale_factors(entry)
    images = images if isinstance(images, Mapping) else {}
    for resolution in ("hires", "lowres") if img_res_key is None else (img_res_key,):
        if (pixels := images.get(resolution)) is None:
            continue
        scale = factors.get(f"tissue_{resolution}_scalef")
        if scale is None:
            logger.info("The %s image of %r has no scale factor, so it is not shown.", resolution, name)
            continue
        array = np.asarray(pixels)
        if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
            array = np.moveaxis(array, 0, -1)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        if fits and array.dtype.kind in "uifb" and array.size:
            return Image(array, scale)
        logger.info("The %s image of %r has shape %s and is not shown.", resolution, name, np.shape(pixels))
    if img_res_key is not None and images:
        msg = f"there is no image img_res_key={img_res_key!r} of {name!r}; there are {list(images)}."
        raise KeyError(msg)
    return None
