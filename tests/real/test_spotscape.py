"""Spotscape with its defaults on real tissue; benchmarks/accuracy measures more seeds and both clusterers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import pytest
import scanpy as sc

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.all_starts


def test_starmap(real_data: Callable[[str], Path]) -> None:
    """One seed; the lowest of ten was above this bar, a smoother of one hop stays below it."""
    adata = ad.read_h5ad(real_data("starmap_visual_cortex.h5ad"))
    sp.pp.prepare(adata)
    sp.tl.spotscape(adata)
    sp.tl.domains(adata, n_domains=7, method="kmeans")
    assert sp.metrics.ari(adata.obs["domain_banksy"], adata.obs["spotscape_domain"]) > 0.68


@pytest.mark.slow
def test_dlpfc(real_data: Callable[[str], Path]) -> None:
    adata = ad.read_h5ad(real_data("dlpfc_151673.h5ad"))
    sc.pp.filter_genes(adata, min_counts=1)
    sp.pp.prepare(adata)
    sp.tl.spotscape(adata)
    sp.tl.domains(adata, n_domains=7, method="gmm")
    assert sp.metrics.ari(adata.obs["domain"], adata.obs["spotscape_domain"]) > 0.48
