"""Exact nearest neighbours: within one set of points, and from one set to another."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from spotscape._core.edges import nearest, tie_width


def nearest_others(points: np.ndarray, n_neighs: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and row numbers, both ``(n, n_neighs)``, of the nearest other points, nearest first.

    A point is no neighbour of itself, even where others share its place. Up to 15 dimensions by a tree; above, all
    pairs of distances are looked at, block by block.
    """
    # Far from the origin the expansion |a|² - 2ab + |b|², which scikit-learn uses, loses digits.
    centred = points - points.mean(axis=0)
    distances, indices = NearestNeighbors(n_neighbors=n_neighs).fit(centred).kneighbors()
    return np.asarray(distances, dtype=np.float64), np.asarray(indices, dtype=np.intp)


def edges_between_adjacent(
    slices: list[np.ndarray], rows: list[np.ndarray], n_neighs: int, *, workers: int = 1
) -> sparse.coo_matrix:
    """Lengths of the edges from each spot to its ``n_neighs`` nearest in the slice before and in the one after.

    ``slices`` holds the coordinates of each slice in the order of the stack, ``rows`` the row of each of their spots.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    # Where slices are flat the gap adds the same to all, and what ties in the plane has to tie whatever it is.
    flat = all(np.ptp(coords[:, 2]) == 0 for coords in slices)
    seen = [coords[:, :2] for coords in slices] if flat else slices
    widths = [tie_width(coords[:, :2]) if flat else 0.0 for coords in slices]
    for below in range(len(slices) - 1):
        for here, there in ((below, below + 1), (below + 1, below)):
            _, found = nearest(seen[here], seen[there], n_neighs, width=widths[there], itself=False, workers=workers)
            lengths = np.linalg.norm(slices[here][:, None] - slices[there][found], axis=2)
            parts.append((lengths.ravel(), np.repeat(rows[here], found.shape[1]), rows[there][found].ravel()))
    lengths, starts, ends = (np.concatenate(part) for part in zip(*parts, strict=True))
    n_spots = sum(len(index) for index in rows)
    return sparse.coo_matrix((lengths, (starts, ends)), shape=(n_spots, n_spots))


def union(first: sparse.csr_matrix, second: sparse.coo_matrix) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Connectivities and lengths of two graphs without a common edge; lengths of zero stay stored."""
    left = first.tocoo()
    starts, ends = np.concatenate([left.row, second.row]), np.concatenate([left.col, second.col])
    lengths = np.concatenate([left.data, second.data])
    joined = sparse.csr_matrix((lengths, (starts, ends)), shape=first.shape)
    joined.sort_indices()
    ones = np.ones(joined.nnz, dtype=np.float32)
    return sparse.csr_matrix((ones, joined.indices.copy(), joined.indptr.copy()), shape=first.shape), joined
