"""Real tissue is fetched once, whole and checked; tested against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pooch
import pytest
from scipy import sparse

import spotscape as sp
from spotscape.datasets import _download, _real, dlpfc, starmap
from spotscape.datasets._download import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves ``files``; the first of ``faults`` that is left decides how the next answer goes wrong."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        self.requests.append(name)
        fault = self.faults.pop(0) if self.faults else ""
        if name not in self.files or fault.isdigit():
            handler.send_error(int(fault or 404))
            return
        body = b"x" + self.files[name][1:] if fault == "corrupt" else self.files[name]
        handler.send_response(200)
        if fault != "interrupt without length":
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if fault.startswith("interrupt") else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("SPOTSCAPE_DATA", raising=False)
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: None))
    with sp.settings.override(datasetdir=tmp_path / "cache", progress_bar=False):
        yield tmp_path / "cache"


def read_table(path: Path) -> bytes:
    if path.read_bytes() != CONTENT:
        msg = "no table"
        raise ValueError(msg)
    return CONTENT


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_fetches_once(server: Server, cache: Path) -> None:
    server.files["a.bin"] = CONTENT
    paths = [fetch(f"{server.url}/a.bin", "set/a.bin", sha256=SHA256) for _ in range(3)]
    assert paths == [cache / "set/a.bin"] * 3
    assert paths[0].read_bytes() == CONTENT
    assert server.requests == ["a.bin"]
    assert files_below(cache) == ["set/a.bin"]


@pytest.mark.parametrize("fault", ["interrupt", "interrupt without length", "corrupt", "500", "503"])
def test_tries_again_after_a_passing_fault(server: Server, fault: str) -> None:
    server.files["a.bin"] = CONTENT
    server.faults = [fault]
    assert fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("interrupt", ConnectionError, "a.bin could not be downloaded completely .* Nothing was kept. Call again"),
        ("interrupt without length", ValueError, "a.bin gave something else than the expected file"),
        ("corrupt", ValueError, f"a.bin gave something else than the expected file .*{SHA256}.* Nothing was kept"),
        ("500", ConnectionError, r"a.bin was refused by its server \(status 500\)"),
    ],
)
def test_a_lasting_fault_leaves_nothing_behind(
    server: Server, cache: Path, fault: str, error: type[Exception], message: str
) -> None:
    server.files["a.bin"] = CONTENT
    server.faults = [fault] * 3
    with pytest.raises(error, match=message):
        fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)
    assert len(server.requests) == 3
    assert files_below(cache) == []
    assert fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256).read_bytes() == CONTENT


def test_asks_once_for_what_the_server_does_not_have(server: Server, cache: Path) -> None:
    with pytest.raises(ConnectionError, match=r"a.bin was refused by its server \(status 404\).*SPOTSCAPE_DATA"):
        fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)
    assert server.requests == ["a.bin"]
    assert files_below(cache) == []


def test_says_that_nobody_answers(server: Server) -> None:
    with pytest.raises(ConnectionError, match="could not be downloaded completely"):
        fetch("http://127.0.0.1:1/a.bin", "a.bin", sha256=SHA256)
    assert server.requests == []


def test_replaces_a_cached_file_that_changed(server: Server, cache: Path) -> None:
    server.files["a.bin"] = CONTENT
    cache.mkdir()
    (cache / "a.bin").write_bytes(CONTENT[:100])
    with pytest.warns(UserWarning, match="a.bin cannot be read or has another checksum .*downloading it again"):
        path = fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_changed_cached_file_is_not_used_when_the_server_is_gone(cache: Path) -> None:
    cache.mkdir()
    (cache / "a.bin").write_bytes(CONTENT[:100])
    with (
        pytest.warns(UserWarning, match="has another checksum"),
        pytest.raises(ConnectionError, match="could not be downloaded"),
    ):
        fetch("http://127.0.0.1:1/a.bin", "a.bin", sha256=SHA256)
    assert (cache / "a.bin").read_bytes() == CONTENT[:100], "what was there stays until there is something better"


def test_records_an_unknown_checksum_at_the_first_download(server: Server, cache: Path) -> None:
    server.files["a.bin"] = CONTENT
    path = fetch(f"{server.url}/a.bin", "a.bin")
    assert (cache / "a.bin.sha256").read_text().strip() == SHA256
    assert fetch(f"{server.url}/a.bin", "a.bin") == path
    assert server.requests == ["a.bin"]


def test_holds_later_downloads_to_the_recorded_checksum(server: Server, cache: Path) -> None:
    server.files["a.bin"] = CONTENT
    path = fetch(f"{server.url}/a.bin", "a.bin")
    path.write_bytes(b"damaged")
    server.files["a.bin"] = b"something new"
    with (
        pytest.warns(UserWarning, match="has another checksum"),
        pytest.raises(ValueError, match="gave something else than the expected file"),
    ):
        fetch(f"{server.url}/a.bin", "a.bin")
    assert path.read_bytes() == b"damaged"
    assert (cache / "a.bin.sha256").read_text().strip() == SHA256


@pytest.mark.parametrize("record", [b"", b"\xff\x00", b"0" * 64, SHA256[:40].encode()])
def test_a_damaged_record_costs_no_good_file(server: Server, cache: Path, record: bytes) -> None:
    server.files["a.bin"] = CONTENT
    path = fetch(f"{server.url}/a.bin", "a.bin")
    (cache / "a.bin.sha256").write_bytes(record)
    if record == b"0" * 64:
        with pytest.warns(UserWarning, match="has another checksum"):
            fetch(f"{server.url}/a.bin", "a.bin")
    fetch(f"{server.url}/a.bin", "a.bin")
    assert path.read_bytes() == CONTENT
    assert (cache / "a.bin.sha256").read_text().strip() == SHA256
    assert len(server.requests) == 1 + (record == b"0" * 64)


def test_a_recorded_file_that_cannot_be_read_is_replaced(server: Server, cache: Path) -> None:
    """As an earlier version, which looked less closely, may have left it."""
    server.files["a.bin"] = b"not a table"
    fetch(f"{server.url}/a.bin", "a.bin")

    server.files["a.bin"] = CONTENT
    with pytest.warns(UserWarning, match="cannot be read"):
        assert fetch(f"{server.url}/a.bin", "a.bin", read_table) == CONTENT
    assert (cache / "a.bin.sha256").read_text().strip() == SHA256


@pytest.mark.parametrize(("limit", "value"), [("_MOST_BYTES", 1000), ("_MOST_SECONDS", -1.0)])
def test_a_download_without_end_is_broken_off(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    server.files["a.bin"] = CONTENT
    monkeypatch.setattr(_download, limit, value)
    with pytest.raises(ConnectionError, match=r"broken off after .* bytes: it is too large or too slow"):
        fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)
    assert files_below(cache) == []


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_a_file_that_points_to_others_is_refused(dlpfc_server: Server, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.ones(7, dtype=np.int32)
    with h5py.File(tmp_path / "counts.h5", "r+") as file:
        del file["matrix/data"]
        if kind == "link":
            file["matrix/data"] = h5py.ExternalLink(str(secret), "data")
        elif kind == "external":
            file.create_dataset("matrix/data", (7,), np.int32, external=[(str(secret), 0, 28)])
        else:
            layout = h5py.VirtualLayout((7,), np.int32)
            layout[:] = h5py.VirtualSource(str(secret), "data", shape=(7,))
            file.create_virtual_dataset("matrix/data", layout)
    dlpfc_server.files["h5/151507_filtered_feature_bc_matrix.h5"] = (tmp_path / "counts.h5").read_bytes()
    with pytest.raises(ValueError, match=r"not a 10x HDF5 file of counts: .*another file"):
        dlpfc("151507")


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "garbage": b"\x89HDF" + CONTENT, "cut": content[: len(content) // 2]}[how])


@pytest.mark.parametrize("how", ["empty", "garbage", "cut", "another tissue", "another slice"])
@pytest.mark.parametrize("name", ["dlpfc_151673.h5ad", "dlpfc_donor3.h5ad", "starmap_visual_cortex.h5ad"])
def test_a_wrong_file_in_the_data_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    adata = ad.AnnData(sparse.csr_matrix(np.ones((4, 2), dtype=np.float32)), obsm={"spatial": np.eye(4)[:, :2]})
    adata.obs["slice"] = pd.Categorical(["151674" if how == "another slice" else "A1"] * 4)
    adata.obs["domain"] = adata.obs["domain_banksy"] = pd.Categorical(["tumour", "stroma", "Layer_1", None])
    adata.write_h5ad(tmp_path / name)
    if how in ("empty", "garbage", "cut"):
        _damage(tmp_path / name, how)
    monkeypatch.setenv("SPOTSCAPE_DATA", str(tmp_path))
    load = starmap if "starmap" in name else partial(dlpfc, "151673" if "151673" in name else "151675")
    with pytest.raises(ValueError, match=f"{name} is not the expected file .*SPOTSCAPE_DATA names"):
        load()


def test_a_first_download_that_cannot_be_read_leaves_nothing_behind(server: Server, cache: Path) -> None:
    server.files["a.bin"] = b"half a tab"
    with pytest.raises(ValueError, match=r"gave something else than the expected file \(no table\)"):
        fetch(f"{server.url}/a.bin", "a.bin", read_table)
    assert files_below(cache) == []


def test_accepts_a_readable_file_put_there_by_hand_and_records_it(cache: Path) -> None:
    cache.mkdir()
    (cache / "a.bin").write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:1/a.bin", "a.bin", lambda path: path.read_bytes()) == CONTENT
    assert (cache / "a.bin.sha256").read_text().strip() == SHA256


def test_replaces_an_unreadable_file_put_there_by_hand(server: Server, cache: Path) -> None:
    server.files["a.bin"] = CONTENT
    cache.mkdir()
    (cache / "a.bin").write_bytes(b"half a tab")
    with pytest.warns(UserWarning, match="a.bin cannot be read .*downloading it again"):
        assert fetch(f"{server.url}/a.bin", "a.bin", read_table) == CONTENT


def test_an_unwritable_cache_names_the_setting(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    (tmp_path / "file").touch()
    with (
        sp.settings.override(datasetdir=tmp_path / "file"),
        pytest.raises(OSError, match=r"could not be written .*spotscape\.settings\.datasetdir"),
    ):
        fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)


def test_shows_progress_where_settings_say_so(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    level = pooch.get_logger().level
    server.files["a.bin"] = server.files["b.bin"] = CONTENT
    fetch(f"{server.url}/a.bin", "a.bin", sha256=SHA256)
    quiet = capsys.readouterr().err
    assert "%" not in quiet
    assert "Downloading data from" not in quiet
    with sp.settings.override(progress_bar=True):
        fetch(f"{server.url}/b.bin", "b.bin", sha256=SHA256)
    assert "100%" in capsys.readouterr().err
    assert pooch.get_logger().level == level


BARCODES = ["AAAC-1", "AAAG-1", "AAAT-1", "AACA-1", "AACC-1"]
COUNTS = np.array([[0, 3, 1], [2, 0, 0], [0, 0, 5], [1, 1, 1], [0, 7, 0]])


def write_10x(path: Path, barcodes: list[str], counts: np.ndarray) -> bytes:
    """A file in the layout of Cell Ranger 3: genes by barcodes in compressed columns."""
    matrix = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"] = matrix.data.astype(np.int32)
        group["indices"] = matrix.indices.astype(np.int64)
        group["indptr"] = matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        features = group.create_group("features")
        for key, values in {
            "id": ["ENSG1", "ENSG2", "ENSG3"],
            "name": ["MOBP", "TBCE", "TBCE"],
            "feature_type": ["Gene Expression"] * 3,
            "genome": ["GRCh38"] * 3,
        }.items():
            features[key] = np.array(values, dtype="S")
    return path.read_bytes()


def positions(barcodes: list[str]) -> bytes:
    rows = [f"{barcode},1,{i},{2 * i},{100 + i},{200 + i}" for i, barcode in enumerate(barcodes)]
    return "\n".join([*reversed(rows), "TTTT-1,0,9,9,900,900", ""]).encode()


@pytest.fixture
def dlpfc_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(_real, "_COUNTS_URL", f"{server.url}/h5")
    monkeypatch.setattr(_real, "_HUMAN_PILOT_URL", f"{server.url}/10X")
    for sample in ("151507", "151673"):
        counts = write_10x(tmp_path / "counts.h5", BARCODES, COUNTS)
        server.files[f"h5/{sample}_filtered_feature_bc_matrix.h5"] = counts
        server.files[f"10X/{sample}/tissue_positions_list.txt"] = positions(BARCODES)
    labels = [
        ("AAAC-1", "151507", "WM"),
        ("AAAG-1", "151507", "L2"),
        ("AACC-1", "151507", "L1"),
        ("AAAC-1", "151673", "L6"),
    ]
    server.files["10X/barcode_level_layer_map.tsv"] = "".join("\t".join(row) + "\n" for row in labels).encode()
    return server


def test_dlpfc_assembles_counts_positions_and_labels(dlpfc_server: Server, cache: Path) -> None:
    adata = dlpfc("151507")

    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert adata.obs_names.to_list() == BARCODES
    assert adata.var_names.is_unique
    assert adata.var["gene_ids"].to_list() == ["ENSG1", "ENSG2", "ENSG3"]
    np.testing.assert_array_equal(adata.obsm["spatial"], [[200 + i, 100 + i] for i in range(5)])
    assert adata.obsm["spatial"].dtype == np.float64
    assert adata.obs["domain"].cat.categories.to_list() == ["Layer_1", "Layer_2", "WM"]
    assert adata.obs["domain"].cat.codes.to_list() == [2, 1, -1, -1, 0]
    assert adata.obs["slice"].to_list() == ["151507"] * 5
    assert adata.obs["array_col"].to_list() == [0, 2, 4, 6, 8]
    assert adata.obs["sum_umi"].to_list() == [4, 2, 5, 3, 7]
    assert adata.obs["sum_gene"].to_list() == [2, 1, 1, 3, 1]
    assert "Maynard" in adata.uns["source"]["citation"]
    assert len(dlpfc_server.requests) == 3
    assert len(files_below(cache)) == 6

    dlpfc(151507)
    assert len(dlpfc_server.requests) == 3


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("format_", ["h5ad", "zarr"])
def test_dlpfc_joins_slices_and_survives_a_round_trip(dlpfc_server: Server, tmp_path: Path, format_: str) -> None:
    adata = dlpfc(["151673", "151507"])
    getattr(adata, f"write_{format_}")(tmp_path / "joint")
    restored = getattr(ad, f"read_{format_}")(tmp_path / "joint")

    assert adata.shape == (10, 3)
    assert adata.obs_names[5] == "AAAC-1_151507"
    assert adata.obs["slice"].cat.categories.to_list() == ["151673", "151507"]
    assert adata.obs["domain"].cat.categories.to_list() == ["Layer_1", "Layer_2", "Layer_6", "WM"]
    pd.testing.assert_frame_equal(adata.obs, restored.obs)
    assert set(restored.uns["source"]) == {"151673", "151507"}
    assert sum(name.endswith(".tsv") for name in dlpfc_server.requests) == 1


@pytest.mark.parametrize("sample", ["151500", ["151673", "151500"], []])
def test_dlpfc_lists_its_slices(sample: str | list[str]) -> None:
    listed = "151507, 151508, 151509, 151510, 151669, 151670, 151671, 151672, 151673, 151674, 151675, 151676"
    with pytest.raises(ValueError, match=f"is not among the 12 slices: {listed}"):
        dlpfc(sample)


def test_dlpfc_refuses_a_slice_twice() -> None:
    with pytest.raises(ValueError, match="names a slice more than once"):
        dlpfc(["151673", 151673])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h5/151507_filtered_feature_bc_matrix.h5", b"<html>", "not a 10x HDF5 file of counts"),
        ("10X/151507/tissue_positions_list.txt", b"a,b\n1,2\n", "a table with 2 instead of the columns"),
        ("10X/barcode_level_layer_map.tsv", b"AAAC-1\t151507\tL9\n", r"unknown layers \['L9'\]"),
        ("10X/151507/tissue_positions_list.txt", positions(BARCODES[1:]), "1 spots of slice 151507 have no position"),
        ("10X/151507/tissue_positions_list.txt", b"", "no table of text"),
        (
            "10X/151507/tissue_positions_list.txt",
            positions(BARCODES).replace(b"201", b"x"),
            "'pxl_col' holds '.*' where whole numbers are expected",
        ),
        (
            "10X/151507/tissue_positions_list.txt",
            positions([*BARCODES, "GGGG-1"]),
            "its 6 spots under tissue are not the 5 of slice 151507",
        ),
    ],
)
def test_dlpfc_refuses_other_files(dlpfc_server: Server, name: str, content: bytes, message: str) -> None:
    dlpfc_server.files[name] = content
    with pytest.raises(ValueError, match=message):
        dlpfc("151507")
    assert not any(name.endswith(".new") for name in files_below(sp.settings.datasetdir))


def test_dlpfc_reads_one_slice_of_the_prepared_file(
    dlpfc_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = dlpfc(["151507", "151673"])
    joint.obs["slice"] = joint.obs["slice"].cat.rename_categories({"151507": "151674", "151673": "151675"})
    joint.write_h5ad(tmp_path / "dlpfc_donor3.h5ad")
    monkeypatch.setenv("SPOTSCAPE_DATA", str(tmp_path))
    n_requests = len(dlpfc_server.requests)

    adata = dlpfc("151675")
    assert adata.obs_names.to_list() == BARCODES
    assert adata.obs["slice"].to_list() == ["151675"] * 5
    assert not adata.is_view
    assert len(dlpfc_server.requests) == n_requests
    dlpfc("151673")
    assert len(dlpfc_server.requests) == n_requests, "151673 is not in the folder, but cached already"


@pytest.fixture
def starmap_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    upstream = ad.AnnData(
        sparse.csc_matrix(np.arange(12, dtype=np.float32).reshape(4, 3)), obs=pd.DataFrame(index=list("0123"))
    )
    upstream.write_h5ad(tmp_path / "upstream.h5ad")
    table = ",cluster_name,x,y,smoothed_manual\n3,eL4,10.5,1.5,L4\n0,Oligo,20,2.5,cc\n2,eL4,30,3.5,L1\n"
    server.files = {
        _real._STARMAP_COUNTS: (tmp_path / "upstream.h5ad").read_bytes(),
        _real._STARMAP_ANNOTATION: table.encode(),
    }
    monkeypatch.setattr(_real, "_STARMAP_URL", server.url)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in server.files.items()}
    monkeypatch.setattr(_real, "_STARMAP_SHA256", sha256)
    return server


def test_starmap_joins_counts_and_annotation(starmap_server: Server, tmp_path: Path) -> None:
    adata = starmap()

    assert isinstance(adata.X, sparse.csr_matrix)
    np.testing.assert_array_equal(adata.X.toarray(), [[9, 10, 11], [0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(adata.obsm["spatial"], [[10.5, -1.5], [20, -2.5], [30, -3.5]])
    assert adata.obs["domain_banksy"].to_list() == ["L4", "cc", "L1"]
    assert adata.obs["domain_banksy"].cat.categories.to_list() == ["L1", "L4", "cc"]
    assert "domain" not in adata.obs
    assert adata.obs["cell_type"].to_list() == ["eL4", "Oligo", "eL4"]
    assert adata.obs["slice"].to_list() == ["BY3_1k"] * 3
    adata.write_h5ad(tmp_path / "again.h5ad")
    starmap()
    assert len(starmap_server.requests) == 2


def test_starmap_is_read_from_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = ad.AnnData(sparse.csr_matrix(np.ones((3, 2), dtype=np.float32)), obsm={"spatial": np.eye(3)[:, :2]})
    prepared.obs["domain"] = pd.Categorical(["CC", "L1", None])
    prepared.obs["domain_banksy"] = pd.Categorical(["cc", "L1", "L2/3"])
    prepared.write_h5ad(tmp_path / "starmap_visual_cortex.h5ad")
    monkeypatch.setenv("SPOTSCAPE_DATA", str(tmp_path))

    adata = starmap()
    assert adata.obs["domain"].cat.categories.to_list() == ["L1", "CC"]
    assert adata.obs["domain"].isna().to_list() == [False, False, True]
    assert adata.obs["domain_banksy"].cat.categories.to_list() == ["L1", "L2/3", "cc"]
