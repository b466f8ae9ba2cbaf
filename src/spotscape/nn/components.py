"""Standardised principal components: what centred methods see, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape.nn.features import low_rank_basis

if TYPE_CHECKING:
    from typing import Self

# Directions beyond those asked for: the mean takes one of them, and the search is least exact in its last ones.
_SPARE = 10


@dataclass(frozen=True)
class PrincipalComponents:
    r"""Leading principal components of standardised genes, without a dense copy of the expression.

    With means :math:`\mu`, standard deviations :math:`\sigma` and orthonormal loadings :math:`V` (G×p), scores are
    :math:`((X - \mu)/\sigma)\,V`, computed as :math:`X\,(V/\sigma) - (\mu/\sigma)\,V` so that sparse expression stays
    sparse; the way back is :math:`S V^\top \sigma + \mu`.

    Attributes
    ----------
    mean, scale
        Of each gene, float32 ``(G,)``; a constant gene has scale 1.
    loadings
        Orthonormal columns, float32 ``(G, p)``, largest variance first; the largest entry of each is positive.
    """

    mean: np.ndarray
    scale: np.ndarray
    loadings: np.ndarray

    @classmethod
    def fit(cls, matrix: Any, n_components: int, *, seed: int) -> Self:
        """Find the components of a dense or sparse matrix ``(N, G)``; fewer if it has fewer rows or columns."""
        mean, scale = _moments(matrix)
        n_components = min(n_components, *matrix.shape)
        scaled = _divide_columns(matrix, scale)
        # Centring in the span of the leading directions, which hold the mean as well, keeps sparse input sparse.
        basis = low_rank_basis(scaled, min(n_components + _SPARE, *matrix.shape), seed=seed)
        inner = np.asarray(scaled @ basis, dtype=np.float64)
        inner -= inner.mean(0)
        _, vectors = np.linalg.eigh(inner.T @ inner)
        loadings = basis @ vectors[:, ::-1][:, :n_components]
        loadings *= np.sign(np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0))
        return cls(mean.astype(np.float32), scale.astype(np.float32), loadings.astype(np.float32))

    def project(self, matrix: Any) -> np.ndarray:
        """Scores of the spots of ``matrix`` ``(N, G)``, float32 ``(N, p)``."""
        weight = self.loadings / self.scale[:, None]
        offset = (self.mean / self.scale) @ self.loadings
        scores = np.asarray(matrix @ weight, dtype=np.float32)
        scores -= offset
        return scores

    def restore(self, scores: np.ndarray) -> np.ndarray:
        """Expression ``(N, G)`` in the units of the input from scores ``(N, p)``, float32."""
        expression: np.ndarray = scores @ (self.loadings * self.scale[:, None]).T
        expression += self.mean
        return expression


def _moments(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column in float64; 1 for the deviation of a constant column."""
    if sparse.issparse(matrix):
        columns, values = matrix.tocoo().col, matrix.tocoo().data.astype(np.float64)
        mean = np.bincount(columns, values, matrix.shape[1]) / matrix.shape[0]
        # About the mean, zeros included: sum over entries of (x - m)^2 - m^2, plus N m^2.
        about = np.bincount(columns, (values - mean[columns]) ** 2 - mean[columns] ** 2, matrix.shape[1])
        variance = about / matrix.shape[0] + mean**2
    else:
        mean = np.mean(matrix, axis=0, dtype=np.float64)
        variance = np.var(matrix, axis=0, dtype=np.float64)
    deviation = np.sqrt(np.maximum(variance, 0))
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)


def _divide_columns(matrix: Any, scale: np.ndarray) -> Any:
    factor = (1 / scale).astype(np.float32)
    if not sparse.issparse(matrix):
        return np.asarray(matrix, dtype=np.float32) * factor
    scaled = sparse.csr_array(matrix, dtype=np.float32, copy=True)
    scaled.data *= factor[scaled.indices]
    return scaled
