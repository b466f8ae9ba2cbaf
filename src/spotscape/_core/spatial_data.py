"""SpatialData where an AnnData is expected: the function runs on a table, and what it finds goes back to the object."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from spotscape._core import keys
from spotscape._core.logging import logger
from spotscape._core.spatial_elements import INSTANCE, REGION, add_coordinates, lend_images, write_transforms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from anndata import AnnData

JOINED = "joined"
# What every function that takes an AnnData takes beside its own parameters.
ANNOTATIONS = {"table_key": "str | Sequence[str] | None", "coordinate_system": "str | None"}
_DESCRIPTIONS = {
    "table_key": """Table of a SpatialData, which may be given as ``adata``; the only one needs no name. Several are
        joined as the slices of ``library_key``: ``table_key=["a", "b"]``. Results are written into the table.""",
    "coordinate_system": """Coordinate system of a SpatialData: centroids of what the table annotates are taken in it
        and kept as ``obsm["spatial_<system>"]``. ``None`` takes ``obsm["spatial"]``, or centroids if there is none.""",
}


def options_of(function: Callable[..., Any]) -> frozenset[str]:
    """The options that a function has for SpatialData: none, if it takes no AnnData first."""
    names = list(inspect.signature(function).parameters)
    if not names or names[0] != "adata":
        return frozenset()
    return frozenset(ANNOTATIONS) if "spatial_key" in names else frozenset({"table_key"})


def announce(function: Callable[..., Any], options: Collection[str]) -> None:
    """Add the options to the signature and the documentation of a function."""
    if not options:
        return
    signature = inspect.signature(function)
    added = [name for name in ANNOTATIONS if name in options]
    kinds = inspect.Parameter
    new = [kinds(name, kinds.KEYWORD_ONLY, default=None, annotation=ANNOTATIONS[name]) for name in added]
    old = list(signature.parameters.values())
    place = len(old) - (old[-1].kind is kinds.VAR_KEYWORD)
    function.__signature__ = signature.replace(parameters=[*old[:place], *new, *old[place:]])  # type: ignore[attr-defined]
    text = "".join(f"    {name}\n        {_DESCRIPTIONS[name]}\n" for name in added)
    before, heading, after = (function.__doc__ or "").partition("\n    Returns\n    -------")
    function.__doc__ = f"{before.rstrip()}\n{text}{heading}{after}" if heading else function.__doc__


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

    Coordinates that the table lacks are the centroids of the elements that it annotates. With ``coordinate_system``
    they are taken in that system, and kept as ``obsm["spatial_<system>"]``. Plots see the images of the system, and
    registration adds its transforms to the elements.
    """
    if not is_given((adata,), {}):
        msg = f"table_key and coordinate_system are for SpatialData; adata is an {type(adata).__name__}."
        raise TypeError(msg)
    sdata = adata
    name = _table_name(sdata, table_key, kwargs.get("library_key"))
    adata = sdata.tables[name]
    spatial_key = kwargs.get("spatial_key", keys.SPATIAL)
    if coordinate_system is not None:
        _require_system(sdata, coordinate_system)
        spatial_key = kwargs["spatial_key"] = f"{keys.SPATIAL}_{coordinate_system}"
    if spatial_key not in adata.obsm and (coordinate_system is not None or spatial_key == keys.SPATIAL):
        add_coordinates(sdata, adata, spatial_key, coordinate_system)
    if function.__module__.startswith("spotscape.pl."):
        with lend_images(sdata, adata, spatial_key, kwargs.get("library_key")):
            return function(adata, *args, **kwargs)
    result = function(adata, *args, **kwargs)
    written = result if kwargs.get("copy") else adata
    if hasattr(result, "obsm") and kwargs.get("copy"):
        sdata = _with_table(sdata, name, result)
        result = sdata
    if function.__name__ == "register_slices":
        key = kwargs.get("key_added", keys.SPATIAL_ALIGNED)
        write_transforms(sdata, written, key, spatial_key, kwargs["library_key"])
    return result


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


def _with_table(sdata: Any, name: str, table: AnnData) -> Any:
    """The same elements with another table of this name."""
    from spatialdata import SpatialData

    parts = {kind: dict(getattr(sdata, kind)) for kind in ("images", "labels", "points", "shapes", "tables")}
    parts["tables"][name] = table
    return SpatialData(**parts, attrs=sdata.attrs)


def _require_system(sdata: Any, system: str) -> None:
    if system not in sdata.coordinate_systems:
        msg = f"coordinate_system={system!r} does not exist; the SpatialData has {sorted(sdata.coordinate_systems)}."
        raise KeyError(msg)
