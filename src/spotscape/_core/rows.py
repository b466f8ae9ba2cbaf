"""Expression that stays where it is, in a file or in a graph of tasks, and is read a block of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK_ROWS = 8192
# Nothing countable has a logarithm above this; expression on a linear scale nearly always has larger values.
LARGEST_LOGARITHM = 20
# Rows of a matrix in memory that are looked at together; what is made of them on the way stays small beside it.
_BLOCK_IN_MEMORY = 32_768


@dataclass(frozen=True)
class Summary:
    """What one pass over all rows tells."""

    # Smallest and largest value, zeros among them.
    least: float
    largest: float
    n_broken: int  # Number of values that are NaN or infinite
    whole: bool  # Whether every value is a whole number
    row_sums: np.ndarray  # Float64, over the genes that count
    sizes: np.ndarray  # Rows of each group, int64 ``(n_groups,)``
    # Sums of values and of their squares by group of rows and gene, float64 ``(n_groups, G)``.
    sums: np.ndarray
    squares: np.ndarray
    detected: np.ndarray  # Spots that have each gene, by group of rows, int64 ``(n_groups, G)``

    @property
    def column_sums(self) -> np.ndarray:
        """Sums of genes over all rows, float64 ``(G,)``."""
        return np.asarray(self.sums.sum(axis=0))


def summarise(matrix: Any, *, groups: np.ndarray | None = None, counted: np.ndarray | None = None) -> Summary:
    """What one pass over the rows of a matrix or :class:`ChunkedMatrix` tells.

    ``groups`` holds the group of each row, codes from 0; ``counted`` the genes that enter ``row_sums``.
    """
    codes = np.zeros(matrix.shape[0], np.int64) if groups is None else np.asarray(groups, np.int64)
    n_groups, n_genes = int(codes.max(initial=0)) + 1, matrix.shape[1]
    sums, squares, detected = np.zeros((3, n_groups * n_genes))
    weights = np.ones(n_genes) if counted is None else counted.astype(np.float64)
    least, largest, n_broken, whole, start, row_sums = np.inf, -np.inf, 0, True, 0, []
    for given in blocks_of(matrix):
        block = sparse.csr_array(given)
        own = codes[start : start + block.shape[0]]
        start += block.shape[0]
        values = block.data if block.data.dtype.kind == "f" else block.data.astype(np.float64)
        n_broken += int(np.count_nonzero(~np.isfinite(values)))
        has_zeros = values.size < block.shape[0] * n_genes
        least = min(least, float(values.min(initial=np.inf)), 0.0 if has_zeros else np.inf)
        largest = max(largest, float(values.max(initial=-np.inf)), 0.0 if has_zeros else -np.inf)
        whole = whole and np.array_equal(values, np.floor(values))
        cells = block.indices if n_groups == 1 else np.repeat(own, np.diff(block.indptr)) * n_genes + block.indices
        sums += np.bincount(cells, values, len(sums))
        squares += np.bincount(cells, values.astype(np.float64) ** 2, len(sums))
        detected += np.bincount(cells, values > 0, len(sums))
        row_sums.append(block.astype(np.float64) @ weights)
    shape = (n_groups, n_genes)
    return Summary(
        least,
        largest,
        n_broken,
        whole,
        np.concatenate(row_sums),
        np.bincount(codes, minlength=n_groups),
        sums.reshape(shape),
        squares.reshape(shape),
        detected.reshape(shape).astype(np.int64),
    )


def blocks_of(matrix: Any) -> Iterator[Any]:
    """The rows of any matrix by blocks, CSR or dense."""
    if isinstance(matrix, ChunkedMatrix):
        yield from matrix.blocks()
        return
    rows = matrix.tocsr() if sparse.issparse(matrix) else matrix
    for start in range(0, matrix.shape[0], _BLOCK_IN_MEMORY):
        yield rows[start : start + _BLOCK_IN_MEMORY]


@dataclass(frozen=True)
class Normalisation:
    """Counts of each spot times its factor, and the logarithm of one more than that if ``log1p``."""

    factors: np.ndarray
    log1p: bool

    def apply(self, block: Any, start: int = 0) -> Any:
        """The block whose first row is ``start``, CSR or dense, of its floating type or float32."""
        factors = self.factors[start : start + block.shape[0]]
        dtype = np.float64 if block.dtype == np.float64 else np.float32
        if sparse.issparse(block):
            matrix = sparse.csr_matrix(block, dtype=dtype, copy=True)
            matrix.data *= np.repeat(factors.astype(dtype), np.diff(matrix.indptr))
            values = matrix.data
        else:
            matrix = values = np.asarray(block).astype(dtype) * factors[:, None].astype(dtype)
        if self.log1p:
            np.log1p(values, out=values)
        return matrix


@dataclass(frozen=True, eq=False)
class ChunkedMatrix:
    """A matrix ``(N, G)`` of float32 that is read by rows: backed by HDF5 or zarr, dense or sparse, or of dask."""

    stored: Any  # What gives rows when it is sliced
    columns: np.ndarray | None = None  # The columns to use, int64; ``None`` for all
    change: Callable[[np.ndarray], np.ndarray] | None = None  # Elementwise function that leaves zero as it is
    groups: np.ndarray | None = None  # Group of each row, codes from 0, for :attr:`summary`; ``None`` for a single one
    # What to do with the counts that are read before anything else; ``None`` if nothing.
    normalisation: Normalisation | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, ``(N, G)``."""
        n_columns = self.stored.shape[1] if self.columns is None else len(self.columns)
        return int(self.stored.shape[0]), int(n_columns)

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` to ``stop`` in memory, a CSR or a dense array of float32."""
        part = self.stored[start:stop]
        if hasattr(part, "compute"):
            part = part.compute()
        matrix: Any = (
            sparse.csr_array(part, dtype=np.float32) if sparse.issparse(part) else np.asarray(part, np.float32)
        )
        if self.normalisation is not None:
            matrix = self.normalisation.apply(matrix, start)
        matrix = matrix if self.columns is None else matrix[:, self.columns]
        if self.change is None:
            return matrix
        if not sparse.issparse(matrix):
            return self.change(matrix)
        matrix.data = self.change(matrix.data)
        return matrix

    def blocks(self) -> Iterator[Any]:
        """All rows, block by block."""
        for start in range(0, self.shape[0], BLOCK_ROWS):
            yield self.rows(start, min(start + BLOCK_ROWS, self.shape[0]))

    def with_columns(self, kept: np.ndarray) -> ChunkedMatrix:
        """The same with some of its columns, bool ``(G,)``."""
        columns = np.arange(self.shape[1]) if self.columns is None else self.columns
        return replace(self, columns=columns[kept])

    def every(self, step: int) -> Any:
        """Every so many-th row, in memory."""
        parts = []
        for number, block in enumerate(self.blocks()):
            parts.append(block[-number * BLOCK_ROWS % step :: step])
        return sparse.csr_array(sparse.vstack(parts)) if sparse.issparse(parts[0]) else np.concatenate(parts)

    def min(self) -> float:
        """Smallest value."""
        return self.summary.least

    def max(self) -> float:
        """Largest value."""
        return self.summary.largest

    def sum(self, axis: int) -> np.ndarray:
        """Sums of columns (0) or rows (1), float64."""
        return self.summary.row_sums if axis == 1 else self.summary.column_sums

    def in_memory(self) -> Any:
        """All of it."""
        return self.every(1)

    @cached_property
    def summary(self) -> Summary:
        """What one pass over all rows tells."""
        return summarise(self, groups=self.groups)


def expm1(matrix: Any) -> Any:
    """``expm1`` of expression in memory, of an array of dask, or of a :class:`ChunkedMatrix` as it is read."""
    if isinstance(matrix, ChunkedMatrix):
        return replace(matrix, change=np.expm1)
    # scipy's expm1 leaves zeros out, as it may.
    return matrix.expm1() if sparse.issparse(matrix) else np.expm1(matrix)


def is_stored(matrix: Any) -> bool:
    """Whether a matrix of an AnnData lies in a file or is a dask array, so that its rows can be read by blocks."""
    if sparse.issparse(matrix) or isinstance(matrix, np.ndarray):
        return False
    if getattr(matrix, "format", None) == "csc":
        # Rows of it can only be had by reading all.
        return False
    return any(hasattr(matrix, name) for name in ("to_memory", "compute", "chunks"))
