"""Memory: training in a process of its own, whose peak must stay far below what N² numbers would take."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="this platform cannot tell or limit the memory of a process")

# All losses, all kinds of neighbourhood searches, several refreshes, then everything that a model is asked for.
PROGRAM = """
import resource, sys
import numpy as np
import torch
from scipy import sparse
import spotscape as sp
from spotscape.models import SpaCross, SpaCrossConfig

n_spots, n_slices, limit, unit = (int(word) for word in sys.argv[1:])
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
torch.set_num_threads(1)
sp.settings.verbosity = "warning"

def peak():
    # A child's ru_maxrss begins at the size of its parent; Linux knows better.
    if sys.platform == "linux":
        status = open("/proc/self/status").read()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

at_start = peak()

rng = np.random.default_rng(0)
spot, side = np.arange(n_spots), round(n_spots**0.5)
right, down = spot[(spot % side != side - 1) & (spot < n_spots - 1)], spot[: n_spots - side]
rows, columns = np.concatenate([right, down]), np.concatenate([right + 1, down + side])
adjacency = sparse.coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_spots, n_spots)).tocsr()
adjacency = adjacency + adjacency.T
expression = sparse.random_array((n_spots, 300), density=0.1, rng=rng, dtype=np.float32, format="csr")

config = SpaCrossConfig(
    n_comps=30, max_epochs=4, refresh_every=2, target_momentum=0.9, contrast_spots=20_000, n_clusterings=5,
    reconstruction_weight=1, consistency_weight=1, contrast_weight=1, n_encoders=1, pairing="row", decoder="linear",
)
slices = spot * n_slices // n_spots if n_slices > 1 else None
model = SpaCross(config).fit(expression, adjacency, slices=slices, progress_bar=False)
assert all(np.isfinite(values).all() and (values > 0).all() for values in model.history.values()), model.history
assert np.isfinite(model.embed(expression, adjacency, slices=slices)).all()
dense = eval(sys.stdin.read() or "None")
print(at_start, peak())
"""
GIGABYTE = 10**9


def train(n_spots: int, n_slices: int, limit: int, *, then: str = "") -> tuple[int, int]:
    """Return the bytes in use after the imports, and at the peak; ``then`` is evaluated after training."""
    unit = 1 if sys.platform == "darwin" else 1024
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, (n_spots, n_slices, limit, unit))]
    run = subprocess.run(command, input=then, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise MemoryError(run.stderr)
    at_start, peak = map(int, run.stdout.split())
    return at_start, peak


@pytest.mark.slow
@pytest.mark.parametrize(("n_spots", "n_slices", "most"), [(60_000, 1, 1.2), (20_000, 1, 0.6), (18_000, 3, 0.6)])
def test_training_takes_linear_memory(n_spots: int, n_slices: int, most: float) -> None:
    """With 3 GB to allocate; a float32 for every two of 60,000 spots takes 14.4 GB, 1.6 GB of 20,000, 1.3 of 18,000."""
    at_start, peak = train(n_spots, n_slices, 3 * GIGABYTE)
    assert peak < 2 * GIGABYTE
    assert peak - at_start < most * GIGABYTE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory above a limit on data")
def test_the_limit_is_one() -> None:
    with pytest.raises(MemoryError, match="Unable to allocate"):
        train(500, 1, 3 * GIGABYTE, then="np.empty((60_000, 60_000), dtype=np.float32)")


@pytest.mark.slow
def test_the_peak_is_one() -> None:
    at_start, peak = train(500, 1, 3 * GIGABYTE, then="np.ones((20_000, 20_000), dtype=np.float32)[0, 0]")
    assert peak - at_start > 1.5 * GIGABYTE
