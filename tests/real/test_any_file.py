"""Every real file goes through the README's first lines as the instrument wrote it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import spotscape as sp

FOLDER = os.environ.get("SPOTSCAPE_DATA")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="SPOTSCAPE_DATA does not name the folder with real tissue")

# What the log says of each, beside how many genes were chosen.
FILES = {
    "dlpfc_151673": ["39 genes without a count", "a hexagonal grid (Visium), spots 138 apart (100 µm)"],
    "her2st_4patients": [
        "within the 4 slices of obs['slice']",
        "a square grid",
        "1 of 1,919 spots have none of the genes",
    ],
    "molcart_mouse_cortex_3slices": ["an irregular pattern"],
    "osmfish_ssctx": ["All 33 genes are marked"],
    "seqfish_mouse_embryo": ["All 351 genes are marked"],
    "slideseq_cerebellum_10k": ["3,981 genes without a count"],
    "st_breast_cancer": ["a square grid"],
    "st_pdac_A_428": ["3,484 genes without a count"],
    "starmap_3d_cortex": ["94 of 4,000 spots have no counts in adata.X; they stay"],
    "starmap_mpfc": ["All 166 genes are marked"],
    "starmap_visual_cortex": ["an irregular pattern"],
    "xenium_breast_36k": [
        "49 of 36,602 spots have no counts",
        "293 control features",
        "(Xenium), spots 13.1 µm apart",
    ],
}


@pytest.mark.filterwarnings("ignore:.* of .* spots (lie more|share)")
@pytest.mark.parametrize("name", FILES)
def test_at_the_first_try(name: str, caplog: pytest.LogCaptureFixture) -> None:
    adata = ad.read_h5ad(Path(FOLDER or "") / f"{name}.h5ad")
    several = {"library_key": "slice"} if adata.obs["slice"].nunique() > 1 else {}
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.prepare(adata, **several)
        sp.pp.spatial_neighbors_knn(adata, **several)
        sp.tl.smoothed_pca(adata)
    assert np.isfinite(adata.obsm["X_smoothed_pca"]).all()
    for words in FILES[name]:
        assert words in caplog.text
    empty = np.asarray(adata.layers["counts"].sum(axis=1)).ravel() == 0
    connected = np.diff(adata.obsp["spatial_connectivities"].indptr) > 0
    assert adata.obsm["X_smoothed_pca"][empty & connected].any(axis=1).all()
    chosen = adata.var["highly_variable"].to_numpy()
    assert (np.asarray(adata.layers["counts"][:, chosen].sum(axis=0)) > 0).all()


def test_two_sections_of_unlike_size_and_panels() -> None:
    """A hundred spots of one patient beside all of another's, with genes that only one of them has."""
    adata = ad.read_h5ad(Path(FOLDER or "") / "her2st_4patients.h5ad")
    names = list(adata.obs["slice"].cat.categories)
    small = adata[adata.obs["slice"] == names[0]][:100].copy()
    large = adata[adata.obs["slice"] == names[1], 2000:].copy()
    both = ad.concat([small, large], join="outer", fill_value=0)
    both.obs["slice"] = both.obs["slice"].astype(str)
    sp.pp.prepare(both, library_key="slice")
    sp.pp.spatial_neighbors_knn(both, library_key="slice")
    sp.tl.smoothed_pca(both)
    assert np.isfinite(both.obsm["X_smoothed_pca"]).all()
    lacking = ~both.var_names.isin(large.var_names) & (np.asarray(small[:, both.var_names].X.sum(axis=0)).ravel() > 100)
    assert not both.var["highly_variable"][lacking].any()
