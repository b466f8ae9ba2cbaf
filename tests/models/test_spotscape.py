"""The model without AnnData: training, embedding, reconstruction, reproducibility, refusals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from spotscape.models import Spotscape, SpotscapeConfig
from spotscape.models._graph_encoder import Tissue, mean_history
from spotscape.models._spotscape_network import SpotscapeNetwork, SpotscapeObjective
from spotscape.nn import LeadingAxes, SpotGraph, as_features

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

SIDE = 16
QUICK = SpotscapeConfig(max_epochs=30, n_components=20, n_encoders=2)


@pytest.fixture
def fit(tissue: Callable[..., Any]) -> Callable[..., Spotscape]:
    """Return a function that trains on the tissue."""
    expression, adjacency, _ = tissue()

    def train(config: SpotscapeConfig = QUICK, *, random_state: int = 0, **options: Any) -> Spotscape:
        return Spotscape(config, random_state=random_state).fit(expression, adjacency, progress_bar=False, **options)

    return train


@pytest.mark.parametrize("n_components", [20, None])
def test_it_finds_the_halves(
    n_components: int | None, tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    expression, adjacency, truth = tissue()
    plain = KMeans(2, n_init=5, random_state=0).fit_predict(expression)
    embedding = fit(dataclasses.replace(QUICK, n_components=n_components, max_epochs=60)).embed(expression, adjacency)
    found = KMeans(2, n_init=5, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(truth, plain) < 0.7
    assert adjusted_rand_score(truth, found) > 0.85


def test_embedding_and_history(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    model = fit()
    expression, adjacency, _ = tissue()
    embedding = model.embed(expression, adjacency)
    assert embedding.shape == (SIDE * SIDE, QUICK.n_axes)
    assert embedding.dtype == np.float32
    assert embedding.flags.c_contiguous
    assert np.isfinite(embedding).all()
    assert set(model.history) == {"loss", "telescope", "reconstruction", "lr"}
    assert all(len(values) == 30 for values in model.history.values())
    assert model.history["loss"][-5:].mean() < model.history["loss"][:5].mean()


def test_same_seed_same_bits(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    expression, adjacency, _ = tissue()
    first, again, other = (fit(random_state=seed).embed(expression, adjacency) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_dense_and_sparse_input_agree(tissue: Callable[..., Any]) -> None:
    """Up to rounding: products of the two storages add up in different orders."""
    expression, adjacency, _ = tissue()
    config = dataclasses.replace(QUICK, max_epochs=3)
    dense = Spotscape(config).fit(expression, adjacency, progress_bar=False).embed(expression, adjacency)
    matrix = sparse.csr_matrix(expression)
    stored = Spotscape(config).fit(matrix, adjacency, progress_bar=False).embed(matrix, adjacency)
    np.testing.assert_allclose(dense, stored, atol=2e-3)


def test_inputs_and_global_state_stay_untouched(
    global_state_untouched: Callable[[], AbstractContextManager[None]], tissue: Callable[..., Any]
) -> None:
    expression, adjacency, _ = tissue()
    before = expression.copy(), adjacency.copy()
    with global_state_untouched():
        Spotscape(QUICK).fit(expression, adjacency, progress_bar=False).embed(expression, adjacency)
    np.testing.assert_array_equal(expression, before[0])
    assert (adjacency != before[1]).nnz == 0


@pytest.mark.parametrize("change", [{}, {"linear_scale": False}, {"dispersion": 0.0, "clip": None}], ids=str)
def test_reconstruction_shows_the_genes_that_differ(
    change: dict[str, Any], tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    """In units of the input, and each gene around its mean."""
    expression, adjacency, truth = tissue()
    decoded = fit(dataclasses.replace(QUICK, max_epochs=100, **change)).reconstruct(expression, adjacency)
    np.testing.assert_allclose(decoded.mean(0), expression.mean(0), atol=1e-4)
    assert decoded.shape == expression.shape
    assert decoded.dtype == np.float32
    assert np.square(decoded - expression).mean() < np.square(expression.mean(0) - expression).mean()
    difference = decoded[truth == 1].mean(0) - decoded[truth == 0].mean(0)
    observed = expression[truth == 1].mean(0) - expression[truth == 0].mean(0)
    assert np.corrcoef(difference, observed)[0, 1] > 0.9


def test_the_decoder_is_read_in_components(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    """Mean over encoders, in the span of the components; back to logarithms; then the line of each gene."""
    expression, adjacency, _ = tissue()
    model = fit(dataclasses.replace(QUICK, n_components=8))
    features, graph = model._inputs(expression, adjacency)
    with torch.no_grad():
        decoded = np.mean([network(features, graph.normalized()).numpy() for network in model.networks], axis=0)
    components = model._reduction.components
    spanned = decoded @ components.loadings @ components.loadings.T
    restored = np.log1p(np.maximum(spanned * components.scale + components.mean, 0))
    expected = np.empty_like(expression)
    for gene, (ours, theirs) in enumerate(zip(restored.T, expression.T, strict=True)):
        slope, offset = np.polyfit(ours, theirs, 1)
        expected[:, gene] = slope * ours + offset if slope > 0 else theirs.mean()
    found = model.reconstruct(expression, adjacency)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(sparse.csr_array(expression), adjacency), found, atol=1e-4)


def test_without_components_the_decoder_speaks_of_genes(
    tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    expression, adjacency, _ = tissue()
    model = fit(dataclasses.replace(QUICK, n_components=None, max_epochs=5))
    features, graph = model._inputs(expression, adjacency)
    with torch.no_grad():
        decoded = np.mean([network(features, graph.normalized()).numpy() for network in model.networks], axis=0)
    np.testing.assert_allclose(model.reconstruct(expression, adjacency), decoded, atol=1e-6)


def test_it_embeds_another_tissue(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    """Trained on one slice, the model tells the halves of another apart, whose spots it never saw."""
    other, adjacency, truth = tissue(seed=1)
    embedding = fit(dataclasses.replace(QUICK, max_epochs=60)).embed(other, adjacency)
    assert adjusted_rand_score(truth, KMeans(2, n_init=5, random_state=0).fit_predict(embedding)) > 0.8


def test_spots_can_be_permuted(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    """An embedding belongs to its spot, not to the spot's place in the table."""
    model = fit()
    expression, adjacency, _ = tissue()
    order = np.random.default_rng(0).permutation(len(expression))
    expected = model.embed(expression, adjacency)[order]
    found = model.embed(expression[order], adjacency[order][:, order])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_spot_is_influenced_by_two_hops_only(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    model = fit(dataclasses.replace(QUICK, n_components=None, n_encoders=1))
    expression, adjacency, _ = tissue()
    changed = expression.copy()
    changed[0] += 5
    moved = np.abs(model.embed(changed, adjacency) - model.embed(expression, adjacency)).max(1) > 1e-5
    x, y = np.divmod(np.arange(SIDE * SIDE), SIDE)
    np.testing.assert_array_equal(moved, x + y <= 2)


def test_encoders_are_averaged(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    """Without whitening, squared distances are the mean of those of the encoders, but for what the last axes hold."""
    expression, adjacency, _ = tissue()
    model = fit(dataclasses.replace(QUICK, latent_size=8, n_encoders=3, n_axes=None, whitening=0.0))
    single = [pdist(z.numpy(), "sqeuclidean") for z in model._encode(*model._inputs(expression, adjacency))]
    embedding = model.embed(expression, adjacency)
    joined = pdist(embedding, "sqeuclidean")
    assert embedding.shape[1] == 8
    assert np.corrcoef(joined, np.mean(single, axis=0))[0, 1] > 0.95
    assert (joined <= np.mean(single, axis=0) * (1 + 1e-5)).all()


@pytest.mark.parametrize("n_encoders", [1, 3])
@pytest.mark.parametrize("change", [{}, {"n_axes": 3, "whitening": 0.0}, {"n_axes": None, "whitening": 1.0}], ids=str)
def test_leading_axes_of_the_encoders(
    change: dict[str, Any], n_encoders: int, tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    """Found on the tissue that was trained on, at the whitening and the number that the configuration says."""
    (expression, adjacency, _), (other, _, _) = tissue(), tissue(seed=1)
    config = dataclasses.replace(QUICK, n_encoders=n_encoders, max_epochs=5, **change)
    model = fit(config)
    encoded = model._encode(*model._inputs(expression, adjacency))
    leading = LeadingAxes.of(encoded, config.n_axes or config.latent_size, whitening=config.whitening)
    np.testing.assert_array_equal(model.embed(expression, adjacency), leading.project(encoded).numpy())
    encoded = model._encode(*model._inputs(other, adjacency))
    np.testing.assert_array_equal(model.embed(other, adjacency), leading.project(encoded).numpy())


def test_fewer_latent_axes_than_asked_for(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    expression, adjacency, _ = tissue()
    config = dataclasses.replace(QUICK, n_axes=12, max_epochs=2)
    for latent_size, n_encoders, width in ((5, 1, 5), (5, 2, 10), (5, 3, 12)):
        model = fit(dataclasses.replace(config, latent_size=latent_size, n_encoders=n_encoders))
        assert model.embed(expression, adjacency).shape[1] == width


def test_the_published_embedding_is_that_of_its_encoder(
    tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    """Neither rotated nor scaled."""
    expression, adjacency, _ = tissue()
    config = SpotscapeConfig.paper(max_epochs=3)
    model = fit(config)
    (own,) = model._encode(*model._inputs(expression, adjacency))
    assert own.shape == (SIDE * SIDE, config.latent_size)
    assert (own >= 0).all()
    np.testing.assert_array_equal(model.embed(expression, adjacency), own.numpy())


def test_histories_of_encoders_that_stop_apart() -> None:
    histories = [{"loss": np.array([4.0, 2.0, 1.0])}, {"loss": np.array([2.0, 2.0])}]
    np.testing.assert_array_equal(mean_history(histories)["loss"], [3, 2, 1])


def test_bfloat16_stays_close(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    expression, adjacency, truth = tissue()
    embedding = fit(dataclasses.replace(QUICK, precision="bfloat16", max_epochs=60)).embed(expression, adjacency)
    assert embedding.dtype == np.float32
    assert adjusted_rand_score(truth, KMeans(2, n_init=5, random_state=0).fit_predict(embedding)) > 0.8


def test_an_interrupted_fit_resumes_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    expression, adjacency, _ = tissue()
    expected = fit().embed(expression, adjacency)
    calls = iter(range(100))  # the second encoder is interrupted
    evaluate = SpotscapeObjective.__call__

    def interrupted(self: SpotscapeObjective, epoch: int) -> object:
        if next(calls) == 57:
            raise KeyboardInterrupt
        return evaluate(self, epoch)

    file = tmp_path / "fit.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(SpotscapeObjective, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint=file)
    assert fit(checkpoint=file).embed(expression, adjacency).tobytes() == expected.tobytes()


def test_the_checkpoint_of_another_tissue_is_refused(
    tmp_path: Path, tissue: Callable[..., Any], fit: Callable[..., Spotscape]
) -> None:
    """All tissues with the same genes have the same weights."""
    fit(checkpoint=tmp_path / "fit.ckpt")
    other, adjacency, _ = tissue(seed=1)
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        Spotscape(QUICK).fit(other, adjacency, progress_bar=False, checkpoint=tmp_path / "fit.ckpt")


def test_one_step_equals_the_formulas_written_out(tissue: Callable[..., Any]) -> None:
    """The objective on two fixed views, with masked copies of X, decoded matrices and all N×N cosines."""
    expression, adjacency, _ = tissue()
    config = SpotscapeConfig(n_components=None, edge_drop=0.3, feature_drop=0.3, reconstruction_weight=0.7)
    network = SpotscapeNetwork(60, config)
    features, graph = as_features(expression), SpotGraph.from_adjacency(adjacency)
    whole = Tissue(features, graph, ())
    found = SpotscapeObjective(network, whole, config, torch.Generator().manual_seed(3))(0).total

    generator = torch.Generator().manual_seed(3)
    x, views, decoded = torch.from_numpy(expression), [], []
    for _ in range(2):
        keep_gene = torch.rand(60, generator=generator) >= 0.3
        keep_edge = torch.rand(graph.n_edges, generator=generator) >= 0.3
        edges = torch.zeros(len(x), len(x))
        edges[graph.rows, graph.indices] = (keep_edge | graph.is_loop).float()
        scale = torch.diag(edges.sum(1) ** -0.5)
        a = scale @ edges @ scale
        hidden = torch.relu(network.first.norm(a @ (x * keep_gene) @ network.first.convolution.lin.weight))
        z = network.second.norm(a @ hidden @ network.second.convolution.lin.weight.T)
        views.append(torch.nn.functional.normalize(z))

        decoded.append(network.output(torch.relu(network.expand_norm(network.expand(z)))))
    cosines = views[0] @ views[1].T
    telescope = (cosines - cosines.T).square().mean()
    reconstruction = torch.stack([(x - other).square().mean() for other in decoded]).mean()
    torch.testing.assert_close(found, telescope + 0.7 * reconstruction, rtol=1e-5, atol=0)


class TestRefusals:
    def test_not_trained(self, tissue: Callable[..., Any]) -> None:
        expression, adjacency, _ = tissue()
        with pytest.raises(ValueError, match=r"not trained yet; call fit\(expression, adjacency\)"):
            Spotscape().embed(expression, adjacency)

    def test_other_genes(self, tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
        expression, adjacency, _ = tissue()
        with pytest.raises(ValueError, match="trained on 60 genes, this expression has 59"):
            fit().embed(expression[:, :-1], adjacency)

    def test_other_graph(self, tissue: Callable[..., Any]) -> None:
        expression, adjacency, _ = tissue()
        with pytest.raises(ValueError, match=r"graph is \(256, 256\), the expression has 255 spots"):
            Spotscape().fit(expression[:-1], adjacency)

    def test_a_decoder_that_was_not_trained(self, tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
        expression, adjacency, _ = tissue()
        model = fit(dataclasses.replace(QUICK, reconstruction_weight=0, max_epochs=1))
        with pytest.raises(ValueError, match="decoder was not trained, because reconstruction_weight is 0"):
            model.reconstruct(expression, adjacency)

    def test_not_finite(self, tissue: Callable[..., Any]) -> None:
        expression, adjacency, _ = tissue()
        expression[3, 4] = np.nan
        with pytest.raises(ValueError, match="expression has 1 NaN or infinite values"):
            Spotscape().fit(expression, adjacency)

    def test_device(self, fit: Callable[..., Spotscape]) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU, so it can be used")
        with pytest.raises(ValueError, match="torch finds no usable GPU; use device='auto' or 'cpu'"):
            fit(device="cuda")

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"hidden_size": 0}, ValueError, "hidden_size=0 must be at least 1"),
            ({"latent_size": 6.5}, TypeError, "latent_size must be an integer, not 6.5"),
            ({"n_encoders": 0}, ValueError, "n_encoders=0 must be at least 1"),
            ({"n_components": 0}, ValueError, "n_components=0 must be at least 1"),
            ({"n_axes": 0}, ValueError, "n_axes=0 must be at least 1"),
            ({"n_axes": 2.5}, TypeError, "n_axes must be an integer, not 2.5"),
            ({"whitening": 1.5}, ValueError, r"whitening=1.5 lies outside \[0, 1\]"),
            ({"whitening": -0.1}, ValueError, r"whitening=-0.1 lies outside \[0, 1\]"),
            ({"dispersion": -1}, ValueError, r"dispersion=-1 lies outside \[0, inf\)"),
            ({"dispersion": "much"}, TypeError, "dispersion must be a number, not 'much'"),
            ({"clip": 0}, ValueError, r"clip=0 lies outside \(0, inf\)"),
            ({"max_epochs": -3}, ValueError, "max_epochs=-3 must be at least 1"),
            ({"patience": 0}, ValueError, "patience=0 must be at least 1"),
            ({"edge_drop": 1.0}, ValueError, r"edge_drop=1.0 lies outside \[0, 1\)"),
            ({"feature_drop": -0.1}, ValueError, r"feature_drop=-0.1 lies outside \[0, 1\)"),
            ({"lr": 0}, ValueError, r"lr=0 lies outside \(0, inf\)"),
            ({"max_grad_norm": -1}, ValueError, r"max_grad_norm=-1 lies outside \(0, inf\)"),
            ({"lr": "fast"}, TypeError, "lr must be a number, not 'fast'"),
            ({"telescope_weight": -1}, ValueError, "telescope_weight=-1 lies outside"),
            ({"schedule": "cosine"}, ValueError, r"schedule='cosine' is not one of \['constant', 'one_cycle'\]"),
            ({"precision": "float16"}, ValueError, "precision='float16' is not one of"),
            ({"telescope_weight": 0, "reconstruction_weight": 0}, ValueError, "both 0; there is nothing to train for"),
        ],
    )
    def test_configuration(self, change: dict[str, object], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            SpotscapeConfig(**change)

    def test_configuration_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            SpotscapeConfig().lr = 1.0


def test_the_published_setting() -> None:
    paper = SpotscapeConfig.paper()
    assert (paper.max_epochs, paper.lr, paper.schedule, paper.n_components) == (1000, 1e-4, "constant", None)
    assert (paper.latent_relu, paper.telescope_weight, paper.reconstruction_weight) == (True, 1.0, 0.1)
    assert (paper.hidden_size, paper.latent_size, paper.weight_decay, paper.n_encoders) == (256, 64, 1e-4, 1)
    assert (paper.linear_scale, paper.spatial_components, paper.dispersion, paper.clip) == (False, False, 0, None)
    assert (paper.n_axes, paper.whitening) == (None, 0)
    assert SpotscapeConfig.paper(lr=5e-4).lr == 5e-4


class TestPresets:
    def test_each_is_a_configuration(self) -> None:
        assert SpotscapeConfig.of_preset("default") == SpotscapeConfig()
        assert SpotscapeConfig.of_preset("default", several_slices=True) == SpotscapeConfig.several_slices()
        assert SpotscapeConfig.of_preset("default", large_tissue=True) == SpotscapeConfig(n_encoders=1)
        assert SpotscapeConfig.of_preset("paper") == SpotscapeConfig.paper()
        assert SpotscapeConfig.of_preset("paper", several_slices=True) == SpotscapeConfig.paper(lr=5e-4)

    @pytest.mark.parametrize("preset", ["released", "Paper"])
    def test_no_other_is_known(self, preset: Any) -> None:
        with pytest.raises(ValueError, match=rf"preset={preset!r} is not one of \['default', 'paper'\]"):
            SpotscapeConfig.of_preset(preset)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(tissue: Callable[..., Any], fit: Callable[..., Spotscape]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no usable GPU")
    expression, adjacency, _ = tissue()
    labels = [
        KMeans(2, n_init=5, random_state=0).fit_predict(fit(device=name).embed(expression, adjacency))
        for name in ("cpu", "cuda")
    ]
    assert adjusted_rand_score(*labels) > 0.95
