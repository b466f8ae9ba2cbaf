"""Steps over tiles, and embeddings tile by tile."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig
from spotscape.models._graph_encoder import Tissue
from spotscape.models._spacross_tiles import local_neighborhoods
from spotscape.models._spotscape_network import SpotscapeNetwork
from spotscape.models._spotscape_tiles import TiledSpotscapeObjective
from spotscape.models._tiling import TilePlan, choose_batch_size
from spotscape.nn import Neighborhoods, SpotGraph, as_features, scaling_loss, telescope_loss
from spotscape.nn.layers import build_seeded, calibrate_batch_norm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = {"spotscape": (Spotscape, SpotscapeConfig), "spacross": (SpaCross, SpaCrossConfig)}
model_and_config = pytest.mark.parametrize(("model", "config"), MODELS.values(), ids=MODELS)
QUICK = {"max_epochs": 4, "n_components": 15, "n_encoders": 1}


@model_and_config
@pytest.mark.parametrize("batch_size", [20, 100])
def test_embedding_by_tiles_is_that_of_the_whole(
    model: Any, config: Any, batch_size: int, tissue: Callable[..., Any]
) -> None:
    expression, adjacency, _ = tissue()
    trained = model(config(**QUICK)).fit(expression, adjacency, progress_bar=False)
    whole = trained.embed(expression, adjacency)
    np.testing.assert_allclose(trained.embed(expression, adjacency, batch_size=batch_size), whole, atol=1e-5)


@pytest.mark.parametrize("n_components", [15, None])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@model_and_config
def test_statistics_after_training_are_those_of_the_whole(
    model: Any, config: Any, storage: Any, n_components: int | None, tissue: Callable[..., Any]
) -> None:
    expression, adjacency, _ = tissue()
    matrix = storage(expression)
    options = {**QUICK, "n_components": n_components, "max_epochs": 1}
    trained = model(config(**options)).fit(matrix, adjacency, batch_size=80, progress_bar=False)
    network = trained.networks[0]
    found = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    features, graph = trained._inputs(matrix, adjacency)
    calibrate_batch_norm(network, lambda: trained._forward(network, features, graph.normalized()))
    for name, value in network.named_buffers():
        if "running" in name:
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4)


@model_and_config
def test_tiles_find_the_halves(model: Any, config: Any, tissue: Callable[..., Any]) -> None:
    expression, adjacency, truth = tissue()
    options = {**QUICK, "max_epochs": 60, "n_components": 20}
    trained = model(config(**options)).fit(expression, adjacency, batch_size=64, progress_bar=False)
    found = KMeans(2, n_init=5, random_state=0).fit_predict(trained.embed(expression, adjacency, batch_size=64))
    assert adjusted_rand_score(truth, found) > 0.8
    assert len(trained.history["loss"]) == 4 * 20


@model_and_config
@pytest.mark.parametrize("changes", [{}, {"target_momentum": 0.9, "decoder": "graph"}])
def test_several_slices(model: Any, config: Any, changes: dict[str, Any], tissue: Callable[..., Any]) -> None:
    if changes and config is SpotscapeConfig:
        changes = {"prototype_warmup": 0.0, "scaling_spots": 10}
    parts = [tissue(seed) for seed in range(3)]
    expression = np.concatenate([part[0] for part in parts])
    adjacency = sparse.block_diag([part[1] for part in parts], format="csr")
    slices = np.repeat(["a", "b", "c"], 256)
    trained = model(config(**QUICK, **changes))
    trained.fit(expression, adjacency, slices=slices, batch_size=300, progress_bar=False)
    assert all(np.isfinite(values).all() for values in trained.history.values())
    if config is SpotscapeConfig:
        # From the second sweep on, of three steps each.
        assert (trained.history["scaling"] > 0).tolist() == [False] * 3 + [True] * (len(trained.history["loss"]) - 3)
        assert trained.history["prototypes"][-1] > 0
    assert np.isfinite(trained.embed(expression, adjacency, slices=slices, batch_size=300)).all()


def test_a_batch_without_a_second_slice_is_compared_with_what_was_seen(tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    slices = np.repeat([0, 1], [250, 6])
    cut = adjacency.tolil()
    cut[:250, 250:] = cut[250:, :250] = 0
    trained = Spotscape(SpotscapeConfig(**QUICK)).fit(
        expression, cut.tocsr(), slices=slices, batch_size=30, progress_bar=False
    )
    n_batches = 9
    assert not trained.history["scaling"][:n_batches].any()
    assert (trained.history["scaling"][n_batches:] > 0).all()


class TestScaling:
    """Similarity scaling of a batch, with the embeddings of the others as they were last seen."""

    def objective(self, sizes: list[int], batch_size: int, **changes: Any) -> TiledSpotscapeObjective:
        n_spots = sum(sizes)
        graph = sparse.csr_array(sparse.block_diag([sparse.diags_array(np.ones(size)) for size in sizes]))
        codes = np.repeat(np.arange(len(sizes)), sizes)
        rows = tuple(torch.from_numpy(np.flatnonzero(codes == code)) for code in range(len(sizes)))
        features = as_features(np.ones((n_spots, 3), np.float32))
        config = SpotscapeConfig(latent_size=4, scaling_spots=None, scaling_neighbors=3, **changes)
        tissue = Tissue(features, SpotGraph.from_adjacency(graph), rows)
        plan = TilePlan.of(graph, batch_size, slices=codes, seed=0)
        return TiledSpotscapeObjective(
            SpotscapeNetwork(3, config), tissue, config, torch.Generator().manual_seed(0), plan
        )

    @staticmethod
    def views(n_spots: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [torch.randn(n_spots, 4, generator=generator).requires_grad_() for _ in range(2)]

    def test_of_all_spots_it_is_the_formula(self) -> None:
        objective, views = self.objective([12, 9, 20], 41), self.views(41)
        found = objective._scaling(*views, torch.arange(41), step=1)
        expected = scaling_loss(*views, objective.tissue.slices, n_neighbors=3)
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(torch.autograd.grad(found, views), torch.autograd.grad(expected, views), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_batches_of_unchanged_embeddings_add_up_to_the_formula(self) -> None:
        objective, (first, second) = self.objective([12, 9, 20], 20), self.views(41)
        parts = [torch.arange(start, 41, 2) for start in range(2)]
        for rows in parts:
            assert objective._scaling(first[rows], second[rows], rows, step=0) == 0
        found = [objective._scaling(first[rows], second[rows], rows, step=9) for rows in parts]
        slices = objective.tissue.slices
        queries = [[(own % 2 == part).nonzero()[:, 0] for own in slices] for part in range(2)]
        expected = [scaling_loss(first, second, slices, n_neighbors=3, queries=chosen) for chosen in queries]
        torch.testing.assert_close(torch.stack(found), torch.stack(expected))

    def test_a_large_tissue_is_sampled_evenly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spotscape.models._spotscape_tiles._MOST_CANDIDATES", 24)
        objective, (first, second) = self.objective([12, 9, 20], 41), self.views(41)
        drawn = [objective._draw_spots(rows) for rows in objective.tissue.slices]
        assert [len(rows.unique()) for rows in drawn] == [8, 8, 8]
        assert all(
            set(rows.tolist()) <= set(own.tolist()) for rows, own in zip(drawn, objective.tissue.slices, strict=True)
        )
        assert objective._scaling(first, second, torch.arange(41), step=1) > 0

    def test_without_a_spot_of_the_sample_there_is_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        objective, (first, second) = self.objective([12, 9, 20], 41), self.views(41)
        objective._scaling(first, second, torch.arange(41), step=0)
        monkeypatch.setattr(objective, "_draw_spots", lambda rows: rows[1:])
        inside = torch.tensor([0, 12])
        assert objective._scaling(first[inside], second[inside], inside, step=9) == 0


@model_and_config
def test_same_seed_same_bits_and_a_checkpoint_goes_on(
    model: Any, config: Any, tissue: Callable[..., Any], tmp_path: Path
) -> None:
    expression, adjacency, _ = tissue()
    options = {**QUICK, "max_epochs": 20, "schedule": "constant"}

    def fit(epochs: int, checkpoint: Path | None = None) -> Any:
        built = model(config(**{**options, "max_epochs": epochs}))
        return built.fit(expression, adjacency, batch_size=128, progress_bar=False, checkpoint=checkpoint)

    whole, again = fit(20), fit(20)
    assert whole.embed(expression, adjacency).tobytes() == again.embed(expression, adjacency).tobytes()
    path = tmp_path / "training.pt"
    built = model(config(**options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spotscape.nn.trainer.Trainer._has_converged", lambda _self, history: len(history) == 25)
        built.fit(expression, adjacency, batch_size=128, progress_bar=False, checkpoint=path)
    resumed = fit(20, path)
    assert len(resumed.history["loss"]) == len(whole.history["loss"])
    np.testing.assert_array_equal(resumed.embed(expression, adjacency), whole.embed(expression, adjacency))


def test_a_checkpoint_of_another_batch_size_is_refused(tissue: Callable[..., Any], tmp_path: Path) -> None:
    expression, adjacency, _ = tissue()
    options = {"progress_bar": False, "checkpoint": tmp_path / "training.pt"}
    Spotscape(SpotscapeConfig(**QUICK)).fit(expression, adjacency, batch_size=128, **options)
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        Spotscape(SpotscapeConfig(**QUICK)).fit(expression, adjacency, batch_size=64, **options)


@pytest.mark.parametrize("batch_size", [256, 1000])
def test_a_batch_of_all_spots_is_full_training(batch_size: int, tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    full, large = (
        Spotscape(SpotscapeConfig(**QUICK)).fit(expression, adjacency, batch_size=size, progress_bar=False)
        for size in (None, batch_size)
    )
    assert full.embed(expression, adjacency).tobytes() == large.embed(expression, adjacency).tobytes()


def test_what_decides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spotscape"):
        assert choose_batch_size(None, 10_000, 25_000) is None
        assert choose_batch_size(None, 1_000_000, 25_000) == 16_384
        assert choose_batch_size(500, 1_000, 25_000) == 500
    assert "A step takes about 0.25 GB: every step sees all spots." in caplog.text
    assert "on all spots would take about 25 GB; steps on tiles of 16,384 spots in all take about 0.41" in caplog.text


@pytest.mark.parametrize(("batch_size", "error", "message"), [(1, ValueError, "at least 2"), (2.5, TypeError, "integ")])
def test_a_batch_size_is_a_number(
    batch_size: Any, error: type[Exception], message: str, tissue: Callable[..., Any]
) -> None:
    expression, adjacency, _ = tissue()
    with pytest.raises(error, match=f"batch_size.*{message}"):
        Spotscape(SpotscapeConfig(**QUICK)).fit(expression, adjacency, batch_size=batch_size)


class TestPlan:
    def test_a_sweep_visits_every_spot_once(self, tissue: Callable[..., Any]) -> None:
        _, adjacency, _ = tissue()
        plan = TilePlan.of(adjacency, 40, slices=None, seed=0)
        for sweep in range(3):
            rows = [plan.batch(step) for step in range(sweep * plan.n_batches, (sweep + 1) * plan.n_batches)]
            np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(256))
        assert plan.n_batches == 7
        assert not np.array_equal(plan.batch(0), plan.batch(plan.n_batches))

    def test_a_batch_has_each_slice_in_its_share(self, tissue: Callable[..., Any]) -> None:
        _, adjacency, _ = tissue()
        slices = np.repeat([0, 1], [192, 64])
        plan = TilePlan.of(adjacency, 64, slices=slices, seed=0)
        shares = [np.mean(slices[plan.batch(step)]) for step in range(8)]
        assert 0.05 < min(shares) <= max(shares) < 0.5

    def test_the_number_of_steps(self, tissue: Callable[..., Any]) -> None:
        _, adjacency, _ = tissue()
        plan = TilePlan.of(adjacency, 64, slices=None, seed=0)
        assert plan.n_batches == 4
        assert [plan.n_steps(epochs) for epochs in (200, 201, 60, 3)] == [200, 204, 80, 12]


class TestTelescope:
    """The estimate of the global telescope from a batch and what is remembered of the others."""

    def build(self, tissue: Callable[..., Any], batch_size: int) -> TiledSpotscapeObjective:
        expression, adjacency, _ = tissue()
        config = SpotscapeConfig(**QUICK)
        features = as_features(expression)
        whole = Tissue(features, SpotGraph.from_adjacency(adjacency), ())
        plan = TilePlan.of(adjacency, batch_size, slices=None, seed=0)
        network = build_seeded(lambda: SpotscapeNetwork(features.shape[1], config), 0)
        return TiledSpotscapeObjective(network, whole, config, torch.Generator(), plan)

    def test_a_batch_of_all_spots_is_exact(self, tissue: Callable[..., Any]) -> None:
        objective = self.build(tissue, 256)
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randn(256, 64, generator=generator, requires_grad=True) for _ in range(2))
        ours = objective._telescope(first, second)
        theirs = telescope_loss(first, second)
        torch.testing.assert_close(ours, theirs)
        for mine, other in zip(*(torch.autograd.grad(loss, [first, second]) for loss in (ours, theirs)), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-9)

    def test_with_fresh_memory_value_and_gradient_are_exact(self, tissue: Callable[..., Any]) -> None:
        """If what is remembered are the other spots as they are, only rounding is left."""
        objective = self.build(tissue, 64)
        generator = torch.Generator().manual_seed(0)
        whole = [torch.randn(256, 64, generator=generator, requires_grad=True) for _ in range(2)]
        unit = [torch.nn.functional.normalize(view.detach().double(), dim=1) for view in whole]
        m, p = (unit[0] - unit[1])[64:], (unit[0] + unit[1])[64:]
        others = torch.stack([m.T @ m, p.T @ p, p.T @ m])
        objective.earlier.copy_(others / (192 / 256))
        ours = objective._telescope(*(view[:64] for view in whole))
        theirs = telescope_loss(*whole)
        torch.testing.assert_close(ours, theirs)
        mine, other = (torch.autograd.grad(loss, whole) for loss in (ours, theirs))
        torch.testing.assert_close(mine[0][:64], 4 * other[0][:64], rtol=1e-4, atol=1e-9)

    def test_the_memory_moves(self, tissue: Callable[..., Any]) -> None:
        objective = self.build(tissue, 64)
        objective(0)
        before = objective.earlier.clone()
        objective(1)
        assert not torch.equal(before, objective.earlier)


def test_neighborhoods_of_a_batch() -> None:
    whole = Neighborhoods(torch.tensor([1, 4, 6]), torch.tensor([0, 2, 3, 5]), torch.tensor([4, 5, 1, 0, 7]))
    rows, local = local_neighborhoods(whole, torch.tensor([0, 4, 6]))
    assert rows.tolist() == [0, 4, 6, 1, 7]
    assert local.anchors.tolist() == [1, 2]
    assert local.indptr.tolist() == [0, 1, 3]
    assert local.indices.tolist() == [3, 0, 4]


def test_sizes_of_steps_can_be_told() -> None:
    for model, config in MODELS.values():
        assert 1_000 < model(config())._bytes_per_spot() < 100_000
        assert dataclasses.is_dataclass(config())
