"""The stack of DLPFC donor 3: sections 10, 300 and 10 micrometres apart, spots 100."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def stack(real_data: Callable[[str], Path]) -> ad.AnnData:
    """Return the coordinates in micrometres, by the known pitch of Visium, in the frame of the images."""
    adata = ad.read_h5ad(real_data("dlpfc_donor3.h5ad"))
    coords = np.asarray(adata.obsm["spatial"], dtype=float)
    pitch = sp.pp.spatial_neighbors_knn(adata, library_key="slice", n_neighs=1, copy=True).distances.data
    return ad.AnnData(obs=adata.obs[["slice"]], obsm={"spatial_aligned": coords * 100 / np.median(pitch)})


@pytest.mark.parametrize(("gap", "fewest", "most"), [(10, 0.8, 1), ([10, 300, 10], 0.3, 0.5)])
@pytest.mark.filterwarnings("ignore:.*of the edges join different slices")
def test_distance_alone_prefers_other_slices(stack: ad.AnnData, gap: float, fewest: float, most: float) -> None:
    sp.pp.spatial_neighbors_3d(stack, library_key="slice", slice_gap=gap, method="euclidean", n_neighs=12)
    assert fewest < stack.uns["spatial_3d_neighbors"]["params"]["cross_slice_fraction"] < most


def test_separate_numbers_do_not_depend_on_the_gap(stack: ad.AnnData) -> None:
    graphs = [
        sp.pp.spatial_neighbors_3d(stack, library_key="slice", slice_gap=gap, copy=True) for gap in (10, [10, 300, 10])
    ]
    first, second = (graph.connectivities for graph in graphs)
    assert (first != second).nnz == 0
    degree = np.diff(first.indptr)
    outer = stack.obs["slice"].isin(["151673", "151676"]).to_numpy()
    assert set(degree[outer]) == {8}
    assert set(degree[~outer]) == {10}
