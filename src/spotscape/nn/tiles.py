"""Tiles: compact parts of a tissue, computed from the graph alone.

Distances on the graph (hops) to a few spots that lie far apart serve as coordinates. The tissue is cut in two at the
median of the longest coordinate, until every part is small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from spotscape._core.logging import logger
from spotscape._core.validation import require_positive_int

if TYPE_CHECKING:
    from typing import Self

# Two far ends and two spots far from both tell any place of a planar tissue apart.
_LANDMARKS = 4
# A fixed limit, not one of this machine, so that the same data train in the same way everywhere. Beyond it the blocks
# of a step are so large that the system allocates new memory for each.
_MOST_BYTES = 3 * 10**8
_BATCH_SIZE = 16_384
# Several tiles from all over the tissue represent all of it; a single tile would represent its surroundings only.
_TILES_IN_BATCH = 8
# Fewer visits of each spot cost accuracy.
_LEAST_SWEEPS = 20
# Parts of nearly equal size; each process gets neighbouring ones.
_TILES_OF_PROCESS = 8


def graph_tiles(adjacency: Any, size: int, *, slices: np.ndarray | None = None) -> list[np.ndarray]:
    """Cut a tissue into compact tiles of at most ``size`` spots, by its graph.

    Parameters
    ----------
    adjacency
        Spatial graph, sparse ``(N, N)``. Directions and weights are ignored.
    size
        Largest number of spots of a tile. Parts are halved, so tiles have between half of it and all of it. Only
        connected pieces of the graph that are smaller give smaller tiles; small pieces are put together where possible.
    slices
        Slice of each spot, any labels, ``(N,)``. No tile has spots of two slices. ``None`` for a single slice.

    Returns
    -------
    The rows of each tile, int64, ascending. Every spot is in exactly one tile. The same graph gives the same tiles.

    Raises
    ------
    TypeError, ValueError
        If ``size`` is not a positive integer.

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


def choose_batch_size(batch_size: int | None, n_spots: int, bytes_per_spot: int) -> int | None:
    """Number of spots in a step, or ``None`` for all. By default, the memory of a full step decides."""
    estimate = n_spots * bytes_per_spot
    chosen = batch_size or (n_spots if estimate <= _MOST_BYTES else _BATCH_SIZE)
    if chosen >= n_spots:
        logger.debug("A step takes about %.2g GB: every step sees all spots.", estimate / 1e9)
        return None
    taken = chosen * bytes_per_spot
    logger.info(
        "A step on all spots would take about %.2g GB; steps on tiles of %s spots in all take about %.2g GB.",
        estimate / 1e9,
        f"{chosen:,}",
        taken / 1e9,
    )
    return chosen


@dataclass(frozen=True)
class TilePlan:
    """Tiles, and their batches: several tiles from all over the tissue each, drawn again for each sweep."""

    tiles: tuple[np.ndarray, ...]
    slice_of_tile: np.ndarray
    n_batches: int
    seed: int

    @classmethod
    def of(cls, adjacency: Any, batch_size: int, *, slices: np.ndarray, seed: int) -> Self:
        """Cut a tissue so that batches have about ``batch_size`` spots; ``slices`` numbers the slice of each spot."""
        tiles = graph_tiles(adjacency, max(batch_size // _TILES_IN_BATCH, 1), slices=slices)
        owners = slices[[tile[0] for tile in tiles]]
        n_batches = min(math.ceil(adjacency.shape[0] / batch_size), len(tiles))
        return cls(tuple(tiles), owners, n_batches, seed)

    def n_sweeps(self, max_epochs: int, n_encoders: int = 1) -> int:
        """Number of sweeps: as many steps as with full batches, but at least 20 visits of each spot.

        Several encoders, whose errors average out, see it at least 10 times each.
        """
        least = _LEAST_SWEEPS if n_encoders == 1 else _LEAST_SWEEPS // 2
        return max(math.ceil(max_epochs / self.n_batches), min(least, max_epochs))

    def batch(self, step: int) -> np.ndarray:
        """Rows of the spots of a step, int64, ascending."""
        sweep, number = divmod(step, self.n_batches)
        rng = np.random.default_rng([self.seed, sweep])
        # The tiles of each slice, in random order, are spread evenly over the sweep.
        places = np.empty(len(self.tiles))
        for owner in np.unique(self.slice_of_tile):
            own = np.flatnonzero(self.slice_of_tile == owner)
            places[own] = (rng.permutation(len(own)) + rng.random()) / len(own)
        chosen = np.array_split(np.argsort(places, kind="stable"), self.n_batches)[number]
        return np.sort(np.concatenate([self.tiles[tile] for tile in chosen]))


def tiles_of_process(adjacency: Any, rank: int, n_processes: int) -> np.ndarray:
    """Rows of the spots that one of several processes holds, int64: adjacent tiles, nearly as many in each process."""
    tiles = graph_tiles(adjacency, -(-adjacency.shape[0] // (n_processes * _TILES_OF_PROCESS)))
    bounds = [len(tiles) * number // n_processes for number in range(n_processes + 1)]
    own = tiles[bounds[rank] : bounds[rank + 1]]
    if not own:
        msg = f"{adjacency.shape[0]} spots are too few for {n_processes} processes; start fewer."
        raise ValueError(msg)
    return np.concatenate(own)


def _tiles_of_slice(graph: sparse.csr_array, size: int) -> list[np.ndarray]:
    """Tiles of one slice: large pieces of the graph are cut, small ones are put together."""
    _, pieces = connected_components(graph, directed=False)
    tiles: list[np.ndarray] = []
    small: list[np.ndarray] = []
    order = np.argsort(pieces, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(pieces))[:-1]):
        if len(rows) <= size:
            small.append(rows)
            continue
        own = graph if len(rows) == graph.shape[0] else graph[rows][:, rows]
        # Hops to spots that lie far from each other.
        farthest, hops = int(dijkstra(own, unweighted=True, indices=0).argmax()), []
        for _ in range(_LANDMARKS):
            hops.append(dijkstra(own, unweighted=True, indices=farthest).astype(np.float32))
            farthest = int(np.min(hops, axis=0).argmax())
        tiles += [rows[part] for part in _halves(np.stack(hops, axis=1), np.arange(len(rows)), size)]
    groups: list[list[np.ndarray]] = []
    filled = size
    for rows in small:
        if filled + len(rows) > size:
            groups.append([])
            filled = 0
        groups[-1].append(rows)
        filled += len(rows)
    return tiles + [np.sort(np.concatenate(rows)) for rows in groups]


def _halves(coordinates: np.ndarray, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Parts of at most ``size`` rows, cut across the longest coordinate."""
    if len(rows) <= size:
        return [np.sort(rows)]
    own = coordinates[rows]
    axis = int(np.argmax(own.max(0) - own.min(0)))
    order = rows[np.lexsort((rows, own[:, axis]))]
    middle = len(rows) // 2
    return [*_halves(coordinates, order[:middle], size), *_halves(coordinates, order[middle:], size)]
