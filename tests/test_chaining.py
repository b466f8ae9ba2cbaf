"""The package between scanpy and squidpy: what one writes, the others read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

import spotscape as sp
from spotscape.models import SpaCrossConfig

if TYPE_CHECKING:
    from anndata import AnnData

# What scanpy, squidpy, umap and numba warn of among themselves is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def _tissue() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=120, difficulty=0.3, random_state=0)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    return adata


TRAINED = {
    "X_spotscape": partial(sp.tl.spotscape, max_epochs=30),
    "X_spacross": partial(sp.tl.spacross, config=SpaCrossConfig(max_epochs=60, lr=0.01)),
}


def domain_key(key: str) -> str:
    """Return the column that the domains of an embedding are written to."""
    return f"{key.removeprefix('X_')}_domain"


@pytest.fixture(scope="module", params=["X_spotscape", pytest.param("X_spacross", marks=pytest.mark.slow)])
def key(request: pytest.FixtureRequest) -> str:
    """Return where the encoder writes that is under test."""
    return str(request.param)


@pytest.fixture(scope="module")
def adata(_tissue: AnnData, key: str) -> AnnData:
    """Return a small tissue after the five lines of the README."""
    adata = _tissue.copy()
    TRAINED[key](adata)
    sp.tl.domains(adata, n_domains=3)
    return adata


def test_five_lines_find_the_domains(adata: AnnData, key: str) -> None:
    assert adata.uns[domain_key(key)]["params"]["use_rep"] == key
    assert sp.metrics.ari(adata.obs["domain"], adata.obs[domain_key(key)]) > 0.6


def test_pictures(adata: AnnData, key: str) -> None:
    assert len(sp.pl.domains(adata, domain_key(key), return_fig=True).axes) == 1
    assert len(sp.pl.history(adata, return_fig=True).axes) == len(adata.uns[key.removeprefix("X_")]["history"])


@pytest.mark.slow
def test_scanpy(adata: AnnData, key: str) -> None:
    import scanpy as sc

    sc.pp.neighbors(adata, use_rep=key)
    assert adata.uns["neighbors"]["params"]["use_rep"] == key
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(adata)
    sc.tl.rank_genes_groups(adata, domain_key(key))
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


def test_squidpy(adata: AnnData, key: str) -> None:
    import squidpy as sq

    sq.gr.nhood_enrichment(adata, cluster_key=domain_key(key), n_perms=20, show_progress_bar=False, seed=0)
    enrichment = adata.uns[f"{domain_key(key)}_nhood_enrichment"]["zscore"]
    assert (np.diag(enrichment) > 0).all()
    sq.gr.spatial_autocorr(adata, mode="moran", n_perms=None, genes=adata.var_names[:5])
    assert len(adata.uns["moranI"]) == 5
    sq.pl.spatial_scatter(adata, color=domain_key(key), shape=None)


def test_our_tools_on_squidpys_graph(adata: AnnData, key: str) -> None:
    import squidpy as sq

    other = adata.copy()
    sq.gr.spatial_neighbors_knn(other, n_neighs=6, key_added="theirs")
    TRAINED[key](other, neighbors_key="theirs_neighbors", key_added="X_theirs")
    other.obsp["spatial_connectivities"] = other.obsp["theirs_connectivities"]
    TRAINED[key](other)
    np.testing.assert_array_equal(other.obsm["X_theirs"], other.obsm[key])


def test_scanpys_pca_into_the_encoder(adata: AnnData, key: str) -> None:
    import scanpy as sc

    other = adata.copy()
    sc.pp.pca(other, n_comps=20)
    TRAINED[key](other, use_rep="X_pca", key_added="X_of_pca")
    sp.tl.domains(other, n_domains=3, use_rep="X_of_pca")
    assert sp.metrics.ari(other.obs["domain"], other.obs["of_pca_domain"]) > 0.4


@pytest.mark.slow
def test_scanpy_on_decoded_expression(adata: AnnData, key: str) -> None:
    """Marker genes of what the decoder made, by its layer."""
    import scanpy as sc

    other = adata.copy()
    TRAINED[key](other, decoded_layer="decoded")
    genes = other[:, other.var["highly_variable"]].copy()
    sc.tl.rank_genes_groups(genes, "domain", layer="decoded", method="t-test")
    ranked = sc.get.rank_genes_groups_df(genes, group=genes.obs["domain"].cat.categories[0])
    assert ranked["scores"].notna().all()


@pytest.mark.parametrize("across", [True, False])
def test_several_slices_from_registration_to_matches(key: str, across: bool) -> None:
    """One stack through every step; the graph across slices is SpaCross's own."""
    if across and key == "X_spotscape":
        pytest.skip("Spotscape takes graphs within slices only")
    stack = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=2, n_spots=200, n_genes=120, difficulty=0.3, batch_effect=0.3, random_state=0
    )
    sp.pp.prepare(stack, recipe=key.removeprefix("X_"), library_key="slice")
    if across:
        sp.pp.register_slices(stack, library_key="slice")
        sp.pp.spatial_neighbors_3d(stack, library_key="slice", slice_gap=50.0)
    name = "spatial_3d_neighbors" if across else "spatial_neighbors"
    TRAINED[key](stack, library_key="slice", neighbors_key=name)
    sp.tl.domains(stack, n_domains=3)
    sp.tl.integrate_slices(stack, library_key="slice", use_rep=key)
    assert stack.obsm[f"{key}_integrated"].shape == stack.obsm[key].shape
    sp.tl.match_slices(stack, library_key="slice", reference="slice_1", labels_key="domain")
    assert stack.uns["spotscape_match"]["params"]["use_rep"] == key
    query = stack.obs[stack.obs["slice"] == "slice_2"]
    right = query["spotscape_match_label"].astype(str) == query["domain"].astype(str)
    # A third would be right by chance.
    assert right.mean() > 0.7
    assert len(sp.pl.domains(stack, domain_key(key), library_key="slice", return_fig=True).axes) == 2
