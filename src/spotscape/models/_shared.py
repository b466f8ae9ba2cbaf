"""Encoders trained by several processes together, each on its part of the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spotscape.models._graph_encoder import EncoderConfig, GraphEncoder
from spotscape.models._shared_objectives import SharedSpaCrossObjective, SharedSpotscapeObjective
from spotscape.models._spacross import SpaCross
from spotscape.models._spacross_config import SpaCrossConfig
from spotscape.models._spacross_network import SpaCrossNetwork
from spotscape.models._spotscape import Spotscape
from spotscape.models._spotscape_config import SpotscapeConfig
from spotscape.models._spotscape_network import SpotscapeNetwork
from spotscape.nn.collectives import summed
from spotscape.nn.features import DenseFeatures, FeatureMatrix
from spotscape.nn.tiles import graph_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from spotscape.models._graph_encoder import Objective, Tissue
    from spotscape.models._tiling import TilePlan
    from spotscape.nn.trainer import LossOutput

C = TypeVar("C", bound=EncoderConfig)
N = TypeVar("N", bound=nn.Module)
F = TypeVar("F", bound=FeatureMatrix)

# Parts of nearly equal size; each process gets neighbouring ones.
_TILES_OF_PROCESS = 8


class SharedEncoder(GraphEncoder[C, N, F]):
    """What training in a group of processes has in common: who holds which spots, and whose gradients are averaged."""

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

    def _loss(self, objective: Objective[N, F]) -> Callable[[int], LossOutput]:
        return DistributedDataParallel(objective, find_unused_parameters=self._leaves_unused())

    def _leaves_unused(self) -> bool:
        """Whether some parameters get no gradient."""
        return False

    def _writes(self) -> bool:
        return distributed.get_rank() == 0

    def _inside(self, tissue: Tissue[F]) -> Tensor:
        return self._own.to(tissue.graph.indices.device)


class SharedSpotscape(SharedEncoder[SpotscapeConfig, SpotscapeNetwork, FeatureMatrix], Spotscape):
    """Spotscape in a group of processes: every step sees all spots, and every process holds the steps of its own part.

    All processes call :meth:`fit` and :meth:`embed` with the same arguments, and get the same results. Loss and
    gradients are those of a single process up to rounding, since all sums over spots are sums over processes, and all
    processes draw the same random numbers. Principal components are held by every process.

    Parameters
    ----------
    config, random_state
        As for :class:`~spotscape.models.Spotscape`.
    """

    def _objective(self, tissue: Tissue[FeatureMatrix], generator: torch.Generator) -> SharedSpotscapeObjective:
        network = self._network(tissue.features.shape[1])
        inside = self._inside(tissue)
        return SharedSpotscapeObjective(network, tissue, self.config, generator, inside=inside, reduce=summed)


class SharedSpaCross(SharedEncoder[SpaCrossConfig, SpaCrossNetwork, DenseFeatures], SpaCross):
    """SpaCross in a group of processes, as :class:`SharedSpotscape`.

    Masks and negatives are drawn for all spots in every process, and neighbourhoods are sought by each of them, in the
    same embedding.

    Parameters
    ----------
    config, random_state
        As for :class:`~spotscape.models.SpaCross`.
    """

    def _objective(self, tissue: Tissue[DenseFeatures], generator: torch.Generator) -> SharedSpaCrossObjective:
        network = self._network(tissue.features.shape[1])
        inside = self._inside(tissue)
        return SharedSpaCrossObjective(network, tissue, self.config, generator, inside=inside, reduce=summed)

    def _leaves_unused(self) -> bool:
        return 0 in (self.config.reconstruction_weight, self.config.contrast_weight)
