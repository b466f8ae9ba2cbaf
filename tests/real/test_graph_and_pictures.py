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
def test_graphs_are_squidpys(tissue: tuple[str, ad.AnnData], name: str) -> None:
    _, adata = tissue
    reference = adata.copy()
    getattr(sp.pp, f"spatial_neighbors_{name}")(adata, library_key="slice")
    import squidpy as sq

    getattr(sq.gr, f"spatial_neighbors_{name}")(reference, library_key="slice")
    for key in ("spatial_connectivities", "spatial_distances"):
        assert (adata.obsp[key] != reference.obsp[key]).nnz == 0


def test_geometry_is_recognised_in_every_slice(tissue: tuple[str, ad.AnnData]) -> None:
    from spotscape._core.geometry import lattice

    name, adata = tissue
    kinds = {lattice(adata.obsm["spatial"][adata.obs["slice"] == s]).kind for s in adata.obs["slice"].cat.categories}
    assert kinds == {KINDS[name]}


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
