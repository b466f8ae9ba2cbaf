"""Folders of instruments and files of the field go through ``spotscape run`` as they are, some as SpatialData too."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import pytest
import spatialdata as sd

from spotscape.cli import main

DATA = Path(os.environ.get("SPOTSCAPE_DATA", "nowhere"))
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="SPOTSCAPE_DATA names no folder with real tissue"),
    # Of zarr and anndata, when SpatialData writes.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]
QUICK = ("--method=smoothed-pca", "--n-domains=3", "--no-markers", "--quiet", "--threads=1")
FOLDERS = ("merscope_sfe_cellbound", "visium_se_section1", "visium_sfe_sample02", "visium_squidpy", "xenium_sfe")
FILES = ("starmap_visual_cortex", "st_pdac_A_428", "osmfish_ssctx")
LARGE = ("dlpfc_donor3", "her2st_4patients", "slideseq_cerebellum_10k", "xenium_breast_36k")
LATER = ("vendor/visium_squidpy", "starmap_visual_cortex.h5ad")


@pytest.mark.parametrize(
    "path",
    [
        *(f"vendor/{name}" for name in FOLDERS),
        *(f"{name}.h5ad" for name in FILES),
        *(pytest.param(f"{name}.h5ad", marks=pytest.mark.slow) for name in LARGE),
    ],
)
def test_from_file_to_domains(path: str, tmp_path: Path) -> None:
    table = tmp_path / "table.h5ad"
    assert main(["run", str(DATA / path), str(table), *QUICK, f"--report={tmp_path / 'page.html'}"]) == 0
    assert ad.read_h5ad(table).obs["smoothed_pca_domain"].nunique() == 3


@pytest.mark.slow
@pytest.mark.parametrize("path", ["vendor/xenium_sfe", *LATER])
def test_spatialdata_in_and_out_is_the_same(path: str, tmp_path: Path) -> None:
    made, again = tmp_path / "made.zarr", tmp_path / "again.zarr"
    assert main(["run", str(DATA / path), str(made), *QUICK]) == 0
    assert main(["run", str(made), str(again), "--layer=counts", *QUICK]) == 0
    expected, found = (sd.read_zarr(store)["table"].obs["smoothed_pca_domain"] for store in (made, again))
    assert list(found) == list(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["visium_seurat", "visium_squidpy"])
def test_what_spatialdata_io_reads_gives_the_same(name: str, tmp_path: Path) -> None:
    io = pytest.importorskip("spatialdata_io", reason="spatialdata-io is not installed")
    sdata = io.visium(DATA / "vendor" / name, dataset_id="tissue")
    sdata.write(tmp_path / "read.zarr")
    assert main(["run", str(DATA / "vendor" / name), str(tmp_path / "folder.h5ad"), *QUICK]) == 0
    assert main(["run", str(tmp_path / "read.zarr"), str(tmp_path / "out.zarr"), *QUICK]) == 0
    expected = ad.read_h5ad(tmp_path / "folder.h5ad").obs["smoothed_pca_domain"]
    found = sd.read_zarr(tmp_path / "out.zarr")
    assert found["table"].obs["smoothed_pca_domain"].to_dict() == expected.to_dict()
    assert list(found.shapes) == ["tissue"]
