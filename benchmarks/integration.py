"""Several slices as one: agreement with joint labels, and mixing, method by method.

    python benchmarks/integration.py --tissues dlpfc_donor3 --seeds 5
    python benchmarks/integration.py --tissues heterogeneous --seeds 5
    python benchmarks/integration.py --tissues dlpfc_part mpfc_part --seeds 5
    python benchmarks/integration.py --report

`dlpfc_donor3` is four Visium slices with joint labels. `heterogeneous` is simulated: three slices under a strong batch
effect, of which the second lacks a domain and the third has one of its own. In `dlpfc_part` and `mpfc_part` one real
slice keeps only the spots of some layers: layer 6 and white matter of 151674 beside the whole of 151675, and the deep
layers of the third animal beside the whole of the other two. They are read from SPOTSCAPE_DATA. Labels give the number
of domains and the scores; no method sees them. Harmony (extra package `harmonypy`) stands for what people use today.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from plain import PLAIN
from rows import append
from sklearn.neighbors import NearestNeighbors
from tissues import SPACROSS_GENES, mark_for_spacross, prepare_slices

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "integration.csv"
# File, position of the slice of which only some layers are kept, those layers, and positions of the slices beside it.
PARTS: dict[str, tuple[str, int, list[str], list[int]]] = {
    "dlpfc_part": ("dlpfc_donor3.h5ad", 1, ["Layer_6", "WM"], [2]),
    "mpfc_part": ("starmap_mpfc.h5ad", 2, ["L5", "L6"], [0, 1]),
}
TISSUES = ("dlpfc_donor3", "heterogeneous", *PARTS)
PRIVATE, MISSING = "Private_3", "Layer_3"

_several = SpotscapeConfig.several_slices
CONFIGS = {
    "default": _several(),
    "no_integration": _several(integrate=False),
    "no_prototypes": _several(prototype_weight=0.0),
    "all_matches": _several(scaling_mutual=None),
    "no_scaling": _several(scaling_weight=0.0),
    "none": _several(scaling_weight=0.0, prototype_weight=0.0, integrate=False),
}
# On graphs within slices, and on the 3-D graph of registered ones.
SPACROSS = {
    f"spacross_{graph}{part}": SpaCrossConfig.several_slices(**changed)
    for part, changed in (("", {}), ("_no_integration", {"integrate": False}))
    for graph in ("2d", "3d")
}
LINEAR = ("pca", "pca_harmony", "pca_integrated", "floor_3", "floor_3_harmony", "floor_3_integrated")
METHODS = (*LINEAR, *CONFIGS, *SPACROSS)
KEYS = ["tissue", "method", "seed"]


def main() -> None:
    """Run what is missing, then print the table."""
    arguments = _parse()
    if not arguments.report:
        torch.set_num_threads(arguments.threads)
        sp.settings.verbosity = "error"
        sp.settings.progress_bar = False
        for tissue in arguments.tissues:
            run_tissue(tissue, arguments)
    print(table(pd.read_csv(arguments.out)).to_string())


def run_tissue(tissue: str, arguments: argparse.Namespace) -> None:
    """Run the methods seed by seed and append each result at once."""
    out: Path = arguments.out
    done = set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())) if out.exists() else set()
    jobs = itertools.product(range(arguments.first_seed, arguments.seeds), arguments.methods)
    todo = [(seed, method) for seed, method in jobs if (tissue, method, seed) not in done]
    loaded: dict[int, AnnData] = {}
    for seed, method in todo:
        # There is one real tissue; simulated tissue is drawn for each seed.
        number = seed if tissue == "heterogeneous" else 0
        if number not in loaded:
            loaded = {number: load(tissue, number)}
        adata = loaded[number]
        started = time.perf_counter()
        embedding = embed(adata, method, seed)
        row = {"tissue": tissue, "method": method, "seed": seed, **scores(adata, embedding, seed)}
        append(out, {**row, "seconds": round(time.perf_counter() - started, 1)})


def load(tissue: str, seed: int) -> AnnData:
    """Return slices with log-normalised expression and their spatial graphs."""
    if tissue == "dlpfc_donor3":
        adata = sp.datasets.dlpfc(["151673", "151674", "151675", "151676"])
        sc.pp.filter_genes(adata, min_counts=1)
        prepare_slices(adata)
        return adata
    if tissue in PARTS:
        return part(*PARTS[tissue])
    adata = sp.datasets.simulate_tissue(
        n_spots=1500,
        n_slices=3,
        batch_effect=0.8,
        missing_domains={1: [MISSING]},
        private_domains=[2],
        random_state=seed,
    )
    prepare_slices(adata, "spatial_truth")
    return adata


def part(file: str, position: int, layers: list[str], beside: list[int]) -> AnnData:
    """Return some layers of one slice together with other slices, and graphs within slices."""
    adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / file)
    adata.obs["slice"] = adata.obs["slice"].astype("category")
    slices = adata.obs["slice"].cat
    own = (slices.codes == position) & adata.obs["domain"].isin(layers)
    adata = adata[(own | slices.codes.isin(beside)).to_numpy()].copy()
    adata.obs["slice"] = adata.obs["slice"].cat.remove_unused_categories()
    sp.pp.prepare(adata, library_key="slice")
    mark_for_spacross(adata, "slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


def embed(adata: AnnData, method: str, seed: int) -> np.ndarray:
    """Return the embedding of one method."""
    if method in CONFIGS:
        sp.tl.spotscape(adata, library_key="slice", config=CONFIGS[method], random_state=seed)
        return np.asarray(adata.obsm["X_spotscape"])
    if method in SPACROSS:
        sp.tl.spacross(
            adata,
            library_key="slice",
            neighbors_key="spatial_3d_neighbors" if "3d" in method else "spatial_neighbors",
            mask_var=SPACROSS_GENES,
            config=SPACROSS[method],
            random_state=seed,
        )
        return np.asarray(adata.obsm["X_spacross"])
    correction = method.rpartition("_")[2]
    key = "X_smoothed_pca"
    n_hops = 3 if method.startswith("floor") else 0
    sp.tl.smoothed_pca(adata, n_hops=n_hops, library_key="slice", random_state=seed, **PLAIN)
    if correction == "harmony":
        return harmony(adata, key, seed)
    if correction == "integrated":
        sp.tl.integrate_slices(adata, library_key="slice", use_rep=key)
        key += "_integrated"
    return np.asarray(adata.obsm[key])


def harmony(adata: AnnData, key: str, seed: int) -> np.ndarray:
    """Correct an embedding by Harmony with its defaults."""
    import harmonypy

    result = harmonypy.run_harmony(adata.obsm[key], adata.obs, "slice", random_state=seed, verbose=False)
    corrected = np.asarray(result.Z_corr)
    return corrected if len(corrected) == adata.n_obs else np.ascontiguousarray(corrected.T)


def scores(adata: AnnData, embedding: np.ndarray, seed: int) -> dict[str, Any]:
    """Score mixing, separation and both clusterers against the joint labels."""
    truth, slices = adata.obs["domain"], adata.obs["slice"]
    known = truth.notna().to_numpy()
    simulated = "simulation" in adata.uns
    common = known & ~truth.isin([PRIVATE, MISSING] if simulated else []).to_numpy()
    row: dict[str, Any] = {
        "ilisi": sp.metrics.ilisi(slices[common], embedding[common]),
        "clisi": sp.metrics.clisi(truth[known], embedding[known]),
    }
    row["f1_lisi"] = 2 * row["ilisi"] * row["clisi"] / (row["ilisi"] + row["clisi"])
    for name in (PRIVATE, MISSING):
        row[f"purity_{name}"] = purity(truth, embedding, name) if simulated else float("nan")
    adata.obsm["embedding"] = embedding
    for method in ("kmeans", "gmm"):
        sp.tl.domains(
            adata, n_domains=truth.nunique(), method=method, use_rep="embedding", key_added="found", random_state=seed
        )
        found = adata.obs["found"]
        row[f"ari_{method}"] = sp.metrics.ari(truth, found)
        parts = [sp.metrics.ari(truth[slices == name], found[slices == name]) for name in slices.cat.categories]
        row[f"ari_{method}_slices"] = np.mean(parts)
    return {name: round(value, 4) for name, value in row.items()}


def purity(truth: pd.Series, embedding: np.ndarray, domain: str, n_neighs: int = 30) -> float:
    """Share of a domain's nearest neighbours in the embedding that are of it; NaN where there is no such domain."""
    members = (truth == domain).to_numpy()
    if not members.any():
        return float("nan")
    nearest = NearestNeighbors(n_neighbors=n_neighs + 1).fit(embedding).kneighbors(embedding[members])[1][:, 1:]
    return float(members[nearest].mean())


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean ± SD over seeds, methods by tissue."""
    names = [name for name in results if name.startswith(("ilisi", "clisi", "f1", "purity", "ari"))]
    grouped = results.groupby(["tissue", "method"])[names]
    mean, spread, count = grouped.mean(), grouped.std(), grouped.size()
    shown = pd.DataFrame(
        {name: [_text(m, s) for m, s in zip(mean[name], spread[name], strict=True)] for name in names}, index=mean.index
    )
    shown.insert(0, "seeds", count)
    order = [(tissue, method) for tissue in TISSUES for method in METHODS if (tissue, method) in shown.index]
    return shown.loc[order]


def _text(mean: float, spread: float) -> str:
    if np.isnan(mean):
        return ""
    return f"{mean:.3f}" if np.isnan(spread) or spread == 0 else f"{mean:.3f} ± {spread:.3f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=list(TISSUES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
