"""Mixing of slices against accuracy, as the batch effect grows: smoothed PCA and the encoders.

    python benchmarks/batch_effects.py --seeds 3
    python benchmarks/batch_effects.py --report

Three simulated slices under a batch effect of 0 to 1.2, with the same regions in all of them or, `unequal`, with one
that the second lacks and one that only the third has. And seqFISH: three mouse embryos at two depths each, real batch
effects, with cell types instead of domains. SpaCross has the 3-D graph where there is a registration, which is the
true one of the simulation; embryos are no sections of one block, so that their graphs stay within slices. Labels are
for scoring, and give the number of domains. The picture is written from the results, with or without new runs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch
from integration import KEYS, embed
from rows import append
from tissues import mark_for_spacross, prepare_slices

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "batch_effects.csv"
PICTURE = HERE.parent / "docs" / "_static" / "batch_effects.png"
STRENGTHS = (0.0, 0.4, 0.8, 1.2)
UNEQUAL = {"missing_domains": {1: ["Layer_3"]}, "private_domains": [2]}
SIMULATED = {f"{kind}_{strength}": kind for kind in ("equal", "unequal") for strength in STRENGTHS}
TISSUES = (*SIMULATED, "seqfish")
METHODS = ("floor", "floor_integrated", "spotscape", "spacross")
MEASURES = {
    "equal": ("ari_kmeans", "agreement with domains (ARI, k-means)"),
    "unequal": ("ari_kmeans", "agreement with domains (ARI, k-means)"),
    "seqfish": ("clisi", "purity of cell types (cLISI)"),
}
# Their names in the benchmark of integration.
NAMES = {"floor": "floor_3", "floor_integrated": "floor_3_integrated", "spotscape": "default"}


def main() -> None:
    """Run what is missing, print the table and draw the picture."""
    arguments = _parse()
    if not arguments.report:
        torch.set_num_threads(arguments.threads)
        sp.settings.verbosity, sp.settings.progress_bar = "error", False
        for tissue, seed in itertools.product(arguments.tissues, range(arguments.seeds)):
            run(tissue, seed, arguments.methods, arguments.out)
    results = pd.read_csv(arguments.out)
    print(table(results).to_string())
    draw(results, arguments.picture)


def run(tissue: str, seed: int, methods: list[str], out: Path) -> None:
    """Run the methods that are missing and append each result at once."""
    done = set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())) if out.exists() else set()
    todo = [method for method in methods if (tissue, method, seed) not in done]
    adata = load(tissue, seed) if todo else None
    for method in todo:
        started = time.perf_counter()
        spacross = "spacross_3d" if "spatial_3d_neighbors" in adata.uns else "spacross_2d"
        embedding = embed(adata, NAMES.get(method, spacross), seed)
        row = {"tissue": tissue, "method": method, "seed": seed, **scores(adata, embedding, seed)}
        append(out, {**row, "seconds": round(time.perf_counter() - started, 1)})


def load(tissue: str, seed: int) -> AnnData:
    """Return slices with log-normalised expression, spatial graphs and known labels."""
    simulated = tissue in SIMULATED
    if simulated:
        kind, _, strength = tissue.partition("_")
        regions = UNEQUAL if kind == "unequal" else {}
        adata = sp.datasets.simulate_tissue(
            n_spots=800, n_slices=3, batch_effect=float(strength), random_state=seed, **regions
        )
        adata.obs["label"] = adata.obs["domain"]
    else:
        adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / "seqfish_mouse_embryo.h5ad")
        adata.obs["slice"] = adata.obs["slice"].astype("category")
        adata.obs["label"] = adata.obs["cell_type"]
    if simulated:
        prepare_slices(adata, "spatial_truth")
        return adata
    sp.pp.prepare(adata, library_key="slice")
    mark_for_spacross(adata, "slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


def scores(adata: AnnData, embedding: np.ndarray, seed: int) -> dict[str, float]:
    """Score mixing over the labels that all slices have, separation of all, and domains where there are any."""
    truth, slices = adata.obs["label"], adata.obs["slice"]
    everywhere = pd.crosstab(truth, slices).gt(0).all(axis="columns")
    shared = truth.map(everywhere).to_numpy(dtype=bool)
    row = {
        "ilisi": sp.metrics.ilisi(slices[shared], embedding[shared]),
        "clisi": sp.metrics.clisi(truth, embedding),
        "label_asw": sp.metrics.label_asw(truth, embedding, max_spots=5000),
    }
    adata.obsm["embedding"] = embedding
    for method in ("kmeans", "gmm"):
        row[f"ari_{method}"] = float("nan")
        if "simulation" in adata.uns:
            sp.tl.domains(
                adata,
                n_domains=truth.nunique(),
                method=method,
                use_rep="embedding",
                key_added="found",
                random_state=seed,
            )
            row[f"ari_{method}"] = sp.metrics.ari(truth, adata.obs["found"])
    return {name: round(float(value), 4) for name, value in row.items()}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row for each tissue and method."""
    names = ["ilisi", "clisi", "label_asw", "ari_kmeans", "ari_gmm"]
    grouped = results.groupby(["tissue", "method"])
    means = grouped[names].mean().round(3)
    means.insert(0, "seeds", grouped.size())
    order = itertools.product(TISSUES, METHODS)
    return means.loc[[key for key in order if key in means.index]]


def draw(results: pd.DataFrame, path: Path) -> None:
    """Draw mixing and accuracy of each method, joined in the order of the batch effect."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    means = table(results).reset_index()
    kinds = means["tissue"].str.rpartition("_")[0].where(means["tissue"] != "seqfish", "seqfish")
    figure, axes = plt.subplots(3, 1, figsize=(7.2, 10.2), layout="constrained")
    titles = ("Simulated, equal regions", "Simulated, unequal regions", "seqFISH, six slices of mouse embryos")
    for ax, (kind, (measure, accuracy)), title in zip(axes, MEASURES.items(), titles, strict=True):
        rows = means[kinds == kind]
        _trace(ax, rows, measure)
        ax.set(title=title, xlabel="mixing of slices (iLISI)", ylabel=accuracy, xlim=(-0.04, 1.04))
        ax.set_ylim((0, 1) if kind != "seqfish" else (0.8, 1))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=160)
    plt.close(figure)


LABELS = {
    "floor": "smoothed PCA",
    "floor_integrated": "smoothed PCA, integrated",
    "spotscape": "Spotscape",
    "spacross": "SpaCross",
}


def _trace(ax: Axes, rows: pd.DataFrame, measure: str) -> None:
    """Draw each method: a point for each strength, larger the stronger, joined from weak to strong."""
    for number, method in enumerate(METHODS):
        x, y = rows.loc[rows["method"] == method, ["ilisi", measure]].to_numpy().T
        sizes = 25 + 35 * np.arange(len(x)) if len(x) > 1 else 120
        label = LABELS.get(method, method)
        ax.plot(x, y, color=f"C{number}", lw=1.2, alpha=0.6)
        ax.scatter(x, y, s=sizes, color=f"C{number}", alpha=0.85, edgecolor="white", zorder=3, label=label)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=list(TISSUES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--report", action="store_true", help="print and draw what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
