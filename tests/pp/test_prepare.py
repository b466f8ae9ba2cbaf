from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
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


def two_panels(n_shared: int) -> ad.AnnData:
    """Two slices joined with ``join="outer"``, of which the second has measured the first ``n_shared`` genes only."""
    adata = tissue(np.random.default_rng(0).poisson(np.geomspace(0.5, 5, 120), (80, 120)).astype(np.float32))
    parts = [adata[adata.obs["lib"] == name].copy() for name in "ab"]
    joined = ad.concat([parts[0], parts[1][:, :n_shared].copy()], join="outer", merge="first", fill_value=0)
    return joined[:, adata.var_names].copy()


def test_slices_of_two_panels_are_normalised_by_the_genes_of_both(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outer = two_panels(30)
    inner = outer[:, :30].copy()
    for adata in (outer, inner):
        with caplog.at_level(logging.INFO, logger="spotscape"):
            sp.pp.prepare(adata, library_key="lib")
    assert np.allclose(dense(outer[:, :30].X), dense(inner.X))
    assert not outer.var["highly_variable"].to_numpy()[30:].any()
    assert sum("normalised by the 30 genes that all have" in record.message for record in caplog.records) == 1


def test_a_few_genes_that_a_slice_lacks_leave_totals_as_they_are() -> None:
    adata = two_panels(118)
    sp.pp.prepare(adata, library_key="lib")
    assert not adata.var["highly_variable"].to_numpy()[118:].any()
    assert np.allclose(np.expm1(dense(adata.X)).sum(1), 1e4, rtol=1e-4)


@pytest.mark.parametrize("known", [True, False])
def test_slices_normalised_over_other_genes_are_told(known: bool, recwarn: pytest.WarningsRecorder) -> None:
    adata = two_panels(30)
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(size=(adata.n_obs, 2))
    sp.pp.prepare(adata, library_key="lib" if known else None)
    sp.tl.smoothed_pca(adata, library_key="lib", mask_var=None)
    adata.obs["domain"] = ["0", "0", "1", "1"] * (adata.n_obs // 4)
    sp.tl.markers(adata, key="domain", library_key="lib", method="wilcoxon")
    told = [str(entry.message) for entry in recwarn if "Normalise by the shared genes" in str(entry.message)]
    assert len(told) == (0 if known else 2)
    assert known or "a spot of 'b' has" in told[0]


def test_median_target() -> None:
    raw = counts()
    adata = tissue(raw.astype(np.float32))
    sp.pp.prepare(adata, target_sum=None)
    assert np.allclose(np.expm1(adata.X).sum(1), np.median(raw.sum(1)), rtol=1e-4)


@pytest.mark.parametrize("library_key", [None, "lib"])
def test_genes_are_scanpys_on_counts_with_the_slice_as_batch(library_key: str | None) -> None:
    import scanpy as sc

    adata = tissue(counts().astype(np.float32))
    recipe = {"n_top_genes": 30, "flavor": "seurat_v3", "inplace": False}
    expected = sc.pp.highly_variable_genes(adata, batch_key=library_key, **recipe)
    # Scanpy 1.12 has another variance of a slice (by up to 1.6 %) where it gets several at once, so it gets one by one.
    slices = [adata] if library_key is None else [adata[adata.obs["lib"] == name].copy() for name in ("a", "b")]
    each = [sc.pp.highly_variable_genes(one, **recipe) for one in slices]
    expected["variances_norm"] = np.mean([one["variances_norm"] for one in each], axis=0)
    expected["highly_variable_rank"] = pd.concat([one["highly_variable_rank"] for one in each], axis=1).median(axis=1)
    sp.pp.prepare(adata, n_top_genes=30, library_key=library_key)
    for name in ("highly_variable", "highly_variable_rank"):
        assert np.array_equal(adata.var[name], expected[name], equal_nan=True)
    for name in ("means", "variances", "variances_norm"):
        assert np.allclose(adata.var[name], expected[name], rtol=1e-9, atol=0)
    assert ("highly_variable_nbatches" in adata.var) == (library_key is not None)
    assert adata.var["highly_variable"].sum() == 30
    assert adata.uns["prepare"]["params"].get("library_key") == library_key
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
    sp.pp.prepare(adata, recipe="spacross", n_top_genes=n_top_genes, log1p=False, library_key="lib")
    path = tmp_path / f"tissue.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = ad.read_h5ad(path) if suffix == "h5ad" else ad.read_zarr(path)
    assert np.array_equal(dense(back.X), dense(adata.X))
    assert np.array_equal(dense(back.layers["counts"]), dense(adata.layers["counts"]))
    pd.testing.assert_frame_equal(back.var, adata.var)
    number = {} if n_top_genes is None else {"n_top_genes": n_top_genes}
    limits = {"recipe": "spacross", "min_cells": 4, "min_counts": 10, "log1p": False, "keep_controls": False}
    assert back.uns["prepare"]["params"] == number | limits | {"library_key": "lib", "target_sum": 1e4}
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
def test_genes_that_no_window_fits_are_ranked_by_variance_over_mean(
    tmp_path: Path, n_vars: int, library_key: str | None
) -> None:
    # Every gene has the same mean and variance but one; with few genes scikit-misc would crash the interpreter.
    raw = np.tile(np.eye(n_vars, dtype=int), (4, 1))
    raw[:, 1] += 2 * np.random.default_rng(0).poisson(3, len(raw))
    adata = tissue(raw.astype(np.float32))
    with pytest.warns(UserWarning, match="n_top_genes=2 are ranked by variance over mean"):
        sp.pp.prepare(adata, n_top_genes=2, library_key=library_key)
    assert adata.var["highly_variable"].sum() == 2
    assert adata.uns["prepare"]["flavor"] == adata.uns["hvg"]["flavor"] == "dispersion"
    assert adata.var["highly_variable"].iloc[1]
    adata.write_h5ad(tmp_path / "tissue.h5ad")


def rare_genes(n_obs: int = 1200, n_vars: int = 90) -> np.ndarray:
    """Counts of which the last three genes miss SpaCross's limits: 49 spots; 9 counts (and 9 spots); 50 of both."""
    raw = counts(n_obs, n_vars)
    raw[:, -3:] = 0
    raw[:49, -3] = 7
    raw[:9, -2] = 1
    raw[:50, -1] = 1
    return raw


class TestSpaCrossRecipe:
    @pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix], ids=["dense", "csr", "csc"])
    @pytest.mark.parametrize("log1p", [True, False])
    @pytest.mark.parametrize("library_key", [None, "lib"])
    def test_equals_the_pipeline_made_by_hand(
        self, make: Callable[[np.ndarray], Any], *, log1p: bool, library_key: str | None
    ) -> None:
        raw = rare_genes().astype(np.float32)
        adata = tissue(make(raw))
        sp.pp.prepare(adata, recipe="spacross", n_top_genes=40, log1p=log1p, library_key=library_key)

        values = tissue(raw.copy())
        sc.pp.normalize_total(values, target_sum=1e4)
        if log1p:
            sc.pp.log1p(values)
        by_hand = tissue(raw.copy())
        sc.pp.filter_genes(by_hand, min_cells=50)
        sc.pp.filter_genes(by_hand, min_counts=10)
        sc.pp.highly_variable_genes(by_hand, n_top_genes=40, flavor="seurat_v3", batch_key=library_key)

        assert by_hand.n_vars < adata.n_vars
        assert np.allclose(dense(adata.X), values.X, rtol=1e-6)
        chosen = by_hand.var["highly_variable"]
        assert adata.var["highly_variable"].dtype == bool
        assert adata.var_names[adata.var["highly_variable"]].equals(by_hand.var_names[chosen])
        outside = ~adata.var_names.isin(by_hand.var_names)
        for name in ("highly_variable_rank", "means", "variances", "variances_norm"):
            measured = adata.var[name]
            assert measured[outside].isna().all()
            assert np.allclose(measured[~outside], by_hand.var[name], rtol=1e-6, equal_nan=True)
        assert ("highly_variable_nbatches" in adata.var) == (library_key is not None)

    def test_limits_include_their_bounds_and_drop_no_gene(self) -> None:
        raw = rare_genes()
        adata = tissue(raw)
        sp.pp.prepare(adata, recipe="spacross")
        assert adata.shape == raw.shape
        assert adata.var["highly_variable"].tolist()[-3:] == [False, False, True]
        assert adata.var["highly_variable"].to_list() == list(((raw > 0).sum(0) >= 50) & (raw.sum(0) >= 10))
        assert dense(adata.X)[:, -3:].any(axis=0).all()

    def test_slices_meet_the_limits_together(self) -> None:
        raw = rare_genes()
        raw[:, -1] = 0
        raw[:25, -1] = raw[-25:, -1] = 1
        adata = tissue(raw)
        adata.obs["lib"] = pd.Categorical(np.where(np.arange(len(raw)) < 600, "a", "b"))
        sp.pp.prepare(adata, recipe="spacross", library_key="lib")
        assert adata.var["highly_variable"].iloc[-1]

    @pytest.mark.parametrize(("recipe", "n_top_genes"), [("spotscape", 5000), ("spacross", 2000)])
    def test_the_number_of_genes_is_the_recipes(self, recipe: Any, n_top_genes: int) -> None:
        adata = tissue(sparse.csr_matrix(counts(60, 5010).astype(np.float32)))
        sp.pp.prepare(adata, recipe=recipe)
        assert adata.var["highly_variable"].sum() == n_top_genes
        assert adata.uns["prepare"]["params"].get("n_top_genes") == n_top_genes

    def test_all_genes_within_the_limits(self) -> None:
        adata = tissue(rare_genes())
        sp.pp.prepare(adata, recipe="spacross", n_top_genes=None)
        n_candidates = adata.uns["prepare"]["n_candidates"]
        assert adata.var["highly_variable"].sum() == n_candidates < adata.n_vars
        assert "flavor" not in adata.uns["prepare"]

    def test_says_what_it_did(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue(rare_genes())
        with caplog.at_level(logging.INFO, logger="spotscape"):
            sp.pp.prepare(adata, recipe="spacross", n_top_genes=30, log1p=False)
        limits, genes, values = [record.getMessage() for record in caplog.records]
        n = adata.uns["prepare"]["n_candidates"]
        words = f"seen in at least 50 of 1,200 spots with at least 10 counts in all: {n} of 90"
        assert limits == f"Genes {words}; the others are not marked."
        assert genes == f"30 of {n} genes are marked as highly variable (seurat_v3)."
        assert "is now counts, without logarithm, scaled to 10000;" in values

    @pytest.mark.parametrize(
        ("n_obs", "min_cells", "expected"),
        [(40, None, 2), (10, None, 1), (998, None, 49), (1000, None, 50), (40, 7, 7)],
    )
    def test_a_small_tissue_lowers_the_recipes_limit_only(
        self, n_obs: int, min_cells: int | None, expected: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        adata = tissue(counts(n_obs, 30, depth=9.0))
        with caplog.at_level(logging.INFO, logger="spotscape"):
            sp.pp.prepare(adata, recipe="spacross", min_cells=min_cells, min_counts=0)
        assert adata.uns["prepare"]["params"]["min_cells"] == expected
        said = f"min_cells is lowered from 50 to {expected}, one twentieth of the {n_obs:,} spots."
        assert (said in caplog.text) == (min_cells is None and expected < 50)

    def test_warns_where_few_genes_are_left(self) -> None:
        raw = rare_genes()
        twentieth = int(np.sort((raw > 0).sum(0))[-20])
        with pytest.warns(UserWarning, match=rf"at least {twentieth:,} of 1,200 spots .* in all: \d+ of 90") as caught:
            sp.pp.prepare(tissue(raw), recipe="spacross", min_cells=twentieth)
        assert caught[0].filename == __file__

    def test_limits_serve_the_other_recipe_too(self) -> None:
        raw = rare_genes()
        adata = tissue(raw)
        sp.pp.prepare(adata, min_counts=10)
        assert adata.var["highly_variable"].to_list() == list(raw.sum(0) >= 10)


class TestWhatIsNoLongerTrueGoes:
    def test_of_the_logarithm(self) -> None:
        adata = tissue(counts().astype(np.float32))
        sp.pp.prepare(adata)
        assert adata.uns["log1p"] == {}
        sp.pp.prepare(adata, layer="counts", log1p=False)
        assert "log1p" not in adata.uns

    def test_of_the_ranking(self) -> None:
        adata = tissue(counts().astype(np.float32))
        adata.var["variances_of_mine"] = 1.0
        sp.pp.prepare(adata, n_top_genes=30, library_key="lib")
        sp.pp.prepare(adata, n_top_genes=30, layer="counts")
        assert "highly_variable_nbatches" not in adata.var
        sp.pp.prepare(adata, layer="counts")
        assert list(adata.var) == ["variances_of_mine", "highly_variable"]
        assert "hvg" not in adata.uns

    def test_but_nothing_that_others_left(self) -> None:
        adata = tissue(counts().astype(np.float32))
        adata.var["means"] = 1.0
        sp.pp.prepare(adata)
        assert list(adata.var) == ["means", "highly_variable"]


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
            (-2, r"negative values \(minimum -2\), as scaled or corrected"),
        ],
    )
    def test_broken_values(self, make: Callable[[np.ndarray], Any], value: Any, match: str) -> None:
        raw = counts().astype(np.float32)
        raw[3, 4] = value
        self.refuses(tissue(make(raw)), ValueError, match)

    def test_only_zeros(self) -> None:
        self.refuses(tissue(np.zeros((10, 20), np.float32)), ValueError, "adata.X holds nothing but zeros")
        self.refuses(tissue(sparse.csr_matrix((10, 20), dtype=np.float32)), ValueError, "nothing but zeros")

    def test_nothing(self, adata: ad.AnnData) -> None:
        self.refuses(adata[:0].copy(), ValueError, "0 spots and 120 genes")
        self.refuses(adata[:, :0].copy(), ValueError, "80 spots and 0 genes")

    def test_keys(self, adata: ad.AnnData) -> None:
        self.refuses(adata, KeyError, "'no' not found in adata.layers, which has: nothing", layer="no")
        self.refuses(adata, KeyError, "'no' not found in adata.obs, which has: 'lib'", library_key="no")

    def test_limits_that_no_gene_meets(self, adata: ad.AnnData) -> None:
        match = (
            r"too few genes are seen in at least 81 of 80 spots with at least 10 counts in all: 0 of 120 \(at most, a "
            r"gene is seen in \d+ and has \d+\); lower min_cells=81 and min_counts=10\."
        )
        self.refuses(adata, ValueError, match, recipe="spacross", min_cells=81)
        most = int(dense(adata.X).sum(0).max())
        self.refuses(adata, ValueError, rf"1 of 120 .* and has {most}\)", min_counts=most)
        self.refuses(adata[:, :1].copy()[dense(adata.X)[:, 0] > 0].copy(), ValueError, "0 of 1 ", min_counts=10**6)

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
        for arguments in ({"copy": True}, {"layer": "counts"}):
            with pytest.raises(ValueError, match=r"load it first: adata = adata.to_memory\(\)"):
                sp.pp.prepare(backed, **arguments)
        backed.file.close()
