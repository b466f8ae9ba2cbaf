"""Labels carried from slice to slice: embedding × offset × pair of slices × seed, beside the nearest registered spot.

    python benchmarks/matching.py --seeds 3
    python benchmarks/matching.py --tissues simulated --methods pca smoothed_pca registered
    python benchmarks/matching.py --report

Tissues are DLPFC donor 3 (four slices) and three simulated slices, once with the same domains (`simulated`) and once
where the middle slice lacks one domain and has one of its own (`simulated_private`). Every adjacent pair is matched in
both directions. A row is the share of labelled query spots whose transferred label is right, with 1 and with 10
matches; spots whose label the reference does not have are left out of the score, as no method can be right there.

`registered` takes the nearest spots in registered coordinates and looks at no expression: those of
`sp.pp.register_slices`, and on simulated slices the true ones (`registered_truth`). `*_near` searches by expression
within reach of the registered spot. No method sees labels other than those of the reference.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from plain import PLAIN
from rows import append
from scipy.spatial import cKDTree

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "matching.csv"
TISSUES = ("dlpfc_donor3", "simulated", "simulated_private")
EMBEDDINGS = ("pca", "smoothed_pca", "spotscape")
OFFSETS = ("none", "mean", "mutual")
METHODS = (
    *(f"{name}_{offset}" for name in EMBEDDINGS for offset in OFFSETS),
    *(f"{name}_near" for name in EMBEDDINGS),
    "registered",
    "registered_truth",
)
KEYS = ["tissue", "method", "seed"]
N_MATCHES = (1, 10)


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
    """Run all methods on one tissue and append the results of each at once."""
    done = set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())) if out.exists() else set()
    todo = [job for job in itertools.product(range(seeds), methods) if (tissue, job[1], job[0]) not in done]
    adata, loaded = None, None
    for seed, method in todo:
        if adata is None or loaded != seed:
            adata, loaded = load(tissue, seed), seed
        spatial_key = _registered(adata, method)
        if spatial_key is None and (method.startswith("registered") or method.endswith("_near")):
            print(f"{tissue}, {method}: skipped, there are no registered coordinates")
            continue
        name = method.rpartition("_")[0]
        use_rep = f"X_matching_{name}"
        if name in EMBEDDINGS and use_rep not in adata.obsm:
            embed(adata, name, seed)
        for row in scores(adata, method, use_rep, spatial_key):
            append(out, {"tissue": tissue, "method": method, "seed": seed, **row})


def load(tissue: str, seed: int) -> AnnData:
    """Return slices with log-normalised expression and their spatial graph; each seed simulates others."""
    if tissue == "dlpfc_donor3":
        import os

        import anndata as ad
        import scanpy as sc

        adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / "dlpfc_donor3.h5ad")
        sc.pp.filter_genes(adata, min_counts=1)
    else:
        private = {"missing_domains": {1: ["Layer_2"]}, "private_domains": [1]} if tissue.endswith("private") else {}
        adata = sp.datasets.simulate_tissue(
            n_domains=7, n_slices=3, n_spots=2000, n_genes=1000, batch_effect=0.5, random_state=seed + 1, **private
        )
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key="slice")
    return adata


def embed(adata: AnnData, name: str, seed: int) -> None:
    """Write the embedding of one method under its name."""
    started = time.perf_counter()
    if name == "spotscape":
        sp.tl.spotscape(adata, library_key="slice", random_state=seed, key_added=f"X_matching_{name}")
    else:
        settings = {"n_hops": 0, **PLAIN} if name == "pca" else {}
        sp.tl.smoothed_pca(adata, library_key="slice", random_state=seed, key_added=f"X_matching_{name}", **settings)
    print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s")


def scores(adata: AnnData, method: str, use_rep: str, spatial_key: str | None) -> list[dict[str, Any]]:
    """Score every adjacent pair of slices in both directions."""
    names = adata.obs["slice"].cat.categories
    pairs = [pair for a, b in itertools.pairwise(names) for pair in ((a, b), (b, a))]
    return [
        {
            "query": query,
            "reference": reference,
            "n_matches": k,
            **score(adata, method, (query, reference), k, use_rep=use_rep, spatial_key=spatial_key),
        }
        for (query, reference), k in itertools.product(pairs, N_MATCHES)
    ]


def score(
    adata: AnnData, method: str, pair: tuple[str, str], k: int, *, use_rep: str, spatial_key: str | None
) -> dict[str, float | int]:
    """Share of right labels, and the number of spots that it is of."""
    query, reference = pair
    rows = np.flatnonzero(adata.obs["slice"] == query)
    truth = adata.obs["domain"].astype(object).to_numpy()
    given = pd.Series(truth[(adata.obs["slice"] == reference).to_numpy()]).dropna().unique()
    if method.startswith("registered"):
        found = nearest(adata, pair, k, str(spatial_key))
    else:
        near = method.endswith("_near")
        sp.tl.match_slices(
            adata,
            library_key="slice",
            reference=reference,
            query=query,
            use_rep=use_rep,
            n_matches=k,
            labels_key="domain",
            offset="mutual" if near else method.rpartition("_")[2],
            spatial_key=spatial_key if near else None,
        )
        found = adata.obs["spotscape_match_label"].astype(object).to_numpy()[rows]
    counted = pd.Series(truth[rows]).isin(given).to_numpy()
    right = found[counted] == truth[rows][counted]
    return {"accuracy": round(float(right.mean()), 4), "n_spots": int(counted.sum())}


def nearest(adata: AnnData, pair: tuple[str, str], k: int, spatial_key: str) -> np.ndarray:
    """Most frequent label of the ``k`` nearest labelled reference spots, the nearest one's where there is a tie."""
    query, reference = pair
    truth = adata.obs["domain"].astype(object).to_numpy()
    coords, slices = adata.obsm[spatial_key], adata.obs["slice"].to_numpy()
    candidates = np.flatnonzero((slices == reference) & pd.notna(truth))
    found = cKDTree(coords[candidates]).query(coords[slices == query], k=list(range(1, k + 1)))[1]
    labels = truth[candidates][found].tolist()
    return np.array([max(dict.fromkeys(row), key=row.count) for row in labels], dtype=object)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over pairs and directions, then mean ± SD over seeds; methods by (tissue, number of matches)."""
    per_seed = results.groupby(["method", "tissue", "n_matches", "seed"])["accuracy"].mean()
    grouped = per_seed.groupby(["method", "tissue", "n_matches"]).agg(["mean", "std", "count"]).reset_index()
    spread = grouped["std"].map(" ± {:.3f}".format).where(grouped["count"] > 1, "")
    grouped["text"] = grouped["mean"].map("{:.3f}".format) + spread + grouped["count"].map(" ({})".format)
    shown = grouped.pivot_table("text", "method", ["tissue", "n_matches"], aggfunc="first").fillna("–")
    return shown.loc[[method for method in METHODS if method in shown.index]]


def _registered(adata: AnnData, method: str) -> str | None:
    """Key of the registered coordinates, made where the method needs them; None where they cannot be had."""
    if method == "registered_truth":
        return "spatial_truth" if "spatial_truth" in adata.obsm else None
    if not (method == "registered" or method.endswith("_near")):
        return None
    if "spatial_aligned" not in adata.obsm and hasattr(sp.pp, "register_slices"):
        sp.pp.register_slices(adata, library_key="slice")
    return "spatial_aligned" if "spatial_aligned" in adata.obsm else None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=list(TISSUES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
