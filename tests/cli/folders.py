"""Folders as instruments write them, small, from an AnnData."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmwrite

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def write_h5(path: Path, adata: AnnData, kinds: list[str] | None = None) -> None:
    """Cell Ranger 3's HDF5: features by barcodes, column-compressed, that is rows of spots."""
    counts = sparse.csr_matrix(adata.X)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["data"], matrix["indices"] = counts.data.astype(np.int32), counts.indices.astype(np.int64)
        matrix["indptr"], matrix["shape"] = counts.indptr.astype(np.int64), np.array(counts.shape[::-1], np.int32)
        matrix["barcodes"] = adata.obs_names.to_numpy().astype("S")
        features = matrix.create_group("features")
        features["id"] = features["name"] = adata.var_names.to_numpy().astype("S")
        features["feature_type"] = np.array(kinds or ["Gene Expression"] * adata.n_vars, dtype="S")
        features["genome"] = np.array(["GRCh38"] * adata.n_vars, dtype="S")


def write_mtx(folder: Path, adata: AnnData, *, compressed: bool) -> None:
    folder.mkdir(parents=True)
    lines = "".join(f"ID{i}\t{name}\tGene Expression\n" for i, name in enumerate(adata.var_names))
    mmwrite(folder / "matrix.mtx", sparse.coo_matrix(adata.X).T.astype(int))
    (folder / "features.tsv").write_text(lines, encoding="utf-8")
    (folder / "barcodes.tsv").write_text("\n".join(adata.obs_names) + "\n", encoding="utf-8")
    if compressed:
        for path in list(folder.iterdir()):
            with gzip.open(f"{path}.gz", "wb") as file:
                file.write(path.read_bytes())
            path.unlink()


def positions(adata: AnnData) -> pd.DataFrame:
    """Space Ranger's table; the spots in another order, with one that is not in the matrix, first one off tissue."""
    table = pd.DataFrame({"in_tissue": 1, "array_row": 0, "array_col": 0}, index=adata.obs_names)
    table["pxl_row_in_fullres"], table["pxl_col_in_fullres"] = adata.obsm["spatial"][:, 1], adata.obsm["spatial"][:, 0]
    table.iloc[0, 0] = 0
    table.loc["ELSEWHERE-1"] = [0, 9, 9, -5, -5]
    return table[::-1].rename_axis("barcode")


def write_scalefactors(folder: Path, **more: float) -> None:
    factors = {"spot_diameter_fullres": 130.0, "tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, **more}
    (folder / "scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")


def visium(folder: Path, adata: AnnData, *, layout: str) -> Path:
    """``old``: h5, positions without header; ``new``: compressed matrix market, header; ``raw``: plain, under outs."""
    place = folder / "outs" if layout == "raw" else folder
    spatial = place / "spatial"
    spatial.mkdir(parents=True)
    if layout == "old":
        write_h5(place / "sample_filtered_feature_bc_matrix.h5", adata)
        positions(adata).to_csv(spatial / "tissue_positions_list.csv", header=False)
    else:
        name = "raw" if layout == "raw" else "filtered"
        write_mtx(place / f"{name}_feature_bc_matrix", adata, compressed=layout == "new")
        positions(adata).to_csv(spatial / "tissue_positions.csv")
    write_scalefactors(spatial)
    return folder


def visium_hd(folder: Path, adata: AnnData) -> Path:
    bins = folder / "binned_outputs" / "square_008um"
    write_h5(bins / "filtered_feature_bc_matrix.h5", adata)
    (bins / "spatial").mkdir()
    positions(adata).reset_index().to_parquet(bins / "spatial" / "tissue_positions.parquet")
    write_scalefactors(bins / "spatial", bin_size_um=8.0, microns_per_pixel=0.25)
    return folder


def xenium(folder: Path, adata: AnnData) -> Path:
    kinds = ["Gene Expression"] * (adata.n_vars - 2) + ["Negative Control Probe"] * 2
    write_h5(folder / "cell_feature_matrix.h5", adata, kinds)
    cells = pd.DataFrame(adata.obsm["spatial"], columns=["x_centroid", "y_centroid"])
    cells.insert(0, "cell_id", adata.obs_names)
    cells["cell_area"] = 1.0
    cells[::-1].to_csv(folder / "cells.csv.gz", index=False)
    return folder


def cosmx(folder: Path, adata: AnnData) -> Path:
    folder.mkdir()
    ids = pd.DataFrame({"fov": np.arange(adata.n_obs) % 2 + 1, "cell_ID": np.arange(adata.n_obs) // 2 + 1})
    counts = pd.DataFrame(np.asarray(sparse.csr_matrix(adata.X).todense()), columns=adata.var_names)
    pd.concat([ids, counts], axis=1).to_csv(folder / "run_exprMat_file.csv", index=False)
    xy = pd.DataFrame(adata.obsm["spatial"] / 0.120280945, columns=["CenterX_global_px", "CenterY_global_px"])
    local = xy.rename(columns=lambda name: name.replace("global", "local")) * 0
    pd.concat([ids, xy, local], axis=1).to_csv(folder / "run_metadata_file.csv", index=False)
    return folder
