"""k-means by scikit-learn, with the same labels on any number of threads."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from spotscape.nn.clustering._partition import Clustering, by_size, check_points, make_exactly

_FEWEST_STARTS, _MOST_STARTS, _STARTED_POINTS = 10, 100, 200_000


def kmeans(points: np.ndarray, n_clusters: int, *, n_init: int | None = None, seed: int = 0) -> Clustering:
    """Cluster points by k-means.

    It runs on one thread, because sums over threads are rounded differently by each number of threads.

    Parameters
    ----------
    points
        Shape ``(n, d)``, finite.
    n_clusters
        Number of clusters, at least 2 and at most the number of distinct points.
    n_init
        Number of k-means++ starts, of which the one with the lowest inertia is kept. ``None`` takes between 10, for
        20,000 points and more, and 100, for 2,000 and fewer: ten often miss the optimum, and small data make more of
        them cheap.
    seed
        Seed of the starts.

    Returns
    -------
    Exactly ``n_clusters`` non-empty clusters with their inertia.

    Raises
    ------
    TypeError
        If ``n_clusters`` is not an integer.
    ValueError
        If ``points`` or ``n_clusters`` do not allow it.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn.clustering import kmeans
    >>> kmeans(np.array([[0.0], [0.1], [5.0]]), 2).labels.tolist()
    [0, 0, 1]
    """
    values = check_points(points, n_clusters)
    if n_init is None:
        n_init = min(_MOST_STARTS, max(_FEWEST_STARTS, _STARTED_POINTS // len(values)))
    with threadpool_limits(1):
        model = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(values)
        labels, _ = by_size(make_exactly(model.labels_, values, n_clusters))
    return Clustering(labels, "inertia", float(model.inertia_))


def soft_assignment(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How sure the clusters of k-means are: as of a mixture of equal spheres around their means.

    Parameters
    ----------
    points
        Shape ``(n, d)``.
    labels
        Cluster of each point, int64 ``(n,)`` from 0, none empty.

    Returns
    -------
    Probability of each cluster for each point, ``(n, n_clusters)``, float64. The spheres have the variance that the
    clusters have on average; it falls off as a Gaussian with the distance to the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn.clustering import soft_assignment
    >>> soft_assignment(np.array([[0.0], [2.0], [3.0], [5.0]]), np.array([0, 0, 1, 1])).round(3).tolist()
    [[0.999, 0.001], [0.818, 0.182], [0.182, 0.818], [0.001, 0.999]]
    """
    values = np.asarray(points, dtype=np.float64)
    centres = np.stack([values[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    variance = float(((values - centres[labels]) ** 2).mean())
    if variance <= np.finfo(np.float64).eps * float((values**2).mean()):
        # Clusters without width leave no doubt.
        certain: np.ndarray = np.eye(len(centres))[labels]
        return certain
    closeness = values @ centres.T - 0.5 * (centres**2).sum(axis=1)
    return np.asarray(softmax(closeness / variance, axis=1))
