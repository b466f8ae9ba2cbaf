"""Spotscape: a graph autoencoder trained so that all spot-to-spot similarities agree between two views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from spotscape._core.arguments import public
from spotscape._core.rows import RowSource
from spotscape.models._graph_encoder import GraphEncoder, Tissue
from spotscape.models._spotscape_config import SpotscapeConfig
from spotscape.models._spotscape_network import SpotscapeNetwork, SpotscapeObjective
from spotscape.models._spotscape_tiles import TiledSpotscapeObjective
from spotscape.nn.features import FeatureMatrix, LowRankFeatures, as_features

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from spotscape._core.randomness import Seed
    from spotscape.models._reduction import Reduction
    from spotscape.models._tiling import TilePlan


class Spotscape(GraphEncoder[SpotscapeConfig, SpotscapeNetwork, FeatureMatrix]):
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
    training, reference
        What new slices need: :class:`TrainingRecord` and :class:`Reference`. Set by the function on AnnData that
        returns the model; ``None`` after :meth:`fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import Spotscape, SpotscapeConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = Spotscape(SpotscapeConfig(max_epochs=5, n_components=10))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 12)

    References
    ----------
    Oh et al., *Global Context-aware Representation Learning for Spatially Resolved Transcriptomics*, ICML 2025,
    arXiv 2506.15698. Formulas, and what is different here: "How it works" in the documentation.
    """

    name = "Spotscape"

    @public
    def __init__(self, config: SpotscapeConfig | None = None, *, random_state: Seed = 0) -> None:
        super().__init__(config or SpotscapeConfig(), random_state)

    def _features(self, expression: Any, reduction: Reduction | None, device: torch.device) -> FeatureMatrix:
        if reduction is None:
            whole = expression.in_memory() if isinstance(expression, RowSource) else expression
            return as_features(whole, device=device)
        scores, loadings = reduction.project(expression), reduction.components.loadings
        return LowRankFeatures(torch.from_numpy(scores).to(device), torch.from_numpy(loadings).to(device))

    def _network(self, n_features: int) -> SpotscapeNetwork:
        return SpotscapeNetwork(n_features, self.config)

    def _objective(self, tissue: Tissue[FeatureMatrix], generator: torch.Generator) -> SpotscapeObjective:
        network = self._network(tissue.features.shape[1])
        return SpotscapeObjective(network, tissue, self.config, generator)

    def _tiled_objective(
        self, tissue: Tissue[FeatureMatrix], generator: torch.Generator, plan: TilePlan
    ) -> TiledSpotscapeObjective:
        network = SpotscapeNetwork(tissue.features.shape[1], self.config)
        return TiledSpotscapeObjective(network, tissue, self.config, generator, plan)

    def _bytes_per_spot(self) -> int:
        # Two views and what their gradients need.
        return 8 * (10 * self.config.hidden_size + 10 * self.config.latent_size)

    def _forward(self, network: SpotscapeNetwork, features: FeatureMatrix, adjacency: Tensor) -> Tensor:
        return network.decode_hidden(network.encode(features, adjacency))

    def _decode(self, expression: Any, features: FeatureMatrix, adjacency: Tensor) -> np.ndarray:
        decoded = self._read_decoder(self.networks[0], features, adjacency)
        for network in self.networks[1:]:
            decoded += self._read_decoder(network, features, adjacency)
        mean: np.ndarray = (decoded / len(self.networks)).float().cpu().numpy()
        return mean if self._reduction is None else self._reduction.restore(mean, expression)

    def _read_decoder(self, network: SpotscapeNetwork, features: FeatureMatrix, adjacency: Tensor) -> Tensor:
        """Decoded genes ``(N, G)``, or components ``(N, p)``: beside them, the decoder was shown nothing."""
        decoded: Tensor = network(features, adjacency)
        return decoded @ features.loadings if isinstance(features, LowRankFeatures) else decoded
