"""Output folders of instruments as AnnData, by the readers of scanpy and squidpy.

scanpy reads the matrices, pandas the positions. squidpy's and spatialdata-io's own readers of whole folders want files
that are often not sent along (images, specifications, identifiers), so they are used where they have no such demands.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

_POSITIONS = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
# A pixel of a CosMx instrument in micrometres, as NanoString's manual of the flat files has it.
_COSMX_PIXEL = 0.120280945


class Platform(NamedTuple):
    """What a folder is the output of, and how it is read."""

    name: str
    read: Callable[[Path, int], AnnData]


def recognise(folder: Path) -> tuple[Platform, Path] | None:
    """The platform of a folder and where in it the data lie; ``None`` if it is of no platform that is known."""
    for place in (folder, folder / "outs"):
        for platform, signs in _SIGNS:
            if any(next(place.glob(sign), None) is not None for sign in signs):
                return platform, place
    return None


def _read_visium(folder: Path, bin_size: int) -> AnnData:
    del bin_size
    adata = _read_matrix(folder, "filtered_feature_bc_matrix", "raw_feature_bc_matrix")
    return _with_positions(adata, folder / "spatial", library=_name_of(folder))


def _read_visium_hd(folder: Path, bin_size: int) -> AnnData:
    bins = folder if folder.name.startswith("square_") else _bins(folder, bin_size)
    adata = _read_matrix(bins, "filtered_feature_bc_matrix", "raw_feature_bc_matrix")
    return _with_positions(adata, bins / "spatial", library=_name_of(folder))


def _bins(folder: Path, bin_size: int) -> Path:
    parent = folder / "binned_outputs" if (folder / "binned_outputs").is_dir() else folder
    found = parent / f"square_{bin_size:03d}um"
    if not found.is_dir():
        there = sorted(path.name for path in parent.glob("square_*um"))
        msg = f"{parent} has no bins of {bin_size} µm, but {', '.join(there)}; choose by --bin-size"
        raise FileNotFoundError(msg)
    return found


def _read_xenium(folder: Path, bin_size: int) -> AnnData:
    del bin_size
    adata = _read_matrix(folder, "cell_feature_matrix")
    table = next(path for name in ("cells.parquet", "cells.csv.gz", "cells.csv") if (path := folder / name).exists())
    cells = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    names = cells.pop("cell_id")
    cells.index = pd.Index([name.decode() if isinstance(name, bytes) else str(name) for name in names])
    cells = _rows_of(adata, cells, table)
    adata.obsm["spatial"] = cells[["x_centroid", "y_centroid"]].to_numpy(np.float64)
    adata.obs = cells.drop(columns=["x_centroid", "y_centroid"])
    return _in_micrometres(adata, 1.0)


def _read_merscope(folder: Path, bin_size: int) -> AnnData:
    del bin_size
    from squidpy.read import vizgen

    counts, cells = (next(folder.glob(f"*{name}.csv")).name for name in ("cell_by_gene", "cell_metadata"))
    adata = vizgen(folder, counts_file=counts, meta_file=cells)
    adata.uns.pop("spatial", None)
    return _in_micrometres(adata, 1.0)


def _read_cosmx(folder: Path, bin_size: int) -> AnnData:
    del bin_size
    from squidpy.read import nanostring

    counts, cells = (next(folder.glob(f"*{name}.csv*")).name for name in ("exprMat_file", "metadata_file"))
    adata = nanostring(folder, counts_file=counts, meta_file=cells)
    # squidpy's key for what is right across fields of view is another one: its own has each field at the origin.
    adata.obsm["spatial_local"], adata.obsm["spatial"] = adata.obsm["spatial"], adata.obsm.pop("spatial_fov")
    adata.uns.pop("spatial", None)
    return _in_micrometres(adata, _COSMX_PIXEL)


_VISIUM = Platform("Visium", _read_visium)
_VISIUM_HD = Platform("Visium HD", _read_visium_hd)
_SIGNS: tuple[tuple[Platform, tuple[str, ...]], ...] = (
    (_VISIUM_HD, ("binned_outputs/square_*um", "square_*um", "spatial/tissue_positions.parquet")),
    (_VISIUM, ("spatial/tissue_positions*.csv",)),
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

    adata = AnnData(sparse.csr_matrix(mmread(path("matrix.mtx")).T, dtype=np.float32))
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


def _with_positions(adata: AnnData, folder: Path, *, library: str) -> AnnData:
    """Add positions, scale factors and images of a folder ``spatial``, where squidpy and scanpy have them."""
    table = next(iter(sorted(folder.glob("tissue_positions*"))))
    if table.suffix == ".parquet":
        positions = pd.read_parquet(table).set_index("barcode")
    else:
        with table.open(encoding="utf-8") as file:
            has_header = "in_tissue" in file.readline()
        positions = pd.read_csv(table, header=0 if has_header else None, index_col=0)
    positions.columns = pd.Index(_POSITIONS)
    positions.index = positions.index.astype(str)
    positions = _rows_of(adata, positions, table)
    adata.obs = positions[_POSITIONS[:3]]
    # x is the column of the image.
    adata.obsm["spatial"] = positions[[_POSITIONS[4], _POSITIONS[3]]].to_numpy(np.float64)
    factors = folder / "scalefactors_json.json"
    entry: dict[str, Any] = {"metadata": {}, "images": _images(folder)}
    entry["scalefactors"] = json.loads(factors.read_text(encoding="utf-8")) if factors.exists() else {}
    adata.uns["spatial"] = {library: entry}
    inside = adata.obs["in_tissue"].to_numpy() == 1
    if inside.any() and not inside.all():
        logger.info("Leaving out %d of %d spots that do not lie under tissue.", np.sum(~inside), len(inside))
        adata = adata[inside].copy()
    return adata


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


def _name_of(folder: Path) -> str:
    """A name for the slice: of the folder, or of the one around it where it is called as all are."""
    named = [part for part in folder.absolute().parts if part != "outs" and not re.fullmatch(r"square_\d+um", part)]
    return [part for part in named if part != "binned_outputs"][-1]
