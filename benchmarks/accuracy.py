"""Agreement of domains with the annotation: method × setting × tissue × seed.

    python benchmarks/accuracy.py --seeds 10
    python benchmarks/accuracy.py --methods default floor --tissues starmap --seeds 3
    python benchmarks/accuracy.py --report

Every row is the adjusted Rand index of one seed, under k-means and the tied mixture, against one annotation. The labels
give the number of domains and the score; no method sees them.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tissues import SPACROSS_GENES, TISSUES, annotations, hardware, load

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "accuracy.csv"

# Each ablation takes one change against the paper back, or moves one default; `paper` is the published setting.
CONFIGS = {
    "default": SpotscapeConfig(),
    "latent_relu": SpotscapeConfig(latent_relu=True),
    "decay_1e-4": SpotscapeConfig(weight_decay=1e-4),
    "one_encoder": SpotscapeConfig(n_encoders=1),
    "paper_weights": SpotscapeConfig(reconstruction_weight=0.1),
    "all_genes": SpotscapeConfig(n_components=None),
    "rank_100": SpotscapeConfig(n_components=100),
    "rank_30": SpotscapeConfig(n_components=30),
    "epochs_50": SpotscapeConfig(max_epochs=50),
    "epochs_200": SpotscapeConfig(max_epochs=200),
    "no_telescope": SpotscapeConfig(telescope_weight=0.0),
    "no_reconstruction": SpotscapeConfig(reconstruction_weight=0.0),
    "paper": SpotscapeConfig.paper(),
    "paper_200_cycle": SpotscapeConfig.paper(max_epochs=200, lr=1e-3, schedule="one_cycle"),
}
# Ablations have one encoder, so that an effect is not averaged away, and are compared with `spacross_one`.
SPACROSS = {
    "spacross": SpaCrossConfig(),
    "spacross_one": SpaCrossConfig(n_encoders=1),
    "spacross_no_reconstruction": SpaCrossConfig(n_encoders=1, reconstruction_weight=0.0),
    "spacross_no_consistency": SpaCrossConfig(n_encoders=1, consistency_weight=0.0),
    "spacross_no_contrast": SpaCrossConfig(n_encoders=1, contrast_weight=0.0),
    "spacross_quorum_any": SpaCrossConfig(n_encoders=1, quorum=1),
    "spacross_no_quorum": SpaCrossConfig(n_encoders=1, quorum=0),
    "spacross_pairing_all": SpaCrossConfig(n_encoders=1, pairing="all"),
    "spacross_momentum_0.9": SpaCrossConfig(n_encoders=1, target_momentum=0.9),
    "spacross_momentum_0.99": SpaCrossConfig(n_encoders=1, target_momentum=0.99),
    "spacross_logarithm": SpaCrossConfig(n_encoders=1, linear_scale=False),
    "spacross_no_clip": SpaCrossConfig(n_encoders=1, clip=None),
    "spacross_components_200": SpaCrossConfig(n_encoders=1, n_components=200),
    "spacross_mask_0.5": SpaCrossConfig(n_encoders=1, mask_rate=0.5),
    "spacross_paper": SpaCrossConfig.paper(),
    "spacross_released": SpaCrossConfig.released(),
}
FLOORS = {"floor_1": 1, "floor_3": 3, "floor_6": 6}
METHODS = (*FLOORS, *CONFIGS, *SPACROSS)
KEYS = ["tissue", "method", "seed"]


def main() -> None:
    """Run what is missing, then print the table."""
    arguments = _parse()
    if not arguments.report:
        torch.set_num_threads(arguments.threads)
        sp.settings.verbosity = "warning"
        sp.settings.progress_bar = False
        for tissue in arguments.tissues:
            run_tissue(tissue, arguments.methods, arguments.seeds, arguments.out)
    print(table(pd.read_csv(arguments.out)).to_string())


def run_tissue(tissue: str, methods: list[str], seeds: int, out: Path) -> None:
    """Run all methods on one tissue, seed by seed, and append each result at once."""
    done = set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())) if out.exists() else set()
    todo = [job for job in itertools.product(range(seeds), methods) if (tissue, job[1], job[0]) not in done]
    if not todo:
        return
    adata = load(tissue)
    for seed, method in todo:
        started = time.perf_counter()
        key = embed(adata, method, seed)
        seconds = time.perf_counter() - started
        for row in scores(adata, key, seed):
            append(out, {"tissue": tissue, "method": method, "seed": seed, **row, "seconds": round(seconds, 2)})


def embed(adata: AnnData, method: str, seed: int) -> str:
    """Write the embedding of one method and return its key."""
    if method in FLOORS:
        sp.tl.smoothed_pca(adata, n_hops=FLOORS[method], random_state=seed)
        return "X_smoothed_pca"
    if method in SPACROSS:
        sp.tl.spacross(adata, config=SPACROSS[method], mask_var=SPACROSS_GENES, random_state=seed)
        return "X_spacross"
    sp.tl.spotscape(adata, config=CONFIGS[method], random_state=seed)
    return "X_spotscape"


def scores(adata: AnnData, key: str, seed: int) -> list[dict[str, Any]]:
    """Score both clusterers against every annotation."""
    rows = []
    truths = {annotation: adata.obs[annotation] for annotation in annotations(adata)}
    numbers = {annotation: truth.nunique() for annotation, truth in truths.items()}
    for n_domains, clusterer in itertools.product(sorted(set(numbers.values())), ("kmeans", "gmm")):
        sp.tl.domains(adata, n_domains=n_domains, method=clusterer, use_rep=key, random_state=seed)
        for annotation in [name for name, number in numbers.items() if number == n_domains]:
            ari = sp.metrics.ari(truths[annotation], adata.obs["spotscape_domain"])
            rows.append({"annotation": annotation, "clusterer": clusterer, "ari": round(ari, 4)})
    return rows


def append(out: Path, row: dict[str, Any]) -> None:
    """Add one row to the results."""
    row = {**row, **hardware()}
    out.parent.mkdir(parents=True, exist_ok=True)
    new = not out.exists()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean ± SD over seeds, methods by (tissue, annotation, clusterer)."""
    columns = ["tissue", "annotation", "clusterer"]
    grouped = results.groupby(["method", *columns])["ari"].agg(["mean", "std", "count"])
    grouped["text"] = [f"{row['mean']:.3f} ± {row['std']:.3f} ({row['count']:.0f})" for _, row in grouped.iterrows()]
    shown = grouped.reset_index().pivot_table("text", "method", columns, aggfunc="first")
    order = [method for method in METHODS if method in shown.index]
    return shown.loc[order].fillna("")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=["starmap", "dlpfc_151673"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
