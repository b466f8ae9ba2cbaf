"""Saving and loading: the same bits in a new process, and nothing believed that was not checked."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spotscape.models import Reference, SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig, TrainingRecord, load
from spotscape.models import _saving as storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from scipy import sparse

N_GENES = 60
CASES = {
    "spotscape": lambda: Spotscape(SpotscapeConfig(max_epochs=3, n_comps=20, n_encoders=2)),
    "spotscape of all genes": lambda: Spotscape(SpotscapeConfig.paper(max_epochs=3)),
    "spacross": lambda: SpaCross(SpaCrossConfig(max_epochs=3, n_comps=20, n_encoders=2), random_state=5),
    "spacross of all genes": lambda: SpaCross(
        SpaCrossConfig(max_epochs=3, n_comps=None, decoder="graph", n_encoders=1)
    ),
}


def train(case: str, expression: np.ndarray, adjacency: sparse.csr_array) -> Spotscape | SpaCross:
    model = CASES[case]().fit(expression, adjacency, progress_bar=False)
    model.training = TrainingRecord(
        genes=tuple(f"gene_{i}" for i in range(N_GENES)),
        scale="logarithm",
        prepare={"log1p": True, "target_sum": 1e4},
        graph={"mode": "knn", "n_neighbors": np.int64(6), "radius": np.array([1.0, 2.0]), "transform": None},
        mean_degree=6.0,
        means=model.neutral_values(expression),
        detected=(expression > 0).mean(0).astype(np.float32),
    )
    model.reference = Reference.of(model.embed(expression, adjacency), None, seed=0)
    return model


@pytest.fixture(scope="module")
def trained(tissue: Callable[..., Any]) -> Spotscape:
    expression, adjacency, _ = tissue()
    model = train("spotscape", expression, adjacency)
    assert isinstance(model, Spotscape)
    return model


@pytest.fixture
def saved(trained: Spotscape, tmp_path: Path) -> Path:
    trained.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, consistent: bool = False) -> None:
    """Change the configuration; ``consistent`` also gives the weights the fingerprint of the changed one."""
    described = json.loads((folder / "config.json").read_text())
    change(described)
    (folder / "config.json").write_text(json.dumps(described))
    if consistent:
        rewrite(folder, lambda _: None)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors, under the fingerprint of the configuration as it is."""
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(tensors)
    described = json.loads((folder / "config.json").read_text())
    if described.get("tensors_sha256"):
        described["tensors_sha256"] = storage._digest(tensors)
        (folder / "config.json").write_text(json.dumps(described))
    digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    save_file(tensors, folder / "weights.safetensors", metadata={storage.FINGERPRINT: digest})


@pytest.mark.parametrize("case", CASES)
def test_everything_comes_back(case: str, tissue: Callable[..., Any], tmp_path: Path) -> None:
    expression, adjacency, _ = tissue()
    model = train(case, expression, adjacency)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert loaded.random_source.seed == model.random_source.seed
    for name, values in model.history.items():
        np.testing.assert_array_equal(loaded.history[name], values)
    for align in (False, True):
        ours, theirs = (each.embed(expression, adjacency, align=align) for each in (model, loaded))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded.reconstruct(expression, adjacency), model.reconstruct(expression, adjacency))
    assert loaded.network is not None
    assert not loaded.network.training
    assert loaded.training is not None
    assert model.training is not None
    assert loaded.training.genes == model.training.genes
    assert loaded.training.graph == {"mode": "knn", "n_neighbors": 6, "radius": [1.0, 2.0], "transform": None}
    np.testing.assert_array_equal(loaded.training.means, model.training.means)


@pytest.mark.all_starts  # as in the new process
def test_the_same_bits_in_a_new_process(
    saved: Path, trained: Spotscape, tissue: Callable[..., Any], tmp_path: Path
) -> None:
    expression, adjacency, _ = tissue(seed=1)
    np.savez(tmp_path / "new.npz", expression=expression, adjacency=adjacency.toarray())
    code = f"""
import numpy as np, torch
from scipy import sparse
from spotscape.models import load
torch.set_num_threads(1)
new = np.load({str(tmp_path / "new.npz")!r})
found = load({str(saved)!r}, device="cpu").embed(new["expression"], sparse.csr_array(new["adjacency"]), align=True)
np.save({str(tmp_path / "found.npy")!r}, found)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), trained.embed(expression, adjacency, align=True))


def test_what_is_written(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "weights.safetensors"]
    described = json.loads((saved / "config.json").read_text())
    assert described["method"] == "Spotscape"
    assert described["format_version"] == storage.FORMAT_VERSION
    assert described["training"]["genes"][:2] == ["gene_0", "gene_1"]
    assert described["training"]["prepare"] == {"log1p": True, "target_sum": 1e4}
    assert described["config"]["n_comps"] == 20


def test_a_model_of_bare_arrays(tissue: Callable[..., Any], tmp_path: Path) -> None:
    expression, adjacency, _ = tissue()
    model = CASES["spotscape"]().fit(expression, adjacency, progress_bar=False)
    model.save(tmp_path / "deep" / "model")
    loaded = load(tmp_path / "deep" / "model")
    assert loaded.training is None
    assert loaded.reference is None
    np.testing.assert_array_equal(loaded.embed(expression, adjacency), model.embed(expression, adjacency))
    with pytest.raises(ValueError, match="has no positions of its training spots"):
        loaded.embed(expression, adjacency, align=True)


def test_a_new_fit_forgets_the_old_tissue(tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    model = train("spacross", expression, adjacency)
    model.fit(expression, adjacency, progress_bar=False)
    assert model.training is None
    assert model.reference is None


def test_loading_leaves_global_state(
    saved: Path, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    with global_state_untouched():
        load(saved)


class TestSaving:
    def test_an_untrained_model(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not trained yet"):
            Spotscape().save(tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_directory_may_be_there(self, trained: Spotscape, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        trained.save(tmp_path / "model")
        load(tmp_path / "model")

    def test_a_directory_with_something_else(self, trained: Spotscape, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"not empty \(it holds 'notes.txt'\).*overwrite=True"):
            trained.save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
        with pytest.raises(FileExistsError, match=r"'notes\.txt', which is no part of a model"):
            trained.save(tmp_path, overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_an_older_model_is_replaced(self, saved: Path, tissue: Callable[..., Any]) -> None:
        expression, adjacency, _ = tissue()
        other = train("spacross", expression, adjacency)
        with pytest.raises(FileExistsError, match="not empty"):
            other.save(saved)
        other.save(saved, overwrite=True)
        assert isinstance(load(saved), SpaCross)
        assert [path.name for path in saved.parent.iterdir()] == ["model"]

    def test_a_file(self, trained: Spotscape, tmp_path: Path) -> None:
        (tmp_path / "model").write_text("mine")
        with pytest.raises(FileExistsError, match="is a file"):
            trained.save(tmp_path / "model", overwrite=True)

    @pytest.mark.parametrize("at", ["save_file", "_swap"])
    def test_an_interruption_leaves_what_was_there(
        self, at: str, saved: Path, trained: Spotscape, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(f"{'safetensors.torch' if at == 'save_file' else storage.__name__}.{at}", fail)
        before = {path.name: path.read_bytes() for path in saved.iterdir()}
        for target in (saved, saved.parent / "new"):
            with pytest.raises(KeyboardInterrupt):
                trained.save(target, overwrite=True)
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
        assert [path.name for path in saved.parent.iterdir()] == ["model"]

    def test_two_writers_leave_the_model_of_one(self, saved: Path, tissue: Callable[..., Any]) -> None:
        """Each replaces the whole directory at once, so that a reader finds both files of one of them."""
        expression, adjacency, _ = tissue()
        models = [train(case, expression, adjacency) for case in ("spotscape", "spacross")]
        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(model.save, saved, overwrite=True) for _ in range(8) for model in models]
            for writer in writers:
                writer.result()
        assert isinstance(load(saved), Spotscape | SpaCross)
        assert [path.name for path in saved.parent.iterdir()] == ["model"]

    def test_where_names_cannot_be_exchanged(
        self, saved: Path, tissue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expression, adjacency, _ = tissue()
        monkeypatch.setattr(storage.ctypes, "CDLL", lambda *_, **__: object())
        train("spacross", expression, adjacency).save(saved, overwrite=True)
        assert isinstance(load(saved), SpaCross)
        assert [path.name for path in saved.parent.iterdir()] == ["model"]


class TestRefusals:
    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no directory"):
            load(tmp_path / "model")

    @pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
    def test_a_missing_file(self, saved: Path, name: str) -> None:
        (saved / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"has no {name}, it holds"):
            load(saved)

    def test_a_pickle_alone(self, tmp_path: Path) -> None:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps({"weights": 1}))
        with pytest.raises(ValueError, match=r"'model.pkl', a pickle: opening one runs the code in it"):
            load(tmp_path)

    def test_a_pickle_beside_a_model(self, saved: Path) -> None:
        torch.save({}, saved / "weights.pt")
        with pytest.raises(ValueError, match=r"'weights.pt', a pickle"):
            load(saved)

    def test_a_pickle_under_the_name_of_the_weights(self, saved: Path) -> None:
        """Were it opened as what it is, the file below would be written."""
        torch.save({"weights": torch.zeros(3)}, saved / "weights.safetensors")
        with pytest.raises(ValueError, match="truncated or is no safetensors file"):
            load(saved)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
    def test_truncated_weights(self, saved: Path, share: float) -> None:
        path = saved / "weights.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="truncated or is no safetensors file"):
            load(saved)

    def test_a_changed_gene_list(self, saved: Path) -> None:
        edit(saved, lambda found: found["training"]["genes"].reverse())
        with pytest.raises(ValueError, match=r"its gene list or another entry was changed"):
            load(saved)

    def test_a_changed_parameter(self, saved: Path) -> None:
        edit(saved, lambda found: found["config"].update(whitening=0.5))
        with pytest.raises(ValueError, match="was changed, or the two files belong to different models"):
            load(saved)

    def test_weights_of_another_model(self, saved: Path, tissue: Callable[..., Any], tmp_path: Path) -> None:
        expression, adjacency, _ = tissue()
        train("spacross", expression, adjacency).save(tmp_path / "other")
        (tmp_path / "other" / "weights.safetensors").replace(saved / "weights.safetensors")
        with pytest.raises(ValueError, match="belong to different models"):
            load(saved)

    def test_a_newer_version(self, saved: Path) -> None:
        edit(saved, lambda found: found.update(format_version=99, spotscape_version="9.9", something_new=1))
        with pytest.raises(ValueError, match=r"has format 99, written by spotscape 9.9.*Install a newer version"):
            load(saved)

    @pytest.mark.parametrize("number", [0, "1", None])
    def test_no_version(self, saved: Path, number: object) -> None:
        edit(saved, lambda found: found.update(format_version=number))
        with pytest.raises(ValueError, match=f"has format {number}.*Train the model again"):
            load(saved)

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: found["config"].update(surprise=1),
            lambda found: found["config"].update(latent_size=0),
            lambda found: found["config"].update(schedule="none"),
            lambda found: found["config"].update(hidden_size=32),
            # A width that would take a terabyte is refused before anything is allocated.
            lambda found: found["config"].update(hidden_size=10**9),
            lambda found: found["training"].pop("scale"),
            lambda found: found.pop("n_genes"),
            lambda found: found.update(config=[]),
        ],
    )
    def test_a_configuration_that_does_not_fit(self, saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
        edit(saved, change)
        with pytest.raises(ValueError, match="another entry was changed"):
            load(saved)
        edit(saved, lambda _: None, consistent=True)
        with pytest.raises(ValueError, match="does not hold a complete model"):
            load(saved)

    def test_an_unknown_method(self, saved: Path) -> None:
        edit(saved, lambda found: found.update(method="Other"), consistent=True)
        with pytest.raises(ValueError, match=r"of the method 'Other'; known are \['SpaCross', 'Spotscape'\]"):
            load(saved)

    @pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}', "\x80\x04"])
    def test_no_configuration(self, saved: Path, text: str) -> None:
        (saved / "config.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"is not JSON|does not describe a model of spotscape"):
            load(saved)

    @pytest.mark.parametrize(
        "name", ["network.output", "reduction.mean", "pca.axes", "training.means", "reference.slices"]
    )
    def test_a_tensor_that_is_missing(self, saved: Path, name: str) -> None:
        rewrite(saved, lambda tensors: tensors.pop(name))
        with pytest.raises(ValueError, match="does not hold a complete model"):
            load(saved)


def test_a_bit_that_has_turned_is_noticed(saved: Path) -> None:
    """Wherever it is in the file: in the numbers or in what describes them."""
    content = (saved / "weights.safetensors").read_bytes()
    for place in np.random.default_rng(0).integers(8, len(content), 60):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(place) % 8
        (saved / "weights.safetensors").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"damaged|truncated|belong to different"):
            load(saved)
    (saved / "weights.safetensors").write_bytes(content)
    load(saved)


def test_a_reference_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotscape.models._saving.MOST_SPOTS", 40)
    points = np.random.default_rng(0).normal(size=(100, 3))
    slices = np.repeat(["b", "a"], 50)
    kept = Reference.of(points, slices, seed=0)
    assert kept.embedding.shape == (40, 3)
    assert kept.embedding.dtype == np.float32
    rows = [int(np.flatnonzero(np.isclose(points, row, atol=1e-6).all(1))[0]) for row in kept.embedding]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(kept.slices, (np.array(rows) < 50).astype(int))
