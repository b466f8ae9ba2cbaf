r"""Tiles: compact parts of a tissue, and regions, which are parts together with the halo that they depend on.

After :math:`h` graph convolutions a spot depends on the spots within :math:`h` hops and on nothing else. A region holds
some spots (*inside*) and these hops around them (*halo*), with degrees counted in the whole graph, so the inside spots
get the values that they have in the whole tissue. Rows of the outermost ring are left empty: they are only listened to.

Tiles come from the graph alone. Hop distances from a few spots that lie far apart serve as coordinates, along which the
tissue is cut in two at the median of the longest one, until every part is small enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor

from spotscape._core.validation import require_positive_int
from spotscape.nn.graph import csr_tensor

if TYPE_CHECKING:
    from typing import Self

    from spotscape.nn.graph import SpotGraph

# Two far ends and two spots far from both tell any place of a planar tissue apart.
_LANDMARKS = 4


def graph_tiles(adjacency: Any, size: int, *, slices: np.ndarray | None = None) -> list[np.ndarray]:
    """Cut a tissue into compact tiles of at most ``size`` spots, by its graph.

    Parameters
    ----------
    adjacency
        Spatial graph, sparse ``(N, N)``; directions and weights do not matter.
    size
        Most spots of a tile. Parts are halved, so tiles have between half of it and all of it, unless the graph falls
        into smaller pieces; pieces are put together where they are.
    slices
        Slice of each spot, any labels, ``(N,)``; no tile has spots of two. ``None`` for a single slice.

    Returns
    -------
    The rows of each tile, int64, ascending; every spot is in exactly one. The same graph gives the same tiles.

    Raises
    ------
    TypeError, ValueError
        If ``size`` is no positive integer.

    Examples
    --------
    >>> from scipy import sparse
    >>> from spotscape.nn import graph_tiles
    >>> chain = sparse.eye_array(8, k=1) + sparse.eye_array(8, k=-1)
    >>> sorted(tile.tolist() for tile in graph_tiles(chain, 3))
    [[0, 1], [2, 3], [4, 5], [6, 7]]
    """
    require_positive_int(size, "size")
    graph = sparse.csr_array(adjacency)
    graph = sparse.csr_array((np.ones(graph.nnz, np.float32), graph.indices, graph.indptr), shape=graph.shape)
    graph = sparse.csr_array(graph + graph.T)
    codes = np.zeros(graph.shape[0], np.int64) if slices is None else np.unique(slices, return_inverse=True)[1]
    tiles: list[np.ndarray] = []
    for code in range(codes.max(initial=-1) + 1):
        rows = np.flatnonzero(codes == code)
        own = graph if slices is None else graph[rows][:, rows]
        tiles += [rows[tile] for tile in _tiles_of_slice(own, size)]
    return tiles


@dataclass(frozen=True)
class Region:
    """Some spots of a tissue with their halo, as a graph of its own.

    Attributes
    ----------
    spots
        Rows in the whole tissue, int64 ``(n,)``: the inside ones first, ascending, then ring by ring.
    n_inside
        How many are inside.
    indptr, indices
        Row pointers ``(n + 1,)`` and columns ``(E,)`` within the region, self-loops among them, int64; the rows of the
        outermost ring are empty.
    rows
        The row of each edge, ``(E,)``, int64.
    edges
        The place of each edge among those of the whole graph, ``(E,)``, int64.
    degrees
        Row sums of the whole graph with self-loops, float32 ``(n,)``.
    """

    spots: Tensor
    n_inside: int
    indptr: Tensor
    indices: Tensor
    rows: Tensor
    edges: Tensor
    degrees: Tensor

    @classmethod
    def around(cls, graph: SpotGraph, inside: Tensor | np.ndarray, n_hops: int) -> Self:
        """The region of some spots of a graph.

        Parameters
        ----------
        graph
            Of the whole tissue.
        inside
            Rows of distinct spots, int64.
        n_hops
            Width of the halo: as many as there are graph convolutions.
        """
        device = graph.indices.device
        rings = [torch.as_tensor(inside, dtype=torch.int64, device=device).sort().values]
        place = torch.full((graph.n_spots,), -1, dtype=torch.int64, device=device)
        place[rings[0]] = 0
        edges = [_edges_of(graph.indptr, rings[0])]
        for hop in range(n_hops):
            heard = graph.indices[edges[-1]]
            new = heard[place[heard] < 0].unique()
            place[new] = 0
            rings.append(new)
            if hop < n_hops - 1:
                edges.append(_edges_of(graph.indptr, new))
        spots, joined = torch.cat(rings), torch.cat(edges)
        place[spots] = torch.arange(len(spots), device=device)
        whole = graph.indptr.diff()[spots]
        counts = whole.clone()
        counts[len(spots) - len(rings[-1]) :] = 0
        if n_hops == 0:
            counts = whole.clone()
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        rows = torch.repeat_interleave(torch.arange(len(spots), device=device), counts)
        return cls(spots, len(rings[0]), indptr, place[graph.indices[joined]], rows, joined, whole.float())

    @property
    def n_spots(self) -> int:
        """Number of spots n, those of the halo among them."""
        return len(self.spots)

    @property
    def inside(self) -> Tensor:
        """Rows in the whole tissue of the spots inside."""
        return self.spots[: self.n_inside]

    def to(self, device: torch.device | str) -> Self:
        """The same region on another device."""
        names = ("spots", "indptr", "indices", "rows", "edges", "degrees")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def normalized(self, keep: Tensor | None = None, degrees: Tensor | None = None) -> Tensor:
        """The rows and columns of the whole graph's propagation matrix, a sparse CSR tensor ``(n, n)``.

        Parameters
        ----------
        keep
            Which of the region's edges count, bool ``(E,)``; self-loops always do. ``None`` keeps all.
        degrees
            Row sums of the whole, thinned graph at the region's spots, ``(n,)``; ``None`` takes those of the full one.
        """
        weight = torch.ones(len(self.indices), device=self.indices.device)
        if keep is not None:
            weight = (keep | (self.rows == self.indices)).to(weight.dtype)
        scale = (self.degrees if degrees is None else degrees).to(weight.dtype).rsqrt()
        values = weight * scale[self.rows] * scale[self.indices]
        return csr_tensor(self.indptr, self.indices, values, self.n_spots)

    def thinned(self, edge_drop: float, generator: torch.Generator) -> Tensor:
        """A propagation matrix with edges dropped at random, distributed as one of the whole graph restricted to this.

        The outermost ring has no rows here; how many of its edges are left is drawn from the binomial distribution.
        """
        device = self.indices.device
        keep = torch.rand(len(self.indices), generator=generator, device=device) >= edge_drop
        keep |= self.rows == self.indices
        degrees = torch.zeros(self.n_spots, device=device).index_add_(0, self.rows, keep.to(torch.float32))
        outermost = degrees == 0
        others = self.degrees[outermost] - 1
        degrees[outermost] = 1 + torch.binomial(others, torch.full_like(others, 1 - edge_drop), generator=generator)
        return self.normalized(keep, degrees)


def _edges_of(indptr: Tensor, rows: Tensor) -> Tensor:
    """Places of the edges of some rows among all edges, row by row."""
    counts = indptr.diff()[rows]
    starts = torch.repeat_interleave(indptr[rows] - (counts.cumsum(0) - counts), counts)
    return starts + torch.arange(len(starts), device=indptr.device)


def _tiles_of_slice(graph: sparse.csr_array, size: int) -> list[np.ndarray]:
    """Tiles of one slice: large pieces of the graph are cut, small ones put together."""
    _, pieces = connected_components(graph, directed=False)
    tiles: list[np.ndarray] = []
    small: list[np.ndarray] = []
    order = np.argsort(pieces, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(pieces))[:-1]):
        if len(rows) <= size:
            small.append(rows)
            continue
        own = graph if len(rows) == graph.shape[0] else graph[rows][:, rows]
        tiles += [rows[part] for part in _halves(_hop_coordinates(own), np.arange(len(rows)), size)]
    return tiles + _packed(small, size)


def _packed(pieces: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Small pieces together, as they come, up to the size."""
    tiles: list[list[np.ndarray]] = []
    filled = size
    for rows in pieces:
        if filled + len(rows) > size:
            tiles.append([])
            filled = 0
        tiles[-1].append(rows)
        filled += len(rows)
    return [np.sort(np.concatenate(rows)) for rows in tiles]


def _hop_coordinates(graph: sparse.csr_array) -> np.ndarray:
    """Hops from spots that lie far from each other, float32 ``(n, 4)``, of a connected graph."""
    farthest = int(dijkstra(graph, unweighted=True, indices=0).argmax())
    columns: list[np.ndarray] = []
    for _ in range(_LANDMARKS):
        columns.append(dijkstra(graph, unweighted=True, indices=farthest).astype(np.float32))
        farthest = int(np.min(columns, axis=0).argmax())
    return np.stack(columns, axis=1)


def _halves(coordinates: np.ndarray, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Parts of at most ``size`` rows, by cuts across the longest extent."""
    if len(rows) <= size:
        return [np.sort(rows)]
    own = coordinates[rows]
    axis = int(np.argmax(own.max(0) - own.min(0)))
    order = rows[np.lexsort((rows, own[:, axis]))]
    middle = len(rows) // 2
    return [*_halves(coordinates, order[:middle], size), *_halves(coordinates, order[middle:], size)]
