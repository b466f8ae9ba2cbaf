"""Where the mixture's EM begins: many different partitions, because each climbs to another local optimum."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ward's tree needs all pairwise distances.
_WARD_POINTS = 2_000


def whiten(points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Points in coordinates in which ``covariance`` is the identity."""
    lower = np.linalg.cholesky(covariance)
    whitened: np.ndarray = solve_triangular(lower, points.T, lower=True, check_finite=False).T
    return np.ascontiguousarray(whitened)


def partitions(
    points: np.ndarray, n_clusters: int, n_runs: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Labels by Ward's tree and by ``n_runs`` single k-means++ runs."""
    yield ward(points, n_clusters, generator)
    for seed in generator.integers(2**31, size=n_runs):
        with warnings.catch_warnings():
            # A subsample may have fewer distinct points than clusters; EM then starts with fewer components.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = KMeans(n_clusters, n_init=1, random_state=int(seed)).fit(points).labels_
        yield labels


def ward(points: np.ndarray, n_clusters: int, generator: np.random.Generator) -> np.ndarray:
    """Ward's hierarchical clusters of a subsample, every point then going to the nearest centre."""
    rows = np.arange(len(points))
    if len(points) > _WARD_POINTS:
        rows = np.sort(generator.choice(len(points), _WARD_POINTS, replace=False))
    tree = AgglomerativeClustering(n_clusters, linkage="ward").fit(points[rows])
    centres = np.stack([points[rows[tree.labels_ == label]].mean(axis=0) for label in range(n_clusters)])
    nearest: np.ndarray = np.argmin((centres**2).sum(axis=1) - 2 * points @ centres.T, axis=1)
    return nearest
