"""A ``key_added`` under which another result has its record: the log says that it is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

FAST = sp.models.SpotscapeConfig(max_epochs=2, n_encoders=1, n_comps=8, hidden_size=8, latent_size=4, integrate=False)
REP = "X_smoothed_pca"
CALLS: dict[str, Callable[[AnnData, str], object]] = {
    "smoothed_pca": lambda adata, key: sp.tl.smoothed_pca(adata, n_comps=5, library_key="slice", key_added=key),
    "spotscape": lambda adata, key: sp.tl.spotscape(adata, config=FAST, key_added=key),
    "domains": lambda adata, key: sp.tl.domains(adata, n_domains=3, use_rep=REP, method="kmeans", key_added=key),
    "refine_domains": lambda adata, key: sp.tl.refine_domains(adata, key="domain", key_added=key),
    "choose_n_domains": lambda adata, key: sp.tl.choose_n_domains(
        adata, use_rep=REP, k_range=(2, 4), n_resamples=2, method="kmeans", key_added=key
    ),
    "markers": lambda adata, key: sp.tl.markers(
        adata, key="domain", method="t-test", neighbors_key=None, key_added=key
    ),
    "trajectory": lambda adata, key: sp.tl.trajectory(adata, root="Layer_1", key="domain", use_rep=REP, key_added=key),
    "match_slices": lambda adata, key: sp.tl.match_slices(
        adata, library_key="slice", reference="slice_1", use_rep=REP, key_added=key
    ),
    "choose_scale": lambda adata, key: sp.pp.choose_scale(adata, key_added=key),
    "register_slices": lambda adata, key: sp.pp.register_slices(adata, library_key="slice", use_rep=REP, key_added=key),
}
EMBEDDINGS = {"smoothed_pca", "spotscape"}


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=150, n_genes=60, n_domains=3, difficulty=0.2)
    with sp.settings.override(verbosity="error", progress_bar=False):
        sp.pp.prepare(adata)
        sp.pp.spatial_neighbors_knn(adata, library_key="slice")
        sp.tl.smoothed_pca(adata, n_comps=5, library_key="slice")
    return adata


@pytest.mark.parametrize("name", CALLS)
def test_the_record_of_another_result_is_not_replaced_in_silence(
    tissue: AnnData, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def said(call: str, adata: AnnData) -> bool:
        caplog.clear()
        CALLS[call](adata, "found")
        return "describes another result, is replaced" in caplog.text

    adata = tissue.copy()
    assert not said(name, adata)
    assert not said(name, adata)
    for other in {"markers", "smoothed_pca", "domains"} - {name}:
        both_embeddings = {name, other} <= EMBEDDINGS
        assert said(other, adata.copy()) != both_embeddings
