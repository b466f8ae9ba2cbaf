"""tl.smoothed_pca on several slices."""

from __future__ import annotations

import numpy as np

import spotscape as sp


def test_offsets_of_slices_are_taken_off() -> None:
    adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=400, n_genes=120, n_domains=3, batch_effect=1.0)
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key="slice")
    first = np.asarray(adata.obs["slice"] == adata.obs["slice"].cat.categories[0])
    gaps = []
    for center in (True, False):
        sp.tl.smoothed_pca(adata, library_key="slice", center_slices=center, n_axes=None, whitening=0.0)
        values = adata.obsm["X_smoothed_pca"]
        assert adata.uns["smoothed_pca"]["params"]["center_slices"] is center
        gaps.append(np.linalg.norm(values[first].mean(axis=0) - values[~first].mean(axis=0)))
    # Smoothing moves the mean of a slice a little, since border spots are averaged over less often.
    assert gaps[0] < 0.1 * gaps[1]
