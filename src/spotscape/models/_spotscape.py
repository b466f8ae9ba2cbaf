"""Spotscape: a graph autoencoder trained so that all spot-to-spot similarities agree between two views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from spotscape.models._graph_encoder import GraphEncoder, Tissue
from spotscape.models._spotscape_config import SpotscapeConfig
from spotscape.models._spotscape_network import SpotscapeNetwork, SpotscapeObjective
from spotscape.nn.features import FeatureMatrix, as_features, low_rank_basis, project

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Spotscape(GraphEncoder[SpotscapeConfig, SpotscapeNetwork, torch.Tensor, FeatureMatrix]):
    """Embed the spots of a tissue from their expression and their spatial graph.

    With several slices, similarity scaling and prototypical contrast join the objective.

    Parameters
    ----------
    config
        Hyper-parameters; ``None`` takes the defaults.
    random_state
        Seed of everything random; the same seed gives the same bits on the same CPU.

    Attributes
    ----------
    networks
        The trained encoders with their decoders, each a :class:`torch.nn.Module`; empty before :meth:`fit`.
    history
        Losses and learning rate, one float64 array per name, one value per epoch: the mean over encoders.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import Spotscape, SpotscapeConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = Spotscape(SpotscapeConfig(max_epochs=5, n_components=None))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 64)

    References
    ----------
    Oh et al., *Global Context-aware Representation Learning for Spatially Resolved Transcriptomics*, ICML 2025,
    arXiv 2506.15698. Formulas, and what is different here: "How it works" in the documentation.
    """

    name = "Spotscape"

    def __init__(self, config: SpotscapeConfig | None = None, *, random_state: int | None = 0) -> None:
        super().__init__(config or SpotscapeConfig(), random_state)

    def _reduce(self, expression: Any, device: torch.device) -> Tensor | None:
        rank = self.config.n_components
        # Below twice the rank the products would not get cheaper.
        if rank is None or min(expression.shape) < 2 * rank:
            return None
        basis = low_rank_basis(expression, rank, seed=self.random_source.integer("basis"))
        return torch.from_numpy(basis).to(device)

    def _features(self, expression: Any, reduction: Tensor | None, device: torch.device) -> FeatureMatrix:
        return as_features(expression, device=device) if reduction is None else project(expression, reduction)

    def _objective(self, tissue: Tissue[FeatureMatrix], generator: torch.Generator) -> SpotscapeObjective:
        network = SpotscapeNetwork(tissue.features.shape[1], self.config)
        return SpotscapeObjective(network, tissue, self.config, generator)

    def _forward(self, network: SpotscapeNetwork, features: FeatureMatrix, adjacency: Tensor) -> Tensor:
        return network.decode_hidden(network.encode(features, adjacency))

    def _decode(self, expression: Any, features: FeatureMatrix, adjacency: Tensor) -> np.ndarray:
        decoded: Tensor = self.networks[0](features, adjacency)
        for network in self.networks[1:]:
            decoded += network(features, adjacency)
        return (decoded / len(self.networks)).float().cpu().numpy()
