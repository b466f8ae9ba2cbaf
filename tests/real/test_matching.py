"""Matching on four slices of human cortex: layers carried from slice to slice, without an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.all_starts


@pytest.fixture(scope="module")
def _loaded() -> dict[str, ad.AnnData]:
    return {}


@pytest.fixture
def cortex(real_data: Callable[[str], Path], _loaded: dict[str, ad.AnnData]) -> ad.AnnData:
    path = real_data("dlpfc_donor3.h5ad")
    if not _loaded:
        adata = ad.read_h5ad(path)
        sc.pp.filter_genes(adata, min_counts=1)
        sp.pp.prepare(adata)
        sp.pp.spatial_neighbors_knn(adata, library_key="slice")
        sp.tl.smoothed_pca(adata, library_key="slice")
        _loaded["cortex"] = adata
    return _loaded["cortex"].copy()


@pytest.mark.parametrize(("reference", "query"), [("151673", "151674"), ("151675", "151674"), ("151676", "151675")])
def test_layers_are_transferred(cortex: ad.AnnData, reference: str, query: str) -> None:
    def accuracy(**arguments: str) -> float:
        sp.tl.match_slices(
            cortex,
            library_key="slice",
            reference=reference,
            query=query,
            use_rep="X_smoothed_pca",
            labels_key="domain",
            **arguments,
        )
        rows = (cortex.obs["slice"] == query) & cortex.obs["domain"].notna()
        obs = cortex.obs[rows]
        return float(np.mean(obs["spotscape_match_label"].astype(str) == obs["domain"].astype(str)))

    found = accuracy()
    assert found > 0.78
    assert found > accuracy(offset="none") - 0.01


def test_confident_labels_are_right_more_often(cortex: ad.AnnData) -> None:
    sp.tl.match_slices(
        cortex, library_key="slice", reference="151673", use_rep="X_smoothed_pca", labels_key="domain", n_matches=20
    )
    obs = cortex.obs[(cortex.obs["slice"] != "151673") & cortex.obs["domain"].notna()]
    right = (obs["spotscape_match_label"].astype(str) == obs["domain"].astype(str)).to_numpy()
    sure = obs["spotscape_match_confidence"] > 0.9
    assert right[sure].mean() > right[~sure].mean() + 0.2


@pytest.mark.parametrize("lacking", ["WM", "Layer_1"])
def test_a_region_that_the_reference_lacks_has_few_mutual_matches(cortex: ad.AnnData, lacking: str) -> None:
    two = cortex.obs["slice"].isin(["151673", "151674"])
    part = cortex[two & ~((cortex.obs["slice"] == "151673") & (cortex.obs["domain"] == lacking))].copy()
    sp.tl.match_slices(part, library_key="slice", reference="151673", use_rep="X_smoothed_pca", mutual=True)
    query = part.obs[(part.obs["slice"] == "151674") & part.obs["domain"].notna()]
    unmatched = query["spotscape_match"].isna().groupby(query["domain"], observed=True).mean()
    assert unmatched[lacking] > 0.6
    assert unmatched.drop(lacking).max() < 0.45
