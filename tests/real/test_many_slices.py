"""Several slices of human cortex as one: mixed, and with layers that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd
import pytest
import scanpy as sc

import spotscape as sp
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

pytestmark = pytest.mark.all_starts

GROUPS = ("domain", "slice")


@pytest.fixture
def cortex(real_data: Callable[[str], Path]) -> AnnData:
    """Two slices of one donor with different positions in the block, every second spot."""
    adata = ad.read_h5ad(real_data("dlpfc_donor3.h5ad"))
    adata = adata[adata.obs["slice"].isin(["151673", "151675"]).to_numpy()][::2].copy()
    adata.obs["slice"] = adata.obs["slice"].astype("category")
    sc.pp.filter_genes(adata, min_counts=10)
    sp.pp.prepare(adata, n_top_genes=2000, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


@pytest.mark.slow
def test_slices_come_together_and_layers_are_found(cortex: AnnData) -> None:
    """Sections of one donor hardly differ: less of what layers differ by from slice to slice, and nothing else less."""
    config = SpotscapeConfig.several_slices(max_epochs=80, integrate=False)
    sp.tl.spotscape(cortex, library_key="slice", config=config, key_added="X_apart")
    sp.tl.integrate_slices(cortex, library_key="slice", use_rep="X_apart")
    known = cortex[cortex.obs["domain"].notna()]
    gaps, spreads = [], []
    for key in ("X_apart", "X_apart_integrated"):
        grouped = pd.DataFrame(known.obsm[key]).groupby([known.obs[name].to_numpy(dtype=object) for name in GROUPS])
        gaps.append(grouped.mean().groupby(level=0).var().mean(axis=None) ** 0.5)
        spreads.append(grouped.var().mean(axis=None) ** 0.5)
    assert gaps[1] < 0.85 * gaps[0]
    assert 0.97 < spreads[1] / spreads[0] < 1.01
    assert sp.metrics.clisi(known.obs["domain"], known.obsm["X_apart_integrated"]) > 0.95
    sp.tl.domains(cortex, n_domains=7, use_rep="X_apart_integrated", key_added="found")
    assert sp.metrics.ari(cortex.obs["domain"], cortex.obs["found"]) > 0.4


@pytest.mark.slow
def test_a_slice_with_a_part_of_the_regions(real_data: Callable[[str], Path]) -> None:
    """Deep layers of one animal beside all layers of two others: upper layers have no match in the third slice."""
    adata = ad.read_h5ad(real_data("starmap_mpfc.h5ad"))
    adata.obs["slice"] = adata.obs["slice"].astype("category")
    third, upper = adata.obs["slice"].cat.codes == 2, adata.obs["domain"].isin(["L1", "L2/3"])
    adata = adata[~(third & upper).to_numpy()].copy()
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    reached = {}
    for mutual in (None, 10):
        config = SpotscapeConfig.several_slices(scaling_mutual=mutual)
        sp.tl.spotscape(adata, library_key="slice", config=config)
        sp.tl.domains(adata, n_domains=4, method="kmeans", key_added="found")
        reached[mutual] = sp.metrics.ari(adata.obs["domain"], adata.obs["found"])
    assert reached[10] > 0.75
    assert reached[None] < 0.7
