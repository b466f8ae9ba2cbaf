from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def counts(n_obs: int = 80, n_vars: int = 120, seed: int = 0, depth: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, depth, n_vars) * rng.lognormal(0, 0.3, (n_obs, 1))
    drawn = rng.negative_binomial(2, 2 / (2 + rate))
    drawn[np.arange(n_obs), np.arange(n_obs) % n_vars] += 1
    drawn[np.arange(n_vars) % n_obs, np.arange(n_vars)] += 1
    return drawn


def tissue(matrix: object) -> ad.AnnData:
    adata = ad.AnnData(matrix)
    adata.obs["lib"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    return adata


def dense(matrix: object) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


CONTAINERS = {
    "dense_int": lambda c: c.astype(np.int64),
    "dense_f32": lambda c: c.astype(np.float32),
    "dense_f64": lambda c: c.astype(np.float64),
    "csr_f32": lambda c: sparse.csr_matrix(c.astype(np.float32)),
    "csr_int": lambda c: sparse.csr_matrix(c.astype(np.int32)),
    "csr_array": lambda c: sparse.csr_array(c.astype(np.float32)),
    "csc_f32": lambda c: sparse.csc_matrix(c.astype(np.float32)),
}


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
def test_recipe_in_every_container(make: Callable[[np.ndarray], Any]) -> None:
    raw = counts()
    adata = tissue(make(raw))
    sp.pp.prepare(adata, n_top_genes=30)
    expected = np.log1p(raw / raw.sum(1, keepdims=True) * 1e4)
    assert np.allclose(dense(adata.X), expected, rtol=1e-5)
    assert adata.X.dtype == (np.float64 if make(raw).dtype == np.float64 else np.float32)
    assert type(adata.X) is (sparse.csr_matrix if sparse.issparse(make(raw)) else np.ndarray)
    assert type(adata.layers["counts"]) is type(make(raw))
    assert np.array_equal(dense(adata.layers["counts"]), raw)
    assert adata.layers["counts"].dtype == make(raw).dtype
    reference = tissue(raw.astype(np.float64))
    sp.pp.prepare(reference, n_top_genes=30)
    assert adata.var["highly_variable"].equals(reference.var["highly_variable"])


def test_normalises_over_all_genes_not_the_chosen() -> None:
    adata = tissue(counts().astype(np.float32))
    sp.pp.prepare(adata, n_top_genes=10, target_sum=100)
    assert np.allclose(np.expm1(adata.X).sum(1), 100, rtol=1e-4)
    assert np.expm1(adata[:, adata.var["highly_variable"]].X).sum(1).max() < 99


def test_median_target() -> None:
    raw = counts()
    adata = tissue(raw.astype(np.float32))
    sp.pp.prepare(adata, target_sum=None)
    assert np.allclose(np.expm1(adata.X).sum(1), np.median(raw.sum(1)), rtol=1e-4)


@pytest.mark.parametrize("library_key", [None, "lib"])
def test_genes_are_scanpys_on_counts_with_the_slice_as_batch(library_key: str | None) -> None:
    import scanpy as sc

    adata = tissue(counts().astype(np.float32))
    expected = sc.pp.highly_variable_genes(
        adata, n_top_genes=30, flavor="seurat_v3", batch_key=library_key, inplace=False
    )
    sp.pp.prepare(adata, n_top_genes=30, library_key=library_key)
    for name in ("highly_variable", "highly_variable_rank", "means", "variances", "variances_norm"):
        assert np.array_equal(adata.var[name], expected[name], equal_nan=True)
    assert ("highly_variable_nbatches" in adata.var) == (library_key is not None)
    assert adata.var["highly_variable"].sum() == 30
    assert adata.uns["prepare"]["params"]["library_key"] == library_key
    assert adata.uns["prepare"]["flavor"] == "seurat_v3"


def test_a_difference_between_slices_makes_no_gene_variable() -> None:
    raw = counts(200, 150)
    raw[::2, 3] = 0
    raw[1::2, 3] = 8
    raw[0, 3] = raw[1, 3] = 4
    together, apart = tissue(raw.astype(np.float32)), tissue(raw.astype(np.float32))
    sp.pp.prepare(together, n_top_genes=30)
    sp.pp.prepare(apart, n_top_genes=30, library_key="lib")
    assert together.var["highly_variable"].iloc[3]
    assert not apart.var["highly_variable"].iloc[3]


@pytest.mark.parametrize("n_top_genes", [120, 5000, None])
def test_all_genes_where_there_are_not_more(n_top_genes: Any, caplog: pytest.LogCaptureFixture) -> None:
    adata = tissue(counts().astype(np.float32))
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata, n_top_genes=n_top_genes)
    assert adata.var["highly_variable"].all()
    assert "All 120 genes are marked" in caplog.text


def test_says_what_it_did_in_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(tissue(counts()), n_top_genes=30, library_key="lib")
    genes, values = [record.getMessage() for record in caplog.records]
    assert genes == "30 of 120 genes are marked as highly variable (seurat_v3, within the 2 slices of obs['lib'])."
    assert "log1p of counts scaled to 10000" in values


def test_copy_leaves_the_original() -> None:
    adata = tissue(counts().astype(np.float32))
    before = adata.copy()
    result = sp.pp.prepare(adata, n_top_genes=30, copy=True)
    assert np.array_equal(adata.X, before.X)
    assert not adata.layers
    assert not adata.uns
    assert list(adata.var) == []
    in_place = adata.copy()
    assert sp.pp.prepare(in_place, n_top_genes=30) is None
    assert np.array_equal(result.X, in_place.X)
    result.layers["counts"][0] = -1
    assert np.array_equal(adata.X, before.X)


def test_layer() -> None:
    raw = counts().astype(np.float32)
    adata = tissue(np.full_like(raw, 0.5))
    adata.layers["raw"] = raw
    sp.pp.prepare(adata, layer="raw", n_top_genes=30)
    assert np.array_equal(adata.layers["counts"], raw)
    assert adata.layers["counts"] is not adata.layers["raw"]
    first = adata.X.copy()
    sp.pp.prepare(adata, layer="counts", n_top_genes=30)
    assert np.array_equal(adata.X, first)


@pytest.mark.filterwarnings("ignore:Trying to modify attribute")
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_a_view_becomes_its_own_and_spares_its_parent(make: Callable[[np.ndarray], Any], tmp_path: Path) -> None:
    parent = tissue(make(counts(160).astype(np.float32)))
    before = dense(parent.X).copy()
    view = parent[:80]
    sp.pp.prepare(view, n_top_genes=30)
    assert not view.is_view
    assert np.array_equal(dense(parent.X), before)
    assert np.array_equal(dense(view.layers["counts"]), before[:80])
    assert dense(view.X).max() < 10
    view.write_h5ad(tmp_path / "view.h5ad")


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("n_top_genes", [30, None])
@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_round_trip(tmp_path: Path, suffix: str, n_top_genes: Any) -> None:
    adata = tissue(sparse.csr_matrix(counts().astype(np.float32)))
    sp.pp.prepare(adata, n_top_genes=n_top_genes, library_key="lib")
    path = tmp_path / f"tissue.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = ad.read_h5ad(path) if suffix == "h5ad" else ad.read_zarr(path)
    assert np.array_equal(dense(back.X), dense(adata.X))
    assert np.array_equal(dense(back.layers["counts"]), dense(adata.layers["counts"]))
    pd.testing.assert_frame_equal(back.var, adata.var)
    assert back.uns["prepare"]["params"]["n_top_genes"] == n_top_genes
    assert back.uns["prepare"]["version"] == sp.__version__


def test_chains_with_scanpys_pca() -> None:
    import scanpy as sc

    adata = tissue(counts().astype(np.float32))
    sp.pp.prepare(adata, n_top_genes=30)
    sc.pp.pca(adata, n_comps=5)
    assert not adata.varm["PCs"][~adata.var["highly_variable"].to_numpy()].any()


@pytest.mark.filterwarnings("error")
def test_few_counts_are_fitted_with_a_wider_window() -> None:
    # Two slices of 100 spots at this depth make the loess fit singular at scanpy's span of .3.
    raw = counts(200, 300, depth=0.05)
    adata = tissue(sparse.csr_matrix(raw.astype(np.float32)))
    sp.pp.prepare(adata, n_top_genes=100, library_key="lib")
    assert adata.var["highly_variable"].sum() == 100
    assert adata.uns["prepare"]["flavor"] == "seurat_v3"
    assert adata.uns["prepare"]["span"] > 0.3


@pytest.mark.parametrize("n_vars", [3, 8, 60])
@pytest.mark.parametrize("library_key", [None, "lib"])
def test_genes_that_no_window_fits_are_ranked_by_dispersion(
    tmp_path: Path, n_vars: int, library_key: str | None
) -> None:
    # Every gene has the same mean and variance but one; with few genes scikit-misc would crash the interpreter.
    raw = np.tile(np.eye(n_vars, dtype=int), (4, 1))
    raw[:, 1] += np.random.default_rng(0).poisson(3, len(raw))
    adata = tissue(raw.astype(np.float32))
    with pytest.warns(UserWarning, match=r"n_top_genes=2 are ranked by dispersion \(flavor='seurat'\)"):
        sp.pp.prepare(adata, n_top_genes=2, library_key=library_key)
    assert adata.var["highly_variable"].sum() == 2
    assert adata.uns["prepare"]["flavor"] == adata.uns["hvg"]["flavor"] == "seurat"
    adata.write_h5ad(tmp_path / "tissue.h5ad")


class TestErrors:
    @pytest.fixture
    def adata(self) -> ad.AnnData:
        return tissue(sparse.csr_matrix(counts().astype(np.float32)))

    def refuses(self, adata: ad.AnnData, error: type[Exception], match: str, **kwargs: object) -> None:
        before = adata.copy()
        with pytest.raises(error, match=match):
            sp.pp.prepare(adata, **{"n_top_genes": 30, **kwargs})
        assert np.array_equal(dense(adata.X), dense(before.X), equal_nan=True)
        assert list(adata.layers) == list(before.layers)
        assert list(adata.var) == list(before.var)
        assert adata.uns == before.uns

    def test_fractions(self, adata: ad.AnnData) -> None:
        adata.X = adata.X * 1000.5
        self.refuses(adata, ValueError, r"adata.X is not raw counts: it holds fractions \(for example \d+\.5\)")

    def test_logarithms(self, adata: ad.AnnData) -> None:
        adata.X = adata.X.log1p()
        self.refuses(adata, ValueError, "it looks log-normalised already .* put the counts in X or name the layer")

    def test_twice(self, adata: ad.AnnData) -> None:
        sp.pp.prepare(adata, n_top_genes=30)
        self.refuses(adata, ValueError, r"layers\['counts'\] exists: sp.pp.prepare\(adata, layer='counts'\)")

    def test_other_counts_in_the_way(self, adata: ad.AnnData) -> None:
        adata.layers["counts"] = adata.X * 2
        self.refuses(adata, ValueError, r"adata.layers\['counts'\] exists and is not what adata.X holds")
        adata.layers["counts"] = dense(adata.X)
        sp.pp.prepare(adata, n_top_genes=30)

    @pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
    @pytest.mark.parametrize(
        ("value", "match"),
        [
            (np.nan, "adata.X has 1 NaN or infinite"),
            (np.inf, "1 NaN or infinite"),
            (-2, r"negative values \(minimum -2\)"),
        ],
    )
    def test_broken_values(self, make: Callable[[np.ndarray], Any], value: Any, match: str) -> None:
        raw = counts().astype(np.float32)
        raw[3, 4] = value
        self.refuses(tissue(make(raw)), ValueError, match)

    def test_only_zeros(self) -> None:
        self.refuses(tissue(np.zeros((10, 20), np.float32)), ValueError, "adata.X holds nothing but zeros")
        self.refuses(tissue(sparse.csr_matrix((10, 20), dtype=np.float32)), ValueError, "nothing but zeros")

    def test_empty_spots(self, adata: ad.AnnData) -> None:
        raw = dense(adata.X)
        raw[[2, 5]] = 0
        adata = tissue(sparse.csr_matrix(raw))
        match = r"adata.X has 2 of 80 spots without a single count \(first: '2'\).*filter_cells\(adata, min_counts=1\)"
        self.refuses(adata, ValueError, match)

    def test_empty_genes(self, adata: ad.AnnData) -> None:
        raw = dense(adata.X)
        raw[:, [7]] = 0
        match = r"adata.X has 1 of 120 genes without a single count \(first: '7'\).*filter_genes\(adata, min_counts=1\)"
        self.refuses(tissue(raw), ValueError, match)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_the_call_that_mends_an_empty_layer_does(self, adata: ad.AnnData, axis: int) -> None:
        raw = dense(adata.X)
        raw[(slice(None), 3) if axis else 3] = 0
        adata.layers["raw"] = raw
        with pytest.raises(ValueError, match="remove them: adata = ") as caught:
            sp.pp.prepare(adata, layer="raw", n_top_genes=30)
        names = {"adata": adata, "np": np}
        exec(str(caught.value).split("remove them: ")[1].rstrip("."), names)
        sp.pp.prepare(names["adata"], layer="raw", n_top_genes=30)

    def test_nothing(self, adata: ad.AnnData) -> None:
        self.refuses(adata[:0].copy(), ValueError, "0 spots and 120 genes")
        self.refuses(adata[:, :0].copy(), ValueError, "80 spots and 0 genes")

    @pytest.mark.filterwarnings("ignore")
    def test_names(self, adata: ad.AnnData) -> None:
        adata.var_names = ["x", "x", *adata.var_names[2:]]
        self.refuses(adata, ValueError, r"var_names are not unique.*var_names_make_unique\(\)")

    def test_keys(self, adata: ad.AnnData) -> None:
        self.refuses(adata, KeyError, "'no' not found in adata.layers, which has: nothing", layer="no")
        self.refuses(adata, KeyError, "'no' not found in adata.obs, which has: 'lib'", library_key="no")
        adata.obs["text"] = "x"
        self.refuses(adata, TypeError, "expected category", library_key="text")

    @pytest.mark.parametrize("target_sum", [0, -1.0, np.nan, np.inf])
    def test_target_sum(self, adata: ad.AnnData, target_sum: Any) -> None:
        self.refuses(adata, ValueError, "must be a positive number, or None", target_sum=target_sum)

    def test_n_top_genes(self, adata: ad.AnnData) -> None:
        self.refuses(adata, ValueError, "n_top_genes=0 must be at least 1", n_top_genes=0)
        self.refuses(adata, TypeError, "n_top_genes must be an integer", n_top_genes=30.0)

    def test_slice_of_one_spot(self, adata: ad.AnnData) -> None:
        adata.obs["lib"] = pd.Categorical(["lonely", *["b"] * 79])
        self.refuses(adata, ValueError, "slice 'lonely' has 1 spot; no variance", library_key="lib")

    def test_no_matrix(self) -> None:
        adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=["g"]))
        with pytest.raises(ValueError, match=r"adata\.X is None; put the counts there"):
            sp.pp.prepare(adata)

    def test_dtype(self) -> None:
        with pytest.raises(TypeError, match=r"adata\.X has dtype complex128; expected whole numbers"):
            sp.pp.prepare(ad.AnnData(np.ones((4, 3), complex)))

    def test_backed(self, adata: ad.AnnData, tmp_path: Path) -> None:
        adata.write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        with pytest.raises(ValueError, match=r"load it first: adata = adata.to_memory\(\)"):
            sp.pp.prepare(backed)
        backed.file.close()

    def test_other_containers(self, adata: ad.AnnData) -> None:
        dask = pytest.importorskip("dask.array")
        adata.layers["lazy"] = dask.ones(adata.shape)
        with pytest.raises(TypeError, match=r"adata.layers\['lazy'\] is a Array; expected a NumPy array or a SciPy"):
            sp.pp.prepare(adata, layer="lazy")


def test_the_threads_of_torch_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What numba does to the OpenMP library that it shares with torch, on any machine: another number of threads."""
    before = torch.get_num_threads()
    log1p = sc.pp.log1p

    def disturbing(scratch: ad.AnnData) -> None:
        torch.set_num_threads(before + 1)
        log1p(scratch)

    monkeypatch.setattr(sc.pp, "log1p", disturbing)
    try:
        sp.pp.prepare(sp.datasets.simulate_tissue(n_spots=200, n_genes=60, n_domains=3))
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
