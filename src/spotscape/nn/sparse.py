"""Sparse matrices of fixed structure: no new matrix and no new transpose when only values change."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Structure:
    """Where the entries of a sparse ``(n_rows, n_columns)`` matrix stand, in compressed rows.

    A product with a dense matrix is a weighted sum of its rows for each row here, which is what an embedding bag
    computes. On the CPU that was 3 to 8 times faster than torch's product of a CSR matrix from 36,000 rows on, and no
    slower below (``benchmarks/products.py``). The order that transposes the matrix is found once and kept.

    Parameters
    ----------
    indptr, indices
        Row pointers ``(n_rows + 1,)`` and columns ``(E,)``, int64.
    n_columns
        Number of columns.
    """

    def __init__(self, indptr: Tensor, indices: Tensor, n_columns: int) -> None:
        self.indptr, self.indices, self.n_columns = indptr, indices, n_columns

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Tensor:
        """The row of each entry, int64 ``(E,)``."""
        places = torch.arange(self.n_rows, device=self.indptr.device)
        return torch.repeat_interleave(places, self.indptr.diff(), output_size=len(self.indices))

    @cached_property
    def order(self) -> Tensor:
        """The order of the entries that transposes the matrix, int64 ``(E,)``."""
        return self.indices.argsort(stable=True)

    @cached_property
    def transposed(self) -> Structure:
        """The structure of the transpose."""
        counts = torch.bincount(self.indices, minlength=self.n_columns)
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Structure(indptr, self.rows[self.order], self.n_rows)

    def product(self, values: Tensor, dense: Tensor) -> Tensor:
        """Matrices with ``values`` ``(V, E)`` times ``dense`` ``(V, B, n_columns, d)``, differentiably.

        The result is ``(V, B, n_rows, d)``. No gradient reaches the values.
        """
        return cast("Tensor", _Product.apply(self, values, dense))  # type: ignore[no-untyped-call]

    def multiply(self, values: Tensor, dense: Tensor) -> Tensor:
        """The same for values ``(E,)`` and a matrix ``(n_columns, d)``, without a gradient."""
        return embedding_bag(
            self.indices, dense, self.indptr, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def row_sums(self, kept: Tensor) -> Tensor:
        """How many entries of each row are kept, int64 ``(..., n_rows)``, of a bool ``(..., E)``."""
        sums = kept.cumsum(-1)
        padded = torch.cat([sums.new_zeros(*sums.shape[:-1], 1), sums], dim=-1)
        return padded[..., self.indptr[1:]] - padded[..., self.indptr[:-1]]

    def take(self, rows: Tensor) -> tuple[Structure, Tensor]:
        """The structure of some rows, int64 ``(n,)``, and the places of their entries among all, ``(e,)``."""
        entries = entries_of(self.indptr, rows)
        counts = self.indptr.diff()[rows]
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Structure(indptr, self.indices[entries], self.n_columns), entries


def entries_of(indptr: Tensor, rows: Tensor) -> Tensor:
    """Places of the entries of some rows among all entries, row by row, int64."""
    counts = indptr.diff()[rows]
    starts = torch.repeat_interleave(indptr[rows] - (counts.cumsum(0) - counts), counts)
    return starts + torch.arange(len(starts), device=indptr.device)


def _multiply_all(structure: Structure, values: Tensor, dense: Tensor) -> Tensor:
    # Matrix by matrix, so that the bits of one do not depend on how many there are.
    parts = [
        structure.multiply(own, one) for own, several in zip(values, dense, strict=True) for one in several.contiguous()
    ]
    return torch.stack(parts).view(*dense.shape[:2], structure.n_rows, dense.shape[-1])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, structure: Structure, values: Tensor, dense: Tensor) -> Tensor:
        ctx.structure, ctx.values = structure, values
        with torch.autocast(dense.device.type, enabled=False):
            return _multiply_all(structure, values, dense.to(values.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        values = ctx.values[:, ctx.structure.order]
        return None, None, _multiply_all(ctx.structure.transposed, values, gradient)
