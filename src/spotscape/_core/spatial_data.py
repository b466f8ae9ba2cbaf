"""SpatialData: tables out of it, tables into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.geometry import spot_spacing

if TYPE_CHECKING:
    from anndata import AnnData

REGION, INSTANCE = "region", "instance_id"


def to_spatialdata(adata: AnnData, *, library_key: str | None = None, spatial_key: str = "spatial") -> Any:
    """A SpatialData with the table, a circle for every spot and, where there are any, the images of the slices.

    Every slice is a coordinate system of its own, as spatialdata-io's readers have it, in the unit of the coordinates.
    """
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    coords = np.asarray(adata.obsm[spatial_key], dtype=np.float64)[:, :2]
    stored = adata.uns.get("spatial")
    stored = stored if isinstance(stored, dict) else {}
    if library_key is None:
        name = _element_name(next(iter(stored))) if len(stored) == 1 else "tissue"
        regions = np.full(adata.n_obs, name)
        entries = {name: next(iter(stored.values()))} if len(stored) == 1 else {}
    else:
        regions = np.array([_element_name(str(name)) for name in adata.obs[library_key]])
        entries = {_element_name(str(name)): entry for name, entry in stored.items()}
    table = adata.copy()
    table.uns.pop("spatial", None)
    table.obs[REGION] = regions
    table.obs[REGION] = table.obs[REGION].astype("category")
    table.obs[INSTANCE] = np.arange(adata.n_obs)
    shapes, images = {}, {}
    for name in np.unique(regions):
        rows = np.flatnonzero(regions == name)
        shapes[f"{name}_spots"] = ShapesModel.parse(
            coords[rows],
            geometry=0,
            radius=0.5 * spot_spacing(coords[rows]),
            index=rows,
            transformations={name: Identity()},
        )
        entry = entries.get(name, {})
        for size, image in dict(entry.get("images", {})).items():
            scale = float(np.ravel(entry["scalefactors"][f"tissue_{size}_scalef"])[0])
            images[f"{name}_{size}_image"] = Image2DModel.parse(
                np.moveaxis(np.asarray(image), -1, 0),
                dims=("c", "y", "x"),
                transformations={name: Scale([1 / scale, 1 / scale], axes=("x", "y"))},
            )
    table.obs[REGION] = table.obs[REGION].cat.rename_categories(lambda name: f"{name}_spots")
    parsed = TableModel.parse(table, region=sorted(shapes), region_key=REGION, instance_key=INSTANCE)
    return SpatialData(images=images, shapes=shapes, tables={"table": parsed})


def _element_name(name: str) -> str:
    """A name that SpatialData takes: letters, digits, underscores, dots and hyphens."""
    kept = "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in name)
    return kept.lstrip("_.") or "tissue"
