"""Files and folders to AnnData, whatever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spotscape._core import keys
from spotscape._core.logging import logger
from spotscape._core.spatial_data import add_coordinates
from spotscape.cli._folders import recognise

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

SLICE = "slice"


@dataclass
class Tissue:
    """What was read.

    Attributes
    ----------
    adata
        The spots.
    kind
        What the input is, in a word or two.
    platform
        Name of the instrument if the input says it.
    container
        The SpatialData that ``adata`` is a table of, named ``table``.
    """

    adata: AnnData
    kind: str
    platform: str | None = None
    container: Any = None
    table: str | None = None

    @property
    def data(self) -> Any:
        """What functions are called on: the SpatialData, or the AnnData."""
        return self.adata if self.container is None else self.container


def read(options: argparse.Namespace) -> Tissue:
    """Read the inputs; several of them become the slices of one AnnData."""
    tissues = [_read_one(path, options) for path in options.inputs]
    if len(tissues) == 1:
        return tissues[0]
    names = _names(options.inputs)
    for path, name, tissue in zip(options.inputs, names, tissues, strict=True):
        logger.info("Slice %s: %s, %d spots.", name, path, tissue.adata.n_obs)
    platforms = {tissue.platform for tissue in tissues}
    return Tissue(
        _join(names, [tissue.adata for tissue in tissues]),
        f"{len(tissues)} inputs, {tissues[0].kind}",
        platforms.pop() if len(platforms) == 1 else None,
    )


def _read_one(path: Path, options: argparse.Namespace) -> Tissue:
    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    if path.is_file():
        return _read_file(path, options.table)
    if (path / "zarr.json").exists() or (path / ".zgroup").exists():
        return _read_zarr(path, options.table)
    known = recognise(path)
    if known is None:
        held = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
        msg = (
            f"{path} is no output folder of Visium, Visium HD, Xenium, MERSCOPE or CosMx, and no zarr; it "
            f"holds {held}. Read it with another tool and save it as .h5ad"
        )
        raise ValueError(msg)
    platform, place = known
    return Tissue(platform.read(place, options.bin_size), f"folder of {platform.name}", platform.name)


def _read_file(path: Path, table: str | None) -> Tissue:
    import anndata

    if path.suffix == ".h5ad":
        return Tissue(anndata.read_h5ad(path), "h5ad")
    if path.suffix == ".h5mu":
        return Tissue(_read_modality(path, table), "h5mu")
    msg = f"{path} ends in {path.suffix!r}; known are .h5ad, .h5mu, .zarr and folders of instruments"
    raise ValueError(msg)


def _read_modality(path: Path, name: str | None) -> AnnData:
    """One modality of a MuData file, which is laid out as an AnnData."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        held = list(file["mod"])
        if name is None and len(held) > 1 and "rna" in held:
            name = "rna"
            logger.info("Taking the modality 'rna' of %s; choose another by --table.", held)
        chosen = _the_one(name, held, f"{path} has the modalities")
        adata: AnnData = read_elem(file["mod"][chosen])
        for key in ("obs", "obsm"):
            # What all modalities share, such as coordinates, may stand outside of them.
            shared = read_elem(file[key]) if key in file else {}
            here = getattr(adata, key)
            for column in shared:
                if column not in here and column not in held and len(shared[column]) == adata.n_obs:
                    here[column] = shared[column].to_numpy() if key == "obs" else shared[column]
    return adata


def _read_zarr(path: Path, table: str | None) -> Tissue:
    import anndata
    import zarr

    attributes = dict(zarr.open_group(path, mode="r").attrs)
    if attributes.get("encoding-type") == "anndata":
        return Tissue(anndata.read_zarr(path), "zarr of AnnData")
    import spatialdata

    container = spatialdata.read_zarr(path)
    chosen = _the_one(table, list(container.tables), f"{path} has the tables")
    adata = container.tables[chosen]
    if keys.SPATIAL not in adata.obsm:
        add_coordinates(container, adata, keys.SPATIAL, None)
    return Tissue(adata, "SpatialData", container=container, table=chosen)


def _the_one(name: str | None, held: Sequence[str], found: str) -> str:
    if name in held:
        return str(name)
    if name is None and len(held) == 1:
        return held[0]
    msg = f"{found} {', '.join(held) or 'nothing'}; name one of them by --table"
    raise ValueError(msg)


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for every input: the last part of its path that tells it from the others."""
    absolute = [path.absolute().with_suffix("").parts for path in paths]
    for depth in range(1, max(map(len, absolute)) + 1):
        names = [parts[max(0, len(parts) - depth)] for parts in absolute]
        if len(set(names)) == len(names):
            return names
    msg = "the same input is given twice"
    raise ValueError(msg)


def _join(names: Sequence[str], parts: Sequence[AnnData]) -> AnnData:
    import anndata

    for name, part in zip(names, parts, strict=True):
        if SLICE in part.obs and part.obs[SLICE].nunique() > 1:
            msg = f"{name} holds several slices already; give one input, or inputs of one slice each"
            raise ValueError(msg)
        if not part.var_names.is_unique:
            part.var_names_make_unique()
            logger.info("Slice %s: gene names that occur twice were numbered.", name)
    shared = set.intersection(*(set(part.var_names) for part in parts))
    if not shared:
        msg = f"the inputs share no gene; they name them {', '.join(part.var_names[0] for part in parts)}, ..."
        raise ValueError(msg)
    logger.info("The inputs share %d genes; those that some of them lack are left out.", len(shared))
    images = {name: entry for name, part in zip(names, parts, strict=True) if (entry := _image_of(part)) is not None}
    joined: AnnData = anndata.concat(
        dict(zip(names, parts, strict=True)), label=SLICE, join="inner", index_unique="-", merge="same"
    )
    if images:
        joined.uns["spatial"] = images
    units = {str(part.uns.get("spatial_unit", "")) for part in parts}
    if len(units) == 1 and units != {""}:
        joined.uns["spatial_unit"] = units.pop()
    return joined


def _image_of(adata: AnnData) -> Any:
    stored = adata.uns.get("spatial")
    return next(iter(stored.values())) if isinstance(stored, dict) and len(stored) == 1 else None
