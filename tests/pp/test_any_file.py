"""What real files have is handled by ``pp.prepare`` at the first try, and said in one line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import zarr
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROLS = [
    "NegControlProbe_1",
    "BLANK_0001",
    "Blank-1",
    "UnassignedCodeword_1",
    "SystemControl1",
    "NegPrb01",
    "Negative1",
    "blank_1",
    "ERCC.00003",
    "ERCC-00002",
]


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def counts(n_obs: int = 200, n_vars: int = 150, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 1.5, n_vars) * rng.lognormal(0, 0.3, (n_obs, 1))
    drawn = rng.negative_binomial(2, 2 / (2 + rate))
    drawn[np.arange(n_obs), np.arange(n_obs) % n_vars] += 1
    return drawn


def tissue(matrix: object) -> ad.AnnData:
    adata = ad.AnnData(matrix)
    adata.obs["lib"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    return adata


@pytest.fixture
def raw() -> np.ndarray:
    return counts()


def test_empty_spots_and_genes_stay(raw: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    raw[[2, 5]] = 0
    raw[:, 7] = 0
    adata = tissue(sparse.csr_matrix(raw.astype(np.float32)))
    by_hand = tissue(np.delete(np.delete(raw, [2, 5], axis=0), 7, axis=1).astype(np.float32))
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata, n_top_genes=30, target_sum=None)
    sp.pp.prepare(by_hand, n_top_genes=30, target_sum=None)
    assert adata.shape == raw.shape
    assert not adata.X[[2, 5]].nnz
    assert not adata.var["highly_variable"].iloc[7]
    assert "2 of 200 spots have no counts in adata.X; they stay" in caplog.text
    assert "30 of 149 genes are marked as highly variable (seurat_v3). Left out: 1 genes without" in caplog.text
    assert np.allclose(np.delete(np.delete(dense(adata.X), [2, 5], axis=0), 7, axis=1), by_hand.X, rtol=1e-5)


@pytest.mark.parametrize("by", ["names", "symbols", "feature_types"])
def test_control_probes_are_no_genes(raw: np.ndarray, by: str, caplog: pytest.LogCaptureFixture) -> None:
    raw[:, : len(CONTROLS)] = np.random.default_rng(1).poisson(0.5, (200, len(CONTROLS))) * 40
    adata = tissue(raw.astype(np.float32))
    if by != "feature_types":
        adata.var_names = [*CONTROLS, "NEGR1", "ERCC1", *(f"gene{i}" for i in range(138))]
    if by == "symbols":
        adata.var["gene_symbol"] = adata.var_names
        adata.var_names = [f"ENSMUSG{i:011d}" for i in range(150)]
    elif by == "feature_types":
        types = ["Negative Control Probe"] * 4 + ["Antibody Capture"] * 6 + ["Gene Expression"] * 140
        adata.var["feature_types"] = types
    alone = adata[:, 10:].copy()
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata, n_top_genes=30)
    assert "Left out: 10 control features." in caplog.text
    sp.pp.prepare(alone, n_top_genes=30)
    assert not adata.var["highly_variable"].iloc[:10].any()
    assert adata.var["highly_variable"].iloc[10:].equals(alone.var["highly_variable"])
    assert np.allclose(adata.X[:, 10:], alone.X)
    sp.pp.prepare(adata, n_top_genes=30, keep_controls=True)
    assert adata.var["highly_variable"].iloc[:10].any()


def test_a_panel_of_controls_only_is_kept(raw: np.ndarray) -> None:
    adata = tissue(raw)
    adata.var_names = [f"Blank-{i}" for i in range(150)]
    sp.pp.prepare(adata)
    assert adata.var["highly_variable"].all()


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_counts_by_volume_come_out_as_counts(raw: np.ndarray, make: Callable[[np.ndarray], Any]) -> None:
    volume = np.random.default_rng(3).uniform(200, 3000, (200, 1))
    plain, adata = tissue(raw.astype(np.float32)), tissue(make((raw / volume).astype(np.float32)))
    sp.pp.prepare(plain)
    with pytest.warns(UserWarning, match="holds counts divided by a number of each spot, such as its volume"):
        sp.pp.prepare(adata)
    assert np.allclose(dense(adata.X), plain.X, rtol=1e-4)


@pytest.mark.parametrize("base", [None, 2, 10])
@pytest.mark.parametrize("n_genes", [150, 60])
def test_logarithms_are_refused(raw: np.ndarray, base: int | None, n_genes: int) -> None:
    adata = tissue(raw.astype(np.float32))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, base=base)
    adata = adata[:, :n_genes].copy()
    with pytest.raises(ValueError, match=r"holds logarithms.* name the layer .*counts='assume'"):
        sp.pp.prepare(adata)


def test_the_message_says_where_counts_are(raw: np.ndarray) -> None:
    adata = tissue(raw.astype(np.float32))
    adata.raw = adata.copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    with pytest.raises(ValueError, match=r"adata.raw holds counts: adata.layers\['counts'\] = adata.raw.X") as caught:
        sp.pp.prepare(adata)
    mended = adata.copy()
    exec(str(caught.value).split("holds counts: ")[1].split(", then")[0], {"adata": mended})
    sp.pp.prepare(mended, layer="counts")
    assert np.array_equal(dense(mended.layers["counts"]), raw)
    with pytest.raises(ValueError, match=r"holds counts of 150 genes: .* then sp.pp.prepare\(adata\)") as caught:
        sp.pp.prepare(adata[:, ::3].copy())
    space = {"adata": adata[:, ::3].copy()}
    exec(str(caught.value).split("genes: ")[1].split(", then")[0], space)
    sp.pp.prepare(space["adata"])
    assert np.allclose(dense(space["adata"].X), dense(mended.X))
    adata.layers["spliced"] = raw
    with pytest.raises(ValueError, match=r"layers\['spliced'\] holds counts: sp.pp.prepare\(adata, layer='spliced'\)"):
        sp.pp.prepare(adata)
    adata.X = raw * 0.97
    with pytest.raises(ValueError, match=r"counts divided by .* layer='spliced'"):
        sp.pp.prepare(adata)
    sc.pp.scale(adata)
    with pytest.raises(ValueError, match=r"negative values \(minimum -.*layer='spliced'"):
        sp.pp.prepare(adata)


def test_other_fractions_are_taken_on_request(raw: np.ndarray) -> None:
    adata = tissue(raw * np.random.default_rng(0).uniform(0.9, 1, raw.shape))
    with pytest.raises(
        ValueError, match=r"holds fractions up to \d.*To take it as counts nevertheless: counts='assume'"
    ):
        sp.pp.prepare(adata)
    with pytest.warns(UserWarning, match="holds fractions .* and is taken as counts"):
        sp.pp.prepare(adata, counts="assume", n_top_genes=30)
    assert np.allclose(np.expm1(adata.X).sum(1), 1e4)


def test_intensities_need_no_counts(raw: np.ndarray) -> None:
    intensities = np.arcsinh(raw * np.random.default_rng(0).gamma(2, 1, raw.shape))
    adata = tissue(intensities)
    adata.obsm["spatial"] = np.random.default_rng(1).uniform(size=(adata.n_obs, 2))
    with pytest.raises(ValueError, match=r"Intensities, .*need no sp.pp.prepare: the methods take them as they are"):
        sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata)
    sp.tl.spotscape(adata, max_epochs=2)
    assert np.array_equal(adata.X, intensities)


def test_scaled_intensities_need_no_counts(raw: np.ndarray) -> None:
    intensities = raw * np.random.default_rng(0).gamma(2, 1, raw.shape)
    adata = tissue((intensities - intensities.mean(axis=0)) / intensities.std(axis=0))
    adata.obsm["spatial"] = np.random.default_rng(1).uniform(size=(adata.n_obs, 2))
    with pytest.raises(ValueError, match=r"leave sp.pp.prepare out, and name principal components: ") as caught:
        sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    first, second = str(caught.value).split("components: ")[1].rstrip(".").split(", then ")
    exec(f"{first}\n{second.replace(')', ', max_epochs=2)')}", {"sc": sc, "sp": sp, "adata": adata})
    assert np.isfinite(adata.obsm["X_spotscape"]).all()


def test_counts_in_a_layer_beside_logarithms_are_named(raw: np.ndarray) -> None:
    """As ``zellkonverter`` writes objects of Bioconductor."""
    adata = tissue(np.log2(1 + raw / raw.sum(axis=1, keepdims=True) * 1e3))
    adata.layers["counts"] = raw
    with pytest.raises(ValueError, match=r"it holds logarithms.*: sp.pp.prepare\(adata, layer='counts'\)"):
        sp.pp.prepare(adata)
    sp.pp.prepare(adata, layer="counts")


def test_genes_that_some_spots_have_not_measured(raw: np.ndarray) -> None:
    """As in the MERFISH of the hypothalamus, where the animals of one kind lack one gene."""
    adata = tissue(raw.astype(np.float32))
    adata.X[:80, 7] = np.nan
    with pytest.raises(ValueError, match=r"has 80 NaN .* They are in 1 of 150 columns\.") as caught:
        sp.pp.prepare(adata)
    mend = str(caught.value).split("leave them out: ")[1].split(". anndata")[0]
    space = {"adata": adata, "np": np}
    exec(mend, space)
    assert space["adata"].shape == (200, 149)
    sp.pp.prepare(space["adata"])


@pytest.mark.parametrize("names", [["umi"], ["spliced", "counts"]])
def test_only_layers(raw: np.ndarray, names: list[str], caplog: pytest.LogCaptureFixture) -> None:
    adata = ad.AnnData(obs=pd.DataFrame(index=map(str, range(200))), var=pd.DataFrame(index=map(str, range(150))))
    for name in names:
        adata.layers[name] = raw if name == names[-1] else raw // 2
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata)
    assert f"the counts are taken from `adata.layers['{names[-1]}']`" in caplog.text
    assert np.array_equal(adata.layers["counts"], raw)


def test_again_for_the_other_method(raw: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    adata, once = tissue(raw), tissue(raw)
    sp.pp.prepare(adata)
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata, recipe="spacross", n_top_genes=20)
    assert "was prepared before: the counts are taken from `adata.layers['counts']`" in caplog.text
    sp.pp.prepare(once, recipe="spacross", n_top_genes=20)
    assert np.array_equal(adata.X, once.X)
    pd.testing.assert_frame_equal(adata.var, once.var)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "float16"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_narrow_types_choose_the_same_genes(raw: np.ndarray, dtype: str, make: Callable[..., Any]) -> None:
    if dtype == "float16" and make is sparse.csr_matrix:
        pytest.skip("scipy has no sparse float16")
    raw = np.minimum(raw * 5, 127)
    narrow, wide = tissue(make(raw.astype(dtype))), tissue(raw.astype(np.float64))
    for adata in (narrow, wide):
        sp.pp.prepare(adata, n_top_genes=30)
    assert narrow.var["highly_variable"].equals(wide.var["highly_variable"])
    assert np.allclose(dense(narrow.X), wide.X, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_names_that_occur_twice(raw: np.ndarray) -> None:
    adata, unique = tissue(raw), tissue(raw)
    adata.var_names = ["x", "x", *adata.var_names[2:]]
    adata.obs_names = ["s", "s", *adata.obs_names[2:]]
    for each in (adata, unique):
        sp.pp.prepare(each, n_top_genes=30, library_key="lib")
    assert np.array_equal(adata.var["highly_variable"], unique.var["highly_variable"])


@pytest.mark.parametrize("library_key", [None, "lib"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_a_file_that_cannot_be_changed(
    raw: np.ndarray, tmp_path: Path, make: Callable[[np.ndarray], Any], library_key: str | None
) -> None:
    adata = tissue(make(raw.astype(np.float32)))
    adata.obsm["spatial"] = np.random.default_rng(0).random((200, 2))
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spotscape._core.rows.BLOCK_ROWS", 64)
        for each in (adata, backed):
            sp.pp.prepare(each, n_top_genes=30, library_key=library_key)
            sp.tl.smoothed_pca(each, library_key=library_key)
    assert np.array_equal(dense(backed.X[:]), raw)
    assert backed.var["highly_variable"].equals(adata.var["highly_variable"])
    assert np.allclose(backed.var["variances_norm"], adata.var["variances_norm"], equal_nan=True)
    assert np.allclose(backed.obsm["X_smoothed_pca"], adata.obsm["X_smoothed_pca"], rtol=1e-3, atol=1e-4)
    loaded = backed.to_memory()
    backed.file.close()
    sp.tl.smoothed_pca(loaded, library_key=library_key)
    assert np.allclose(loaded.obsm["X_smoothed_pca"], adata.obsm["X_smoothed_pca"], rtol=1e-3, atol=1e-4)
    sp.pp.prepare(loaded, n_top_genes=30, library_key=library_key)
    assert np.allclose(dense(loaded.X), dense(adata.X))
    assert "prepare_factor" not in loaded.obs


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_counts_in_zarr_stay_there(raw: np.ndarray, tmp_path: Path, make: Callable[[np.ndarray], Any]) -> None:
    adata = tissue(make(raw.astype(np.float32)))
    adata.obsm["spatial"] = np.random.default_rng(0).random((200, 2))
    adata.layers["seen"] = adata.X.copy()
    adata.write_zarr(tmp_path / "a.zarr")
    group = zarr.open(tmp_path / "a.zarr", mode="r")
    held = ad.io.sparse_dataset if sparse.issparse(adata.X) else (lambda place: place)
    stored = ad.AnnData(held(group["X"]), obs=adata.obs, var=adata.var, obsm={"spatial": adata.obsm["spatial"]})
    in_layer = ad.AnnData(obs=adata.obs, var=adata.var, layers={"seen": held(group["layers/seen"])})
    for each in (adata, stored, in_layer):
        sp.pp.prepare(each, n_top_genes=30)
        assert each.var["highly_variable"].equals(adata.var["highly_variable"])
    for each in (adata, stored):
        sp.tl.smoothed_pca(each)
    assert np.array_equal(dense(stored.X[:]), raw)
    assert np.allclose(stored.obsm["X_smoothed_pca"], adata.obsm["X_smoothed_pca"], rtol=1e-3, atol=1e-4)
    assert np.allclose(dense(in_layer.X), dense(adata.X))


def test_tables_that_were_not_loaded_are_refused(raw: np.ndarray, tmp_path: Path) -> None:
    adata = tissue(sparse.csr_matrix(raw.astype(np.float32)))
    adata.write_h5ad(tmp_path / "a.h5ad")
    lazy = ad.experimental.read_lazy(tmp_path / "a.h5ad")
    with pytest.raises(TypeError, match=r"adata was read lazily.*: adata.obs, adata.var = adata.obs.to_memory\(\)"):
        sp.pp.prepare(lazy, library_key="lib")
    lazy.obs, lazy.var = lazy.obs.to_memory(), lazy.var.to_memory()
    for each in (adata, lazy):
        sp.pp.prepare(each, n_top_genes=30, library_key="lib")
    assert lazy.var["highly_variable"].equals(adata.var["highly_variable"])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_dask_stays_dask(raw: np.ndarray, make: Callable[[np.ndarray], Any]) -> None:
    dask = pytest.importorskip("dask.array")
    adata, lazy = tissue(raw.astype(np.float32)), tissue(raw.astype(np.float32))
    lazy.X = dask.from_array(raw.astype(np.float32), chunks=(70, 150)).map_blocks(make)
    for each in (adata, lazy):
        sp.pp.prepare(each, n_top_genes=30, library_key="lib")
    assert isinstance(lazy.X, dask.Array)
    assert isinstance(lazy.layers["counts"], dask.Array)
    assert np.allclose(dense(lazy.X.compute()), adata.X, rtol=1e-5)
    assert lazy.var["highly_variable"].equals(adata.var["highly_variable"])


def test_a_cohort_of_unlike_sections(caplog: pytest.LogCaptureFixture) -> None:
    raw = counts(400)
    raw[390:] = np.random.default_rng(1).binomial(1, 0.02, (10, 150))
    raw[399] = 0
    raw[:200, :5] = 0
    adata = tissue(raw)
    adata.obs["lib"] = pd.Categorical(["p1"] * 200 + ["p2"] * 190 + ["failed"] * 9 + ["single"])
    with (
        pytest.warns(UserWarning, match=r"Slice 'failed' has a median of \d counts a spot"),
        pytest.warns(UserWarning, match="The slices 'failed', 'single' have too few spots or counts to rank genes"),
        pytest.warns(UserWarning, match="Slice 'single' has a median of 0 counts a spot"),
        caplog.at_level(logging.INFO, logger="spotscape"),
    ):
        sp.pp.prepare(adata, n_top_genes=30, library_key="lib")
    assert adata.var["highly_variable"].sum() == 30
    assert not adata.var["highly_variable"].iloc[:5].any()
    assert "genes that a slice has not measured" in caplog.text


def test_off_tissue_spots_are_mentioned(raw: np.ndarray) -> None:
    adata = tissue(raw)
    adata.obs["in_tissue"] = [0] * 30 + [1] * 170
    with pytest.warns(UserWarning, match=r"30 of 200 spots lie outside the tissue .*\['in_tissue'\] == 1\]"):
        sp.pp.prepare(adata)
