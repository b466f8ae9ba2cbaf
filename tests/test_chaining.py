"""The package between scanpy and squidpy: what one writes, the others read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData

# What scanpy, squidpy, umap and numba warn of among themselves is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def adata() -> AnnData:
    """Return a small tissue after the five lines of the README."""
    adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=120, difficulty=0.3, random_state=0)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.spotscape(adata, max_epochs=30)
    sp.tl.domains(adata, n_domains=3)
    return adata


def test_five_lines_find_the_domains(adata: AnnData) -> None:
    assert sp.metrics.ari(adata.obs["domain"], adata.obs["spotscape_domain"]) > 0.6


def test_scanpy(adata: AnnData) -> None:
    import scanpy as sc

    sc.pp.neighbors(adata, use_rep="X_spotscape")
    assert adata.uns["neighbors"]["params"]["use_rep"] == "X_spotscape"
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(adata)
    sc.tl.rank_genes_groups(adata, "spotscape_domain")
    assert adata.obs["leiden"].nunique() > 1
    assert adata.obsm["X_umap"].shape == (300, 2)


def test_leiden_on_our_spatial_graph(adata: AnnData) -> None:
    import scanpy as sc

    sc.tl.leiden(
        adata,
        neighbors_key="spatial_neighbors",
        key_added="spatial_leiden",
        flavor="igraph",
        n_iterations=2,
        directed=False,
    )
    assert adata.obs["spatial_leiden"].nunique() > 1


def test_squidpy(adata: AnnData) -> None:
    import squidpy as sq

    sq.gr.nhood_enrichment(adata, cluster_key="spotscape_domain", n_perms=20, show_progress_bar=False, seed=0)
    enrichment = adata.uns["spotscape_domain_nhood_enrichment"]["zscore"]
    assert (np.diag(enrichment) > 0).all()
    sq.gr.spatial_autocorr(adata, mode="moran", n_perms=None, genes=adata.var_names[:5])
    assert len(adata.uns["moranI"]) == 5
    sq.pl.spatial_scatter(adata, color="spotscape_domain", shape=None)


def test_our_tools_on_squidpys_graph(adata: AnnData) -> None:
    import squidpy as sq

    other = adata.copy()
    sq.gr.spatial_neighbors_knn(other, n_neighs=6, key_added="theirs")
    sp.tl.spotscape(other, neighbors_key="theirs_neighbors", max_epochs=30, key_added="X_theirs")
    np.testing.assert_array_equal(other.obsm["X_theirs"], adata.obsm["X_spotscape"])
