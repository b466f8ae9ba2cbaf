from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import spotscape as sp

FOLDER = os.environ.get("SPOTSCAPE_DATA")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="SPOTSCAPE_DATA does not name the folder with real tissue")

KINDS = {
    "starmap_visual_cortex": "irregular",
    "dlpfc_151673": "hexagonal",
    "dlpfc_donor3": "hexagonal",
    "st_breast_cancer": "square",
    "seqfish_mouse_embryo": "irregular",
}


@pytest.fixture(params=KINDS)
def tissue(request: pytest.FixtureRequest) -> tuple[str, ad.AnnData]:
    return request.param, ad.read_h5ad(Path(FOLDER or "") / f"{request.param}.h5ad")


@pytest.mark.parametrize("name", ["knn", "delaunay"])
def test_graphs_are_squidpys_but_for_ties(tissue: tuple[str, ad.AnnData], name: str) -> None:
    kind, adata = tissue
    reference = adata.copy()
    import squidpy as sq

    options = {"n_neighs": 6} if name == "knn" else {}
    for module, data in ((sp.pp, adata), (sq.gr, reference)):
        getattr(module, f"spatial_neighbors_{name}")(data, library_key="slice", **options)
    ours, theirs = adata.obsp["spatial_distances"], reference.obsp["spatial_distances"]
    if KINDS[kind] == "irregular":
        assert (ours != theirs).nnz == 0
    elif name == "knn":
        rows = [np.sort(graph.data.reshape(adata.n_obs, 6), axis=1) for graph in (ours, theirs)]
        assert np.allclose(*rows, atol=0.1 * np.median(theirs.data))
    else:
        theirs.data[theirs.data > 1.2 * adata.uns["spatial_neighbors"]["params"]["layout"]["spacing"]] = 0
        theirs.eliminate_zeros()
        assert theirs.nnz > 3 * adata.n_obs
        assert (theirs - ours.multiply(theirs > 0)).nnz == 0


@pytest.mark.parametrize("name", ["knn", "delaunay"])
def test_graphs_do_not_depend_on_the_frame(tissue: tuple[str, ad.AnnData], name: str) -> None:
    _, adata = tissue
    often = np.argsort(-np.asarray(adata.X.sum(axis=0)).ravel())
    adata = adata[adata.obs["slice"] == adata.obs["slice"].iloc[0], np.sort(often[:1000])].copy()
    build = getattr(sp.pp, f"spatial_neighbors_{name}")
    before = build(adata, copy=True).connectivities
    spatial = adata.obsm["spatial"]
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
    adata.obsm["spatial"] = spatial @ turn + 1e4
    assert (build(adata, copy=True).connectivities != before).nnz == 0


def test_geometry_is_recognised_in_every_slice(tissue: tuple[str, ad.AnnData]) -> None:
    from spotscape._core.geometry import lattice

    name, adata = tissue
    kinds = {lattice(adata.obsm["spatial"][adata.obs["slice"] == s]).kind for s in adata.obs["slice"].cat.categories}
    assert kinds == {KINDS[name]}


@pytest.mark.slow
def test_prepares_and_draws(tissue: tuple[str, ad.AnnData]) -> None:
    import scanpy as sc

    _, adata = tissue
    sc.pp.filter_genes(adata, min_counts=1)
    n_top_genes = adata.n_vars // 2
    sp.pp.prepare(adata, n_top_genes=n_top_genes, library_key="slice")
    assert adata.var["highly_variable"].sum() == n_top_genes
    assert adata.uns["prepare"]["span"] == 0.3
    assert np.isfinite(adata.X.data).all()
    figure = sp.pl.domains(adata, adata.var_names[0], library_key="slice", return_fig=True)
    assert len(figure.axes) == adata.obs["slice"].nunique()
    figure.canvas.draw()


TISSUES = (
    "starmap_visual_cortex",
    "dlpfc_151673",
    "st_breast_cancer",
    "osmfish_ssctx",
    "starmap_mpfc",
    "st_pdac_A_428",
)


@pytest.mark.parametrize("name", TISSUES)
def test_coordinates_of_other_spots_are_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Real neighbours are alike; those of a table in another order are not, and the user hears of it."""
    adata = ad.read_h5ad(Path(FOLDER or "") / f"{name}.h5ad")
    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > adata.n_obs / 10].copy()
    rng = np.random.default_rng(0)
    sp.pp.choose_scale(adata, library_key="slice")
    assert "no more alike" not in caplog.text
    for rows in adata.obs.groupby("slice", observed=True).indices.values():
        adata.obsm["spatial"][rows] = adata.obsm["spatial"][rng.permutation(rows)]
    sp.pp.choose_scale(adata, library_key="slice")
    assert "are the rows of `adata.obsm['spatial']` in the order of the spots?" in caplog.text
