"""What Spotscape trains, and what it trains for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spotscape.models._graph_encoder import Objective
from spotscape.nn.augment import random_view
from spotscape.nn.features import FeatureMatrix
from spotscape.nn.layers import GraphBlock
from spotscape.nn.normalization import SpotNorm
from spotscape.nn.objectives import PrototypeBank, prototype_loss, reconstruction_loss, scaling_loss, telescope_loss
from spotscape.nn.precision import at_least_float32
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from spotscape.models._graph_encoder import Tissue
    from spotscape.models._spotscape_config import SpotscapeConfig
    from spotscape.nn.features import MaskedFeatures


class SpotscapeNetwork(nn.Module):
    """Encoder of two graph convolutions and a decoder of two linear layers.

    Shapes: expression ``(N, G)`` → hidden ``(N, 256)`` → embedding ``(N, 64)`` → hidden ``(N, 256)`` → ``(N, G)``.
    """

    def __init__(self, n_genes: int, config: SpotscapeConfig) -> None:
        super().__init__()
        hidden, latent, momentum = config.hidden_size, config.latent_size, config.batch_norm_momentum
        self.first = GraphBlock(n_genes, hidden, momentum=momentum, from_features=True)
        self.second = GraphBlock(hidden, latent, momentum=momentum, linear=not config.latent_relu)
        self.expand = nn.Linear(latent, hidden)
        self.expand_norm = SpotNorm(hidden, momentum=momentum)
        self.output = nn.Linear(hidden, n_genes)

    def encode(self, features: FeatureMatrix | MaskedFeatures, adjacency: Tensor) -> Tensor:
        """Embeddings, ``(N, latent)``."""
        return self.second(self.first(features, adjacency), adjacency)  # type: ignore[no-any-return]

    def decode_hidden(self, embedding: Tensor) -> Tensor:
        """Input of the decoder's last layer, ``(N, hidden)``."""
        hidden: Tensor = self.expand_norm(self.expand(embedding))
        return hidden.relu_()

    def forward(self, features: FeatureMatrix | MaskedFeatures, adjacency: Tensor) -> Tensor:
        """Decoded expression, ``(N, G)``."""
        return self.output(self.decode_hidden(self.encode(features, adjacency)))  # type: ignore[no-any-return]


class SpotscapeObjective(Objective[SpotscapeNetwork, FeatureMatrix]):
    """One evaluation of the loss: two random views, how they agree, and how well both explain the expression.

    With several slices, also whether similarities have one scale across them, and whether views share prototypes.
    """

    def __init__(
        self,
        network: SpotscapeNetwork,
        tissue: Tissue[FeatureMatrix],
        config: SpotscapeConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(network, tissue, generator)
        self.config = config
        self.prototypes = PrototypeBank(config.granularities, config.latent_size)

    def forward(self, epoch: int) -> LossOutput:
        config = self.config
        views = [self._embed_view() for _ in range(2)]
        first, second = map(at_least_float32, views)
        weighted = {"telescope": (config.telescope_weight, telescope_loss(first, second))}
        weighted["reconstruction"] = (config.reconstruction_weight, self._reconstruction(views))
        if self.tissue.slices:
            weighted |= self._across_slices(first, second, self.tissue.slices, epoch)
        return LossOutput.weighted(weighted)

    def _embed_view(self) -> Tensor:
        config = self.config
        masked, adjacency = random_view(
            self.tissue.features,
            self.tissue.graph,
            edge_drop=config.edge_drop,
            feature_drop=config.feature_drop,
            generator=self.generator,
        )
        return self.network.encode(masked, adjacency)

    def _reconstruction(self, views: list[Tensor]) -> Tensor:
        hidden = [at_least_float32(self.network.decode_hidden(view)) for view in views]
        output = self.network.output
        return reconstruction_loss(self.tissue.features, hidden, output.weight.T, output.bias)

    def _across_slices(
        self, first: Tensor, second: Tensor, slices: tuple[Tensor, ...], epoch: float
    ) -> dict[str, tuple[float, Tensor]]:
        config, scaling = self.config, first.new_zeros(())
        if config.scaling_weight:
            queries = self._draw_queries(slices)
            scaling = scaling_loss(first, second, slices, n_neighbors=config.scaling_neighbors, queries=queries)
        return {"scaling": (config.scaling_weight, scaling), **self._prototypes(first, second, epoch)}

    def _prototypes(self, first: Tensor, second: Tensor, epoch: float) -> dict[str, tuple[float, Tensor]]:
        config, loss = self.config, first.new_zeros(())
        if config.prototype_weight and epoch >= config.prototype_warmup * config.max_epochs:
            bank = self.prototypes
            labels = bank.update(second, self.generator)
            loss = prototype_loss(first, bank.centres, labels, temperature=config.prototype_temperature)
        return {"prototypes": (config.prototype_weight, loss)}

    def _draw_queries(self, slices: tuple[Tensor, ...]) -> list[Tensor] | None:
        """Positions in each slice, drawn with replacement; ``None`` for all, where that is no more."""
        budget = self.config.scaling_spots
        if budget is None or budget >= sum(map(len, slices)):
            return None
        share = -(-budget // len(slices))
        device = slices[0].device
        return [torch.randint(len(rows), (share,), generator=self.generator, device=device) for rows in slices]
