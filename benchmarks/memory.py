"""Peak memory of training on a large sparse tissue, each storage in a process of its own.

Run ``python benchmarks/memory.py --spots 50000 --genes 2000``, and for several slices, with all of their objectives and
their integration, ``python benchmarks/memory.py --spots 100000 --genes 500 --slices 4``. SpaCross, which sees principal
components only: ``python benchmarks/memory.py --method spacross --spots 20000 --genes 2000``.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import sys

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig

# ru_maxrss counts kilobytes on Linux and bytes on macOS.
_UNIT = 1 if sys.platform == "darwin" else 1024
METHODS = {
    "spotscape": (Spotscape, [SpotscapeConfig(), SpotscapeConfig(n_comps=None)]),
    "spacross": (SpaCross, [SpaCrossConfig()]),
}


def peak_of_training(
    n_spots: int,
    n_genes: int,
    density: float,
    *,
    method: str,
    n_comps: int | None,
    epochs: int,
    n_slices: int,
    threads: int,
) -> float:
    """Gigabytes at the peak of training, the data and the libraries among them."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    expression = sparse.random(n_spots, n_genes, density=density, format="csr", dtype=np.float32, random_state=rng)
    slices = np.arange(n_spots) * n_slices // n_spots
    graphs = [kneighbors_graph(rng.random((np.count_nonzero(slices == name), 2)), 6) for name in range(n_slices)]
    adjacency = sparse.block_diag(graphs, format="csr")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build, configs = METHODS[method]
    config = dataclasses.replace(configs[0], n_comps=n_comps, max_epochs=epochs)
    model = build(config).fit(expression, adjacency, slices=slices, progress_bar=False, device="cpu")
    model.embed(expression, adjacency, slices=slices)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{n_spots:>9,} spots {n_genes:>6,} genes {n_slices} slices {method} n_comps={n_comps}: ", end="")
    print(f"data and libraries {before * _UNIT / 1e9:.2f} GB, peak {peak * _UNIT / 1e9:.2f} GB", end="; ")
    print(f"a dense similarity alone {4 * n_spots**2 / 1e9:.0f} GB")
    return peak * _UNIT / 1e9


def main() -> None:
    """Measure each storage of a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, default="spotscape")
    parser.add_argument("--spots", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for config in METHODS[arguments.method][1]:
        size = (arguments.spots, arguments.genes, arguments.density)
        options = {name: getattr(arguments, name) for name in ("method", "epochs", "threads")}
        options |= {"n_comps": config.n_comps, "n_slices": arguments.slices}
        process = context.Process(target=peak_of_training, args=size, kwargs=options)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
