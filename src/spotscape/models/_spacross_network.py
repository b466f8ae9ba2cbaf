"""What SpaCross trains, and what it trains for."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from spotscape.models._graph_encoder import Objective
from spotscape.nn.averaging import follow
from spotscape.nn.clustering import consensus_clusterings
from spotscape.nn.features import DenseFeatures
from spotscape.nn.hybrid import hybrid_neighborhoods
from spotscape.nn.layers import FeatureProjection, GraphConvolution, drop_out
from spotscape.nn.neighborhoods import Neighborhoods
from spotscape.nn.normalization import SpotNorm
from spotscape.nn.objectives import (
    MaskToken,
    NeighborhoodContrast,
    consistency_loss,
    cosine_reconstruction_loss,
    draw_masked,
    draw_others,
)
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from spotscape.models._graph_encoder import Tissue
    from spotscape.models._spacross_config import SpaCrossConfig
    from spotscape.nn.layers import PartialDraws
    from spotscape.nn.objectives import MaskedSpots


class SpaCrossNetwork(nn.Module):
    """Encoder of two linear layers and two graph convolutions, a projector that looks past masked spots, a decoder.

    Shapes: features ``(N, p)`` → ``(N, 64)`` → ``(N, 32)`` → ``(N, 64)`` → embedding ``(N, 16)`` → projection
    ``(N, 16)`` → decoded features ``(N, p)``.
    """

    def __init__(self, n_features: int, config: SpaCrossConfig) -> None:
        super().__init__()
        hidden, feature, latent = config.hidden_size, config.feature_size, config.latent_size
        self.dropout = config.dropout
        self.token = MaskToken(n_features, replace_rate=config.replace_rate)
        self.linear_1 = FeatureProjection(n_features, hidden)
        # As torch's linear layers begin, half as wide as a projection of genes: the next one is such a layer.
        nn.init.uniform_(self.linear_1.weight, -(n_features**-0.5), n_features**-0.5)
        self.linear_2 = nn.Linear(hidden, feature, bias=False)
        self.graph_1 = GraphConvolution(feature, hidden)
        self.graph_2 = GraphConvolution(hidden, latent)
        sizes = (hidden, feature, hidden, latent)
        self.norms = nn.ModuleList(SpotNorm(size, momentum=config.batch_norm_momentum) for size in sizes)
        self.widen = nn.Linear(latent, 2 * latent, bias=False)
        self.gather = GraphConvolution(2 * latent, latent)
        self.output: nn.Linear | GraphConvolution
        self.output = (
            GraphConvolution(latent, n_features) if config.decoder == "graph" else nn.Linear(latent, n_features)
        )

    @property
    def n_hops(self) -> int:
        """Graph convolutions between a spot and its decoded features."""
        return 4 if isinstance(self.output, GraphConvolution) else 3

    def encode(
        self,
        features: DenseFeatures | MaskedSpots,
        adjacency: Tensor,
        generator: torch.Generator | PartialDraws | None = None,
    ) -> Tensor:
        """Embeddings, ``(N, latent)``; a generator switches dropout on."""
        x = self._finish(0, self.linear_1(features), elu, generator)
        x = self._finish(1, self.linear_2(x), elu, generator)
        x = self._finish(2, self.graph_1(x, adjacency), torch.relu, generator)
        return self._finish(3, self.graph_2(x, adjacency), nn.Identity(), generator)

    def project(self, embedding: Tensor, adjacency: Tensor, masked: Tensor | None = None) -> Tensor:
        """What a spot's neighbours say of it, ``(N, latent)``; masked ones, bool ``(N,)``, say nothing."""
        widened: Tensor = self.widen(embedding)
        if masked is not None:
            widened = widened.masked_fill(masked[:, None], 0)
        return self.gather(widened, adjacency)  # type: ignore[no-any-return]

    def decode(self, projection: Tensor, adjacency: Tensor, rows: Tensor | None = None) -> Tensor:
        """Decoded features of all spots, or of some ``rows``: ``(N, p)``."""
        if isinstance(self.output, GraphConvolution):
            decoded: Tensor = self.output(projection, adjacency)
            return decoded if rows is None else decoded[rows]
        return self.output(projection if rows is None else projection[rows])  # type: ignore[no-any-return]

    def forward(self, features: DenseFeatures | MaskedSpots, adjacency: Tensor) -> Tensor:
        """Decoded features, ``(N, p)``."""
        return self.decode(self.project(self.encode(features, adjacency), adjacency), adjacency)

    def _finish(
        self,
        number: int,
        x: Tensor,
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | PartialDraws | None,
    ) -> Tensor:
        return drop_out(activation(self.norms[number](x)), self.dropout, generator)


class SpaCrossObjective(Objective[SpaCrossNetwork, DenseFeatures]):
    """One evaluation of the loss: what is masked is decoded, agrees with a view that sees it, and knows its kind.

    Beside the network it has what only training needs: the target encoder, the discriminator, and the neighbourhoods
    as they were last found, which belong into a checkpoint.
    """

    def __init__(
        self,
        network: SpaCrossNetwork,
        tissue: Tissue[DenseFeatures],
        config: SpaCrossConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(network, tissue, generator)
        self.config = config
        self.adjacency = tissue.graph.normalized()
        self.contrast = NeighborhoodContrast(config.latent_size)
        self.neighborhoods = NeighborhoodMemory()
        # Without momentum the target is the encoder itself.
        self.target = copy.deepcopy(network).requires_grad_(False) if config.target_momentum else None  # noqa: FBT003

    def forward(self, epoch: int) -> LossOutput:
        config, network = self.config, self.network
        masked = draw_masked(self.tissue.graph.n_spots, config.mask_rate, self.generator)
        embedding = self._embed(network, masked)
        projection = network.project(embedding, self.adjacency, self._here(masked))
        weighted = {}
        if config.reconstruction_weight:
            weighted["reconstruction"] = (config.reconstruction_weight, self._reconstruction(projection, masked))
        if config.consistency_weight:
            loss = self._consistency(self._everywhere(projection)[masked], masked)
            weighted["consistency"] = (config.consistency_weight, loss)
        if config.contrast_weight:
            weighted["contrast"] = (config.contrast_weight, self._contrast(self._everywhere(embedding), epoch))
        return LossOutput.weighted(weighted)

    def _embed(self, network: SpaCrossNetwork, masked: Tensor | None = None) -> Tensor:
        """Embeddings of the spots at hand, ``(n, latent)``: those of a view with masked spots and dropout, or as is."""
        features, generator = self.tissue.features, self.generator
        if masked is None:
            return network.encode(features, self.adjacency)
        return network.encode(network.token(features, masked, generator), self.adjacency, generator)

    def _here(self, of_each: Tensor) -> Tensor:
        """The part of something known of each spot, ``(N,)``, that the spots at hand have, ``(n,)``: all of it."""
        return of_each

    def _everywhere(self, values: Tensor) -> Tensor:
        """The rows of all spots, ``(N, d)``, from those at hand, ``(n, d)``: the same."""
        return values

    def _reconstruction(self, projection: Tensor, masked: Tensor) -> Tensor:
        rows = masked.nonzero()[:, 0]
        decoded = self.network.decode(projection, self.adjacency, rows)
        return cosine_reconstruction_loss(decoded, self.tissue.features.values[rows])

    def _consistency(self, projection: Tensor, masked: Tensor) -> Tensor:
        """How far masked spots agree with the target encoder, to which exactly these are shown."""
        target = self.network
        if self.target is not None:
            follow(self.target, self.network, self.config.target_momentum)
            target = self.target
        with torch.no_grad():
            embedding = self._everywhere(self._embed(target, ~masked))[masked]
        negatives = draw_others(len(embedding), self.config.n_negatives, self.generator)
        return consistency_loss(projection, embedding, negatives)

    def _contrast(self, embedding: Tensor, epoch: int) -> Tensor:
        if epoch % self.config.refresh_every == 0:
            with torch.no_grad():
                found = self._everywhere(self._embed(self.network))
            self.neighborhoods.current = self._find_neighborhoods(found)
        known = self.neighborhoods.current
        if self.config.pairing == "all":
            others = torch.randperm(known.n_anchors, generator=self.generator, device=known.anchors.device)
            negatives = known.anchors[others]
        else:
            negatives = draw_others(len(embedding), 1, self.generator, rows=known.anchors)[:, 0]
        return self.contrast(embedding, known, negatives, pairing=self.config.pairing)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _find_neighborhoods(self, embedding: Tensor) -> Neighborhoods:
        config, graph, generator = self.config, self.tissue.graph, self.generator
        clusterings = consensus_clusterings(embedding, config.n_clusters, config.n_clusterings, generator)
        budget, queries = config.contrast_spots, None
        if budget is not None and budget < graph.n_spots:
            queries = torch.randperm(graph.n_spots, generator=generator, device=embedding.device)[:budget]
        return hybrid_neighborhoods(
            embedding,
            graph,
            clusterings,
            n_similar=config.n_similar,
            quorum=config.quorum,
            slices=self._slice_of_each(),
            queries=queries,
        )

    def _slice_of_each(self) -> Tensor | None:
        if not self.tissue.slices:
            return None
        slices = self.tissue.graph.rows.new_empty(self.tissue.graph.n_spots)
        for number, rows in enumerate(self.tissue.slices):
            slices[rows] = number
        return slices


class NeighborhoodMemory(nn.Module):
    """The neighbourhoods last found; a module so that a checkpoint holds them, whatever their number."""

    def __init__(self) -> None:
        super().__init__()
        none = torch.empty(0, dtype=torch.int64)
        self.current = Neighborhoods(none, torch.zeros(1, dtype=torch.int64), none)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The three tensors, for a checkpoint."""
        return {"anchors": self.current.anchors, "indptr": self.current.indptr, "indices": self.current.indices}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take them from a checkpoint."""
        self.current = Neighborhoods(**state)
