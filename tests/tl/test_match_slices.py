"""Matches between slices on AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "spotscape_match"
SIZES = {"s1": 40, "s2": 30, "s3": 20}


@pytest.fixture
def slices() -> ad.AnnData:
    """Return three slices in shuffled order, with an embedding, labels and coordinates in one frame."""
    rng = np.random.default_rng(0)
    names = np.repeat(list(SIZES), list(SIZES.values()))
    adata = ad.AnnData(np.zeros((90, 1), dtype="float32"), obs=pd.DataFrame(index=[f"spot{i}" for i in range(90)]))
    adata.obs["slice"] = pd.Categorical(names, categories=[*SIZES, "gone"])
    labels = rng.integers(0, 3, 90)
    adata.obs["layer"] = pd.Categorical.from_codes(labels, ["top", "middle", "bottom"])
    adata.obsm["X_spotscape"] = np.eye(5)[labels] * 4 + rng.normal(size=(90, 5))
    adata.uns["spotscape"] = {"params": {}}
    adata.obsm["spatial_aligned"] = rng.random((90, 2)) * 10
    adata.obsm["spatial"] = adata.obsm["spatial_aligned"] + 3
    return adata[rng.permutation(90)].copy()


def brute_force(adata: ad.AnnData, query: str, reference: str, k: int) -> dict[str, list[str]]:
    x = adata.obsm["X_spotscape"]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    q, r = (np.flatnonzero(adata.obs["slice"] == name) for name in (query, reference))
    return {adata.obs_names[i]: adata.obs_names[r[np.argsort(-(x[r] @ x[i]), kind="stable")[:k]]].to_list() for i in q}


def test_matches_are_those_of_the_full_matrix(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s2", n_matches=4, offset="none", labels_key="layer")
    table = sp.get.matches_df(slices)
    assert table.columns.to_list() == ["query", "reference", "rank", "similarity"]
    found = table.groupby("query")["reference"].agg(list).to_dict()
    assert found == brute_force(slices, "s1", "s2", 4) | brute_force(slices, "s3", "s2", 4)
    assert (table.groupby("query")["similarity"].diff().dropna() <= 0).all()
    assert set(table["rank"]) == {1, 2, 3, 4}

    first = table[table["rank"] == 1].set_index("query")
    obs = slices.obs[slices.obs["slice"] != "s2"]
    assert (obs[KEY].astype(str) == first["reference"].reindex(obs.index)).all()
    np.testing.assert_array_equal(obs[f"{KEY}_similarity"], first["similarity"].reindex(obs.index))
    pd.testing.assert_frame_equal(
        sp.get.matches_df(slices, max_rank=1), table[table["rank"] == 1].reset_index(drop=True)
    )


def test_the_encoder_that_was_run_need_not_be_named(slices: ad.AnnData) -> None:
    expected = sp.tl.match_slices(slices, library_key="slice", reference="s2", copy=True)
    slices.obsm["X_spacross"] = slices.obsm["X_spotscape"]
    slices.uns["spacross"] = {"params": {}}
    with pytest.raises(ValueError, match="has 'X_spotscape' and 'X_spacross'; name one: use_rep="):
        sp.tl.match_slices(slices, library_key="slice", reference="s2")
    del slices.obsm["X_spotscape"]
    sp.tl.match_slices(slices, library_key="slice", reference="s2")
    assert slices.uns["spotscape_match"]["params"]["use_rep"] == "X_spacross"
    assert (slices.obsp["spotscape_match_similarity"] != expected.obsp["spotscape_match_similarity"]).nnz == 0


def test_labels_are_voted_for(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s1", query="s3", n_matches=5, labels_key="layer")
    table = sp.get.matches_df(slices)
    table["label"] = slices.obs["layer"].astype(str)[table["reference"]].to_numpy()
    shares = table.pivot_table("similarity", "query", "label", aggfunc="sum").fillna(0)
    obs = slices.obs.loc[shares.index]
    assert (obs[f"{KEY}_label"].astype(str) == shares.idxmax(axis=1)).all()
    np.testing.assert_allclose(obs[f"{KEY}_confidence"], shares.max(axis=1) / shares.sum(axis=1), rtol=1e-5)
    assert (obs[f"{KEY}_label"].astype(str) == obs["layer"].astype(str)).mean() > 0.9


def test_labels_keep_their_colours(slices: ad.AnnData) -> None:
    slices.uns["layer_colors"] = ["#111111", "#222222", "#333333"]
    sp.tl.match_slices(slices, library_key="slice", reference="s1", labels_key="layer")
    assert list(slices.uns["spotscape_match_label_colors"]) == slices.uns["layer_colors"]


def test_what_is_written(slices: ad.AnnData) -> None:
    before = set(slices.obs)
    sp.tl.match_slices(slices, library_key="slice", reference="s1", query=["s3"], labels_key="layer", n_matches=3)
    other = slices.obs["slice"] != "s3"
    assert set(slices.obs) - before == {KEY, f"{KEY}_similarity", f"{KEY}_label", f"{KEY}_confidence"}
    for column in set(slices.obs) - before:
        assert slices.obs[column].isna().to_numpy().tolist() == other.tolist()
    assert slices.obs[f"{KEY}_similarity"].dtype == slices.obs[f"{KEY}_confidence"].dtype == np.float32
    assert slices.obs[f"{KEY}_label"].cat.categories.to_list() == ["top", "middle", "bottom"]
    pairs = slices.obsp[f"{KEY}_similarity"]
    assert isinstance(pairs, sparse.csr_matrix)
    assert pairs.dtype == np.float32
    assert pairs.nnz == 20 * 3
    record = slices.uns[KEY]
    assert record["params"]["query"] == ["s3"]
    assert record["n_query"].tolist() == record["n_matched"].tolist() == [20]


def test_a_subset_keeps_its_pairs(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s1", n_matches=2)
    table = sp.get.matches_df(slices)
    part = slices[::2].copy()
    kept = table[table["query"].isin(part.obs_names) & table["reference"].isin(part.obs_names)]
    found = sp.get.matches_df(part)
    assert set(zip(found["query"], found["reference"], strict=True)) == set(
        zip(kept["query"], kept["reference"], strict=True)
    )


def test_slices_are_matched_each_by_itself(slices: ad.AnnData) -> None:
    whole = sp.tl.match_slices(slices, library_key="slice", reference="s1", copy=True)
    alone = sp.tl.match_slices(slices, library_key="slice", reference="s1", query="s2", copy=True)
    assert KEY not in slices.obs
    rows = slices.obs["slice"] == "s2"
    np.testing.assert_array_equal(whole.obs.loc[rows, f"{KEY}_similarity"], alone.obs.loc[rows, f"{KEY}_similarity"])
    assert (whole.obs.loc[rows, KEY].astype(str) == alone.obs.loc[rows, KEY].astype(str)).all()


def test_a_slice_and_its_shuffled_copy_match_spot_by_spot(slices: ad.AnnData) -> None:
    one = slices[slices.obs["slice"] == "s1"].copy()
    two = one[np.random.default_rng(1).permutation(one.n_obs)].copy()
    two.obs_names = two.obs_names + "_copy"
    both = ad.concat({"a": one, "b": two}, label="slice")
    both.obs["slice"] = both.obs["slice"].astype("category")
    both.uns["spotscape"] = {"params": {}}
    sp.tl.match_slices(both, library_key="slice", reference="a", mutual=True)
    assert (both.obs[KEY].dropna().astype(str) + "_copy" == both.obs[KEY].dropna().index).all()
    assert both.obs[KEY].notna().sum() == 40


def test_registered_matches_are_near(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s1", spatial_key="spatial_aligned", radius=2.0)
    table = sp.get.matches_df(slices)
    where = pd.DataFrame(slices.obsm["spatial_aligned"], index=slices.obs_names)
    gaps = np.linalg.norm(where.loc[table["query"]].to_numpy() - where.loc[table["reference"]].to_numpy(), axis=1)
    assert gaps.max() <= 2
    in_reach = (slices.obs["slice"] != "s1").sum()
    assert 0 < slices.obs[KEY].notna().sum() <= in_reach
    sp.tl.match_slices(slices, library_key="slice", reference="s1", spatial_key="spatial_aligned")
    reference = slices[slices.obs["slice"] == "s1"].obsm["spatial_aligned"]
    nearest = np.sort(np.linalg.norm(reference[:, None] - reference[None], axis=2), axis=1)[:, 1]
    assert slices.uns[KEY]["params"]["radius"] == pytest.approx(5 * np.median(nearest))


def test_slices_out_of_reach_warn(slices: ad.AnnData) -> None:
    slices.obsm["spatial_aligned"][slices.obs["slice"] == "s3"] += 1000
    with pytest.warns(UserWarning, match=r"no spot of \['s3'\] has a match"):
        sp.tl.match_slices(
            slices, library_key="slice", reference="s1", spatial_key="spatial_aligned", labels_key="layer"
        )
    assert slices.obs.loc[slices.obs["slice"] == "s3", [KEY, f"{KEY}_label"]].isna().all(axis=None)


def test_averaging_over_neighbours(slices: ad.AnnData) -> None:
    sp.pp.spatial_neighbors_knn(slices, library_key="slice", n_neighs=3)
    graph = sparse.csr_array(slices.obsp["spatial_connectivities"]).toarray() + np.eye(90)
    by_hand = slices.copy()
    by_hand.obsm["X_spotscape"] = (graph / graph.sum(1, keepdims=True)) @ slices.obsm["X_spotscape"]
    sp.tl.match_slices(slices, library_key="slice", reference="s1", n_hops=1)
    sp.tl.match_slices(by_hand, library_key="slice", reference="s1")
    difference = slices.obsp[f"{KEY}_similarity"] - by_hand.obsp[f"{KEY}_similarity"]
    assert abs(difference).max() < 1e-5


def test_builds_the_default_graph_where_averaging_needs_it(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s1", n_hops=1)
    assert {"spatial_connectivities", f"{KEY}_similarity"} <= set(slices.obsp)
    assert {"spatial_neighbors", KEY} <= set(slices.uns)


def test_fewer_reference_spots_than_matches(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s3", n_matches=50)
    assert (sp.get.matches_df(slices).groupby("query").size() == 20).all()


def test_gaps_in_the_labels_of_the_reference(slices: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    rows = slices.obs["slice"] == "s1"
    slices.obs.loc[rows & (slices.obs["layer"] == "top"), "layer"] = np.nan
    sp.tl.match_slices(slices, library_key="slice", reference="s1", labels_key="layer", n_matches=40)
    assert "have no label and do not vote" in caplog.text
    given = slices.obs.loc[~rows, f"{KEY}_label"]
    assert given.notna().all()
    assert set(given) <= {"middle", "bottom"}


def test_labels_that_are_strings(slices: ad.AnnData) -> None:
    expected = sp.tl.match_slices(slices, library_key="slice", reference="s1", labels_key="layer", copy=True)
    slices.obs["layer"] = slices.obs["layer"].astype(str)
    sp.tl.match_slices(slices, library_key="slice", reference="s1", labels_key="layer")
    column = f"{KEY}_label"
    pd.testing.assert_series_equal(slices.obs[column].astype("string"), expected.obs[column].astype("string"))


def test_labels_of_an_earlier_call_do_not_stay(slices: ad.AnnData) -> None:
    sp.tl.match_slices(slices, library_key="slice", reference="s1", labels_key="layer")
    sp.tl.match_slices(slices, library_key="slice", reference="s2")
    assert f"{KEY}_label" not in slices.obs
    assert f"{KEY}_confidence" not in slices.obs


def test_names_that_are_numbers(slices: ad.AnnData) -> None:
    slices.obs["slice"] = slices.obs["slice"].cat.remove_unused_categories().cat.rename_categories([151673, 151674, 5])
    sp.tl.match_slices(slices, library_key="slice", reference="151673", query=151674)
    assert slices.uns[KEY]["params"]["query"] == ["151674"]


def test_global_state(slices: ad.AnnData, global_state_untouched: Callable[[], Any]) -> None:
    with global_state_untouched():
        sp.tl.match_slices(slices, library_key="slice", reference="s1")


def break_embedding(adata: ad.AnnData) -> None:
    adata.obsm["X_spotscape"][3, 1] = np.nan


def one_slice(adata: ad.AnnData) -> None:
    adata.obs["slice"] = pd.Categorical(["s1"] * adata.n_obs, categories=["s1", "s2"])


def no_labels(adata: ad.AnnData) -> None:
    adata.obs.loc[adata.obs["slice"] == "s1", "layer"] = np.nan


def broken_coordinates(adata: ad.AnnData) -> None:
    adata.obsm["spatial_aligned"][0] = np.nan


def one_place(adata: ad.AnnData) -> None:
    adata.obsm["spatial_aligned"][:] = 1


def same_names(adata: ad.AnnData) -> None:
    adata.obs_names = ["a"] * adata.n_obs


def numbers(adata: ad.AnnData) -> None:
    adata.obs["layer"] = np.linspace(0, 1, adata.n_obs)


def empty_embedding(adata: ad.AnnData) -> None:
    adata.obsm["X_spotscape"] = np.zeros((90, 0))


REGISTERED = {"spatial_key": "spatial_aligned"}


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (one_slice, {}, ValueError, "holds one slice; two slices or more"),
        (
            None,
            {"reference": "s9"},
            ValueError,
            "'s9' is no slice of adata.obs\\['slice'\\], which has: 's1', 's2', 's3'",
        ),
        (None, {"reference": "gone"}, ValueError, "'gone' is no slice"),
        (None, {"query": ["s2", "s9"]}, ValueError, "'s9' is no slice"),
        (None, {"query": []}, ValueError, "query is empty"),
        (None, {"query": ["s1", "s2"]}, ValueError, "reference='s1' is also among the queries"),
        (None, {"library_key": "sample"}, KeyError, "'sample' not found in adata.obs"),
        (None, {"use_rep": "X_pca"}, KeyError, "'X_pca' not found in adata.obsm.*sp.tl.spotscape"),
        (break_embedding, {}, ValueError, "1 NaN or infinite"),
        (empty_embedding, {}, ValueError, "expected numbers \\(n_obs, d\\)"),
        (None, {"labels_key": "domain"}, KeyError, "'domain' not found in adata.obs"),
        (no_labels, {"labels_key": "layer"}, ValueError, "no spot of the reference 's1' has a label"),
        (numbers, {"labels_key": "layer"}, TypeError, "names numbers"),
        (None, {"spatial_key": "spatial_x"}, KeyError, "sp.pp.register_slices"),
        (broken_coordinates, REGISTERED, ValueError, "NaN or infinite coordinates"),
        (one_place, REGISTERED, ValueError, "one position for the whole reference"),
        (None, {"radius": 3.0}, ValueError, "radius=3.0 needs coordinates"),
        (None, {**REGISTERED, "radius": -1.0}, ValueError, "radius=-1.0 must be a positive number"),
        (None, {"n_matches": 0}, ValueError, "n_matches=0"),
        (None, {"n_hops": -1}, ValueError, "n_hops=-1"),
        (None, {"offset": "median"}, ValueError, "offset='median'"),
        (None, {"n_hops": 1, "neighbors_key": "other"}, KeyError, "'other' not found in adata.uns"),
        (same_names, {}, ValueError, "obs_names are not unique"),
        (None, {"device": "abacus"}, ValueError, "not a device"),
    ],
)
def test_bad_input_leaves_everything_as_it_was(
    slices: ad.AnnData, change: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    if change:
        change(slices)
    keys = {slot: set(getattr(slices, slot)) for slot in ("obs", "obsm", "obsp", "uns")}
    with pytest.raises(error, match=message):
        sp.tl.match_slices(slices, **{"library_key": "slice", "reference": "s1", **arguments})
    assert {slot: set(getattr(slices, slot)) for slot in keys} == keys


def test_no_table_without_matches(slices: ad.AnnData) -> None:
    with pytest.raises(KeyError, match=r"sp\.tl\.match_slices"):
        sp.get.matches_df(slices)
    sp.tl.match_slices(slices, library_key="slice", reference="s1")
    with pytest.raises(ValueError, match="max_rank=0"):
        sp.get.matches_df(slices, max_rank=0)
    with pytest.raises(TypeError, match="max_rank"):
        sp.get.matches_df(slices, max_rank=1.5)
