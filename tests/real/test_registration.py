"""Real slices lie on each other: checked by what registration did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
from scipy.spatial import cKDTree

import spotscape as sp
from spotscape.registration._section import one_hot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def agreement(adata: ad.AnnData, coords: np.ndarray, values: np.ndarray) -> list[float]:
    """Correlation of values with those of the nearest spot of the slice before, centred by slice."""
    found = []
    names = adata.obs["slice"].cat.categories
    for one, other in zip(names[1:], names[:-1], strict=True):
        rows = [(adata.obs["slice"] == name).to_numpy() for name in (one, other)]
        nearest = cKDTree(coords[rows[1]]).query(coords[rows[0]])[1]
        here, there = (values[r] - values[r].mean(axis=0) for r in rows)
        found.append(float(np.corrcoef(here.ravel(), there[nearest].ravel())[0, 1]))
    return found


# By the outline alone several poses fit these sections, and registration says so.
@pytest.mark.filterwarnings("ignore:the registration of slice")
def test_breast_cancer_by_outline_alone(real_data: Callable[[str], Path]) -> None:
    adata = ad.read_h5ad(real_data("st_breast_cancer.h5ad"))
    sp.pp.register_slices(adata, library_key="slice")
    entry = adata.uns["spatial_aligned"]
    assert (entry["rmse"][1:] < 0.5 * entry["rmse_before"][1:]).all()
    assert (entry["outline_agreement"] > 0.85).all()
    depth = np.log1p(np.asarray(adata.X.sum(axis=1)))
    after, before = (agreement(adata, adata.obsm[key], depth) for key in ("spatial_aligned", "spatial"))
    assert np.mean(after) > np.mean(before) + 0.2


@pytest.mark.filterwarnings("ignore:the registration of slice")
def test_cortex_layers_that_no_fit_has_seen(real_data: Callable[[str], Path]) -> None:
    adata = ad.read_h5ad(real_data("dlpfc_donor3.h5ad"))
    sp.pp.register_slices(adata, library_key="slice")
    layers = one_hot(adata.obs["domain"].cat.codes.to_numpy(), 7)
    after, before = (agreement(adata, adata.obsm[key], layers) for key in ("spatial_aligned", "spatial"))
    assert min(after) > 0.7
    assert np.mean(after) > np.mean(before) + 0.05


@pytest.mark.slow
def test_mirrored_cortex_is_told(real_data: Callable[[str], Path]) -> None:
    """Its layers agree by .8 on a third of the tissue, which alone would pass for a fit."""
    adata = ad.read_h5ad(real_data("dlpfc_donor3.h5ad"))
    adata = adata[adata.obs["slice"].isin(["151673", "151674"])].copy()
    sp.pp.prepare(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, library_key="slice")
    sp.pp.register_slices(adata, library_key="slice")
    assert not adata.uns["spatial_aligned"]["mirrored"].any()
    adata.obsm["spatial"] = adata.obsm["spatial"].astype(float)
    adata.obsm["spatial"][(adata.obs["slice"] == "151674").to_numpy(), 0] *= -1
    with pytest.warns(UserWarning, match=r"slice '151674' fits '151673' much better as its mirror image"):
        sp.pp.register_slices(adata, library_key="slice")
