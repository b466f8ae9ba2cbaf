"""What is known of human cortex and found from one slice: the order of its layers, their genes, genes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.all_starts

DEPTH = {**{f"Layer_{number}": number for number in range(1, 7)}, "WM": 7}


@pytest.fixture
def cortex(real_data: Callable[[str], Path]) -> ad.AnnData:
    adata = ad.read_h5ad(real_data("dlpfc_151673.h5ad"))
    sc.pp.filter_genes(adata, min_cells=50)
    sp.pp.prepare(adata, n_top_genes=3000)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata)
    return adata


def test_pseudotime_orders_the_layers(cortex: ad.AnnData) -> None:
    sp.tl.trajectory(cortex, root="WM", key="domain", use_rep="X_smoothed_pca", key_added="time")
    depth = cortex.obs["domain"].map(DEPTH).astype(float)
    means = cortex.obs["time"].groupby(depth).mean()
    assert spearmanr(means.index, -means)[0] >= 0.9


def test_known_genes_are_among_the_first_markers_of_found_domains(cortex: ad.AnnData) -> None:
    sp.tl.domains(cortex, n_domains=7, use_rep="X_smoothed_pca", key_added="found")
    sp.tl.markers(cortex, key="found", neighbors_key=None)
    table = sp.get.markers_df(cortex)
    for layer, genes in {"WM": ("MBP", "PLP1", "MOBP"), "Layer_5": ("PCP4",)}.items():
        domain = cortex.obs["found"][cortex.obs["domain"] == layer].value_counts().idxmax()
        ranks = table[table["group"] == domain].set_index("gene")["rank"]
        assert (ranks[list(genes)] <= 10).all(), ranks[list(genes)]


@pytest.mark.slow
def test_genes_of_few_beads_are_found_as_markers(real_data: Callable[[str], Path]) -> None:
    """Most counts are zero. Without a correction for ties, four genes of the choroid plexus are significant."""
    adata = ad.read_h5ad(real_data("slideseq_cerebellum_10k.h5ad"))
    sp.pp.prepare(adata)
    sp.tl.smoothed_pca(adata)
    sp.tl.domains(adata, n_domains=6)
    sp.tl.markers(adata)
    table = sp.get.markers_df(adata)
    plexus = table[(table["gene"] == "Ttr") & (table["rank"] == 1)]["group"].iloc[0]
    pvalues = table[table["group"] == plexus].set_index("gene")["pvalue_adj"]
    assert (pvalues[["Ttr", "Enpp2", "1500015O10Rik", "Kl", "Kcnj13", "Igfbp2", "Prlr"]] < 1e-10).all()
    assert (table["moran_i"].isna() == ((table["share"] == 0) & (table["share_rest"] == 0))).all()


def test_genes_left_out_are_imputed_better_than_by_the_spots_around(cortex: ad.AnnData) -> None:
    """Carried over from half of the spots to the other half, which have neither the genes nor saw them."""
    rng = np.random.default_rng(0)
    often = np.flatnonzero(cortex.var["highly_variable"] & ((cortex.X > 0).mean(0).A1 > 0.2))
    held_out = list(cortex.var_names[rng.choice(often, 30, replace=False)])
    cortex.var["highly_variable"] &= ~cortex.var_names.isin(held_out)
    sp.tl.smoothed_pca(cortex)
    measured = rng.random(cortex.n_obs) < 0.5
    reference, other = cortex[measured].copy(), cortex[~measured].copy()
    query = other[:, ~other.var_names.isin(held_out)].copy()
    sp.tl.impute(query, genes=held_out, reference=reference, use_rep="X_smoothed_pca")
    truth, known = other[:, held_out].X.toarray(), reference[:, held_out].X.toarray()
    found = query.obsm["imputed"][held_out].to_numpy()
    nearest = NearestNeighbors(n_neighbors=6).fit(reference.obsm["spatial"]).kneighbors(other.obsm["spatial"])[1]
    around = known[nearest].mean(1)

    def error(values: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(values - truth).mean(0))

    assert (error(found) < error(known.mean(0))).mean() > 0.9
    assert (error(found) < error(around)).mean() > 0.9
    ranks = [[spearmanr(values[:, i], truth[:, i])[0] for i in range(30)] for values in (found, around)]
    assert np.mean(ranks[0]) > np.mean(ranks[1])
