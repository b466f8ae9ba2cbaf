"""The smoothed principal components of a large tissue: scanpy's PCA beside ours, time and memory, and their accuracy.

    python benchmarks/speed_smoothed_pca.py --spots 200000 1000000 --threads 1
    python benchmarks/speed_smoothed_pca.py --accuracy

Sparse cells of 20 layers by 2,000 genes, about 90 of them non-zero, drawn here. The settings take turns, medians are
written. Every setting has a process of its own, so that its peak memory is its own: what is there before, mostly the
data, is subtracted. `--accuracy` compares the components of two real tissues, and of simulated cells, with those of an
eigendecomposition of the whole covariance in float64.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from plain import PLAIN
from scipy import sparse
from tissues import hardware, load

import spotscape as sp
from spotscape.nn import PrincipalComponents, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "speed_smoothed_pca.csv"
N_GENES, N_DRAWN, N_LAYERS, N_COMPS = 2000, 100, 20, 30


def main() -> None:
    """Time both in turns and print medians and ratios."""
    arguments = _parse()
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    if arguments.accuracy:
        print(accuracy().to_string(index=False))
        return
    rows = [
        {"spots": spots, "setting": setting, **_in_a_process(setting, spots, arguments.threads)}
        for spots in arguments.spots
        for _ in range(arguments.repeats)
        for setting in SETTINGS
    ]
    medians = pd.DataFrame(rows).groupby(["spots", "setting"], sort=False)[["seconds", "peak_gb"]].median()
    results = medians.reset_index()
    slowest = results.groupby("spots")["seconds"].transform("first")
    results["times_faster"] = slowest / results["seconds"]
    results = results.assign(genes=N_GENES, **{**hardware(), "threads": arguments.threads})
    results.round(3).to_csv(arguments.out, index=False)
    print(results.to_string(index=False))


def cells(n_spots: int, seed: int = 0) -> AnnData:
    """Draw layered cells with log-normalised sparse expression and their spatial graph."""
    rng = np.random.default_rng(seed)
    profiles = (rng.gamma(0.6, size=N_GENES) + 0.1) * rng.lognormal(sigma=0.7, size=(N_LAYERS, N_GENES))
    cumulated = (profiles / profiles.sum(1, keepdims=True)).cumsum(1)
    side = int(np.ceil(np.sqrt(n_spots)))
    places = np.divmod(np.arange(n_spots), side)
    coords = np.column_stack(places[::-1]) + rng.uniform(-0.4, 0.4, (n_spots, 2))
    layers = places[0] * N_LAYERS // side
    parts = [_expression(cumulated, layers[start : start + 100_000], rng) for start in range(0, n_spots, 100_000)]
    adata = AnnData(sparse.vstack(parts, format="csr"), obsm={"spatial": coords})
    sp.pp.spatial_neighbors_knn(adata)
    return adata


def _expression(cumulated: np.ndarray, layers: np.ndarray, rng: np.random.Generator) -> sparse.csr_matrix:
    genes = np.empty((len(layers), N_DRAWN), dtype=np.int32)
    for layer in np.unique(layers):
        rows = layers == layer
        drawn = np.searchsorted(cumulated[layer], rng.random((rows.sum(), N_DRAWN)))
        genes[rows] = np.minimum(drawn, N_GENES - 1)
    ends = np.arange(0, genes.size + 1, N_DRAWN, dtype=np.int32)
    counts = sparse.csr_matrix((np.ones(genes.size, dtype=np.float32), genes.ravel(), ends), (len(layers), N_GENES))
    counts.sum_duplicates()
    counts.data = np.log1p(1e4 / N_DRAWN * counts.data)
    return counts


def with_scanpy(adata: AnnData) -> None:
    """Smooth the components of scanpy's PCA."""
    import scanpy as sc

    scores = sc.pp.pca(adata.X, n_comps=N_COMPS, random_state=0)
    adata.obsm["X_smoothed_pca"] = smooth(scores, adata.obsp["spatial_connectivities"], 3)


def with_spotscape(adata: AnnData) -> None:
    """Run ours, with its checks of the input."""
    sp.tl.smoothed_pca(adata, n_hops=3, **PLAIN)


SETTINGS = {"scanpy's PCA, smoothed": with_scanpy, "tl.smoothed_pca": with_spotscape}


def measure(setting: str, spots: int, threads: int) -> dict[str, float]:
    """Seconds, and the gigabytes that were taken beyond what was there before."""
    sp.settings.verbosity = "error"
    torch.set_num_threads(threads)
    run: Callable[[AnnData], None] = SETTINGS[setting]
    # What is imported late is imported now, and not on the clock.
    run(cells(2000))
    adata = cells(spots)
    before, peak, ended = _resident(), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    run(adata)
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    return {"seconds": seconds, "peak_gb": max(0.0, peak[0] - before)}


def _in_a_process(*arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def accuracy() -> pd.DataFrame:
    """How far the span of the leading components, and their variance, is that of an exact decomposition."""
    tissues = {name: load(name) for name in ("starmap", "dlpfc_151673")}
    rows = []
    for name, adata in {**tissues, "simulated, 200,000 cells": cells(200_000)}.items():
        chosen = adata.var.get("highly_variable", pd.Series(data=True, index=adata.var_names)).to_numpy()
        matrix = sparse.csr_array(adata.X[:, chosen])
        covariance = _covariance(matrix)
        values, vectors = (part[..., ::-1] for part in np.linalg.eigh(covariance))
        found = PrincipalComponents.fit(matrix, N_COMPS, scale=False).loadings.astype(np.float64)
        row: dict[str, Any] = {"tissue": name}
        for number in (10, 20, N_COMPS):
            cosines = np.linalg.svd(vectors[:, :number].T @ found, compute_uv=False)
            row[f"cosine_{number}"] = cosines[number - 1]
        row["variance"] = np.trace(found.T @ covariance @ found) / values[:N_COMPS].sum()
        rows.append(row)
    return pd.DataFrame(rows).round(7)


def _covariance(matrix: sparse.csr_array) -> np.ndarray:
    total = np.zeros((matrix.shape[1], matrix.shape[1]))
    for start in range(0, matrix.shape[0], 10_000):
        rows = matrix[start : start + 10_000].astype(np.float64).toarray()
        total += rows.T @ rows
    mean = np.bincount(matrix.indices, matrix.data, matrix.shape[1]) / matrix.shape[0]
    covariance: np.ndarray = total / matrix.shape[0] - np.outer(mean, mean)
    return covariance


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--accuracy", action="store_true", help="compare with an exact decomposition instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
