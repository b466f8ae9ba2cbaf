"""Several slices of human cortex as one: mixed, and with layers that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import pytest
import scanpy as sc

import spotscape as sp
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData


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


def test_slices_are_mixed_and_layers_found(cortex: AnnData) -> None:
    scores = {}
    for integrate in (False, True):
        sp.tl.spotscape(
            cortex,
            library_key="slice",
            config=SpotscapeConfig.several_slices(max_epochs=80, integrate=integrate),
            key_added=f"X_{integrate}",
        )
        embedding = cortex.obsm[f"X_{integrate}"]
        known = cortex.obs["domain"].notna().to_numpy()
        scores[integrate] = {
            "ilisi": sp.metrics.ilisi(cortex.obs["slice"], embedding),
            "clisi": sp.metrics.clisi(cortex.obs["domain"][known], embedding[known]),
        }
    # The sections of one donor hardly differ; what mixes them more is not allowed to draw domains together.
    assert scores[True]["ilisi"] > scores[False]["ilisi"] + 0.02
    assert scores[True]["clisi"] > 0.95
    sp.tl.domains(cortex, n_domains=7, use_rep="X_True")
    assert sp.metrics.ari(cortex.obs["domain"], cortex.obs["True_domain"]) > 0.4
