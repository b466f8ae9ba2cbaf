"""The covariance of genes as an operator: moments and products in blocks of spots, no copy of the expression.

Blocks are added up in one order, so that results have the same bits whatever the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

from spotscape._core.rows import BLOCK_ROWS, ChunkedMatrix
from spotscape._core.settings import one_thread, threaded_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

_ROWS = BLOCK_ROWS
# Up to this size, values that are cut off are kept; cutting them off in each pass takes as long as a product.
_MOST_COPIED = 2**28


class Blocks:
    """Expression, dense or sparse, ``(N, G)``, as blocks of spots; values above ``ceiling`` are cut off."""

    def __init__(self, matrix: Any, ceiling: np.ndarray | None = None) -> None:
        self.matrix: Any = matrix
        if not isinstance(matrix, ChunkedMatrix):
            self.matrix = sparse.csr_array(matrix) if sparse.issparse(matrix) else np.asarray(matrix)
        self.shape: tuple[int, int] = self.matrix.shape
        self.ceiling = ceiling
        if ceiling is not None and sparse.issparse(self.matrix) and self.matrix.data.nbytes <= _MOST_COPIED:
            self.matrix, self.ceiling = _clipped(self.matrix, ceiling), None
        # As many as BLAS would use now; within a product it has one.
        blas = (one["num_threads"] for one in threaded_libraries().info() if one["user_api"] == "blas")
        self.n_threads = max(blas, default=1)

    def map(self, function: Callable[..., Result], *beside: np.ndarray) -> Iterator[Result]:
        """Apply a function to every block and the same rows of arrays beside; hand the results out in their order."""
        starts = range(0, self.shape[0], _ROWS)

        def apply(start: int) -> Result:
            return function(self._block(start), *(rows[start : start + _ROWS] for rows in beside))

        # BLAS with several threads cuts sums in other places; the blocks keep the cores busy.
        with one_thread("blas"):
            if self.n_threads == 1 or len(starts) == 1:
                yield from map(apply, starts)
                return
            with ThreadPoolExecutor(self.n_threads) as pool:
                yield from pool.map(apply, starts)

    def every(self, step: int) -> Blocks:
        """Every so many-th spot, in memory."""
        rows = self.matrix.every(step) if isinstance(self.matrix, ChunkedMatrix) else self.matrix[::step]
        return Blocks(rows, self.ceiling)

    def _block(self, start: int) -> Any:
        stop = min(start + _ROWS, self.shape[0])
        if isinstance(self.matrix, ChunkedMatrix):
            block = self.matrix.rows(start, stop)
        elif sparse.issparse(self.matrix):
            first, last = self.matrix.indptr[start], self.matrix.indptr[stop]
            # Without the copies that scipy makes of rows, and of parts of arrays that its constructor is given.
            block = sparse.csr_array((stop - start, self.shape[1]), dtype=self.matrix.dtype)
            block.data, block.indices = self.matrix.data[first:last], self.matrix.indices[first:last]
            block.indptr = self.matrix.indptr[start : stop + 1] - first
        else:
            block = self.matrix[start:stop]
        return block if self.ceiling is None else _clipped(block, self.ceiling)


def _clipped(matrix: Any, ceiling: np.ndarray) -> Any:
    """The same with the values of each gene cut off at its limit."""
    if not sparse.issparse(matrix):
        return np.minimum(matrix, ceiling)
    return sparse.csr_array(
        (np.minimum(matrix.data, ceiling[matrix.indices]), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def moments(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each gene in float64; a deviation that is mere rounding is 0."""
    n_spots, n_genes = blocks.shape

    def sums(block: Any) -> np.ndarray:
        if not sparse.issparse(block):
            return np.asarray(np.sum(block, axis=0, dtype=np.float64))
        # scipy would add up float32 entries in float32.
        return np.bincount(block.indices, block.data, n_genes)

    mean = sum(blocks.map(sums), np.zeros(n_genes)) / n_spots

    def squares(block: Any) -> np.ndarray:
        if not sparse.issparse(block):
            return np.asarray(np.square(block - mean).sum(0))
        centred = block.data - mean[block.indices]
        absent = block.shape[0] - np.bincount(block.indices, minlength=n_genes)
        return np.asarray(np.bincount(block.indices, np.square(centred), n_genes) + absent * mean**2)

    deviation = np.sqrt(sum(blocks.map(squares), np.zeros(n_genes)) / n_spots)
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 0.0)


def smoothed_covariance_product(
    blocks: Blocks, mean: np.ndarray, weight: np.ndarray, smoother: Any
) -> Callable[[np.ndarray], np.ndarray]:
    r"""The covariance of means over neighbours, :math:`V \mapsto W (X - \mu)^\top M^\top H M (X - \mu) W V / N`.

    :math:`M` is the sparse ``smoother``, :math:`H` subtracts the mean; smoothed expression is never held.
    """

    def multiply(vectors: np.ndarray) -> np.ndarray:
        weighted = (vectors * weight[:, None]).astype(np.float32)
        offset = (mean @ weighted).astype(np.float32)
        parts = blocks.map(lambda block: np.asarray(block.astype(np.float32, copy=False) @ weighted))
        smoothed = smoother @ (np.concatenate(list(parts)) - offset)
        smoothed -= smoothed.mean(0, dtype=np.float64)
        scores = smoother.T @ smoothed
        products = blocks.map(lambda block, rows: np.asarray(block.T.astype(np.float32, copy=False) @ rows), scores)
        total = sum(products, np.zeros(vectors.shape))
        total -= np.outer(mean, scores.sum(0, dtype=np.float64))
        return np.asarray(total * weight[:, None] / blocks.shape[0])

    return multiply


def covariance_product(blocks: Blocks, mean: np.ndarray, weight: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    r"""The map :math:`V \mapsto W (X - \mu)^\top (X - \mu) W V / N` with :math:`W = \mathrm{diag}(w)`."""

    def multiply(vectors: np.ndarray) -> np.ndarray:
        weighted = (vectors * weight[:, None]).astype(np.float32)
        offset = (mean @ weighted).astype(np.float32)

        def product(block: Any) -> tuple[np.ndarray, np.ndarray]:
            block = block.astype(np.float32, copy=False)
            scores = np.asarray(block @ weighted)
            scores -= offset
            return np.asarray(block.T @ scores), scores.sum(0, dtype=np.float64)

        total, rest = np.zeros(vectors.shape), np.zeros(vectors.shape[1])
        for part, scores in blocks.map(product):
            total += part
            rest += scores
        total -= np.outer(mean, rest)
        return np.asarray(total * weight[:, None] / blocks.shape[0])

    return multiply


_MOST_COLUMNS = 512


def leading_eigenvectors(
    multiply: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    n_vectors: int,
    *,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> np.ndarray:
    r"""Eigenvectors of the largest eigenvalues of a positive semi-definite operator, float64, by block Lanczos.

    They are the best approximations within :math:`\mathrm{span}(Q, CQ, C^2Q, \dots)` from the block :math:`Q`,
    ``start``. It ends when :math:`\lVert Cv - \lambda v \rVert \le \epsilon \lambda` for each of them, or once the span
    is so large that only directions of noise with nearly the same variance are left to be told apart.
    """
    rng = np.random.default_rng(seed)
    size = len(start)
    most = min(size, max(_MOST_COLUMNS, 4 * n_vectors))
    basis: list[np.ndarray] = []
    projected = np.empty((0, 0))
    block = start
    # The same bits whatever the number of threads.
    with one_thread("blas"):
        while True:
            # Orthonormal outside of the basis; twice, for the digits that once leaves.
            for _ in range(2):
                for part in basis:
                    block = block - part @ (part.T @ block)
                block = np.linalg.qr(block)[0]
            basis.append(block)
            image = multiply(basis[-1])
            inner = np.vstack([part.T @ image for part in basis])
            n_old, own = len(projected), inner[len(projected) :]
            projected = np.block([[projected, inner[:n_old]], [inner[:n_old].T, (own + own.T) / 2]])
            values, vectors = np.linalg.eigh(projected)
            values, vectors = values[::-1][:n_vectors], vectors[:, ::-1][:, :n_vectors]
            image -= _combine(basis, inner)
            missed = np.linalg.norm(image @ vectors[-image.shape[1] :], axis=0)
            done = (missed <= tolerance * np.maximum(values, 1e-3 * values[0])).all() and len(projected) >= n_vectors
            if done or len(projected) >= most:
                return _combine(basis, vectors)
            strong = np.linalg.norm(image, axis=0) > 1e-6 * values[0]
            block = image[:, strong] if strong.any() else rng.standard_normal(start.shape)
            block = block[:, : size - len(projected)]


def _combine(basis: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The product of the basis, side by side, with weights."""
    cuts = np.cumsum([part.shape[1] for part in basis])[:-1]
    return np.asarray(sum(part @ rows for part, rows in zip(basis, np.split(weights, cuts), strict=True)))
