"""A clustering's result, and the guarantee that it has as many clusters as asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from spotscape._core.validation import require_finite, require_positive_int


@dataclass(frozen=True)
class Clustering:
    """Clusters of points and how good they are.

    Attributes
    ----------
    labels
        Cluster of each point, shape ``(n,)``: 0 is the largest cluster; clusters of equal size are in the order of
        their first points.
    criterion
        What ``value`` is: ``"inertia"``, ``"log_likelihood"`` or ``"resolution"``.
    value
        Sum of squared distances to the centres; mean log-likelihood per point; or the resolution of the graph
        clustering.
    posterior
        Probability of each cluster for each point, shape ``(n, n_clusters)``, columns in the order of ``labels``;
        ``None`` where the method has none.
    """

    labels: np.ndarray
    criterion: str
    value: float
    posterior: np.ndarray | None = None

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1


def check_points(points: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return float64 points that can be cut into ``n_clusters`` non-empty clusters.

    Raises
    ------
    TypeError
        If ``n_clusters`` is not an integer.
    ValueError
        If the points are not a finite matrix, or ``n_clusters`` is below 2 or above the number of distinct points.
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2:
        msg = f"points have shape {values.shape}; expected (n_points, n_dims)."
        raise ValueError(msg)
    require_finite(values, "points")
    require_positive_int(n_clusters, "n_clusters", minimum=2)
    n_distinct = _count_distinct(values, n_clusters)
    if n_distinct < n_clusters:
        msg = f"the {len(values)} points have {n_distinct} distinct positions, too few for {n_clusters} clusters."
        raise ValueError(msg)
    return values


def by_size(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number clusters by decreasing size, ties by first point.

    Returns
    -------
    The new labels, and the old label of each new one.
    """
    old, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[inverse], old[order]


def make_exactly(labels: np.ndarray, points: np.ndarray, n_clusters: int) -> np.ndarray:
    """Merge or split until there are exactly ``n_clusters`` non-empty clusters.

    Too many clusters: the two whose union adds least to the within-cluster sum of squares (Ward's criterion) become
    one, again and again. Too few: the cluster with the largest sum of squares is cut in two by 2-means. ``points`` must
    have at least ``n_clusters`` distinct rows.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    for count in range(labels.max() + 1, n_clusters, -1):
        labels = _merge_closest(labels, points, count)
    for count in range(labels.max() + 1, n_clusters):
        labels = _split_widest(labels, points, count)
    return labels


def _count_distinct(points: np.ndarray, enough: int) -> int:
    """Count distinct rows, no further than needed: a single column often shows that there are ``enough``."""
    for column in points.T:
        if len(np.unique(column)) >= enough:
            return enough
    return len(np.unique(points, axis=0))


def _merge_closest(labels: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    sizes = np.bincount(labels, minlength=count)
    centres = np.stack([points[labels == label].mean(axis=0) for label in range(count)])
    squared = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
    cost = squared * np.outer(sizes, sizes) / np.add.outer(sizes, sizes)
    cost[np.tril_indices(count)] = np.inf
    kept, gone = np.unravel_index(np.argmin(cost), cost.shape)
    merged = np.where(labels == gone, kept, labels)
    return np.where(merged > gone, merged - 1, merged)


def _split_widest(labels: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    members = [np.flatnonzero(labels == label) for label in range(count)]
    rows = max(
        (rows for rows in members if np.ptp(points[rows], axis=0).any()), key=lambda rows: _scatter(points[rows])
    )
    split = labels.copy()
    split[rows[_halve(points[rows])]] = count
    return split


def _scatter(points: np.ndarray) -> float:
    return float(((points - points.mean(axis=0)) ** 2).sum())


def _halve(points: np.ndarray) -> np.ndarray:
    """Mask of one of two non-empty halves: 2-means, started from a cut across the widest axis."""
    axis = points[:, np.argmax(np.ptp(points, axis=0))]
    upper = axis > (axis.min() + axis.max()) / 2
    if not upper.any():
        upper = axis == axis.max()
    centres = np.stack([points[~upper].mean(axis=0), points[upper].mean(axis=0)])
    halves: np.ndarray = KMeans(2, init=centres, n_init=1).fit_predict(points).astype(bool)
    return halves if halves.any() and not halves.all() else upper
