"""Several processes compute what one computes, and a lost one ends the run with what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest

import spotscape as sp
from spotscape.distributed import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo and signals as on Linux and macOS")

# Loss and gradients of one step on one slice and on two, in a group of any size, in both precisions.
PROGRAM = """
import sys
import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph
from torch import distributed
from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig
from spotscape.models._graph_encoder import Tissue, slice_rows
from spotscape.models._shared import SharedSpaCross, SharedSpotscape
from spotscape.nn import SpotGraph
from spotscape.nn.features import DenseFeatures, LowRankFeatures
from spotscape.nn.layers import build_seeded

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if size > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store{size}", rank=rank, world_size=size)
rng = np.random.default_rng(0)
graph = sparse.block_diag([kneighbors_graph(rng.random((150, 2)), 6) for _ in range(2)], format="csr")
parts = rng.normal(size=(300, 10)), np.linalg.qr(rng.normal(size=(40, 10)))[0]
METHODS = {"spotscape": (SpotscapeConfig(scaling_spots=100), 199), "spacross": (SpaCrossConfig(), 0)}
# Three masked spots are none in some of four processes; in epoch 1 no neighbourhoods have been found yet.
few = SpaCrossConfig(mask_rate=0.01, decoder="graph", target_momentum=0.9, contrast_spots=120)
alone = SpaCrossConfig(reconstruction_weight=0, contrast_weight=0)
CORNERS = {"few masked": (few, 0), "no neighbourhoods": (SpaCrossConfig(), 1), "consistency alone": (alone, 0)}


def step(config, epoch, slices):
    scores, loadings = (torch.tensor(part, dtype=torch.get_default_dtype()) for part in parts)
    if isinstance(config, SpotscapeConfig):
        kind, features = Spotscape if size == 1 else SharedSpotscape, LowRankFeatures(scores, loadings)
    else:
        kind, features = SpaCross if size == 1 else SharedSpaCross, DenseFeatures(scores)
    tissue = Tissue(features, SpotGraph.from_adjacency(graph), slice_rows(slices, 300, torch.device("cpu")))
    model = kind(config)
    model._plan(graph, slices)
    objective = build_seeded(lambda: model._objective(tissue, torch.Generator().manual_seed(1)), 0)
    loss = model._loss(objective)
    loss(epoch).total.backward()
    # Again, since DistributedDataParallel learns here that a parameter had no gradient in the step before.
    objective.zero_grad()
    output = loss(epoch)
    output.total.backward()
    found = {f"loss {name}": part.item() for name, part in output.parts.items()}
    for name, value in objective.named_parameters():
        if value.requires_grad:
            found[f"gradient {name}"] = (torch.zeros_like(value) if value.grad is None else value.grad).numpy()
    if hasattr(objective, "neighborhoods"):
        found["neighbourhoods"] = objective.neighborhoods.current.indices.numpy()
    return found


found = {}
for precision, steps in ((torch.float32, METHODS), (torch.float64, METHODS | CORNERS)):
    torch.set_default_dtype(precision)
    for name, (config, epoch) in steps.items():
        for slices in (None, np.repeat([0, 1], 150)):
            case = f"{str(precision)[6:]}|{name}|{1 if slices is None else 2}"
            found |= {f"{case}|{key}": value for key, value in step(config, epoch, slices).items()}
np.savez(f"{folder}/{size}.{rank}.npz", **found)
if size > 1:
    distributed.barrier()
    distributed.destroy_process_group()
"""
# Of a loss, of the gradient of a parameter, and of the gradient as a whole, as norms. Where a gradient is zero but for
# rounding, which is so before a normalisation, it is compared with the whole.
WITHIN = {"float64": (1e-12, 1e-12, 1e-12), "float32": (1e-6, 5e-5, 5e-6)}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SAID = {"SPOTSCAPE_PROGRESS_BAR": "false", "SPOTSCAPE_VERBOSITY": "info", "PYTHONWARNINGS": "ignore"}


def run_group(size: int, folder: Path) -> None:
    """Run the program in so many processes at once."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    group = [
        subprocess.Popen([*command, str(rank), str(size), str(folder)], env=os.environ | ONE_THREAD, stderr=-1)
        for rank in range(size)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in group]
    assert [process.returncode for process in group] == [0] * size, errors


def read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """What was found in each case."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            case, name = key.rsplit("|", 1)
            cases.setdefault(case, {})[name] = stored[key]
    return cases


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Loss and gradients of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    run_group(1, folder)
    return read(folder / "1.0.npz")


def norm(values: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in values.values())))


def gradients(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in found.items() if name.startswith("gradient")}


@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradients_are_those_of_one_process(
    size: int, alone: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    run_group(size, tmp_path)
    for rank in range(size):
        group = read(tmp_path / f"{size}.{rank}.npz")
        assert group.keys() == alone.keys()
        for case, expected in alone.items():
            compare(group[case], expected, *WITHIN[case.split("|")[0]], case=f"{case} in process {rank}")


def compare(
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    of_loss: float,
    of_parameter: float,
    of_all: float,
    *,
    case: str,
) -> None:
    """Refuse what is further from the expected than that, relative to it."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("loss"):
            np.testing.assert_allclose(found[name], value, rtol=of_loss, err_msg=f"{name}, {case}")
    whole = gradients(expected)
    away = {name: found[name] - value for name, value in whole.items()}
    assert norm(away) <= of_all * norm(whole), case
    for name, value in whole.items():
        own = norm({name: value})
        scale = own if own > 1e-6 * norm(whole) else norm(whole)
        assert norm({name: away[name]}) <= of_parameter * scale, f"{name}, {case}"
        if value.dtype == np.float32:
            np.testing.assert_allclose(found[name], value, atol=1e-6, rtol=5e-5, err_msg=f"{name}, {case}")
    np.testing.assert_array_equal(found.get("neighbourhoods", 0), expected.get("neighbourhoods", 0), err_msg=case)


def test_there_is_something_to_compare(alone: dict[str, dict[str, np.ndarray]]) -> None:
    found = {f"{case}|{name}" for case, values in alone.items() for name, value in values.items() if np.any(value)}
    assert "float64|few masked|2|neighbourhoods" in found
    for precision in WITHIN:
        parts = {f"spotscape|1|loss {name}" for name in ("telescope", "reconstruction")}
        parts |= {f"spotscape|2|loss {name}" for name in ("scaling", "prototypes")}
        for case in ("spacross|1", "spacross|2"):
            parts |= {f"{case}|loss {name}" for name in ("reconstruction", "consistency", "contrast")}
            parts.add(f"{case}|neighbourhoods")
        assert {f"{precision}|{name}" for name in parts} <= found
        for case in ("spotscape|2", "spacross|2"):
            own = gradients(alone[f"{precision}|{case}"])
            assert all(np.abs(value).max() > 1e-4 for name, value in own.items() if "bias" not in name)


@pytest.fixture
def tissue(tmp_path: Path) -> Path:
    adata = sp.datasets.simulate_tissue(n_spots=200, n_genes=60, n_domains=3)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    adata.write_h5ad(tmp_path / "tissue.h5ad")
    return tmp_path / "tissue.h5ad"


def start(tissue: Path, *options: str, size: int = 2) -> list[subprocess.Popen[bytes]]:
    """Start the command in every process of a group, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    command = [sys.executable, "-m", "spotscape.distributed", str(tissue), "--device", "cpu", *options]
    return [
        subprocess.Popen(
            command, env=os.environ | ONE_THREAD | SAID | group | {"RANK": str(rank)}, stdout=-1, stderr=-1
        )
        for rank in range(size)
    ]


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    message = process.communicate(timeout=120)[1].decode()
    return process.returncode, message


def stop(group: list[subprocess.Popen[bytes]]) -> None:
    for process in group:
        process.kill()
        process.communicate()


@pytest.mark.timeout(420)
@pytest.mark.parametrize("method", ["spotscape", "spacross"])
def test_a_killed_process_ends_the_run_with_what_to_do(method: str, tissue: Path, tmp_path: Path) -> None:
    """That what is resumed ends with the same numbers is shown with the trainer, which is the same."""
    checkpoint = tmp_path / "training.pt"
    options = ("--out", str(tmp_path / "out.h5ad"), "--checkpoint", str(checkpoint), "--max-epochs", "3000")
    first, second = group = start(tissue, "--method", method, *options)
    try:
        deadline = time.monotonic() + 180
        while not checkpoint.exists() and time.monotonic() < deadline and second.poll() is None:
            time.sleep(0.05)
        second.send_signal(signal.SIGKILL)
        second.communicate()
        status, message = end(first)
    finally:
        stop(group)
    assert checkpoint.exists(), message
    assert status == 1
    assert "another process of the group has ended or cannot be reached" in message
    assert f"start the same command again to go on from {checkpoint}" in message
    assert not (tmp_path / "out.h5ad").exists()


def test_a_run_is_that_of_one_process(tissue: Path, tmp_path: Path) -> None:
    run(tissue, "--out", str(tmp_path / "out.h5ad"), "--max-epochs", "6", "--key-added", "X_shared")
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    sp.tl.spotscape(adata, max_epochs=6)
    assert_same(adata, "shared", "spotscape")


def test_a_resumed_run_is_that_of_one_process(tissue: Path, tmp_path: Path) -> None:
    """With SpaCross, whose checkpoint holds the neighbourhoods that were found in the first epoch."""
    options = ("--method", "spacross", "--checkpoint", str(tmp_path / "training.pt"))
    run(tissue, *options, "--out", str(tmp_path / "first.h5ad"), "--max-epochs", "4")
    message = run(tissue, *options, "--out", str(tmp_path / "out.h5ad"), "--max-epochs", "8")
    assert "Resuming" in message
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    sp.tl.spacross(adata, max_epochs=8, key_added="X_alone")
    assert_same(adata, "spacross", "alone")


def run(tissue: Path, *options: str) -> str:
    """Run the command in two processes to its end, and return what the first says."""
    ends = [end(process) for process in start(tissue, *options)]
    assert [status for status, _ in ends] == [0, 0], ends
    return ends[0][1]


def assert_same(adata: ad.AnnData, shared: str, alone: str) -> None:
    found, expected = adata.obsm[f"X_{shared}"], adata.obsm[f"X_{alone}"]
    assert np.abs(found - expected).max() < 1e-2 * np.abs(expected).max()
    losses = (adata.uns[name]["history"]["loss"] for name in (shared, alone))
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_without_a_group_it_says_how_to_start(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert main([str(tmp_path / "a.h5ad"), "--out", str(tmp_path / "b.h5ad")]) == 1
    assert "start it with torchrun" in caplog.text


def test_presets_are_those_of_the_method(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.h5ad"), "--out", str(tmp_path / "b.h5ad"), "--preset", "released"])
    assert "--method spotscape has the presets default, paper" in capsys.readouterr().err
