"""Models that come back from ``tl.spotscape`` and ``tl.spacross``, and new slices through ``tl.embed``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import spotscape as sp
from spotscape.models import SpaCross, Spotscape, SpotscapeConfig

if TYPE_CHECKING:
    from pathlib import Path

QUICK = SpotscapeConfig(max_epochs=50, n_encoders=1, n_comps=20)


@pytest.fixture(scope="module")
def slices() -> AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=3, n_spots=250, n_genes=150, difficulty=0.3, batch_effect=0.5, random_state=0
    )
    sp.pp.prepare(adata, library_key="slice")
    return adata


def part(adata: AnnData, *names: str) -> AnnData:
    return adata[adata.obs["slice"].isin(names).to_numpy()].copy()


@pytest.fixture(scope="module")
def _trained(slices: AnnData) -> tuple[AnnData, Spotscape]:
    old = part(slices, "slice_1", "slice_2")
    model = sp.tl.spotscape(old, library_key="slice", config=QUICK, return_model=True)
    assert isinstance(model, Spotscape)
    return old, model


@pytest.fixture
def old(_trained: tuple[AnnData, Spotscape]) -> AnnData:
    return _trained[0].copy()


@pytest.fixture
def model(_trained: tuple[AnnData, Spotscape]) -> Spotscape:
    return _trained[1]


@pytest.fixture
def new(slices: AnnData) -> AnnData:
    return part(slices, "slice_3")


class TestReturnModel:
    def test_what_it_remembers(self, old: AnnData, model: Spotscape) -> None:
        assert model.training is not None
        assert model.reference is not None
        assert model.training.genes == tuple(old.var_names)
        assert model.training.scale == "logarithm"
        assert model.training.prepare is not None
        assert model.training.prepare["target_sum"] == 1e4
        assert model.training.graph["n_neighbors"] == 6
        assert model.training.mean_degree == 6
        np.testing.assert_array_equal(model.reference.embedding, old.obsm["X_spotscape"])
        np.testing.assert_array_equal(model.reference.slices, old.obs["slice"].cat.codes)

    def test_nothing_else_is_written(self, slices: AnnData) -> None:
        with_model, without = (part(slices, "slice_1") for _ in range(2))
        model = sp.tl.spacross(with_model, max_epochs=2, return_model=True)
        sp.tl.spacross(without, max_epochs=2)
        assert isinstance(model, SpaCross)
        np.testing.assert_array_equal(with_model.obsm["X_spacross"], without.obsm["X_spacross"])
        assert set(with_model.uns) == set(without.uns)

    @pytest.mark.parametrize("tool", [sp.tl.spotscape, sp.tl.spacross])
    def test_not_with_a_copy(self, new: AnnData, tool: object) -> None:
        with pytest.raises(ValueError, match="copy=True and return_model=True exclude each other"):
            tool(new, copy=True, return_model=True)  # type: ignore[operator]

    def test_the_genes_are_those_that_were_used(self, slices: AnnData) -> None:
        adata = part(slices, "slice_1")
        mask = np.arange(adata.n_vars) % 2 == 0
        model = sp.tl.spotscape(adata, mask_var=mask, max_epochs=2, return_model=True)
        assert isinstance(model, Spotscape)
        assert model.training is not None
        assert model.training.genes == tuple(adata.var_names[mask])

    def test_a_representation_has_no_genes(self, slices: AnnData, new: AnnData) -> None:
        adata = part(slices, "slice_1")
        adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(adata.n_obs, 5))
        model = sp.tl.spotscape(adata, use_rep="X_pca", max_epochs=2, return_model=True)
        with pytest.raises(ValueError, match="does not know the names of its genes"):
            sp.tl.embed(new, model)  # type: ignore[arg-type]


class TestEmbed:
    def test_domains_of_the_training_are_found_in_the_new_slice(
        self, old: AnnData, new: AnnData, model: Spotscape
    ) -> None:
        sp.tl.domains(old, n_domains=3)
        sp.tl.embed(new, model)
        sp.tl.transfer_domains(new, reference=old)
        assert new.obs["spotscape_domain"].cat.categories.tolist() == ["0", "1", "2"]
        here, there = (sp.metrics.ari(each.obs["domain"], each.obs["spotscape_domain"]) for each in (new, old))
        assert here > there - 0.15
        assert there > 0.5

    def test_alignment_mixes_the_new_slice_with_the_old(self, old: AnnData, new: AnnData, model: Spotscape) -> None:
        mixed = {}
        for align in (False, True):
            sp.tl.embed(new, model, align=align)
            both = np.concatenate([old.obsm["X_spotscape"], new.obsm["X_spotscape"]])
            mixed[align] = sp.metrics.ilisi(np.repeat(["old", "new"], [old.n_obs, new.n_obs]), both)
        assert mixed[True] > mixed[False]

    def test_what_is_written(self, new: AnnData, model: Spotscape) -> None:
        before = new.copy()
        assert sp.tl.embed(new, model) is None
        assert new.obsm["X_spotscape"].shape == (new.n_obs, 12)
        assert new.obsm["X_spotscape"].dtype == np.float32
        assert set(new.obsp) == {"spatial_connectivities", "spatial_distances"}
        record = new.uns["spotscape"]
        assert record["params"]["model"] == "Spotscape"
        assert record["missing_genes"] == []
        assert record["random_state"] == 0
        assert (new.X != before.X).nnz == 0

    def test_names_and_copies(self, new: AnnData, model: Spotscape) -> None:
        result = sp.tl.embed(new, model, key_added="X_mine", copy=True)
        assert result is not None
        assert set(new.obsm) == {"spatial", "spatial_truth"}
        assert "X_mine" in result.obsm
        assert "mine" in result.uns

    def test_spacross(self, slices: AnnData, new: AnnData) -> None:
        adata = part(slices, "slice_1")
        model = sp.tl.spacross(adata, max_epochs=2, return_model=True)
        sp.tl.embed(new, model)  # type: ignore[arg-type]
        assert "X_spacross" in new.obsm
        assert new.uns["spacross"]["params"]["model"] == "SpaCross"

    def test_the_training_itself_comes_out_to_the_bit(self, slices: AnnData) -> None:
        adata = part(slices, "slice_1")
        model = sp.tl.spotscape(adata, config=QUICK, return_model=True)
        again = part(slices, "slice_1")
        sp.tl.embed(again, model, align=False)  # type: ignore[arg-type]
        np.testing.assert_array_equal(again.obsm["X_spotscape"], adata.obsm["X_spotscape"])

    def test_after_saving(self, new: AnnData, model: Spotscape, tmp_path: Path) -> None:
        other = new.copy()
        model.save(tmp_path / "model")
        sp.tl.embed(new, model)
        sp.tl.embed(other, sp.models.load(tmp_path / "model"))
        np.testing.assert_array_equal(other.obsm["X_spotscape"], new.obsm["X_spotscape"])

    def test_a_training_read_from_a_file(self, slices: AnnData, new: AnnData, tmp_path: Path) -> None:
        """Records come back from h5ad with NumPy's types; these go into the configuration."""
        adata = part(slices, "slice_1")
        sp.pp.spatial_neighbors_radius(adata, radius=(50.0, 150.0))
        adata.write_h5ad(tmp_path / "old.h5ad")
        adata = ad.read_h5ad(tmp_path / "old.h5ad")
        model = sp.tl.spotscape(adata, max_epochs=2, return_model=True)
        assert isinstance(model, Spotscape)
        model.save(tmp_path / "model")
        sp.tl.embed(new, sp.models.load(tmp_path / "model"))
        assert new.uns["spatial_neighbors"]["params"]["mode"] == "radius"

    def test_slices_are_embedded_as_if_alone(self, slices: AnnData, model: Spotscape) -> None:
        both, one = part(slices, "slice_2", "slice_3"), part(slices, "slice_3")
        sp.tl.embed(both, model, library_key="slice")
        sp.tl.embed(one, model)
        rows = (both.obs["slice"] == "slice_3").to_numpy()
        np.testing.assert_allclose(both.obsm["X_spotscape"][rows], one.obsm["X_spotscape"], atol=1e-4)

    @pytest.mark.parametrize("kind", ["dense", "csc", "view"])
    def test_storages(self, new: AnnData, model: Spotscape, kind: str) -> None:
        other = new[np.arange(new.n_obs)] if kind == "view" else new.copy()
        if kind != "view":
            other.X = new.X.toarray() if kind == "dense" else sparse.csc_matrix(new.X)
        sp.tl.embed(new, model)
        result = sp.tl.embed(other, model, copy=True)
        assert result is not None
        np.testing.assert_allclose(result.obsm["X_spotscape"], new.obsm["X_spotscape"], atol=1e-3)


class TestGenes:
    def test_their_order_is_of_no_importance(self, new: AnnData, model: Spotscape) -> None:
        shuffled = new[:, np.random.default_rng(0).permutation(new.n_vars)].copy()
        sp.tl.embed(new, model)
        sp.tl.embed(shuffled, model)
        np.testing.assert_array_equal(shuffled.obsm["X_spotscape"], new.obsm["X_spotscape"])

    @pytest.mark.parametrize("dense", [True, False])
    def test_missing_ones_are_filled_with_what_says_nothing(
        self, new: AnnData, model: Spotscape, caplog: pytest.LogCaptureFixture, dense: bool
    ) -> None:
        """As if the genes' loadings were zero: the encoder sees components to which they add nothing."""
        if dense:
            new.X = new.X.toarray()
        less = new[:, 5:].copy()
        with caplog.at_level(logging.INFO, logger="spotscape"):
            sp.tl.embed(less, model, align=False)
        assert "5 of the 150 genes of the model (3.3%) were not measured here: 'gene_" in caplog.text
        assert list(less.uns["spotscape"]["missing_genes"]) == list(new.var_names[:5])
        averaged = new.copy()
        assert model.training is not None
        dense_x = averaged.X if dense else averaged.X.toarray()
        dense_x[:, :5] = model.training.means[:5]
        averaged.X = dense_x
        sp.tl.embed(averaged, model, align=False)
        np.testing.assert_allclose(less.obsm["X_spotscape"], averaged.obsm["X_spotscape"], atol=1e-4)

    def test_their_fill_adds_nothing_to_components(self, old: AnnData, model: Spotscape) -> None:
        assert model.training is not None
        assert model._reduction is not None
        scores = model._reduction.project(model.training.means[None])
        spread = model._reduction.project(old.X).std(axis=0)
        assert np.abs(scores / spread).max() < 1e-3

    def test_missing_ones_are_refused_on_request(self, new: AnnData, model: Spotscape) -> None:
        with pytest.raises(ValueError, match=r"1 of the 150 genes of the model \(0.7%\) were not measured.*='fill'\."):
            sp.tl.embed(new[:, 1:].copy(), model, missing_genes="refuse")

    def test_too_many_missing_are_refused(self, new: AnnData, model: Spotscape) -> None:
        less = new[:, 30:].copy()
        with pytest.raises(ValueError, match=r"30 of the 150 genes.*more than max_missing=0.1.*max_missing=0.2\)"):
            sp.tl.embed(less, model)
        assert "X_spotscape" not in less.obsm
        with pytest.raises(ValueError, match=r"missing_genes='fill', max_missing=0.2"):
            sp.tl.embed(less, model, missing_genes="refuse")
        sp.tl.embed(less, model, max_missing=0.2)

    def test_other_names(self, new: AnnData, model: Spotscape) -> None:
        new.var_names = [f"ENSG{i}" for i in range(new.n_vars)]
        with pytest.raises(ValueError, match=r"none of the 150 genes of the model.*called 'gene_.*here 'ENSG0'"):
            sp.tl.embed(new, model)

    def test_silent_ones_were_not_measured(self, new: AnnData, model: Spotscape) -> None:
        silent = new.copy()
        counts = silent.X.toarray()
        counts[:, :4] = 0
        silent.X = sparse.csr_matrix(counts)
        with pytest.warns(UserWarning, match="4 genes of the model are zero throughout a slice"):
            sp.tl.embed(silent.copy(), model, missing_genes="refuse")
        sp.tl.embed(silent, model)
        assert list(silent.uns["spotscape"]["missing_genes"]) == list(new.var_names[:4])

    def test_arguments(self, new: AnnData, model: Spotscape) -> None:
        with pytest.raises(ValueError, match="missing_genes='drop' is not one of"):
            sp.tl.embed(new, model, missing_genes="drop")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"max_missing=1.5 lies outside"):
            sp.tl.embed(new, model, max_missing=1.5)
        with pytest.raises(TypeError, match="model must be a SpaCross or a Spotscape, not 'model'"):
            sp.tl.embed(new, "model")  # type: ignore[arg-type]
        with pytest.raises(KeyError, match=r"'scaled' not found in adata.layers"):
            sp.tl.embed(new, model, layer="scaled")


class TestPreprocessing:
    def test_counts(self, new: AnnData, model: Spotscape) -> None:
        with pytest.raises(
            ValueError, match=r"scale 'counts', the training was on 'logarithm'.*sp.pp.prepare\(adata\)"
        ):
            sp.tl.embed(new, model, layer="counts")

    def test_another_total(self, new: AnnData, model: Spotscape) -> None:
        sp.pp.prepare(new, layer="counts", target_sum=1e3)
        with pytest.raises(ValueError, match=r"target_sum=1000.0, the training with 10000.0; prepare it alike"):
            sp.tl.embed(new, model)
        del new.uns["prepare"]  # as if scanpy had done it
        with pytest.raises(ValueError, match=r"normalised to a total of 1000, those of the training to 10000"):
            sp.tl.embed(new, model)
        depth = np.random.default_rng(0).uniform(0.8, 1.2, (new.n_obs, 1))
        new.X = np.log1p(np.expm1(new.X.toarray()) * depth).astype(np.float32)
        with pytest.warns(UserWarning, match=r"spots have 0.1 times as much expression"):
            sp.tl.embed(new, model)

    def test_other_tissue(self, old: AnnData, new: AnnData, model: Spotscape) -> None:
        """Aligned, it lies where the training lies, so that the votes of neighbours are as sure as ever."""
        other = new.copy()
        other.X = new.X[:, np.random.default_rng(0).permutation(new.n_vars)]
        both = ad.concat({"same": new, "other": other}, label="lib", index_unique="-")
        both.obsm["spatial"] = np.vstack([new.obsm["spatial"]] * 2)
        sp.pp.spatial_neighbors_knn(both, library_key="lib")
        with pytest.warns(UserWarning, match=r"high in slice 'other' are not those of the training") as told:
            sp.tl.embed(both, model, library_key="lib")
        assert len(told) == 1

    def test_no_logarithm(self, new: AnnData, model: Spotscape) -> None:
        sp.pp.prepare(new, layer="counts", log1p=False)
        with pytest.raises(ValueError, match="scale 'linear', the training was on 'logarithm'"):
            sp.tl.embed(new, model)

    @pytest.mark.parametrize(("value", "match"), [(-1.0, "negative values"), (np.nan, "NaN or infinite")])
    def test_broken_values(self, new: AnnData, model: Spotscape, value: float, match: str) -> None:
        new.X = new.X.toarray()
        new.X[0, 0] = value
        with pytest.raises(ValueError, match=match):
            sp.tl.embed(new, model)

    def test_empty_spots(self, new: AnnData, model: Spotscape) -> None:
        new.X = new.X.toarray()
        new.X[7] = 0
        sp.tl.embed(new, model)
        assert np.isfinite(new.obsm["X_spotscape"]).all()

    def test_nothing_there(self, new: AnnData, model: Spotscape) -> None:
        new.X = None
        with pytest.raises(ValueError, match=r"adata.X is None"):
            sp.tl.embed(new, model)


class TestGraph:
    @pytest.mark.parametrize(
        ("build", "options", "mode"),
        [
            (sp.pp.spatial_neighbors_knn, {"n_neighs": 4}, "knn"),
            (sp.pp.spatial_neighbors_radius, {"radius": 150.0}, "radius"),
            (sp.pp.spatial_neighbors_delaunay, {"radius": (0.0, 150.0)}, "delaunay"),
        ],
    )
    def test_it_is_built_as_at_the_training(
        self, slices: AnnData, new: AnnData, build: object, options: dict[str, object], mode: str
    ) -> None:
        adata = part(slices, "slice_1")
        build(adata, **options)  # type: ignore[operator]
        model = sp.tl.spotscape(adata, max_epochs=2, return_model=True)
        expected = new.copy()
        build(expected, **options)  # type: ignore[operator]
        sp.tl.embed(new, model)  # type: ignore[arg-type]
        assert new.uns["spatial_neighbors"]["params"]["mode"] == mode
        assert (new.obsp["spatial_connectivities"] != expected.obsp["spatial_connectivities"]).nnz == 0

    def test_squidpys_graph_too(self, slices: AnnData, new: AnnData) -> None:
        import squidpy as sq

        adata = part(slices, "slice_1")
        sq.gr.spatial_neighbors_knn(adata, n_neighs=5)
        model = sp.tl.spotscape(adata, max_epochs=2, return_model=True)
        sp.tl.embed(new, model)  # type: ignore[arg-type]
        assert new.obsp["spatial_connectivities"].nnz == 5 * new.n_obs

    def test_a_stored_one_is_used(self, new: AnnData, model: Spotscape) -> None:
        sp.pp.spatial_neighbors_knn(new, n_neighs=8, key_added="mine")
        sp.tl.embed(new, model, neighbors_key="mine_neighbors")
        assert "spatial_neighbors" not in new.uns

    def test_one_of_another_size_is_mentioned(self, new: AnnData, model: Spotscape) -> None:
        sp.pp.spatial_neighbors_knn(new, n_neighs=20)
        with pytest.warns(UserWarning, match=r"spots have 20.0 neighbours, in the training 6.0"):
            sp.tl.embed(new, model)

    def test_an_unknown_name(self, new: AnnData, model: Spotscape) -> None:
        with pytest.raises(KeyError, match=r"'other_neighbors' not found in adata.uns"):
            sp.tl.embed(new, model, neighbors_key="other_neighbors")

    def test_a_stack_cannot_be_built_from_a_slice(self, slices: AnnData, new: AnnData) -> None:
        adata = part(slices, "slice_1", "slice_2")
        sp.pp.spatial_neighbors_3d(adata, library_key="slice", spatial_key="spatial_truth", slice_gap=100.0)
        model = sp.tl.spacross(
            adata, library_key="slice", neighbors_key="spatial_3d_neighbors", max_epochs=2, return_model=True
        )
        with pytest.raises(ValueError, match="cannot be built from the new slices alone"):
            sp.tl.embed(new, model)  # type: ignore[arg-type]
        sp.pp.spatial_neighbors_knn(new)
        sp.tl.embed(new, model)  # type: ignore[arg-type]


class TestTransfer:
    @pytest.fixture
    def line(self) -> tuple[AnnData, AnnData]:
        old, new = (
            AnnData(np.zeros((len(where), 1), dtype=np.float32), obsm={"X_spotscape": np.array(where)[:, None]})
            for where in ([0.0, 1.0, 2.0, 8.0, 9.0, 10.0], [0.5, 9.2, 4.0])
        )
        old.obs["spotscape_domain"] = pd.Categorical(["a", "a", None, "b", "b", "b"], categories=["b", "a", "unused"])
        return old, new

    def test_a_vote(self, line: tuple[AnnData, AnnData]) -> None:
        old, new = line
        sp.tl.transfer_domains(new, reference=old, n_neighbors=3)
        assert new.obs["spotscape_domain"].tolist() == ["a", "b", "a"]
        assert new.obs["spotscape_domain"].cat.categories.tolist() == ["b", "a"]
        np.testing.assert_allclose(new.obs["spotscape_domain_confidence"], [1, 1, 1])
        assert new.uns["spotscape_domain"]["params"]["n_neighbors"] == 3

    def test_domains_keep_their_colours(self, line: tuple[AnnData, AnnData]) -> None:
        old, new = line
        old.uns["spotscape_domain_colors"] = ["#111111", "#222222", "#333333"]
        sp.tl.transfer_domains(new, reference=old, n_neighbors=3)
        assert list(new.uns["spotscape_domain_colors"]) == ["#111111", "#222222"]
        new.uns["spotscape_domain_colors"] = ["#444444", "#555555"]
        sp.tl.transfer_domains(new, reference=old, n_neighbors=3)
        assert list(new.uns["spotscape_domain_colors"]) == ["#444444", "#555555"]

    def test_an_annotation_of_the_new_slice_is_not_replaced(self, line: tuple[AnnData, AnnData]) -> None:
        old, new = line
        old.obs["layer"] = old.obs["spotscape_domain"]
        new.obs["layer"] = ["x", "y", "z"]
        with pytest.raises(ValueError, match=r"has no record of an earlier call.*key_added='layer_transferred'"):
            sp.tl.transfer_domains(new, reference=old, labels_key="layer", n_neighbors=3)
        assert new.obs["layer"].tolist() == ["x", "y", "z"]
        for _ in range(2):  # Its own result is, though.
            sp.tl.transfer_domains(new, reference=old, n_neighbors=3, labels_key="spotscape_domain")
        assert new.obs["spotscape_domain"].tolist() == ["a", "b", "a"]

    @pytest.mark.parametrize("shift", [0.0, 5.0])
    def test_spots_far_from_the_reference_are_told(self, shift: float, recwarn: pytest.WarningsRecorder) -> None:
        rng = np.random.default_rng(0)
        old, new = (
            AnnData(np.zeros((300, 1), dtype=np.float32), obsm={"X_spotscape": rng.normal(size=(300, 4))})
            for _ in range(2)
        )
        old.obs["spotscape_domain"] = pd.Categorical(["a", "b"] * 150)
        new.obsm["X_spotscape"][100:] += shift
        sp.tl.transfer_domains(new, reference=old)
        told = [str(entry.message) for entry in recwarn if "farther from the reference" in str(entry.message)]
        assert [text.split(" of ")[0] for text in told] == (["67%"] if shift else [])

    def test_a_spot_without_labelled_neighbours(self, line: tuple[AnnData, AnnData]) -> None:
        old, new = line
        new.obsm["X_spotscape"][0] = 2.2
        result = sp.tl.transfer_domains(new, reference=old, n_neighbors=1, key_added="given", copy=True)
        assert result is not None
        assert result.obs["given"].isna().tolist() == [True, False, True]
        assert "given" not in new.obs

    def test_refusals(self, line: tuple[AnnData, AnnData]) -> None:
        old, new = line
        with pytest.raises(KeyError, match=r"'layer' not found in reference.obs"):
            sp.tl.transfer_domains(new, reference=old, labels_key="layer")
        with pytest.raises(ValueError, match="n_neighbors=0"):
            sp.tl.transfer_domains(new, reference=old, n_neighbors=0)
        with pytest.raises(KeyError, match="'X_other' not found"):
            sp.tl.transfer_domains(new, reference=old, use_rep="X_other")
        wider = old.copy()
        wider.obsm["X_spotscape"] = np.zeros((6, 2))
        with pytest.raises(ValueError, match="1 axes here and 2 in the reference"):
            sp.tl.transfer_domains(new, reference=wider)
        old.obs["spotscape_domain"] = pd.Categorical([None] * 6, categories=["a"])
        with pytest.raises(ValueError, match="no spot of the reference has a label"):
            sp.tl.transfer_domains(new, reference=old)
        with pytest.raises(TypeError, match="must be an AnnData"):
            sp.tl.transfer_domains(new, reference=None)  # type: ignore[arg-type]
