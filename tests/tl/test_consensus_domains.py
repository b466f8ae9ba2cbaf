"""Consensus on AnnData, from restarts to domains with a confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = ["X_a", "X_b", "X_c"]
METHODS = ["auto", "both", "kmeans", "gmm"]


@pytest.fixture
def blobs() -> ad.AnnData:
    """Return three noisy embeddings of the same 150 spots in 3 groups; spot 0 lies in another group in one of them."""
    points, truth = make_blobs([60, 50, 40], n_features=4, cluster_std=0.5, random_state=0, shuffle=False)
    adata = ad.AnnData(np.ones((150, 2), dtype=np.float32), obs=pd.DataFrame(index=[f"s{i}" for i in range(150)]))
    rng = np.random.default_rng(0)
    for key in KEYS:
        adata.obsm[key] = (points + rng.normal(scale=0.2, size=points.shape)).astype(np.float32)
    adata.obsm["X_c"][0] = points[149]
    adata.obs["truth"] = pd.Categorical(truth.astype(str))
    return adata


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written(blobs: ad.AnnData, method: str) -> None:
    assert sp.tl.consensus_domains(blobs, n_domains=3, use_reps=KEYS, method=method) is None
    column, confidence = blobs.obs["consensus_domain"], blobs.obs["consensus_domain_confidence"]
    assert [*column.cat.categories] == ["0", "1", "2"]
    assert adjusted_rand_score(column, blobs.obs["truth"]) == 1
    assert confidence.dtype == np.float32
    assert confidence.iloc[0] == pytest.approx(2 / 3)
    assert (confidence.iloc[1:] == 1).all()
    entry = blobs.uns["consensus_domain"]
    assert entry["params"] == {"n_domains": 3, "use_reps": KEYS, "method": method, "random_state": 0}
    assert entry["mean_confidence"] == pytest.approx(confidence.mean())
    clusterers = ["kmeans", "gmm"] if method == "both" else [method]
    entropy = blobs.obs["consensus_domain_entropy"]
    # Two of three for one domain, one for another, where at most three domains can be voted for.
    expected = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(3)
    assert entropy.iloc[0] == pytest.approx(expected, rel=1e-6)
    assert (entropy.iloc[1:] == 0).all()
    assert entry["runs"] == [f"{key} {clusterer}" for key in KEYS for clusterer in clusterers]
    np.testing.assert_allclose(entry["run_agreement"], [1] * 2 * len(clusterers) + [149 / 150] * len(clusterers))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_domains", [2, 7])
def test_exactly_as_many_domains_as_asked_for(blobs: ad.AnnData, method: str, n_domains: int) -> None:
    sp.tl.consensus_domains(blobs, n_domains=n_domains, use_reps=KEYS, method=method)
    assert (blobs.obs["consensus_domain"].value_counts() > 0).all()
    assert len(blobs.obs["consensus_domain"].cat.categories) == n_domains


def test_nothing_else_is_touched_and_copy(blobs: ad.AnnData, global_state_untouched: Callable[[], object]) -> None:
    before = blobs.copy()
    with global_state_untouched():  # type: ignore[attr-defined]
        other = sp.tl.consensus_domains(blobs, n_domains=3, use_reps=KEYS, copy=True)
    pd.testing.assert_frame_equal(blobs.obs, before.obs)
    assert not blobs.uns
    added = {"consensus_domain", "consensus_domain_confidence", "consensus_domain_entropy"}
    assert {*other.obs} == {"truth"} | added
    again = sp.tl.consensus_domains(blobs, n_domains=3, use_reps=KEYS, copy=True)
    pd.testing.assert_frame_equal(other.obs, again.obs)


@pytest.mark.filterwarnings("ignore:.*zarr:UserWarning")
def test_round_trips(blobs: ad.AnnData, tmp_path: Path) -> None:
    sp.tl.consensus_domains(blobs, n_domains=3, use_reps=KEYS)
    blobs.write_h5ad(tmp_path / "a.h5ad")
    blobs.write_zarr(tmp_path / "a.zarr")
    written = blobs.uns["consensus_domain"]
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        np.testing.assert_array_equal(back.obs["consensus_domain"], blobs.obs["consensus_domain"])
        confidence = back.obs["consensus_domain_confidence"]
        np.testing.assert_array_equal(confidence, blobs.obs["consensus_domain_confidence"])
        assert confidence.dtype == np.float32
        entry = back.uns["consensus_domain"]
        assert list(entry["runs"]) == written["runs"]
        assert list(entry["params"]["use_reps"]) == KEYS
        np.testing.assert_array_equal(entry["run_agreement"], written["run_agreement"])


class TestRestarts:
    """Several trainings in one call."""

    @pytest.mark.parametrize("tool", ["spotscape", "spacross"])
    def test_the_first_is_the_single_training(self, adata: ad.AnnData, tool: str) -> None:
        train = getattr(sp.tl, tool)
        single = train(adata, max_epochs=2, copy=True)
        several = train(adata, max_epochs=2, n_restarts=3, copy=True)
        keys = [f"X_{tool}", f"X_{tool}_1", f"X_{tool}_2"]
        np.testing.assert_array_equal(several.obsm[keys[0]], single.obsm[keys[0]])
        assert "restarts" not in single.uns[tool]
        assert several.uns[tool]["restarts"]["use_reps"] == keys
        assert {*several.obsm} - {*single.obsm} == {*keys[1:]}
        assert several.uns[tool]["params"] == single.uns[tool]["params"]
        np.testing.assert_array_equal(several.uns[tool]["history"]["loss"], single.uns[tool]["history"]["loss"])
        # Each further one is the training from its recorded seed.
        seeds = several.uns[tool]["restarts"]["random_states"]
        assert seeds[0] == 0
        assert len(set(seeds)) == 3
        other = train(adata, max_epochs=2, random_state=seeds[2], copy=True)
        np.testing.assert_array_equal(several.obsm[keys[2]], other.obsm[keys[0]])
        assert not np.array_equal(several.obsm[keys[1]], several.obsm[keys[0]])

    def test_fewer_restarts_leave_none_of_earlier_ones(self, adata: ad.AnnData) -> None:
        sp.tl.spotscape(adata, max_epochs=1, n_restarts=3)
        sp.tl.spacross(adata, max_epochs=1, n_restarts=2)
        sp.tl.spotscape(adata, max_epochs=1, n_restarts=2)
        found = {key for key in adata.obsm if key.startswith("X_")}
        assert found == {"X_spotscape", "X_spotscape_1", "X_spacross", "X_spacross_1"}
        sp.tl.spotscape(adata, max_epochs=1)
        assert {key for key in adata.obsm if key.startswith("X_")} == {"X_spotscape", "X_spacross", "X_spacross_1"}

    def test_are_what_the_consensus_takes_even_from_a_file(
        self, adata: ad.AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        sp.tl.spacross(adata, max_epochs=2, n_restarts=2)
        adata.write_h5ad(tmp_path / "a.h5ad")
        back = ad.read_h5ad(tmp_path / "a.h5ad")
        with caplog.at_level("INFO"):
            sp.tl.consensus_domains(back, n_domains=3)
        assert "Using 'X_spacross', 'X_spacross_1' of `adata.obsm`." in caplog.text
        assert back.uns["consensus_domain"]["params"]["use_reps"] == ["X_spacross", "X_spacross_1"]

    def test_of_all_methods_take_part(self, blobs: ad.AnnData) -> None:
        for key, name in zip(KEYS, ("X_spotscape", "X_spacross", "X_smoothed_pca"), strict=True):
            blobs.obsm[name] = blobs.obsm.pop(key)
        blobs.obsm["X_spacross_1"] = blobs.obsm["X_spacross"]
        blobs.uns["spacross"] = {"restarts": {"use_reps": ["X_spacross", "X_spacross_1"]}}
        sp.tl.consensus_domains(blobs, n_domains=3)
        runs = ["X_spotscape auto", "X_spacross auto", "X_spacross_1 auto", "X_smoothed_pca auto"]
        assert blobs.uns["consensus_domain"]["runs"] == runs

    def test_each_has_its_own_checkpoint(self, adata: ad.AnnData, tmp_path: Path) -> None:
        config = sp.models.SpotscapeConfig(n_encoders=1, max_epochs=2)
        sp.tl.spotscape(adata, config=config, n_restarts=2, checkpoint=tmp_path / "c")
        first = adata.obsm["X_spotscape_1"].copy()
        sp.tl.spotscape(adata, config=config, n_restarts=2, checkpoint=tmp_path / "c")
        np.testing.assert_array_equal(adata.obsm["X_spotscape_1"], first)
        assert {path.name for path in tmp_path.iterdir()} == {"c", "c.restart1"}

    @pytest.mark.parametrize(("number", "error"), [(0, ValueError), (2.0, TypeError)])
    def test_numbers_that_are_none(self, adata: ad.AnnData, number: object, error: type[Exception]) -> None:
        with pytest.raises(error, match="n_restarts"):
            sp.tl.spotscape(adata, n_restarts=number, max_epochs=1)  # type: ignore[arg-type]
        assert "X_spotscape" not in adata.obsm


@pytest.mark.slow
def test_the_number_is_chosen_once_from_all_embeddings(blobs: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    blobs.obsm["X_c"] = blobs.obsm["X_b"][:, ::-1]
    scaled = blobs.copy()
    scaled.obsm["X_c"] *= 1000
    for adata in (blobs, scaled):
        sp.tl.consensus_domains(adata, use_reps=KEYS)
    picked = blobs.uns["n_domains"]["picked"]
    # The unit of an embedding is of no account.
    assert scaled.uns["n_domains"]["picked"] == picked
    assert blobs.uns["consensus_domain"]["params"]["n_domains"] == picked
    assert blobs.uns["n_domains"]["params"]["use_rep"] == "X_a + X_b + X_c"
    with caplog.at_level("INFO"):
        sp.tl.consensus_domains(blobs, use_reps=KEYS)
    assert f"Using n_domains={picked} from" in caplog.text


BAD = [
    ({"use_reps": None}, KeyError, r"adata.obsm has no embedding; a consensus needs two. Run a second method"),
    ({"use_reps": "X_a"}, TypeError, r"use_reps must be a list of names: use_reps=\['X_a'\]"),
    ({"use_reps": ["X_a"]}, ValueError, r"use_reps=\['X_a'\] must name two or more different embeddings"),
    ({"use_reps": ["X_a", "X_a"]}, ValueError, "must name two or more different embeddings"),
    ({"use_reps": ["X_a", "X_z"]}, KeyError, "'X_z' not found in adata.obsm, which has: 'X_a'"),
    ({"use_reps": KEYS, "n_domains": 1}, ValueError, "n_domains=1 must be at least 2"),
    ({"use_reps": KEYS, "n_domains": 151}, ValueError, "n_domains=151 is more than the 150 spots"),
    ({"use_reps": KEYS, "n_domains": 2.0}, TypeError, "n_domains must be an integer"),
    (
        {"use_reps": KEYS, "method": "leiden"},
        ValueError,
        r"method='leiden' is not one of \['auto', 'both', 'gmm', 'kmeans'\]",
    ),
    ({"use_reps": ["X_a", "flat"]}, ValueError, "150 points have 1 distinct positions, too few for 3 clusters"),
    ({"use_reps": ["X_a", "broken"]}, ValueError, r"adata.obsm\['broken'\] has 1 NaN"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_leave_the_data_as_they_were(
    blobs: ad.AnnData, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    blobs.obsm["flat"], blobs.obsm["broken"] = np.ones((150, 2)), np.ones((150, 2))
    blobs.obsm["broken"][3, 1] = np.nan
    with pytest.raises(error, match=message):
        sp.tl.consensus_domains(blobs, **{"n_domains": 3, **arguments})  # type: ignore[arg-type]
    assert {*blobs.obs} == {"truth"}
    assert not blobs.uns


def test_the_only_domains_are_found_whatever_their_name(blobs: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    reps = [key for key in blobs.obsm if key.startswith("X_")]
    blobs.obsm["spatial"] = np.asarray(blobs.obsm[reps[0]])[:, :2]
    sp.pp.spatial_neighbors_knn(blobs, n_neighs=4)
    sp.tl.consensus_domains(blobs, n_domains=3, use_reps=reps, key_added="joint")
    with caplog.at_level("INFO", logger="spotscape"):
        sp.tl.refine_domains(blobs)
        assert sp.pl.domains(blobs, return_fig=True).axes[0].get_title() == "joint"
        sp.pl.confidence(blobs)
    assert "joint_refined" in blobs.obs
    assert "Using `adata.obs['joint']`." in caplog.text
    sp.tl.domains(blobs, n_domains=3, use_rep=reps[0], key_added="single")
    with pytest.raises(ValueError, match=r"adata\.obs has 'joint' and 'single'; name one: key='joint'"):
        sp.tl.refine_domains(blobs)
    sp.tl.domains(blobs, n_domains=3, use_rep=reps[0], key_added="spotscape_domain")
    sp.tl.refine_domains(blobs)
    assert "spotscape_domain_refined" in blobs.obs


def test_domains_of_an_encoder_come_before_those_of_the_baseline(
    blobs: ad.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    blobs.obsm["spatial"] = next(iter(blobs.obsm.values()))[:, :2]
    sp.pp.spatial_neighbors_knn(blobs, n_neighs=4)
    for name in ("smoothed_pca_domain", "spotscape_domain"):
        blobs.obs[name] = blobs.obs["truth"].astype(str).astype("category")
    with caplog.at_level("INFO", logger="spotscape"):
        sp.tl.refine_domains(blobs)
    assert "spotscape_domain_refined" in blobs.obs
    assert "Using `adata.obs['spotscape_domain']`." in caplog.text
    blobs.obs["consensus_domain"] = blobs.obs["spotscape_domain"]
    with pytest.raises(ValueError, match="has 'spotscape_domain' and 'consensus_domain'; name one"):
        sp.tl.refine_domains(blobs)
