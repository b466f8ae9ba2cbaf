"""Text tables as spots: molecules of Stereo-seq, counts of ST, counts and places in two tables."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from spotscape.cli import main
from spotscape.cli._inspect import read as read_inputs
from spotscape.cli._options import read_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad

HEAD = "#FileFormat=GEMv0.1\n#BinSize=1\n#OffsetX=0\n"
GEM = """geneID\tx\ty\tMIDCount\tExonCount\tCellID
a\t100\t200\t1\t1\t7
a\t149\t249\t2\t0\t7
b\t103\t200\t3\t3\t7
b\t150\t200\t4\t4\t9
a\t152\t206\t4\t4\t9
b\t0\t0\t5\t5\t0
"""


def read(path: Path, *words: str) -> ad.AnnData:
    return read_inputs(read_options(["info", str(path), *words])).adata


def dense(adata: ad.AnnData) -> list[list[float]]:
    return adata.X.toarray().tolist()


@pytest.mark.parametrize("ending", [".gem", ".tissue.gem.gz", ".txt"])
def test_molecules_are_counted_in_bins(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotscape.readers._tables._MOLECULES", 2)
    path = tmp_path / f"chip{ending}"
    text = HEAD + GEM.replace("\tCellID", "\tother").replace("MIDCount", "MIDCounts")
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    found = read(path)
    # Bins of 50 × 50 begin at (0, 0), (100, 200) and (150, 200); spots lie 0.5 µm apart.
    np.testing.assert_array_equal(found.obsm["spatial"], [[0, 0], [50, 100], [75, 100]])
    assert list(found.var_names) == ["a", "b"]
    assert dense(found) == [[0, 5], [3, 3], [4, 4]]
    # As stereopy calls them.
    assert list(found.obs_names) == [str((x << 32) + y) for x, y in ((0, 0), (100, 200), (150, 200))]
    assert dense(read(path, "--bin-size=1000")) == [[7, 12]]


def test_molecules_are_counted_in_the_cells_that_a_table_names(tmp_path: Path) -> None:
    path = tmp_path / "chip.cellbin.gem"
    path.write_text(HEAD + GEM, encoding="utf-8")
    found = read(path)
    # What lies in no cell is left out; a cell lies at the mean of its molecules.
    assert dense(found) == [[3, 3], [4, 4]]
    assert list(found.obs_names) == ["7", "9"]
    centres = [[(100 + 2 * 149 + 3 * 103) / 6, (4 * 200 + 2 * 249) / 6], [151, 203]]
    np.testing.assert_allclose(found.obsm["spatial"], np.array(centres) / 2)
    assert read(path, "--bin-size=50").n_obs == 3


def test_symbols_of_molecules_go_before_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "chip.gem"
    path.write_text("geneID\tgeneName\tx\ty\tMIDCount\nENSG1\tACTB\t0\t0\t1\nENSG2\tNaN\t60\t0\t2\n", encoding="utf-8")
    assert list(read(path).var_names) == ["ACTB", "NaN"]


@pytest.fixture
def spots() -> pd.DataFrame:
    """Counts of nine spots, which are called by their places, by four genes."""
    names = [f"{column}x{row}" for row in (7, 8, 9) for column in (4, 5, 6)]
    return pd.DataFrame(np.arange(36).reshape(9, 4), names, ["ACTB", "NaN", "HLA-A", "MT-CO1"])


def without_first_name(table: pd.DataFrame, path: Path) -> None:
    """As R's write.table does, which also puts an X before names that begin with a number."""
    table.index = "X" + table.index
    lines = table.to_csv(sep=" ", quoting=2).splitlines()
    path.write_text("\n".join([lines[0].partition(" ")[2], *lines[1:]]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("spots.tsv", lambda table, path: table.to_csv(path, sep="\t")),
        ("genes.tsv.gz", lambda table, path: table.T.to_csv(path, sep="\t")),
        ("GSM1_stdata.csv", lambda table, path: table.T.to_csv(path)),
        ("semicolons.csv", lambda table, path: table.to_csv(path, sep=";")),
        ("r.txt", without_first_name),
    ],
)
def test_spots_called_by_their_places_are_found_in_rows_or_columns(
    tmp_path: Path, spots: pd.DataFrame, name: str, write: Callable[[pd.DataFrame, Path], None]
) -> None:
    write(spots.copy(), tmp_path / name)
    found = read(tmp_path / name)
    assert list(found.var_names) == list(spots.columns)
    np.testing.assert_array_equal(found.X.toarray(), spots)
    np.testing.assert_array_equal(found.obsm["spatial"], [[x, y] for y in (7, 8, 9) for x in (4, 5, 6)])


@pytest.mark.parametrize("genes_in", ["rows", "columns"])
def test_counts_and_places_in_two_tables(tmp_path: Path, spots: pd.DataFrame, genes_in: str) -> None:
    beads = spots.set_axis([f"{number:02d}" for number in range(9)])
    beads.columns = ["ACTB", "ACTB", "HLA-A", "MT-CO1"]
    (beads.T if genes_in == "rows" else beads).to_csv(tmp_path / "Puck.digital_expression.txt", sep="\t")
    places = pd.DataFrame({"number": range(10), "barcode": ["99", *beads.index], "xcoord": range(10), "ycoord": 2.5})
    places[::-1].to_csv(tmp_path / "Puck_bead_locations.csv", index=False)
    found = read(tmp_path)
    np.testing.assert_array_equal(found.X.toarray(), beads)
    np.testing.assert_array_equal(found.obsm["spatial"], [[number + 1, 2.5] for number in range(9)])
    assert list(found.obs_names) == list(beads.index)
    with pytest.raises(ValueError, match=re.escape(f"Give the folder {tmp_path}")):
        read(tmp_path / "Puck_bead_locations.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tissue.gef", b"", "Convert it with stereopy: data = st.io.read_gef"),
        ("seurat.rds", b"", "from R as .h5ad"),
        ("tissue.h5ad.gz", b"", "Unpack it"),
        ("filtered_feature_bc_matrix.h5", b"", "the places of the spots are in the folder 'spatial'"),
        (
            "counts.csv",
            b"cell,ACTB\nc1,3\n",
            "Put a table of counts, and a table with x and y of each spot, into a folder",
        ),
        ("codex.csv", b"cell,X_centroid,Y_centroid,CD3\n1,2,3,4\n", "Put a table of counts, and a table with x and y"),
        ("notes.csv", b"name,comment\n1x2,good\n", "is no table of counts: it has text in the column 'comment'"),
        ("empty.csv", b"", "Put a table of counts, and a table with x and y"),
        ("damaged.h5ad", b"version https://git-lfs", "damaged.h5ad cannot be opened; if it is damaged or incomplete"),
        ("chip.gem", b"geneID\tx\ty\tnumber\na\t1\t2\t3\n", "has no column MIDCount, but geneID, x, y, number"),
    ],
)
def test_what_cannot_be_read_names_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["info", str(tmp_path / name)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_folder_of_files_names_the_files(tmp_path: Path, spots: pd.DataFrame) -> None:
    for name in ("A1", "B1"):
        spots.to_csv(tmp_path / f"{name}.tsv", sep="\t")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Give a file in it, or several as slices: \S+A1.tsv \S+B1.tsv$"):
        read(tmp_path)
    for name in ("A1", "B1"):
        spots.reset_index(drop=True).to_csv(tmp_path / f"{name}.tsv", sep="\t")
    with pytest.raises(ValueError, match="Put a table of counts, and a table with x and y"):
        read(tmp_path)
