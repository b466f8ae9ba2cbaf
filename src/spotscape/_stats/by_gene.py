"""Statistics of every gene from sparse expression: Wilcoxon's test between groups, and Moran's I on a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

Matrix: TypeAlias = np.ndarray | sparse.csr_array
# Entries of the expression that are worked on at once.
_ENTRIES = 2**23


def rank_sum_scores(values: Matrix, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Score every gene in each group against all other rows by Wilcoxon's rank-sum test, corrected for ties.

    Most values of a gene are zero, so most ranks are tied. Without the correction, scores of genes that few spots
    express would be several times too small.

    Parameters
    ----------
    values
        Expression, shape ``(n_obs, n_genes)``.
    groups
        Integers from 0 to ``n_groups - 1``, shape ``(n_obs,)``.
    n_groups
        Number of groups.

    Returns
    -------
    z, float64 ``(n_groups, n_genes)``: positive where ranks are higher in the group, 0 for constant genes.

    Examples
    --------
    >>> import numpy as np
    >>> rank_sum_scores(np.array([[0.0], [0.0], [0.0], [5.0], [7.0]]), np.array([0, 0, 0, 1, 1]), 2).round(3)
    array([[-1.936],
           [ 1.936]])
    """
    n, n_genes = values.shape
    sums, ties = np.zeros((n_groups, n_genes)), np.zeros(n_genes)
    for genes in _blocks(values):
        sums[:, genes], ties[genes] = _rank_sums(sparse.csc_array(values[:, genes]), groups, n_groups)
    sizes = np.bincount(groups, minlength=n_groups)[:, None].astype(np.float64)
    variance = sizes * (n - sizes) / 12 * ((n + 1) - ties / max(1, n * (n - 1)))
    away = sums - sizes * (n + 1) / 2
    scores: np.ndarray = np.divide(away, np.sqrt(variance), out=np.zeros_like(away), where=variance > 0)
    return scores


def morans_i(values: Matrix, edges: sparse.csr_array) -> np.ndarray:
    """Moran's I of every gene, with the weights of each row of ``edges`` divided by their sum; NaN for constant genes.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> path = sparse.csr_array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    >>> morans_i(np.array([[0.0], [0.0], [1.0], [1.0]]), path)
    array([0.5])
    """
    degrees = np.asarray(edges.sum(axis=1), dtype=np.float64).ravel()
    scale = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees != 0)
    weights = sparse.csr_array(sparse.diags_array(scale) @ edges.astype(np.float64))
    to, total, n = np.asarray(weights.sum(axis=0)).ravel(), weights.sum(), values.shape[0]
    rows, found = (degrees != 0).astype(np.float64), np.full(values.shape[1], np.nan)
    for genes in _blocks(values):
        part: Any = values[:, genes].astype(np.float64)
        mean, squares = np.asarray(part.mean(axis=0)).ravel(), _dot(part, part)
        # Squares of the deviations from the mean, without making the matrix dense.
        cross = _dot(part, weights @ part) - mean * (part.T @ (rows + to)) + mean**2 * total
        spread = squares - n * mean**2
        varies = spread > 1e-12 * squares
        found[genes] = np.divide(n * cross, total * spread, out=np.full(len(mean), np.nan), where=varies & (total != 0))
    return found


def _dot(one: Any, other: Any) -> np.ndarray:
    product = one.multiply(other) if sparse.issparse(one) else one * other
    return np.asarray(product.sum(axis=0)).ravel()


def _blocks(values: Matrix) -> Iterator[slice]:
    n_genes = values.shape[1]
    entries = values.size  # of a sparse matrix, those that are stored
    width = max(1, int(n_genes * _ENTRIES / max(1, entries)))
    return (slice(left, left + width) for left in range(0, n_genes, width))


def _rank_sums(columns: sparse.csc_array, groups: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum mean ranks in every group, and t³ - t over the ties, of every gene; the zeros are one tie."""
    columns.eliminate_zeros()
    n, n_genes = columns.shape
    stored = np.diff(columns.indptr)
    zeros = (n - stored).astype(np.float64)
    gene = np.repeat(np.arange(n_genes), stored)
    order = np.lexsort((columns.data, gene))
    data, cell = columns.data[order], groups[columns.indices[order]] * n_genes + gene
    new = np.ones(len(data), dtype=bool)
    new[1:] = (data[1:] != data[:-1]) | (gene[1:] != gene[:-1])
    starts = np.flatnonzero(new)
    lengths, owner = np.diff(np.append(starts, len(data))), gene[starts]
    ranks = starts - columns.indptr[owner] + np.where(data[starts] > 0, zeros[owner], 0) + (lengths + 1) / 2
    sums = np.bincount(cell, np.repeat(ranks, lengths), n_groups * n_genes).reshape(n_groups, n_genes)
    of_zero = np.bincount(gene[data < 0], minlength=n_genes) + (zeros + 1) / 2
    without = np.bincount(groups, minlength=n_groups)[:, None] - np.bincount(
        cell, minlength=n_groups * n_genes
    ).reshape(n_groups, n_genes)
    ties = np.bincount(owner, lengths.astype(np.float64) ** 3 - lengths, n_genes) + zeros**3 - zeros
    return sums + without * of_zero, ties
