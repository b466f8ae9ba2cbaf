"""Where a trajectory starts, what it reaches, and in which order it passes groups of spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from scipy import sparse

Start = Literal["center", "tip"]
# Scanpy finds eigenvalues in single precision; nearer to 1 than this, none is told from 1.
_RESOLUTION = 1e-5


def reached_from(graph: sparse.spmatrix | sparse.sparray, in_root: np.ndarray) -> tuple[np.ndarray, int]:
    """Spots in the connected component with most spots of the root, bool ``(n,)``, and the number of components."""
    n_components, component = connected_components(graph, directed=False)
    home = np.bincount(component[in_root], minlength=n_components).argmax()
    return component == home, int(n_components)


def root_spot(components: np.ndarray, in_root: np.ndarray, start: Start) -> int:
    """The spot of the root group at its centre, or at its end, in diffusion space ``(n, d)``.

    The centre is the spot nearest to the median of the group. The end is the spot that lies farthest out on the first
    component, on the side on which the group has its mean as seen from all other spots.
    """
    rows = np.flatnonzero(in_root)
    own = components[rows]
    if start == "center":
        return int(rows[((own - np.median(own, axis=0)) ** 2).sum(axis=1).argmin()])
    others = components[~in_root, 0]
    side = 1.0 if not others.size or own[:, 0].mean() >= others.mean() else -1.0
    return int(rows[(side * own[:, 0]).argmax()])


def resolved(eigenvalues: np.ndarray) -> np.ndarray:
    """Which components, without the stationary one, are told from it, bool ``(d,)``.

    A few spots that hang on by an edge of next to no weight give another eigenvalue of 1, within its precision. Its
    weight in the distance would be as large as you like, and all order be lost in its rounding errors.

    >>> resolved(np.array([1.0, 0.9998, 0.5]))
    array([False,  True,  True])
    """
    return np.asarray(1 - eigenvalues > _RESOLUTION)


def diffusion_pseudotime(components: np.ndarray, eigenvalues: np.ndarray, root: int) -> np.ndarray:
    r"""Distance of every spot from the root in a connected graph, scaled to a maximum of 1.

    .. math::
        d(x, y)^2 = \sum_j \left(\frac{\lambda_j}{1 - \lambda_j}\right)^2 (\psi_j(x) - \psi_j(y))^2

    over all components ``(n, d)`` but the stationary one, left out by the caller. Scanpy's own function takes every
    eigenvalue above 0.9994 for the stationary one. On embeddings of a spatial graph, whose neighbourhoods are small
    patches of a large tissue, the slowest gradients have such eigenvalues; without them the order folds back.
    """
    weights = eigenvalues / (1 - eigenvalues)
    distances = np.sqrt((((components - components[root]) * weights) ** 2).sum(axis=1))
    return np.asarray(distances / max(distances.max(), np.finfo(np.float64).tiny))


def group_means(values: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Mean of the finite values of each group, float64 ``(n_groups,)``; NaN where a group has none.

    >>> group_means(np.array([1.0, 3.0, np.nan, 4.0]), np.array([0, 0, 1, -1]), 2)
    array([ 2., nan])
    """
    known = np.isfinite(values) & (codes >= 0)
    counts = np.bincount(codes[known], minlength=n_groups)
    sums = np.bincount(codes[known], weights=values[known], minlength=n_groups)
    means: np.ndarray = np.divide(sums, counts, out=np.full(n_groups, np.nan), where=counts > 0)
    return means


def ascending(means: np.ndarray) -> np.ndarray:
    """Indices of the groups by their means; those without one are left out.

    >>> ascending(np.array([0.5, np.nan, 0.1]))
    array([2, 0])
    """
    order = np.argsort(means, kind="stable")
    return np.asarray(order[np.isfinite(means[order])])


def crossing_fraction(graph: sparse.csr_array, codes: np.ndarray) -> float:
    """Share of the edges that join spots of different slices, over that of edges drawn without regard to slices."""
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    shares = np.bincount(codes) / len(codes)
    expected = 1 - float((shares**2).sum())
    crossing = np.count_nonzero(codes[rows] != codes[graph.indices]) / max(1, len(rows))
    return crossing / expected if expected else 1.0
