r"""Scale of a tissue: how well the neighbours of a spot, without the spot, predict its expression.

Few neighbours predict badly because their mean is noisy, many because some lie in other domains. With the whitened
components :math:`y` of single spots, and the mean :math:`P_k y` over two steps of the graph of the :math:`k` nearest
neighbours, without the spot itself,

.. math:: R^2_a(k) = 1 - \frac{\sum_i (y_{ia} - (P_k y)_{ia})^2}{\sum_i y_{ia}^2}

is computed for each direction :math:`a` in which neighbours are similar, and weighted by the positive eigenvalues of
the covariance of spots and neighbours. Whether neighbours are alike at all is asked first, by Moran's I.
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

    Moran's I is largest in the direction of the leading eigenvector of :math:`Y^\top P_k Y`, made symmetric. It is
    taken in units of its standard deviation among shuffled spots, and at the size where it is largest.
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
            moran = np.zeros((whitened.shape[1],) * 2)
            for (rows, _), mean in zip(slices, each, strict=True):
                own = whitened[rows]
                # A spot is no neighbour of its own.
                moran += own.T @ (mean @ own - mean.diagonal()[:, None] * own)
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

    Each of ``slices`` has rows of ``values`` and coordinates, and ``sizes`` are numbers of nearest neighbours,
    ascending. The first result is the weighted mean of :math:`R^2`, NaN if neighbours are alike in no direction.
    """
    whitened = _whiten(values, [rows for rows, _ in slices])
    nearest = [cKDTree(coords).query(coords, sizes[-1] + 1) for _, coords in slices]
    reach = np.median(np.concatenate([distances for distances, _ in nearest]), axis=0)[list(sizes)]
    predictions = []
    for size in sizes:
        predicted = np.zeros_like(whitened)
        for (rows, _), (_, neighbors) in zip(slices, nearest, strict=True):
            columns, n = neighbors[:, : size + 1].copy(), len(rows)
            # Among many spots at one place a spot may not be found itself.
            lost = np.flatnonzero((columns != np.arange(n)[:, None]).all(axis=1))
            columns[lost, -1] = lost
            # The mean over two steps of the graph, without what comes back to the spot itself.
            mean, own = _mean_over(columns), whitened[rows]
            back = np.asarray(mean.multiply(mean.T).sum(axis=1)).ravel()[:, None]
            predicted[rows] = (mean @ (mean @ own) - back * own) / (1 - back)
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
    return np.asarray(left[:, kept] * np.sqrt(len(centred)))


def _mean_over(columns: np.ndarray) -> sparse.csr_array:
    """The matrix that takes the mean over the spots in each row of ``columns`` ``(n, k)``."""
    n, size = columns.shape
    indices = np.arange(0, n * size + 1, size)
    return sparse.csr_array((np.full(columns.size, 1 / size), columns.ravel(), indices), shape=(n, n))
