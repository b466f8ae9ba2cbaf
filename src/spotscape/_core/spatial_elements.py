"""What a SpatialData has beside its tables: places, images and transformations of elements, and how to make one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.geometry import spot_spacing
from spotscape._core.logging import logger, warn

if TYPE_CHECKING:
    from anndata import AnnData

REGION, INSTANCE = "region", "instance_id"
# Pixels across an image that is drawn under a tissue: more than a figure shows.
_PIXELS = 1600
# Coordinates of a table that agree with those of its region to this share of the spacing are the same.
_SAME = 0.01


def _regions(sdata: Any, adata: AnnData) -> dict[str, np.ndarray]:
    """The elements that a table annotates, with the rows of each; those that are not in the object are left out."""
    marks = adata.uns.get("spatialdata_attrs")
    if not isinstance(marks, Mapping):
        return {}
    regions = adata.obs[marks["region_key"]].astype(str).to_numpy()
    return {name: np.flatnonzero(regions == name) for name in dict.fromkeys(regions) if name in sdata}


def _centroids(sdata: Any, adata: AnnData, region: str, rows: np.ndarray, system: str) -> np.ndarray:
    """Centres of the instances of an element that a table has in these rows, ``(n, 2)``, NaN where there is none."""
    from spatialdata import get_centroids

    found = get_centroids(sdata[region], coordinate_system=system)
    frame = (found.compute() if hasattr(found, "compute") else found)[["x", "y"]]
    wanted = adata.obs[adata.uns["spatialdata_attrs"]["instance_key"]].to_numpy()[rows]
    return np.asarray(frame.reindex(wanted).to_numpy(), dtype=np.float64)


def _systems(sdata: Any, element: str) -> list[str]:
    from spatialdata.transformations import get_transformation

    return list(get_transformation(sdata[element], get_all=True))


def add_coordinates(sdata: Any, adata: AnnData, key: str, system: str | None) -> None:
    """Write the centroids of the annotated elements as coordinates of the spots."""
    regions = _regions(sdata, adata)
    if not regions:
        return
    coords = np.full((adata.n_obs, 2), np.nan)
    used = {}
    for region, rows in regions.items():
        held = _systems(sdata, region)
        used[region] = system if system is not None else "global" if "global" in held else held[0]
        if used[region] not in held:
            msg = f"{region!r}, which the table annotates, is not in coordinate_system={system!r}, but in {held}."
            raise ValueError(msg)
        coords[rows] = _centroids(sdata, adata, region, rows, used[region])
    adata.obsm[key] = coords
    said = ", ".join(f"{region!r} in {where!r}" for region, where in used.items())
    logger.info("Adding `obsm['%s']` of the table: centroids of %s.", key, said)


def _system_of(sdata: Any, adata: AnnData, key: str, region: str, rows: np.ndarray) -> str | None:
    """The coordinate system in which the coordinates of these rows are the centroids of their element."""
    name = key.removeprefix(f"{keys.SPATIAL}_")
    if name != key and name in sdata.coordinate_systems:
        return name
    coords = np.asarray(adata.obsm[key], dtype=np.float64)[rows, :2]
    tolerance = _SAME * spot_spacing(coords) if len(coords) > 1 else 0.5
    for system in _systems(sdata, region):
        if np.allclose(_centroids(sdata, adata, region, rows, system), coords, rtol=0, atol=tolerance):
            return system
    return None


@contextmanager
def lend_images(sdata: Any, adata: AnnData, key: str, library_key: str | None) -> Iterator[None]:
    """Lend a table the images of its coordinate systems, where squidpy has them, for as long as a plot is drawn."""
    if keys.SPATIAL in adata.uns or key not in adata.obsm or not sdata.images:
        yield
        return
    entries = {}
    for region, rows in _regions(sdata, adata).items():
        system = _system_of(sdata, adata, key, region, rows)
        name = region if library_key is None else str(adata.obs[library_key].iloc[rows[0]])
        entry = None if system is None else _image_of(sdata, system, np.asarray(adata.obsm[key])[rows, :2])
        if entry is not None:
            entries[name] = entry
    adata.uns[keys.SPATIAL] = entries
    try:
        yield
    finally:
        del adata.uns[keys.SPATIAL]


def _image_of(sdata: Any, system: str, coords: np.ndarray) -> dict[str, Any] | None:
    """The best image of a coordinate system under these coordinates, as squidpy stores it."""
    import spatialdata

    held = [name for name in sdata.images if system in _systems(sdata, name)]
    if not held:
        return None
    # By their names in spatialdata-io: a picture in full, else the larger of the small ones.
    name = min(held, key=lambda name: (not name.endswith(("full_image", "morphology_focus")), "lowres" in name, name))
    low, high = np.zeros(2), coords.max(axis=0) + 0.05 * np.ptp(coords, axis=0)
    drawn = spatialdata.rasterize(
        sdata.images[name],
        axes=("x", "y"),
        min_coordinate=low,
        max_coordinate=high,
        target_coordinate_system=system,
        target_width=_PIXELS,
    )
    pixels = np.moveaxis(np.asarray(drawn), 0, -1)
    pixels = pixels[..., 0] if pixels.shape[-1] not in (3, 4) else pixels
    return {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": pixels.shape[1] / float(high[0])}}


def write_transforms(sdata: Any, adata: AnnData, key: str, spatial_key: str, library_key: str) -> None:
    """Add what registration found as transformations of the elements of each slice, into a system of its own."""
    from spatialdata.transformations import Affine, get_transformation, set_transformation
    from spatialdata.transformations import Sequence as Chain

    record = adata.uns[key]
    matrices = dict(zip(map(str, record["library"]), record["transforms"], strict=True))
    labels = adata.obs[library_key].astype(str).to_numpy()
    home = {}
    for region, rows in _regions(sdata, adata).items():
        system = _system_of(sdata, adata, spatial_key, region, rows)
        names = set(labels[rows])
        if system is None or len(names) != 1:
            warn(f"The registration is not written to {region!r}: its spots are of several slices or lie elsewhere.")
            continue
        home[region] = (system, names.pop())
    moved = []
    for element in _elements(sdata):
        for region, (system, name) in home.items():
            # In a system that slices share, nothing says to which of them an image belongs.
            alone = sum(other == system for other, _ in home.values()) == 1
            if element == region or (alone and system in _systems(sdata, element)):
                matrix = Affine(matrices[name], input_axes=("x", "y"), output_axes=("x", "y"))
                chain = Chain([get_transformation(sdata[element], system), matrix])
                set_transformation(sdata[element], chain, key)
                moved.append(element)
                break
    if moved:
        logger.info("Adding the coordinate system %r to %s.", key, ", ".join(moved))


def _elements(sdata: Any) -> list[str]:
    return [name for kind in ("images", "labels", "points", "shapes") for name in getattr(sdata, kind)]


def to_spatialdata(adata: AnnData, *, library_key: str | None = None, spatial_key: str = keys.SPATIAL) -> Any:
    """A SpatialData with the table, a circle for every spot and, where there are any, the images of the slices.

    Every slice is a coordinate system of its own, as spatialdata-io's readers have it, in the unit of the coordinates.
    """
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    coords = np.asarray(adata.obsm[spatial_key], dtype=np.float64)[:, :2]
    stored = adata.uns.get(keys.SPATIAL)
    entries = {_element_name(name): entry for name, entry in stored.items()} if isinstance(stored, Mapping) else {}
    if library_key is None:
        names = np.full(adata.n_obs, next(iter(entries)) if len(entries) == 1 else "tissue")
    else:
        names = np.array([_element_name(name) for name in adata.obs[library_key]])
    shapes, images = {}, {}
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        radius = 0.5 * spot_spacing(coords[rows])
        shapes[f"{name}_spots"] = ShapesModel.parse(
            coords[rows], geometry=0, radius=radius, index=rows, transformations={name: Identity()}
        )
        entry = entries.get(name, {})
        for size, image in dict(entry.get("images", {})).items():
            scale = float(np.ravel(entry["scalefactors"][f"tissue_{size}_scalef"])[0])
            to_coordinates = Scale([1 / scale, 1 / scale], axes=("x", "y"))
            images[f"{name}_{size}_image"] = Image2DModel.parse(
                np.moveaxis(np.asarray(image), -1, 0), dims=("c", "y", "x"), transformations={name: to_coordinates}
            )
    table = adata.copy()
    table.uns.pop(keys.SPATIAL, None)
    table.obs[REGION] = names.astype(object) + "_spots"
    table.obs[REGION] = table.obs[REGION].astype("category")
    table.obs[INSTANCE] = np.arange(adata.n_obs)
    parsed = TableModel.parse(table, region=list(shapes), region_key=REGION, instance_key=INSTANCE)
    return SpatialData(images=images, shapes=shapes, tables={"table": parsed})


def _element_name(name: Any) -> str:
    """A name that SpatialData takes: letters, digits, underscores, dots and hyphens."""
    kept = "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in str(name))
    return kept.lstrip("_.") or "tissue"
