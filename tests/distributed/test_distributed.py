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

# Loss and gradients of one step on one slice and on two, in a group of any size.
PROGRAM = """
import sys
import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph
from torch import distributed
from spotscape.models import Spotscape, SpotscapeConfig
from spotscape.models._graph_encoder import Tissue, slice_rows
from spotscape.models._shared import SharedSpotscape
from spotscape.nn import SpotGraph
from spotscape.nn.features import LowRankFeatures
from spotscape.nn.layers import build_seeded

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if size > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store{size}", rank=rank, world_size=size)
rng = np.random.default_rng(0)
graph = sparse.block_diag([kneighbors_graph(rng.random((150, 2)), 6) for _ in range(2)], format="csr")
scores, loadings = rng.normal(size=(300, 10)), np.linalg.qr(rng.normal(size=(40, 10)))[0]
features = LowRankFeatures(torch.tensor(scores, dtype=torch.float32), torch.tensor(loadings, dtype=torch.float32))
found = {}
for slices in (None, np.repeat([0, 1], 150)):
    tissue = Tissue(features, SpotGraph.from_adjacency(graph), slice_rows(slices, 300, torch.device("cpu")))
    model = (SharedSpotscape if size > 1 else Spotscape)(SpotscapeConfig(scaling_spots=100))
    model._plan(graph, slices)
    objective = build_seeded(lambda: model._objective(tissue, torch.Generator().manual_seed(1)), 0)
    loss = model._loss(objective)
    output = loss(199)
    output.total.backward()
    name = "one" if slices is None else "two"
    found |= {f"{name}.{part}": value.item() for part, value in output.parts.items()}
    found |= {f"{name}.{key}": value.grad.numpy() for key, value in objective.named_parameters()}
np.savez(f"{folder}/{size}.{rank}.npz", **found)
if size > 1:
    distributed.barrier()
    distributed.destroy_process_group()
"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
QUIET = {"SPOTSCAPE_PROGRESS_BAR": "false", "PYTHONWARNINGS": "ignore"}


def run_group(size: int, folder: Path) -> None:
    """Run the program in so many processes at once."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    group = [
        subprocess.Popen([*command, str(rank), str(size), str(folder)], env=os.environ | ONE_THREAD, stderr=-1)
        for rank in range(size)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in group]
    assert [process.returncode for process in group] == [0] * size, errors


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Loss and gradients of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    run_group(1, folder)
    return dict(np.load(folder / "1.0.npz"))


@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradients_are_those_of_one_process(size: int, alone: dict[str, np.ndarray], tmp_path: Path) -> None:
    run_group(size, tmp_path)
    for rank in range(size):
        found = dict(np.load(tmp_path / f"{size}.{rank}.npz"))
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, atol=1e-6, rtol=1e-6 * 50, err_msg=f"{name} of {rank}")


def test_there_is_something_to_compare(alone: dict[str, np.ndarray]) -> None:
    assert {"one.telescope", "one.reconstruction", "two.scaling", "two.prototypes"} <= alone.keys()
    assert all(np.abs(value).max() > 1e-4 for name, value in alone.items() if "bias" not in name)


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
            command, env=os.environ | ONE_THREAD | QUIET | group | {"RANK": str(rank)}, stdout=-1, stderr=-1
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
def test_a_killed_process_ends_the_run_with_what_to_do(tissue: Path, tmp_path: Path) -> None:
    """That what is resumed ends with the same numbers is shown with the trainer, which is the same."""
    checkpoint = tmp_path / "training.pt"
    options = ("--out", str(tmp_path / "out.h5ad"), "--checkpoint", str(checkpoint), "--max-epochs", "3000")
    first, second = group = start(tissue, *options)
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
    options = ("--out", str(tmp_path / "out.h5ad"), "--max-epochs", "6", "--key-added", "X_shared")
    ends = [end(process) for process in start(tissue, *options)]
    assert [status for status, _ in ends] == [0, 0], ends
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    sp.tl.spotscape(adata, max_epochs=6)
    shared, alone = adata.obsm["X_shared"], adata.obsm["X_spotscape"]
    assert np.abs(shared - alone).max() < 1e-2 * np.abs(alone).max()
    np.testing.assert_allclose(
        adata.uns["shared"]["history"]["loss"], adata.uns["spotscape"]["history"]["loss"], rtol=1e-4
    )


def test_without_a_group_it_says_how_to_start(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert main([str(tmp_path / "a.h5ad"), "--out", str(tmp_path / "b.h5ad")]) == 1
    assert "start it with torchrun" in caplog.text
