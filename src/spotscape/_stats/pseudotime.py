"""Where a trajectory starts, which spots it reaches, and the order of groups along it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

Start = Literal["center", "tip"]
# Nearer to 1 than this, an eigenvalue is taken for 1: that of the stationary component, or of spots that are connected
# by nearly no weight, whose order would be that of rounding.
RESOLUTION = 1e-5
# Up to this size all eigenvectors are computed at once, which depends on no start and no tolerance.
_DENSE = 300


def reached_from(graph: sparse.spmatrix | sparse.sparray, in_root: np.ndarray) -> tuple[np.ndarray, int]:
    """Spots in the connected component with most spots of the root, bool ``(n,)``, and the number of components."""
    n_components, component = connected_components(graph, directed=False)
    home = np.bincount(component[in_root], minlength=n_components).argmax()
    return component == home, int(n_components)


def root_spot(components: np.ndarray, in_root: np.ndarray, start: Start) -> int:
    """The spot of the root group nearest to its median in diffusion space ``(n, d)``, or at its end.

    The end is the spot that lies farthest out on the first component, on the side of the group as seen from all others.
    """
    rows = np.flatnonzero(in_root)
    own = components[rows]
    if start == "center":
        return int(rows[((own - np.median(own, axis=0)) ** 2).sum(axis=1).argmin()])
    others = components[~in_root, :1].ravel()
    if components.shape[1] == 0:
        return int(rows[0])
    side = 1.0 if not others.size or own[:, 0].mean() >= others.mean() else -1.0
    return int(rows[(side * own[:, 0]).argmax()])


def diffusion_components(
    graph: sparse.spmatrix | sparse.sparray, n_comps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenvectors ``(n, d)`` and eigenvalues ``(d,)`` of diffusion on a connected graph, largest first.

    With the weights :math:`W` and their row sums :math:`q`, the density is divided out, :math:`K = W / (q q^\top)`, and
    the rest normalised symmetrically by its row sums. The first component is the stationary one.
    """
    weights = sparse.csr_array(graph, dtype=np.float64)
    for power in (1.0, 0.5):
        scale = np.asarray(weights.sum(axis=1)).ravel() ** -power
        weights = sparse.csr_array(weights.multiply(scale[:, None]).multiply(scale[None, :]))
    n = weights.shape[0]
    k = min(n_comps, n)
    if n <= max(_DENSE, 2 * k):
        values, vectors = np.linalg.eigh(weights.toarray())
        return vectors[:, ::-1][:, :k], values[::-1][:k]
    start = np.random.default_rng(seed).normal(size=n)
    try:
        values, vectors = eigsh(weights, k=k, which="LA", v0=start, ncv=min(n - 1, max(4 * k, 40)), maxiter=100 * k)
    except ArpackNoConvergence as error:
        # Many eigenvalues next to 1 resemble each other: those that were found are the order that there is.
        values, vectors = error.eigenvalues, error.eigenvectors
    order = np.argsort(values)[::-1]
    return vectors[:, order], values[order]


def group_connectivities(edges: sparse.spmatrix | sparse.sparray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """How connected groups are in a directed graph of neighbours, from 0 to 1, symmetric ``(n_groups, n_groups)``.

    The number of edges between two groups, over the number :math:`(e_i n_j + e_j n_i) / (n - 1)` that chance would give
    for groups of :math:`n_i` spots with :math:`e_i` edges that leave them.
    """
    rows, columns = sparse.coo_array(edges).coords
    known = (codes[rows] >= 0) & (codes[columns] >= 0)
    between = np.zeros((n_groups, n_groups))
    np.add.at(between, (codes[rows[known]], codes[columns[known]]), 1)
    sizes, leaving = np.bincount(codes[codes >= 0], minlength=n_groups), between.sum(axis=1)
    np.fill_diagonal(between, 0)
    expected = (np.outer(leaving, sizes) + np.outer(sizes, leaving)) / max(sizes.sum() - 1, 1)
    between += between.T
    shares = np.divide(between, expected, out=np.zeros_like(between), where=expected > 0)
    return np.asarray(np.minimum(shares, 1.0))


def strongest_tree(connectivities: np.ndarray) -> np.ndarray:
    """The tree, or one for each part, of the strongest connections: their values, 0 elsewhere, symmetric."""
    found = sparse.coo_array(connectivities)
    lengths = sparse.csr_array((1 / found.data, found.coords), shape=found.shape)
    kept = minimum_spanning_tree(lengths).toarray() > 0
    return np.asarray(np.where(kept | kept.T, connectivities, 0.0))


def diffusion_pseudotime(components: np.ndarray, eigenvalues: np.ndarray, root: int) -> np.ndarray:
    r"""Distance of every spot from the root in a connected graph, scaled to a maximum of 1.

    .. math::
        d(x, y)^2 = \sum_j \left(\frac{\lambda_j}{1 - \lambda_j}\right)^2 (\psi_j(x) - \psi_j(y))^2

    over all components ``(n, d)`` except the stationary one, which the caller leaves out. Scanpy's function treats
    every eigenvalue above 0.9994 as stationary, and large tissue can have main gradients with such eigenvalues.
    """
    if components.shape[1] == 0:
        return np.zeros(len(components))
    weights = eigenvalues / (1 - eigenvalues)
    distances = np.sqrt((((components - components[root]) * weights) ** 2).sum(axis=1))
    return np.asarray(distances / max(distances.max(), np.finfo(np.float64).tiny))


def crossing_fraction(graph: sparse.csr_array, codes: np.ndarray) -> float:
    """Share of the edges that join spots of different slices, over that of edges drawn without regard to slices."""
    rows, columns = graph.tocoo().coords
    shares = np.bincount(codes) / len(codes)
    expected = 1 - float((shares**2).sum())
    crossing = np.count_nonzero(codes[rows] != codes[columns]) / max(1, len(rows))
    return crossing / expected if expected else 1.0
