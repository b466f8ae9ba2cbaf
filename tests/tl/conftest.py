"""A small tissue, ready for tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture(scope="session")
def _prepared() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=120, difficulty=0.3, random_state=0)
    sp.pp.prepare(adata, n_top_genes=100)
    sp.pp.spatial_neighbors_knn(adata)
    return adata


@pytest.fixture
def adata(_prepared: AnnData) -> AnnData:
    """Return log-normalised expression of 300 spots in 3 domains, with 100 of 120 genes variable and a graph."""
    return _prepared.copy()
