"""SpaCross: a graph autoencoder that is shown half of the spots and learns the rest from their surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy import sparse

from spotscape._core.validation import looks_like_counts
from spotscape.models._graph_encoder import GraphEncoder, Tissue
from spotscape.models._spacross_config import SpaCrossConfig
from spotscape.models._spacross_network import SpaCrossNetwork, SpaCrossObjective
from spotscape.nn.components import PrincipalComponents
from spotscape.nn.features import DenseFeatures

if TYPE_CHECKING:
    from torch import Tensor


# Nothing countable has a logarithm above this; expression on a linear scale nearly always has larger values.
_LARGEST_LOGARITHM = 20


@dataclass(frozen=True)
class _Reduction:
    """From expression to what the encoder sees and back; ``is_log`` if expression is exponentiated on the way."""

    components: PrincipalComponents
    is_log: bool

    @classmethod
    def fit(cls, expression: Any, config: SpaCrossConfig, *, seed: int) -> Self:
        is_log = config.linear_scale and _looks_logarithmic(expression)
        linear = _expm1(expression) if is_log else expression
        components = PrincipalComponents.fit(linear, config.n_components or 1, clip=config.clip, seed=seed)
        return cls(components, is_log)

    def project(self, expression: Any) -> np.ndarray:
        return self.components.project(_expm1(expression) if self.is_log else expression)

    def restore(self, scores: np.ndarray) -> np.ndarray:
        linear = self.components.restore(scores)
        return np.log1p(np.maximum(linear, 0, out=linear), out=linear) if self.is_log else linear


class SpaCross(GraphEncoder[SpaCrossConfig, SpaCrossNetwork, _Reduction, DenseFeatures]):
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

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import SpaCross, SpaCrossConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = SpaCross(SpaCrossConfig(max_epochs=5))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 16)

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, doi 10.1038/s42003-025-08810-5. Written from its formulas;
    what is different here: "How it works" in the documentation.
    """

    name = "SpaCross"

    def __init__(self, config: SpaCrossConfig | None = None, *, random_state: int | None = 0) -> None:
        super().__init__(config or SpaCrossConfig(), random_state)

    def _reduce(self, expression: Any, device: torch.device) -> _Reduction | None:
        if self.config.n_components is None:
            return None
        return _Reduction.fit(expression, self.config, seed=self.random_source.integer("basis"))

    def _features(self, expression: Any, reduction: _Reduction | None, device: torch.device) -> DenseFeatures:
        if reduction is not None:
            values = reduction.project(expression)
        else:
            values = expression.toarray() if sparse.issparse(expression) else expression
        # Torch takes no array that may not be written to, such as a memory map.
        return DenseFeatures(torch.as_tensor(np.require(values, np.float32, ["C", "W"]), device=device))

    def _objective(self, tissue: Tissue[DenseFeatures], generator: torch.Generator) -> SpaCrossObjective:
        network = SpaCrossNetwork(tissue.features.shape[1], self.config)
        return SpaCrossObjective(network, tissue, self.config, generator)

    def _forward(self, network: SpaCrossNetwork, features: DenseFeatures, adjacency: Tensor) -> Tensor:
        return network.encode(features, adjacency)

    def _decode(self, expression: Any, features: DenseFeatures, adjacency: Tensor) -> np.ndarray:
        scaled = [_to_scale(network(features, adjacency), features.values) for network in self.networks]
        decoded: np.ndarray = torch.stack(scaled).mean(0).float().cpu().numpy()
        if self._reduction is not None:
            decoded = self._reduction.restore(decoded)
        return _to_units(decoded, expression)


def _looks_logarithmic(expression: Any) -> bool:
    """Neither counts, nor centred, nor larger than logarithms get."""
    return bool(expression.min() >= 0 and expression.max() <= _LARGEST_LOGARITHM and not looks_like_counts(expression))


def _expm1(expression: Any) -> Any:
    # scipy's expm1 leaves zeros out, as it may.
    return expression.expm1() if sparse.issparse(expression) else np.expm1(expression)


def _to_scale(decoded: Tensor, values: Tensor) -> Tensor:
    """Decoded features ``(N, p)``, times the one factor that brings them closest to the given ones.

    A cosine teaches the decoder directions and leaves lengths open.
    """
    return decoded * ((decoded * values).sum() / (decoded * decoded).sum())


def _to_units(decoded: np.ndarray, expression: Any) -> np.ndarray:
    """Decoded expression ``(N, G)``, each gene on the line that brings it closest to the given one; changed in place.

    The logarithm of a mean is not the mean of logarithms, and directions say nothing of a gene's contrast. A line keeps
    what the decoder says of the order of spots.
    """
    means = np.asarray(expression.mean(0)).ravel()
    decoded -= decoded.mean(0, dtype=np.float64)
    products = expression.multiply(decoded) if sparse.issparse(expression) else expression * decoded
    squares = np.einsum("ij,ij->j", decoded, decoded, dtype=np.float64)
    covariance = np.asarray(products.sum(0, dtype=np.float64)).ravel()
    # A negative slope would turn a gene round; a gene decoded as constant has none.
    decoded *= np.divide(np.maximum(covariance, 0), squares, out=np.zeros_like(squares), where=squares > 0)
    decoded += means
    return decoded
