"""From expression to the components that encoders see, and from decoded components back to expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse

from spotscape._core.rows import expm1
from spotscape._core.validation import looks_like_counts
from spotscape._stats.components import PrincipalComponents

if TYPE_CHECKING:
    from spotscape.models._config import EncoderConfig

# Nothing countable has a logarithm above this; expression on a linear scale nearly always has larger values.
LARGEST_LOGARITHM = 20


@dataclass(frozen=True)
class Reduction:
    """From expression to components and back; ``is_log`` if expression is exponentiated on the way."""

    components: PrincipalComponents
    is_log: bool

    @classmethod
    def fit(cls, expression: Any, adjacency: Any, config: EncoderConfig) -> Self | None:
        """Learn it; ``None`` if the configuration wants all of the expression.

        Negative values show a representation that is centred already: nothing is exponentiated, scaled or cut off.
        """
        if config.n_comps is None:
            return None
        is_expression = bool(expression.min() >= 0)
        is_log = config.linear_scale and is_expression and bool(expression.max() <= LARGEST_LOGARITHM)
        is_log = is_log and not looks_like_counts(expression)
        components = PrincipalComponents.fit(
            expm1(expression) if is_log else expression,
            config.n_comps,
            graph=adjacency if config.spatial_components else None,
            scale=is_expression and config.dispersion is not None,
            dispersion=(config.dispersion or 0.0) if is_expression else 0.0,
            clip=config.clip if is_expression else None,
        )
        return cls(components, is_log)

    def project(self, expression: Any) -> np.ndarray:
        """Components of spots, float32 ``(N, p)``."""
        return self.components.project(expm1(expression) if self.is_log else expression)

    def restore(self, decoded: np.ndarray, expression: Any) -> np.ndarray:
        """Expression in the units of the input, float32 ``(N, G)``, from decoded components ``(N, p)``."""
        linear = self.components.restore(decoded)
        restored = np.log1p(np.maximum(linear, 0, out=linear), out=linear) if self.is_log else linear
        return to_units(restored, expression)


def to_units(decoded: np.ndarray, expression: Any) -> np.ndarray:
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
