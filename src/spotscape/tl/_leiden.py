"""Leiden clusters of an embedding through scanpy, on an AnnData of their own so that the user's stays as it is."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from spotscape._core.logging import logger
from spotscape.nn.clustering import Clustering, by_size, check_points, make_exactly, search_resolution
from spotscape.tl._trajectory import embed_neighbors


def leiden(
    embedding: np.ndarray, n_domains: int | None, *, resolution: float, n_neighbors: int, seed: int
) -> Clustering:
    """Cluster the neighbour graph of an embedding: at ``resolution``, or at one that gives ``n_domains`` clusters."""
    if find_spec("igraph") is None:
        msg = "method='leiden' needs igraph; install it by: pip install \"spotscape[leiden]\"."
        raise ImportError(msg)
    import scanpy as sc

    points = np.asarray(embedding, dtype=np.float64) if n_domains is None else check_points(embedding, n_domains)
    graph = embed_neighbors(points, n_neighbors, seed)

    def cluster(resolution: float) -> np.ndarray:
        sc.tl.leiden(graph, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
        return np.asarray(graph.obs["leiden"].cat.codes)

    if n_domains is None:
        return Clustering(by_size(cluster(resolution))[0], "resolution", resolution)
    labels, found = search_resolution(cluster, n_domains, start=resolution)
    n_found = len(np.unique(labels))
    if n_found != n_domains:
        logger.info(
            "No resolution gives %s leiden clusters; the %s at resolution %.4g are %s to match.",
            *(n_domains, n_found, found, "merged" if n_found > n_domains else "split"),
        )
    return Clustering(by_size(make_exactly(labels, points, n_domains))[0], "resolution", found)
