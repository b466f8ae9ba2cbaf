"""Output folders of instruments to AnnData: counts of genes, and the place of each spot."""

from __future__ import annotations

import gzip
import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.logging import logger
from spotscape.readers._tables import (
    find,
    genes_only,
    has_all,
    in_micrometres,
    is_table,
    pair_of,
    placed,
    read_counts,
    read_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

_POSITIONS = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
_PLACES = "*tissue_positions*"
# A pixel of a CosMx instrument in micrometres, as NanoString's manual of the flat files has it; and of the first
# instruments, whose fields are wider than the 4,256 pixels of later ones.
_COSMX_PIXEL, _COSMX_FIELD, _COSMX_FIRST_PIXEL = 0.120280945, 4256, 0.18
# Places across all fields, of which newer tables may have millimetres only; and within a field.
_COSMX_ACROSS = (
    ("CenterX_global_px", "CenterY_global_px"),
    ("CenterX_global_mm", "CenterY_global_mm"),
    ("x_slide_mm", "y_slide_mm"),
)
_COSMX_WITHIN = ("CenterX_local_px", "CenterY_local_px")
# Side of the bins of Visium HD in µm.
_BIN = 8
TABLES = "tables of counts and places"
_IN_PYTHON = (
    "Read it by another package, such as scanpy or pandas, into an AnnData, and save that: "
    "adata.write_h5ad('tissue.h5ad')"
)
_INSTEAD_OF_TABLE = (
    "Put a table of counts, and a table with x and y of each spot, into a folder of their own, and give the folder"
)
_OF_R = "Save its counts and coordinates from R as .h5ad, for example with the package anndataR"
_INSTEAD = {
    ".gef": (
        "Convert it with stereopy: data = st.io.read_gef(path, bin_size=50), then "
        "st.io.stereo_to_anndata(data, flavor='scanpy', output='tissue.h5ad'); or give the GEM file"
    ),
    ".rds": _OF_R,
    ".rda": _OF_R,
    ".rdata": _OF_R,
    ".h5seurat": _OF_R,
    ".gz": "Unpack it",
    ".zip": "Unpack it",
    ".tar": "Unpack it",
}


def read_folder(folder: Path, bin_size: int | None) -> tuple[str, AnnData]:
    """The name of the platform, and the spots."""
    known = recognise(folder)
    if known is None:
        held = ", ".join(path.name for path in find(folder, "*")[:6]) or "nothing"
        msg = (
            f"{folder} is no output folder of Visium, Visium HD, Xenium, MERSCOPE or CosMx, and no zarr; it "
            f"holds {held}. {instead_of(folder)}"
        )
        raise ValueError(msg)
    platform, place = known
    if platform == TABLES:
        return platform, read_pair(*(pair_of(place) or ()))
    if platform == "Visium HD" and not place.name.startswith("square_"):
        parent, size = (place / "binned_outputs" if (place / "binned_outputs").is_dir() else place), bin_size or _BIN
        bins = parent / f"square_{size:03d}um"
        if not bins.is_dir():
            there = sorted(path.name for path in parent.glob("square_*um"))
            msg = f"{parent} has no bins of {size} µm, but {', '.join(there)}; choose by bin_size (--bin-size)"
            raise FileNotFoundError(msg)
        cells = place / "segmented_outputs"
        if cells.is_dir():
            logger.info("Reading the bins of %d µm. To read the cells instead, give the folder %s.", size, cells)
        place = bins
    return platform, _PLATFORMS[platform][0](place)


def recognise(folder: Path) -> tuple[str, Path] | None:
    """The platform of a folder and where in it the data lie; ``None`` if it is of no platform that is known."""
    for place in (folder, folder / "outs"):
        for platform, (_, signs) in _PLATFORMS.items():
            if find(place, *signs):
                return platform, place
    return None if pair_of(folder) is None else (TABLES, folder)


def instead_of(path: Path) -> str:
    """What to do about a file or folder that cannot be read: what to give instead, to unpack or to convert."""
    around = next((one for one in list(path.absolute().parents)[:2] if recognise(one) is not None), None)
    within = _in_folder(path) if path.is_dir() else None
    if within is not None or around is not None:
        return within or f"Give the folder {around}"
    if find(path, "*feature_bc_matrix*") or path.match("*feature_bc_matrix*"):
        return "It holds counts only: the places of the spots are in the folder 'spatial', which belongs beside it"
    return _INSTEAD_OF_TABLE if is_table(path) else _INSTEAD.get(path.suffix.lower(), _IN_PYTHON)


def _in_folder(path: Path) -> str | None:
    """What of a folder can be given or unpacked."""
    inner = [str(one) for one in find(path, "*", "*/*") if one.is_dir() and recognise(one) is not None]
    if inner:
        return f"Give a folder in it, or several as slices: {' '.join(inner[:4])}"
    # A zarr store remains one when it is unpacked, and there is no reader for those of instruments.
    packed = find(path, "*.tar.gz", "*.tgz", "*.tar", "*.zip")
    archives = [one.name for one in packed if not one.name.endswith(".zarr.zip")]
    if archives:
        return f"Unpack {', '.join(archives[:4])} there"
    kinds = {".h5ad", ".h5mu", ".zarr"}
    files = [str(one) for one in find(path, "*", "*/*") if one.suffix in kinds or (is_table(one) and has_all(one))]
    if files:
        return f"Give a file in it, or several as slices: {' '.join(files[:4])}"
    has_tables = recognise(path) is None and any(map(is_table, find(path, "*")))
    return _INSTEAD_OF_TABLE if has_tables else None


def _only(folder: Path, *patterns: str) -> Path:
    """The one file that has the first of these names that occurs."""
    found = next((paths for one in patterns if (paths := find(folder, one))), [])
    if len(found) == 1:
        return found[0]
    if not found:
        msg = f"{folder} has no {patterns[-1].strip('*')}. {instead_of(folder)}"
        raise FileNotFoundError(msg)
    msg = f"{folder} has {' and '.join(path.name for path in found)}; give the tables of each run a folder of their own"
    raise ValueError(msg)


def _read_visium(folder: Path) -> AnnData:
    """Matrix, positions, scale factors and images as Space Ranger writes them, or all in one folder, as in GEO."""
    adata = _read_matrix(folder, "filtered_feature_bc_matrix", "raw_feature_bc_matrix")
    spatial = folder / "spatial" if find(folder / "spatial", _PLACES) else folder
    table = _only(spatial, "*tissue_positions.parquet", "*tissue_positions.csv*", _PLACES)
    if table.suffix == ".parquet":
        positions = pd.read_parquet(table).set_index("barcode")
    else:
        has_header = "in_tissue" in pd.read_csv(table, nrows=0).columns
        positions = pd.read_csv(table, header=0 if has_header else None, index_col=0)
    positions.columns = pd.Index(_POSITIONS)
    # x is the column of the image.
    adata = placed(adata, positions, table, "pxl_col_in_fullres", "pxl_row_in_fullres")
    return _with_images(adata, folder, spatial)


def _read_cells(folder: Path) -> AnnData:
    """Cells of Visium HD, as Space Ranger 4 outlines them; each lies at the centroid of its outline."""
    from shapely.geometry import shape

    folder = folder / "segmented_outputs" if (folder / "segmented_outputs").is_dir() else folder
    adata = _read_matrix(folder, "filtered_feature_cell_matrix", "raw_feature_cell_matrix")
    outlines = _only(folder, "cell_segmentations.geojson*", "*cell_segmentations.geojson*")
    features = json.loads(_content(outlines))["features"]
    numbers = pd.Index([int(feature["properties"]["cell_id"]) for feature in features])
    centroids = [shape(feature["geometry"]).centroid.coords[0] for feature in features]
    cells = pd.DataFrame(centroids, columns=["x", "y"], index=numbers.map("cellid_{:09d}-1".format))
    return _with_images(placed(adata, cells, outlines, "x", "y"), folder, folder / "spatial")


def _with_images(adata: AnnData, folder: Path, spatial: Path) -> AnnData:
    from matplotlib.image import imread

    # The slice is called as the folder or, where that is called as all are, the one around it.
    common = re.compile(r"outs|binned_outputs|segmented_outputs|square_\d+um")
    named = [part for part in folder.absolute().parts if not common.fullmatch(part)]
    entry: dict[str, Any] = {"metadata": {}, "images": {}, "scalefactors": {}}
    for path in find(spatial, "*scalefactors_json.json*"):
        entry["scalefactors"] = json.loads(_content(path))
    for size in ("hires", "lowres"):
        for path in find(spatial, f"*tissue_{size}_image.png*"):
            entry["images"][size] = np.asarray(imread(io.BytesIO(_content(path)), format="png"))
    adata.uns["spatial"] = {named[-1]: entry}
    return adata


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _read_xenium(folder: Path) -> AnnData:
    adata = _read_matrix(folder, "cell_feature_matrix")
    table = _only(folder, "*cells.parquet", "*cells.csv.gz", "*cells.csv")
    cells = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    names = cells.pop("cell_id")
    cells.index = pd.Index([name.decode() if isinstance(name, bytes) else str(name) for name in names])
    return in_micrometres(placed(adata, cells, table, "x_centroid", "y_centroid"))


def _read_merscope(folder: Path) -> AnnData:
    counts, table = _only(folder, "*cell_by_gene*.csv*"), _only(folder, "*cell_metadata*.csv*")
    cells = pd.read_csv(table, index_col=0, converters={0: str})
    return in_micrometres(placed(read_counts(counts), cells, table, "center_x", "center_y"))


def _read_cosmx(folder: Path) -> AnnData:
    counts, table = _only(folder, "*exprMat_file.csv*"), _only(folder, "*metadata_file.csv*")
    adata, cells = read_counts(counts, "cell_ID", "fov"), pd.read_csv(table, dtype={"cell_ID": str, "fov": str})
    cells = cells.set_index(cells["cell_ID"] + "_" + cells["fov"]).astype({"fov": "category"})
    # The cell 0 of a field is what belongs to no cell.
    adata = adata[~adata.obs_names.str.startswith("0_")]
    across, within = next((pair for pair in _COSMX_ACROSS if pair[0] in cells), _COSMX_ACROSS[0]), _COSMX_WITHIN
    adata = placed(adata, cells, table, *across)
    is_wide, is_down = False, False
    if set(within) <= set(cells):
        is_wide = bool(cells[within[0]].max() > _COSMX_FIELD)
        # In the image of a field y points down. Across fields it points up, unless it is seen to grow together with it.
        both = cells[[across[1], within[1]]]
        is_down = bool((both - both.groupby(cells["fov"], observed=True).transform("mean")).prod(axis=1).sum() > 0)
    pixel = _COSMX_FIRST_PIXEL if is_wide else _COSMX_PIXEL
    pixel = 1000.0 if across[0].endswith("mm") else pixel
    return in_micrometres(adata, pixel, pixel if is_down else -pixel)


# How folders are read, and by which of their files they are recognised.
_PLATFORMS: dict[str, tuple[Callable[[Path], AnnData], tuple[str, ...]]] = {
    "Visium HD": (_read_visium, ("binned_outputs/square_*um", "square_*um", "spatial/tissue_positions.parquet")),
    "Visium HD cells": (
        _read_cells,
        ("segmented_outputs/*cell_segmentations.geojson*", "*cell_segmentations.geojson*"),
    ),
    "Visium": (_read_visium, (f"spatial/{_PLACES}", _PLACES)),
    "Xenium": (_read_xenium, ("*cell_feature_matrix*",)),
    "MERSCOPE": (_read_merscope, ("*cell_by_gene*.csv*",)),
    "CosMx": (_read_cosmx, ("*exprMat_file.csv*",)),
}


def _read_matrix(folder: Path, *names: str) -> AnnData:
    """The first matrix of these names that is there, genes only, as HDF5 or in the matrix market format."""
    import scanpy

    for name in names:
        if find(folder, f"*{name}.h5"):
            return genes_only(scanpy.read_10x_h5(_only(folder, f"{name}.h5", f"*{name}.h5"), gex_only=False))
        if any(path.is_dir() for path in find(folder, f"*{name}")):
            return genes_only(_read_matrix_market(_only(folder, name, f"*{name}")))
    if find(folder, "*matrix.mtx*"):
        return genes_only(_read_matrix_market(folder))
    msg = f"{folder} has no {' or '.join(names)}, neither .h5 nor a folder. {instead_of(folder)}"
    raise FileNotFoundError(msg)


def _read_matrix_market(folder: Path) -> AnnData:
    # scanpy's reader of such folders takes uncompressed files for those of Cell Ranger 2, which have other names.
    from anndata import AnnData
    from scipy.io import mmread

    adata = AnnData(sparse.csr_matrix(mmread(_only(folder, "*matrix.mtx*"), spmatrix=False).T, dtype=np.float32))
    features = pd.read_csv(_only(folder, "*features.tsv*", "*genes.tsv*"), sep="\t", header=None, dtype=str)
    barcodes = pd.read_csv(_only(folder, "*barcodes.tsv*"), sep="\t", header=None, dtype=str)
    adata.obs_names = barcodes[0].to_numpy()
    adata.var_names = features[min(1, features.shape[1] - 1)].to_numpy()
    adata.var["gene_ids"] = features[0].to_numpy()
    if features.shape[1] > 2:
        adata.var["feature_types"] = features[2].to_numpy()
    return adata
