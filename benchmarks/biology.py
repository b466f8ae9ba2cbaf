"""Order of cortical layers by pseudotime, and ranks of their known genes among the markers.

python benchmarks/biology.py            # runs what is missing of benchmarks/results/biology.csv, prints a summary
python benchmarks/biology.py --figure   # draws docs/_static/trajectory.png as well

The annotation serves for scoring, and to say where to begin: at the white matter, or in the domain that covers most of
it. Depth is the number of the layer, 1 to 6, and 7 for white matter.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from markdown_tables import write_table
from names import EMBEDDINGS
from rows import append
from scipy.stats import spearmanr
from tissues import load

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "biology.csv"
TABLES = Path(__file__).parents[1] / "docs" / "_tables"
FIGURE = Path(__file__).parents[1] / "docs" / "_static" / "trajectory.png"
LAYERS = [*(f"Layer_{number}" for number in range(1, 7)), "WM"]
MARKERS = {"WM": ("MOBP", "PLP1", "MBP"), "Layer_5": ("PCP4",), "Layer_2": ("HPCAL1",)}
N_NEIGHBORS = (10, 15, 30, 60)
ONE = {"config": sp.models.SpotscapeConfig(n_encoders=1)}
# Tissue, embedding, its arguments, seeds. The field's standard slice by the defaults, its neighbours to confirm.
FITS: tuple[tuple[str, str, dict[str, Any], tuple[int, ...]], ...] = (
    ("dlpfc_151673", "smoothed_pca", {}, (0,)),
    ("dlpfc_151673", "spotscape", {}, (0, 1, 2)),
    ("dlpfc_151674", "smoothed_pca", {}, (0,)),
    ("dlpfc_151675", "smoothed_pca", {}, (0,)),
    ("dlpfc_151676", "smoothed_pca", {}, (0,)),
    ("dlpfc_151674", "spotscape_1", ONE, (0,)),
    ("dlpfc_151675", "spotscape_1", ONE, (0,)),
    ("dlpfc_151676", "spotscape_1", ONE, (0,)),
)


def main() -> None:
    """Run what is missing, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, help="folder that keeps embeddings from run to run")
    parser.add_argument("--figure", action="store_true")
    arguments = parser.parse_args()
    sp.settings.verbosity = "warning"
    sp.settings.progress_bar = False
    for tissue, embedding, settings, seeds in FITS:
        for seed in seeds:
            if not _is_done(tissue, embedding, seed):
                adata = _embedded(tissue, embedding, settings, seed, arguments.embeddings)
                known = {"tissue": tissue, "embedding": embedding, "seed": seed}
                append(RESULTS, *({**known, **row} for row in [*_orders(adata, seed), *_ranks(adata)]))
    _summarise(pd.read_csv(RESULTS))
    if arguments.figure:
        adata = _embedded("dlpfc_151673", "spotscape", {}, 0, arguments.embeddings)
        sp.tl.trajectory(adata, root="WM", key="domain", use_rep="X")
        sp.pl.trajectory(adata)
        plt.savefig(FIGURE, dpi=110)


def _is_done(tissue: str, embedding: str, seed: int) -> bool:
    if not RESULTS.is_file():
        return False
    done = pd.read_csv(RESULTS)
    return bool(((done["tissue"] == tissue) & (done["embedding"] == embedding) & (done["seed"] == seed)).any())


def _embedded(tissue: str, embedding: str, settings: dict[str, Any], seed: int, folder: Path | None) -> AnnData:
    adata = load(tissue)
    kept = None if folder is None else folder / f"{tissue}_{embedding}_{seed}.npy"
    if kept is not None and kept.is_file():
        adata.obsm["X"] = np.load(kept)
        return adata
    if embedding == "smoothed_pca":
        sp.tl.smoothed_pca(adata, key_added="X", **settings)
    else:
        sp.tl.spotscape(adata, key_added="X", random_state=seed, **settings)
    if kept is not None:
        np.save(kept, adata.obsm["X"])
    return adata


def _orders(adata: AnnData, seed: int) -> Iterator[dict[str, Any]]:
    """Agreement of pseudotime with depth, for domains of the annotation and for those that are found."""
    sp.tl.domains(adata, n_domains=7, method="kmeans", use_rep="X", key_added="found", random_state=seed)
    white = adata.obs["found"][adata.obs["domain"] == "WM"].value_counts().idxmax()
    for groups, root in (("annotation", "WM"), ("found", white)):
        column = "domain" if groups == "annotation" else "found"
        for n_neighbors in N_NEIGHBORS:
            sp.tl.trajectory(adata, root=root, key=column, use_rep="X", n_neighbors=n_neighbors, key_added="time")
            for measure, value in _agreement(adata).items():
                yield {"groups": groups, "n_neighbors": n_neighbors, "measure": measure, "value": value}
            _by_scanpy_alone(adata)
            value = _agreement(adata)["rho_layers"]
            yield {"groups": groups, "n_neighbors": n_neighbors, "measure": "rho_layers, sc.tl.dpt", "value": value}


def _by_scanpy_alone(adata: AnnData) -> None:
    """Scanpy's diffusion pseudotime on the same graph, from the same spot."""
    import scanpy as sc

    adata.uns["iroot"] = adata.obs_names.get_loc(adata.uns["time"]["root_spot"])
    sc.tl.diffmap(adata, n_comps=11, neighbors_key="time_neighbors")
    sc.tl.dpt(adata, n_dcs=11, neighbors_key="time_neighbors")
    adata.obs["time"] = adata.obs["dpt_pseudotime"].replace(np.inf, np.nan)


def _agreement(adata: AnnData) -> dict[str, float]:
    depth = adata.obs["domain"].map({name: number for number, name in enumerate(LAYERS)}).astype(float)
    table = pd.DataFrame({"depth": depth, "time": 1 - adata.obs["time"]}).dropna()
    means = table.groupby("depth")["time"].mean()
    return {
        "rho_layers": float(spearmanr(means.index, means)[0]),
        "rho_spots": float(spearmanr(table["depth"], table["time"])[0]),
    }


def _ranks(adata: AnnData) -> Iterator[dict[str, Any]]:
    """Rank of the known genes of a layer in its annotated domain, and in the found one that is mostly this layer."""
    for groups, column in (("annotation", "domain"), ("found", "found")):
        sp.tl.markers(adata, key=column, neighbors_key=None)
        table = sp.get.markers_df(adata)
        counts = pd.crosstab(adata.obs["domain"], adata.obs[column])
        for layer, genes in MARKERS.items():
            domain = counts.loc[layer].idxmax()
            ranks = table[table["group"] == domain].set_index("gene")["rank"]
            for gene in genes:
                value = ranks.get(gene, np.nan)
                setting = {"groups": groups, "n_neighbors": ""}
                yield {**setting, "measure": f"rank of {gene} in {layer}", "value": value}


def _summarise(table: pd.DataFrame) -> None:
    """Print all, and write the worst of all runs as the tables of the documentation."""
    is_rank = table["measure"].str.startswith("rank")
    rows, worst = (
        ["embedding", "measure"],
        table.assign(embedding=table["embedding"].replace("spotscape_1", "spotscape").replace(EMBEDDINGS)),
    )
    orders = worst[~is_rank].astype({"n_neighbors": int})
    orders = orders.pivot_table(index=rows, columns="n_neighbors", values="value", aggfunc="min").round(2)
    ranks = worst[is_rank].pivot_table(index="measure", columns=["embedding", "groups"], values="value", aggfunc="max")
    ranks = ranks.astype(int)
    print(orders, ranks, sep="\n\n")
    orders.index = pd.Index([", ".join(map(str, names)) for names in orders.index], name="neighbours")
    ranks.columns = pd.Index([", ".join(map(str, names)) for names in ranks.columns])
    ranks.index.name = "gene"
    write_table(TABLES / "biology_order.md", orders)
    write_table(TABLES / "biology_markers.md", ranks)


if __name__ == "__main__":
    main()
