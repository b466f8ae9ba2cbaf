"""Offsets of slices are subtracted from what the encoders see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse

import spotscape as sp
from spotscape.models import Spotscape, SpotscapeConfig
from spotscape.models._reduction import slice_offsets, smooth_within
from spotscape.models._saving import Reference

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

pytestmark = pytest.mark.all_starts

REGIONS = 6 * np.eye(3)
SHIFT = np.array([2.0, -1.0, 0.5])


def scores_of(counts: list[list[int]], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, sparse.csr_array]:
    """Spots of three regions, so many of each in every slice, with a chain of neighbours within each region."""
    regions = np.concatenate([np.repeat(np.arange(3), each) for each in counts])
    slices = np.repeat(np.arange(len(counts)), [sum(each) for each in counts])
    joined = (np.diff(regions) == 0) & (np.diff(slices) == 0)
    chain = sparse.diags_array(joined.astype(float), offsets=1, shape=(len(regions), len(regions)))
    scores = REGIONS[regions] + rng.normal(0, 0.5, (len(regions), 3))
    return scores.astype(np.float32), slices, sparse.csr_array(chain + chain.T)


class TestOffsets:
    def test_a_shifted_copy_is_shifted_back_by_half_of_it(self) -> None:
        scores, _, graph = scores_of([[100, 100, 100]], np.random.default_rng(0))
        twice = np.concatenate([scores, scores + SHIFT])
        slices = np.repeat(["b", "a"], 300)
        found = slice_offsets(twice, sparse.block_diag([graph, graph], format="csr"), slices)
        assert found is not None
        np.testing.assert_allclose(found[:300], np.tile(-SHIFT / 2, (300, 1)), atol=1e-3)
        np.testing.assert_allclose(found[300:], np.tile(SHIFT / 2, (300, 1)), atol=1e-3)

    def test_a_slice_with_other_proportions_of_the_regions_is_not_moved(self) -> None:
        scores, slices, graph = scores_of([[200, 80, 0], [80, 60, 140]], np.random.default_rng(0))
        found = slice_offsets(scores, graph, slices)
        means = [scores[slices == number].mean(0) for number in (0, 1)]
        assert np.linalg.norm(means[0] - means[1]) > 3
        assert found is not None
        assert np.abs(found).max() < 0.15

    @pytest.mark.parametrize("counts", [[[100, 100, 100], [100, 100, 100]], [[200, 80, 0], [80, 60, 140]]])
    def test_a_strong_offset_is_found(self, counts: list[list[int]]) -> None:
        """Regions lie 8.5 apart, and the offset is as large: neither means nor the mixture are right in both cases."""
        scores, slices, graph = scores_of(counts, np.random.default_rng(0))
        offset = np.array([4.0, 4.0, -6.0])
        scores[slices == 1] += offset
        found = slice_offsets(scores, graph, slices)
        assert found is not None
        np.testing.assert_allclose(found[-1] - found[0], offset, atol=0.3)

    def test_a_new_slice_of_one_region_stays_on_it(self) -> None:
        rng = np.random.default_rng(0)
        scores, _, graph = scores_of([[100, 100, 100]], rng)
        known = Reference.of(scores, None, smooth_within(scores, graph, None), seed=0)
        single, _, chain = scores_of([[0, 100, 0]], rng)
        found = slice_offsets(single, chain, None, reference=known)
        assert found is not None
        assert np.abs(found).max() < 0.3

    @pytest.mark.parametrize("n_spots", [1, 2, 5])
    def test_a_new_slice_of_few_spots(self, n_spots: int) -> None:
        scores, _, graph = scores_of([[100, 100, 100]], np.random.default_rng(0))
        known = Reference.of(scores, None, smooth_within(scores, graph, None), seed=0)
        found = slice_offsets(scores[:n_spots], graph[:n_spots][:, :n_spots], None, reference=known)
        assert found is not None
        assert np.isfinite(found).all()

    def test_edges_between_slices_do_not_hide_an_offset(self) -> None:
        scores, slices, graph = scores_of([[100, 100, 100], [100, 100, 100]], np.random.default_rng(0))
        scores[slices == 1] += SHIFT
        across = sparse.diags_array(np.ones(300), offsets=300, shape=(600, 600))
        joined = sparse.csr_array(graph + across + across.T)
        np.testing.assert_array_equal(smooth_within(scores, joined, slices), smooth_within(scores, graph, slices))
        alone, together = (slice_offsets(scores, one, slices) for one in (graph, joined))
        assert alone is not None
        assert together is not None
        np.testing.assert_array_equal(alone, together)

    def test_a_single_slice_has_no_offset_but_to_a_reference(self) -> None:
        scores, slices, graph = scores_of([[100, 100, 100]], np.random.default_rng(0))
        assert slice_offsets(scores, graph, None) is None
        assert slice_offsets(scores, graph, slices) is None
        seen = smooth_within(scores, graph, None)
        known = Reference.of(scores, None, seen, seed=0)
        found = slice_offsets(scores + SHIFT, graph, None, reference=known)
        assert found is not None
        np.testing.assert_allclose(found, np.tile(SHIFT, (300, 1)), atol=1e-3)
        assert slice_offsets(scores, graph, None, reference=Reference.of(scores, None, seed=0)) is None


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=300, n_slices=3, n_genes=150, batch_effect=1.5, random_state=1)
    with sp.settings.override(verbosity="error"):
        sp.pp.prepare(adata, library_key="slice")
        sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


class TestTraining:
    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["spotscape", "spacross"])
    def test_regions_are_found_under_a_strong_batch_effect(
        self, tissue: AnnData, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reached = []
        for change in (False, True):
            if change:
                monkeypatch.setattr("spotscape.models._base.slice_offsets", lambda *_args, **_kwargs: None)
            getattr(sp.tl, method)(tissue, library_key="slice", key_added="X_found", n_encoders=2)
            sp.tl.domains(tissue, n_domains=6, use_rep="X_found", key_added="found")
            mixing = sp.metrics.ilisi(tissue.obs["slice"], tissue.obsm["X_found"])
            reached.append((mixing, sp.metrics.ari(tissue.obs["domain"], tissue.obs["found"])))
        (mixing, agreement), (mixing_without, agreement_without) = reached
        assert mixing > 1.4 * mixing_without
        assert agreement > agreement_without

    @pytest.mark.slow
    def test_embedding_and_decoding_the_training_again_gives_the_same(self, tissue: AnnData, tmp_path: Path) -> None:
        expression, graph = tissue.X, tissue.obsp["spatial_connectivities"]
        codes = tissue.obs["slice"].cat.codes.to_numpy()
        model = Spotscape(SpotscapeConfig(n_encoders=1, max_epochs=5))
        trained = model._fit_embed(expression, graph, slices=codes, remember=True, progress_bar=False)[0]
        np.testing.assert_array_equal(model.embed(expression, graph, slices=codes), trained)
        model.save(tmp_path / "model")
        loaded = sp.models.load(tmp_path / "model")
        second = codes == 1
        alone = expression[second], graph[second][:, second]
        placed = loaded.embed(*alone, slices=codes[second], align=True)
        np.testing.assert_array_equal(placed, model.embed(*alone, slices=codes[second], align=True))
        apart = np.linalg.norm(placed - trained[second], axis=1).mean()
        unaligned = np.linalg.norm(loaded.embed(*alone) - trained[second], axis=1).mean()
        assert apart < 0.3 * unaligned

    @pytest.mark.slow
    def test_decoded_expression_keeps_the_level_of_each_slice(self, tissue: AnnData) -> None:
        expression, graph = tissue.X, tissue.obsp["spatial_connectivities"]
        codes = tissue.obs["slice"].cat.codes.to_numpy()
        model = Spotscape(SpotscapeConfig(n_encoders=1, max_epochs=30))
        model.fit(expression, graph, slices=codes, progress_bar=False)
        measured, decoded = expression.toarray(), model.reconstruct(expression, graph, slices=codes)
        apart = [values[codes == 1].mean(0) - values[codes == 0].mean(0) for values in (measured, decoded)]
        assert np.corrcoef(*apart)[0, 1] > 0.9
