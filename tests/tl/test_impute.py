"""Imputation on AnnData: what is predicted, from where, in which unit, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import spearmanr

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REP = "X_smoothed_pca"


@pytest.fixture(scope="session")
def _one() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=120, difficulty=0.3, random_state=0)
    sp.pp.prepare(adata, n_top_genes=100)
    sp.tl.smoothed_pca(adata)
    return adata


@pytest.fixture(scope="session")
def _two() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=2, n_spots=[250, 200], n_genes=120, difficulty=0.3, random_state=0
    )
    sp.pp.prepare(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, library_key="slice")
    return adata


@pytest.fixture
def one(_one: ad.AnnData) -> ad.AnnData:
    return _one.copy()


@pytest.fixture
def two(_two: ad.AnnData) -> ad.AnnData:
    """Return two slices of one tissue, with a joint embedding."""
    return _two.copy()


@pytest.fixture
def pair(two: ad.AnnData) -> tuple[ad.AnnData, ad.AnnData]:
    """Return a query that lacks ten genes and a reference that has them, embedded together."""
    query, reference = (two[two.obs["slice"] == name].copy() for name in ("slice_1", "slice_2"))
    return query[:, 10:].copy(), reference


class TestOneSlice:
    @pytest.mark.parametrize("method", ["regression", "neighbors"])
    def test_what_is_written(self, one: ad.AnnData, method: str) -> None:
        before = one.copy()
        assert sp.tl.impute(one, use_rep=REP, method=method) is None
        layer = one.layers["imputed"]
        assert (layer.dtype, layer.shape) == (np.float32, one.shape)
        assert np.isfinite(layer).all()
        assert layer.min() >= 0
        assert (one.X != before.X).nnz == 0
        record = one.uns["imputed"]
        assert record["params"]["method"] == method
        scores = record["scores"]
        assert scores.index.to_list() == one.var_names.to_list()
        assert (scores["n_fitted"] == 300).all()
        assert scores["imputed"].all()
        assert scores["spearman_carried"].isna().all()

    def test_is_in_the_unit_of_the_input(self, one: ad.AnnData) -> None:
        sp.tl.impute(one, use_rep=REP)
        np.testing.assert_allclose(one.layers["imputed"].mean(0), one.X.mean(0).A1, atol=0.02)
        one.layers["doubled"] = one.X * 2
        sp.tl.impute(one, use_rep=REP, layer="doubled", key_added="twice")
        np.testing.assert_allclose(one.layers["twice"], 2 * one.layers["imputed"], atol=1e-3)

    def test_is_closer_to_what_was_held_out_than_the_mean(self, one: ad.AnnData) -> None:
        rng = np.random.default_rng(0)
        mask = rng.random(one.shape) < 0.1
        truth = one.X.toarray()
        one.X = sparse.csr_matrix(np.where(mask, 0, truth))
        sp.tl.smoothed_pca(one)
        sp.tl.impute(one, use_rep=REP)
        found = sp.metrics.imputation_scores(truth, one.layers["imputed"] / 0.9, mask)
        mean = sp.metrics.imputation_scores(truth, np.broadcast_to(one.X.mean(0).A1 / 0.9, one.shape), mask)
        assert found["rmse"].mean() < mean["rmse"].mean()
        assert found["spearman"].mean() > 0.05

    def test_the_value_of_a_spot_does_not_predict_itself(self, one: ad.AnnData) -> None:
        gene = int(np.flatnonzero(one.var["highly_variable"])[0])
        shuffled = one.copy()
        dense = shuffled.X.toarray()
        dense[:, gene] = np.random.default_rng(1).permutation(dense[:, gene])
        shuffled.X = sparse.csr_matrix(dense)
        sp.tl.impute(shuffled, use_rep=REP)
        assert shuffled.uns["imputed"]["scores"]["spearman"].iloc[gene] < 0.15

    def test_only_the_genes_that_are_asked(self, one: ad.AnnData) -> None:
        every = sp.tl.impute(one, use_rep=REP, copy=True)
        names = one.var_names[[7, 3, 110]]
        sp.tl.impute(one, use_rep=REP, genes=list(names))
        assert one.obsm["imputed"].columns.to_list() == names.to_list()
        np.testing.assert_allclose(one.obsm["imputed"], every[:, names].layers["imputed"], atol=1e-5)
        assert "imputed" not in one.layers
        sp.tl.impute(every, use_rep=REP, genes=list(names))
        assert "imputed" not in every.layers
        assert one.uns["imputed"]["scores"].index.to_list() == names.to_list()

    def test_storage_does_not_matter(self, one: ad.AnnData) -> None:
        sp.tl.impute(one, use_rep=REP)
        dense = one.copy()
        dense.X = one.X.toarray()
        sp.tl.impute(dense, use_rep=REP)
        np.testing.assert_allclose(dense.layers["imputed"], one.layers["imputed"], atol=1e-4)

    def test_order_of_spots_does_not_matter(self, one: ad.AnnData) -> None:
        order = np.random.default_rng(0).permutation(one.n_obs)
        moved = one[order].copy()
        sp.tl.impute(one, use_rep=REP)
        sp.tl.impute(moved, use_rep=REP)
        np.testing.assert_allclose(moved.layers["imputed"], one.layers["imputed"][order], atol=1e-3)

    def test_order_of_genes_does_not_matter(self, one: ad.AnnData) -> None:
        moved = one[:, np.random.default_rng(0).permutation(one.n_vars)].copy()
        sp.tl.impute(one, use_rep=REP)
        sp.tl.impute(moved, use_rep=REP)
        np.testing.assert_allclose(moved[:, one.var_names].layers["imputed"], one.layers["imputed"], atol=1e-3)
        scores = (adata.uns["imputed"]["scores"].loc[one.var_names] for adata in (moved, one))
        pd.testing.assert_frame_equal(*scores, atol=1e-3)

    def test_same_seed_same_bits_and_no_global_state(self, one: ad.AnnData) -> None:
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first, second = (sp.tl.impute(one, use_rep=REP, random_state=3, copy=True) for _ in range(2))
        np.testing.assert_array_equal(first.layers["imputed"], second.layers["imputed"])
        np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
        assert "imputed" not in one.layers
        assert "imputed" not in one.uns

    def test_neighbors_are_a_mean(self, one: ad.AnnData) -> None:
        sp.tl.impute(one, use_rep=REP, method="neighbors", n_neighbors=299)
        expected = (one.X.sum(0).A1 - one.X.toarray()) / 299
        np.testing.assert_allclose(one.layers["imputed"], expected, atol=1e-5)

    def test_takes_the_one_encoder_that_was_run(self, one: ad.AnnData) -> None:
        one.obsm["X_spacross"] = one.obsm.pop(REP)
        sp.tl.impute(one)
        assert one.uns["imputed"]["params"]["use_rep"] == "X_spacross"


class TestSlices:
    def test_a_gene_that_a_slice_did_not_measure(self, two: ad.AnnData) -> None:
        rows = (two.obs["slice"] == "slice_2").to_numpy()
        best = int(np.asarray(two.varm["domain_effect"]).std(axis=1).argmax())
        truth = two.X.toarray()
        without = truth.copy()
        without[rows, best] = 0
        two.X = sparse.csr_matrix(without)
        sp.tl.impute(two, use_rep=REP, library_key="slice")
        found = two.layers["imputed"][rows, best]
        assert spearmanr(found, truth[rows, best]).statistic > 0.3
        scores = two.uns["imputed"]["scores"]
        assert scores["n_fitted"].iloc[best] == 250
        assert (scores["n_fitted"].drop(two.var_names[best]) == 450).all()

    def test_from_chosen_slices(self, two: ad.AnnData) -> None:
        sp.tl.impute(two, use_rep=REP, library_key="slice", reference="slice_1")
        scores = two.uns["imputed"]["scores"]
        assert (scores["n_fitted"] == 250).all()
        assert scores["spearman_carried"].notna().all()
        rows = (two.obs["slice"] == "slice_2").to_numpy()
        spoilt = two.copy()
        kept = ~two.var["highly_variable"].to_numpy()
        if not kept.any():
            spoilt.var["highly_variable"] = two.var["highly_variable"] = np.arange(two.n_vars) > 20
            kept = ~two.var["highly_variable"].to_numpy()
        dense = spoilt.X.toarray()
        dense[np.ix_(rows, kept)] = 1
        spoilt.X = sparse.csr_matrix(dense)
        for adata in (two, spoilt):
            sp.tl.impute(
                adata, use_rep=REP, library_key="slice", reference=["slice_1"], genes=list(two.var_names[kept])
            )
        np.testing.assert_allclose(spoilt.obsm["imputed"], two.obsm["imputed"], atol=1e-5)

    def test_slices_keep_their_means(self, two: ad.AnnData) -> None:
        sp.tl.impute(two, use_rep=REP, library_key="slice")
        for name in ("slice_1", "slice_2"):
            one = two[two.obs["slice"] == name]
            np.testing.assert_allclose(one.layers["imputed"].mean(0), one.X.mean(0).A1, atol=0.03)


class TestReference:
    @pytest.mark.parametrize("method", ["regression", "neighbors"])
    def test_genes_that_only_the_reference_has(
        self, pair: tuple[ad.AnnData, ad.AnnData], two: ad.AnnData, method: str
    ) -> None:
        query, reference = pair
        sp.tl.impute(query, reference=reference, use_rep=REP, method=method)
        frame = query.obsm["imputed"]
        assert frame.columns.to_list() == two.var_names[:10].to_list()
        assert frame.index.equals(query.obs_names)
        assert (frame.dtypes == np.float32).all()
        assert "imputed" not in query.layers
        scores = query.uns["imputed"]["scores"]
        assert scores["imputed"].sum() == 10
        assert scores.loc[~scores["imputed"], "spearman_carried"].notna().all()
        truth = two[query.obs_names, frame.columns].X.toarray()
        found = sp.metrics.imputation_scores(truth, frame.to_numpy(), genes=frame.columns)
        constant = np.broadcast_to(reference[:, frame.columns].X.mean(0).A1, truth.shape)
        assert found["spearman"].mean() > 0.05
        if method == "regression":
            assert found["rmse"].mean() < sp.metrics.imputation_scores(truth, constant)["rmse"].mean()

    def test_a_shared_gene_by_name_is_carried_and_scored(self, pair: tuple[ad.AnnData, ad.AnnData]) -> None:
        query, reference = pair
        gene = query.var_names[4]
        sp.tl.impute(query, reference=reference, use_rep=REP, genes=[gene])
        score = query.uns["imputed"]["scores"].loc[gene]
        assert score["imputed"]
        assert score["n_fitted"] == 200

    def test_order_of_genes_in_the_reference_does_not_matter(self, pair: tuple[ad.AnnData, ad.AnnData]) -> None:
        query, reference = pair
        sp.tl.impute(query, reference=reference, use_rep=REP)
        mixed = reference[:, np.random.default_rng(0).permutation(reference.n_vars)].copy()
        query = query[:, np.random.default_rng(1).permutation(query.n_vars)].copy()
        again = sp.tl.impute(query, reference=mixed, use_rep=REP, copy=True)
        columns = query.obsm["imputed"].columns
        np.testing.assert_allclose(again.obsm["imputed"][columns], query.obsm["imputed"], atol=1e-4)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_gene_with_a_slash_can_be_written(one: ad.AnnData, tmp_path: Path, suffix: str) -> None:
    one.var_names = [f"HLA/{name}" for name in one.var_names]
    sp.tl.impute(one, use_rep=REP, genes=[one.var_names[3]])
    getattr(one, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    back = getattr(ad, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    assert back.obsm["imputed"].columns.to_list() == [one.var_names[3].replace("/", "|")]
    assert back.uns["imputed"]["scores"].index.to_list() == [one.var_names[3]]


ERRORS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "gene": ({"genes": ["Gapdh"]}, KeyError, "1 of 1 genes are not in adata.var_names .*'Gapdh'.*reference="),
    "string": ({"genes": "Gapdh"}, TypeError, "must be a list of names"),
    "nothing": ({"genes": []}, ValueError, "genes names no gene"),
    "embedding": ({"use_rep": "X_none"}, KeyError, "'X_none' not found in adata.obsm"),
    "layer": ({"layer": "none"}, KeyError, "'none' not found in adata.layers"),
    "no slices": ({"reference": "slice_1"}, ValueError, "library_key is None; name the column"),
    "slice": ({"reference": "s9", "library_key": "slice"}, ValueError, "not among the slices .*slice_1"),
}


@pytest.mark.parametrize(("options", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(two: ad.AnnData, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sp.tl.impute(two, **{"use_rep": REP, **options})
    assert "imputed" not in two.layers
    assert "imputed" not in two.uns


def _with_identifiers(adata: ad.AnnData) -> None:
    adata.var["symbol"] = adata.var_names
    adata.var_names = [f"ENSG{i:05}" for i in range(adata.n_vars)]


def test_genes_by_their_symbols(one: ad.AnnData) -> None:
    """The names of a column give the numbers that those of the index give, under the names that were asked for."""
    wanted = [one.var_names[i] for i in (7, 3, 50)]
    _with_identifiers(one)
    sp.tl.impute(one, genes=[one.var_names[i] for i in (7, 3, 50)], use_rep=REP)
    expected, scores = one.obsm["imputed"], one.uns["imputed"]["scores"]
    expected.columns = scores.index = pd.Index(wanted, name="gene")
    with pytest.raises(KeyError, match=r"adata.var\['symbol'\] has it: gene_symbols='symbol'"):
        sp.tl.impute(one, genes=wanted, use_rep=REP)
    sp.tl.impute(one, genes=wanted, gene_symbols="symbol", use_rep=REP)
    pd.testing.assert_frame_equal(one.obsm["imputed"], expected)
    pd.testing.assert_frame_equal(one.uns["imputed"]["scores"], scores)
    one.var["symbol"] = one.var["symbol"].where(one.var_names != "ENSG00008", wanted[0])
    with pytest.raises(ValueError, match=r"names several genes .*'ENSG00007', 'ENSG00008'"):
        sp.tl.impute(one, genes=wanted, gene_symbols="symbol", use_rep=REP)


def test_genes_of_a_reference_by_their_symbols(pair: tuple[ad.AnnData, ad.AnnData]) -> None:
    query, reference = pair
    wanted = [reference.var_names[i] for i in (4, 2)]
    _with_identifiers(reference)
    query.var_names = reference.var_names[10:]
    sp.tl.impute(query, reference=reference, genes=wanted, gene_symbols="symbol", use_rep=REP)
    assert list(query.obsm["imputed"]) == wanted
    scores = query.uns["imputed"]["scores"]
    assert list(scores.index[scores["imputed"]]) == wanted
    assert set(scores.index) == set(reference.var["symbol"]) - set(reference.var["symbol"][:10]) | set(wanted)


def test_genes_without_a_count_are_told(one: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to score, which is said instead of a mean of nothing."""
    empty = list(one.var_names[:2])
    one.X = sparse.csr_matrix(one.X.multiply(np.arange(one.n_vars) >= 2))
    with caplog.at_level("INFO"):
        sp.tl.impute(one, genes=empty, use_rep=REP)
    assert "Genes predicted: 2; they are the same in all spots" in caplog.text
    assert (one.obsm["imputed"] == 0).all(axis=None)


def _other_names(query: ad.AnnData, reference: ad.AnnData) -> None:
    reference.var_names = [f"ENSG{i}" for i in range(reference.n_vars)]


def _narrow(query: ad.AnnData, reference: ad.AnnData) -> None:
    reference.obsm[REP] = reference.obsm[REP][:, :3]
    # With the record of the wide one a warning would come first.
    del reference.uns[REP.removeprefix("X_")]


def _not_embedded(query: ad.AnnData, reference: ad.AnnData) -> None:
    del reference.obsm[REP]


def _undetected(query: ad.AnnData, reference: ad.AnnData) -> None:
    dense = reference.X.toarray()
    dense[:, 0] = 0
    reference.X = dense


def _infinite(query: ad.AnnData, reference: ad.AnnData) -> None:
    dense = reference.X.toarray()
    dense[3, 0] = np.inf
    reference.X = dense


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_other_names, ValueError, "share 0 of the .* compared by name, such as"),
        (_narrow, ValueError, "12 axes in adata and 3 in reference.*Embed both together"),
        (_not_embedded, KeyError, "not found in reference.obsm.*Embed both together"),
        (_undetected, ValueError, "1 of .* genes .* have no value above zero"),
        (_infinite, ValueError, "NaN or infinite"),
    ],
)
def test_errors_of_a_reference(
    pair: tuple[ad.AnnData, ad.AnnData],
    spoil: Callable[[ad.AnnData, ad.AnnData], None],
    error: type[Exception],
    message: str,
) -> None:
    query, reference = pair
    spoil(query, reference)
    with pytest.raises(error, match=message):
        sp.tl.impute(query, reference=reference, use_rep=REP)
    assert "imputed" not in query.obsm


def test_a_reference_in_another_unit(pair: tuple[ad.AnnData, ad.AnnData]) -> None:
    """What is transferred has the unit of the reference, and spots are compared by values of both."""
    query, reference = pair
    counts = reference.copy()
    sp.pp.prepare(counts, layer="counts", target_sum=1e6)
    with pytest.warns(UserWarning, match=r"0\.01 times as much expression as those of reference.*target_sum"):
        sp.tl.impute(query, reference=counts, use_rep=REP)
    linear = reference.copy()
    sp.pp.prepare(linear, layer="counts", log1p=False)
    with pytest.raises(ValueError, match="on the scale 'logarithm' in adata and 'linear' in reference"):
        sp.tl.impute(query, reference=linear, use_rep=REP)


def test_genes_that_are_carried_are_named(two: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    dense = two.X.toarray()
    dense[(two.obs["slice"] == "slice_2").to_numpy(), :7] = 0
    two.X = dense
    sp.tl.impute(two, use_rep=REP, library_key="slice")
    assert f"all values there are zero: {two.var_names[0]!r}, " in caplog.text
    assert "and 2 others ('slice_2' lacks 7)" in caplog.text


def test_a_reference_without_further_genes(pair: tuple[ad.AnnData, ad.AnnData]) -> None:
    query, reference = pair
    with pytest.raises(ValueError, match="all 110 genes of the reference are in adata"):
        sp.tl.impute(query, reference=reference[:, 10:].copy(), use_rep=REP)
