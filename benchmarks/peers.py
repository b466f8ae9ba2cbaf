"""Spotscape's defaults beside other packages, on the same tissue, in one run: time, memory and accuracy.

    python -m venv peers && PIP_CONSTRAINT=constraints/ci.txt peers/bin/pip install torch
    export PIP_CONSTRAINT=constraints/ci.txt
    peers/bin/pip install cellcharter pybanksy scvi-tools scikit-misc harmonypy==0.0.10
    peers/bin/pip install nichepca stagate-modern graphst-modern spatialleiden cosmim domino-spatial
    python benchmarks/peers.py --python peers/bin/python --threads 1

Other packages are run by an interpreter of their own (`--python`), so that they may ask for other versions than
Spotscape does; they get the tissue as a file of raw counts and coordinates, without annotation. Each method has a
process of its own (`peer_methods.py`, which says what input each gets), in which are measured the wall time and the
processor time from counts to embedding, and the peak resident memory, libraries included.

All embeddings are clustered by k-means and by the tied mixture of `sp.tl.domains`, and by the package's own clusterer
if it has one, into the annotated number of domains. Annotations are used for that number and for the score only.
What is in the file of results already is not run again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from defaults_study import JOINT, load
from peer_methods import METHODS
from rows import append
from tissues import annotations

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.csv"
TISSUES = ("starmap", "mpfc", "osmfish", "dlpfc_151673", "her2st", "simulated_40000")
MEASURES = ("seconds", "cpu_seconds", "gb_before", "gb_peak", "packages")
CLUSTERERS = ("kmeans", "gmm", "own")
OURS = ("smoothed_pca", "spotscape", "spacross")


def read(name: str) -> AnnData:
    """Return a tissue with raw counts; the large one is simulated: single cells, 500 genes, eight layers."""
    if name.startswith("simulated_"):
        n_cells = int(name.removeprefix("simulated_"))
        size = {"n_domains": 8, "n_spots": n_cells, "n_genes": 500}
        return sp.datasets.simulate_tissue(**size, geometry="irregular", random_state=1)
    adata = load(name).copy()
    adata.X = adata.layers["counts"]
    return adata


def write_counts(adata: AnnData, name: str, file: Path) -> None:
    """Write what a method may see."""
    from anndata import AnnData
    from scipy import sparse

    counts = sparse.csr_matrix(adata.X, dtype=np.float32)
    slices = adata.obs["slice"].astype(str).astype("category")
    names = {"obs": pd.DataFrame({"slice": slices}, index=adata.obs_names), "var": pd.DataFrame(index=adata.var_names)}
    places = np.asarray(adata.obsm["spatial"], dtype=float)
    # Side by side, for packages that know one slice only.
    places = places + np.outer(slices.cat.codes, [3 * np.ptp(places[:, 0]), 0])
    about = {"visium": name.startswith("dlpfc"), "several": name in JOINT}
    AnnData(counts, **names, obsm={"spatial": places}, uns=about).write_h5ad(file)


def run(method: str, tissue: Path, python: str, *, seed: int, threads: int, domains: list[int]) -> tuple[Any, Any]:
    """Run a method in a process of its own and return its arrays and its measures."""
    answer = tissue.with_name("answer")
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [python, HERE / "peer_methods.py", method, tissue, answer, "--seed", seed, "--threads", threads]
    command += ["--domains", *domains]
    environment = {**os.environ, **limits, "NUMBA_NUM_THREADS": str(threads)}
    ended = subprocess.run(list(map(str, command)), check=False, env=environment, capture_output=True, text=True)
    if ended.returncode:
        msg = f"{method} on {tissue}:\n{ended.stderr}"
        raise SystemExit(msg)
    with np.load(answer.with_suffix(".npz")) as arrays:
        return dict(arrays), json.loads(answer.with_suffix(".json").read_text())


def score(adata: AnnData, arrays: dict[str, np.ndarray], found: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Agreement of every clusterer with every annotation."""
    adata.obsm["X_measured"] = arrays["embedding"]
    labels = functools.cache(functools.partial(cluster, adata, arrays, seed))
    rows = []
    for annotation, clusterer in itertools.product(annotations(adata), CLUSTERERS):
        truth = adata.obs[annotation]
        n_domains = truth.nunique()
        if clusterer == "own" and f"own_{n_domains}" not in arrays:
            continue
        domains = labels(clusterer, n_domains)
        row = {"annotation": annotation, "clusterer": clusterer, "domains": n_domains, "found": domains.nunique()}
        seconds = found["cluster_seconds"].get(str(n_domains), "") if clusterer == "own" else ""
        rows.append(row | {"ari": round(sp.metrics.ari(truth, domains), 4), "cluster_seconds": seconds})
    return rows


def cluster(adata: AnnData, arrays: dict[str, np.ndarray], seed: int, clusterer: str, n_domains: int) -> pd.Series:
    """Labels of one clusterer; the package's own ones have been found beside the embedding."""
    if clusterer == "own":
        return pd.Series(arrays[f"own_{n_domains}"], index=adata.obs_names)
    how = {"method": clusterer, "use_rep": "X_measured", "key_added": "found", "random_state": seed}
    sp.tl.domains(adata, n_domains=n_domains, **how)
    return adata.obs["found"].copy()


def done(out: Path) -> set[tuple[str, str, int]]:
    """Which runs are in the file."""
    if not out.exists():
        return set()
    return set(pd.read_csv(out)[["tissue", "method", "seed"]].itertuples(index=False, name=None))


def seeds_of(method: str, tissue: str, arguments: argparse.Namespace) -> range:
    """Fewer seeds where a run takes minutes."""
    slow = method in ("stagate", "graphst", "domino", "cellcharter_scvi")
    return range(min(arguments.seeds, arguments.slow_seeds) if slow else arguments.seeds)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", default=list(TISSUES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the other packages")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slow-seeds", type=int, default=1, help="of other packages that train for minutes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sp.settings.verbosity = "error"
    cached = functools.lru_cache(maxsize=1)(read)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tissue.h5ad"
        for tissue, method in itertools.product(arguments.tissues, arguments.methods):
            for seed in seeds_of(method, tissue, arguments):
                if (tissue, method, seed) in done(arguments.out):
                    continue
                adata = cached(tissue)
                write_counts(adata, tissue, file)
                domains = sorted({adata.obs[annotation].nunique() for annotation in annotations(adata)})
                python = sys.executable if method in OURS else arguments.python
                arrays, found = run(method, file, python, seed=seed, threads=arguments.threads, domains=domains)
                key = {"tissue": tissue, "spots": adata.n_obs, "genes": adata.n_vars, "method": method, "seed": seed}
                measured = {
                    name: found[name] for name in ("seconds", "cpu_seconds", "gb_before", "gb_peak", "packages")
                }
                rows = [{**key, **row, **measured} for row in score(adata, arrays, found, seed)]
                append(arguments.out, *rows)
                print(*rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
