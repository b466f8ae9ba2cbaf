"""Weights of a graph of nearest neighbours, as UMAP defines them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Steps of the bisection, and the smallest width relative to the mean distance, as published.
_STEPS, _LEAST_WIDTH = 64, 1e-3


def fuzzy_weights(distances: sparse.csr_array) -> sparse.csr_array:
    r"""Symmetric weights ``(n, n)`` between 0 and 1 from the distances of each point to its k − 1 nearest others.

    A point's nearest neighbour that lies apart from it, at :math:`\rho_i`, has weight 1, and so have those at its own
    place. Others have :math:`\exp(-(d_{ij} - \rho_i) / \sigma_i)`, where :math:`\sigma_i` is such that the weights of
    all sum to :math:`\log_2 k`. Both directions of an edge are united: :math:`w = a + b - ab`.

    Scanpy gets the same from umap-learn, which compiles for a quarter of a minute in every session.
    """
    n = distances.shape[0]
    lengths = np.asarray(distances.data, dtype=np.float64).reshape(n, -1)
    nearest = np.where(lengths > 0, lengths, np.inf).min(axis=1, keepdims=True)
    beyond = np.maximum(lengths - np.where(np.isfinite(nearest), nearest, 0.0), 0.0)
    target = np.log2(lengths.shape[1] + 1)
    low, high = np.zeros((n, 1)), np.full((n, 1), np.inf)
    tiny = np.finfo(np.float64).tiny
    width = np.full((n, 1), max(lengths.mean(), tiny))
    for _ in range(_STEPS):
        is_wide = np.exp(-beyond / width).sum(axis=1, keepdims=True) > target
        low, high = np.where(is_wide, low, width), np.where(is_wide, width, high)
        width = np.maximum(np.where(np.isfinite(high), (low + high) / 2, 2 * width), tiny)
    # Means are over the point itself, too.
    local = lengths.sum(axis=1, keepdims=True) / (lengths.shape[1] + 1)
    width = np.maximum(width, _LEAST_WIDTH * np.where(np.isfinite(nearest), local, local.mean()))
    directed = sparse.csr_array(distances)
    directed.data = np.exp(-beyond / np.maximum(width, tiny)).ravel()
    both = directed.multiply(directed.T)
    united: sparse.csr_array = sparse.csr_array(directed + directed.T - both)
    return united
