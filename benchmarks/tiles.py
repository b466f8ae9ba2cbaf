"""Domains of steps over tiles beside those of steps on all spots.

    python benchmarks/tiles.py --tissues dlpfc_151673 dlpfc_donor3 --seeds 5 --batches 8 --threads 2

Trains the default with steps on all spots, and with steps over tiles, forced into so many batches, eight tiles each;
same data, same seeds, both clusterers. `--encoders 1` trains one encoder instead of the default's, and `--epochs` says
for how long.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from rows import append
from tissues import load, prepare_slices

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "tiles.csv"
SLICES = {"dlpfc_donor3": ["151673", "151674", "151675", "151676"]}
METHODS = {"spotscape": (sp.tl.spotscape, SpotscapeConfig), "spacross": (sp.tl.spacross, SpaCrossConfig)}


def run(
    adata: AnnData, tissue: str, method: str, *, n_batches: int, seed: int, changes: dict[str, int]
) -> list[dict[str, Any]]:
    """Train once and score under both clusterers."""
    tool, kind = METHODS[method]
    slices = "slice" if tissue in SLICES else None
    config = dataclasses.replace(kind.of_preset("default", several_slices=slices is not None), **changes)
    batch_size = -(-adata.n_obs // n_batches)
    started = time.process_time()
    tool(adata, library_key=slices, config=config, batch_size=batch_size, random_state=seed, key_added="X_timed")
    seconds = time.process_time() - started
    rows = []
    for clusterer in ("kmeans", "gmm"):
        n_domains = adata.obs["domain"].nunique()
        sp.tl.domains(adata, n_domains=n_domains, method=clusterer, use_rep="X_timed", key_added="found")
        ari = sp.metrics.ari(adata.obs["domain"], adata.obs["found"])
        key = {"tissue": tissue, "method": method, "encoders": config.n_encoders, "batches": n_batches, "seed": seed}
        rows.append(
            {
                **key,
                "clusterer": clusterer,
                "ari": round(ari, 4),
                "steps": len(adata.uns["timed"]["history"]["loss"]),
                "cpu_seconds": round(seconds, 1),
            }
        )
    return rows


def done(out: Path) -> set[tuple[str, ...]]:
    """What the file of results has already."""
    if not out.exists():
        return set()
    with out.open(newline="") as file:
        return {tuple(row[name] for name in ("tissue", "method", "batches", "seed")) for row in csv.DictReader(file)}


def main() -> None:
    """Run what is missing, and print means and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", default=["dlpfc_151673"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["spotscape"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--encoders", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    changes = {"n_encoders": arguments.encoders, "max_epochs": arguments.epochs}
    changes = {name: value for name, value in changes.items() if value is not None}
    for tissue in arguments.tissues:
        adata = None
        for seed in range(arguments.seeds):
            for method in arguments.methods:
                for n_batches in (arguments.batches, 1):
                    if (tissue, method, str(n_batches), str(seed)) in done(arguments.out):
                        continue
                    adata = read(tissue) if adata is None else adata
                    append(arguments.out, *run(adata, tissue, method, n_batches=n_batches, seed=seed, changes=changes))
    results = pd.read_csv(arguments.out)
    groups = ["tissue", "method", "encoders", "clusterer", "batches"]
    print(results.groupby(groups)[["ari", "cpu_seconds"]].agg(["mean", "std", "count"]).round(3).to_string())


def read(tissue: str) -> AnnData:
    """Return a tissue, ready for training."""
    if tissue not in SLICES:
        return load(tissue)
    import scanpy as sc

    adata = sp.datasets.dlpfc(SLICES[tissue])
    sc.pp.filter_genes(adata, min_counts=1)
    prepare_slices(adata)
    return adata


if __name__ == "__main__":
    main()
