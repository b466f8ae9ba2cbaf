"""Refinement on AnnData: what is kept, what is written, and never across slices unless asked."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp


@pytest.fixture
def adata() -> ad.AnnData:
    """Return 10 by 10 spots, the left half "a", the right half "b", and one "b" astray."""
    grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    adata = ad.AnnData(np.ones((100, 1), dtype=np.float32), obsm={"spatial": grid})
    labels = np.where(grid[:, 0] < 5, "a", "b")
    labels[22] = "b"
    adata.obs["spotscape_domain"] = pd.Categorical(labels)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=4)
    return adata


@pytest.fixture
def stack(adata: ad.AnnData) -> ad.AnnData:
    """Return three slices over each other: the middle one is all "b", the others all "a"."""
    slices = {name: adata.copy() for name in ("0", "1", "2")}
    stack = ad.concat(slices, label="slice", index_unique="-")
    stack.obs["slice"] = stack.obs["slice"].astype("category")
    stack.obs["spotscape_domain"] = pd.Categorical(np.where(stack.obs["slice"] == "1", "b", "a"))
    sp.pp.spatial_neighbors_3d(stack, library_key="slice", spatial_key="spatial", slice_gap=1, n_neighs=2)
    return stack


def test_the_astray_spot_and_nothing_else(adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    before = adata.obs["spotscape_domain"].copy()
    with caplog.at_level("INFO"):
        assert sp.tl.refine_domains(adata) is None
    assert "Refinement changes 1 of 100 spots." in caplog.text
    pd.testing.assert_series_equal(adata.obs["spotscape_domain"], before)
    refined = adata.obs["spotscape_domain_refined"]
    assert np.flatnonzero(refined != before).tolist() == [22]
    assert refined.iloc[22] == "a"
    entry = adata.uns["spotscape_domain_refined"]
    assert entry["n_changed"] == 1
    assert entry["n_changed_by_pass"].tolist() == [1]
    assert entry["params"] == {
        "key": "spotscape_domain",
        "neighbors_key": "spatial_neighbors",
        "n_passes": 1,
        "across_slices": False,
    }


def test_passes_are_counted_one_by_one(adata: ad.AnnData) -> None:
    sp.tl.refine_domains(adata, n_passes=5, key_added="again")
    assert adata.uns["again"]["n_changed_by_pass"].tolist() == [1, 0]


class TestSlices:
    """Each slice votes by itself, unless asked otherwise."""

    @pytest.mark.parametrize("library_key", [None, "slice"])
    def test_stay_apart(self, stack: ad.AnnData, library_key: str | None) -> None:
        sp.tl.refine_domains(stack, neighbors_key="spatial_3d_neighbors", library_key=library_key)
        assert stack.uns["spotscape_domain_refined"]["n_changed"] == 0
        assert stack.uns["spotscape_domain_refined"]["params"]["library_key"] == "slice"

    def test_vote_together_if_asked(self, stack: ad.AnnData) -> None:
        with pytest.warns(UserWarning, match="no spot is left in: b. Refinement removes thin domains"):
            sp.tl.refine_domains(stack, neighbors_key="spatial_3d_neighbors", across_slices=True)
        assert stack.uns["spotscape_domain_refined"]["n_changed"] == 100
        assert [*stack.obs["spotscape_domain_refined"].cat.categories] == ["a"]


def test_a_layer_of_one_spot_is_lost(adata: ad.AnnData) -> None:
    # The case in which it hurts: on a hexagon a line of spots has two neighbours of its own and four others.
    rows = np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(11) for x in range(11)])
    adata = ad.AnnData(np.ones((121, 1), dtype=np.float32), obsm={"spatial": rows})
    adata.obs["layer"] = pd.Categorical(np.repeat(["L1"] * 5 + ["L2"] + ["L3"] * 5, 11))
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.refine_domains(adata, key="layer")
    # Two on either side make no majority of six: one layer keeps its line against two different ones.
    assert (adata.obs["layer_refined"] == "L2").sum() >= 9
    adata.obs["layer"] = pd.Categorical(np.repeat(["L1"] * 5 + ["L2"] + ["L1"] * 5, 11))
    with pytest.warns(UserWarning, match="no spot is left in: L2"):
        sp.tl.refine_domains(adata, key="layer")
    assert list(adata.obs["layer_refined"].cat.categories) == ["L1"]


def test_unlabelled_spots_stay_unlabelled(adata: ad.AnnData) -> None:
    adata.obs.loc[adata.obs_names[22], "spotscape_domain"] = np.nan
    sp.tl.refine_domains(adata)
    assert adata.obs["spotscape_domain_refined"].isna().sum() == 1
    assert adata.uns["spotscape_domain_refined"]["n_changed"] == 0


def test_copy(adata: ad.AnnData) -> None:
    other = sp.tl.refine_domains(adata, copy=True)
    assert "spotscape_domain_refined" in other.obs
    assert "spotscape_domain_refined" not in adata.obs
    assert "spotscape_domain_refined" not in adata.uns


BAD = [
    ({"key": "none"}, KeyError, r"'none' not found in adata.obs, .*sp.tl.domains"),
    ({"key": "share"}, TypeError, r"key='share' names numbers \(float64\), expected groups"),
    ({"neighbors_key": "none"}, KeyError, r"'none' not found in adata.uns, .*sp.pp.spatial_neighbors_knn\(adata\)"),
    ({"library_key": "none"}, KeyError, "'none' not found in adata.obs"),
    ({"key_added": "spotscape_domain"}, ValueError, "would overwrite the domains that are refined"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_leave_the_data_as_they_were(
    adata: ad.AnnData, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    adata.obs["share"] = np.linspace(0, 1, 100)
    before = {*adata.obs}, {*adata.uns}
    with pytest.raises(error, match=message):
        sp.tl.refine_domains(adata, **arguments)  # type: ignore[arg-type]
    assert ({*adata.obs}, {*adata.uns}) == before
