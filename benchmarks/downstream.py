"""Everything around the training, by size: time and memory of each function on up to a million cells.

    python benchmarks/downstream.py --cells 100000 1000000 --threads 1

A simulated tissue of wavy layers with an embedding as wide as the default's: the layers with noise around them, so that
each function has something to find, and 50 counts of 200 genes for each cell. Each call is timed once, in one process;
the peak of resident memory is that of the process up to then, so that it only grows.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from anndata import AnnData
from rows import append
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "downstream.csv"
N_DOMAINS, N_AXES = 8, 12
N_GENES, N_COUNTS = 200, 50
# The 90 nearest of each cell in 12 dimensions take minutes from here on.
MOST_FOR_LISI = 100_000
_UNIT = 1 if sys.platform == "darwin" else 1024


def simulated(n_cells: int) -> AnnData:
    """Cells in wavy layers, with an embedding and counts."""
    rng = np.random.default_rng(0)
    side = np.sqrt(n_cells)
    coords = rng.random((n_cells, 2)) * side
    height = coords[:, 1] / side + 0.06 * np.sin(6 * coords[:, 0] / side)
    layer = np.clip((height * N_DOMAINS).astype(int), 0, N_DOMAINS - 1)
    centres = rng.normal(size=(N_DOMAINS, N_AXES))
    embedding = (centres[layer] + 0.6 * rng.normal(size=(n_cells, N_AXES))).astype(np.float32)
    adata = AnnData(drawn_counts(layer, rng))
    adata.obsm["spatial"], adata.obsm["X_spotscape"] = coords, embedding
    adata.obs["layer"] = layer.astype(str)
    adata.obs["layer"] = adata.obs["layer"].astype("category")
    return adata


def drawn_counts(layer: np.ndarray, rng: np.random.Generator) -> sparse.csr_matrix:
    """Counts of cells whose layers have genes in different shares."""
    shares = rng.gamma(0.5, size=(N_DOMAINS, N_GENES)).cumsum(axis=1)
    rows = np.repeat(np.arange(len(layer)), N_COUNTS)
    drawn = rng.random(len(rows)) * shares[layer, -1].repeat(N_COUNTS)
    genes = np.empty(len(rows), np.int64)
    for one in range(N_DOMAINS):
        own = layer[rows] == one
        genes[own] = np.searchsorted(shares[one], drawn[own])
    counts = np.ones(len(rows), np.float32)
    return sparse.coo_matrix((counts, (rows, genes)), shape=(len(layer), N_GENES)).tocsr()


def calls(adata: AnnData) -> dict[str, Callable[[], object]]:
    """What is timed, in the order in which a user comes to it."""
    graph = "spatial_connectivities"

    def plot() -> None:
        sp.pl.domains(adata, "spotscape_domain")
        plt.savefig("/dev/null", format="png")
        plt.close()

    def found() -> tuple[object, object]:
        return adata.obs["layer"], adata.obs["spotscape_domain"]

    timed = {
        "pp.spatial_neighbors_knn": lambda: sp.pp.spatial_neighbors_knn(adata, n_neighs=6),
        "tl.choose_n_domains": lambda: sp.tl.choose_n_domains(adata, k_range=(2, 15)),
        "tl.domains": lambda: sp.tl.domains(adata, n_domains=N_DOMAINS),
        "tl.domains, mixture": lambda: sp.tl.domains(adata, n_domains=N_DOMAINS, method="gmm"),
        "tl.domains, k-means": lambda: sp.tl.domains(adata, n_domains=N_DOMAINS, method="kmeans"),
        "tl.refine_domains": lambda: sp.tl.refine_domains(adata),
        "metrics.ari": lambda: sp.metrics.ari(*found()),
        "metrics.nmi": lambda: sp.metrics.nmi(*found()),
        "metrics.clustering_accuracy": lambda: sp.metrics.clustering_accuracy(*found()),
        "metrics.boundary_accuracy": lambda: sp.metrics.boundary_accuracy(*found(), adata.obsp[graph]),
        "metrics.pas": lambda: sp.metrics.pas(adata.obs["spotscape_domain"], adata.obsm["spatial"]),
        "metrics.chaos": lambda: sp.metrics.chaos(adata.obs["spotscape_domain"], adata.obsm["spatial"]),
        "metrics.label_asw, 5,000 cells": lambda: sp.metrics.label_asw(
            adata.obs["layer"], adata.obsm["X_spotscape"], max_spots=5000
        ),
        "pl.domains": plot,
    }
    if adata.n_obs <= MOST_FOR_LISI:
        timed["metrics.clisi"] = lambda: sp.metrics.clisi(adata.obs["layer"], adata.obsm["X_spotscape"])
    return timed


def main() -> None:
    """Time each function at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    mpl.use("Agg")
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    for n_cells in sorted(arguments.cells):
        adata = simulated(n_cells)
        for name, call in calls(adata).items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            row = {
                "cells": n_cells,
                "function": name,
                "seconds": round(time.perf_counter() - wall, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "gb_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e9, 2),
            }
            append(arguments.out, row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
