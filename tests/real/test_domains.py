"""Domains on real tissue: the tied mixture against scikit-learn's, on smoothed principal components."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph

import spotscape as sp
from spotscape.nn.clustering._mixture import gaussian_mixture

pytestmark = pytest.mark.all_starts


@pytest.fixture(params=["starmap_visual_cortex", "dlpfc_151673"])
def tissue(request: pytest.FixtureRequest) -> ad.AnnData:
    folder = os.environ.get("SPOTSCAPE_DATA")
    if folder is None:
        pytest.skip("SPOTSCAPE_DATA does not name the folder with real tissue")
    adata = ad.read_h5ad(Path(folder) / f"{request.param}.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    graph = kneighbors_graph(adata.obsm["spatial"], 6, include_self=False)
    smoothed = adata.obsm["X_pca"]
    for _ in range(3):
        smoothed = (smoothed + graph @ smoothed) / 7
    adata.obsm["smoothed"] = smoothed
    return adata


@pytest.mark.slow
def test_mixture_is_no_worse_than_scikit_learns_best_of_10(tissue: ad.AnnData) -> None:
    points = tissue.obsm["smoothed"].astype(np.float64)
    ours = gaussian_mixture(points, 7)
    theirs = [GaussianMixture(7, covariance_type="tied", n_init=10, random_state=seed).fit(points) for seed in (0, 1)]
    assert ours.value >= max(model.score(points) for model in theirs) - 1e-5


def test_mixture_finds_the_domains(tissue: ad.AnnData) -> None:
    sp.tl.domains(tissue, n_domains=7, method="gmm", use_rep="smoothed")
    scores = sp.metrics.evaluate(
        tissue.obs["domain"], tissue.obs["smoothed_domain"], coordinates=tissue.obsm["spatial"]
    )
    assert scores["ari"] > 0.4
    assert scores["pas"] < 0.1
