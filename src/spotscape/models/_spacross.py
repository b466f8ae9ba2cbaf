"""SpaCross: a graph autoencoder that is shown half of the spots and learns the rest from their surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from spotscape._core.arguments import public
from spotscape._core.rows import RowSource
from spotscape.models._graph_encoder import GraphEncoder, Tissue
from spotscape.models._reduction import Reduction, to_units
from spotscape.models._spacross_config import SpaCrossConfig
from spotscape.models._spacross_network import SpaCrossNetwork, SpaCrossObjective
from spotscape.models._spacross_tiles import TiledSpaCrossObjective
from spotscape.nn.features import DenseFeatures

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape._core.randomness import Seed
    from spotscape.models._tiling import TilePlan


class SpaCross(GraphEncoder[SpaCrossConfig, SpaCrossNetwork, DenseFeatures]):
    """Embed the spots of a tissue from their expression and their spatial graph.

    The graph may join slices (:func:`spotscape.pp.spatial_neighbors_3d`). With several slices, similar spots are sought
    within and between slices apart.

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
    >>> from spotscape.models import SpaCross, SpaCrossConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = SpaCross(SpaCrossConfig(max_epochs=5))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 12)

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, doi 10.1038/s42003-025-08810-5. Written from its formulas;
    what is different here: "How it works" in the documentation.
    """

    name = "SpaCross"

    @public
    def __init__(self, config: SpaCrossConfig | None = None, *, random_state: Seed = 0) -> None:
        super().__init__(config or SpaCrossConfig(), random_state)

    def _features(self, expression: Any, reduction: Reduction | None, device: torch.device) -> DenseFeatures:
        if reduction is not None:
            values = reduction.project(expression)
        else:
            expression = expression.in_memory() if isinstance(expression, RowSource) else expression
            values = expression.toarray() if sparse.issparse(expression) else expression
        # Torch takes no array that may not be written to, such as a memory map.
        return DenseFeatures(torch.as_tensor(np.require(values, np.float32, ["C", "W"]), device=device))

    def _network(self, n_features: int) -> SpaCrossNetwork:
        return SpaCrossNetwork(n_features, self.config)

    def _objective(self, tissue: Tissue[DenseFeatures], generator: torch.Generator) -> SpaCrossObjective:
        network = self._network(tissue.features.shape[1])
        return SpaCrossObjective(network, tissue, self.config, generator)

    def _tiled_objective(
        self, tissue: Tissue[DenseFeatures], generator: torch.Generator, plan: TilePlan
    ) -> TiledSpaCrossObjective:
        network = SpaCrossNetwork(tissue.features.shape[1], self.config)
        return TiledSpaCrossObjective(network, tissue, self.config, generator, plan)

    def _bytes_per_spot(self) -> int:
        config = self.config
        # The online view and what its gradients need, and a target view without them.
        return 4 * (16 * config.hidden_size + 8 * config.feature_size + 30 * config.latent_size)

    def _forward(self, network: SpaCrossNetwork, features: DenseFeatures, adjacency: Tensor) -> Tensor:
        return network.encode(features, adjacency)

    def _decode(self, expression: Any, features: DenseFeatures, adjacency: Tensor) -> np.ndarray:
        scaled = [_to_scale(network(features, adjacency), features.values) for network in self.networks]
        decoded: np.ndarray = torch.stack(scaled).mean(0).float().cpu().numpy()
        return (
            to_units(decoded, expression) if self._reduction is None else self._reduction.restore(decoded, expression)
        )


def _to_scale(decoded: Tensor, values: Tensor) -> Tensor:
    """Decoded features ``(N, p)``, times the one factor that brings them closest to the given ones.

    A cosine teaches the decoder directions and leaves lengths open.
    """
    return decoded * ((decoded * values).sum() / (decoded * decoded).sum())
