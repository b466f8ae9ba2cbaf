r"""Scale of a tissue: how well the neighbours of a spot, without the spot, predict its expression.

Few neighbours predict badly because their mean is noisy. Many neighbours predict badly because some lie in other
domains. In between, a range of sizes predicts about equally well. With the whitened components :math:`y` of single
spots, and the mean :math:`P_k y` over two steps of the graph of the :math:`k` nearest neighbours, without the spot
itself,

.. math:: R^2_a(k) = 1 - \frac{\sum_i (y_{ia} - (P_k y)_{ia})^2}{\sum_i y_{ia}^2}

is computed for each direction :math:`a` in which neighbours are similar: the eigenvectors of the covariance of spots
and neighbours, averaged over all :math:`k`. The weighted mean over directions has the positive eigenvalues as weights.
Without weights, a hundred neighbours would be best whenever most components are noise.

By chance, the mean of any neighbours predicts a little. Whether neighbours are alike at all is therefore asked first,
by Moran's I, compared with that of shuffled spots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

_N_SHUFFLES = 9
# How far above all of these shuffles Moran's I has to be. About one shuffled tissue in a hundred is.
_CLEARLY = 1.3


def are_alike(
    values: np.ndarray,
    slices: Sequence[tuple[np.ndarray, np.ndarray]],
    sizes: Sequence[int],
    rng: np.random.Generator,
) -> bool:
    r"""Whether neighbours are more alike than other spots of their slice; arguments as in :func:`predicted_share`.

    With whitened components :math:`Y` and the mean :math:`P_k Y` of the k nearest neighbours, Moran's I is largest in
    the direction of the leading eigenvector of :math:`Y^\top P_k Y`, made symmetric. The eigenvalue is taken in units
    of the standard deviation that Moran's I has among shuffled spots, and at the size where it is largest.
    """
    whitened = _whiten(values, [rows for rows, _ in slices])
    if not whitened.size:
        return False
    nearest = [cKDTree(coords).query(coords, sizes[-1] + 1)[1][:, 1:] for _, coords in slices]
    means, spreads = [], []
    for size in sizes:
        means.append([_mean_over(neighbors[:, :size]) for neighbors in nearest])
        spreads.append(np.sqrt(sum(((mean + mean.T).data ** 2).sum() for mean in means[-1]) / 2))

    def statistic() -> float:
        found = []
        for each, spread in zip(means, spreads, strict=True):
            moran = np.sum([_moran(whitened[rows], mean) for (rows, _), mean in zip(slices, each, strict=True)], axis=0)
            found.append(float(np.linalg.eigvalsh(moran + moran.T)[-1] / spread))
        return max(found)

    found, shuffled = statistic(), []
    for _ in range(_N_SHUFFLES):
        for rows, _ in slices:
            whitened[rows] = whitened[rng.permutation(rows)]
        shuffled.append(statistic())
    return found > _CLEARLY * max(shuffled)


def predicted_share(
    values: np.ndarray, slices: Sequence[tuple[np.ndarray, np.ndarray]], sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """How well neighbourhoods of each size predict ``values`` ``(N, d)`` of spots, and how far they reach.

    Each of ``slices`` has rows of ``values`` and coordinates ``(n, 2)`` or ``(n, 3)``; it may be a part of a slice.
    ``sizes`` are numbers of nearest neighbours, ascending, below the number of spots of each slice. The first result
    ``(n_sizes,)`` is the weighted mean of :math:`R^2`, NaN throughout if neighbours are alike in no direction. The
    second is the median distance of the last of the neighbours.
    """
    whitened = _whiten(values, [rows for rows, _ in slices])
    nearest = [cKDTree(coords).query(coords, sizes[-1] + 1) for _, coords in slices]
    reach = np.median(np.concatenate([distances for distances, _ in nearest]), axis=0)[list(sizes)]
    predictions = []
    for size in sizes:
        predicted = np.zeros_like(whitened)
        for (rows, _), (_, neighbors) in zip(slices, nearest, strict=True):
            predicted[rows] = _leave_out(whitened[rows], neighbors, size)
        predictions.append(predicted)
    shared = [whitened.T @ predicted / len(whitened) for predicted in predictions]
    weights, directions = np.linalg.eigh(sum(each + each.T for each in shared) / (2 * len(sizes)))
    if not (weights > 0).any():
        return np.full(len(sizes), np.nan), reach
    weights = np.maximum(weights, 0) / np.maximum(weights, 0).sum()
    share = [
        weights @ (2 * np.einsum("ia,ij,ja->a", directions, each, directions) - ((p @ directions) ** 2).mean(axis=0))
        for each, p in zip(shared, predictions, strict=True)
    ]
    return np.array(share), reach


def _whiten(values: np.ndarray, slices: Sequence[np.ndarray]) -> np.ndarray:
    """Components centred in each slice, uncorrelated, of variance 1."""
    centred = np.asarray(values, dtype=np.float64).copy()
    for rows in slices:
        centred[rows] -= centred[rows].mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    kept = spread > 1e-6 * spread.max(initial=0)
    whitened: np.ndarray = left[:, kept] * np.sqrt(len(centred))
    return whitened


def _leave_out(values: np.ndarray, neighbors: np.ndarray, size: int) -> np.ndarray:
    """The mean over two steps of the graph of the nearest, without what comes back to the spot itself."""
    n = len(values)
    columns = neighbors[:, : size + 1].copy()
    # Among many spots at one place a spot may not be found itself.
    lost = np.flatnonzero((columns != np.arange(n)[:, None]).all(axis=1))
    columns[lost, -1] = lost
    mean = _mean_over(columns)
    back = np.asarray(mean.multiply(mean.T).sum(axis=1)).ravel()[:, None]
    predicted: np.ndarray = (mean @ (mean @ values) - back * values) / (1 - back)
    return predicted


def _moran(values: np.ndarray, mean: sparse.csr_array) -> np.ndarray:
    """Products of spots with the mean of their neighbours, ``(d, d)``. A spot is no neighbour of its own."""
    products: np.ndarray = values.T @ (mean @ values - mean.diagonal()[:, None] * values)
    return products


def _mean_over(columns: np.ndarray) -> sparse.csr_array:
    """The matrix that takes the mean over the spots in each row of ``columns`` ``(n, k)``."""
    n, size = columns.shape
    indices = np.arange(0, n * size + 1, size)
    return sparse.csr_array((np.full(columns.size, 1 / size), columns.ravel(), indices), shape=(n, n))
