"""Standardised principal components: what centred methods see, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core.validation import require_positive_int
from spotscape.nn.features import low_rank_basis

if TYPE_CHECKING:
    from typing import Self

# Directions beyond those asked for: the mean takes one of them, and the search is least exact in its last ones.
_SPARE = 10
_N_ITER = 12
_CHUNK = 4096


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
    ceiling
        Where the values of each gene are cut off, float32 ``(G,)``; ``None`` if they are not.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import PrincipalComponents
    >>> expression = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0], [4.0, 5.0, 5.0]])
    >>> components = PrincipalComponents.fit(expression, 1)
    >>> components.project(expression).astype(float).round(2).tolist()
    [[-1.73], [0.0], [1.73]]
    >>> components.restore(np.array([[0.0]])).tolist()
    [[2.0, 3.0, 5.0]]
    """

    mean: np.ndarray
    scale: np.ndarray
    loadings: np.ndarray
    ceiling: np.ndarray | None = None

    @classmethod
    def fit(cls, matrix: Any, n_components: int, *, clip: float | None = None, seed: int = 0) -> Self:
        """Find the components of a matrix.

        Parameters
        ----------
        matrix
            Expression, dense or sparse, ``(N, G)``, finite.
        n_components
            How many; fewer come back if the matrix has fewer rows or columns.
        clip
            Values more than this many standard deviations above the mean of their gene, which single spots would rule
            a component with, are cut off there; mean and deviation are then taken anew. ``None`` leaves them.
        seed
            Of the randomised search. What separates groups of spots is found to several digits; directions deep in the
            noise, which differ little in variance, are found as some mixture of each other.

        Returns
        -------
        Means, scales and loadings, with which :meth:`project` treats new spots as it treats these.

        Raises
        ------
        TypeError, ValueError
            If ``n_components`` is no positive integer.
        """
        n_components = min(require_positive_int(n_components, "n_components"), *matrix.shape)
        mean, deviation = _moments(matrix)
        ceiling = None
        if clip is not None:
            ceiling = (mean + clip * deviation).astype(np.float32)
            matrix = _cut_off(matrix, ceiling)
            mean, deviation = _moments(matrix)
        scale = np.where(deviation > 0, deviation, 1)
        # A constant gene, left in, would have a small loading where the search is not exact.
        scaled = _multiply_columns(matrix, np.where(deviation > 0, 1 / scale, 0))
        # Centring in the span of the leading directions, which hold the mean as well, keeps sparse input sparse.
        basis = low_rank_basis(scaled, min(n_components + _SPARE, *matrix.shape), seed=seed, n_iter=_N_ITER)
        inner = np.asarray(scaled @ basis, dtype=np.float64)
        inner -= inner.mean(0)
        _, vectors = np.linalg.eigh(inner.T @ inner)
        loadings = basis @ vectors[:, ::-1][:, :n_components]
        loadings *= np.sign(np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0))
        return cls(mean.astype(np.float32), scale.astype(np.float32), loadings.astype(np.float32), ceiling)

    def project(self, matrix: Any) -> np.ndarray:
        """Scores of spots, in the means and scales of those that the components were found on.

        Parameters
        ----------
        matrix
            Expression of the same genes, dense or sparse, ``(N, G)``.

        Returns
        -------
        Scores, float32 ``(N, p)``.

        Raises
        ------
        ValueError
            If the number of genes differs.
        """
        if matrix.shape[1] != len(self.mean):
            msg = f"matrix has {matrix.shape[1]} genes; the components were found on {len(self.mean)}."
            raise ValueError(msg)
        if self.ceiling is not None:
            matrix = _cut_off(matrix, self.ceiling)
        weight = self.loadings / self.scale[:, None]
        offset = (self.mean / self.scale) @ self.loadings
        scores = np.asarray(matrix @ weight, dtype=np.float32)
        scores -= offset
        return scores

    def restore(self, scores: np.ndarray) -> np.ndarray:
        """Expression in the units of the input; what the components leave out is at its mean.

        Parameters
        ----------
        scores
            Shape ``(N, p)``.

        Returns
        -------
        Expression, float32 ``(N, G)``.
        """
        expression: np.ndarray = np.asarray(scores, dtype=np.float32) @ (self.loadings * self.scale[:, None]).T
        expression += self.mean
        return expression


def _moments(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column in float64; a deviation that is mere rounding is 0."""
    n_spots, n_genes = matrix.shape
    if sparse.issparse(matrix):
        entries = matrix.tocoo()
        columns, values = entries.col, entries.data.astype(np.float64)
        mean = np.bincount(columns, values, n_genes) / n_spots
        squares = np.bincount(columns, (values - mean[columns]) ** 2, n_genes)
        squares += (n_spots - np.bincount(columns, minlength=n_genes)) * mean**2
    else:
        mean = np.mean(matrix, axis=0, dtype=np.float64)
        # In chunks, so that a float64 copy of the whole is never there.
        chunks = (matrix[start : start + _CHUNK] for start in range(0, n_spots, _CHUNK))
        squares = np.add.reduce([np.square(chunk - mean).sum(0) for chunk in chunks])
    deviation = np.sqrt(squares / n_spots)
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 0.0)


def _multiply_columns(matrix: Any, factor: np.ndarray) -> Any:
    factor = factor.astype(np.float32)
    if not sparse.issparse(matrix):
        return np.asarray(matrix, dtype=np.float32) * factor
    scaled = sparse.csr_array(matrix, dtype=np.float32, copy=True)
    scaled.data *= factor[scaled.indices]
    return scaled


def _cut_off(matrix: Any, ceiling: np.ndarray) -> Any:
    """Values of each column no larger than its ceiling; entries that a sparse matrix leaves out stay zero."""
    if not sparse.issparse(matrix):
        return np.minimum(matrix, ceiling)
    lowered = sparse.csr_array(matrix, copy=True)
    np.minimum(lowered.data, ceiling[lowered.indices], out=lowered.data)
    return lowered
