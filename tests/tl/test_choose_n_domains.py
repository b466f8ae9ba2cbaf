"""tl.choose_n_domains: what it writes, what tl.domains makes of it, round trips, and every error."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp
from spotscape.nn.clustering._stability import StabilityCurve
from spotscape.tl._choose_n_domains import _default_range, _report

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

QUICK: dict[str, Any] = {"k_range": (2, 7), "n_resamples": 3}


def four_groups() -> ad.AnnData:
    adata = ad.AnnData(np.zeros((160, 1), dtype=np.float32))
    groups = np.random.default_rng(0).normal(size=(160, 4)) + 8 * np.eye(4)[np.arange(160) % 4]
    adata.obsm["X_spotscape"] = groups.astype(np.float32)
    return adata


@pytest.fixture
def adata() -> ad.AnnData:
    """160 spots in 4 groups."""
    return four_groups()


@pytest.fixture(scope="module")
def _chosen() -> ad.AnnData:
    chosen = four_groups()
    with sp.settings.override(verbosity="error"):
        sp.tl.choose_n_domains(chosen, **QUICK)
    return chosen


@pytest.fixture
def chosen(_chosen: ad.AnnData) -> ad.AnnData:
    """The same with a number that was chosen for it."""
    return _chosen.copy()


@pytest.mark.all_starts
@pytest.mark.parametrize("method", ["gmm", "kmeans"])
def test_the_record(
    adata: ad.AnnData, method: str, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    before, choose_n_domains = adata.copy(), sp.tl.choose_n_domains
    with global_state_untouched():
        assert choose_n_domains(adata, method=method, **QUICK) is None
    entry = adata.uns["n_domains"]
    assert {*adata.uns} == {"n_domains"}
    assert {*entry} == {"params", "version", "picked", "clear", "candidates", "curve", "made_from", "checksum"}
    assert entry["picked"] == 4
    assert entry["clear"] is True
    assert entry["candidates"].tolist() == [4]
    frame = pd.DataFrame(entry["curve"])
    assert [*frame] == ["k", "mean", "sd", "to_next", "bic", "score", "share"]
    assert frame["k"].tolist() == [2, 3, 4, 5, 6, 7]
    assert frame.set_index("k")["mean"].round(2).loc[[3, 4, 5]].tolist() == pytest.approx([0.5, 1, 0.88], abs=0.1)
    params = entry["params"]
    assert (params["method"], params["use_rep"], params["n_resamples"], params["random_state"]) == (
        *(method, "X_spotscape", 3, 0),
    )
    np.testing.assert_array_equal(adata.obsm["X_spotscape"], before.obsm["X_spotscape"])
    assert adata.obs.empty


@pytest.mark.slow
def test_a_cloud_without_groups_has_no_clear_number(caplog: pytest.LogCaptureFixture) -> None:
    cloud = ad.AnnData(np.zeros((200, 1), dtype=np.float32))
    cloud.obsm["X_spotscape"] = np.random.default_rng(0).normal(size=(200, 6))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sp.tl.choose_n_domains(cloud, **QUICK)
    # More numbers would help as little: the samples do not agree on any.
    assert not [one for one in caught if "widen k_range" in str(one.message)]
    entry = cloud.uns["n_domains"]
    assert entry["clear"] is False
    assert entry["picked"] in entry["candidates"]
    curve, picked = entry["curve"], entry["picked"]
    at = list(curve["k"]).index(picked)
    said = " ".join(caplog.text.split())
    assert f"No clear number of domains; took {picked}. Reasons: " in said
    others = ", ".join(str(k) for k in entry["candidates"] if k != picked)
    assert (f"{others} domains fit about as well" in said) == bool(others)
    share, agreement = (np.floor(100 * curve[name][at]) / 100 for name in ("share", "mean"))
    assert f"only {share:.0%} of repeated choices pick it (a clear number needs 90%)" in said
    assert f"domains of different samples agree by {agreement:.2f} only (1 is full agreement; " in said
    assert entry["curve"]["share"].sum() == pytest.approx(1)


def test_what_is_just_below_a_limit_does_not_read_as_equal_to_it(caplog: pytest.LogCaptureFixture) -> None:
    one = np.array([0.898, 0.1])
    _report(StabilityCurve(np.array([2, 3]), mean=one, sd=one, share=one, picked=2, n_samples=5), 2, 3)
    assert "only 89% of repeated choices pick it (a clear number needs 90%)" in caplog.text
    assert "agree by 0.89 only (1 is full agreement; a clear number needs 0.90)" in caplog.text


@pytest.mark.all_starts
def test_copy_name_and_another_seed(adata: ad.AnnData) -> None:
    new = sp.tl.choose_n_domains(adata, key_added="mine", copy=True, random_state=1, **QUICK)
    assert not adata.uns
    assert (new.uns["mine"]["picked"], new.uns["mine"]["clear"]) == (4, True)


# anndata announces a change of its default zarr format.
@pytest.mark.filterwarnings("ignore:.*zarr:UserWarning")
def test_round_trips_and_the_choice_still_holds(
    adata: ad.AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sp.tl.choose_n_domains(adata, random_state=None, **QUICK)
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        entry, written = back.uns["n_domains"], adata.uns["n_domains"]
        for name, column in written["curve"].items():
            np.testing.assert_array_equal(entry["curve"][name], column)
            assert entry["curve"][name].dtype == column.dtype
        assert entry["params"]["random_state"] == written["params"]["random_state"]
        caplog.clear()
        with caplog.at_level("INFO"):
            sp.tl.domains(back, method="kmeans")
        assert f"Using n_domains={written['picked']} from `adata.uns['n_domains']`." in caplog.text
        assert back.obs["spotscape_domain"].nunique() == written["picked"]
        sp.pl.n_domains(back)


class TestDomainsWithoutANumber:
    @pytest.mark.parametrize("method", ["gmm", "kmeans"])
    def test_takes_what_is_stored(self, chosen: ad.AnnData, method: str) -> None:
        chosen.uns["n_domains"]["picked"] = 3
        sp.tl.domains(chosen, method=method)
        assert chosen.obs["spotscape_domain"].nunique() == 3
        assert chosen.uns["spotscape_domain"]["params"]["n_domains"] == 3

    def test_chooses_where_nothing_is_stored(self, adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO"):
            sp.tl.domains(adata)
        assert adata.obs["spotscape_domain"].nunique() == 4
        assert adata.uns["n_domains"]["picked"] == 4
        assert "No n_domains given and none stored for `adata.obsm['X_spotscape']`: choosing it." in caplog.text
        assert "Chose 4 domains of 2 to 5." in caplog.text
        again = adata.uns["n_domains"]
        sp.tl.choose_n_domains(adata, key_added="again")
        np.testing.assert_array_equal(again["curve"]["mean"], adata.uns["again"]["curve"]["mean"])

    def test_a_choice_for_another_embedding_is_not_taken(self, chosen: ad.AnnData) -> None:
        chosen.obsm["X_spotscape"] = np.random.default_rng(1).normal(size=(160, 3)) + 9 * np.eye(3)[np.arange(160) % 3]
        sp.tl.domains(chosen, method="kmeans")
        assert chosen.obs["spotscape_domain"].nunique() == 3

    def test_few_spots_have_a_shorter_range(self, adata: ad.AnnData) -> None:
        """Three hundred spots of a biopsy are not cut into twenty domains."""
        assert [_default_range(n)[1] for n in (25, 40, 160, 320, 800, 10**6)] == [5, 5, 5, 8, 20, 20]
        few = adata[:40].copy()
        sp.tl.domains(few)
        assert few.uns["n_domains"]["params"]["k_range"].tolist() == [2, 5]

    def test_a_number_given_is_taken_and_leiden_needs_none(self, chosen: ad.AnnData) -> None:
        sp.tl.domains(chosen, n_domains=5)
        assert chosen.obs["spotscape_domain"].nunique() == 5
        sp.tl.domains(chosen, method="leiden", resolution=2)
        assert "n_domains" not in chosen.uns["spotscape_domain"]["params"]


@pytest.mark.slow
def test_the_end_of_a_range_in_which_samples_never_agree_is_no_reason_to_widen_it() -> None:
    cloud = ad.AnnData(np.zeros((40, 1), dtype=np.float32))
    cloud.obsm["X_spotscape"] = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.warns(
        UserWarning,
        match=r"largest tried; but domains of different samples agree by 0\.\d\d only, .* no separate domains",
    ):
        sp.tl.choose_n_domains(cloud, k_range=(2, 3), n_resamples=3)


def test_the_end_of_the_range_is_warned_of(adata: ad.AnnData) -> None:
    with pytest.warns(UserWarning, match=r"number chosen, 4, is the largest tried; .* widen k_range=\(2, 4\)"):
        sp.tl.choose_n_domains(adata, k_range=(2, 4), n_resamples=3)


@pytest.fixture(scope="module")
def tissue() -> ad.AnnData:
    """Four layers, with their smoothed components."""
    tissue = sp.datasets.simulate_tissue(n_domains=4, n_spots=500, n_genes=150, random_state=3)
    with sp.settings.override(verbosity="error"):
        sp.pp.prepare(tissue)
        sp.pp.spatial_neighbors_knn(tissue)
        sp.tl.smoothed_pca(tissue)
    return tissue


class TestTwoEmbeddings:
    @pytest.mark.all_starts
    def test_the_record_and_nothing_else(self, tissue: ad.AnnData) -> None:
        before = {name: {*getattr(tissue, name)} for name in ("obs", "obsm", "obsp", "uns")}
        sp.tl.choose_n_domains(tissue, k_range=(2, 5))
        after = {name: {*getattr(tissue, name)} for name in before}
        assert after == {**before, "uns": before["uns"] | {"n_domains"}}
        entry = tissue.uns.pop("n_domains")
        assert entry["picked"] == 4
        assert [*entry["curve"]] == ["k", "mean", "sd", "elbow", "share"]
        assert entry["params"]["method"] == "agreement"
        assert entry["curve"]["mean"][2] == entry["curve"]["mean"][1:].max()

    @pytest.mark.slow
    def test_an_embedding_of_another_tool_is_compared_with_the_expression(
        self, tissue: ad.AnnData, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It has 3 groups where the tissue has 4 regions: what both see decides, and the number is not clear."""
        mine = tissue.copy()
        region = mine.obs["domain"].cat.codes.to_numpy()
        rng = np.random.default_rng(0)
        mine.obsm["X_mine"] = 9 * np.eye(3)[np.minimum(region, 2)] + rng.normal(size=(mine.n_obs, 3))
        sp.tl.choose_n_domains(mine, use_rep="X_mine", k_range=(2, 7))
        assert mine.uns["n_domains"]["clear"] is False
        assert "domains of two embeddings agree by" in caplog.text
        sp.tl.choose_n_domains(mine, use_rep="X_mine", k_range=(2, 7), method="gmm")
        assert mine.uns["n_domains"]["picked"] == 3

    @pytest.mark.slow
    @pytest.mark.all_starts
    def test_a_layer_is_read_where_the_embedding_was_made_from_it(self, tissue: ad.AnnData) -> None:
        mine = tissue.copy()
        mine.layers["normalised"], mine.X = mine.X, np.zeros(mine.shape, dtype=np.float32)
        sp.tl.smoothed_pca(mine, layer="normalised")
        sp.tl.choose_n_domains(mine, k_range=(2, 6))
        assert mine.uns["n_domains"]["params"]["method"] == "agreement"
        assert mine.uns["n_domains"]["picked"] == 4

    def test_without_expression_stability_decides(self, tissue: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
        bare = ad.AnnData(np.zeros((tissue.n_obs, 1), dtype=np.float32))
        bare.obsm["X_smoothed_pca"] = tissue.obsm["X_smoothed_pca"]
        with caplog.at_level("INFO"):
            sp.tl.choose_n_domains(bare, k_range=(2, 6), n_resamples=2)
        assert "No second embedding to compare `adata.obsm['X_smoothed_pca']` with" in caplog.text
        assert bare.uns["n_domains"]["params"]["method"] == "gmm"


BAD = [
    ({"method": "leiden"}, ValueError, r"method='leiden' is not one of \['agreement', 'gmm', 'kmeans'\]"),
    ({"k_range": (2, 3, 4)}, ValueError, r"k_range must be 2 numbers, not \(2, 3, 4\)"),
    ({"k_range": (1, 4)}, ValueError, r"k_range\[0\]=1 must be at least 2"),
    ({"k_range": (4, 4)}, ValueError, r"k_range\[1\]=4 must be at least 5"),
    ({"k_range": (2, 4.5)}, TypeError, r"k_range\[1\] must be an integer"),
    ({"k_range": (2, 33)}, ValueError, r"k_range=.2, 33. goes up to fewer than 5 spots per domain for the 160 spots"),
    ({"n_resamples": 1}, ValueError, "n_resamples=1 must be at least 2"),
    ({"use_rep": "X_none"}, KeyError, r"'X_none' not found in adata.obsm, .*sp.tl.spotscape\(adata\)"),
    ({"random_state": -1}, ValueError, "random_state=-1 is negative"),
    ({"use_rep": "flat"}, ValueError, "160 points have 2 distinct positions, too few for 5 clusters"),
    ({"use_rep": "broken"}, ValueError, r"adata.obsm\['broken'\] has 1 NaN or infinite values"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_leave_the_data_as_they_were(
    adata: ad.AnnData, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    adata.obsm["flat"] = np.repeat(np.eye(2), 80, axis=0)
    adata.obsm["broken"] = np.where(np.arange(320).reshape(160, 2) == 7, np.nan, 1.0)
    with pytest.raises(error, match=message):
        sp.tl.choose_n_domains(adata, **{"use_rep": "X_spotscape", **arguments})
    assert not adata.uns


def test_embeddings_of_both_encoders() -> None:
    adata = ad.AnnData(np.zeros((60, 1), dtype=np.float32))
    adata.obsm["X_spotscape"] = adata.obsm["X_spacross"] = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match="has 'X_spotscape' and 'X_spacross'; name one: use_rep='X_spotscape'"):
        sp.tl.choose_n_domains(adata)
    with pytest.raises(TypeError, match="adata must be an AnnData, not 3"):
        sp.tl.choose_n_domains(3)  # type: ignore[arg-type]


def test_a_number_is_not_chosen_by_a_dozen_spots() -> None:
    adata = ad.AnnData(np.zeros((14, 1), dtype="float32"))
    adata.obsm["X_spotscape"] = np.random.default_rng(0).normal(size=(14, 3))
    with pytest.raises(ValueError, match="14 spots are too few to choose the number of domains; give it"):
        sp.tl.domains(adata)
    sp.tl.domains(adata, n_domains=2)


@pytest.mark.parametrize(("method", "unit"), [("gmm", 1e-60), ("kmeans", 1e12)])
def test_the_unit_of_an_embedding_does_not_matter_and_none_to_compute_with_is_said(
    adata: ad.AnnData, method: str, unit: float
) -> None:
    embedding = adata.obsm["X_spotscape"].astype(np.float64)
    adata.obsm["X_spotscape"] = unit * embedding
    sp.tl.choose_n_domains(adata, method=method, **QUICK)
    assert adata.uns.pop("n_domains")["picked"] == 4
    for scale in (1e-200, 1e-310, 1e150):
        adata.obsm["X_spotscape"] = scale * embedding
        for tool in (sp.tl.choose_n_domains, sp.tl.domains):
            with pytest.raises(ValueError, match="whose squares are out of range"):
                tool(adata, method=method)
    assert not adata.uns
