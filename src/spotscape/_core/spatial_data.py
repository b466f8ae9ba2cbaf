"""SpatialData where an AnnData is expected: the function runs on a table, and what it finds goes back to the object."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.geometry import spot_spacing
from spotscape._core.logging import logger, warn
from spotscape._core.validation import slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

JOINED = "joined"
# What every function that takes an AnnData takes beside its own parameters.
ANNOTATIONS = {"table_key": "str | Sequence[str] | None", "coordinate_system": "str | None"}


def options_of(function: Callable[..., Any]) -> dict[str, str]:
    """The options that a function has for SpatialData, with their annotations: none, if it takes no AnnData first."""
    names = list(inspect.signature(function).parameters)
    taken = [name for name in ANNOTATIONS if name == "table_key" or "spatial_key" in names]
    return {name: ANNOTATIONS[name] for name in taken} if names[:1] == ["adata"] else {}


def with_options(signature: inspect.Signature, options: Mapping[str, str]) -> inspect.Signature:
    """A signature with these options in it."""
    kinds = inspect.Parameter
    new = [kinds(name, kinds.KEYWORD_ONLY, default=None, annotation=text) for name, text in options.items()]
    old = list(signature.parameters.values())
    place = len(old) - bool(old and old[-1].kind is kinds.VAR_KEYWORD)
    return signature.replace(parameters=[*old[:place], *new, *old[place:]])


def is_given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the first argument of a call is a SpatialData; nothing is imported to find out."""
    module = sys.modules.get("spatialdata")
    first = args[0] if args else kwargs.get("adata")
    return module is not None and isinstance(first, module.SpatialData)


def call_on_table(
    function: Callable[..., Any],
    adata: Any,
    *args: Any,
    table_key: str | Sequence[str] | None = None,
    coordinate_system: str | None = None,
    **kwargs: Any,
) -> Any:
    """Call a function of an AnnData on a table of a SpatialData, and bring to the object what belongs there.

    Coordinates that the table lacks are the centroids of the elements that it annotates, those of ``coordinate_system``
    in ``obsm["spatial_<system>"]``. Plots see its images, and registration adds its transforms to the elements.
    """
    if not is_given((adata,), {}):
        msg = f"table_key and coordinate_system are for SpatialData; adata is an {type(adata).__name__}."
        raise TypeError(msg)
    sdata = adata
    name = _table_name(sdata, table_key, kwargs.get("library_key"))
    adata = sdata.tables[name]
    spatial_key = kwargs.get("spatial_key", keys.SPATIAL)
    if coordinate_system is not None:
        if coordinate_system not in sdata.coordinate_systems:
            held = sorted(sdata.coordinate_systems)
            msg = f"coordinate_system={coordinate_system!r} does not exist; the SpatialData has {held}."
            raise KeyError(msg)
        spatial_key = kwargs["spatial_key"] = f"{keys.SPATIAL}_{coordinate_system}"
    if spatial_key not in adata.obsm and (coordinate_system is not None or spatial_key == keys.SPATIAL):
        add_coordinates(sdata, adata, spatial_key, coordinate_system)
    if function.__module__.startswith("spotscape.pl."):
        with lend_images(sdata, adata, spatial_key, kwargs.get("library_key")):
            return function(adata, *args, **kwargs)
    result = function(adata, *args, **kwargs)
    written = result if kwargs.get("copy") else adata
    if hasattr(result, "obsm") and kwargs.get("copy"):
        from spatialdata import SpatialData

        parts = {kind: dict(getattr(sdata, kind)) for kind in ("images", "labels", "points", "shapes", "tables")}
        parts["tables"][name] = result
        result = sdata = SpatialData(**parts, attrs=sdata.attrs)
    if function.__name__ == "register_slices":
        key = kwargs.get("key_added", keys.SPATIAL_ALIGNED)
        write_transforms(sdata, written, key, spatial_key, kwargs["library_key"])
    return result


def table_of(sdata: Any, table_key: str | None) -> AnnData:
    """The table of a SpatialData in which a metric looks up names, with coordinates."""
    adata: AnnData = sdata.tables[_table_name(sdata, table_key, None)]
    if keys.SPATIAL not in adata.obsm:
        add_coordinates(sdata, adata, keys.SPATIAL, None)
    return adata


def _table_name(sdata: Any, table_key: str | Sequence[str] | None, library_key: str | None) -> str:
    held: list[str] = list(sdata.tables)
    if isinstance(table_key, str):
        if table_key not in held:
            msg = f"{table_key!r} is no table of the SpatialData, which has: {', '.join(map(repr, held)) or 'none'}."
            raise KeyError(msg)
        return table_key
    if table_key is not None:
        return _join(sdata, list(table_key), library_key)
    if len(held) == 1:
        logger.debug("Using the table %r of the SpatialData.", held[0])
        return held[0]
    if not held:
        msg = "the SpatialData has no table; expected is one with a row of counts for each spot or cell."
        raise ValueError(msg)
    msg = (
        f"the SpatialData has the tables {', '.join(map(repr, held))}; name one: table_key={held[0]!r}. Tables of "
        f"several slices are analysed together by table_key={held[:2]!r} and library_key='slice'."
    )
    raise ValueError(msg)


def _join(sdata: Any, names: list[str], library_key: str | None) -> str:
    """One table of several slices, that annotates the elements of all of them; made at the first call."""
    import anndata
    from spatialdata.models import TableModel

    for name in names:
        _table_name(sdata, name, None)
    if JOINED in sdata.tables and list(sdata.tables[JOINED].uns.get("joined_tables", ())) == names:
        return JOINED
    if library_key is None:
        msg = f"table_key={names} are several slices; name the column that will tell them apart: library_key='slice'."
        raise ValueError(msg)
    tables = {}
    for name in names:
        table = sdata.tables[name].copy()
        marks = table.uns.pop(TableModel.ATTRS_KEY)
        table.obs[REGION], table.obs[INSTANCE] = table.obs[marks["region_key"]], table.obs[marks["instance_key"]]
        tables[name] = table
    joined = anndata.concat(tables, label=library_key, join="inner", index_unique="-", merge="same")
    joined.obs[REGION] = joined.obs[REGION].astype(str).astype("category")
    joined.uns["joined_tables"] = names
    regions = list(joined.obs[REGION].cat.categories)
    sdata.tables[JOINED] = TableModel.parse(joined, region=regions, region_key=REGION, instance_key=INSTANCE)
    logger.info("Joined the tables %s as the table %r; obs[%r] names them.", names, JOINED, library_key)
    return JOINED


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
    entries, labels = {}, slice_labels(adata, library_key)
    for region, rows in _regions(sdata, adata).items():
        system = _system_of(sdata, adata, key, region, rows)
        name = region if labels is None else str(labels[rows[0]])
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
    labels = np.asarray(slice_labels(adata, library_key)).astype(str)
    home = {}
    for region, rows in _regions(sdata, adata).items():
        system = _system_of(sdata, adata, spatial_key, region, rows)
        names = set(labels[rows])
        if system is None or len(names) != 1:
            warn(f"The registration is not written to {region!r}: its spots are of several slices or lie elsewhere.")
            continue
        home[region] = (system, names.pop())
    moved = []
    for element in (name for kind in ("images", "labels", "points", "shapes") for name in getattr(sdata, kind)):
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
        names = np.array([_element_name(name) for name in np.asarray(slice_labels(adata, library_key))])
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
