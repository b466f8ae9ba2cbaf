from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.stats import mannwhitneyu, norm

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

KEY = "spotscape_markers"
COLUMNS = ["group", "gene", "rank", "score", "log2_fold_change", "pvalue", "pvalue_adj", "share", "share_rest"]


@pytest.fixture(scope="module")
def _slices() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=4, n_spots=300, n_genes=200, difficulty=0.3, batch_effect=0.2, random_state=1
    )
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    adata.obs["age"] = pd.Categorical(np.where(adata.obs["slice"].isin(["slice_1", "slice_2"]), "young", "old"))
    return adata


@pytest.fixture
def slices(_slices: ad.AnnData) -> ad.AnnData:
    return _slices.copy()


@pytest.fixture
def one(_slices: ad.AnnData) -> ad.AnnData:
    return _slices[_slices.obs["slice"] == "slice_1"].copy()


def planted(adata: ad.AnnData) -> pd.DataFrame:
    return pd.DataFrame(adata.varm["domain_effect"], adata.var_names, adata.obs["domain"].cat.categories)


def with_effect(adata: ad.AnnData, domain: str, genes: list[str]) -> ad.AnnData:
    """Eightfold counts of genes, in a domain of old slices."""
    counts = adata.layers["counts"].toarray()
    rows = (adata.obs["domain"] == domain).to_numpy() & (adata.obs["age"] == "old").to_numpy()
    counts[np.ix_(rows, adata.var_names.get_indexer(genes))] *= 8
    changed = ad.AnnData(counts, obs=adata.obs.copy(), var=adata.var[[]].copy(), obsm=dict(adata.obsm))
    sp.pp.prepare(changed, library_key="slice")
    return changed


@pytest.mark.parametrize("method", ["pseudobulk", "wilcoxon", "t-test", "t-test_overestim_var"])
def test_planted_markers_are_found(slices: ad.AnnData, method: Any) -> None:
    sp.tl.markers(slices, key="domain", library_key="slice", method=method, neighbors_key=None)
    effect = planted(slices)
    for name, table in sp.get.markers_df(slices, n_genes=5).groupby("group", observed=True):
        contrast = effect[name] - effect.drop(columns=name).mean(axis=1)
        assert (contrast[table["gene"]] > 0.5).all()
        assert (table["log2_fold_change"] > 0).all()
        assert (table["pvalue_adj"] < 0.05).all()


def test_logarithms_without_counts_are_compared_by_spots(slices: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """As in files that others have normalised: the default finds markers, and says by what."""
    del slices.layers["counts"]
    with caplog.at_level("INFO"):
        sp.tl.markers(slices, key="domain", library_key="slice", neighbors_key=None)
    assert "Wilcoxon's test, as there are no counts: neither the expression nor" in caplog.text
    assert slices.uns[KEY]["params"]["method"] == "wilcoxon"
    with pytest.warns(UserWarning, match="conditions are compared without counts: .* p-values are far too small"):
        sp.tl.markers(slices, key="domain", library_key="slice", condition="age", neighbors_key=None)


def test_counts_of_a_file_are_those_of_memory(slices: ad.AnnData, tmp_path: Path) -> None:
    """``prepare`` leaves the counts of a file in its X, where pseudo-bulk finds them."""
    stored = ad.AnnData(slices.layers["counts"], obs=slices.obs, var=slices.var[[]], obsm=dict(slices.obsm))
    stored.write_h5ad(tmp_path / "a.h5ad")
    lazy = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    sp.pp.prepare(lazy, library_key="slice")
    for adata in (lazy, slices):
        sp.tl.markers(adata, key="domain", library_key="slice", neighbors_key=None)
    assert lazy.uns[KEY]["params"]["method"] == "pseudobulk"
    pd.testing.assert_frame_equal(sp.get.markers_df(lazy), sp.get.markers_df(slices), rtol=1e-4)


@pytest.mark.parametrize("record", [True, False])
def test_fold_changes_of_expression_without_a_logarithm(one: ad.AnnData, record: bool) -> None:
    """Scanpy undoes a logarithm that there is not, and finds changes of 2 to the power of hundreds."""
    linear = one.copy()
    sp.pp.prepare(linear, layer="counts", log1p=False)
    if not record:
        del linear.uns["prepare"]
    for adata in (one, linear):
        sp.tl.markers(adata, key="domain", method="wilcoxon", neighbors_key=None)
    ours, theirs = sp.get.markers_df(linear), sp.get.markers_df(one)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-6)


def test_spots_of_a_donor_who_is_not_known_are_not_compared(slices: ad.AnnData) -> None:
    slices.obs["donor"] = slices.obs["slice"].cat.rename_categories(str.upper)
    known = (slices.obs["donor"] != "SLICE_4").to_numpy()
    rest = slices[known].copy()
    slices.obs["donor"] = slices.obs["donor"].where(known)
    tables = []
    for adata in (slices, rest):
        sp.tl.markers(adata, key="domain", donor_key="donor", neighbors_key=None)
        assert adata.uns[KEY]["params"]["method"] == "pseudobulk"
        tables.append(sp.get.markers_df(adata).sort_values(["group", "gene"])["pvalue"].to_numpy())
    np.testing.assert_allclose(*tables)


def test_table(one: ad.AnnData) -> None:
    sp.tl.markers(one, key="domain", min_share=0, min_fold_change=1)
    table = sp.get.markers_df(one)
    assert list(table.columns) == [*COLUMNS, "moran_i"]
    assert list(table["group"].cat.categories) == list(one.obs["domain"].cat.categories)
    for _, part in table.groupby("group", observed=True):
        assert part["rank"].tolist() == list(range(1, 201))
        assert (np.diff(part["score"]) <= 0).all()
        assert (part["pvalue_adj"] >= part["pvalue"]).all()
    assert len(sp.get.markers_df(one, group="Layer_2", n_genes=7)) == 7
    assert len(sp.get.markers_df(one, group=["Layer_2", "Layer_3"])) == 400
    assert sp.get.markers_df(one, max_pvalue_adj=0.01)["pvalue_adj"].max() <= 0.01


@pytest.mark.parametrize("method", ["wilcoxon", "t-test"])
def test_between_spots_it_is_scanpys_test(one: ad.AnnData, method: Any) -> None:
    sp.tl.markers(one, key="domain", method=method, n_genes=20, min_share=0, min_fold_change=1.0)
    sc.tl.rank_genes_groups(one, "domain", method=method)
    for name in one.obs["domain"].cat.categories:
        ours = sp.get.markers_df(one, group=name).set_index("gene")
        theirs = sc.get.rank_genes_groups_df(one, group=name).set_index("names").loc[ours.index]
        assert np.allclose(ours["log2_fold_change"], theirs["logfoldchanges"], rtol=1e-4)
        if method == "wilcoxon":  # Scanpy's own correction for ties compiles for 15 s.
            scores, pvalues = _ranks_corrected_for_ties(one, list(ours.index), one.obs["domain"] == name)
        else:
            scores, pvalues = theirs["scores"], theirs["pvals"]
        assert np.allclose(ours["score"], scores, rtol=1e-4)
        assert np.allclose(ours["pvalue"], pvalues, rtol=1e-4)
        assert ours["score"].tolist() == sorted(ours["score"], reverse=True)


def _ranks_corrected_for_ties(adata: ad.AnnData, genes: list[str], inside: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """SciPy's scores and p-values of Mann and Whitney's test."""
    dense = adata[:, genes].X.toarray().astype(np.float64)
    found = mannwhitneyu(dense[inside], dense[~inside], method="asymptotic", use_continuity=False)
    above = found.statistic > inside.sum() * (~inside).sum() / 2
    return np.where(above, 1, -1) * norm.isf(found.pvalue / 2), found.pvalue


def test_shares_and_morans_i_by_hand(one: ad.AnnData) -> None:
    sp.tl.markers(one, key="domain")
    row = sp.get.markers_df(one, group="Layer_1", n_genes=1).iloc[0]
    values = np.asarray(one[:, row["gene"]].X.todense()).ravel().astype(float)
    inside = (one.obs["domain"] == "Layer_1").to_numpy()
    assert row["share"] == pytest.approx((values[inside] > 0).mean())
    assert row["share_rest"] == pytest.approx((values[~inside] > 0).mean())
    weights = one.obsp["spatial_connectivities"].toarray()
    weights /= weights.sum(axis=1, keepdims=True)
    away = values - values.mean()
    assert row["moran_i"] == pytest.approx(
        len(values) * (away @ weights @ away) / weights.sum() / (away @ away), rel=1e-4
    )


def test_morans_i_does_not_see_offsets_between_slices(slices: ad.AnnData) -> None:
    matrix = slices.X.toarray()
    shifted = slices.copy()
    shifted.X = matrix + 3.3 * slices.obs["slice"].cat.codes.to_numpy()[:, None].astype(np.float32)
    for adata in (slices, shifted):
        sp.tl.markers(adata, key="domain", library_key="slice", method="pseudobulk")
    ours, theirs = (sp.get.markers_df(adata)["moran_i"] for adata in (slices, shifted))
    assert np.allclose(ours, theirs, atol=1e-4)


def test_slices_are_the_replicates(slices: ad.AnnData) -> None:
    sp.tl.markers(slices, key="domain", library_key="slice")
    assert slices.uns[KEY]["params"]["method"] == "pseudobulk"
    doubled = ad.concat([slices, slices], index_unique="-")
    doubled.obs["slice"] = doubled.obs["slice"].astype("category")
    sp.tl.markers(doubled, key="domain", library_key="slice")
    # The same spots twice say no more about the slices; a test between spots would believe them.
    ours, theirs = sp.get.markers_df(slices, n_genes=50), sp.get.markers_df(doubled, n_genes=50)
    assert np.allclose(
        ours.sort_values(["group", "gene"])["score"].mean(),
        theirs.sort_values(["group", "gene"])["score"].mean(),
        rtol=0.1,
    )


def test_a_condition_is_found_in_its_domain(slices: ad.AnnData) -> None:
    genes = slices.var_names[np.argsort(-np.asarray(slices.layers["counts"].sum(axis=0)).ravel())[20:24]].to_list()
    adata = with_effect(slices, "Layer_2", genes)
    sp.tl.markers(adata, key="domain", library_key="slice", condition="age", reference="young")
    table = sp.get.markers_df(adata)
    assert set(table["condition"]) == {"old"}
    assert set(table["reference"]) == {"young"}
    assert set(sp.get.markers_df(adata, group="Layer_2", n_genes=4)["gene"]) == set(genes)
    assert (sp.get.markers_df(adata, group="Layer_2", n_genes=4)["log2_fold_change"] > 1).all()
    other = sp.get.markers_df(adata, group="Layer_1")
    assert (other.loc[other["gene"].isin(genes), "pvalue_adj"] > 0.05).all()
    # Seen from the other condition they are down, and as far up in the list.
    sp.tl.markers(adata, key="domain", library_key="slice", condition="age", reference="old")
    assert (sp.get.markers_df(adata, group="Layer_2", n_genes=4)["log2_fold_change"] < -1).all()


def test_conditions_without_replicates_are_compared_with_a_warning(slices: ad.AnnData) -> None:
    part = slices[slices.obs["slice"].isin(["slice_1", "slice_2", "slice_3"])].copy()
    with pytest.warns(UserWarning, match=r"without replicates: condition 'old' has one slice, and 2 are the least"):
        sp.tl.markers(part, key="domain", library_key="slice", condition="age", n_genes=5)
    assert part.uns[KEY]["params"]["method"] == "wilcoxon"
    assert len(sp.get.markers_df(part)) == 15
    with pytest.raises(ValueError, match="needs replicates: condition 'old' has one slice"):
        sp.tl.markers(part, key="domain", library_key="slice", condition="age", method="pseudobulk")


def test_small_domains_are_left_out(one: ad.AnnData) -> None:
    names = one.obs["domain"].astype(str).to_numpy()
    names[:4] = "tiny"
    one.obs["domain"] = pd.Categorical(names)
    with pytest.warns(UserWarning, match="domains that do not have 10 spots are left out: 'tiny'"):
        sp.tl.markers(one, key="domain", n_genes=3)
    assert list(one.uns[KEY]["left_out"]) == ["tiny"]
    assert set(sp.get.markers_df(one)["group"]) == {"Layer_1", "Layer_2", "Layer_3"}
    with pytest.raises(ValueError, match=r"group='tiny' has no markers"):
        sp.get.markers_df(one, group="tiny")


def test_a_domain_of_one_slice_has_no_replicates(slices: ad.AnnData) -> None:
    names = slices.obs["domain"].astype(str).to_numpy()
    names[:40] = "private"
    slices.obs["domain"] = pd.Categorical(names)
    with pytest.warns(UserWarning, match="10 spots in at least 2 slices on either side are left out: 'private'"):
        sp.tl.markers(slices, key="domain", library_key="slice", neighbors_key=None)


def test_spots_without_a_domain_are_not_there(one: ad.AnnData) -> None:
    one.obs.loc[one.obs_names[:60], "domain"] = np.nan
    sp.tl.markers(one, key="domain", neighbors_key=None)
    without = one[60:].copy()
    sp.tl.markers(without, key="domain", neighbors_key=None)
    pd.testing.assert_frame_equal(sp.get.markers_df(one), sp.get.markers_df(without))


def test_dense_and_sparse_agree(slices: ad.AnnData) -> None:
    dense = slices.copy()
    dense.X, dense.layers["counts"] = dense.X.toarray(), dense.layers["counts"].toarray()
    for adata in (slices, dense):
        sp.tl.markers(adata, key="domain", library_key="slice")
    pd.testing.assert_frame_equal(sp.get.markers_df(slices), sp.get.markers_df(dense), rtol=1e-4)


def test_nothing_else_is_touched(
    slices: ad.AnnData, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    before, matrix = slices.copy(), slices.X.copy()
    with global_state_untouched():
        result = sp.tl.markers(slices, key="domain", method="wilcoxon", copy=True)
    assert set(result.uns) - set(before.uns) == {KEY}
    assert set(slices.uns) == set(before.uns)
    assert (matrix != slices.X).nnz == 0
    assert (slices.obsp["spatial_connectivities"] != before.obsp["spatial_connectivities"]).nnz == 0


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"key": "nothing"}, KeyError, "'nothing' not found in adata.obs"),
        ({"key": "library_size"}, TypeError, "key='library_size' names numbers"),
        ({"key": "constant"}, ValueError, "one domain; there is nothing to compare"),
        ({"condition": "constant"}, ValueError, "one condition, 'a'; two are needed"),
        ({"condition": "age", "reference": "ancient"}, ValueError, "reference='ancient' is not one of"),
        ({"reference": "young"}, ValueError, "is a condition, but condition=None"),
        ({"method": "pseudobulk"}, ValueError, "needs replicates: library_key names no slices"),
        ({"method": "pseudobulk", "library_key": "constant"}, ValueError, "needs replicates: there is one slice"),
        ({"method": "pseudobulk", "library_key": "slice", "layer": "logs"}, ValueError, "needs counts: neither"),
        ({"method": "wilcoxon", "layer": "counts"}, ValueError, "looks like raw counts"),
        ({"condition": "mixed", "library_key": "slice", "method": "pseudobulk"}, ValueError, "of several conditions"),
        ({"layer": "nothing"}, KeyError, "'nothing' not found in adata.layers"),
        ({"layer": "negative"}, ValueError, "negative values"),
        ({"layer": "broken"}, ValueError, "NaN or infinite"),
        ({"min_spots": 10_000}, ValueError, "no domain has 10000 spots; there is nothing to compare"),
        ({"neighbors_key": "none"}, KeyError, "'none' not found in adata.uns"),
        ({"library_key": "library_size"}, TypeError, "expected the name of a slice"),
    ],
)
def test_errors(slices: ad.AnnData, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    slices.obs["constant"] = pd.Categorical(["a"] * slices.n_obs)
    slices.obs["mixed"] = pd.Categorical(np.resize(["a", "b"], slices.n_obs))
    slices.layers["logs"] = slices.X.copy()
    slices.layers["negative"] = -slices.X
    slices.layers["broken"] = slices.X * np.nan
    if arguments.get("layer") == "logs":
        del slices.layers["counts"]
    before = set(slices.uns)
    with pytest.raises(error, match=match):
        sp.tl.markers(slices, **{"key": "domain", **arguments})
    assert set(slices.uns) == before


def test_without_expression_or_results(one: ad.AnnData) -> None:
    with pytest.raises(KeyError, match=r"Find markers first: sp.tl.markers"):
        sp.get.markers_df(one)
    with pytest.raises(ValueError, match="is not a record of that kind"):
        sp.get.markers_df(one, key="spatial_neighbors")
    one.X = None
    with pytest.raises(ValueError, match=r"adata\.X is None"):
        sp.tl.markers(one, key="domain")


def test_table_errors(one: ad.AnnData) -> None:
    sp.tl.markers(one, key="domain", neighbors_key=None, n_genes=3)
    with pytest.raises(ValueError, match="n_genes=0"):
        sp.get.markers_df(one, n_genes=0)


def with_panels(adata: ad.AnnData, lost: list[str], where: list[str]) -> ad.AnnData:
    """Genes that some slices have not measured are zero there, as concatenation leaves them."""
    counts = adata.layers["counts"].toarray()
    counts[np.ix_(adata.obs["slice"].isin(where), adata.var_names.isin(lost))] = 0
    changed = ad.AnnData(counts, obs=adata.obs.copy(), var=adata.var[[]].copy(), obsm=dict(adata.obsm))
    sp.pp.prepare(changed, library_key="slice")
    return changed


@pytest.mark.parametrize("method", ["pseudobulk", "wilcoxon"])
@pytest.mark.parametrize("condition", [None, "age"])
def test_genes_that_a_slice_did_not_measure_are_left_out(
    slices: ad.AnnData, method: Any, condition: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    seen = np.asarray(slices.layers["counts"].astype(bool).sum(axis=0)).ravel()
    lost = list(slices.var_names[seen > 100][:80])
    changed = with_panels(slices, lost, ["slice_1", "slice_2"])
    arguments: dict[str, Any] = {"key": "domain", "library_key": "slice", "condition": condition, "method": method}
    sp.tl.markers(changed, **arguments)
    assert f"because a slice lacks them: {lost[0]!r}, {lost[1]!r}, " in caplog.text
    assert f"{lost[9]!r} and 70 others." in caplog.text
    without = changed[:, ~changed.var_names.isin(lost)].copy()
    sp.tl.markers(without, **arguments)
    tables = [sp.get.markers_df(each) for each in (changed, without)]
    assert not tables[0]["gene"].isin(lost).any()
    pd.testing.assert_frame_equal(*tables)


def test_a_slice_without_the_domain_costs_it_no_marker(slices: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """A gene of one domain is silent in a slice that lacks the domain, which takes no part in this comparison."""
    keep = (slices.obs["slice"] != "slice_4") | (slices.obs["domain"] != "Layer_2")
    gene, broad = planted(slices)["Layer_2"].nlargest(2).index
    counts = slices.layers["counts"].toarray()
    counts[(slices.obs["domain"] != "Layer_2").to_numpy(), slices.var_names.get_loc(gene)] = 0
    counts[(slices.obs["slice"] == "slice_4").to_numpy(), slices.var_names.get_loc(broad)] = 0
    changed = ad.AnnData(counts, obs=slices.obs.copy(), var=slices.var[[]].copy())[keep].copy()
    sp.pp.prepare(changed, library_key="slice")
    arguments: dict[str, Any] = {"key": "domain", "library_key": "slice", "neighbors_key": None}
    sp.tl.markers(changed, **arguments)
    table = sp.get.markers_df(changed)
    assert table.loc[table["gene"] == gene, "group"].tolist() == ["Layer_2"]
    assert table.loc[table["gene"] == gene, "rank"].max() <= 3
    assert table.loc[table["gene"] == broad, "group"].tolist() == ["Layer_2"]
    assert "Tested only where all slices that take part have them: " in caplog.text
    without = changed[changed.obs["slice"] != "slice_4"].copy()
    sp.tl.markers(without, **arguments)
    pd.testing.assert_frame_equal(
        *(sp.get.markers_df(each, group="Layer_2").set_index("gene").loc[[gene, broad]][["score", "pvalue"]]
          for each in (changed, without))
    )  # fmt: skip


def test_genes_without_a_count_change_no_p_value(one: ad.AnnData) -> None:
    more = ad.concat([one, ad.AnnData(one.X[:, :150] * 0, obs=one.obs[[]])], axis=1, merge="first")
    more.var_names_make_unique()
    more.uns["log1p"] = {}
    for adata in (one, more):
        sp.tl.markers(adata, key="domain", neighbors_key=None)
    pd.testing.assert_frame_equal(sp.get.markers_df(one), sp.get.markers_df(more))


def test_slices_without_a_common_domain_are_compared_by_spots(slices: ad.AnnData) -> None:
    slices.obs["own"] = pd.Categorical(slices.obs["slice"].astype(str) + slices.obs["domain"].astype(str))
    only = slices[(slices.obs["domain"] == "Layer_1") | (slices.obs["slice"] == "slice_2")].copy()
    sp.tl.markers(only, key="own", library_key="slice", neighbors_key=None)
    assert only.uns[KEY]["params"]["method"] == "wilcoxon"
    with pytest.raises(ValueError, match="no domain has 10 spots in at least 2 slices"):
        sp.tl.markers(only, key="own", library_key="slice", method="pseudobulk")


@pytest.mark.parametrize("library_key", [None, "slice"])
def test_a_domain_of_one_spot_does_not_stop_it(slices: ad.AnnData, library_key: str | None) -> None:
    names = slices.obs["domain"].astype(str).to_numpy()
    names[5] = "lonely"
    slices.obs["domain"] = pd.Categorical(names)
    with pytest.warns(UserWarning, match="'lonely'"):
        sp.tl.markers(slices, key="domain", library_key=library_key, neighbors_key=None, min_spots=2)
    assert set(sp.get.markers_df(slices)["group"]) == {"Layer_1", "Layer_2", "Layer_3"}


def test_sections_of_a_donor_are_one_replicate(slices: ad.AnnData) -> None:
    """Summing by donor is what naming the donors as slices does; twice the sections are no further replicates."""
    slices.obs["donor"] = pd.Categorical(
        slices.obs["slice"].map({f"slice_{n}": f"d{(n + 1) // 2}" for n in range(1, 5)})
    )
    # Donors have levels of their own in a domain, which their sections share.
    levels = np.random.default_rng(0).lognormal(0, 0.5, (2, slices.n_vars))[slices.obs["donor"].cat.codes]
    levels[(slices.obs["domain"] != "Layer_2").to_numpy()] = 1
    slices.layers["counts"] = np.round(slices.layers["counts"].toarray() * levels)
    sp.pp.prepare(slices, layer="counts", library_key="slice")
    sp.tl.markers(slices, key="domain", library_key="slice", donor_key="donor", neighbors_key=None)
    by_donor = sp.get.markers_df(slices)
    sp.tl.markers(slices, key="domain", library_key="donor", neighbors_key=None)
    pd.testing.assert_frame_equal(by_donor, sp.get.markers_df(slices))
    sp.tl.markers(slices, key="domain", library_key="slice", neighbors_key=None)
    by_slice = sp.get.markers_df(slices)
    assert (by_slice["pvalue"] < 1e-3).sum() > (by_donor["pvalue"] < 1e-3).sum()


def test_donors_with_both_conditions_are_compared_with_themselves(slices: ad.AnnData) -> None:
    """A donor's own level of a gene does not hide what differs within each; with a donor for each slice it does."""
    slices.obs["donor"] = pd.Categorical(slices.obs["slice"].map(dict(zip(
        ["slice_1", "slice_2", "slice_3", "slice_4"], ["a", "b", "a", "b"], strict=True
    ))))  # fmt: skip
    gene = slices.var_names[np.asarray(slices.layers["counts"].sum(axis=0)).ravel().argsort()[120]]
    counts = slices.layers["counts"].toarray()
    column = slices.var_names.get_loc(gene)
    counts[(slices.obs["donor"] == "a").to_numpy(), column] *= 8
    counts[(slices.obs["age"] == "old").to_numpy(), column] *= 8
    changed = ad.AnnData(counts, obs=slices.obs.copy(), var=slices.var[[]].copy(), obsm=dict(slices.obsm))
    sp.pp.prepare(changed, library_key="slice")
    arguments = {"key": "domain", "library_key": "slice", "condition": "age", "reference": "young"}
    found = []
    for donor_key in ("donor", None):
        warned = nullcontext() if donor_key else pytest.warns(UserWarning, match="donor_key='donor'")
        with warned:
            sp.tl.markers(changed, **arguments, donor_key=donor_key, neighbors_key=None)
        table = sp.get.markers_df(changed)
        found.append(table[table["gene"] == gene]["pvalue"].max())
    assert found[0] < 0.01 < found[1]


def test_donors_without_slices_are_compared_with_themselves(slices: ad.AnnData) -> None:
    """Conditions within donors need no name of a slice: the sums of a donor and condition are the same."""
    slices.obs["donor"] = slices.obs["slice"].map({"slice_1": "a", "slice_2": "b", "slice_3": "a", "slice_4": "b"})
    arguments: dict[str, Any] = {"key": "domain", "donor_key": "donor", "condition": "age", "neighbors_key": None}
    tables = []
    for library_key in ("slice", None):
        sp.tl.markers(slices, library_key=library_key, **arguments)
        assert slices.uns[KEY]["params"]["method"] == "pseudobulk"
        tables.append(sp.get.markers_df(slices))
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize(
    ("name", "groups", "told"),
    [("patient_id", "aabb", True), ("mouse", "aabb", True), ("patient", "abcd", False), ("patient", "aaaa", False),
     ("layer", "aabb", False)],
)  # fmt: skip
def test_donors_who_are_not_named_are_told(slices: ad.AnnData, name: str, groups: str, told: bool) -> None:
    slices.obs[name] = slices.obs["slice"].map(dict(zip(slices.obs["slice"].cat.categories, groups, strict=True)))
    arguments: dict[str, Any] = {"key": "domain", "library_key": "slice", "neighbors_key": None}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sp.tl.markers(slices, **arguments)
        assert not said
        sp.tl.markers(slices, **arguments, condition="age")
    assert [f"donor_key='{name}'" in str(one.message) for one in said] == [True] * told


def test_a_slice_is_of_one_donor(slices: ad.AnnData) -> None:
    slices.obs["donor"] = pd.Categorical(np.resize(["a", "b"], slices.n_obs))
    with pytest.raises(ValueError, match="slice 'slice_1' has spots of several donors"):
        sp.tl.markers(slices, key="domain", library_key="slice", donor_key="donor")
    slices.obs["donor"] = pd.Categorical(["a"] * slices.n_obs)
    with pytest.raises(ValueError, match="needs replicates: there is one donor"):
        sp.tl.markers(slices, key="domain", library_key="slice", donor_key="donor", method="pseudobulk")


def test_a_gene_of_few_spots_is_not_the_top_marker(one: ad.AnnData) -> None:
    """A gene in 1.4 % of a domain's spots, enormous there and absent elsewhere, against one that is in most of them."""
    counts = one.layers["counts"].toarray()
    rows = np.flatnonzero(one.obs["domain"] == "Layer_1")
    counts[:, :2] = 0
    counts[rows[: max(2, round(0.014 * len(rows)))], 0] = 400
    counts[rows[::2], 1] = 3
    changed = ad.AnnData(counts, obs=one.obs.copy(), var=one.var[[]].copy(), obsm=dict(one.obsm))
    sp.pp.prepare(changed)
    sp.tl.markers(changed, key="domain", neighbors_key=None)
    table = sp.get.markers_df(changed, group="Layer_1").set_index("gene")
    rare, common = (table.loc[name] for name in changed.var_names[:2])
    assert rare["share"] < 0.05
    assert common["share"] == pytest.approx(0.5, abs=0.01)
    passing = (table["share"] >= 0.1) & (table["log2_fold_change"] >= np.log2(1.5))
    assert passing.iloc[: passing.sum()].all()
    for part in (table[passing], table[~passing]):
        assert (np.diff(part["score"]) <= 0).all()
    assert rare["rank"] > passing.sum()
    assert common["rank"] <= passing.sum()


@pytest.mark.filterwarnings("ignore:.*zarr:UserWarning")
@pytest.mark.parametrize("condition", [None, "age"])
def test_scanpy_reads_them(slices: ad.AnnData, condition: str | None, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    slices.obs["domain"] = slices.obs["domain"].cat.rename_categories({"Layer_1": "a: b/c"})
    sp.tl.markers(slices, key="domain", library_key="slice", condition=condition, n_genes=15, neighbors_key=None)
    slices.write_zarr(tmp_path / "a.zarr")
    slices.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    ours = sp.get.markers_df(slices, group="Layer_2")
    theirs = sc.get.rank_genes_groups_df(back, group="Layer_2" if condition is None else "Layer_2 | young", key=KEY)
    assert theirs["names"].tolist() == ours["gene"].tolist()
    for mine, other in (("score", "scores"), ("pvalue_adj", "pvals_adj"), ("log2_fold_change", "logfoldchanges")):
        assert np.allclose(ours[mine], theirs[other])
    sc.pl.rank_genes_groups(slices, key=KEY, n_genes=5, show=False)
    if condition is None:
        sc.pl.rank_genes_groups_dotplot(slices, key=KEY, n_genes=2, dendrogram=False, show=False)
    plt.close("all")
