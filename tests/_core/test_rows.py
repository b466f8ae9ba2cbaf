"""Expression that is read by blocks of rows is the expression that lies there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import zarr
from anndata.experimental import read_elem_lazy
from anndata.io import sparse_dataset
from scipy import sparse

import spotscape as sp
from spotscape._core import reading, rows
from spotscape._core.rows import ChunkedMatrix, is_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

dask = pytest.importorskip("dask.array")
N_SPOTS = 50


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 16)


@pytest.fixture
def matrix() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((N_SPOTS, 8)) * (rng.random((N_SPOTS, 8)) < 0.4)).astype(np.float32)


def dense(part: Any) -> np.ndarray:
    return part.toarray() if sparse.issparse(part) else np.asarray(part)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, dask.from_array])
class TestRowSource:
    def test_blocks_put_together(self, storage: Any, matrix: np.ndarray) -> None:
        source = ChunkedMatrix(storage(matrix))
        assert source.shape == matrix.shape
        blocks = [dense(block) for block in source.blocks()]
        assert [len(block) for block in blocks] == [16, 16, 16, 2]
        np.testing.assert_array_equal(np.concatenate(blocks), matrix)

    @pytest.mark.parametrize("step", [1, 3, 7, 20])
    def test_every_so_many_rows(self, step: int, storage: Any, matrix: np.ndarray) -> None:
        np.testing.assert_array_equal(dense(ChunkedMatrix(storage(matrix)).every(step)), matrix[::step])

    def test_columns_and_changes(self, storage: Any, matrix: np.ndarray) -> None:
        kept = np.arange(8) % 2 == 0
        source = ChunkedMatrix(storage(matrix), columns=np.arange(1, 8), change=np.expm1).with_columns(kept[:7])
        np.testing.assert_array_equal(dense(source.in_memory()), np.expm1(matrix[:, 1::2]))

    def test_summary(self, storage: Any, matrix: np.ndarray) -> None:
        matrix[3, 2] = -2
        groups = np.arange(N_SPOTS) % 3
        summary = ChunkedMatrix(storage(matrix), groups=groups).summary
        assert (summary.least, summary.largest, summary.n_broken, summary.whole) == (-2, matrix.max(), 0, False)
        np.testing.assert_allclose(summary.row_sums, matrix.sum(1), rtol=1e-5)
        np.testing.assert_allclose(summary.column_sums, matrix.sum(0), rtol=1e-5)
        for group in range(3):
            np.testing.assert_array_equal(summary.detected[group], (matrix[groups == group] > 0).sum(0))

    def test_broken_and_whole_values_are_seen(self, storage: Any, matrix: np.ndarray) -> None:
        assert ChunkedMatrix(storage(np.ceil(3 * matrix))).summary.whole
        matrix[5, 5] = np.nan
        matrix[40, 1] = np.inf
        assert ChunkedMatrix(storage(matrix)).summary.n_broken == 2


def stored_copies(adata: ad.AnnData, folder: Path) -> dict[str, ad.AnnData]:
    """The same tissue in files and as dask arrays."""
    adata.write_h5ad(folder / "a.h5ad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Writing zarr v2 data")
        adata.write_zarr(folder / "a.zarr")
    lazy, in_zarr, in_dask = adata.copy(), adata.copy(), adata.copy()
    group = zarr.open(folder / "a.zarr", mode="r")["X"]
    lazy.X, in_zarr.X = read_elem_lazy(group), sparse_dataset(group)
    in_dask.layers["lazy"] = dask.from_array(adata.X.toarray(), chunks=(100, -1))
    return {"h5ad": ad.read_h5ad(folder / "a.h5ad", backed="r"), "zarr": in_zarr, "lazy": lazy, "dask": in_dask}


@pytest.fixture
def tissue() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=150, n_genes=100, n_domains=3, n_slices=2)
    sp.pp.prepare(adata, n_top_genes=60, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


@pytest.mark.parametrize(
    "tool",
    [sp.tl.spotscape, pytest.param(sp.tl.spacross, marks=pytest.mark.slow), sp.tl.smoothed_pca],
    ids=lambda tool: tool.__name__,
)
def test_tools_read_by_blocks_and_give_the_same_bits(
    tool: Callable[..., Any], tissue: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(_matrix: object) -> None:
        msg = "read whole"
        raise AssertionError(msg)

    options: dict[str, Any] = {"key_added": "X_found", "library_key": "slice"}
    if tool is not sp.tl.smoothed_pca:
        options |= {"max_epochs": 1, "n_encoders": 1}
    copies = stored_copies(tissue, tmp_path)
    tissue.layers["lazy"] = tissue.X.toarray()
    tool(tissue, **options)
    expected = {"X": tissue.obsm["X_found"].tobytes()}
    tool(tissue, layer="lazy", **options)
    expected["lazy"] = tissue.obsm["X_found"].tobytes()
    monkeypatch.setattr(reading, "in_memory", give_up)
    for name, adata in copies.items():
        layer = "lazy" if name == "dask" else None
        tool(adata, layer=layer, **options)
        assert np.asarray(adata.obsm["X_found"]).tobytes() == expected[layer or "X"], name
    copies["h5ad"].file.close()


@pytest.mark.slow
def test_genes_that_a_slice_lacks_are_left_out(
    tissue: ad.AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = (tissue.obs["slice"] == tissue.obs["slice"].iloc[0]).to_numpy()
    values = tissue.X.toarray()
    values[np.ix_(first, np.flatnonzero(tissue.var["highly_variable"])[:5])] = 0
    tissue.X = sparse.csr_matrix(values)
    backed = stored_copies(tissue, tmp_path)["h5ad"]
    sp.tl.smoothed_pca(tissue, library_key="slice")
    expected = caplog.text
    caplog.clear()
    sp.tl.smoothed_pca(backed, library_key="slice")
    assert "that all slices share" in expected
    assert caplog.text.splitlines()[0] == expected.splitlines()[0]
    np.testing.assert_array_equal(backed.obsm["X_smoothed_pca"], tissue.obsm["X_smoothed_pca"])
    backed.file.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.where(x > 0, np.nan, x), "NaN or infinite"),
        (lambda x: -x, "negative values"),
        (np.ceil, "looks like raw counts"),
        (np.zeros_like, r"adata.X is zero throughout the .* genes that are used"),
        (lambda x: np.full_like(x, 0.5), "all genes are constant in adata.X"),
    ],
)
def test_what_cannot_be_used_is_refused(change: Any, message: str, tissue: ad.AnnData) -> None:
    values = change(2 * tissue.X.toarray()).astype(np.float32)
    tissue.X = dask.from_array(values)
    with pytest.raises(ValueError, match=message):
        sp.tl.smoothed_pca(tissue, mask_var=None)


def test_decoded_expression_of_a_stored_matrix(tissue: ad.AnnData) -> None:
    options = {"max_epochs": 2, "decoded_layer": "decoded"}
    lazy = tissue.copy()
    tissue.X = tissue.X.toarray()
    lazy.X = dask.from_array(tissue.X)
    sp.tl.spotscape(tissue, **options)
    sp.tl.spotscape(lazy, **options)
    np.testing.assert_array_equal(lazy.layers["decoded"], tissue.layers["decoded"])


def test_a_checkpoint_belongs_to_what_is_stored(tissue: ad.AnnData, tmp_path: Path) -> None:
    options = {"max_epochs": 2, "checkpoint": tmp_path / "training.pt"}
    tissue.X = dask.from_array(tissue.X.toarray())
    sp.tl.spotscape(tissue, **options)
    sp.tl.spotscape(tissue, **options)
    tissue.X = tissue.X * 1.01
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        sp.tl.spotscape(tissue, **options)


def test_what_is_stored(matrix: np.ndarray, tmp_path: Path) -> None:
    assert not is_stored(matrix)
    assert not is_stored(sparse.csr_array(matrix))
    assert is_stored(dask.from_array(matrix))
    for kind, expected in ((sparse.csr_matrix, True), (sparse.csc_matrix, False), (np.asarray, True)):
        ad.AnnData(kind(matrix)).write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        assert is_stored(backed.X) is expected
        backed.file.close()
