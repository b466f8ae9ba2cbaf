"""Standardised principal components: what centred methods see, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core.validation import require_positive_int
from spotscape.nn.covariance import Blocks, covariance_product, moments
from spotscape.nn.features import low_rank_basis
from spotscape.nn.lanczos import leading_eigenvectors

if TYPE_CHECKING:
    from typing import Self

# Directions beyond those asked for: the mean takes one of them, and the search is least exact in its last ones.
_SPARE = 10
_N_ITER = 12
# A sparse matrix takes little longer for this many vectors than for a few.
_BLOCK = 32
# With more spots than this, an even part of half this size tells where to begin the search.
_MANY = 100_000


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
    def fit(
        cls,
        matrix: Any,
        n_components: int,
        *,
        scale: bool = True,
        clip: float | None = None,
        exact: bool = False,
        seed: int = 0,
    ) -> Self:
        """Find the components of a matrix.

        Parameters
        ----------
        matrix
            Expression, dense or sparse, ``(N, G)``, finite.
        n_components
            How many; fewer come back if the matrix has fewer rows or columns.
        scale
            Whether genes are standardised; else they are centred only, and count by their variance.
        clip
            Values more than this many standard deviations above the mean of their gene, which single spots would rule
            a component with, are cut off there; mean and deviation are then taken anew. ``None`` leaves them.
        exact
            Whether the axes of the centred genes are found to many digits, whatever the number of threads to the same
            bits, and without a copy of the matrix. Otherwise they are sought within the leading directions of the
            genes as they are, which nearly hold them; that is what SpaCross was measured with.
        seed
            Of the search. What separates groups of spots is found to several digits; directions deep in the noise,
            which differ little in variance, are found as some mixture of each other.

        Returns
        -------
        Means, scales and loadings, with which :meth:`project` treats new spots as it treats these.

        Raises
        ------
        TypeError, ValueError
            If ``n_components`` is no positive integer.
        """
        n_components = min(require_positive_int(n_components, "n_components"), *matrix.shape)
        blocks = Blocks(matrix)
        mean, deviation = moments(blocks)
        ceiling = None
        if clip is not None:
            ceiling = (mean + clip * deviation).astype(np.float32)
            blocks = Blocks(matrix, ceiling)
            mean, deviation = moments(blocks)
        used = np.where((deviation > 0) & scale, deviation, 1)
        # A constant gene, left in, would have a small loading where the search is not exact.
        search = _axes if exact else _nearly_axes
        loadings = search(blocks, mean, np.where(deviation > 0, 1 / used, 0), n_components, seed=seed)
        loadings *= np.sign(np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0))
        return cls(mean.astype(np.float32), used.astype(np.float32), loadings.astype(np.float32), ceiling)

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
        weight = self.loadings / self.scale[:, None]
        offset = (self.mean / self.scale) @ self.loadings
        blocks = Blocks(matrix, self.ceiling)
        parts = blocks.map(lambda block: np.asarray(block @ weight, dtype=np.float32) - offset)
        return np.concatenate([np.empty((0, self.loadings.shape[1]), dtype=np.float32), *parts])

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


def _axes(blocks: Blocks, mean: np.ndarray, weight: np.ndarray, n_axes: int, *, seed: int) -> np.ndarray:
    """Leading axes of the weighted genes; of many spots not to the last digit, since noise has no more to tell."""
    n_spots, n_genes = blocks.shape
    start = np.random.default_rng(seed).standard_normal((n_genes, min(_BLOCK, n_genes)))
    product = covariance_product(blocks, mean, weight)
    if n_spots <= _MANY:
        return leading_eigenvectors(product, start, n_axes, seed=seed)
    few = Blocks(blocks.matrix[:: 2 * n_spots // _MANY], blocks.ceiling)
    n_guessed = min(max(n_axes, _BLOCK), n_genes)
    rough = covariance_product(few, mean, weight)
    start = leading_eigenvectors(rough, start, n_guessed, tolerance=1e-2, seed=seed)
    return leading_eigenvectors(product, start, n_axes, tolerance=1e-2, seed=seed)


def _nearly_axes(blocks: Blocks, mean: np.ndarray, weight: np.ndarray, n_axes: int, *, seed: int) -> np.ndarray:
    """Leading axes of the weighted genes within the span of leading directions of the uncentred ones."""
    factor = weight.astype(np.float32)
    scaled = _stack(list(blocks.map(lambda block: _multiply_columns(block, factor))))
    # Centring in the span of the leading directions, which hold the mean as well, keeps sparse input sparse.
    basis = low_rank_basis(scaled, min(n_axes + _SPARE, *blocks.shape), seed=seed, n_iter=_N_ITER)
    inner = np.asarray(scaled @ basis, dtype=np.float64)
    inner -= inner.mean(0)
    _, vectors = np.linalg.eigh(inner.T @ inner)
    return np.asarray(basis @ vectors[:, ::-1][:, :n_axes])


def _multiply_columns(block: Any, factor: np.ndarray) -> Any:
    if not sparse.issparse(block):
        return np.asarray(block, dtype=np.float32) * factor
    scaled = sparse.csr_array(block, dtype=np.float32, copy=True)
    scaled.data *= factor[scaled.indices]
    return scaled


def _stack(parts: list[Any]) -> Any:
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
