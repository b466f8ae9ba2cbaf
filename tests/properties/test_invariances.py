"""What must not matter: the container of the expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array
import numpy as np
import pytest
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def counts() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=120, n_genes=60, n_domains=3, random_state=0)
    adata.X = sparse.csr_matrix(adata.X)
    return adata


def embedded(adata: ad.AnnData) -> np.ndarray:
    with sp.settings.override(verbosity="error"):
        sp.pp.prepare(adata, n_top_genes=None)
        sp.tl.smoothed_pca(adata, n_comps=5)
    return np.asarray(adata.obsm["X_smoothed_pca"])


@pytest.mark.parametrize(
    "form",
    [
        sparse.csc_matrix,
        sparse.csr_array,
        lambda x: x.toarray(),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int32),
        lambda x: np.asfortranarray(x.toarray()),
        lambda x: dask.array.from_array(x.toarray(), chunks=(50, -1)),
        lambda x: dask.array.from_array(x.toarray(), chunks=(17, 11)),
    ],
)
def test_the_container_does_not_matter(counts: ad.AnnData, form: Callable[[Any], Any]) -> None:
    other = counts.copy()
    other.X = form(counts.X)
    np.testing.assert_allclose(embedded(other), embedded(counts.copy()), atol=1e-4)


def test_a_view_and_a_file_do_not_matter(counts: ad.AnnData, tmp_path: Path) -> None:
    expected = embedded(counts.copy())
    doubled = ad.concat([counts, counts], index_unique="-")
    np.testing.assert_allclose(embedded(doubled[: counts.n_obs].copy()), expected, atol=1e-4)
    prepared = counts.copy()
    sp.pp.prepare(prepared, n_top_genes=None)
    prepared.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    sp.tl.smoothed_pca(backed, n_comps=5)
    np.testing.assert_allclose(backed.obsm["X_smoothed_pca"], expected, atol=1e-4)
    backed.file.close()
