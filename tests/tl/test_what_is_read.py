"""What embeddings read of an AnnData: the record of the logarithm, the slices of the graph, graphs, expression."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import spotscape as sp
from spotscape._core.graphs import read_graph
from spotscape._core.reading import read_mask
from spotscape._core.validation import as_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    return sp.datasets.simulate_tissue(n_spots=300, n_genes=80, n_domains=3, n_slices=2)


@pytest.fixture
def adata(tissue: AnnData) -> AnnData:
    """One slice."""
    return tissue[tissue.obs["slice"] == tissue.obs["slice"].iloc[0]].copy()


def components_undone(adata: AnnData, **arguments: Any) -> bool:
    sp.tl.smoothed_pca(adata, **arguments)
    return bool(adata.uns["smoothed_pca"]["params"]["linear_scale"])


def test_the_record_says_whether_there_is_a_logarithm(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """Few counts in all: no value is above 20, so that the values alone look like logarithms."""
    adata.X = np.minimum(np.asarray(adata.X.toarray()), 3)
    plain = adata.copy()
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(plain, log1p=False, target_sum=None)
        assert plain.X.max() < 20
        assert not components_undone(plain)
        sp.pp.prepare(adata)
        assert components_undone(adata)
        assert "No record of" not in caplog.text
    by_hand = plain.copy()
    sp.tl.smoothed_pca(by_hand, linear_scale=False)
    np.testing.assert_array_equal(by_hand.obsm["X_smoothed_pca"], plain.obsm["X_smoothed_pca"])


def test_a_logarithm_taken_after_prepare_is_one(adata: AnnData) -> None:
    """Scanpy leaves the same record for ``X`` and for a layer; the values tell which it was."""
    sp.pp.prepare(adata, log1p=False)
    other = adata.copy()
    other.layers["logarithm"] = other.X.copy()
    sc.pp.log1p(other, layer="logarithm")
    assert not components_undone(other)
    sc.pp.log1p(adata)
    assert components_undone(adata)


def test_logarithms_to_another_base_are_told(adata: AnnData) -> None:
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata, base=2)
    with pytest.warns(UserWarning, match=r"base 2, .* adata\.X \* np\.log\(2\)"):
        sp.tl.smoothed_pca(adata)
    adata.X = adata.X * np.log(2)
    adata.uns["log1p"] = {}
    assert components_undone(adata)


@pytest.mark.parametrize("base", [2, 10])
@pytest.mark.parametrize("layer", [None, "logcounts"])
def test_logarithms_to_another_base_are_told_without_a_record(
    adata: AnnData, layer: str | None, base: int, recwarn: pytest.WarningsRecorder
) -> None:
    """As ``logcounts`` of Bioconductor and the log2 files of the Allen atlas are."""
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    del adata.uns["log1p"]
    adata.layers["logcounts"] = adata.X.copy()
    sp.tl.smoothed_pca(adata, layer=layer)
    assert not [one for one in recwarn if "to base" in str(one.message)]
    natural = adata.obsm["X_smoothed_pca"]
    adata.X = adata.layers["logcounts"] = adata.X / np.log(base)
    with pytest.warns(UserWarning, match=rf"look like logarithms to base {base}, which") as said:
        sp.tl.smoothed_pca(adata, layer=layer)
    assert len(said) == 1
    exec(str(said[0].message).split("them so: ")[1].rstrip("."), {"adata": adata, "np": np})
    sp.tl.smoothed_pca(adata, layer=layer)
    np.testing.assert_allclose(adata.obsm["X_smoothed_pca"], natural, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("tool", [sp.tl.spotscape, sp.tl.spacross])
def test_encoders_take_the_record_too(adata: AnnData, tool: Callable[..., Any]) -> None:
    adata.X = np.minimum(np.asarray(adata.X.toarray()), 3)
    sp.pp.prepare(adata, log1p=False, target_sum=None)
    key = tool.__name__
    tool(adata, max_epochs=1)
    assert not adata.uns[key]["params"]["linear_scale"]
    sp.pp.prepare(adata)
    tool(adata, max_epochs=1)
    assert adata.uns[key]["params"]["linear_scale"]


def test_without_a_record_the_guess_is_said(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    sp.pp.prepare(adata)
    del adata.uns["prepare"], adata.uns["log1p"]
    with caplog.at_level(logging.INFO, logger="spotscape"):
        assert components_undone(adata)
        assert caplog.text.count("its values look like logarithms, which are undone first") == 1
        caplog.clear()
        assert not components_undone(adata, linear_scale=False)
        assert "no record" not in caplog.text


@pytest.mark.parametrize("tool", [sp.tl.smoothed_pca, sp.tl.spotscape])
def test_intensities_are_used_as_they_are(
    adata: AnnData, tool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As of proteins, after the usual logarithm or scaled to 1: small, and no logarithms of counts."""
    intensities = adata.X.toarray() * np.random.default_rng(0).gamma(4, 0.25, adata.shape)
    epochs = {} if tool is sp.tl.smoothed_pca else {"max_epochs": 1}
    for change in (np.arcsinh, lambda values: values / values.max(axis=0)):
        adata.X = change(intensities).astype(np.float32)
        with caplog.at_level(logging.INFO, logger="spotscape"):
            tool(adata, **epochs)
        assert not adata.uns[tool.__name__]["params"]["linear_scale"]
        assert (
            "`adata.X` has no record of sp.pp.prepare or sc.pp.log1p, and its values look like no logarithms"
            in caplog.text
        )
    adata.uns["log1p"] = {}
    tool(adata, **epochs)
    assert adata.uns[tool.__name__]["params"]["linear_scale"]


def test_controls_are_no_genes_without_prepare_either(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    sp.pp.prepare(adata)
    del adata.var["highly_variable"], adata.uns["prepare"]
    alone = adata[:, 5:].copy()
    adata.var_names = [*(f"Blank_{i}" for i in range(5)), *adata.var_names[5:]]
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.tl.smoothed_pca(adata)
    assert "using all 75 genes but 5 control features" in caplog.text
    sp.tl.smoothed_pca(alone)
    np.testing.assert_array_equal(adata.obsm["X_smoothed_pca"], alone.obsm["X_smoothed_pca"])


@pytest.mark.parametrize("name", ["spotscape", "spacross", "smoothed_pca"])
def test_slices_are_those_of_the_graph(tissue: AnnData, name: str, caplog: pytest.LogCaptureFixture) -> None:
    adata = tissue.copy()
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice", n_neighs=6)
    tool = getattr(sp.tl, name)
    epochs = {} if name == "smoothed_pca" else {"max_epochs": 1}
    named = tool(adata, library_key="slice", copy=True, **epochs)
    with caplog.at_level(logging.INFO, logger="spotscape"):
        tool(adata, **epochs)
    assert "library_key='slice' is taken from the graph `adata.uns['spatial_neighbors']`" in caplog.text
    np.testing.assert_array_equal(adata.obsm[f"X_{name}"], named.obsm[f"X_{name}"])
    assert adata.uns[name]["params"]["library_key"] == "slice"


def test_expression_without_variation_is_refused(adata: AnnData) -> None:
    for make in (np.asarray, sparse.csr_matrix):
        adata.X = make(np.full(adata.shape, 0.5, np.float32))
        with pytest.raises(ValueError, match=r"all genes are constant in adata\.X"):
            sp.tl.smoothed_pca(adata)
    adata.X = np.zeros(adata.shape, np.float32)
    with pytest.raises(ValueError, match=r"adata\.X is zero throughout the 80 genes"):
        sp.tl.smoothed_pca(adata)


class TestGraphs:
    @pytest.fixture
    def graph(self) -> AnnData:
        adata = ad.AnnData(np.ones((60, 1)), obsm={"spatial": np.random.default_rng(0).random((60, 2))})
        sp.pp.spatial_neighbors_knn(adata, n_neighs=4)
        return adata

    def stored(self, adata: AnnData, change: Callable[[sparse.csr_matrix], Any]) -> AnnData:
        adata.obsp["spatial_connectivities"] = change(adata.obsp["spatial_connectivities"])
        return adata

    @pytest.mark.filterwarnings("ignore:the 60 spots have 3.4 neighbours")
    def test_zeros_and_loops_are_no_edges(self, graph: AnnData) -> None:
        expected = graph.obsp["spatial_connectivities"].copy()
        padded = sparse.csr_matrix(expected + 2 * sparse.identity(60))
        padded.data[::7] *= 0
        expected.data[(padded[expected.nonzero()] == 0).A1] = 0
        expected.eliminate_zeros()
        found = read_graph(self.stored(graph, lambda _: padded), "spatial_neighbors")
        assert np.array_equal(found.toarray() > 0, expected.toarray() > 0)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda g: g * np.nan, "has 240 NaN or infinite values"),
            (lambda g: g * 0, "has no edges"),
            (lambda g: sparse.identity(g.shape[0], format="csr"), "has no edges"),
        ],
    )
    def test_what_is_no_graph_is_refused(self, graph: AnnData, change: Callable[..., Any], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            read_graph(self.stored(graph, change), "spatial_neighbors")

    @pytest.mark.parametrize("record", [{"params": {}}, ["spatial"], "spatial", np.ones(3)])
    def test_a_record_of_something_else(self, graph: AnnData, record: Any) -> None:
        graph.uns["prepare"] = record
        with pytest.raises(ValueError, match=r"adata.uns\['prepare'\] is no record of a spatial graph"):
            read_graph(graph, "prepare")

    def test_cutting_out_a_region_is_no_reason_to_warn(self, graph: AnnData, recwarn: pytest.WarningsRecorder) -> None:
        grid = np.array([[x, y] for x in range(30) for y in range(30)], float)
        adata = ad.AnnData(np.ones((900, 1)), obsm={"spatial": grid})
        sp.pp.spatial_neighbors_knn(adata, n_neighs=4)
        read_graph(adata[grid[:, 0] < 20].copy(), "spatial_neighbors")
        assert not [w for w in recwarn if "neighbours on average" in str(w.message)]
        with pytest.warns(UserWarning, match=r"have 0\.1 neighbours on average .* built with 4\.0"):
            read_graph(adata[(grid.sum(axis=1) % 2 == 0) | (np.arange(900) == 1)].copy(), "spatial_neighbors")

    @pytest.mark.parametrize("n_slices", [1, 2])
    def test_coordinates_that_changed_after_the_graph_was_built_are_told(self, n_slices: int) -> None:
        """A shuffled slice and another shape of the tissue; not another view, unit or subset of it."""
        rng = np.random.default_rng(0)
        adata = ad.AnnData(np.ones((300, 1)), obsm={"spatial": rng.random((300, 2))})
        adata.obs["slice"] = np.repeat(["a", "b"], [100, 200]) if n_slices == 2 else "a"
        sp.pp.spatial_neighbors_knn(adata, n_neighs=4, library_key="slice")
        places, second = adata.obsm["spatial"], (adata.obs["slice"] == adata.obs["slice"].iloc[-1]).to_numpy()
        turned = places @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 5
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for same in (turned, 20 * places, np.where(second[:, None], 20 * places, turned), np.round(places, 3)):
                adata.obsm["spatial"] = same
                read_graph(adata, "spatial_neighbors", "slice")
            read_graph(adata[rng.permutation(300)].copy(), "spatial_neighbors", "slice")
        shuffled = places.copy()
        shuffled[second] = rng.permutation(places[second])
        for other in (shuffled, places * [1, 4]):
            adata.obsm["spatial"] = other
            with pytest.warns(UserWarning, match=r"adata.obsm\['spatial'\] changed after the graph"):
                read_graph(adata, "spatial_neighbors", "slice")

    def test_a_graph_of_a_block_knows_the_z_of_its_cells(self, recwarn: pytest.WarningsRecorder) -> None:
        rng = np.random.default_rng(0)
        adata = ad.AnnData(np.ones((300, 1)), obs={"z": rng.random(300)}, obsm={"spatial": rng.random((300, 2))})
        sp.pp.spatial_neighbors_3d(adata, z_key="z", n_neighs=6)
        read_graph(adata, "spatial_3d_neighbors")
        assert not recwarn.list


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("dtype", [object, "boolean"])
def test_genes_of_which_nothing_is_known_are_not_chosen(adata: AnnData, dtype: Any, missing: Any) -> None:
    """An outer join leaves a gap where a slice lacks a gene: as an object in older versions of pandas, else as NA."""
    known = [True, False, *[missing] * (adata.n_vars - 2)]
    adata.var["chosen"] = pd.Series(known, dtype=dtype).to_numpy() if dtype is object else pd.array(known, dtype)
    mask = read_mask(adata, "chosen")
    assert mask is not None
    assert mask.nonzero()[0].tolist() == [0]


@pytest.mark.parametrize("text", ["nan", "None", "<NA>"])
def test_missing_values_that_became_text_are_told(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """After ``astype(str)``, spots without a label are a group like any other."""
    column = pd.Series(["a", "b", text])
    assert list(as_groups(column, "key='domain'").categories) == sorted(["a", "b", text])
    assert f"key='domain' has a group {text!r}, which missing values become by astype(str)" in caplog.text
    caplog.clear()
    assert list(as_groups(column.replace(text, np.nan), "key='domain'").categories) == ["a", "b"]
    assert not caplog.text
