"""Imputed expression against what was held out: counts, entries and genes, beside the floors.

    python benchmarks/imputation.py --tissue starmap --seeds 3
    python benchmarks/imputation.py --report

``counts``: each count is given to one of two halves by chance. One half is imputed, the other is the truth; both are
normalised by themselves, so that what is best is the expected value. ``entries``: a tenth of the normalised values are
set to zero and are the truth; as they cannot be told from other zeros, all methods come out a tenth too low and are
divided by 0.9. ``genes``: a fifth of the genes are hidden in the query (STARmap: a half of the slide; DLPFC: 151673,
with 151674 as the reference; simulated: one of two slices) and known in the reference; no embedding has seen them.
Scores are means over variable genes, at most 500 drawn for each seed. Embeddings are made from what is not held out,
with one encoder.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rows import append
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.neighbors import NearestNeighbors

import spotscape as sp
from spotscape._stats.components import smooth
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from anndata import AnnData

OUT = Path(__file__).parent / "results" / "imputation.csv"
TISSUES = ("starmap", "simulated", "dlpfc_151673")
N_GENES, SHARE_MASKED, N_NEIGHBORS, N_COMPONENTS = 500, 0.1, 30, 30
CONFIG = SpotscapeConfig(n_encoders=1, max_epochs=60)
FLOORS = ("gene mean", "spatial neighbours", "kNN in PCA")
METHODS = (*FLOORS, "zero", "low rank (10)", "decoder", "neighbors", "regression", "regression, smoothed PCA")


def main() -> None:
    """Run what is missing, then print the table."""
    arguments = _parse()
    sp.settings.verbosity = "warning"
    sp.settings.progress_bar = False
    if not arguments.report:
        for tissue in arguments.tissue or TISSUES:
            for seed in range(arguments.seeds):
                for task, held_out in (("counts", counts), ("entries", entries), ("genes", genes)):
                    if not is_done(OUT, tissue, task, seed):
                        append(OUT, *rows(tissue, task, seed, held_out(tissue, seed)))
    if OUT.exists():
        print(table(pd.read_csv(OUT)).to_string())


def rows(tissue: str, task: str, seed: int, scores: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """One row for each method: means over genes."""
    found = []
    for method, by_gene in scores.items():
        means = by_gene[["rmse", "l1", "spearman"]].mean().round(5)
        found.append({"tissue": tissue, "task": task, "method": method, "seed": seed, "genes": len(by_gene), **means})
    return found


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean ± SD over seeds, a row for each tissue, task and method."""
    order = {name: place for place, name in enumerate(METHODS)}
    results = results.assign(order=results["method"].map(order))
    grouped = results.groupby(["tissue", "task", "order", "method"])
    text = grouped["seed"].nunique().to_frame("seeds")
    for name in ("rmse", "l1", "spearman"):
        text[name] = [f"{one[name].mean():.4f} ± {one[name].std(ddof=1):.4f}" for _, one in grouped]
    return text.droplevel("order")


def counts(tissue: str, seed: int) -> dict[str, pd.DataFrame]:
    """One half of the counts is imputed, the other is the truth."""
    adata = read(tissue)
    rng = np.random.default_rng(seed)
    whole = adata.X.tocsr()
    half, other = whole.copy(), whole.copy()
    half.data = rng.binomial(whole.data.astype(int), 0.5).astype(np.float32)
    other.data -= half.data
    adata.X, adata.layers["other"] = half, other
    adata = adata[(half.sum(axis=1) > 0).A1 & (other.sum(axis=1) > 0).A1]
    adata = adata[:, ((adata.X > 0).sum(axis=0).A1 >= 10) & ((adata.layers["other"] > 0).sum(axis=0).A1 >= 10)].copy()
    truth = sp.pp.prepare(adata, layer="other", n_top_genes=None, copy=True).X
    sp.pp.prepare(adata)
    chosen = drawn(adata, rng)
    return scores_within(adata, chosen, truth[:, chosen].toarray(), None, seed)


def entries(tissue: str, seed: int) -> dict[str, pd.DataFrame]:
    """A tenth of the values are hidden."""
    adata = read(tissue)
    rng = np.random.default_rng(seed)
    sp.pp.prepare(adata)
    chosen = drawn(adata, rng)
    expression = adata.X.toarray()
    mask = rng.random(expression.shape) < SHARE_MASKED
    truth = expression[:, chosen]
    adata.X = sparse.csr_matrix(np.where(mask, 0, expression))
    return scores_within(adata, chosen, truth, mask[:, chosen], seed)


def scores_within(
    adata: AnnData, chosen: np.ndarray, truth: np.ndarray, mask: np.ndarray | None, seed: int
) -> dict[str, pd.DataFrame]:
    """Score all methods on chosen genes; ``mask`` says which entries were hidden, ``None`` that counts were."""
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata, random_state=seed)
    sp.tl.spotscape(adata, config=CONFIG, decoded_layer="decoded", random_state=seed)
    names = adata.var_names[chosen]
    known = adata.X[:, chosen].toarray()
    itself = mask is None
    found = {
        "gene mean": np.broadcast_to(known.mean(axis=0), known.shape),
        "zero": np.zeros_like(known),
        "spatial neighbours": spatial_mean(adata, known, itself=itself),
        "kNN in PCA": nearest_mean(*two(components(adata)), known, itself=itself),
        "low rank (10)": low_rank(adata, chosen),
        "decoder": adata.layers["decoded"][:, chosen],
    }
    found |= imputed(adata, genes=names, random_state=seed)
    scale = 1 if mask is None else 1 - SHARE_MASKED
    return {
        name: sp.metrics.imputation_scores(truth, value / scale, mask, genes=names) for name, value in found.items()
    }


def genes(tissue: str, seed: int) -> dict[str, pd.DataFrame]:
    """A fifth of the genes are hidden in the query."""
    rng = np.random.default_rng(seed)
    joint, library_key, aligned = read_pair(tissue, seed)
    sp.pp.prepare(joint, library_key="slice")
    variable = np.flatnonzero(joint.var["highly_variable"])
    hidden = np.sort(rng.permutation(variable)[: min(N_GENES, len(variable) // 5)])
    names, expression = joint.var_names[hidden], joint.X[:, hidden].toarray()
    is_query = (joint.obs["slice"] == "query").to_numpy()
    seen = joint[:, joint.var_names.difference(names, sort=False)].copy()
    if library_key is None:
        del seen.obs["slice"]
    sp.pp.spatial_neighbors_knn(seen, library_key=library_key)
    sp.tl.smoothed_pca(seen, library_key=library_key, random_state=seed)
    if library_key is not None:
        sp.tl.integrate_slices(seen, library_key=library_key, key_added="X_smoothed_pca")
    sp.tl.spotscape(seen, config=CONFIG, library_key=library_key, random_state=seed)
    query, reference = seen[is_query].copy(), joint[~is_query].copy()
    for key in seen.obsm:
        reference.obsm[key] = seen.obsm[key][~is_query]
    given, scores = expression[~is_query], components(seen)
    where = joint.obsm[aligned]
    found = {
        "gene mean": np.broadcast_to(given.mean(axis=0), (is_query.sum(), len(hidden))),
        "zero": np.zeros((is_query.sum(), len(hidden))),
        "spatial neighbours": nearest_mean(where[is_query], where[~is_query], given, n_neighbors=6),
        "kNN in PCA": nearest_mean(scores[is_query], scores[~is_query], given),
    }
    found |= imputed(query, genes=names, reference=reference, random_state=seed)
    truth = expression[is_query]
    return {name: sp.metrics.imputation_scores(truth, value, genes=names) for name, value in found.items()}


def imputed(adata: AnnData, *, genes: pd.Index, **options: Any) -> dict[str, np.ndarray]:
    """What :func:`spotscape.tl.impute` makes of it."""
    settings = {
        "neighbors": {"method": "neighbors", "use_rep": "X_spotscape"},
        "regression": {"use_rep": "X_spotscape"},
        "regression, smoothed PCA": {"use_rep": "X_smoothed_pca"},
    }
    found = {}
    for name, setting in settings.items():
        result = sp.tl.impute(adata, genes=list(genes), copy=True, **setting, **options)
        found[name] = np.asarray(result.obsm["imputed"])
    return found


def components(adata: AnnData) -> np.ndarray:
    """Principal components of the variable genes, centred."""
    values = adata.X[:, adata.var["highly_variable"].to_numpy()]
    scores = TruncatedSVD(N_COMPONENTS + 1, random_state=0).fit_transform(values)
    return scores - scores.mean(axis=0)


def low_rank(adata: AnnData, chosen: np.ndarray, rank: int = 10) -> np.ndarray:
    """What the leading components of the centred expression say."""
    values = adata.X[:, adata.var["highly_variable"].to_numpy()].toarray()
    mean = values.mean(axis=0)
    svd = TruncatedSVD(rank, random_state=0)
    restored = svd.inverse_transform(svd.fit_transform(values - mean)) + mean
    places = np.searchsorted(np.flatnonzero(adata.var["highly_variable"]), chosen)
    return np.maximum(restored[:, places], 0)


def spatial_mean(adata: AnnData, values: np.ndarray, *, itself: bool) -> np.ndarray:
    """The mean over the neighbours in the spatial graph, with or without the spot itself."""
    graph = sparse.csr_array(adata.obsp["spatial_connectivities"])
    if itself:
        return smooth(values, graph, 1)
    return (graph @ values) / np.maximum(graph.sum(axis=1), 1)[:, None]


def nearest_mean(
    queries: np.ndarray, points: np.ndarray, values: np.ndarray, *, n_neighbors: int = N_NEIGHBORS, itself: bool = True
) -> np.ndarray:
    """The mean over the nearest points; ``itself=False`` leaves the nearest one out, which is the spot itself."""
    found = NearestNeighbors(n_neighbors=n_neighbors + (not itself)).fit(points).kneighbors(queries)[1]
    found = found if itself else found[:, 1:]
    ones = np.full(found.size, 1 / found.shape[1])
    rows = np.repeat(np.arange(len(found)), found.shape[1])
    return sparse.csr_array((ones, (rows, found.ravel())), shape=(len(found), len(points))) @ values


def two(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries and candidates are the same."""
    return points, points


def drawn(adata: AnnData, rng: np.random.Generator) -> np.ndarray:
    """Columns of the genes that are scored."""
    return np.sort(rng.permutation(np.flatnonzero(adata.var["highly_variable"]))[:N_GENES])


def read(tissue: str) -> AnnData:
    """Raw counts of a single slice."""
    from anndata import read_h5ad

    folder = Path(os.environ["SPOTSCAPE_DATA"])
    if tissue == "simulated":
        return sp.datasets.simulate_tissue(n_domains=7, n_spots=3000, n_genes=1000, random_state=1)
    adata = read_h5ad(folder / ("starmap_visual_cortex.h5ad" if tissue == "starmap" else f"{tissue}.h5ad"))
    return detected(adata)


def read_pair(tissue: str, seed: int) -> tuple[AnnData, str | None, str]:
    """Query and reference, the key of their slices if they are two, and coordinates in which they lie together."""
    from anndata import read_h5ad

    if tissue == "starmap":
        adata = read(tissue)
        # Along the shorter side, so that both halves have all layers.
        side = adata.obsm["spatial"][:, np.ptp(adata.obsm["spatial"], axis=0).argmin()]
        return named(adata, (side < np.median(side)) == (seed % 2 == 0)), None, "spatial"
    if tissue == "simulated":
        adata = sp.datasets.simulate_tissue(n_domains=7, n_spots=1500, n_genes=1000, n_slices=2, random_state=seed)
        return named(adata, (adata.obs["slice"] == "slice_1").to_numpy()), "slice", "spatial_truth"
    adata = read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / "dlpfc_donor3.h5ad")
    adata = adata[adata.obs["slice"].isin(["151673", "151674"])].copy()
    adata = named(detected(adata), (adata.obs["slice"] == "151673").to_numpy())
    sp.pp.register_slices(adata, library_key="slice")
    return adata, "slice", "spatial_aligned"


def named(adata: AnnData, is_query: np.ndarray) -> AnnData:
    """Spots of the query and of the reference."""
    adata.obs["slice"] = pd.Categorical(np.where(is_query, "query", "reference"))
    return adata


def detected(adata: AnnData) -> AnnData:
    """Genes of at least ten spots."""
    adata.X = sparse.csr_matrix(adata.X)
    return adata[:, (adata.X > 0).sum(axis=0).A1 >= 10].copy()


def is_done(out: Path, tissue: str, task: str, seed: int) -> bool:
    """Whether the results are there."""
    if not out.exists():
        return False
    done = pd.read_csv(out)
    return bool(((done["tissue"] == tissue) & (done["task"] == task) & (done["seed"] == seed)).any())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", nargs="*", choices=TISSUES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="print what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
