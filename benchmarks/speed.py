"""Processor and wall time of both encoders with their defaults, also against another version of the package.

    python benchmarks/speed.py --tissue dlpfc_151673 starmap_visual_cortex
    python benchmarks/speed.py --tissue dlpfc_151673 --source ../older/src

Files are read from the folder that `SPOTSCAPE_DATA` names. Each run is a process of its own, in which the libraries are
loaded before the clock starts; what is timed is the whole call on prepared expression with its graph.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rows import append

RESULTS = Path(__file__).parent / "results" / "speed.csv"
RUN = """
import json, os, sys, time
import anndata, torch
import scanpy
import spotscape as sp
import spotscape.models, spotscape.tl, spotscape.nn.integration
path, method, threads, library = sys.argv[1:5]
torch.set_num_threads(int(threads))
sp.settings.verbosity, sp.settings.progress_bar = "error", False
adata = anndata.read_h5ad(path)
started = time.perf_counter(), time.process_time()
getattr(sp.tl, method)(adata, library_key=library or None)
ended = time.perf_counter(), time.process_time()
print(json.dumps({"wall": ended[0] - started[0], "processor": ended[1] - started[1]}))
"""


def prepare(name: str, folder: Path) -> tuple[Path, str]:
    """Write a tissue with log-normalised expression and its graph; the column of slices, if there are several."""
    import anndata
    import scanpy as sc

    import spotscape as sp

    adata = anndata.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / f"{name}.h5ad")
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_counts=1)
    library = "slice" if len(adata.obs["slice"].unique()) > 1 else ""
    if library:
        adata.obs["slice"] = adata.obs["slice"].astype("category")
    sp.pp.prepare(adata, library_key=library or None)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key=library or None)
    adata.write_h5ad(folder / f"{name}.h5ad")
    return folder / f"{name}.h5ad", library


def time_one(source: Path, path: Path, method: str, library: str, threads: int) -> dict[str, float]:
    """Seconds of one run in a process of its own."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(path), method, str(threads), library]
    environment = os.environ | limits | {"PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Time in turns, so that what else the machine does falls on all alike."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", nargs="+", default=["dlpfc_151673"])
    parser.add_argument("--method", nargs="+", default=["spotscape", "spacross"])
    parser.add_argument("--source", type=Path, help="another version of the package, in turns with this one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sources = {"here": Path(__file__).parents[1] / "src"} | ({"other": options.source} if options.source else {})
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tissue:
            path, library = prepare(name, Path(folder))
            for _ in range(options.repeats):
                for method in options.method:
                    for version, source in sources.items():
                        seconds = time_one(source, path, method, library, options.threads)
                        run = {"tissue": name, "method": method, "version": version, "threads": options.threads}
                        found.append({**run, **{key: round(value, 2) for key, value in seconds.items()}})
                        append(RESULTS, found[-1])
    print(pd.DataFrame(found).groupby(["tissue", "method", "version"])[["processor", "wall"]].median().to_string())


if __name__ == "__main__":
    main()
