"""Scores of mixing beside those of scib-metrics: live where it is installed, and by what it gave once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import spotscape as sp


def cloud() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(42)
    domain, library = rng.integers(4, size=400), rng.choice(3, size=400, p=[0.5, 0.3, 0.2])
    return domain, library, rng.normal(size=(400, 6)) + 2 * np.eye(6)[domain] + 0.7 * np.eye(6)[5 - library]


def ours() -> dict[str, float]:
    domain, library, points = cloud()
    return {
        "ilisi": sp.metrics.ilisi(library, points),
        "clisi": sp.metrics.clisi(domain, points),
        "lisi": float(sp.metrics.lisi(library, points).mean()),
        "kbet": sp.metrics.kbet(library, points),
        "batch_asw": sp.metrics.batch_asw(domain, library, points),
        "label_asw": sp.metrics.label_asw(domain, points),
    }


def theirs() -> dict[str, float]:
    import scib_metrics as scib
    from scib_metrics.nearest_neighbors import NeighborsResults

    domain, library, points = cloud()
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1)[:, :89]
    near: Any = NeighborsResults(indices=order, distances=np.take_along_axis(distances, order, axis=1))
    return {
        "ilisi": float(scib.ilisi_knn(near, library, perplexity=30)),
        "clisi": float(scib.clisi_knn(near, domain, perplexity=30)),
        "lisi": float(np.mean(scib.lisi_knn(near, library, perplexity=30))),
        "kbet": float(scib.kbet(near.subset_neighbors(50), library)[0]),
        "batch_asw": float(scib.silhouette_batch(points, domain, library)),
        "label_asw": float(scib.silhouette_label(points, domain)),
    }


# Written down from theirs() under scib-metrics 0.5.10, which computes in float32.
RECORDED = {
    "ilisi": 0.6280042,
    "clisi": 0.7614915,
    "lisi": 2.2277792,
    "kbet": 0.73,
    "batch_asw": 0.9264110,
    "label_asw": 0.5728270,
}


def test_equals_what_scib_metrics_gave() -> None:
    assert ours() == pytest.approx(RECORDED, abs=5e-6)


@pytest.mark.filterwarnings("ignore")
def test_equals_scib_metrics() -> None:
    pytest.importorskip("scib_metrics", reason="scib-metrics is not installed")
    assert ours() == pytest.approx(theirs(), abs=5e-6)
