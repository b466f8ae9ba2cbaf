"""The model without AnnData: training against the formulas, embedding, decoding, reproducibility, refusals."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import cosine_similarity, elu

from spotscape.models import SpaCross, SpaCrossConfig
from spotscape.models._graph_encoder import Tissue
from spotscape.models._spacross_network import NeighborhoodMemory, SpaCrossNetwork, SpaCrossObjective
from spotscape.nn import (
    DenseFeatures,
    LeadingAxes,
    SpotGraph,
    consensus_clusterings,
    draw_masked,
    draw_others,
    hybrid_neighborhoods,
)
from spotscape.nn.layers import build_seeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from spotscape.nn import Neighborhoods

    Fit = Callable[..., SpaCross]
    MakeTissue = Callable[..., tuple[np.ndarray, sparse.csr_array, np.ndarray]]

SIDE = 16
# Everything that a test depends on is said here, so that other defaults change no test.
QUICK = SpaCrossConfig(
    hidden_size=64,
    feature_size=32,
    latent_size=16,
    n_encoders=1,
    n_components=20,
    linear_scale=False,
    spatial_components=True,
    dispersion=0.0,
    clip=5.0,
    n_axes=12,
    whitening=0.25,
    dropout=0.2,
    mask_rate=0.5,
    replace_rate=0.05,
    target_momentum=0.0,
    decoder="linear",
    reconstruction_weight=0.6,
    consistency_weight=0.5,
    n_negatives=2,
    contrast_weight=0.3,
    n_similar=10,
    n_clusters=4,
    n_clusterings=5,
    quorum=3,
    refresh_every=10,
    contrast_spots=None,
    pairing="row",
    integrate=True,
    max_epochs=30,
    lr=3e-3,
    schedule="constant",
    weight_decay=3e-4,
    max_grad_norm=5.0,
    patience=None,
    precision="float32",
    batch_norm_momentum=0.1,
)


def quick(**changes: Any) -> SpaCrossConfig:
    return dataclasses.replace(QUICK, **changes)


def agreement(truth: np.ndarray, rows: np.ndarray) -> float:
    return float(adjusted_rand_score(truth, KMeans(2, n_init=5, random_state=0).fit_predict(rows)))


def several(tissue: MakeTissue) -> tuple[np.ndarray, sparse.csr_array, np.ndarray, np.ndarray]:
    """Two slices with an offset between them; spots above each other are neighbours in the graph."""
    (first, adjacency, truth), (second, _, _) = tissue(), tissue(seed=1)
    between = sparse.eye_array(len(truth), dtype=np.float32)
    graph = sparse.block_array([[adjacency, between], [between, adjacency]], format="csr")
    slices = np.repeat(["a", "b"], len(truth))
    return np.concatenate([first, second + 0.3]), graph, np.tile(truth, 2), slices


@pytest.fixture
def fit(tissue: MakeTissue) -> Fit:
    """Return a function that trains on the tissue."""
    expression, adjacency, _ = tissue()

    def train(config: SpaCrossConfig = QUICK, *, random_state: int = 0, **options: Any) -> SpaCross:
        return SpaCross(config, random_state=random_state).fit(expression, adjacency, progress_bar=False, **options)

    return train


class TestEmbedding:
    @pytest.mark.parametrize("change", [{}, {"n_components": None}, {"decoder": "graph", "target_momentum": 0.9}])
    def test_it_finds_the_halves(self, change: dict[str, Any], tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, truth = tissue()
        config = quick(max_epochs=150, **change)
        found = [fit(config, random_state=seed).embed(expression, adjacency) for seed in range(3)]
        assert agreement(truth, expression) < 0.7
        assert np.mean([agreement(truth, embedding) for embedding in found]) > 0.85

    @pytest.mark.parametrize("n_encoders", [1, 2])
    def test_shape_and_history(self, n_encoders: int, tissue: MakeTissue, fit: Fit) -> None:
        model = fit(quick(n_encoders=n_encoders))
        expression, adjacency, _ = tissue()
        embedding = model.embed(expression, adjacency)
        assert embedding.shape == (SIDE * SIDE, 12)
        assert embedding.dtype == np.float32
        assert embedding.flags.c_contiguous
        assert np.isfinite(embedding).all()
        assert set(model.history) == {"loss", "reconstruction", "consistency", "contrast", "lr"}
        assert all(values.shape == (30,) and values.dtype == np.float64 for values in model.history.values())
        for name in ("loss", "reconstruction", "consistency"):
            assert model.history[name][-5:].mean() < model.history[name][:5].mean()
        assert len(model.networks) == n_encoders

    def test_loss_is_the_weighted_sum_of_its_parts(self, fit: Fit) -> None:
        history = fit(quick(max_epochs=3)).history
        total = 0.6 * history["reconstruction"] + 0.5 * history["consistency"] + 0.3 * history["contrast"]
        np.testing.assert_allclose(history["loss"], total, rtol=1e-6)

    def test_same_seed_same_bits(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, _ = tissue()
        first, again, other = (fit(random_state=seed).embed(expression, adjacency) for seed in (7, 7, 8))
        assert first.tobytes() == again.tobytes()
        assert first.tobytes() != other.tobytes()

    @pytest.mark.parametrize("n_components", [20, None])
    def test_dense_and_sparse_input_agree(self, n_components: int | None, tissue: MakeTissue) -> None:
        """Up to rounding, which fast training would carry on: few epochs at a low rate."""
        expression, adjacency, _ = tissue()
        config = quick(n_components=n_components, max_epochs=3, lr=1e-5)
        dense, stored = (
            SpaCross(config).fit(matrix, adjacency, progress_bar=False).embed(matrix, adjacency)
            for matrix in (expression, sparse.csr_matrix(expression))
        )
        np.testing.assert_allclose(dense, stored, atol=5e-3)

    def test_inputs_and_global_state_stay_untouched(
        self, tissue: MakeTissue, global_state_untouched: Callable[[], AbstractContextManager[None]]
    ) -> None:
        expression, adjacency, _, slices = several(tissue)
        before = expression.copy(), adjacency.copy(), slices.copy()
        for n_components in (20, None):
            with global_state_untouched():
                model = SpaCross(quick(n_components=n_components, n_encoders=2, max_epochs=12))
                model.fit(expression, adjacency, slices=slices, progress_bar=False)
                model.embed(expression, adjacency, slices=slices)
                model.reconstruct(expression, adjacency)
        np.testing.assert_array_equal(expression, before[0])
        assert (adjacency != before[1]).nnz == 0
        np.testing.assert_array_equal(slices, before[2])

    @pytest.mark.parametrize("n_components", [20, None])
    def test_input_that_may_not_be_written_to(self, n_components: int | None, tissue: MakeTissue) -> None:
        """As a memory map gives it; torch would warn of it, and warnings are errors here."""
        expression, adjacency, _ = tissue()
        expression.flags.writeable = False
        model = SpaCross(quick(n_components=n_components, max_epochs=2)).fit(expression, adjacency, progress_bar=False)
        assert model.embed(expression, adjacency).shape == (SIDE * SIDE, 12)

    def test_spots_can_be_permuted(self, tissue: MakeTissue, fit: Fit) -> None:
        """An embedding belongs to its spot, not to the spot's place in the table."""
        model = fit()
        expression, adjacency, _ = tissue()
        order = np.random.default_rng(0).permutation(len(expression))
        found = model.embed(expression[order], adjacency[order][:, order])
        np.testing.assert_allclose(found, model.embed(expression, adjacency)[order], atol=1e-4)

    def test_embedding_is_read_without_masks_and_dropout(self, tissue: MakeTissue, fit: Fit) -> None:
        model = fit()
        expression, adjacency, _ = tissue()
        np.testing.assert_array_equal(model.embed(expression, adjacency), model.embed(expression, adjacency))
        assert not any(module.training for network in model.networks for module in network.modules())

    def test_bfloat16_stays_close(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, truth = tissue()
        model = fit(quick(precision="bfloat16", max_epochs=150))
        embedding = model.embed(expression, adjacency)
        assert embedding.dtype == np.float32
        assert model.reconstruct(expression, adjacency).dtype == np.float32
        assert agreement(truth, embedding) > 0.8

    def test_encoders_are_averaged(self, tissue: MakeTissue, fit: Fit) -> None:
        """Without whitening, squared distances are the mean of the encoders', but for what the last axes hold."""
        expression, adjacency, _ = tissue()
        model = fit(quick(n_encoders=2, whitening=0.0, n_axes=None))
        single = [pdist(z.numpy(), "sqeuclidean") for z in model._encode(*model._inputs(expression, adjacency))]
        embedding = model.embed(expression, adjacency)
        joined = pdist(embedding, "sqeuclidean")
        assert embedding.shape[1] == 16
        assert np.corrcoef(joined, np.mean(single, axis=0))[0, 1] > 0.95
        assert (joined <= np.mean(single, axis=0) * (1 + 1e-5)).all()
        assert np.abs(single[0] - single[1]).max() > 0.1

    @pytest.mark.parametrize("n_encoders", [1, 2])
    @pytest.mark.parametrize(
        "change", [{}, {"n_axes": 3, "whitening": 0.0}, {"n_axes": None, "whitening": 1.0}], ids=str
    )
    def test_leading_axes_of_the_encoders(
        self, change: dict[str, Any], n_encoders: int, tissue: MakeTissue, fit: Fit
    ) -> None:
        """Found on the tissue that was trained on, at the whitening and the number that the configuration says."""
        (expression, adjacency, _), (other, _, _) = tissue(), tissue(seed=1)
        model = fit(quick(n_encoders=n_encoders, max_epochs=5, **change))
        encoded = model._encode(*model._inputs(expression, adjacency))
        leading = LeadingAxes.of(encoded, model.config.n_axes or 16, whitening=model.config.whitening)
        np.testing.assert_array_equal(model.embed(expression, adjacency), leading.project(encoded).numpy())
        encoded = model._encode(*model._inputs(other, adjacency))
        np.testing.assert_array_equal(model.embed(other, adjacency), leading.project(encoded).numpy())

    @pytest.mark.parametrize("preset", [SpaCrossConfig.paper(), SpaCrossConfig.released()], ids=["paper", "released"])
    def test_the_published_embedding_is_that_of_its_encoder(
        self, preset: SpaCrossConfig, tissue: MakeTissue, fit: Fit
    ) -> None:
        """Neither rotated nor scaled."""
        expression, adjacency, _ = tissue()
        model = fit(dataclasses.replace(preset, max_epochs=3))
        (own,) = model._encode(*model._inputs(expression, adjacency))
        assert own.shape == (SIDE * SIDE, preset.latent_size)
        np.testing.assert_array_equal(model.embed(expression, adjacency), own.numpy())


class TestOtherTissue:
    def test_it_embeds_another_tissue(self, tissue: MakeTissue, fit: Fit) -> None:
        """Trained on one slice, the model tells the halves of another apart, whose spots it never saw."""
        other, adjacency, truth = tissue(seed=1)
        assert agreement(truth, fit(quick(max_epochs=150)).embed(other, adjacency)) > 0.8

    def test_another_graph_gives_other_embeddings(self, tissue: MakeTissue, fit: Fit) -> None:
        """Nothing of the graph of training is kept: without edges every spot is embedded by itself."""
        expression, adjacency, _ = tissue()
        model, none = fit(), sparse.csr_array(adjacency.shape, dtype=np.float32)
        alone = model.embed(expression, none)
        assert np.abs(alone - model.embed(expression, adjacency)).max() > 0.1
        np.testing.assert_allclose(model.embed(expression[:5], none[:5, :5]), alone[:5], atol=1e-5)

    def test_a_spot_is_influenced_by_two_hops_only(self, tissue: MakeTissue, fit: Fit) -> None:
        model = fit(quick(n_components=None))
        expression, adjacency, _ = tissue()
        changed = expression.copy()
        changed[0] += 5
        moved = np.abs(model.embed(changed, adjacency) - model.embed(expression, adjacency)).max(1) > 1e-6
        x, y = np.divmod(np.arange(SIDE * SIDE), SIDE)
        np.testing.assert_array_equal(moved, x + y <= 2)


class TestSeveralSlices:
    def test_slices_join(self, tissue: MakeTissue) -> None:
        expression, adjacency, truth, slices = several(tissue)
        model = SpaCross(quick(max_epochs=150)).fit(expression, adjacency, slices=slices, progress_bar=False)
        embedding = model.embed(expression, adjacency, slices=slices)
        assert embedding.shape == (2 * SIDE * SIDE, 12)
        assert embedding.dtype == np.float32
        assert agreement(truth, embedding) > 0.8
        np.testing.assert_array_equal(embedding, model.embed(expression, adjacency, slices=slices))

    def test_integration_can_be_left_out(self, tissue: MakeTissue) -> None:
        expression, adjacency, _, slices = several(tissue)
        model = SpaCross(quick(integrate=False)).fit(expression, adjacency, slices=slices, progress_bar=False)
        plain = model.embed(expression, adjacency)
        np.testing.assert_array_equal(model.embed(expression, adjacency, slices=slices), plain)
        model.config = quick(integrate=True)
        assert np.abs(model.embed(expression, adjacency, slices=slices) - plain).max() > 1e-3

    def test_one_slice_is_none(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, _ = tissue()
        named = fit(slices=np.full(len(expression), "a")).embed(expression, adjacency)
        assert named.tobytes() == fit().embed(expression, adjacency).tobytes()


class TestDecoding:
    @pytest.mark.parametrize("change", [{}, {"n_encoders": 2}, {"decoder": "graph"}, {"n_components": None}])
    def test_decoded_expression_is_closer_to_the_truth(
        self, change: dict[str, Any], tissue: MakeTissue, fit: Fit
    ) -> None:
        """In gene space and its units: around the mean of each gene, like what the halves have in common."""
        expression, adjacency, truth = tissue()
        model = fit(quick(max_epochs=150, **change))
        decoded = model.reconstruct(expression, adjacency)
        assert decoded.shape == expression.shape
        assert decoded.dtype == np.float32
        means = np.stack([expression[truth == half].mean(0) for half in (0, 1)])[truth]
        centre = 0 if change.get("n_components", 1) is None else expression.mean(0)
        raw, found, expected = (values - expression.mean(0) for values in (expression, decoded, means))
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > np.corrcoef(raw.ravel(), expected.ravel())[0, 1]
        assert np.square(decoded - means).mean() < np.square(raw).mean()
        assert np.square(decoded - expression).mean() < np.square(expression - centre).mean()

    def test_units(self, tissue: MakeTissue, fit: Fit) -> None:
        """Genes of other sizes are decoded in these sizes, around the same means."""
        expression, adjacency, _ = tissue()
        sizes = np.random.default_rng(0).lognormal(sigma=2, size=60).astype(np.float32)
        plain = fit().reconstruct(expression, adjacency)
        larger = SpaCross(QUICK).fit(expression * sizes + 7, adjacency, progress_bar=False)
        decoded = (larger.reconstruct(expression * sizes + 7, adjacency) - 7) / sizes
        for values in (plain, decoded):
            np.testing.assert_allclose(values.mean(0), expression.mean(0), atol=0.1)
            assert 0.02 < values.std() / expression.std() < 1

    def test_it_is_the_mean_over_encoders_and_each_gene_on_its_line(self, tissue: MakeTissue, fit: Fit) -> None:
        """Encoders at their best scale; then the least-squares line of each gene, unless it would turn it round."""
        expression, adjacency, _ = tissue()
        model = fit(quick(n_encoders=2))
        features, graph = model._inputs(expression, adjacency)
        scores = []
        with torch.no_grad():
            for network in model.networks:
                raw = network(features, graph.normalized()).numpy().ravel()
                factor = np.linalg.lstsq(raw[:, None], features.values.numpy().ravel(), rcond=None)[0]
                scores.append((raw * factor).reshape(features.shape))
        decoded = model._reduction.components.restore(np.mean(scores, axis=0))
        lines = [np.polyfit(decoded[:, gene], expression[:, gene], 1) for gene in range(60)]
        expected = [
            np.polyval(line, decoded[:, gene]) if line[0] > 0 else np.full(len(decoded), expression[:, gene].mean())
            for gene, line in enumerate(lines)
        ]
        assert {line[0] > 0 for line in lines} == {True, False}
        found = model.reconstruct(expression, adjacency)
        np.testing.assert_allclose(found, np.transpose(expected), atol=1e-4)
        sparsely = model.reconstruct(sparse.csr_array(expression), adjacency)
        np.testing.assert_allclose(sparsely, found, atol=1e-5)

    def test_three_hops(self, tissue: MakeTissue, fit: Fit) -> None:
        """The projector adds one hop to the encoder's two."""
        model = fit(quick(n_components=None))
        expression, adjacency, _ = tissue()
        changed = expression.copy()
        changed[0] += 5
        factor = []
        for values in (expression, changed):
            features, graph = model._inputs(values, adjacency)
            with torch.no_grad():
                factor.append(model.networks[0](features, graph.normalized()).numpy())
        x, y = np.divmod(np.arange(SIDE * SIDE), SIDE)
        np.testing.assert_array_equal(np.abs(factor[1] - factor[0]).max(1) > 1e-6, x + y <= 3)


class TestLinearScale:
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
    def test_logarithms_are_undone_and_taken_again(
        self, storage: Callable[[np.ndarray], Any], tissue: MakeTissue
    ) -> None:
        expression, adjacency, _ = tissue()
        linear = np.expm1(expression)
        log, plain = (
            SpaCross(quick(linear_scale=scale, max_epochs=5)).fit(storage(values), adjacency, progress_bar=False)
            for scale, values in ((True, expression), (False, linear))
        )
        found, expected = log.embed(storage(expression), adjacency), plain.embed(storage(linear), adjacency)
        np.testing.assert_array_equal(found, expected)
        # Gene by gene on a line of its own in either unit, so the order of spots is what the two share.
        decoded = (model.reconstruct(storage(x), adjacency) for model, x in ((log, expression), (plain, linear)))
        for ours, theirs in zip(*(values.T for values in decoded), strict=True):
            if np.ptp(ours) > 1e-3 and np.ptp(theirs) > 1e-3:
                assert np.corrcoef(np.argsort(np.argsort(ours)), np.argsort(np.argsort(theirs)))[0, 1] > 0.999

    @pytest.mark.parametrize("case", ["large", "whole", "negative"])
    def test_what_is_no_logarithm_stays(self, case: str, tissue: MakeTissue) -> None:
        """Values above 20, counts, and genes that are centred."""
        expression, adjacency, _ = tissue()
        linear = np.expm1(expression)
        values = {"large": linear * 30, "whole": linear.round(), "negative": expression - expression.mean(0)}[case]
        found, expected = (
            SpaCross(quick(linear_scale=scale, max_epochs=3)).fit(values, adjacency, progress_bar=False)
            for scale in (True, False)
        )
        np.testing.assert_array_equal(found.embed(values, adjacency), expected.embed(values, adjacency))
        np.testing.assert_array_equal(found.reconstruct(values, adjacency), expected.reconstruct(values, adjacency))

    def test_it_finds_the_halves(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, truth = tissue()
        model = fit(quick(max_epochs=150, linear_scale=True))
        assert agreement(truth, model.embed(expression, adjacency)) > 0.85
        decoded = model.reconstruct(expression, adjacency)
        assert (decoded >= 0).all()
        difference, observed = (rows[truth == 1].mean(0) - rows[truth == 0].mean(0) for rows in (decoded, expression))
        assert np.corrcoef(difference, observed)[0, 1] > 0.9


class WrittenOut:
    """The objective from its formulas: masked copies of X, a dense Â, normalisation by hand, all pairs of spots."""

    def __init__(self, objective: SpaCrossObjective, x: torch.Tensor, adjacency: np.ndarray) -> None:
        self.objective, self.config, self.x = objective, objective.config, x
        edges = torch.from_numpy((adjacency != 0) | np.eye(len(adjacency), dtype=bool)).float()
        scale = torch.diag(edges.sum(1) ** -0.5)
        self.a = scale @ edges @ scale
        self.spatial = adjacency != 0
        self.target = {name: value.detach().clone() for name, value in objective.network.named_parameters()}

    def encode(self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None) -> Any:
        layers = (
            (weights["linear_1.weight"], elu, False),
            (weights["linear_2.weight"].T, elu, False),
            (weights["graph_1.lin.weight"].T, torch.relu, True),
            (weights["graph_2.lin.weight"].T, lambda values: values, True),
        )
        for number, (weight, activation, over_graph) in enumerate(layers):
            x = self.a @ (x @ weight) if over_graph else x @ weight
            x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
            x = activation(x * weights[f"norms.{number}.weight"] + weights[f"norms.{number}.bias"])
            if generator is not None and self.config.dropout:
                keep = torch.rand(x.shape, generator=generator) >= self.config.dropout
                x = torch.where(keep, x / (1 - self.config.dropout), 0)
        return x

    def hide(self, weights: dict[str, torch.Tensor], masked: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = masked.nonzero()[:, 0]
        view = self.x.clone()
        view[rows] = weights["token.token"]
        replaced = rows[torch.randperm(len(rows), generator=generator)][: round(self.config.replace_rate * len(rows))]
        if len(replaced):
            view[replaced] = self.x[draw_others(len(self.x), 1, generator, rows=replaced)[:, 0]]
        return view

    def neighborhoods(self, generator: torch.Generator) -> dict[int, list[int]]:
        """Positives of each spot, checked against all cosines and clusterings of the embedding."""
        config, objective = self.config, self.objective
        with torch.no_grad():
            z = objective.network.encode(objective.tissue.features, objective.adjacency)
            weights = dict(objective.network.named_parameters())
            torch.testing.assert_close(z, self.encode(weights, self.x, None), rtol=1e-3, atol=1e-4)
        labels = consensus_clusterings(z, config.n_clusters, config.n_clusterings, generator)
        votes = (labels[:, :, None] == labels[:, None]).sum(0)
        related = torch.from_numpy(self.spatial) | (votes >= config.quorum)
        cosines = cosine_similarity(z[:, None], z[None], dim=2).fill_diagonal_(-2)
        last = cosines.topk(config.n_similar, dim=1).values[:, -1:]
        # Which of two equally similar spots is the last one is a matter of rounding.
        surely, possibly = ((related & (cosines > last + margin)).nonzero().tolist() for margin in (1e-5, -1e-5))
        found = pairs(objective.neighborhoods.current)
        assert {tuple(pair) for pair in surely} <= found <= {tuple(pair) for pair in possibly}
        assert len(possibly) - len(surely) < 2 * len(z)
        positives: dict[int, list[int]] = {}
        for u, v in sorted(found):
            positives.setdefault(u, []).append(v)
        return positives

    def parts(self, epoch: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        config, weights = self.config, dict(self.objective.network.named_parameters())
        masked = draw_masked(len(self.x), config.mask_rate, generator)
        z = self.encode(weights, self.hide(weights, masked, generator), generator)
        wide = torch.where(masked[:, None], 0, z @ weights["widen.weight"].T)
        projection = self.a @ (wide @ weights["gather.lin.weight"].T)
        found = {}
        if config.reconstruction_weight:
            if config.decoder == "graph":
                decoded = self.a @ (projection @ weights["output.lin.weight"].T)
            else:
                decoded = projection @ weights["output.weight"].T + weights["output.bias"]
            cosine = cosine_similarity(decoded[masked], self.x[masked])
            found["reconstruction"] = -((1 + cosine) / 2).square().log().mean()
        if config.consistency_weight:
            found["consistency"] = self.consistency(projection[masked], masked, generator)
        if config.contrast_weight:
            found["contrast"] = self.contrast(z, epoch, generator)
        return found

    def consistency(self, online: torch.Tensor, masked: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        momentum = self.config.target_momentum
        with torch.no_grad():
            for name, value in self.objective.network.named_parameters():
                self.target[name] = momentum * self.target[name] + (1 - momentum) * value
            seen = self.encode(self.target, self.hide(self.target, ~masked, generator), generator)[masked]
        negatives = draw_others(len(online), self.config.n_negatives, generator)
        attraction = -((1 + cosine_similarity(online, seen)) / 2).square().log().mean()
        others = (1 + cosine_similarity(online[:, None], seen[negatives], dim=2)) / 2
        return (attraction - (1 - others.square()).log().mean()) / 2

    def contrast(self, z: torch.Tensor, epoch: int, generator: torch.Generator) -> torch.Tensor:
        if epoch % self.config.refresh_every == 0:
            self.positives = self.neighborhoods(generator)
        anchors = torch.tensor(list(self.positives))
        summaries = torch.stack([z[positives].mean(0) for positives in self.positives.values()]).sigmoid()
        weight, bias = self.objective.contrast.weight, self.objective.contrast.bias
        if self.config.pairing == "all":
            negatives = anchors[torch.randperm(len(anchors), generator=generator)]
            true, false = (z[rows] @ weight @ summaries.T + bias for rows in (anchors, negatives))
        else:
            negatives = draw_others(len(z), 1, generator, rows=anchors)[:, 0]
            true, false = (torch.diag(z[rows] @ weight @ summaries.T) + bias for rows in (anchors, negatives))
        return -true.sigmoid().log().mean() - (1 - false.sigmoid()).log().mean()


class Problem:
    """An objective on a small tissue with a directed graph, and the same written out."""

    def __init__(self, tissue: MakeTissue, slices: tuple[torch.Tensor, ...] = (), **changes: Any) -> None:
        expression, adjacency, _ = tissue()
        rng = np.random.default_rng(1)
        adjacency = adjacency.toarray() * (rng.random(adjacency.shape) < 0.8)
        x = torch.from_numpy(expression - expression.mean(0))
        self.config = quick(n_components=None, **changes)
        self.tissue = Tissue(DenseFeatures(x), SpotGraph.from_adjacency(sparse.csr_array(adjacency)), slices)
        self.objective = self.make(self.config)
        self.written = WrittenOut(self.objective, x, adjacency)
        self.generator = torch.Generator().manual_seed(5)

    def make(self, config: SpaCrossConfig) -> SpaCrossObjective:
        generator = torch.Generator().manual_seed(5)

        def build() -> SpaCrossObjective:
            network = SpaCrossNetwork(self.tissue.features.shape[1], config)
            # A token of zero would not show whether it is taken.
            torch.nn.init.normal_(network.token.token)
            return SpaCrossObjective(network, self.tissue, config, generator)

        return build_seeded(build, 0)

    def compare(self, epoch: int) -> dict[str, torch.Tensor]:
        """Value and gradients of one step; returns the gradients."""
        output = self.objective(epoch)
        parts = self.written.parts(epoch, self.generator)
        assert list(output.parts) == list(parts)
        for name, part in parts.items():
            torch.testing.assert_close(
                output.parts[name], part, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: n + text
            )
        total = sum(getattr(self.config, f"{name}_weight") * part for name, part in parts.items())
        torch.testing.assert_close(output.total, total, rtol=1e-4, atol=1e-5)
        assert torch.equal(self.generator.get_state(), self.objective.generator.get_state())
        trained = {name: value for name, value in self.objective.named_parameters() if value.requires_grad}
        found, expected = (
            torch.autograd.grad(value, list(trained.values()), allow_unused=True) for value in (output.total, total)
        )
        for name, mine, theirs in zip(trained, found, expected, strict=True):
            assert (mine is None) == (theirs is None), name
            if mine is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: n + text)
        return {name: value for name, value in zip(trained, found, strict=True) if value is not None}

    def descend(self, gradients: dict[str, torch.Tensor]) -> None:
        weights = dict(self.objective.named_parameters())
        with torch.no_grad():
            for name, gradient in gradients.items():
                weights[name] -= 0.2 * gradient


class TestOneStepEqualsTheFormulas:
    @pytest.mark.parametrize("dropout", [0.0, 0.2])
    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"decoder": "graph"},
            {"pairing": "all"},
            {"replace_rate": 0.0, "mask_rate": 0.7, "n_negatives": 3},
            {"quorum": 0},
            {"quorum": 1},
            {"reconstruction_weight": 0.0},
            {"consistency_weight": 0.0},
            {"contrast_weight": 0.0},
        ],
        ids=str,
    )
    def test_one_step(self, change: dict[str, Any], dropout: float, tissue: MakeTissue) -> None:
        problem = Problem(tissue, dropout=dropout, **change)
        gradients = problem.compare(0)
        assert all(gradient.abs().sum() > 0 for name, gradient in gradients.items() if "norms.3.bias" not in name)

    @pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
    def test_the_target_follows(self, momentum: float, tissue: MakeTissue) -> None:
        """Three steps: from the second on, online and target encoder differ."""
        problem = Problem(tissue, target_momentum=momentum, refresh_every=2)
        for epoch in range(3):
            problem.descend(problem.compare(epoch))
        online = dict(problem.objective.network.named_parameters())
        apart = max(
            float((online[name] - value).detach().abs().max()) for name, value in problem.written.target.items()
        )
        assert apart > 1e-3
        target = problem.objective.target
        assert (target is None) == (momentum == 0)
        assert target is None or not any(parameter.requires_grad for parameter in target.parameters())

    def test_the_released_step(self, tissue: MakeTissue) -> None:
        Problem(tissue, pairing="all", quorum=1, target_momentum=0.0).compare(0)

    def test_bfloat16_has_nearly_the_same_gradient(self, tissue: MakeTissue) -> None:
        """Also where weights are met first without a gradient, which autocast might remember."""
        for momentum in (0.0, 0.9):
            exact, rounded = (Problem(tissue, target_momentum=momentum, dropout=0.0).objective for _ in range(2))
            exact(0).total.backward()
            with torch.autocast("cpu", torch.bfloat16):
                total = rounded(0).total
            total.backward()
            for (name, mine), theirs in zip(exact.named_parameters(), rounded.parameters(), strict=True):
                if mine.requires_grad and name != "network.norms.3.bias":
                    assert cosine_similarity(mine.grad.ravel(), theirs.grad.ravel(), dim=0) > 0.85, name


class TestNeighborhoods:
    def test_they_are_found_anew_every_few_epochs(self, tissue: MakeTissue) -> None:
        objective = Problem(tissue, refresh_every=3).objective
        changes, known = [], objective.neighborhoods.current
        for epoch in range(8):
            objective(epoch)
            if objective.neighborhoods.current is not known:
                changes.append(epoch)
            known = objective.neighborhoods.current
        assert changes == [0, 3, 6]

    def test_none_are_found_without_the_contrast(self, tissue: MakeTissue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SpaCrossObjective, "_find_neighborhoods", lambda *_: pytest.fail("not needed"))
        Problem(tissue, contrast_weight=0.0).objective(0)

    def test_a_draw_of_spots(self, tissue: MakeTissue) -> None:
        """With a quorum of 0 every spot that is asked for has positives."""
        objective = Problem(tissue, contrast_spots=40, quorum=0, refresh_every=1).objective
        drawn = []
        for epoch in range(2):
            objective(epoch)
            drawn.append(set(objective.neighborhoods.current.anchors.tolist()))
        assert [len(anchors) for anchors in drawn] == [40, 40]
        assert drawn[0] != drawn[1]
        for budget in (None, SIDE * SIDE, 10_000):
            objective = Problem(tissue, contrast_spots=budget, quorum=0).objective
            objective(0)
            assert objective.neighborhoods.current.n_anchors == SIDE * SIDE

    @pytest.mark.parametrize("pairing", ["row", "all"])
    def test_without_positives_the_contrast_is_zero(self, pairing: str, tissue: MakeTissue) -> None:
        objective = Problem(tissue, pairing=pairing).objective
        assert objective.neighborhoods.current.n_anchors == 0
        output = objective(1)
        output.total.backward()
        assert output.parts["contrast"] == 0
        assert all(torch.isfinite(weight.grad).all() for weight in objective.network.parameters())

    @pytest.mark.parametrize("budget", [None, 50])
    def test_of_several_slices_they_are_mutual(self, budget: int | None, tissue: MakeTissue) -> None:
        rows = torch.arange(SIDE * SIDE)
        slices = (rows[rows % 3 == 0], rows[rows % 3 == 1], rows[rows % 3 == 2])
        problem = Problem(tissue, slices, contrast_spots=budget)
        objective = problem.objective
        with torch.no_grad():
            z = objective.network.encode(problem.tissue.features, objective.adjacency)
        state = objective.generator.get_state()
        found = objective._find_neighborhoods(z)
        objective.generator.set_state(state)
        labels = consensus_clusterings(z, 4, 5, objective.generator)
        queries = None if budget is None else torch.randperm(len(z), generator=objective.generator)[:budget]
        options = {"n_similar": 10, "quorum": 3, "queries": queries}
        expected = hybrid_neighborhoods(z, problem.tissue.graph, labels, slices=rows % 3, **options)
        assert pairs(found) == pairs(expected)
        together = hybrid_neighborhoods(z, problem.tissue.graph, labels, **options)
        assert pairs(found) != pairs(together)
        assert any(u % 3 != v % 3 for u, v in pairs(found))


def pairs(found: Neighborhoods) -> set[tuple[int, int]]:
    sources = found.anchors.repeat_interleave(found.indptr.diff())
    return set(zip(sources.tolist(), found.indices.tolist(), strict=True))


class TestCheckpoints:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_an_interrupted_fit_resumes_to_the_same_numbers(
        self, momentum: float, tmp_path: Path, tissue: MakeTissue, fit: Fit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A state is written after epoch 25; neighbourhoods are found at 20 and not again before 40."""
        config = quick(refresh_every=20, target_momentum=momentum, contrast_spots=60, n_encoders=2)
        expression, adjacency, _ = tissue()
        expected = fit(config)
        calls = iter(range(100))
        evaluate = SpaCrossObjective.__call__

        def interrupted(self: SpaCrossObjective, epoch: int) -> object:
            if next(calls) == 58:  # epoch 28 of the second encoder
                raise KeyboardInterrupt
            return evaluate(self, epoch)

        file = tmp_path / "fit.ckpt"
        with monkeypatch.context() as patch:
            patch.setattr(SpaCrossObjective, "__call__", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(config, checkpoint=file)
        searches: list[int] = []
        search = SpaCrossObjective._find_neighborhoods
        monkeypatch.setattr(
            SpaCrossObjective, "_find_neighborhoods", lambda self, z: (searches.append(1), search(self, z))[1]
        )
        resumed = fit(config, checkpoint=file)
        assert searches == []
        assert resumed.embed(expression, adjacency).tobytes() == expected.embed(expression, adjacency).tobytes()
        for name, values in expected.history.items():
            np.testing.assert_array_equal(resumed.history[name], values)

    def test_the_checkpoint_of_another_tissue_is_refused(self, tmp_path: Path, tissue: MakeTissue, fit: Fit) -> None:
        """Components are as many for every tissue, so the weights would fit."""
        config = quick(max_epochs=3)
        fit(config, checkpoint=tmp_path / "fit.ckpt")
        (expression, adjacency, _), (other, _, _) = tissue(), tissue(seed=1)
        fewer = np.arange(200)
        ring = sparse.eye_array(len(expression), k=1, format="csr")
        slices = np.repeat(["a", "b"], len(expression) // 2)
        for values, graph, labels in (
            (expression[fewer], adjacency[fewer][:, fewer], None),
            (expression, ring, None),
            (other * (np.arange(60) < 40), adjacency, None),
            (expression, adjacency, slices),
        ):
            with pytest.raises(ValueError, match="belongs to another model or data set"):
                SpaCross(config).fit(values, graph, slices=labels, checkpoint=tmp_path / "fit.ckpt")

    def test_neighborhoods_are_part_of_the_state(self, tissue: MakeTissue) -> None:
        first, second = (Problem(tissue).objective for _ in range(2))
        first(0)
        state = copy.deepcopy(first.state_dict())
        second.load_state_dict(state)
        assert pairs(second.neighborhoods.current) == pairs(first.neighborhoods.current)
        assert NeighborhoodMemory().current.n_anchors == 0


class TestRefusals:
    def test_not_trained(self, tissue: MakeTissue) -> None:
        expression, adjacency, _ = tissue()
        for method in (SpaCross().embed, SpaCross().reconstruct):
            with pytest.raises(ValueError, match=r"not trained yet; call fit\(expression, adjacency\)"):
                method(expression, adjacency)

    def test_other_genes(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, _ = tissue()
        model = fit(quick(max_epochs=1))
        for method in (model.embed, model.reconstruct):
            with pytest.raises(ValueError, match="trained on 60 genes, this expression has 59"):
                method(expression[:, :-1], adjacency)

    def test_other_graph(self, tissue: MakeTissue) -> None:
        expression, adjacency, _ = tissue()
        with pytest.raises(ValueError, match=r"graph is \(256, 256\), the expression has 255 spots"):
            SpaCross().fit(expression[:-1], adjacency)

    def test_a_decoder_that_was_not_trained(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, _ = tissue()
        model = fit(quick(reconstruction_weight=0, max_epochs=1))
        with pytest.raises(ValueError, match="decoder was not trained, because reconstruction_weight is 0"):
            model.reconstruct(expression, adjacency)

    def test_not_finite(self, tissue: MakeTissue) -> None:
        expression, adjacency, _ = tissue()
        expression[3, 4] = np.inf
        for matrix in (expression, sparse.csr_array(expression)):
            with pytest.raises(ValueError, match="expression has 1 NaN or infinite values"):
                SpaCross().fit(matrix, adjacency)

    def test_slices(self, fit: Fit) -> None:
        with pytest.raises(ValueError, match=r"slices has shape \(3,\); expected one label for each of the 256 spots"):
            fit(slices=np.array(["a", "b", "b"]))
        with pytest.raises(ValueError, match="slice 'b' has a single spot"):
            fit(slices=np.array(["a"] * 255 + ["b"]))

    def test_a_failed_fit_leaves_the_model_as_it_was(self, tissue: MakeTissue, fit: Fit) -> None:
        expression, adjacency, _ = tissue()
        model = fit(quick(max_epochs=2))
        before = model.embed(expression, adjacency)
        with pytest.raises(ValueError, match="single spot"):
            model.fit(expression[:, :30], adjacency, slices=np.array(["a"] * 255 + ["b"]), progress_bar=False)
        np.testing.assert_array_equal(model.embed(expression, adjacency), before)

    def test_device(self, fit: Fit) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU, so it can be used")
        with pytest.raises(ValueError, match="torch finds no usable GPU; use device='auto' or 'cpu'"):
            fit(device="cuda")

    @pytest.mark.parametrize(
        "name",
        [
            "hidden_size",
            "feature_size",
            "latent_size",
            "n_encoders",
            "n_components",
            "n_axes",
            "n_negatives",
            "n_similar",
            "n_clusterings",
            "refresh_every",
            "contrast_spots",
            "max_epochs",
            "patience",
        ],
    )
    def test_counts(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"^{name}=0 must be at least 1"):
            SpaCrossConfig(**{name: 0})
        with pytest.raises(TypeError, match=f"^{name} must be an integer, not 6.5"):
            SpaCrossConfig(**{name: 6.5})

    @pytest.mark.parametrize(
        "name", ["reconstruction_weight", "consistency_weight", "contrast_weight", "weight_decay", "min_delta"]
    )
    def test_weights(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"^{name}=-1 lies outside \[0, inf\)"):
            SpaCrossConfig(**{name: -1})
        with pytest.raises(TypeError, match=f"^{name} must be a number, not 'much'"):
            SpaCrossConfig(**{name: "much"})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_clusters": 1}, "n_clusters=1 must be at least 2"),
            ({"quorum": -1}, "quorum=-1 must be at least 0"),
            ({"quorum": 6, "n_clusterings": 5}, "quorum=6 is more than n_clusterings=5; no pair could ever meet it"),
            ({"dropout": 1.0}, r"dropout=1.0 lies outside \[0, 1\)"),
            ({"mask_rate": 0.0}, r"mask_rate=0.0 lies outside \(0, 1\)"),
            ({"mask_rate": 1.0}, r"mask_rate=1.0 lies outside \(0, 1\)"),
            ({"replace_rate": 1.1}, r"replace_rate=1.1 lies outside \[0, 1\]"),
            ({"target_momentum": -0.1}, r"target_momentum=-0.1 lies outside \[0, 1\]"),
            ({"clip": 0}, r"clip=0 lies outside \(0, inf\)"),
            ({"dispersion": -0.5}, r"dispersion=-0.5 lies outside \[0, inf\)"),
            ({"whitening": -0.1}, r"whitening=-0.1 lies outside \[0, 1\]"),
            ({"whitening": 1.5}, r"whitening=1.5 lies outside \[0, 1\]"),
            ({"lr": 0}, r"lr=0 lies outside \(0, inf\)"),
            ({"max_grad_norm": 0}, r"max_grad_norm=0 lies outside \(0, inf\)"),
            ({"batch_norm_momentum": 0}, r"batch_norm_momentum=0 lies outside \(0, inf\)"),
            ({"decoder": "deep"}, r"decoder='deep' is not one of \['graph', 'linear'\]"),
            ({"pairing": "some"}, r"pairing='some' is not one of \['all', 'row'\]"),
            ({"schedule": "cosine"}, r"schedule='cosine' is not one of \['constant', 'one_cycle'\]"),
            ({"precision": "float16"}, r"precision='float16' is not one of \['bfloat16', 'float32'\]"),
            ({"reconstruction_weight": 0, "consistency_weight": 0}, "both 0; there is nothing to train for"),
        ],
    )
    def test_configuration(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SpaCrossConfig(**change)

    def test_what_may_be_none(self) -> None:
        config = SpaCrossConfig(
            n_components=None, n_axes=None, clip=None, contrast_spots=None, patience=None, max_grad_norm=None
        )
        assert config.training_plan().max_grad_norm is None

    def test_configuration_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            SpaCrossConfig().lr = 1.0


class TestPublishedSettings:
    def test_paper(self) -> None:
        paper = SpaCrossConfig.paper()
        assert (paper.hidden_size, paper.feature_size, paper.latent_size, paper.dropout) == (64, 32, 16, 0.2)
        assert (paper.n_components, paper.mask_rate, paper.replace_rate, paper.n_encoders) == (200, 0.5, 0.05, 1)
        assert (paper.max_epochs, paper.lr, paper.weight_decay, paper.max_grad_norm) == (300, 1e-3, 3e-4, 5)
        assert (paper.schedule, paper.patience, paper.precision) == ("constant", None, "float32")
        assert (paper.refresh_every, paper.n_clusterings, paper.n_negatives) == (50, 5, 2)
        assert (paper.target_momentum, paper.decoder, paper.pairing, paper.integrate) == (0, "linear", "row", False)
        assert paper.contrast_spots is None
        assert (paper.linear_scale, paper.spatial_components, paper.dispersion, paper.clip) == (False, False, 0, None)
        assert (paper.n_axes, paper.whitening) == (None, 0)
        assert SpaCrossConfig.paper(mask_rate=0.3).mask_rate == 0.3

    def test_several_slices(self) -> None:
        assert SpaCrossConfig.several_slices() == SpaCrossConfig(max_epochs=100)
        assert SpaCrossConfig.several_slices(max_epochs=7, lr=0.1) == SpaCrossConfig(max_epochs=7, lr=0.1)

    def test_released(self) -> None:
        """The published setting, but for what is named here."""
        changed = {"linear_scale": True, "pairing": "all", "quorum": 1}
        assert SpaCrossConfig.released() == SpaCrossConfig.paper(**changed)
        assert SpaCrossConfig.released(quorum=0).quorum == 0
        assert SpaCrossConfig.released(quorum=0).pairing == "all"

    def test_presets(self) -> None:
        of_preset = SpaCrossConfig.of_preset
        assert [of_preset(name) for name in ("default", "paper", "released")] == [
            SpaCrossConfig(),
            SpaCrossConfig.paper(),
            SpaCrossConfig.released(),
        ]
        assert [of_preset(name, several_slices=True) for name in ("default", "paper", "released")] == [
            SpaCrossConfig.several_slices(),
            SpaCrossConfig.paper(),
            SpaCrossConfig.released(quorum=0),
        ]
        assert of_preset("default", large_tissue=True) == SpaCrossConfig.large_tissue() == SpaCrossConfig(n_encoders=1)
        with pytest.raises(ValueError, match=r"preset='mine' is not one of \['default', 'paper', 'released'\]"):
            of_preset("mine")

    @pytest.mark.parametrize("config", [SpaCrossConfig.paper(), SpaCrossConfig.released(), SpaCrossConfig()])
    def test_they_train(self, config: SpaCrossConfig, tissue: MakeTissue, fit: Fit) -> None:
        """Also with more components asked for than there are genes."""
        expression, adjacency, _ = tissue()
        embedding = fit(dataclasses.replace(config, max_epochs=2)).embed(expression, adjacency)
        assert np.isfinite(embedding).all()


@pytest.mark.gpu
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gpu_agrees_with_cpu(momentum: float, tissue: MakeTissue, fit: Fit) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no usable GPU")
    expression, adjacency, _ = tissue()
    config = quick(max_epochs=150, target_momentum=momentum)
    labels = [
        KMeans(2, n_init=5, random_state=0).fit_predict(fit(config, device=name).embed(expression, adjacency))
        for name in ("cpu", "cuda")
    ]
    assert adjusted_rand_score(*labels) > 0.9
