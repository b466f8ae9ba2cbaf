"""Expression that stays where it is, in a file or in a graph of tasks, and is read a block of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Summary:
    """What one pass over all rows tells.

    Attributes
    ----------
    least, largest
        Smallest and largest value, zeros among them.
    n_broken
        Number of values that are NaN or infinite.
    whole
        Whether every value is a whole number.
    row_sums, column_sums
        Float64.
    detected
        Spots that have each gene, by group of rows, int64 ``(n_groups, G)``.
    """

    least: float
    largest: float
    n_broken: int
    whole: bool
    row_sums: np.ndarray
    column_sums: np.ndarray
    detected: np.ndarray


class RowSource:
    """A matrix ``(N, G)`` of float32 that is read by rows: backed by HDF5 or zarr, dense or sparse, or of dask.

    Parameters
    ----------
    stored
        What gives rows when it is sliced.
    columns
        The columns to use, int64; ``None`` for all.
    change
        Elementwise function that leaves zero as it is.
    groups
        Group of each row, codes from 0, for :attr:`summary`; ``None`` for a single one.
    """

    def __init__(
        self,
        stored: Any,
        *,
        columns: np.ndarray | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        self.stored, self.columns, self.change, self.groups = stored, columns, change, groups
        n_columns = stored.shape[1] if columns is None else len(columns)
        self.shape: tuple[int, int] = (int(stored.shape[0]), int(n_columns))

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` to ``stop`` in memory, a CSR or a dense array of float32."""
        part = self.stored[start:stop]
        if hasattr(part, "compute"):
            part = part.compute()
        if sparse.issparse(part):
            matrix = sparse.csr_array(part, dtype=np.float32)
            matrix = matrix if self.columns is None else matrix[:, self.columns]
            if self.change is not None:
                matrix.data = self.change(matrix.data)
            return matrix
        values = np.asarray(part, dtype=np.float32)
        values = values if self.columns is None else values[:, self.columns]
        return values if self.change is None else self.change(values)

    def blocks(self) -> Iterator[Any]:
        """All rows, block by block."""
        for start in range(0, self.shape[0], BLOCK_ROWS):
            yield self.rows(start, min(start + BLOCK_ROWS, self.shape[0]))

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> RowSource:
        """The same with an elementwise function that leaves zero as it is."""
        return RowSource(self.stored, columns=self.columns, change=change)

    def with_columns(self, kept: np.ndarray) -> RowSource:
        """The same with some of its columns, bool ``(G,)``."""
        columns = np.arange(self.shape[1]) if self.columns is None else self.columns
        return RowSource(self.stored, columns=columns[kept], change=self.change, groups=self.groups)

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
        groups = np.zeros(self.shape[0], np.int64) if self.groups is None else np.asarray(self.groups)
        detected = np.zeros((int(groups.max(initial=0)) + 1, self.shape[1]), np.int64)
        column_sums, row_sums = np.zeros(self.shape[1]), []
        least, largest, n_broken, whole, start = np.inf, -np.inf, 0, True, 0
        for block in self.blocks():
            own = groups[start : start + block.shape[0]]
            start += block.shape[0]
            values = block.data if sparse.issparse(block) else block
            n_broken += int(np.count_nonzero(~np.isfinite(values)))
            has_zeros = values.size < block.shape[0] * block.shape[1]
            least = min(least, float(values.min(initial=np.inf)), 0.0 if has_zeros else np.inf)
            largest = max(largest, float(values.max(initial=-np.inf)), 0.0 if has_zeros else -np.inf)
            whole = whole and np.array_equal(values, np.floor(values))
            column_sums += np.asarray(block.sum(axis=0, dtype=np.float64)).ravel()
            row_sums.append(np.asarray(block.sum(axis=1, dtype=np.float64)).ravel())
            for group in np.unique(own):
                detected[group] += np.asarray((block[own == group] > 0).sum(axis=0)).ravel()
        return Summary(least, largest, n_broken, whole, np.concatenate(row_sums), column_sums, detected)


def without_logarithm(matrix: Any) -> Any:
    """``expm1`` of expression in memory, of an array of dask, or of a :class:`RowSource` as it is read."""
    if isinstance(matrix, RowSource):
        return matrix.changed(np.expm1)
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
