"""Files and folders to AnnData, whatever they are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.logging import logger
from spotscape._core.spatial_data import add_coordinates

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
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

    @property
    def data(self) -> Any:
        """What functions are called on: the SpatialData, or the AnnData."""
        return self.adata if self.container is None else self.container


def read(options: argparse.Namespace) -> Input:
    """Read the inputs; several of them become the slices of one AnnData."""
    tissues = [_read_one(path, options) for path in options.inputs]
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


def _read_one(path: Path, options: argparse.Namespace) -> Input:
    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    if path.suffix == ".h5ad" and path.is_file():
        import anndata

        return Input(anndata.read_h5ad(path), "h5ad")
    if path.suffix == ".h5mu" and path.is_file():
        return Input(_read_modality(path, options.table), "h5mu")
    if path.is_file():
        msg = f"{path} ends in {path.suffix!r}; known are .h5ad, .h5mu, .zarr and folders of instruments"
        raise ValueError(msg)
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
    if platform.name == "Visium HD" and not place.name.startswith("square_"):
        place = _bins(place, options.bin_size)
    return Input(platform.read(place), f"folder of {platform.name}", platform.name)


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


def _read_zarr(path: Path, table: str | None) -> Input:
    import anndata
    import zarr

    attributes = dict(zarr.open_group(path, mode="r").attrs)
    if attributes.get("encoding-type") == "anndata":
        return Input(anndata.read_zarr(path), "zarr of AnnData")
    import spatialdata

    container = spatialdata.read_zarr(path)
    chosen = _the_one(table, list(container.tables), f"{path} has the tables")
    adata = container.tables[chosen]
    if keys.SPATIAL not in adata.obsm:
        add_coordinates(container, adata, keys.SPATIAL, None)
    return Input(adata, "SpatialData", container=container, table=chosen)


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


_POSITIONS = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
# A pixel of a CosMx instrument in micrometres, as NanoString's manual of the flat files has it.
_COSMX_PIXEL = 0.120280945


class Platform(NamedTuple):
    """What a folder is the output of, and how it is read."""

    name: str
    read: Callable[[Path], AnnData]


def recognise(folder: Path) -> tuple[Platform, Path] | None:
    """The platform of a folder and where in it the data lie; ``None`` if it is of no platform that is known."""
    for place in (folder, folder / "outs"):
        for platform, signs in _SIGNS:
            if any(next(place.glob(sign), None) is not None for sign in signs):
                return platform, place
    return None


def _read_visium(folder: Path) -> AnnData:
    """Matrix, positions, scale factors and images, where squidpy and scanpy have them."""
    adata, spatial = _read_matrix(folder, "filtered_feature_bc_matrix", "raw_feature_bc_matrix"), folder / "spatial"
    # The slice is called as the folder or, where that is called as all are, the one around it.
    common = re.compile(r"outs|binned_outputs|square_\d+um")
    named = [part for part in folder.absolute().parts if not common.fullmatch(part)]
    table = next(iter(sorted(spatial.glob("tissue_positions*"))))
    if table.suffix == ".parquet":
        positions = pd.read_parquet(table).set_index("barcode")
    else:
        with table.open(encoding="utf-8") as file:
            has_header = "in_tissue" in file.readline()
        positions = pd.read_csv(table, header=0 if has_header else None, index_col=0)
    positions.columns = pd.Index(_POSITIONS)
    # Without a header the name of the index is a number, which AnnData refuses.
    positions.index = positions.index.astype(str).rename(None)
    positions = _rows_of(adata, positions, table)
    adata.obs = positions[_POSITIONS[:3]]
    # x is the column of the image.
    adata.obsm["spatial"] = positions[[_POSITIONS[4], _POSITIONS[3]]].to_numpy(np.float64)
    factors = spatial / "scalefactors_json.json"
    entry: dict[str, Any] = {"metadata": {}, "images": _images(spatial)}
    entry["scalefactors"] = json.loads(factors.read_text(encoding="utf-8")) if factors.exists() else {}
    adata.uns["spatial"] = {named[-1]: entry}
    inside = adata.obs["in_tissue"].to_numpy() == 1
    if inside.any() and not inside.all():
        logger.info("Leaving out %d of %d spots outside the tissue.", np.sum(~inside), len(inside))
        adata = adata[inside].copy()
    return adata


def _bins(folder: Path, bin_size: int) -> Path:
    parent = folder / "binned_outputs" if (folder / "binned_outputs").is_dir() else folder
    found = parent / f"square_{bin_size:03d}um"
    if not found.is_dir():
        there = sorted(path.name for path in parent.glob("square_*um"))
        msg = f"{parent} has no bins of {bin_size} µm, but {', '.join(there)}; choose by --bin-size"
        raise FileNotFoundError(msg)
    return found


def _read_xenium(folder: Path) -> AnnData:
    adata = _read_matrix(folder, "cell_feature_matrix")
    table = next(path for name in ("cells.parquet", "cells.csv.gz", "cells.csv") if (path := folder / name).exists())
    cells = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    names = cells.pop("cell_id")
    cells.index = pd.Index([name.decode() if isinstance(name, bytes) else str(name) for name in names])
    cells = _rows_of(adata, cells, table)
    adata.obsm["spatial"] = cells[["x_centroid", "y_centroid"]].to_numpy(np.float64)
    adata.obs = cells.drop(columns=["x_centroid", "y_centroid"])
    return _in_micrometres(adata, 1.0)


def _read_merscope(folder: Path) -> AnnData:
    from squidpy.read import vizgen

    counts, cells = (next(folder.glob(f"*{name}.csv")).name for name in ("cell_by_gene", "cell_metadata"))
    adata = vizgen(folder, counts_file=counts, meta_file=cells)
    adata.uns.pop("spatial", None)
    return _in_micrometres(adata, 1.0)


def _read_cosmx(folder: Path) -> AnnData:
    from squidpy.read import nanostring

    counts, cells = (next(folder.glob(f"*{name}.csv*")).name for name in ("exprMat_file", "metadata_file"))
    adata = nanostring(folder, counts_file=counts, meta_file=cells)
    # squidpy's key for what is right across fields of view is another one: its own has each field at the origin.
    adata.obsm["spatial_local"], adata.obsm["spatial"] = adata.obsm["spatial"], adata.obsm.pop("spatial_fov")
    adata.uns.pop("spatial", None)
    return _in_micrometres(adata, _COSMX_PIXEL)


_SIGNS: tuple[tuple[Platform, tuple[str, ...]], ...] = (
    (
        Platform("Visium HD", _read_visium),
        ("binned_outputs/square_*um", "square_*um", "spatial/tissue_positions.parquet"),
    ),
    (Platform("Visium", _read_visium), ("spatial/tissue_positions*.csv",)),
    (Platform("Xenium", _read_xenium), ("cell_feature_matrix*",)),
    (Platform("MERSCOPE", _read_merscope), ("*cell_by_gene.csv",)),
    (Platform("CosMx", _read_cosmx), ("*exprMat_file.csv*",)),
)


def _read_matrix(folder: Path, *names: str) -> AnnData:
    """The first matrix of these names that is there, genes only, as HDF5 or in the matrix market format."""
    import scanpy

    for name in names:
        matrix = next(iter(sorted(folder.glob(f"*{name}.h5"))), None)
        if matrix is not None:
            return _genes_only(scanpy.read_10x_h5(matrix, gex_only=False))
        if (folder / name).is_dir():
            return _genes_only(_read_matrix_market(folder / name))
    msg = f"{folder} has no {' or '.join(names)}, neither .h5 nor a folder"
    raise FileNotFoundError(msg)


def _read_matrix_market(folder: Path) -> AnnData:
    # scanpy's reader of such folders takes uncompressed files for those of Cell Ranger 2, which have other names.
    from anndata import AnnData
    from scipy.io import mmread

    def path(*names: str) -> Path:
        found = next((path for name in names for path in folder.glob(f"{name}*") if path.is_file()), None)
        if found is None:
            msg = f"{folder} has no {names[0]}"
            raise FileNotFoundError(msg)
        return found

    adata = AnnData(sparse.csr_matrix(mmread(path("matrix.mtx"), spmatrix=False).T, dtype=np.float32))
    features = pd.read_csv(path("features.tsv", "genes.tsv"), sep="\t", header=None, dtype=str)
    barcodes = pd.read_csv(path("barcodes.tsv"), sep="\t", header=None, dtype=str)
    adata.obs_names = barcodes[0].to_numpy()
    adata.var_names = features[min(1, features.shape[1] - 1)].to_numpy()
    adata.var["gene_ids"] = features[0].to_numpy()
    if features.shape[1] > 2:
        adata.var["feature_types"] = features[2].to_numpy()
    return adata


def _genes_only(adata: AnnData) -> AnnData:
    adata.var_names_make_unique()
    if "feature_types" not in adata.var:
        return adata
    kinds = adata.var["feature_types"].astype(str)
    others = kinds[kinds != "Gene Expression"].value_counts()
    if others.empty or len(others) == len(kinds):
        return adata
    named = ", ".join(f"{count} {kind}" for kind, count in others.items())
    logger.info("Leaving out %d features that are no genes (%s).", others.sum(), named)
    return adata[:, (kinds == "Gene Expression").to_numpy()].copy()


def _images(folder: Path) -> dict[str, np.ndarray]:
    from matplotlib.image import imread

    sizes = {size: folder / f"tissue_{size}_image.png" for size in ("hires", "lowres")}
    return {size: np.asarray(imread(path)) for size, path in sizes.items() if path.exists()}


def _rows_of(adata: AnnData, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = ~adata.obs_names.isin(table.index)
    if missing.any():
        msg = (
            f"{path} has no position for {missing.sum()} of {adata.n_obs} spots (first: {adata.obs_names[missing][0]})"
        )
        raise ValueError(msg)
    rows: pd.DataFrame = table.loc[adata.obs_names]
    return rows


def _in_micrometres(adata: AnnData, pixel: float) -> AnnData:
    adata.obsm["spatial"] = np.asarray(adata.obsm["spatial"], dtype=np.float64) * pixel
    adata.uns["spatial_unit"] = "micrometer"
    return adata
