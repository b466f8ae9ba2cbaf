"""Similarity, mask and running top-k in one GPU kernel, without a matrix of queries × candidates in memory.

A program goes through all candidates of some queries in blocks, and merges the k best of a block with the k best so
far. Similarity and column are packed into one integer to be sorted: the bits of the float, so that they keep its order,
and below them the column, counted from the end, so that of equal similarities the lower column comes first.

Tests run the kernel in Triton's interpreter (``TRITON_INTERPRET=1``), which needs no GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# ruff: noqa: ANN001, ANN202, PLR0917 (a kernel is given pointers and sizes by place, and has no types of Python's)


_QUERIES = 16
_CANDIDATES = 128
_WIDTH = 32
_HIGHEST = tl.constexpr(0xFFFFFFFF)
_LOWEST = tl.constexpr(-(2**63))


def top_k(
    queries: Tensor,
    candidates: Tensor,
    k: int,
    *,
    exclude: Tensor | None = None,
    between: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Columns int64 and inner products float32, ``(Q, k)``; the arguments are those of :func:`most_similar`."""
    queries, candidates = queries.float().contiguous(), candidates.float().contiguous()
    keys = queries.new_empty(len(queries), k, dtype=torch.int64)
    none = keys.new_zeros(1)
    if len(queries):
        _top_k[(triton.cdiv(len(queries), _QUERIES),)](
            queries,
            candidates,
            keys,
            none if exclude is None else exclude.contiguous(),
            none if between is None else between[0].contiguous(),
            none if between is None else between[1].contiguous(),
            len(queries),
            len(candidates),
            queries.shape[1],
            k,
            excludes=exclude is not None,
            masks=between is not None,
            n_rows=_QUERIES,
            n_columns=max(_CANDIDATES, triton.next_power_of_2(k)),
            width=_WIDTH,
            kept=triton.next_power_of_2(k),
        )
    ordered = (keys >> 32).to(torch.int32)
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF), bits.view(torch.float32)


@triton.jit
def _products(queries, candidates, rows, columns, n_queries, n_candidates, size, width: tl.constexpr):
    """Inner products of some queries with some candidates, in float32 throughout."""
    found = tl.zeros((rows.shape[0], columns.shape[0]), dtype=tl.float32)
    for start in range(0, size, width):
        axes = start + tl.arange(0, width)
        inside = axes[None, :] < size
        left = tl.load(
            queries + rows[:, None] * size + axes[None, :], mask=(rows[:, None] < n_queries) & inside, other=0.0
        )
        right = tl.load(
            candidates + columns[:, None] * size + axes[None, :],
            mask=(columns[:, None] < n_candidates) & inside,
            other=0.0,
        )
        found += tl.dot(left, tl.trans(right), input_precision="ieee")
    return found


@triton.jit
def _pack(products, columns, allowed):
    """Integers that sort by similarity, then by column. Candidates that are not allowed come last."""
    # Adding zero makes one zero of the two, which are equal but differ in their bits.
    bits = (products + 0.0).to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    from_the_end = columns * -1 + _HIGHEST
    keys = (ordered << 32) | from_the_end[None, :]
    return tl.where(allowed, keys, _LOWEST)


@triton.jit
def _top_k(
    queries,
    candidates,
    keys,
    exclude,
    query_slices,
    candidate_slices,
    n_queries,
    n_candidates,
    size,
    k,
    excludes: tl.constexpr,
    masks: tl.constexpr,
    n_rows: tl.constexpr,
    n_columns: tl.constexpr,
    width: tl.constexpr,
    kept: tl.constexpr,
):
    rows = (tl.program_id(0) * n_rows + tl.arange(0, n_rows)).to(tl.int64)
    there = rows < n_queries
    best = tl.full((n_rows, kept), _LOWEST, dtype=tl.int64)
    for start in range(0, n_candidates, n_columns):
        columns = (start + tl.arange(0, n_columns)).to(tl.int64)
        products = _products(queries, candidates, rows, columns, n_queries, n_candidates, size, width)
        allowed = there[:, None] & (columns < n_candidates)[None, :]
        if excludes:
            left_out = tl.load(exclude + rows, mask=there, other=-1)
            allowed = allowed & (columns[None, :] != left_out[:, None])
        if masks:
            own = tl.load(query_slices + rows, mask=there, other=-1)
            other = tl.load(candidate_slices + columns, mask=columns < n_candidates, other=-1)
            allowed = allowed & (own[:, None] != other[None, :])
        found = _pack(products, columns, allowed)
        # Sorting is what costs: a block that holds none of the k best of any of these queries is passed over.
        better = tl.max(found, axis=1) > tl.min(best, axis=1)
        if tl.max(better.to(tl.int32), axis=0) > 0:
            merged = tl.join(best, tl.topk(found, kept, 1))
            best = tl.topk(tl.reshape(merged, (n_rows, 2 * kept)), kept, 1)
    order = tl.arange(0, kept)
    tl.store(keys + rows[:, None] * k + order[None, :], best, mask=there[:, None] & (order < k)[None, :])
