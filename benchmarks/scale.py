"""Time and memory from 4 thousand to a million cells, read from a file and never whole.

    python benchmarks/scale.py --cells 4000 40000 400000 1000000 --threads 2

Each size has processes of its own: one that writes a simulated tissue (500 genes, domains in space, Poisson counts,
log-normalised, h5ad with its graph), and one for each method that opens it with `backed="r"` and embeds it. Wall time,
processor time (which other processes on the machine do not change) and peak resident memory, libraries included.
`--domains` adds k-means and its agreement with the truth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rows import append
from scipy import sparse

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig
from spotscape.tl._embedding import LARGE_TISSUE

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "scale.csv"
METHODS = {"smoothed_pca": sp.tl.smoothed_pca, "spotscape": sp.tl.spotscape, "spacross": sp.tl.spacross}
CONFIGS = {"spotscape": SpotscapeConfig, "spacross": SpaCrossConfig}
N_GENES, N_DOMAINS = 500, 8
_UNIT = 1 if sys.platform == "darwin" else 1024


def write_tissue(path: Path, n_cells: int) -> None:
    """Write a tissue of a given size: wavy layers, each with its own level of a fifth of the genes."""
    from anndata import AnnData

    rng = np.random.default_rng(0)
    side = np.sqrt(n_cells)
    coords = rng.random((n_cells, 2)) * side
    height = coords[:, 1] / side + 0.06 * np.sin(6 * coords[:, 0] / side)
    domain = np.clip((height * N_DOMAINS).astype(int), 0, N_DOMAINS - 1)
    base = rng.gamma(0.5, 0.4, N_GENES)
    change = np.exp(rng.normal(0, 0.5, (N_DOMAINS, N_GENES)) * (rng.random((N_DOMAINS, N_GENES)) < 0.2))
    rates = (base * change).astype(np.float32)
    parts = []
    for start in range(0, n_cells, 50_000):
        own = domain[start : start + 50_000]
        counts = rng.poisson(rates[own]).astype(np.float32)
        counts[np.arange(len(own)), rng.integers(N_GENES, size=len(own))] += 1
        totals = counts.sum(1, keepdims=True)
        parts.append(sparse.csr_matrix(np.log1p(counts * (np.float32(100) / totals))))
    adata = AnnData(sparse.vstack(parts, format="csr"), obsm={"spatial": coords})
    adata.obs["domain"] = domain.astype(str)
    adata.obs["domain"] = adata.obs["domain"].astype("category")
    started = time.perf_counter()
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    print(f"{n_cells:,} cells: graph in {time.perf_counter() - started:.1f} s", flush=True)
    adata.write_h5ad(path)


def measure(path: Path, method: str, answer: Path, *, threads: int, domains: bool, **options: Any) -> None:
    """Embed the tissue in a file, and leave time and memory in another."""
    import anndata

    torch.set_num_threads(threads)
    sp.settings.progress_bar = False
    adata = anndata.read_h5ad(path, backed="r")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    wall, cpu = time.perf_counter(), time.process_time()
    if method == "smoothed_pca":
        sp.tl.smoothed_pca(adata, key_added="X_measured")
    else:
        config = CONFIGS[method].of_preset("default", large_tissue=adata.n_obs > LARGE_TISSUE)
        config = dataclasses.replace(config, n_encoders=options.pop("encoders") or config.n_encoders)
        METHODS[method](adata, key_added="X_measured", config=config, **options)
    found = {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "gb_before": round(before / 1e9, 3),
        "gb_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e9, 3),
    }
    found["ari"] = ""
    if domains:
        sp.tl.domains(adata, n_domains=N_DOMAINS, method="kmeans", use_rep="X_measured", key_added="found")
        found["ari"] = round(sp.metrics.ari(adata.obs["domain"], adata.obs["found"]), 4)
    answer.write_text(json.dumps(found))


def in_process(function: Callable[..., None], *arguments: object, **options: object) -> None:
    """Run a function in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments, kwargs=options)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    """Measure each size and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[4_000, 12_000, 40_000, 120_000, 400_000, 1_000_000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--encoders", type=int, default=None, help="instead of the default's number")
    parser.add_argument("--epochs", type=int, default=None, help="instead of the default's number")
    parser.add_argument("--domains", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for n_cells in arguments.cells:
            path, answer = Path(folder) / f"{n_cells}.h5ad", Path(folder) / "answer.json"
            in_process(write_tissue, path, n_cells)
            for method in arguments.methods:
                training = {"batch_size": arguments.batch_size, "max_epochs": arguments.epochs}
                options = {**training, "encoders": arguments.encoders, "threads": arguments.threads}
                in_process(measure, path, method, answer, domains=arguments.domains, **options)
                found = json.loads(answer.read_text())
                key = {"cells": n_cells, "genes": N_GENES, "method": method}
                if method == "smoothed_pca":
                    training, options = dict.fromkeys(training), {"encoders": None}
                given = {**training, "encoders": options["encoders"]}
                key |= {name: "default" if value is None else value for name, value in given.items()}
                append(arguments.out, key | found)
                print(key | found, flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
