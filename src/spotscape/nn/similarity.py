"""Search for the k most similar candidates of every query, in tiles, without a matrix of all similarities.

The candidates of a tile are divided into blocks. The :math:`k` best candidates lie in the :math:`k` blocks with the
largest maxima, so every entry is read once for the maxima, and only a short list is sorted. The search is exact.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from spotscape._core.validation import require_choice, require_positive_int

Backend = Literal["auto", "torch", "faiss", "triton"]

# Entries of one tile: 16 MB in float32, which large caches hold and any laptop has.
_TILE_ENTRIES = 2**22
_BLOCK = 64


class MostSimilar(NamedTuple):
    """The most similar candidates of each query, best first.

    Attributes
    ----------
    indices
        Rows of the candidates, int64 ``(Q, k)``.
    similarities
        Inner products, ``(Q, k)``.
    """

    indices: Tensor
    similarities: Tensor


@torch.no_grad()
def most_similar(
    queries: Tensor,
    candidates: Tensor,
    k: int,
    *,
    exclude: Tensor | None = None,
    between: tuple[Tensor, Tensor] | None = None,
    backend: Backend = "auto",
) -> MostSimilar:
    """Find the ``k`` candidates with the largest inner product with each query. For unit rows this is the cosine.

    Parameters
    ----------
    queries
        Shape ``(Q, d)``.
    candidates
        Shape ``(M, d)``, of the same type and on the same device.
    k
        Number of candidates for each query. If one query has fewer candidates, all queries get fewer.
    exclude
        One candidate that each query must not get, int64 ``(Q,)``. If the queries are among the candidates, this is the
        query itself.
    between
        Slice numbers of the queries ``(Q,)`` and of the candidates ``(M,)``, int64. A query then gets candidates of
        other slices only. ``None`` allows all candidates.
    backend
        ``"torch"``; ``"faiss"`` for that library's flat index (extra ``faiss``; float32 on the CPU); or ``"triton"``, a
        kernel for CUDA that stores only the similarities that it returns (float32; Triton comes with torch for CUDA).
        ``"auto"`` is torch on every device. On one core, faiss took 0.7 to 1.7 times the processor time of torch for
        1,024 or 2,048 queries among 5,000 or 20,000 candidates, 1.8 to 2.5 times among 100,000, and 0.11 s for its
        import (``benchmarks/similarity.py``). The kernel was checked but not timed.

    Returns
    -------
    Indices and similarities. Of equally similar candidates, the same ones are returned each time, but which ones is not
    defined. No gradient flows through the similarities. If you need gradients, compute the inner products again.

    Raises
    ------
    ImportError
        If the backend is not installed.
    ValueError
        If a query has no candidate left; if an argument has no such choice.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import most_similar
    >>> points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> most_similar(points, points, 1, exclude=torch.arange(3)).indices.flatten().tolist()
    [1, 0, 1]
    """
    require_positive_int(k, "k")
    require_choice(backend, "backend", get_args(Backend))
    left = len(candidates) - (exclude is not None)
    if between is not None and len(between[0]):
        own, other = between
        left_of_each = len(candidates) - torch.bincount(other, minlength=int(own.max()) + 1)[own]
        if exclude is not None:
            left_of_each = left_of_each - (other[exclude] != own).long()
        left = int(left_of_each.min())
    k = min(k, left)
    if k < 1:
        msg = f"there are {len(candidates)} candidates, and none is left once a query leaves some out."
        raise ValueError(msg)
    if backend == "faiss":
        return _search_faiss(queries, candidates, k, exclude, between)
    if backend == "triton":
        from spotscape.nn.kernel import top_k

        return MostSimilar(*top_k(queries, candidates, k, exclude=exclude, between=between))
    return _search_tiles(queries, candidates, k, exclude, between)


def _search_tiles(
    queries: Tensor, candidates: Tensor, k: int, exclude: Tensor | None, between: tuple[Tensor, Tensor] | None
) -> MostSimilar:
    rows = max(1, _TILE_ENTRIES // len(candidates))
    # One piece of memory for all tiles: the system's fresh pages would cost more time than the search, and small
    # results between freed tiles would keep those from being used again.
    tile = queries.new_empty(min(rows, len(queries)), len(candidates))
    indices = queries.new_empty(len(queries), k, dtype=torch.int64)
    similarities = queries.new_empty(len(queries), k)
    for start in range(0, len(queries), rows):
        chosen = slice(start, start + rows)
        own = queries[chosen]
        products = torch.mm(own, candidates.T, out=tile[: len(own)])
        if exclude is not None:
            products.scatter_(1, exclude[chosen, None], -torch.inf)
        if between is not None:
            products.masked_fill_(between[0][chosen, None] == between[1], -torch.inf)
        indices[chosen], similarities[chosen] = _best(products, k)
    return MostSimilar(indices, similarities)


def _best(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns and values of the ``k`` largest in each row of ``(Q, M)``."""
    if products.shape[1] <= 4 * k * _BLOCK:
        values, columns = products.topk(k, dim=1)
        return columns, values
    n_queries, n_candidates = products.shape
    every = torch.arange(n_candidates, device=products.device)
    in_blocks = n_candidates - n_candidates % _BLOCK
    # The k best lie in the blocks with the k largest maxima, or in the rest that fills no block.
    maxima = products[:, :in_blocks].unflatten(1, (-1, _BLOCK)).amax(2)
    chosen = every[:in_blocks].view(-1, _BLOCK)[maxima.topk(k, dim=1, sorted=False).indices]
    columns = torch.cat([chosen.flatten(1), every[in_blocks:].expand(n_queries, -1)], dim=1)
    values, places = products.gather(1, columns).topk(k, dim=1)
    return columns.gather(1, places), values


def _search_faiss(
    queries: Tensor, candidates: Tensor, k: int, exclude: Tensor | None, between: tuple[Tensor, Tensor] | None
) -> MostSimilar:
    if between is not None:
        return _search_slices(queries, candidates, k, exclude, between)
    import faiss

    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates.float().cpu().contiguous().numpy())
    found, rows = index.search(queries.float().cpu().contiguous().numpy(), k + (exclude is not None))
    similarities = torch.from_numpy(found).to(queries)
    indices = torch.from_numpy(rows).to(queries.device)
    if exclude is None:
        return MostSimilar(indices, similarities)
    # One more was asked for. Where the excluded one is not among them, the last one goes.
    keep = indices != exclude[:, None]
    keep[keep.all(1), -1] = False
    return MostSimilar(indices[keep].view(-1, k), similarities[keep].view(-1, k))


def _search_slices(
    queries: Tensor, candidates: Tensor, k: int, exclude: Tensor | None, between: tuple[Tensor, Tensor]
) -> MostSimilar:
    """Search with faiss slice by slice, among the candidates of the other slices, because faiss has no mask."""
    indices = queries.new_empty(len(queries), k, dtype=torch.int64)
    similarities = queries.new_empty(len(queries), k)
    for name in between[0].unique():
        own, others = (between[0] == name).nonzero()[:, 0], (between[1] != name).nonzero()[:, 0]
        # A candidate of the query's own slice is left out already; the place past the end stands for it.
        place = torch.full((len(candidates),), len(others), device=queries.device)
        place[others] = torch.arange(len(others), device=queries.device)
        without = None if exclude is None else place[exclude[own]]
        found = _search_faiss(queries[own], candidates[others], k, without, None)
        indices[own], similarities[own] = others[found.indices], found.similarities
    return MostSimilar(indices, similarities)
