"""What both encoders do on arrays: find structure, the same bits, other tissue, decoding, refusals."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

MakeTissue = Any
METHODS = {"spotscape": (Spotscape, SpotscapeConfig), "spacross": (SpaCross, SpaCrossConfig)}


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def make(method: str, *, seed: int = 0, **changes: Any) -> Spotscape | SpaCross:
    kind, config = METHODS[method]
    return kind(config(**{"max_epochs": 8, "n_comps": 20, "n_encoders": 2, **changes}), random_state=seed)


def fitted(method: str, expression: Any, adjacency: Any, **options: Any) -> Spotscape | SpaCross:
    training = {name: options.pop(name) for name in ("slices", "batch_size", "checkpoint") if name in options}
    return make(method, **options).fit(expression, adjacency, progress_bar=False, **training)


def embedded(method: str, expression: Any, adjacency: Any, **options: Any) -> np.ndarray:
    slices = options.get("slices")
    return fitted(method, expression, adjacency, **options).embed(expression, adjacency, slices=slices)


def agreement(embedding: np.ndarray, truth: np.ndarray) -> float:
    return float(adjusted_rand_score(truth, KMeans(2, n_init=5, random_state=0).fit_predict(embedding)))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"batch_size": 64},
        *(pytest.param(change, marks=pytest.mark.slow) for change in ({"n_comps": None}, {"precision": "bfloat16"})),
    ],
)
def test_it_finds_the_halves(method: str, change: dict[str, Any], tissue: MakeTissue) -> None:
    expression, adjacency, truth = tissue()
    embedding = embedded(method, expression, adjacency, max_epochs=65, **change)
    assert embedding.shape == (256, 12)
    assert embedding.dtype == np.float32
    assert agreement(embedding, truth) > 0.9


@pytest.mark.slow
def test_the_published_settings_train(tissue: MakeTissue) -> None:
    expression, adjacency, truth = tissue()
    for kind, config in (
        (Spotscape, SpotscapeConfig.paper(max_epochs=150, lr=1e-3)),
        (SpaCross, SpaCrossConfig.paper(max_epochs=150)),
        (SpaCross, SpaCrossConfig.released(max_epochs=100)),
    ):
        model = kind(config).fit(expression, adjacency, progress_bar=False)
        embedding = model.embed(expression, adjacency)
        assert embedding.shape == (256, config.latent_size)
        assert agreement(embedding, truth) > 0.85


@pytest.mark.parametrize("change", [{}, {"n_comps": None}, {"batch_size": 64}, {"slices": np.repeat([0, 1], 128)}])
def test_training_gives_the_embedding_that_is_recomputed(
    method: str,
    change: dict[str, Any],
    tissue: MakeTissue,
    global_state_untouched: Callable[[], AbstractContextManager[None]],
) -> None:
    expression, adjacency, _ = tissue()
    before = expression.copy(), adjacency.copy()
    slices, size = change.get("slices"), change.get("batch_size")
    model = make(method, **{name: value for name, value in change.items() if name == "n_comps"})
    with global_state_untouched():
        (found,) = model._fit_embed(expression, adjacency, slices=slices, batch_size=size, progress_bar=False)
    np.testing.assert_array_equal(model.embed(expression, adjacency, slices=slices), found)
    np.testing.assert_array_equal(expression, before[0])
    assert (adjacency != before[1]).nnz == 0
    assert all(len(values) >= 8 for values in model.history.values())
    assert np.isfinite(list(model.history.values())).all()


def test_an_encoder_has_the_same_bits_whoever_is_trained_beside_it(method: str, tissue: MakeTissue) -> None:
    """Of one, two or three encoders, and as a restart beside others, in one thread or in three at a time."""
    # Several tissues, because a sum that is rounded in another way seldom shows.
    for seed in range(2):
        expression, adjacency, _ = tissue(seed)
        states = [fitted(method, expression, adjacency, n_encoders=n).network.state_dict() for n in (1, 2, 3)]
        for name, value in states[0].items():
            assert all(torch.equal(value[0], other[name][0]) for other in states[1:]), name
    restarts = tuple(make(method, seed=seed) for seed in (5, 6))
    _, fifth, sixth = make(method)._fit_embed(expression, adjacency, restarts=restarts, progress_bar=False)
    results: dict[int, np.ndarray] = {}

    def run(seed: int) -> None:
        results[seed] = embedded(method, expression, adjacency, seed=seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (5, 6, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results[5], fifth)
    np.testing.assert_array_equal(results[6], sixth)
    assert not np.array_equal(fifth, sixth)


def test_storage_does_not_matter(method: str, tissue: MakeTissue) -> None:
    expression, adjacency, _ = tissue()
    for n_comps in (20, None):
        options = {"n_comps": n_comps, "max_epochs": 4}
        found, expected = (
            embedded(method, matrix, adjacency, **options) for matrix in (sparse.csr_array(expression), expression)
        )
        np.testing.assert_allclose(pdist(found), pdist(expected), rtol=5e-3, atol=5e-3)


def test_other_tissue(method: str, tissue: MakeTissue) -> None:
    """Spots of the same kind lie in the same place, and only two hops around a spot matter."""
    expression, adjacency, truth = tissue()
    other, _, _ = tissue(seed=7)
    model = fitted(method, expression, adjacency, max_epochs=50)
    first, second = (model.embed(matrix, adjacency) for matrix in (expression, other))
    centres = np.stack([first[truth == half].mean(0) for half in (0, 1)])
    nearest = ((second[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == truth).mean() > 0.95
    changed = other.copy()
    changed[0] += 3
    moved = np.abs(model.embed(changed, adjacency) - second).max(1) > 1e-6
    hops = (adjacency + sparse.eye_array(256)).toarray()
    assert (moved == ((hops @ hops)[0] > 0)).all()
    order = np.random.default_rng(0).permutation(256)
    np.testing.assert_allclose(model.embed(other[order], adjacency[order][:, order]), second[order], atol=1e-4)


@pytest.mark.parametrize("batch_size", [None, pytest.param(128, marks=pytest.mark.slow)])
def test_slices_are_joined(method: str, batch_size: int | None, tissue: MakeTissue) -> None:
    parts = [tissue(seed=seed) for seed in (0, 1)]
    expression = np.concatenate([part[0] for part in parts])
    adjacency = sparse.csr_array(sparse.block_diag([part[1] for part in parts]))
    truth, slices = np.concatenate([part[2] for part in parts]), np.repeat(["a", "b"], 256)
    model = fitted(method, expression, adjacency, max_epochs=40, slices=slices, batch_size=batch_size)
    embedding = model.embed(expression, adjacency, slices=slices)
    assert agreement(embedding, truth) > (0.9 if batch_size is None else 0.85)
    assert len(model.history["loss"]) == (40 if batch_size is None else 10)
    expected = {"scaling", "prototypes"} if method == "spotscape" else {"contrast"}
    assert expected <= set(model.history)
    assert all(model.history[name].any() for name in expected)


@pytest.mark.parametrize("n_comps", [20, pytest.param(None, marks=pytest.mark.slow)])
def test_decoded_expression_is_closer_to_the_truth(method: str, n_comps: int | None, tissue: MakeTissue) -> None:
    expression, adjacency, truth = tissue()
    model = fitted(method, expression, adjacency, max_epochs=80, n_comps=n_comps)
    decoded = model.reconstruct(expression, adjacency)
    assert decoded.shape == expression.shape
    means = np.stack([expression[truth == half].mean(0) for half in (0, 1)])[truth]
    assert np.square(decoded - means).mean() < 0.5 * np.square(expression - means).mean()
    contrast = [values[truth == 1].mean(0) - values[truth == 0].mean(0) for values in (decoded, expression)]
    assert np.corrcoef(*contrast)[0, 1] > 0.8


@pytest.mark.parametrize("size", [128, pytest.param(None, marks=pytest.mark.slow)])
def test_a_checkpoint_resumes_to_the_same_bits(
    method: str, size: int | None, tissue: MakeTissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spotscape.nn.trainer import _Run

    expression, adjacency, _ = tissue()
    options = {"max_epochs": 30, "n_encoders": 1, "integrate": False, "slices": np.repeat([0, 1], 128)}
    expected = embedded(method, expression, adjacency, batch_size=size, **options)
    plain, file = _Run.step, tmp_path / "fit.pt"

    def stopped(run: _Run, loss: Any, number: int) -> None:
        if number == 27:
            raise KeyboardInterrupt
        plain(run, loss, number)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            fitted(method, expression, adjacency, batch_size=size, checkpoint=file, **options)
    found = embedded(method, expression, adjacency, batch_size=size, checkpoint=file, **options)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("other", ["expression", "graph", "slices", "seed", "configuration"])
def test_a_checkpoint_belongs_to_one_training(method: str, other: str, tissue: MakeTissue, tmp_path: Path) -> None:
    """Also where a graph has the same columns in other rows."""
    expression, adjacency, _ = tissue()
    chain = sparse.csr_array((np.ones(256), np.arange(256)[::-1].copy(), np.arange(257)), shape=(256, 256))
    shifted = chain.copy()
    shifted.indptr[100] += 1
    options: dict[str, Any] = {"checkpoint": tmp_path / "a.pt", "max_epochs": 3}
    first = chain if other == "graph" else adjacency
    fitted(method, expression, first, **options)
    changes = {
        "seed": {"seed": 3},
        "configuration": {"weight_decay": 0.5},
        "slices": {"slices": np.repeat([0, 1], 128)},
    }
    graph = shifted if other == "graph" else adjacency
    matrix = expression + (other == "expression")
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        fitted(method, matrix, graph, **{**options, **changes.get(other, {})})


@pytest.mark.parametrize("batch_size", [2, 5, 8])
def test_few_spots_in_a_batch(method: str, batch_size: int, tissue: MakeTissue) -> None:
    expression, adjacency, _ = tissue()
    rows = np.arange(60)
    model = fitted(method, expression[rows], adjacency[rows][:, rows], batch_size=batch_size, max_epochs=1)
    assert np.isfinite(model.embed(expression[rows], adjacency[rows][:, rows])).all()


def test_many_slices_take_no_longer_than_few() -> None:
    """What is compared in a step does not grow with the pairs of slices."""
    from spotscape.nn import draw_meetings

    counts = [len(draw_meetings(tuple(torch.arange(4096).tensor_split(n)), 1024, 0)) for n in (2, 16, 48, 512)]
    assert counts == [2, 16, 16, 16]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"expression": [[1.0]]}, ValueError, "build the graph again"),
        ({"expression": np.array([["a"]])}, TypeError, "must hold numbers"),
        ({"expression": np.ones(256, np.float32)}, ValueError, "expected spots by genes"),
        ({"expression": np.ones((255, 60), np.float32)}, ValueError, "build the graph again"),
        ({"adjacency": np.eye(256)}, TypeError, "must be a sparse matrix"),
        ({"slices": np.zeros(3)}, ValueError, "slices has shape"),
        ({"slices": np.arange(256) == 0}, ValueError, "single spot"),
        ({"device": "mps"}, ValueError, "is not a device"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    method: str, change: dict[str, Any], error: type[Exception], message: str, tissue: MakeTissue
) -> None:
    expression, adjacency, _ = tissue()
    given = {"expression": expression, "adjacency": adjacency, **change}
    model = make(method)
    with pytest.raises(error, match=message):
        model.fit(given.pop("expression"), given.pop("adjacency"), progress_bar=False, **given)
    assert model.network is None
    broken = expression.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.fit(broken, adjacency)
    with pytest.raises(ValueError, match="not trained yet"):
        model.embed(expression, adjacency)


def test_what_was_not_trained_is_not_read(method: str, tissue: MakeTissue) -> None:
    expression, adjacency, _ = tissue()
    model = fitted(method, expression, adjacency, reconstruction_weight=0)
    with pytest.raises(ValueError, match="the decoder was not trained"):
        model.reconstruct(expression, adjacency)
    with pytest.raises(ValueError, match="trained on 60 genes"):
        model.embed(expression[:, :20], adjacency)
    with pytest.raises(ValueError, match=r"set model\.reference"):
        model.embed(expression, adjacency, align=True)
    with pytest.raises(ValueError, match="slices has shape"):
        model.embed(expression, adjacency, slices=np.zeros(3))


@pytest.mark.parametrize("config", [SpotscapeConfig, SpaCrossConfig])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"hidden_size": 0}, ValueError),
        ({"hidden_size": None}, TypeError),
        ({"hidden_size": "64"}, TypeError),
        ({"max_epochs": 1.5}, TypeError),
        ({"lr": 0}, ValueError),
        ({"lr": np.nan}, ValueError),
        ({"schedule": "none"}, ValueError),
        ({"integrate": "no"}, TypeError),
        ({"whitening": 1.5}, ValueError),
        ({"reconstruction_weight": -1}, ValueError),
    ],
)
def test_configurations_are_checked(config: Any, change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(change))):
        config(**change)
    whole = config(max_epochs=np.int64(3), lr=np.float32(0.5))
    assert type(whole.max_epochs) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.lr = 1.0


def test_presets() -> None:
    for config, names in ((SpotscapeConfig, ("paper",)), (SpaCrossConfig, ("paper", "released"))):
        assert config.of_preset("default") == config()
        assert config.of_preset("default", several_slices=True) == config.several_slices()
        assert config.of_preset("default", large_tissue=True).n_encoders < config().n_encoders
        for name in names:
            assert config.of_preset(name) != config()
            assert "n_encoders\n" in (config.__doc__ or "")
        with pytest.raises(ValueError, match="preset"):
            config.of_preset("none")
    assert SpotscapeConfig.of_preset("paper", several_slices=True).lr == 5e-4
    assert SpaCrossConfig.of_preset("released", several_slices=True).quorum == 0
    with pytest.raises(ValueError, match="nothing to train for"):
        SpotscapeConfig(telescope_weight=0, reconstruction_weight=0)
    with pytest.raises(ValueError, match="nothing to train for"):
        SpaCrossConfig(consistency_weight=0, reconstruction_weight=0)
    with pytest.raises(ValueError, match="quorum=6 is more than"):
        SpaCrossConfig(quorum=6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no usable GPU")
def test_a_step_waits_for_nothing(method: str, tissue: MakeTissue) -> None:
    """After the first epochs no operation makes the host wait for the device."""
    expression, adjacency, _ = tissue()
    config = {"max_epochs": 40, **({"contrast_weight": 0} if method == "spacross" else {})}
    from spotscape.nn.trainer import _Run

    plain, strict = _Run.step, {"on": False}

    def watched(run: _Run, loss: Any, number: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if number >= 2 else "default")
        try:
            plain(run, loss, number)
            strict["on"] = True
        finally:
            torch.cuda.set_sync_debug_mode("default")

    _Run.step = watched
    try:
        make(method, **config).fit(expression, adjacency, progress_bar=False, device="cuda")
    finally:
        _Run.step = plain
    assert strict["on"]
