"""Spotscape trained by several processes together, each on its part of the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from spotscape.models._spotscape import Spotscape
from spotscape.models._spotscape_network import SpotscapeNetwork
from spotscape.models._spotscape_tiles import SharedSpotscapeObjective
from spotscape.nn.collectives import summed
from spotscape.nn.tiles import graph_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from spotscape.models._graph_encoder import Objective, Tissue
    from spotscape.models._tiling import TilePlan
    from spotscape.nn.features import FeatureMatrix
    from spotscape.nn.trainer import LossOutput

# Parts of nearly equal size; each process gets neighbouring ones.
_TILES_OF_PROCESS = 8


class SharedSpotscape(Spotscape):
    """Spotscape in a group of processes: every step sees all spots, and every process holds the steps of its own part.

    All processes call :meth:`fit` and :meth:`embed` with the same arguments, and get the same results. Loss and
    gradients are those of a single process up to rounding, since all sums over spots are sums over processes, and all
    processes draw the same random numbers. Principal components are held by every process.

    Parameters
    ----------
    config, random_state
        As for :class:`~spotscape.models.Spotscape`.
    """

    def _plan(self, adjacency: Any, slices: np.ndarray | None) -> TilePlan | None:
        tiles = graph_tiles(adjacency, -(-adjacency.shape[0] // (distributed.get_world_size() * _TILES_OF_PROCESS)))
        bounds = [len(tiles) * rank // distributed.get_world_size() for rank in range(distributed.get_world_size() + 1)]
        rank = distributed.get_rank()
        own = tiles[bounds[rank] : bounds[rank + 1]]
        if not own:
            msg = f"{adjacency.shape[0]} spots are too few for {distributed.get_world_size()} processes; start fewer."
            raise ValueError(msg)
        self._own = torch.cat([torch.from_numpy(rows) for rows in own])
        return None

    def _objective(self, tissue: Tissue[FeatureMatrix], generator: torch.Generator) -> SharedSpotscapeObjective:
        network = SpotscapeNetwork(tissue.features.shape[1], self.config)
        own = self._own.to(tissue.graph.indices.device)
        return SharedSpotscapeObjective(network, tissue, self.config, generator, inside=own, reduce=summed)

    def _loss(self, objective: Objective[SpotscapeNetwork, FeatureMatrix]) -> Callable[[int], LossOutput]:
        # The decoder has no gradient where nothing is reconstructed.
        return DistributedDataParallel(objective, find_unused_parameters=self.config.reconstruction_weight == 0)

    def _writes(self) -> bool:
        return distributed.get_rank() == 0
