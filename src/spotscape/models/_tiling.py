"""Steps over tiles: what decides for them, what a step is made of, and how a tissue is read tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.logging import logger
from spotscape._core.validation import require_positive_int
from spotscape.nn.normalization import calibrate_in_parts
from spotscape.nn.tiles import Region, graph_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from torch import Tensor, nn

    from spotscape.nn.features import FeatureMatrix
    from spotscape.nn.graph import SpotGraph

# A fixed limit, not one of this machine, so that the same data train in the same way everywhere. Beyond it the blocks
# of a step are so large that a CPU asks the system for each anew.
_MOST_BYTES = 8 * 10**8
_BATCH_SIZE = 16_384
# Several tiles from all over the tissue stand for all of it; a single one would stand for its surroundings.
_TILES_IN_BATCH = 8
# Fewer visits of each spot cost accuracy.
_LEAST_SWEEPS = 20


def choose_batch_size(batch_size: int | None, n_spots: int, bytes_per_spot: int, *, log: bool = True) -> int | None:
    """Spots of a step, or ``None`` if a step sees all; unless it is given, what a full step would take decides."""
    say = logger.info if log else logger.debug
    estimate = n_spots * bytes_per_spot
    if batch_size is not None:
        chosen = require_positive_int(batch_size, "batch_size", minimum=2)
    else:
        chosen = n_spots if estimate <= _MOST_BYTES else _BATCH_SIZE
    if chosen >= n_spots:
        say("A step takes about %.2g GB: every step sees all spots.", estimate / 1e9)
        return None
    taken = chosen * bytes_per_spot
    say(
        "A step on all spots would take about %.2g GB; steps on tiles of %s spots in all take about %.2g GB.",
        estimate / 1e9,
        f"{chosen:,}",
        taken / 1e9,
    )
    return chosen


@dataclass(frozen=True)
class TilePlan:
    """Tiles, and how they are dealt into batches.

    A batch consists of several tiles drawn from all over the tissue, from each slice in its share, and each tile is in
    one batch of a sweep. Batches are dealt anew for each sweep.
    """

    tiles: tuple[np.ndarray, ...]
    slice_of_tile: np.ndarray
    n_batches: int
    seed: int

    @classmethod
    def of(cls, adjacency: Any, batch_size: int, *, slices: np.ndarray | None, seed: int) -> Self:
        """Cut a tissue so that batches have about ``batch_size`` spots."""
        tiles = graph_tiles(adjacency, max(batch_size // _TILES_IN_BATCH, 1), slices=slices)
        owners = np.zeros(len(tiles), np.int64)
        if slices is not None:
            owners = np.unique(slices, return_inverse=True)[1][[tile[0] for tile in tiles]]
        n_batches = min(math.ceil(adjacency.shape[0] / batch_size), len(tiles))
        return cls(tuple(tiles), owners, n_batches, seed)

    def n_steps(self, max_epochs: int) -> int:
        """As many steps as in full batches, in whole sweeps; more only where there would be fewer than 20 sweeps."""
        sweeps = max(math.ceil(max_epochs / self.n_batches), min(_LEAST_SWEEPS, max_epochs))
        return sweeps * self.n_batches

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


class RegionReader:
    """A tissue tile by tile, each with the halo that an encoder needs, for exact passes that hold one at a time."""

    def __init__(self, features: FeatureMatrix, graph: SpotGraph, tiles: Sequence[np.ndarray], n_hops: int) -> None:
        self.features, self.graph, self.tiles, self.n_hops = features, graph, tiles, n_hops

    def encode(self, run: Callable[[FeatureMatrix, Tensor], Tensor]) -> Tensor:
        """What ``run`` makes of all spots, ``(N, d)``, in rows of the tissue."""
        result: Tensor | None = None
        for rows in self.tiles:
            region = Region.around(self.graph, rows, self.n_hops)
            values = run(self.features.take(region.spots), region.normalized())[: region.n_inside]
            if result is None:
                result = values.new_empty(self.graph.n_spots, values.shape[1])
            result[region.inside] = values
        if result is None:
            msg = "there is no spot to embed."
            raise ValueError(msg)
        return result

    def calibrate(self, network: nn.Module, run: Callable[[FeatureMatrix, Tensor], Tensor]) -> None:
        """Set the statistics of normalisation to those of a pass over all spots, exactly."""

        def forward(rows: np.ndarray) -> Tensor:
            region = Region.around(self.graph, rows, self.n_hops)
            return run(self.features.take(region.spots), region.normalized())

        calibrate_in_parts(network, forward, self.tiles, len)
