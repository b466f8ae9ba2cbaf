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
    # The outlines of the sections differ a little, so some spots have no tissue above or below them.
    assert (degree[outer] == 8).mean() > 0.98
    assert (degree[~outer] == 10).mean() > 0.9


def test_a_section_of_which_half_is_lost_is_joined_where_it_is(stack: ad.AnnData) -> None:
    """Without the limit 1,678 spots have neighbours millimetres away, at the edge of what is left."""
    coords, second = stack.obsm["spatial_aligned"], (stack.obs["slice"] == "151674").to_numpy()
    lost = second & (coords[:, 0] > np.median(coords[second, 0]))
    torn = stack[~lost & stack.obs["slice"].isin(["151673", "151674"]).to_numpy()].copy()
    sp.pp.spatial_neighbors_3d(torn, library_key="slice", slice_gap=10)
    assert torn.obsp["spatial_3d_distances"].max() < 700
    whole = (torn.obs["slice"] == "151673").to_numpy()
    across = torn.obsp["spatial_3d_connectivities"][whole][:, ~whole]
    away = torn.obsm["spatial_aligned"][whole, 0] - np.median(coords[second, 0])
    assert (np.diff(across.indptr)[away > 700] == 0).all()
    assert (np.diff(across.indptr)[away < -200] == 2).mean() > 0.95
