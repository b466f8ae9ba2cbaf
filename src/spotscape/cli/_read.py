"""Files and folders to AnnData, whatever they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.genes import base_of, kind_of, layer_with_counts
from spotscape._core.logging import logger
from spotscape._core.places import off_tissue, places_elsewhere
from spotscape._core.spatial_data import table_of
from spotscape.cli._folders import TABLES, instead_of, read_folder
from spotscape.cli._tables import has_all, is_table, read_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

SLICE = "slice"


@dataclass
class Input:
    """What was read."""

    adata: AnnData  # The spots
    kind: str  # What the input is, in a word or two
    platform: str | None = None  # Name of the instrument if the input says it
    container: Any = None  # The SpatialData that ``adata`` is a table of, named ``table``
    table: str | None = None
    lines: list[str] = field(default_factory=list)  # What was put in its usual place, as Python

    @property
    def data(self) -> Any:
        """What functions are called on: the SpatialData, or the AnnData."""
        return self.adata if self.container is None else self.container


def read(options: argparse.Namespace) -> Input:
    """Read the inputs; several of them become the slices of one AnnData."""
    tissues = []
    for path in options.inputs:
        tissues.append(_read_as_it_is(path, options))
        if tissues[-1].container is None:
            _put_in_place(tissues[-1], options)
    if len(tissues) == 1:
        return tissues[0]
    names = _names(options.inputs)
    for path, name, tissue in zip(options.inputs, names, tissues, strict=True):
        logger.info("Slice %s: %s, %d spots.", name, path, tissue.adata.n_obs)
    platforms = {tissue.platform for tissue in tissues}
    return Input(
        _join(names, [tissue.adata for tissue in tissues]),
        f"{len(tissues)} inputs, {tissues[0].kind}",
        platforms.pop() if len(platforms) == 1 else None,
    )


def _put_in_place(tissue: Input, options: argparse.Namespace) -> None:
    """Take coordinates and counts from where other tools keep them, and leave out spots without coordinates."""
    adata = tissue.adata
    is_usual = options.spatial_key == keys.SPATIAL and keys.SPATIAL not in adata.obsm
    found = places_elsewhere(adata) if is_usual else None
    if found is not None:
        adata.obsm[keys.SPATIAL] = found[0]
        tissue.lines.append(f"adata.obsm['spatial'] = {found[1]}")
    is_chosen = options.intensities or options.layer is not None
    is_better, has_counts = False, is_chosen or layer_with_counts(adata, None) is not None
    if adata.raw is not None and not has_counts:
        here, there = None if adata.X is None else kind_of(adata.X), kind_of(adata.raw.X)
        is_better = here != "counts" and (there == "counts" or (here == "negative" and there != "negative"))
    # Counts that are nowhere else, or expression of which X holds scaled values.
    if is_better:
        adata = adata.raw.to_adata()
        tissue.lines.append("adata = adata.raw.to_adata()")
    base = None if has_counts or adata.X is None else base_of(adata.X)
    if base not in (None, math.e):
        # Methods undo natural logarithms.
        adata.X = adata.X * np.log(base)
        tissue.lines += ["import numpy as np", f"adata.X = adata.X * np.log({base:g})"]
    coords = adata.obsm.get(options.spatial_key)
    if isinstance(coords, np.ndarray) and coords.dtype.kind == "f":
        known = np.asarray(np.isfinite(coords).all(axis=1))
        if known.any() and not known.all():
            logger.warning("Leaving out %d of %d spots, which have no coordinates.", (~known).sum(), len(known))
            adata = adata[known].copy()
            where = f"adata.obsm[{options.spatial_key!r}]"
            tissue.lines += ["import numpy as np", f"adata = adata[np.isfinite({where}).all(axis=1)].copy()"]
    outside = off_tissue(adata)
    if outside.any() and not outside.all():
        logger.info("Leaving out %d of %d spots outside the tissue.", outside.sum(), len(outside))
        adata = adata[~outside].copy()
        tissue.lines.append("adata = adata[adata.obs['in_tissue'] == 1].copy()")
    for line in tissue.lines:
        logger.info("Reading the file: `%s`.", line)
    tissue.adata = adata


def _read_as_it_is(path: Path, options: argparse.Namespace) -> Input:
    import anndata

    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    try:
        if path.suffix == ".h5ad" and path.is_file():
            return Input(anndata.read_h5ad(path), "h5ad")
        if path.suffix == ".h5mu" and path.is_file():
            return Input(_read_modality(path, options.table), "h5mu")
    except OSError as error:
        msg = f"{path} cannot be opened; if it is damaged or incomplete, copy or download it again: {error}"
        raise OSError(msg) from error
    if is_table(path) and has_all(path):
        platform, adata = read_table(path, options.bin_size)
        return Input(adata, f"table of {platform or 'spots'}", platform)
    if path.is_file():
        msg = f"{path} is no file that can be read (spotscape info --help says which can). {instead_of(path)}"
        raise ValueError(msg)
    if (path / "zarr.json").exists() or (path / ".zgroup").exists():
        import zarr

        if zarr.open_group(path, mode="r").attrs.get("encoding-type") == "anndata":
            return Input(anndata.read_zarr(path), "zarr of AnnData")
        import spatialdata

        container = spatialdata.read_zarr(path)
        chosen = _the_one(options.table, list(container.tables), f"{path} has the tables")
        return Input(table_of(container, chosen), "SpatialData", container=container, table=chosen)
    name, adata = read_folder(path, options.bin_size)
    return Input(adata, f"folder of {name}", None if name == TABLES else name)


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
        if SLICE in part.obs and len(part.obs[SLICE].dropna().unique()) > 1:
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
    images = {}
    for name, part in zip(names, parts, strict=True):
        stored = part.uns.get("spatial")
        if isinstance(stored, dict) and len(stored) == 1:
            images[name] = next(iter(stored.values()))
    joined: AnnData = anndata.concat(
        dict(zip(names, parts, strict=True)), label=SLICE, join="inner", index_unique="-", merge="same"
    )
    if images:
        joined.uns["spatial"] = images
    units = {str(part.uns.get("spatial_unit", "")) for part in parts}
    if len(units) == 1 and units != {""}:
        joined.uns["spatial_unit"] = units.pop()
    return joined
