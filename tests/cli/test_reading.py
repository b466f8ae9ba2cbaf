"""Files and folders of every kind give the counts and coordinates that were written."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from matplotlib.image import imsave

import spotscape as sp
from spotscape.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

# The test files are imported by path (importlib mode), so that their neighbours are not on the path of Python.
_spec = importlib.util.spec_from_file_location("cli_folders", Path(__file__).with_name("folders.py"))
folders = importlib.util.module_from_spec(_spec)
sys.modules["cli_folders"] = folders
_spec.loader.exec_module(folders)


def tissue(n_spots: int = 60, *, geometry: str = "hexagonal", spacing: float = 100) -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(
        n_spots=n_spots,
        n_genes=30,
        n_domains=3,
        geometry=geometry,
        random_state=0,  # type: ignore[arg-type]
    )
    adata.X = adata.X.astype(np.float32)
    adata.obsm["spatial"] = spacing / 100 * adata.obsm["spatial"]
    return adata


def read(*paths: Path, **options: object) -> object:
    from spotscape.cli._inspect import read as read_inputs
    from spotscape.cli._options import read_options

    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return read_inputs(read_options(["info", *map(str, paths), *words]))


def values(adata: ad.AnnData) -> np.ndarray:
    return np.asarray(adata.X.todense() if hasattr(adata.X, "todense") else adata.X)


@pytest.mark.parametrize("layout", ["old", "new", "raw"])
def test_visium(tmp_path: Path, layout: str) -> None:
    adata = tissue()
    found = read(folders.visium(tmp_path / "sampleA", adata, layout=layout))
    # The first spot lies off the tissue, and is left out wherever it was in the table.
    np.testing.assert_array_equal(found.adata.obs_names, adata.obs_names[1:])
    np.testing.assert_array_equal(values(found.adata), values(adata)[1:])
    np.testing.assert_allclose(found.adata.obsm["spatial"], adata.obsm["spatial"][1:])
    assert found.platform == "Visium"
    assert found.adata.uns["spatial"]["sampleA"]["scalefactors"]["spot_diameter_fullres"] == 130


def test_visium_hd(tmp_path: Path) -> None:
    adata = tissue()
    folder = folders.visium_hd(tmp_path / "hd", adata)
    found = read(folder)
    assert found.platform == "Visium HD"
    np.testing.assert_array_equal(values(found.adata), values(adata)[1:])
    np.testing.assert_allclose(found.adata.obsm["spatial"], adata.obsm["spatial"][1:])
    # The folder of the bins is understood as well, and bins that are not there are named.
    assert read(folder / "binned_outputs" / "square_008um").adata.shape == found.adata.shape
    with pytest.raises(FileNotFoundError, match=r"no bins of 2 µm, but square_008um.*--bin-size"):
        read(folder, bin_size=2)


def test_cells_of_visium_hd(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adata = tissue()
    folder = folders.visium_hd_cells(tmp_path / "hd", adata)
    for place in (folder, folder / "segmented_outputs"):
        found = read(place)
        assert found.platform == "Visium HD cells"
        # The last cell has no outline.
        np.testing.assert_array_equal(values(found.adata), values(adata)[:-1])
        np.testing.assert_allclose(found.adata.obsm["spatial"], adata.obsm["spatial"][:-1])
        assert found.adata.uns["spatial"]["hd"]["scalefactors"]["microns_per_pixel"] == 0.25
    folders.visium_hd(folder, adata)
    assert read(folder).platform == "Visium HD"
    assert f"To read the cells instead, give the folder {folder / 'segmented_outputs'}" in caplog.text


def test_xenium(tmp_path: Path) -> None:
    adata = tissue()
    found = read(folders.xenium(tmp_path / "x", adata))
    np.testing.assert_array_equal(values(found.adata), values(adata)[:, :-2])
    np.testing.assert_allclose(found.adata.obsm["spatial"], adata.obsm["spatial"])
    assert "cell_area" in found.adata.obs


@pytest.mark.parametrize("grows", [1, -1])
@pytest.mark.parametrize("layout", ["first", "atomx", "mm"])
def test_cosmx_takes_the_coordinates_of_all_fields_with_y_down(tmp_path: Path, layout: str, grows: int) -> None:
    adata = tissue()
    found = read(folders.cosmx(tmp_path / "c", adata, layout=layout, grows=grows)).adata
    rows = [int(cell) * 2 - 2 + int(fov) - 1 for cell, fov in (name.split("_") for name in found.obs_names)]
    assert sorted(rows) == list(range(60))
    np.testing.assert_allclose(found.obsm["spatial"], adata.obsm["spatial"][rows])
    np.testing.assert_array_equal(values(found), values(adata)[rows])
    assert list(found.var_names) == list(adata.var_names)


def test_cosmx_of_the_first_instruments_has_larger_pixels(tmp_path: Path) -> None:
    adata = tissue(spacing=2000)
    found = read(folders.cosmx(tmp_path / "c", adata)).adata
    assert np.ptp(found.obsm["spatial"]) == pytest.approx(np.ptp(adata.obsm["spatial"]) * 0.18 / 0.120280945)


@pytest.mark.parametrize(
    ("counts", "cells"),
    [
        ("cell_by_gene.csv", "cell_metadata.csv"),
        ("datasets_mouse_brain_map_cell_by_gene_S1R1.csv", "datasets_mouse_brain_map_cell_metadata_S1R1.csv"),
        ("cellpose_cell_by_gene.csv", "cellpose_cell_metadata.csv"),
    ],
)
def test_merscope(tmp_path: Path, counts: str, cells: str) -> None:
    adata = tissue()
    found = read(folders.merscope(tmp_path / "m", adata, counts=counts, cells=cells))
    assert found.platform == "MERSCOPE"
    np.testing.assert_array_equal(values(found.adata), values(adata))
    np.testing.assert_allclose(found.adata.obsm["spatial"], adata.obsm["spatial"])


def test_tables_of_counts_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = tissue()
    monkeypatch.setattr("spotscape.readers._tables._ENTRIES", 7 * 33)
    found = read(folders.merscope(tmp_path / "m", adata)).adata
    np.testing.assert_array_equal(values(found), values(adata))


MAKERS: dict[str, Callable[[Path, ad.AnnData], Path]] = {
    "visium": lambda path, adata: folders.visium(path, adata, layout="old"),
    "visium_mtx": lambda path, adata: folders.visium(path, adata, layout="new"),
    "visium_hd": folders.visium_hd,
    "visium_hd_cells": folders.visium_hd_cells,
    "slide_seq": folders.slide_seq,
    "xenium": folders.xenium,
    "merscope": folders.merscope,
    "cosmx": folders.cosmx,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_hidden_files_of_macos_are_passed_over(tmp_path: Path, maker: str) -> None:
    folder = MAKERS[maker](tmp_path / "run", tissue())
    bare = read(folder).adata
    folders.beside_on_mac(folder)
    np.testing.assert_array_equal(values(read(folder).adata), values(bare))


def test_names_before_those_of_the_instrument_are_passed_over(tmp_path: Path) -> None:
    """As archives of publications put them."""
    xenium, visium = folders.xenium(tmp_path / "x", tissue()), folders.visium(tmp_path / "v", tissue(), layout="new")
    for path in list(xenium.iterdir()):
        path.rename(path.with_name(f"GSM1_{path.name}"))
    positions = visium / "spatial" / "tissue_positions.csv"
    positions.with_name(f"{positions.name}.gz").write_bytes(gzip.compress(positions.read_bytes()))
    positions.unlink()
    assert read(xenium).adata.shape == (60, 28)
    assert read(visium).adata.shape == (59, 30)


@pytest.mark.parametrize("layout", ["old", "new"])
def test_visium_files_in_one_folder_as_in_geo(tmp_path: Path, layout: str) -> None:
    """A series of GEO is one archive, whose files carry the sample's name and are compressed one by one."""
    adata = tissue()
    folder = folders.visium(tmp_path / "run", adata, layout=layout)
    imsave(folder / "spatial" / "tissue_lowres_image.png", np.zeros((5, 4, 3)))
    flat = tmp_path / "GSE1_RAW"
    flat.mkdir()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        packed = path.suffix in {".gz", ".h5"}
        name = f"GSM1_A1_{path.name}" + ("" if packed else ".gz")
        (flat / name).write_bytes(path.read_bytes() if packed else gzip.compress(path.read_bytes()))
    bare, found = read(folder), read(flat)
    assert found.platform == "Visium"
    np.testing.assert_array_equal(values(found.adata), values(bare.adata))
    np.testing.assert_array_equal(found.adata.obsm["spatial"], bare.adata.obsm["spatial"])
    (entry,) = found.adata.uns["spatial"].values()
    assert entry["images"]["lowres"].shape[:2] == (5, 4)
    assert entry["scalefactors"]["spot_diameter_fullres"] == 130
    for path in list(flat.iterdir()):
        (flat / path.name.replace("GSM1_A1", "GSM2_B1")).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="give the tables of each run a folder of their own"):
        read(flat)


def test_spots_without_a_position_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adata = tissue()
    folder = folders.merscope(tmp_path / "m", adata)
    cells = pd.read_csv(folder / "cell_metadata.csv", index_col=0, converters={0: str})[::-1]
    cells.iloc[7, 0] = np.nan
    cells.iloc[5:].to_csv(folder / "cell_metadata.csv")
    found = read(folder).adata
    assert "Leaving out 6 of 60 spots, which have no position in" in caplog.text
    np.testing.assert_allclose(found.obsm["spatial"], np.delete(adata.obsm["spatial"], [0, 1, 2, 3, 4, 7], axis=0))


def of_two_runs(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.with_name(f"other_{path.name}").write_bytes(path.read_bytes())


def saved_by_a_spreadsheet(folder: Path) -> None:
    for name in ("cell_by_gene.csv", "cell_metadata.csv"):
        table = pd.read_csv(folder / name, index_col=0, converters={0: str})
        table.set_axis([f"{float(cell):.3E}" for cell in table.index]).to_csv(folder / name)


def of_another_run(folder: Path) -> None:
    table = pd.read_csv(folder / "cell_metadata.csv", index_col=0, converters={0: str})
    table.set_axis([f"9{cell}" for cell in table.index]).to_csv(folder / "cell_metadata.csv")


def one_folder_up(folder: Path) -> None:
    inner = folder.rename(folder.with_name("region"))
    folder.mkdir()
    inner.rename(folder / "region_0")


def packed(folder: Path) -> None:
    (folder / "cell_by_gene.csv").rename(folder / "spatial.tar.gz")
    (folder / "cells.zarr.zip").touch()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (of_two_runs, r"cell_by_gene.csv and other_cell_by_gene.csv; give the tables of each run a folder"),
        (saved_by_a_spreadsheet, r"names '1.000E\+20' more than once; .* saved by a spreadsheet"),
        (of_another_run, r"has no position for any of the 60 spots; is it of another run"),
        (lambda folder: (folder / "cell_metadata.csv").unlink(), r"run has no cell_metadata\*.csv"),
        (one_folder_up, r"holds region_0. Give a folder in it, or several as slices: \S*region_0"),
        (packed, r"Unpack spatial.tar.gz there$"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = folders.merscope(tmp_path / "run", tissue())
    spoil(folder)
    with pytest.raises((OSError, ValueError), match=words):
        read(folder)


def test_a_file_of_a_folder_names_the_folder(tmp_path: Path) -> None:
    folder = folders.visium_hd(tmp_path / "hd", tissue())
    matrix = folder / "binned_outputs" / "square_008um" / "filtered_feature_bc_matrix.h5"
    with pytest.raises(ValueError, match=rf"Give the folder {re.escape(str(matrix.parent))}$"):
        read(matrix)


def as_h5mu(adata: ad.AnnData, path: Path) -> None:
    with h5py.File(path, "w") as file:
        bare = adata.copy()
        coords = bare.obsm.pop("spatial")
        modalities = file.create_group("mod")
        write_elem(modalities, "rna", bare)
        write_elem(modalities, "protein", bare[:, :3].copy())
        write_elem(file, "obs", bare.obs[[]])
        write_elem(file, "obsm", {"spatial": coords})


WRITERS: dict[str, Callable[[ad.AnnData, Path], None]] = {
    "h5ad": lambda adata, path: adata.write_h5ad(path),
    "zarr": lambda adata, path: adata.write_zarr(path),
    "h5mu": as_h5mu,
}


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default")
@pytest.mark.parametrize("kind", WRITERS)
def test_files(tmp_path: Path, kind: str) -> None:
    adata = tissue()
    path = tmp_path / f"tissue.{kind}"
    WRITERS[kind](adata, path)
    found = read(path).adata
    np.testing.assert_array_equal(values(found), values(adata))
    np.testing.assert_allclose(found.obsm["spatial"], adata.obsm["spatial"])


def test_several_inputs_are_slices_of_the_genes_that_they_share(tmp_path: Path) -> None:
    a, b = tissue(), tissue(40)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    a[:, 1:].write_h5ad(tmp_path / "one" / "counts.h5ad")
    b[:, :-1].write_h5ad(tmp_path / "two" / "counts.h5ad")
    found = read(tmp_path / "one" / "counts.h5ad", tmp_path / "two" / "counts.h5ad").adata
    assert found.obs["slice"].value_counts().to_dict() == {"one": 60, "two": 40}
    assert list(found.var_names) == list(a.var_names[1:-1])
    assert found.obs_names.is_unique
    np.testing.assert_array_equal(values(found)[60:], values(b)[:, 1:-1])


def test_in_python_a_mapping_names_the_slices(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.h5ad" for name in "ab"]
    for path, n_spots in zip(paths, (60, 40), strict=True):
        tissue(n_spots).write_h5ad(path)
    named = sp.read({"young": paths[0], 7: str(paths[1])})
    assert named.obs["slice"].value_counts().to_dict() == {"young": 60, "7": 40}
    listed = sp.read([*paths])
    assert listed.obs["slice"].value_counts().to_dict() == {"a": 60, "b": 40}
    np.testing.assert_array_equal(values(listed), values(named))
    # A single one is named too; without a name, its column stays.
    assert sp.read({"young": paths[0]}).obs["slice"].unique().tolist() == ["young"]
    assert sp.read(str(paths[0])).obs["slice"].unique().tolist() == ["slice_1"]


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (([],), ValueError, "paths is empty; name at least one file or folder."),
        (({},), ValueError, "paths is empty; name at least one file or folder."),
        ((3,), TypeError, "paths must be a path, not 3 (int)."),
        ((["a.h5ad", None],), TypeError, "paths must be a path, not None."),
        (("nowhere.h5ad",), FileNotFoundError, "nowhere.h5ad does not exist"),
        ((["nowhere.h5ad", "nowhere.h5ad"],), ValueError, "the same input is given twice"),
    ],
)
def test_in_python_an_error_names_the_argument(arguments: tuple[Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        sp.read(*arguments)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_store_of_spatialdata_stays_one(tmp_path: Path) -> None:
    from spatialdata import SpatialData

    from spotscape._core.spatial_data import to_spatialdata

    to_spatialdata(tissue(), library_key=None).write(tmp_path / "tissue.zarr")
    found = sp.read(tmp_path / "tissue.zarr")
    assert isinstance(found, SpatialData)
    sp.pp.prepare(found)
    assert "counts" in found["table"].layers


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is no output folder of Visium"),
        (
            lambda path: path.write_text("a,b"),
            "is of no kind that spotscape reads. Read it by another package, such as scanpy or pandas, into an AnnData",
        ),
    ],
    ids=["missing", "folder", "ending"],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "data.thing"
    make(path)
    assert main(["info", str(path)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def info(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    status = main(["info", "--json", *map(str, words)])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    assert status == (1 if found["problems"] else 0)
    return found


def test_info_knows_unit_and_lattice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = info(capsys, folders.visium(tmp_path / "v", tissue(200, spacing=200), layout="old"))
    assert (found["platform"], found["unit"]) == ("Visium", "pixels of 0.5 µm")
    assert (found["n_spots"], found["n_genes"], found["slices"]) == (199, 30, None)
    hd = info(capsys, folders.visium_hd(tmp_path / "hd", tissue(200, geometry="square", spacing=32)))
    assert hd["unit"] == "pixels of 0.25 µm"
    cells = info(capsys, folders.visium_hd_cells(tmp_path / "cells", tissue(200, geometry="irregular")))
    assert cells["unit"] == "pixels of 0.25 µm"
    assert info(capsys, folders.xenium(tmp_path / "x", tissue()))["unit"] == "µm"


def test_the_unit_reaches_the_graph(tmp_path: Path) -> None:
    from spotscape._core.geometry import layout_of

    found = read(folders.cosmx(tmp_path / "c", tissue())).adata
    assert layout_of([found.obsm["spatial"]], found).um_per_unit == 1


def test_slices_are_seen_where_they_lie_over_each_other_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=120, n_genes=30, n_domains=3, n_slices=2)
    adata.write_h5ad(tmp_path / "over.h5ad")
    found = info(capsys, tmp_path / "over.h5ad")
    assert (found["slices"], found["slice_sizes"]) == ("slice", adata.obs["slice"].value_counts().to_dict())
    assert all("library_key='slice'" in step for step in found["steps"] if "prepare" in step)
    assert info(capsys, tmp_path / "over.h5ad", "--slices=none")["slices"] is None
    gaps = adata.copy()
    gaps.obs.iloc[:5, gaps.obs.columns.get_loc("slice")] = np.nan
    gaps.write_h5ad(tmp_path / "gaps.h5ad")
    found = info(capsys, tmp_path / "gaps.h5ad")
    assert found["slices"] is None
    assert f"is missing for 5 of {adata.n_obs} spots" in found["notes"][0]
    second = (adata.obs["slice"] == adata.obs["slice"].cat.categories[1]).to_numpy()
    adata.obsm["spatial"][second] += 1e6
    adata.write_h5ad(tmp_path / "beside.h5ad")
    found = info(capsys, tmp_path / "beside.h5ad")
    assert found["slices"] is None
    assert "--slices slice if they are several" in found["notes"][0]


@pytest.mark.parametrize(
    ("name", "groups"),
    [("Sample.ID", ["s1", "s2"]), ("orig.ident", ["A", "B"]), ("Bregma", [-0.29, 0.26]), ("Animal_ID", [1, 2])],
)
def test_slices_have_many_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, groups: list[object]
) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=120, n_genes=30, n_domains=3, n_slices=2, geometry="irregular")
    adata.obs[name] = np.array(groups)[adata.obs.pop("slice").cat.codes]
    adata.write_h5ad(tmp_path / "over.h5ad")
    found = info(capsys, tmp_path / "over.h5ad")
    assert (found["slices"], list(found["slice_sizes"])) == (name, [str(group) for group in groups])
    with pytest.warns(UserWarning, match=f"keep them apart with library_key={name!r}"):
        sp.pp.spatial_neighbors_knn(adata, n_neighs=6)


def test_counts_in_a_layer_are_put_in_x(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    adata = tissue()
    adata.layers["raw"] = adata.X.copy()
    adata.layers["ambiguous"] = np.floor(values(adata) / 3)
    adata.X = np.log1p(values(adata))
    del adata.obsm["spatial"]
    adata.write_h5ad(tmp_path / "log.h5ad")
    found = info(capsys, tmp_path / "log.h5ad")
    (coordinates,) = found["problems"]
    assert coordinates.startswith("'spatial' not found in adata.obsm, which has: 'spatial_truth'.")
    assert coordinates.endswith("--spatial-key names coordinates")
    assert found["steps"][:2] == [f"adata = sp.read('{tmp_path / 'log.h5ad'}')", "sp.pp.prepare(adata)"]
    there = sp.read(tmp_path / "log.h5ad")
    assert "adata.X = adata.layers['raw']" in caplog.text
    np.testing.assert_array_equal(values(there), values(tissue()))
    np.testing.assert_array_equal(sp.read(tmp_path / "log.h5ad", layer="X").X, adata.X)
    # What sp.pp.prepare has made of counts stays.
    sp.pp.prepare(there)
    there.write_h5ad(tmp_path / "prepared.h5ad")
    np.testing.assert_array_equal(values(sp.read(tmp_path / "prepared.h5ad")), values(there))
    found = info(capsys, tmp_path / "prepared.h5ad")
    assert found["notes"] == [
        "X holds logarithms, as normalised expression has; the counts are taken from layers['counts']"
    ]


def with_raw(adata: ad.AnnData) -> ad.AnnData:
    """As Seurat's objects are converted: scaled values of a few genes, and all counts beside them."""
    full = adata.copy()
    scaled = np.log1p(values(adata))
    adata.X = scaled - scaled.mean(axis=0)
    adata = adata[:, ::3].copy()
    adata.raw = full
    return adata


def in_columns(adata: ad.AnnData) -> ad.AnnData:
    adata.obs["imagerow"], adata.obs["imagecol"] = adata.obsm["spatial"][:, 1], adata.obsm["spatial"][:, 0]
    del adata.obsm["spatial"]
    return adata


def under_another_name(adata: ad.AnnData) -> ad.AnnData:
    adata.obsm["X_spatial"] = adata.obsm.pop("spatial")
    return adata


def in_capitals(adata: ad.AnnData) -> ad.AnnData:
    adata.obs[["Centroid_X", "Centroid_Y"]] = adata.obsm.pop("spatial")
    return adata


def in_layers(adata: ad.AnnData) -> ad.AnnData:
    adata.layers["counts"] = adata.layers["spliced"] = adata.X
    adata.X = None
    return adata


def with_lost_spots(adata: ad.AnnData) -> ad.AnnData:
    adata = ad.concat([adata, adata[:4]], index_unique="-")
    adata.obsm["spatial"][60:] = np.nan
    return adata


@pytest.mark.parametrize("spread", [with_raw, in_columns, in_capitals, under_another_name, in_layers, with_lost_spots])
def test_what_other_tools_keep_elsewhere_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spread: Callable[[ad.AnnData], ad.AnnData]
) -> None:
    path, expected = tmp_path / "file.h5ad", tissue()
    spread(tissue()).write_h5ad(path)
    found = info(capsys, path)
    assert found["problems"] == []
    space = {"sp": sp}
    exec("\n".join(found["steps"][:2]), space)  # the lines are Python, for a notebook
    counts = space["adata"].layers["counts"]
    np.testing.assert_array_equal(counts.toarray() if hasattr(counts, "toarray") else counts, values(expected))
    np.testing.assert_array_equal(space["adata"].obsm["spatial"], expected.obsm["spatial"])


def test_logarithms_without_counts_are_used_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ("--method=smoothed-pca", "--n-domains=3", "--quiet")
    adata = tissue()
    adata.X = np.log1p(1e4 * values(adata) / values(adata).sum(axis=1, keepdims=True)).astype(np.float32)
    adata.write_h5ad(tmp_path / "log.h5ad")
    found = info(capsys, tmp_path / "log.h5ad")
    assert found["problems"] == []
    assert "the logarithms in X are used as they are" in found["notes"][0]
    assert not any("prepare" in step for step in found["steps"])
    assert main(["run", str(tmp_path / "log.h5ad"), str(tmp_path / "out.h5ad"), *quick]) == 0
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "out.h5ad").X, adata.X)


def test_logarithms_to_base_2_are_made_natural(tmp_path: Path) -> None:
    adata = tissue()
    natural = np.log1p(1e4 * values(adata) / values(adata).sum(axis=1, keepdims=True))
    adata.X = natural / np.log(2)
    adata.write_h5ad(tmp_path / "log2.h5ad")
    np.testing.assert_allclose(sp.read(tmp_path / "log2.h5ad").X, natural)


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    quick = ("--method=smoothed-pca", "--n-domains=3", "--quiet")
    tissue().write_h5ad(tmp_path / "raw.h5ad")
    for source, name in (("raw", "one"), ("one", "two")):
        assert main(["run", str(tmp_path / f"{source}.h5ad"), str(tmp_path / f"{name}.h5ad"), *quick]) == 0
    one, two = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("one", "two"))
    np.testing.assert_array_equal(values(two), values(one))
    np.testing.assert_array_equal(two.obs["smoothed_pca_domain"], one.obs["smoothed_pca_domain"])


def test_counts_by_volume_are_taken_as_prepare_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = tissue()
    volumes = np.random.default_rng(0).uniform(1, 3, (adata.n_obs, 1))
    adata.X = (values(adata) / volumes).astype(np.float32)
    adata.write_h5ad(tmp_path / "volumes.h5ad")
    found = info(capsys, tmp_path / "volumes.h5ad")
    assert found["problems"] == []
    assert found["counts"].startswith("counts divided by a number of each spot")


def test_spots_outside_the_tissue_are_left_out_of_files_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = tissue()
    adata.obs["in_tissue"] = np.arange(60) >= 20
    adata.write_h5ad(tmp_path / "all.h5ad")
    found = info(capsys, tmp_path / "all.h5ad")
    assert (found["n_spots"], found["problems"]) == (40, [])
    np.testing.assert_array_equal(values(sp.read(tmp_path / "all.h5ad")), values(adata)[20:])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: np.where(x == x.max(), np.nan, x), "X has 1 NaN or infinite values"),
        (lambda x: x * np.linspace(0.5, 1, x.size).reshape(x.shape), "counts='assume' in the table [prepare]"),
        (lambda x: x - x.mean(axis=0), "sc.pp.pca(adata), then sp.tl.spotscape(adata, use_rep='X_pca')"),
    ],
    ids=["missing", "fractions", "scaled"],
)
def test_info_says_what_to_do_without_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    adata = tissue()
    adata.X = spoil(values(adata)).astype(np.float32)
    adata.write_h5ad(tmp_path / "other.h5ad")
    found = info(capsys, tmp_path / "other.h5ad")
    assert words in found["problems"][0]
    (tmp_path / "options.toml").write_text("[prepare]\ncounts = 'assume'\n", encoding="utf-8")
    found = info(capsys, tmp_path / "other.h5ad", f"--config={tmp_path / 'options.toml'}")
    assert bool(found["problems"]) == ("assume" not in words)


def test_intensities_are_used_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = tissue()
    proteins = values(adata) * np.random.default_rng(0).lognormal(size=adata.shape)
    adata.raw = ad.AnnData(values(adata), var=adata.var)  # what they were before must not take their place
    adata.X = np.arcsinh(proteins / 5).astype(np.float32)
    path, out = tmp_path / "codex.h5ad", tmp_path / "out.h5ad"
    adata.write_h5ad(path)
    found = info(capsys, path, "--intensities")
    assert found["problems"] == []
    assert f"up to {adata.X.max():.4g}, are used as they are" in found["notes"][0]
    assert "prepare" not in str(found["steps"])
    assert main(["run", str(path), str(out), "--intensities", "--method=smoothed-pca", "--n-domains=3"]) == 0
    np.testing.assert_array_equal(ad.read_h5ad(out).X, adata.X)
    adata.raw = None
    adata.write_h5ad(path)
    assert "--intensities" in info(capsys, path)["problems"][0]
    adata.X -= adata.X.mean(axis=0)
    adata.write_h5ad(path)
    assert "sc.pp.pca(adata)" in info(capsys, path, "--intensities")["problems"][0]
    assert main(["info", str(path), "--intensities", "--layer=counts"]) == 2


VENDOR = Path(os.environ.get("SPOTSCAPE_DATA", "nowhere")) / "vendor"
# Platform, spots under tissue and genes, as the tables of the folders have them.
REAL = {
    "merscope_sfe_cellbound": ("MERSCOPE", 1058, 49),
    "visium_se_section1": ("Visium", 22, 50),
    "visium_seurat": ("Visium", 2695, 100),
    "visium_sfe_sample01": ("Visium", 12, 5),
    "visium_sfe_sample02": ("Visium", 13, 5),
    "visium_squidpy": ("Visium", 100, 100),
    "xenium_sfe": ("Xenium", 526, 27),
}


@pytest.mark.skipif(not VENDOR.is_dir(), reason="SPOTSCAPE_DATA names no folder with vendor folders")
@pytest.mark.parametrize("name", REAL)
def test_real_folders(name: str) -> None:
    found = read(VENDOR / name)
    assert (found.platform, *found.adata.shape) == REAL[name]
    assert np.isfinite(found.adata.obsm["spatial"]).all()
    sums = values(found.adata).sum(axis=1)
    assert sums.max() > 0
    assert np.array_equal(sums, np.floor(sums))
