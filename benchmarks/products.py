"""Sparse products on this machine: a sum over an embedding bag, torch's product of a CSR matrix, and scipy's.

    python benchmarks/products.py --spots 4000 40000 400000

Milliseconds of one product of a graph of six neighbours with a matrix of 32 columns, the best of several.
"""

# ruff: noqa: B023 (what is timed is called at once)
from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree

from spotscape.nn import SpotGraph

if TYPE_CHECKING:
    from collections.abc import Callable


def best(function: Callable[[], object], repeats: int = 7) -> float:
    """Milliseconds of the fastest of several calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds)


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, nargs="+", default=[4000, 40_000])
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for n_spots in options.spots:
        points = np.random.default_rng(0).random((n_spots, 2))
        columns = KDTree(points).query(points, 7)[1][:, 1:].ravel()
        rows = np.repeat(np.arange(n_spots), 6)
        graph = SpotGraph.from_adjacency(sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_spots,) * 2))
        structure, weights = graph.structure, graph.whole_weights[0]
        x = torch.randn(n_spots, options.columns)
        csr = torch.sparse_csr_tensor(structure.indptr, structure.indices, weights, (n_spots, n_spots))
        scipys = sparse.csr_array((weights.numpy(), structure.indices.numpy(), structure.indptr.numpy()))
        times = {
            "embedding bag": best(lambda: structure.multiply(weights, x)),
            "torch CSR": best(lambda: csr @ x),
            "scipy CSR": best(lambda: scipys @ x.numpy()),
        }
        print(f"{n_spots:>10,}", *(f"{name} {value:.2f} ms" for name, value in times.items()), sep="  ")


if __name__ == "__main__":
    main()
