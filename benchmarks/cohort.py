"""Forty sections of unlike size and quality, from a file that is never whole in memory to domains: time and memory.

    python benchmarks/cohort.py --tissue her2st_4patients --sections 40 --threads 1

Sections are copies of the slices of a real tissue, each turned, with its own depth (30 to 100 % of the counts), its own
capture of each gene, and its own spots (80 %). One has 150 spots, one has failed (1 % of its counts), and a quarter
lacks 300 genes. A process of its own opens the file with `backed="r"` and runs `prepare`, the graph, the method with
`library_key`, and `domains`. `same` is the share of spots with the domain that most copies of the spot have: domains
that mean the same in all sections give 1, domains drawn by chance their largest share.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from rows import append
from scipy import sparse

import spotscape as sp

RESULTS = Path(__file__).parent / "results" / "cohort.csv"
METHODS = {"smoothed-pca": sp.tl.smoothed_pca, "spotscape": sp.tl.spotscape, "spacross": sp.tl.spacross}
SMALL, FAILED, LACKING = 2, 3, 300
_UNIT = 1 if sys.platform == "darwin" else 1024


def write_cohort(tissue: Path, out: Path, n_sections: int) -> None:
    """Write copies of the slices of a tissue, each with its own technical differences."""
    rng = np.random.default_rng(0)
    given = ad.read_h5ad(tissue)
    names = list(given.obs["slice"].cat.categories)
    sections = {}
    for number in range(n_sections):
        part = given[given.obs["slice"] == names[number % len(names)]].copy()
        n_kept = 150 if number == SMALL else int(0.8 * part.n_obs)
        near = np.linalg.norm(part.obsm["spatial"] - part.obsm["spatial"][rng.integers(part.n_obs)], axis=1)
        part = part[np.sort(near.argsort()[:n_kept])].copy()
        capture = np.exp(-np.abs(rng.normal(0, 0.5, part.n_vars))) * (0.01 if number == FAILED else rng.uniform(0.3, 1))
        if number % 4 == 1:
            capture[:LACKING] = 0
        counts = sparse.csr_matrix(part.X)
        counts.data = rng.binomial(counts.data.astype(np.int64), capture[counts.indices]).astype(np.float32)
        counts.eliminate_zeros()
        turn = rng.uniform(0, 2 * np.pi)
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        section = ad.AnnData(counts, var=part.var[[]], obsm={"spatial": np.asarray(part.obsm["spatial"]) @ matrix})
        section.obs["spot"] = part.obs_names.to_numpy()
        sections[f"section_{number + 1}"] = section
    ad.concat(sections, label="section", index_unique="-").write_h5ad(out)


def measure(path: Path, key: dict[str, Any], threads: int, n_domains: int, out: Path) -> None:
    """Go from the file to domains, and add a row."""
    torch.set_num_threads(threads)
    sp.settings.progress_bar = False
    adata = ad.read_h5ad(path, backed="r")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    wall, cpu = time.perf_counter(), time.process_time()
    sp.pp.prepare(adata, library_key="section")
    sp.pp.spatial_neighbors_knn(adata, library_key="section")
    METHODS[key["method"]](adata, library_key="section", key_added="X_found")
    sp.tl.domains(adata, n_domains=n_domains, use_rep="X_found", key_added="found")
    good = adata.obs[adata.obs["section"] != f"section_{FAILED + 1}"]
    copies = good.groupby("spot", observed=True)["found"]
    found = {
        "spots": adata.n_obs,
        "genes": adata.n_vars,
        "file_gb": round(path.stat().st_size / 1e9, 3),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "gb_before": round(before / 1e9, 3),
        "gb_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e9, 3),
        "same": round(float((copies.transform(lambda own: own.mode()[0]) == good["found"]).mean()), 3),
        "largest": round(float(good["found"].value_counts(normalize=True).max()), 3),
    }
    print({**key, **found}, flush=True)
    append(out, {**key, **found})


def main() -> None:
    """Write the cohort, then measure each method in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", default="her2st_4patients")
    parser.add_argument("--sections", type=int, default=40)
    parser.add_argument("--n-domains", type=int, default=6)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["smoothed-pca", "spotscape"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.h5ad"
        write_cohort(Path(os.environ["SPOTSCAPE_DATA"]) / f"{options.tissue}.h5ad", path, options.sections)
        for method in options.methods:
            key = {"tissue": options.tissue, "sections": options.sections, "method": method}
            arguments = (path, key, options.threads, options.n_domains, options.out)
            process = multiprocessing.get_context("spawn").Process(target=measure, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
