"""The default of each method on all labelled tissue, their consensus, and the best linear smoother known from labels.

    python benchmarks/methods_study.py                       ten seeds on all real tissue
    python benchmarks/methods_study.py --tissues osmfish --seeds 3
    python benchmarks/methods_study.py --tissues mixtures    tissue made of real cells: mixtures.py
    python benchmarks/methods_study.py --baseline            plain principal components, mean over K nearest spots
    python benchmarks/methods_study.py --summary             tables of what has been run

Each tissue gets one setting: `prepare`, the graph as it is by default, the method, `domains`. Labels give the number
of domains and the score only. The baseline is another matter: its K and its clusterer are the best *by the labels*, so
it is a reference, not a method. Rows are appended to benchmarks/results/methods_study.csv; what is there is not run
again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from defaults_study import REAL, expand, library, load
from rows import append
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

import spotscape as sp
from spotscape.metrics import ari

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "methods_study.csv"
METHODS = ("spotscape", "spacross", "smoothed_pca")
CLUSTERERS = ("auto", "kmeans", "gmm")
NEAREST = (3, 6, 12, 18, 25, 40, 60, 100)
KEYS = ["tissue", "annotation", "method", "clusterer", "seed"]
SURE = 0.9


def main() -> None:
    """Run what is missing, or print what there is."""
    arguments = _arguments()
    if arguments.summary:
        summary(pd.read_csv(arguments.out))
        return
    torch.set_num_threads(1)
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    for name in expand(arguments.tissues):
        ready = done(arguments.out)
        rows = baseline(name, ready) if arguments.baseline else methods(name, arguments, ready)
        for row in rows:
            append(arguments.out, {"seconds": "", "sure": "", "right_sure": "", "right_others": "", **row})
            print(*row.values(), flush=True)


def methods(name: str, arguments: argparse.Namespace, ready: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Each method with its defaults, each seed, and the consensus of the three."""
    chosen = arguments.methods
    adata = load(name).copy()
    sp.pp.spatial_neighbors_knn(adata, library_key=library(name))
    annotations = [column for column in ("domain", "domain_banksy") if column in adata.obs]
    if "smoothed_pca" in chosen:
        # A consensus of any seed needs it, also where a run goes on.
        sp.tl.smoothed_pca(adata, library_key=library(name))
    for seed in range(arguments.seeds):
        for method in chosen:
            keys = [(name, one, method, how, str(seed)) for one in annotations for how in CLUSTERERS]
            wanted = set(chosen) == set(METHODS) and _no_consensus(name, annotations, seed, ready)
            if all(key in ready for key in keys) and not wanted:
                continue
            # Smoothed PCA has no seed, but its clusterer has.
            options = {} if method == "smoothed_pca" else {"random_state": seed}
            started = time.process_time()
            getattr(sp.tl, method)(adata, library_key=library(name), **options)
            seconds = time.process_time() - started
            for key in keys:
                if key not in ready:
                    found = _domains(adata, f"X_{method}", key[1], key[3], seed)
                    yield _row(key, found, adata.obs[key[1]], seconds=round(seconds, 2))
        if set(chosen) == set(METHODS):
            for one in annotations:
                key = (name, one, "consensus", "auto", str(seed))
                if key not in ready:
                    sp.tl.consensus_domains(
                        adata, n_domains=adata.obs[one].nunique(), key_added="found", random_state=seed
                    )
                    sure = adata.obs["found_confidence"].to_numpy() >= SURE
                    yield _row(key, adata.obs["found"], adata.obs[one], **_calibration(adata, one, sure))


def _no_consensus(name: str, annotations: list[str], seed: int, ready: set[tuple[str, ...]]) -> bool:
    return any((name, one, "consensus", "auto", str(seed)) not in ready for one in annotations)


def baseline(name: str, ready: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Plain components of the logarithm, mean over a spot and its K nearest, k-means and tied mixture, three seeds."""
    adata = load(name)
    counts = adata.copy()
    counts.X = counts.layers["counts"]
    if counts.n_vars > 2000:
        sc.pp.highly_variable_genes(counts, n_top_genes=2000, flavor="seurat_v3")
        counts = counts[:, counts.var["highly_variable"]].copy()
    sc.pp.normalize_total(counts)
    sc.pp.log1p(counts)
    sc.pp.pca(counts, n_comps=min(30, counts.n_vars - 1))
    annotations = [column for column in ("domain", "domain_banksy") if column in adata.obs]
    slices = counts.obs["slice"].astype(str).to_numpy()
    for size in NEAREST:
        smooth = _mean_over_nearest(counts, slices, size)
        for one in annotations:
            for how in ("kmeans", "gmm"):
                for seed in range(3):
                    key = (name, one, f"mean_{size}", how, str(seed))
                    if key not in ready:
                        n_domains, kind = adata.obs[one].nunique(), {"kmeans": _kmeans, "gmm": _mixture}[how]
                        yield _row(key, kind(smooth, n_domains, seed), adata.obs[one])


def _mean_over_nearest(counts: AnnData, slices: np.ndarray, size: int) -> np.ndarray:
    smooth = counts.obsm["X_pca"].copy()
    for one in np.unique(slices):
        rows = np.flatnonzero(slices == one)
        places = counts.obsm["spatial"][rows]
        nearest = NearestNeighbors(n_neighbors=min(size + 1, len(rows))).fit(places).kneighbors(places)[1]
        smooth[rows] = counts.obsm["X_pca"][rows][nearest].mean(1)
    return smooth


def _kmeans(points: np.ndarray, n_domains: int, seed: int) -> np.ndarray:
    return KMeans(n_domains, n_init=10, random_state=seed).fit_predict(points)


def _mixture(points: np.ndarray, n_domains: int, seed: int) -> np.ndarray:
    mixture = GaussianMixture(n_domains, covariance_type="tied", n_init=3, random_state=seed, reg_covar=1e-4)
    return mixture.fit_predict(points)


def _domains(adata: AnnData, use_rep: str, annotation: str, method: str, seed: int) -> pd.Series:
    n_domains = adata.obs[annotation].nunique()
    options = {"method": method, "use_rep": use_rep, "key_added": "found", "random_state": seed}
    sp.tl.domains(adata, n_domains=n_domains, **options)
    return adata.obs["found"]


def _calibration(adata: AnnData, annotation: str, sure: np.ndarray) -> dict[str, float]:
    """Share of sure spots, and how many of these and of the others have the annotation that their domain mostly has."""
    truth, found = adata.obs[annotation], adata.obs["found"]
    table = pd.crosstab(found, truth)
    right = (found.astype(str).map(table.idxmax(axis=1).astype(str).to_dict()) == truth.astype(str)).to_numpy()
    known = truth.notna().to_numpy()
    parts = {"right_sure": known & sure, "right_others": known & ~sure}
    rates = {name: round(float(right[rows].mean()), 4) if rows.any() else np.nan for name, rows in parts.items()}
    return {"sure": round(float(sure[known].mean()), 4), **rates}


def _row(key: tuple[str, ...], found: Any, truth: pd.Series, **more: Any) -> dict[str, Any]:
    return {**dict(zip(KEYS, key, strict=True)), "ari": round(ari(truth, found), 4), **more}


def done(out: Path) -> set[tuple[str, ...]]:
    """What the file has."""
    if not out.exists():
        return set()
    return set(map(tuple, pd.read_csv(out, dtype=str, keep_default_na=False)[KEYS].to_numpy().tolist()))


def summary(rows: pd.DataFrame) -> None:
    """Print mean and SD of each method, the best baseline, and how often sure spots are right."""
    index = ["tissue", "annotation"]
    by = rows.groupby([*index, "method", "clusterer"])["ari"]
    table = pd.DataFrame({"mean": by.mean(), "sd": by.std(), "seeds": by.size()}).round(3).reset_index()
    baselines = table[table["method"].str.startswith("mean_")]
    table = table[~table["method"].str.startswith("mean_")]
    for what in ("mean", "sd", "seeds"):
        print(f"\n{what}\n", table.pivot_table(index=index, columns=["method", "clusterer"], values=what).to_string())
    if len(baselines):
        best = baselines.loc[baselines.groupby(index)["mean"].idxmax(), [*index, "method", "clusterer", "mean"]]
        print("\nbest linear smoother, known from the labels\n", best.to_string(index=False))
    sure = rows[rows["method"] == "consensus"].groupby(index)[["sure", "right_sure", "right_others"]].mean().round(3)
    print("\nconfidence of the consensus\n", sure.to_string())
    seconds = rows.pivot_table(index="tissue", columns="method", values="seconds").round(1)
    print("\nprocessor seconds\n", seconds.to_string())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", default=[*REAL])
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
