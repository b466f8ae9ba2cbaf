"""Results know what they were made from: what counts as a change, what does not, and that every reader looks."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp
from spotscape._core.provenance import changed, digest, kept, made_from, same

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

NAMES = pd.Index([f"spot{i}" for i in range(6)])
ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "form",
    [
        np.float64,
        np.asfortranarray,
        lambda x: x.tolist(),
        sparse.csr_matrix,
        sparse.csc_array,
        lambda x: pd.DataFrame(x, index=NAMES),
        lambda x: np.repeat(x, 2, axis=0)[::2],
    ],
)
def test_the_form_of_numbers_does_not_matter(form: Callable[[np.ndarray], object]) -> None:
    assert digest(form(ROWS), NAMES) == digest(ROWS, NAMES)


@pytest.mark.parametrize("form", [np.int8, str, pd.Categorical, lambda x: pd.Series(x, dtype="string"), lambda x: x])
def test_the_form_of_labels_does_not_matter(form: Callable[[object], object]) -> None:
    labels = [2, 0, 1, 1, 0, 2]
    formed = [form(x) for x in labels] if form in (str, np.int8) else form(labels)
    assert digest(formed, NAMES) == digest(pd.Categorical(list(map(str, labels)), categories=["2", "1", "0"]), NAMES)


def test_missing_labels_are_values_of_their_own() -> None:
    known = digest(pd.Categorical(["a", "b", None, "a", "a", "a"]), NAMES)
    assert digest(np.array(["a", "b", np.nan, "a", "a", "a"], dtype=object), NAMES) == known
    assert not same(digest(pd.Categorical(["a", "b", "nan", "a", "a", "a"]), NAMES), known)


def test_numbers_without_a_sign_or_a_value_have_one_digest() -> None:
    assert digest(np.float32([0.0, np.nan]), NAMES[:2]) == digest(np.float32([-0.0, -np.nan]), NAMES[:2])


def test_sorting_and_renaming_spots_change_nothing_but_exchanging_values_does() -> None:
    order = np.array([3, 1, 0, 5, 4, 2])
    known = digest(ROWS, NAMES)
    assert same(digest(ROWS[order], NAMES[order]), known)
    assert same(digest(ROWS, NAMES + "-1"), known)
    assert not same(digest(ROWS[order], NAMES), known)
    assert not same(digest(ROWS * np.float32(1 + 1e-6), NAMES), known)


def test_every_single_change_of_a_label_is_seen() -> None:
    labels = np.random.default_rng(1).integers(0, 3, 200)
    names = pd.Index(np.arange(200).astype(str))
    known = digest(labels, names)
    for spot in range(200):
        other = labels.copy()
        other[spot] = (other[spot] + 1) % 3
        assert not same(digest(other, names), known)


@pytest.fixture(scope="module")
def _tissue() -> AnnData:
    adata = sp.datasets.simulate_tissue(
        n_slices=2, n_domains=3, n_spots=100, n_genes=40, difficulty=0.3, random_state=0
    )
    with sp.settings.override(verbosity="error", progress_bar=False):
        sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
        sp.tl.spotscape(adata, library_key="slice", max_epochs=2, n_encoders=1)
        sp.tl.domains(adata, n_domains=3, method="kmeans")
        sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
    return adata


@pytest.fixture
def tissue(_tissue: AnnData) -> AnnData:
    return _tissue.copy()


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_a_record_outlives_a_file(tissue: AnnData, kind: str, tmp_path: Path) -> None:
    getattr(tissue, f"write_{kind}")(tmp_path / f"a.{kind}")
    back = getattr(ad, f"read_{kind}")(tmp_path / f"a.{kind}")
    back.obsm["X_spotscape"] = back.obsm["X_spotscape"].astype(np.float64)
    assert changed(back, back.uns["spotscape"], "written") == []
    assert changed(back, back.uns["spatial_aligned"]) == []
    back.obsm["spatial"] = back.obsm["spatial"] + 1
    assert changed(back, back.uns["spatial_aligned"]) == ["adata.obsm['spatial']"]


def test_a_subset_keeps_results_until_they_are_made_anew(tissue: AnnData) -> None:
    record = {"made_from": made_from(tissue, obs=["domain"], obsm=["X_spotscape"])}
    part = tissue[::2].copy()
    assert changed(part, record) == changed(part[::-1], record) == []
    part.obs["domain"] = part.obs["domain"].cat.rename_categories(dict(zip(["Layer_1", "Layer_2"], "ab", strict=True)))
    assert changed(part, record) == ["adata.obs['domain']"]
    part.obsm["X_spotscape"] = part.obsm["X_spotscape"] + 1
    assert changed(part, record) == ["adata.obs['domain']", "adata.obsm['X_spotscape']"]
    part.obs_names = [f"new_{name}" for name in part.obs_names]
    assert changed(part, record) == []


def test_names_that_occur_twice_are_no_evidence() -> None:
    names = pd.Index(["a", "b", "b"])
    known = digest([1, 2, 3], names)
    assert kept(known, [1, 3], names[[0, 2]])
    assert not kept(known, [2, 3], names[[0, 2]])


def test_records_of_old_say_nothing_of_a_subset(tissue: AnnData) -> None:
    record = {"made_from": made_from(tissue, obs=["domain"])}
    record["made_from"]["digest"] = record["made_from"]["digest"][:, :16]
    part = tissue[::2].copy()
    part.obs["domain"] = "other"
    assert changed(part, record) == []
    assert changed(tissue, record) == []
    assert changed(tissue[::2], tissue.uns["spotscape"], "written") == []
    assert changed(tissue, {"params": {}}) == changed(tissue, [1]) == changed(tissue, None) == []
    entry = {"made_from": made_from(tissue, obs=["domain"])}
    del tissue.obs["domain"]
    assert changed(tissue, entry) == []


def trained_apart(tissue: AnnData, **options: object) -> AnnData:
    parts = {name: tissue[tissue.obs["slice"] == name].copy() for name in ("slice_1", "slice_2")}
    for part in parts.values():
        sp.tl.spotscape(part, max_epochs=2, n_encoders=1)
    return ad.concat(parts, label="batch", index_unique="-", **options)


@pytest.mark.parametrize("kept", [{}, {"uns_merge": "first"}], ids=["records lost", "first record kept"])
def test_embeddings_trained_apart_are_told_where_they_are_used_as_one(tissue: AnnData, kept: dict[str, str]) -> None:
    joint = trained_apart(tissue, **kept)
    embed = r"embed all slices together, such as by sp\.tl\.spotscape\(adata, library_key=\.\.\.\)"
    calls = {
        "domains": lambda: sp.tl.domains(joint, n_domains=3, method="kmeans"),
        "matches": lambda: sp.tl.match_slices(joint, library_key="slice", reference="slice_1"),
        "integration": lambda: sp.tl.integrate_slices(joint, use_rep="X_spotscape", library_key="slice"),
        "registration": lambda: sp.pp.register_slices(joint, library_key="slice", use_rep="X_spotscape"),
    }
    for name, call in calls.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            call()
        assert any(re.search(embed, str(one.message)) for one in said), name


def test_baselines_computed_apart_are_told(tissue: AnnData) -> None:
    parts = {name: tissue[tissue.obs["slice"] == name].copy() for name in ("slice_1", "slice_2")}
    for part in parts.values():
        sp.pp.spatial_neighbors_knn(part)
        sp.tl.smoothed_pca(part)
    joint = ad.concat(parts, label="batch", index_unique="-")
    with pytest.warns(UserWarning, match=r"no record of adata\.obsm\['X_smoothed_pca'\], as after anndata\.concat"):
        sp.tl.domains(joint, n_domains=3, use_rep="X_smoothed_pca", method="kmeans")


def test_embeddings_trained_together_raise_no_word(tissue: AnnData) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sp.tl.domains(tissue, n_domains=3, method="kmeans")
        sp.tl.domains(tissue[tissue.obs["slice"] == "slice_1"].copy(), n_domains=3, method="kmeans")
        sp.tl.match_slices(tissue[::-1].copy(), library_key="slice", reference="slice_1")


def test_an_embedding_put_in_the_place_of_another_is_told(tissue: AnnData) -> None:
    tissue.obsm["X_spotscape"] = np.random.default_rng(0).normal(size=(200, 4))
    with pytest.warns(UserWarning, match=r"adata\.uns\['spotscape'\] describes another embedding than adata\.obsm\["):
        sp.tl.domains(tissue, n_domains=3, method="kmeans")


def test_a_trajectory_is_not_drawn_on_other_domains(tissue: AnnData) -> None:
    sp.tl.trajectory(tissue, root="0")
    sp.pl.trajectory(tissue)
    sp.pl.trajectory(tissue[::-1].copy())
    tissue.obs["spotscape_domain"] = np.roll(tissue.obs["spotscape_domain"], 1)
    tissue.obs["spotscape_domain"] = tissue.obs["spotscape_domain"].astype("category")
    with pytest.raises(
        ValueError, match=r"\['spotscape_domain'\] changed after .* sp\.tl\.trajectory\(adata, root='0'"
    ):
        sp.pl.trajectory(tissue)


def test_a_trajectory_of_another_embedding_is_drawn_with_a_warning(tissue: AnnData) -> None:
    sp.tl.trajectory(tissue, root="0")
    tissue.obsm["X_spotscape"] = tissue.obsm["X_spotscape"][:, ::-1].copy()
    with pytest.warns(UserWarning, match=r"\['X_spotscape'\] changed after the trajectory"):
        sp.pl.trajectory(tissue)


ANNOTATED = {"0": "white matter", "1": "layer 5", "2": "layer 2/3"}


@pytest.mark.parametrize(
    "annotate",
    [
        lambda labels: labels.cat.rename_categories(ANNOTATED),
        lambda labels: labels.astype(str).map(ANNOTATED),
        lambda labels: labels.cat.rename_categories({"0": "2", "2": "0"}),
    ],
    ids=["categories", "texts in another order", "exchanged"],
)
def test_results_follow_domains_that_get_names(tissue: AnnData, annotate: Callable[[pd.Series], pd.Series]) -> None:
    """Whoever annotates domains after markers and trajectory keeps both, under the new names and without a warning."""
    sp.tl.markers(tissue, library_key="slice", neighbors_key=None)
    sp.tl.trajectory(tissue, root="0")
    before = tissue.obs["spotscape_domain"].astype(str)
    table = sp.get.markers_df(tissue)
    tissue.obs["spotscape_domain"] = annotate(tissue.obs["spotscape_domain"])
    names = dict(zip(before, tissue.obs["spotscape_domain"].astype(str), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sp.get.markers_df(tissue)
        axes = sp.pl.trajectory(tissue, return_fig=True).axes
    pd.testing.assert_frame_equal(found.drop(columns="group"), table.drop(columns="group"))
    assert found["group"].tolist() == [names[group] for group in table["group"]]
    assert {text.get_text() for ax in axes for text in ax.texts} >= set(names.values())


@pytest.mark.parametrize("kind", ["merged", "one spot moved", "a part of the spots"])
def test_another_division_is_no_renaming(tissue: AnnData, kind: str) -> None:
    sp.tl.markers(tissue, library_key="slice", neighbors_key=None)
    labels = tissue.obs["spotscape_domain"].cat.rename_categories(ANNOTATED).astype(str)
    if kind == "merged":
        labels = labels.replace("layer 5", "layer 2/3")
    if kind == "one spot moved":
        labels.iloc[7] = "layer 5" if labels.iloc[7] != "layer 5" else "layer 2/3"
    tissue.obs["spotscape_domain"] = labels.astype("category")
    part = tissue[::2].copy() if kind == "a part of the spots" else tissue
    with pytest.warns(UserWarning, match=r"\['spotscape_domain'\] changed after the table"):
        assert set(sp.get.markers_df(part)["group"]) == {"0", "1", "2"}


def test_registered_coordinates_of_changed_ones_are_told(tissue: AnnData) -> None:
    tissue.obsm["spatial"] = tissue.obsm["spatial"] * [1, -1]
    calls = {
        "plot": lambda: sp.pl.registration(tissue, library_key="slice"),
        "points": lambda: sp.pp.apply_registration(tissue, points=np.zeros((1, 2)), library="slice_2"),
        "matches": lambda: sp.tl.match_slices(
            tissue, library_key="slice", reference="slice_1", spatial_key="spatial_aligned"
        ),
        "graph": lambda: sp.pp.spatial_neighbors_3d(tissue, library_key="slice", slice_gap=100),
    }
    for call in calls.values():
        with pytest.warns(
            UserWarning, match=r"\['spatial'\] changed after the registration .* sp\.pp\.register_slices"
        ):
            call()


def test_tables_of_other_domains_are_told(tissue: AnnData) -> None:
    sp.tl.markers(tissue, key="domain", method="t-test", neighbors_key=None)
    sp.tl.match_slices(tissue, library_key="slice", reference="slice_1")
    tissue.obsm["X_spotscape"] = tissue.obsm["X_spotscape"][::-1].copy()
    tissue.obs["domain"] = tissue.obs["domain"].to_numpy()[::-1]
    with pytest.warns(UserWarning, match=r"\['domain'\] changed after the table 'spotscape_markers'"):
        sp.get.markers_df(tissue)
    with pytest.warns(UserWarning, match=r"\['X_spotscape'\] changed after the match 'spotscape_match'"):
        sp.get.matches_df(tissue)
    with pytest.warns(UserWarning, match=r"\['X_spotscape'\] changed after the match 'spotscape_match'"):
        sp.pl.matching(tissue)


@pytest.mark.all_starts
def test_what_a_new_result_leaves_behind_is_told(tissue: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """A call that finds other domains names what was made from the old ones; one that finds the same says nothing."""
    sp.tl.choose_n_domains(tissue, k_range=(2, 4), method="kmeans")
    sp.tl.refine_domains(tissue)
    sp.tl.markers(tissue, library_key="slice", neighbors_key=None)
    with caplog.at_level("WARNING", logger="spotscape"):
        sp.tl.domains(tissue, n_domains=3, method="kmeans")
        sp.tl.spotscape(tissue, library_key="slice", max_epochs=2, n_encoders=1)
        sp.tl.refine_domains(tissue)
        assert "earlier" not in caplog.text
        sp.tl.domains(tissue, n_domains=4, method="kmeans")
        assert (
            "results of an earlier `adata.obs['spotscape_domain']`: `adata.obs['spotscape_domain_refined']`, "
            "`adata.uns['spotscape_markers']`. Compute them again" in caplog.text
        )
        caplog.clear()
        sp.tl.spotscape(tissue, library_key="slice", max_epochs=3, n_encoders=1)
        stale = "`adata.obs['spotscape_domain']`, `adata.uns['n_domains']`"
        assert f"results of an earlier `adata.obsm['X_spotscape']`: {stale}." in caplog.text
    with pytest.warns(UserWarning, match=r"'spotscape_domain'\] changed after .*_refined'\] was made from it"):
        sp.pl.domains(tissue, "spotscape_domain_refined")
    with pytest.warns(UserWarning, match=r"'spotscape_domain'\] changed after .*_refined'\] was made from it"):
        sp.tl.markers(tissue, key="spotscape_domain_refined", method="t-test", neighbors_key=None)
    with pytest.warns(UserWarning, match=r"\['X_spotscape'\] changed after the curve 'n_domains'"):
        sp.pl.n_domains(tissue)
    sp.tl.refine_domains(tissue)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sp.pl.domains(tissue, "spotscape_domain_refined")


def test_another_graph_and_other_expression_leave_embeddings_behind(
    tissue: AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that changes nothing says nothing, and a graph or a layer that is new has left nothing behind."""
    sp.pp.prepare(tissue, library_key="slice")
    sp.pp.spatial_neighbors_knn(tissue, library_key="slice", n_neighs=6)
    sp.tl.spotscape(tissue, max_epochs=2, n_encoders=1, decoded_layer="decoded")
    said = "still holds results of an earlier"
    caplog.clear()
    with caplog.at_level("WARNING", logger="spotscape"):
        sp.pp.prepare(tissue, library_key="slice")
        sp.pp.spatial_neighbors_knn(tissue, library_key="slice", n_neighs=6)
        sp.pp.spatial_neighbors_knn(tissue, library_key="slice", n_neighs=9, key_added="wide")
        sp.tl.spotscape(tissue, max_epochs=2, n_encoders=1)
        assert said not in caplog.text
        sp.pp.spatial_neighbors_knn(tissue, library_key="slice", n_neighs=9)
        assert f"{said} `adata.uns['spatial_neighbors']`: `adata.obsm['X_spotscape']`. Compute" in caplog.text
        for change in ({"n_top_genes": 20}, {"log1p": False}):
            caplog.clear()
            sp.pp.prepare(tissue, library_key="slice", **change)
            assert f"{said} `adata.X`: `adata.obsm['X_spotscape']`. Compute" in caplog.text


def test_a_decoded_layer_of_an_earlier_training_is_told(tissue: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    sp.tl.spotscape(tissue, library_key="slice", max_epochs=2, n_encoders=1, decoded_layer="decoded")
    with caplog.at_level("WARNING", logger="spotscape"):
        sp.tl.spotscape(tissue, library_key="slice", max_epochs=3, n_encoders=1)
    assert "earlier `adata.obsm['X_spotscape']`: `adata.layers['decoded']`. Compute" in caplog.text


def test_a_record_is_shown_in_a_few_lines() -> None:
    tissue = ad.AnnData(np.zeros((100, 1)), obs={"domain": list("ab") * 50}, obsm={"X_pca": np.eye(100)})
    assert len(repr(made_from(tissue, obs=["domain"], obsm=["X_pca"]))) < 600
