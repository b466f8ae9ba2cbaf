"""Several processes under torchrun give what one gives, and a lost one ends the run with what to do."""

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
import psutil
import pytest
from scipy.spatial.distance import pdist

import spotscape as sp

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo and signals as on Linux and macOS")

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
QUICK = ("--n-domains=3", "--no-markers", "--device=cpu", "--timeout=2")


@pytest.fixture
def tissue(tmp_path: Path) -> Path:
    sp.datasets.simulate_tissue(n_spots=200, n_genes=60, n_domains=3).write_h5ad(tmp_path / "tissue.h5ad")
    return tmp_path / "tissue.h5ad"


def start(*words: object, size: int = 2) -> list[subprocess.Popen[bytes]]:
    """Start the command in every process of a group, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)} | ONE_THREAD
    command = [sys.executable, "-W", "ignore", "-m", "spotscape", "run", *map(str, words), *QUICK]
    return [
        subprocess.Popen(command, env=os.environ | group | {"RANK": str(rank)}, stdout=-1, stderr=-1)
        for rank in range(size)
    ]


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    message = process.communicate(timeout=200)[1].decode()
    return process.returncode, message


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("method", ["spotscape", "spacross"])
def test_a_group_finds_what_one_process_finds_and_resumes(method: str, tissue: Path, tmp_path: Path) -> None:
    """Processes draw by themselves what to leave out, so embeddings agree in what they say, not in their digits."""
    from spotscape.cli import main

    words = [f"--method={method}", "--max-epochs=60"]
    for name in ("first", "again"):
        resume = f"--checkpoint={tmp_path / 'training.pt'}"
        ends = [end(process) for process in start(tissue, tmp_path / f"{name}.h5ad", *words, resume)]
        assert [status for status, _ in ends] == [0, 0], ends
        # One process says what is done, the other nothing.
        assert "Written to" in ends[0][1]
        assert ends[1][1] == ""
        assert ("Resuming" in ends[0][1]) == (name == "again")
    assert main(["run", str(tissue), str(tmp_path / "one.h5ad"), *words, *QUICK, "--quiet"]) == 0
    first, again, one = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("first", "again", "one"))
    np.testing.assert_array_equal(first.obsm[f"X_{method}"], again.obsm[f"X_{method}"])
    distances = [pdist(adata.obsm[f"X_{method}"]) for adata in (first, one)]
    assert np.corrcoef(*distances)[0, 1] > 0.9
    losses = [adata.uns[method]["history"]["loss"][-1] for adata in (first, one)]
    assert losses[0] == pytest.approx(losses[1], rel=0.15)
    assert [path.name for path in tmp_path.iterdir() if "prepared" in path.name or "partial" in path.name] == []


@pytest.mark.timeout(420)
def test_a_killed_process_ends_the_run_with_what_to_do(tissue: Path, tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "training.pt", tmp_path / "out.h5ad"
    first, second = group = start(tissue, out, f"--checkpoint={checkpoint}", "--max-epochs=3000")
    try:
        deadline = time.monotonic() + 180
        while not checkpoint.exists() and time.monotonic() < deadline and second.poll() is None:
            time.sleep(0.05)
        second.send_signal(signal.SIGKILL)
        second.communicate()
        status, message = end(first)
    finally:
        for process in group:
            process.kill()
            process.communicate()
    assert checkpoint.exists(), message
    assert status == 1
    assert "another process of the group has ended or cannot be reached" in message
    assert f"start the same command again to go on from {checkpoint}" in message
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.skipif(sys.platform != "linux", reason="asked of the kernel of Linux")
def test_workers_end_with_the_launcher(tissue: Path, tmp_path: Path) -> None:
    """A launcher that is killed cannot end its workers; the system does."""
    checkpoint = tmp_path / "a.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "spotscape", "run"]
    words = [str(tissue), str(tmp_path / "out.h5ad"), f"--checkpoint={checkpoint}", "--max-epochs=100000", *QUICK]
    launcher = subprocess.Popen([*command, *words], env=os.environ | ONE_THREAD, stderr=-3, stdout=-3)
    try:
        deadline = time.monotonic() + 180
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = psutil.Process(launcher.pid).children(recursive=True)
    finally:
        launcher.kill()
        launcher.communicate()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=30)
    for process in alive:
        process.kill()
    assert not alive


def test_an_error_is_said_once(tissue: Path, tmp_path: Path) -> None:
    ends = [end(process) for process in start(tissue, tmp_path / "out.h5ad", "--slices=donor")]
    assert [status for status, _ in ends] == [1, 1]
    assert "process 0 stops: obs has no column 'donor' for --slices" in ends[0][1]


@pytest.mark.slow
def test_what_is_not_trained_is_done_by_one(tissue: Path, tmp_path: Path) -> None:
    ends = [end(process) for process in start(tissue, tmp_path / "out.h5ad", "--method=smoothed-pca")]
    assert [status for status, _ in ends] == [0, 0], ends
    assert ad.read_h5ad(tmp_path / "out.h5ad").obs["smoothed_pca_domain"].nunique() == 3
