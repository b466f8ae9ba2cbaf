"""Averages over spatial neighbours: the linear baseline of every spatial method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scipy import sparse

if TYPE_CHECKING:
    import numpy as np


def smooth(values: np.ndarray, adjacency: Any, n_hops: int) -> np.ndarray:
    """Replace every row by the mean over its spot and the spot's neighbours, ``n_hops`` times.

    Parameters
    ----------
    values
        ``(N, d)``.
    adjacency
        Sparse ``(N, N)``; row i holds the neighbours of spot i. Weights are not used, the diagonal is ignored.
    n_hops
        How often the mean is taken; 0 returns the values.

    Returns
    -------
    Array ``(N, d)`` of the type of ``values``.

    Examples
    --------
    >>> import numpy as np
    >>> chain = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> smooth(np.array([[0.0], [3.0], [6.0]]), chain, 1).ravel().tolist()
    [1.5, 3.0, 4.5]
    """
    mean = mean_operator(adjacency, values.dtype)
    for _ in range(n_hops):
        values = mean @ values
    return values


def mean_operator(adjacency: Any, dtype: np.dtype | type) -> sparse.csr_array:
    """The sparse ``(N, N)`` matrix whose product is the mean over each spot and its neighbours."""
    graph = sparse.csr_array(adjacency, dtype=dtype, copy=True)
    graph.setdiag(1)
    graph.eliminate_zeros()
    graph.data[:] = 1
    return sparse.csr_array(sparse.diags_array(1 / graph.sum(axis=1)).astype(dtype) @ graph)
