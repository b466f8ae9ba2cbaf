"""What a first run on a machine with CUDA has to check, in less than ten minutes; it ends with 1 if anything fails.

    python benchmarks/gpu.py

In this order: the tests marked `gpu` (the same values on both devices, steps that wait for nothing), the same seed
twice, the time of both encoders on 4,000, 100,000 and 1,000,000 simulated cells, and the search for similar spots by
Triton and by torch. Expected are at most 2 s, 15 s and 120 s.
"""

# ruff: noqa: B023 (what is timed is called at once)
from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree

import spotscape as sp
from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig
from spotscape.nn import most_similar

LIMITS = {4_000: 2.0, 100_000: 15.0, 1_000_000: 120.0}


def cells(n_cells: int, n_genes: int = 300) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Sparse expression in bands, and the graph of six neighbours."""
    rng = np.random.default_rng(0)
    points = rng.random((n_cells, 2))
    band = (points[:, 0] * 8).astype(int)
    genes = rng.integers(0, n_genes // 8, (n_cells, 20)) + (band * (n_genes // 8))[:, None] * (
        rng.random((n_cells, 20)) < 0.5
    )
    rows = np.repeat(np.arange(n_cells), 20)
    expression = sparse.csr_array((np.ones(len(rows), np.float32), (rows, genes.ravel())), shape=(n_cells, n_genes))
    expression.data = np.log1p(expression.data)
    near = KDTree(points).query(points, 7, workers=-1)[1][:, 1:]
    graph = sparse.csr_array(
        (np.ones(near.size, np.float32), (np.repeat(np.arange(n_cells), 6), near.ravel())), shape=(n_cells,) * 2
    )
    return expression, graph


def timed(function: object) -> float:
    """Seconds of a call, with the device idle before and after."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    function()  # type: ignore[operator]
    torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> int:
    """Run everything, print one line for each check, and say how it ended."""
    if not torch.cuda.is_available():
        print("torch finds no usable GPU; nothing was checked.")
        return 1
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    failed = []
    tests = Path(__file__).parents[1] / "tests"
    if subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(tests)], check=False).returncode:
        failed.append("tests marked gpu")
    methods = {"spotscape": (Spotscape, SpotscapeConfig), "spacross": (SpaCross, SpaCrossConfig)}
    for n_cells, limit in LIMITS.items():
        expression, graph = cells(n_cells)
        for name, (kind, config) in methods.items():
            chosen = config.large_tissue() if n_cells > 10_000 else config()
            models = [kind(chosen) for _ in range(2 if n_cells == 4_000 else 1)]
            found: list[np.ndarray] = []
            seconds = [
                timed(lambda model=model: found.extend(model._fit_embed(expression, graph, device="cuda")))
                for model in models
            ]
            same = all(np.array_equal(found[0], other) for other in found[1:])
            print(f"{name}, {n_cells:,} cells: {seconds[-1]:.1f} s (at most {limit:g}); same bits: {same}", flush=True)
            if seconds[-1] > limit or not same:
                failed.append(f"{name} on {n_cells:,} cells")
    rows = torch.nn.functional.normalize(torch.randn(20_000, 16, device="cuda"), dim=1)
    for backend in ("torch", "triton"):
        most_similar(rows, rows, 20, backend=backend)
        seconds = timed(lambda own=backend: most_similar(rows, rows, 20, backend=own))
        print(f"search among 20,000 by {backend}: {seconds:.3f} s")
    print("failed: " + "; ".join(failed) if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
