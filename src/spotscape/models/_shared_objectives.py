"""Losses of a step over all spots, of which every process of a group holds a part.

Each region has the halo that its spots depend on and the degrees of the whole graph, statistics of normalisation and
losses are sums over processes, and all processes draw the random numbers of a single one. So loss and gradients are
those of a single process up to rounding, and each process returns the loss of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spotscape.models._spacross_network import SpaCrossObjective
from spotscape.models._spotscape_network import SpotscapeObjective
from spotscape.models._spotscape_tiles import N_HOPS
from spotscape.nn.collectives import Part
from spotscape.nn.features import MaskedFeatures
from spotscape.nn.layers import PartialDraws
from spotscape.nn.normalization import counting
from spotscape.nn.objectives import cosine_reconstruction_loss, reconstruction_loss
from spotscape.nn.objectives.telescope import TelescopeGrams
from spotscape.nn.precision import at_least_float32
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from spotscape.models._graph_encoder import Tissue
    from spotscape.models._spacross_config import SpaCrossConfig
    from spotscape.models._spacross_network import SpaCrossNetwork
    from spotscape.models._spotscape_config import SpotscapeConfig
    from spotscape.models._spotscape_network import SpotscapeNetwork
    from spotscape.nn.features import DenseFeatures, FeatureMatrix


class SharedSpotscapeObjective(SpotscapeObjective):
    """The loss of Spotscape: Gram matrices of the telescope are summed, what looks across slices sees all embeddings.

    Parameters
    ----------
    network, tissue, config, generator
        As for a single process, the same in all of them.
    inside
        Rows of the spots that this process holds, int64; every spot is in one process.
    reduce
        Sums a tensor over processes, and its gradient too.
    """

    def __init__(
        self,
        network: SpotscapeNetwork,
        tissue: Tissue[FeatureMatrix],
        config: SpotscapeConfig,
        generator: torch.Generator,
        *,
        inside: Tensor,
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(network, tissue, config, generator)
        self.part = Part.of(tissue.graph, inside, N_HOPS, reduce)
        self.around = tissue.features.take(self.part.region.spots)
        self.own = tissue.features.take(self.part.region.inside)

    def forward(self, epoch: int) -> LossOutput:
        config, part = self.config, self.part
        n_inside = part.region.n_inside
        with counting(self.network, n_inside, part.total):
            views = [self._embed_part() for _ in range(2)]
            hidden = [at_least_float32(self.network.decode_hidden(view)) for view in views]
        first, second = map(at_least_float32, views)
        output = self.network.output
        error = reconstruction_loss(self.own, hidden, output.weight.T, output.bias)
        weighted = {"telescope": (config.telescope_weight, self._telescope(first, second))}
        weighted["reconstruction"] = (config.reconstruction_weight, part.total(n_inside / part.n_spots * error))
        if self.tissue.slices:
            weighted |= self._across_slices(part.gathered(first), part.gathered(second), self.tissue.slices, epoch)
        return LossOutput.weighted(weighted)

    def _embed_part(self) -> Tensor:
        """A view whose random numbers are those of a single process, in all of them."""
        config, graph, region = self.config, self.tissue.graph, self.part.region
        device, generator = graph.indices.device, self.generator
        keep = torch.rand(self.around.shape[1], generator=generator, device=device) >= config.feature_drop
        edges = (torch.rand(graph.n_edges, generator=generator, device=device) >= config.edge_drop) | graph.is_loop
        degrees = torch.zeros(graph.n_spots, device=device)
        degrees.index_add_(0, graph.rows, edges.to(degrees.dtype))
        adjacency = region.normalized(edges[region.edges], degrees[region.spots])
        return self.network.encode(MaskedFeatures(self.around, keep), adjacency)[: region.n_inside]

    def _telescope(self, first: Tensor, second: Tensor) -> Tensor:
        own = TelescopeGrams.of_views(first, second)
        mm, pp, pm = self.part.total(torch.stack([own.mm, own.pp, own.pm]))
        return TelescopeGrams(mm, pp, pm, self.part.n_spots).loss().to(first.dtype)


class SharedSpaCrossObjective(SpaCrossObjective):
    """The loss of SpaCross: each process decodes its own spots, and contrasts and seeks among the embeddings of all.

    Parameters
    ----------
    network, tissue, config, generator, inside, reduce
        As for :class:`SharedSpotscapeObjective`.
    """

    def __init__(
        self,
        network: SpaCrossNetwork,
        tissue: Tissue[DenseFeatures],
        config: SpaCrossConfig,
        generator: torch.Generator,
        *,
        inside: Tensor,
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(network, tissue, config, generator)
        self.part = Part.of(tissue.graph, inside, network.n_hops, reduce)
        self.adjacency = self.part.region.normalized()
        self.around = tissue.features.take(self.part.region.spots)

    def forward(self, epoch: int) -> LossOutput:
        with counting(self, self.part.region.n_inside, self.part.total):
            return super().forward(epoch)

    def _embed(self, network: SpaCrossNetwork, masked: Tensor | None = None) -> Tensor:
        if masked is None:
            return network.encode(self.around, self.adjacency)
        spots = self.part.region.spots
        view = network.token(self.tissue.features, masked, self.generator).within(spots, self.around)
        return network.encode(view, self.adjacency, PartialDraws(self.generator, spots, self.part.n_spots))

    def _here(self, of_each: Tensor) -> Tensor:
        return of_each[self.part.region.spots]

    def _everywhere(self, values: Tensor) -> Tensor:
        return self.part.gathered(values)

    def _contrast(self, embedding: Tensor, epoch: int) -> Tensor:
        # A discriminator that nothing asks, where no spot has a neighbourhood, must have a gradient to be summed.
        nothing = torch.stack([0 * parameter.sum() for parameter in self.contrast.parameters()]).sum()
        return super()._contrast(embedding, epoch) + nothing

    def _reconstruction(self, projection: Tensor, masked: Tensor) -> Tensor:
        """The mean over the masked spots of all processes; this one may have none."""
        rows = masked[self.part.region.inside].nonzero()[:, 0]
        decoded = self.network.decode(projection, self.adjacency, rows)
        error = cosine_reconstruction_loss(decoded, self.around.values[rows]) if len(rows) else decoded.sum()
        return self.part.total(len(rows) / masked.sum() * error)
