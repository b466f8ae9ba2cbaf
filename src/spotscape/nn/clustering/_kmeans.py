"""Clusterings with an exact number of clusters: k-means, Ward, and how clusters are merged or split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from spotscape._core.settings import one_thread
from spotscape._core.validation import require_finite, require_positive_int

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Clustering:
    """Clusters of points and the value of a criterion; 0 is the largest cluster, of equals the first to appear."""

    labels: np.ndarray  # (n,)
    criterion: str  # ``"inertia"``, ``"log_likelihood"`` (the mean over points) or ``"resolution"``
    value: float
    posterior: np.ndarray | None = None  # Probability of each cluster, (n, n_clusters)


def check_points(points: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the points as float64, after checking that ``n_clusters`` non-empty clusters are possible."""
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2:
        msg = f"points have shape {values.shape}; expected (n_points, n_dims)."
        raise ValueError(msg)
    require_finite(values, "points")
    require_positive_int(n_clusters, "n_clusters", minimum=2)
    # A single column often shows that there are enough distinct positions.
    if not any(len(np.unique(column)) >= n_clusters for column in values.T):
        n_distinct = len(np.unique(values, axis=0))
        if n_distinct < n_clusters:
            msg = f"the {len(values)} points have {n_distinct} distinct positions, too few for {n_clusters} clusters."
            raise ValueError(msg)
    return values


def varying_columns(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns that vary by more than rounding, centred, as float64, and their standard deviations."""
    dtype, values = np.asarray(points).dtype, np.asarray(points, dtype=np.float64)
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    rounding = 4 * np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    varies = spread > rounding * np.maximum(np.abs(values).max(axis=0), spread.max())
    varies = varies if varies.any() else spread == spread.max()
    return centred[:, varies], spread[varies]


def by_size(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number clusters by decreasing size, ties by first point: the new labels, and the old label of each new one."""
    old, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[inverse], old[order]


def make_exactly(labels: np.ndarray, points: np.ndarray, n_clusters: int) -> np.ndarray:
    """Merge clusters by Ward's criterion, or split the widest by 2-means, until there are exactly ``n_clusters``.

    ``points`` must have at least ``n_clusters`` distinct rows.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    for count in range(labels.max() + 1, n_clusters, -1):
        sizes = np.bincount(labels, minlength=count)
        centres = np.stack([points[labels == label].mean(axis=0) for label in range(count)])
        cost = cdist(centres, centres, "sqeuclidean") * np.outer(sizes, sizes) / np.add.outer(sizes, sizes)
        cost[np.tril_indices(count)] = np.inf
        kept, gone = np.unravel_index(np.argmin(cost), cost.shape)
        merged = np.where(labels == gone, kept, labels)
        labels = np.where(merged > gone, merged - 1, merged)
    for count in range(labels.max() + 1, n_clusters):
        labels = _split_widest(labels, points, count)
    return labels


def _split_widest(labels: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """Split the cluster with the largest sum of squares by 2-means, started from a cut across its widest axis."""
    members = [np.flatnonzero(labels == label) for label in range(count)]
    spread = [((points[rows] - points[rows].mean(axis=0)) ** 2).sum() for rows in members]
    divisible = [label for label, rows in enumerate(members) if np.ptp(points[rows], axis=0).any()]
    rows = members[max(divisible, key=spread.__getitem__)]
    own = points[rows]
    axis = own[:, np.argmax(np.ptp(own, axis=0))]
    upper = axis > (axis.min() + axis.max()) / 2
    if not upper.any():
        upper = axis == axis.max()
    centres = np.stack([own[~upper].mean(axis=0), own[upper].mean(axis=0)])
    halves = KMeans(2, init=centres, n_init=1).fit_predict(own).astype(bool)
    split = labels.copy()
    split[rows[halves if halves.any() and not halves.all() else upper]] = count
    return split


# Ward's tree needs all pairwise distances.
_WARD_POINTS = 2_000


def whiten(points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Coordinates of the points in which ``covariance`` is the identity."""
    lower = np.linalg.cholesky(covariance)
    whitened: np.ndarray = solve_triangular(lower, points.T, lower=True, check_finite=False).T
    return np.ascontiguousarray(whitened)


def partitions(
    points: np.ndarray, n_clusters: int, n_runs: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Labels by Ward's tree and by ``n_runs`` single k-means++ runs."""
    yield ward(points, n_clusters, generator)
    for seed in generator.integers(2**31, size=n_runs):
        yield fit_kmeans(points, n_clusters, n_init=1, seed=int(seed)).labels_


def fit_kmeans(points: np.ndarray, n_clusters: int, *, n_init: int, seed: int) -> KMeans:
    """scikit-learn's k-means. Clusters may be empty: samples can have too few distinct points, outliers hide others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(n_clusters, n_init=n_init, random_state=seed).fit(points)


def ward(points: np.ndarray, n_clusters: int, generator: np.random.Generator) -> np.ndarray:
    """Ward's hierarchical clusters of a subsample. Every point then joins the cluster with the nearest centre."""
    rows = np.arange(len(points))
    if len(points) > _WARD_POINTS:
        rows = np.sort(generator.choice(len(points), _WARD_POINTS, replace=False))
    tree = AgglomerativeClustering(n_clusters, linkage="ward").fit(points[rows])
    centres = np.stack([points[rows[tree.labels_ == label]].mean(axis=0) for label in range(n_clusters)])
    # From differences, because products of large coordinates lose the digits in which points differ.
    return np.asarray(cdist(points, centres, "sqeuclidean").argmin(axis=1))


def seeded_centres(points: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw starting centres among unit points ``(N, d)`` by k-means++ (Arthur & Vassilvitskii 2007): ``(K, d)``."""
    draws = torch.rand(n_clusters, generator=generator, device=points.device)
    nearest = torch.ones(len(points), device=points.device)
    chosen = []
    for draw in draws:
        # In double precision, because the sum of a million small terms is compared with one draw.
        cumulated = nearest.double().cumsum(0)
        row = torch.searchsorted(cumulated, draw.double() * cumulated[-1]).clamp_max(len(points) - 1)
        chosen.append(points[row])
        # For unit vectors 1 - cos is half the squared distance.
        nearest = torch.minimum(nearest, (1 - points @ points[row]).clamp_min(0))
    return torch.stack(chosen)


def lloyd_step(points: Tensor, centres: Tensor) -> Tensor:
    """One iteration of k-means of unit points ``(N, d)``: new centres ``(K, d)``.

    A centre without points moves to one of the points that are farthest from their centres.
    """
    closeness, labels = (points @ centres.T).max(1)
    # A product with indicators instead of a scattered sum: the order of additions is fixed, also on CUDA.
    indicators = one_hot(labels, len(centres)).to(points.dtype)
    moved = normalize(indicators.T @ points, dim=1)
    empty = indicators.sum(0) == 0
    n_empty = min(int(empty.sum()), len(points))
    if n_empty:
        moved[empty.nonzero()[:n_empty, 0]] = points[closeness.topk(n_empty, largest=False).indices]
    return moved


_FEWEST_STARTS, _MOST_STARTS, _STARTED_POINTS = 10, 100, 200_000


def kmeans(points: np.ndarray, n_clusters: int, *, n_init: int | None = None, seed: int = 0) -> Clustering:
    """Cluster points ``(n, d)`` by k-means into exactly ``n_clusters`` non-empty clusters.

    By default there are 10 to 100 starts: ten often miss the optimum, and further ones are cheap on small data. It runs
    on one thread, because each number of threads rounds sums differently.
    """
    values = check_points(points, n_clusters)
    if n_init is None:
        n_init = min(_MOST_STARTS, max(_FEWEST_STARTS, _STARTED_POINTS // len(values)))
    with one_thread():
        model = fit_kmeans(values, n_clusters, n_init=n_init, seed=seed)
        labels, _ = by_size(make_exactly(model.labels_, values, n_clusters))
    return Clustering(labels, "inertia", float(model.inertia_))


def soft_assignment(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities ``(n, n_clusters)`` of k-means clusters, from a mixture of equal spheres around their means."""
    values, spread = varying_columns(points)
    centres = np.stack([values[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    variance = float(((values - centres[labels]) ** 2).mean())
    if variance <= np.finfo(np.float64).eps * float((spread**2).mean()):
        # Clusters without width leave no doubt.
        return np.asarray(np.eye(len(centres))[labels])
    closeness = values @ centres.T - 0.5 * (centres**2).sum(axis=1)
    return np.asarray(softmax(closeness / variance, axis=1))


_LOWEST, _HIGHEST = 1e-4, 1e3
_BISECTIONS = 20


def search_resolution(
    cluster: Callable[[float], np.ndarray], n_clusters: int, *, start: float = 1.0
) -> tuple[np.ndarray, float]:
    """Labels with ``n_clusters`` clusters, by bisection on a logarithmic scale, and their resolution.

    If no try has that number, the one with the fewest above it is taken or, if none is above, with the most below it.
    """
    tried: list[tuple[int, float, np.ndarray]] = []

    def count(resolution: float) -> int:
        labels = cluster(resolution)
        tried.append((len(np.unique(labels)), resolution, labels))
        return tried[-1][0]

    resolution, found = start, count(start)
    low = high = start
    factor = 2.0 if found < n_clusters else 0.5
    # The limits end the search, but it may begin beyond them.
    while (
        found != n_clusters
        and low == high
        and (resolution * factor <= _HIGHEST if factor > 1 else resolution * factor >= _LOWEST)
    ):
        previous, resolution = resolution, resolution * factor
        found = count(resolution)
        if (found < n_clusters) != (factor > 1):
            low, high = sorted((previous, resolution))
    for _ in range(_BISECTIONS):
        if tried[-1][0] == n_clusters or low >= high:
            break
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if count(middle) < n_clusters else (low, middle)
    _, resolution, labels = min(tried, key=lambda entry: (entry[0] < n_clusters, abs(entry[0] - n_clusters)))
    return labels, resolution
