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


def visium_hd_cells(folder: Path, adata: AnnData, *, without_outline: int = 1) -> Path:
    """Outlines of all cells but the last ones: triangles, whose centroid is the mean of the three corners."""
    place = folder / "segmented_outputs"
    (place / "spatial").mkdir(parents=True)
    write_scalefactors(place / "spatial", microns_per_pixel=0.25)
    cells = adata.copy()
    cells.obs_names = [f"cellid_{row + 1:09d}-1" for row in range(adata.n_obs)]
    write_h5(place / "filtered_feature_cell_matrix.h5", cells)
    corners = np.array([[-1, -1], [2, -1], [-1, 2], [-1, -1]])
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [(xy + corners).tolist()]},
            "properties": {"cell_id": row + 1},
        }
        for row, xy in enumerate(adata.obsm["spatial"][: adata.n_obs - without_outline])
    ]
    outlines = json.dumps({"type": "FeatureCollection", "features": features[::-1]})
    for name in ("cell", "nucleus", "graphclust_annotated_cell"):
        (place / f"{name}_segmentations.geojson").write_text(outlines, encoding="utf-8")
    return folder


def slide_seq(folder: Path, adata: AnnData, *, genes_in: str = "rows", key: str = "barcode") -> Path:
    """Counts and, in another order and with one more, the places of the beads."""
    folder.mkdir()
    table = pd.DataFrame(np.asarray(sparse.csr_matrix(adata.X).todense()), adata.obs_names, adata.var_names)
    table = table.T if genes_in == "rows" else table
    table.astype(int).rename_axis("GENE").to_csv(folder / "Puck.digital_expression.txt.gz", sep="\t")
    places = pd.DataFrame(adata.obsm["spatial"], adata.obs_names, ["xcoord", "ycoord"])
    places.loc["elsewhere"] = 0.0
    places[::-1].rename_axis(key).to_csv(folder / "Puck_bead_locations.csv")
    return folder


def xenium(folder: Path, adata: AnnData) -> Path:
    kinds = ["Gene Expression"] * (adata.n_vars - 2) + ["Negative Control Probe"] * 2
    write_h5(folder / "cell_feature_matrix.h5", adata, kinds)
    cells = pd.DataFrame(adata.obsm["spatial"], columns=["x_centroid", "y_centroid"])
    cells.insert(0, "cell_id", adata.obs_names)
    cells["cell_area"] = 1.0
    cells[::-1].to_csv(folder / "cells.csv.gz", index=False)
    return folder


def merscope(
    folder: Path, adata: AnnData, *, counts: str = "cell_by_gene.csv", cells: str = "cell_metadata.csv"
) -> Path:
    """Names of 21 digits, as no number holds them; the cells in another order; two blanks beside the genes."""
    folder.mkdir()
    names = pd.Index([f"{10**20 + row}" for row in range(adata.n_obs)])
    table = pd.DataFrame(np.asarray(sparse.csr_matrix(adata.X).todense()), columns=adata.var_names, index=names)
    table.assign(**{"Blank-1": 1, "Blank-2": 0}).to_csv(folder / counts)
    xy = pd.DataFrame(adata.obsm["spatial"], columns=["center_x", "center_y"], index=names)
    xy.assign(fov=0, volume=1.0)[::-1].to_csv(folder / cells)
    return folder


def cosmx(folder: Path, adata: AnnData, *, layout: str = "first", grows: int = -1) -> Path:
    """Two fields of cells; ``atomx`` has compressed tables with a column ``cell``, ``mm`` has millimetres.

    Across fields y grows as in the image of a field, or (-1) the other way round.
    """
    folder.mkdir()
    ids = pd.DataFrame({"fov": np.arange(adata.n_obs) % 2 + 1, "cell_ID": np.arange(adata.n_obs) // 2 + 1})
    counts = pd.DataFrame(np.asarray(sparse.csr_matrix(adata.X).todense()), columns=adata.var_names)
    counts["NegPrb01"] = counts["SystemControl1"] = 1
    local = pd.DataFrame(adata.obsm["spatial"], columns=["CenterX_local_px", "CenterY_local_px"])
    across = (local * [1, grows] / 0.120280945).rename(columns=lambda name: name.replace("local", "global"))
    if layout == "mm":
        across = (across * 0.120280945e-3).set_axis(["x_slide_mm", "y_slide_mm"], axis=1)
    outside = pd.DataFrame({"fov": [1, 2], "cell_ID": 0})
    if layout == "atomx":
        for one in (ids, outside):
            one["cell"] = "c_1_" + one["fov"].astype(str) + "_" + one["cell_ID"].astype(str)
    background = pd.concat([outside, counts[:2] * 0 + 9], axis=1)
    ending = ".csv.gz" if layout == "atomx" else ".csv"
    table = pd.concat([background, pd.concat([ids, counts], axis=1)])
    table.to_csv(folder / f"run_exprMat_file{ending}", index=False)
    pd.concat([ids, local, across], axis=1)[::-1].to_csv(folder / f"run_metadata_file{ending}", index=False)
    return folder


def beside_on_mac(folder: Path) -> None:
    """What macOS leaves beside every file on a disk of another system."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(bytes([0, 5, 22, 7]) * 30)
