"""Principal components of a matrix in memory or on disk, and means over neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core.validation import require_in_range, require_positive_int
from spotscape._stats.covariance import (
    Blocks,
    covariance_product,
    leading_eigenvectors,
    moments,
    smoothed_covariance_product,
)

if TYPE_CHECKING:
    from typing import Self

# A sparse matrix takes little longer for this many vectors than for a few.
_BLOCK = 32
# With more spots than this, an even part of half this size tells where to begin the search.
_MANY = 100_000


@dataclass(frozen=True)
class PrincipalComponents:
    r"""Leading principal components of scaled genes, without a dense copy of the expression.

    With means :math:`\mu`, scales :math:`\sigma` and orthonormal loadings :math:`V` (G×p), scores are
    :math:`((X - \mu)/\sigma)\,V`, computed as :math:`X\,(V/\sigma) - (\mu/\sigma)\,V` so that sparse expression stays
    sparse. Expression is restored as :math:`S V^\top \sigma + \mu` from scores S.

    Ordinary components are the directions in which single spots differ most. Most of these differences are noise. With
    a spatial graph, components are the directions in which *means over neighbours* differ most. In either case, scores
    are those of single spots.

    Attributes
    ----------
    mean, scale
        Mean and scale of each gene, float32 ``(G,)``. If genes are standardised, a constant gene has scale 1.
    loadings
        Orthonormal columns, float32 ``(G, p)``, largest variance first. The largest entry of each is positive.
    ceiling
        Limit at which the values of each gene are clipped, float32 ``(G,)``; ``None`` if they are not clipped.

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
        n_comps: int,
        *,
        graph: Any = None,
        scale: bool = True,
        dispersion: float = 0.0,
        clip: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Find the components of a matrix.

        Parameters
        ----------
        matrix
            Expression, dense or sparse, ``(N, G)``, finite.
        n_comps
            Number of components; fewer are returned if the matrix has fewer rows or columns.
        graph
            Spatial graph, sparse ``(N, N)``; row i holds the neighbours of spot i. Components are then those of means
            over a spot and its neighbours. ``None`` takes those of single spots.
        scale
            Whether genes are standardised. Otherwise they are only centred.
        dispersion
            Weight of standardised genes that vary beyond counting noise, for counts on a linear scale. The variance of
            counting noise is proportional to its mean, so the ratio of variance to mean shows how much a gene varies
            beyond it. A gene gets a variance of this ratio to the power ``dispersion``: 0 gives all genes the same
            variance, and 1 is close to Pearson residuals.
        clip
            Values are clipped at this many standard deviations above the mean of their gene, so that single spots do
            not dominate a component. Mean and deviation are then computed again. ``None`` does not clip.
        seed
            Seed of the search. Directions that separate groups of spots are exact to several digits. Directions of
            noise, which have similar variances, may be mixtures of each other. The same seed gives the same bits on any
            number of threads.

        Returns
        -------
        Means, scales and loadings, with which :meth:`project` treats new spots like these.

        Raises
        ------
        TypeError, ValueError
            If ``n_comps`` is not a positive integer; if ``dispersion`` is negative, or positive although a gene has a
            negative mean.
        """
        require_in_range(dispersion, "dispersion", low=0)
        n_comps = min(require_positive_int(n_comps, "n_comps"), *matrix.shape)
        blocks = Blocks(matrix)
        mean, deviation = moments(blocks)
        ceiling = None
        if clip is not None:
            ceiling = (mean + clip * deviation).astype(np.float32)
            blocks = Blocks(matrix, ceiling)
            mean, deviation = moments(blocks)
        weights, varies = np.ones_like(mean), deviation > 0
        if scale and dispersion and varies.any():
            # Variance over mean, to half that power; the mean of the square is 1.
            if mean[varies].min() <= 0:
                msg = "dispersion compares the variance of counts with their mean, and a gene has a mean below 0."
                raise ValueError(msg)
            weights[varies] = (deviation[varies] ** 2 / mean[varies]) ** (dispersion / 2)
            weights[varies] /= np.sqrt(np.square(weights[varies]).mean())
        used = np.broadcast_to(np.where(varies, deviation / weights, 1) if scale else 1.0, mean.shape)
        # A constant gene, left in, would have a small loading where the search is not exact.
        loadings = _axes(blocks, mean, np.where(varies, 1 / used, 0), n_comps, graph, seed=seed)
        loadings *= np.sign(np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0))
        return cls(mean.astype(np.float32), used.astype(np.float32), loadings.astype(np.float32), ceiling)

    def project(self, matrix: Any) -> np.ndarray:
        """Compute scores of spots, with the means and scales of the spots that the components were found on.

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
        """Compute expression in the units of the input from scores. Directions without a component are at their mean.

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


def _axes(
    blocks: Blocks, mean: np.ndarray, weight: np.ndarray, n_axes: int, graph: Any = None, *, seed: int
) -> np.ndarray:
    """Leading axes of the weighted genes; not to the last digit, since noise has no more to tell."""
    n_spots, n_genes = blocks.shape
    start = np.random.default_rng(seed).standard_normal((n_genes, min(_BLOCK, n_genes)))
    if graph is None:
        product = covariance_product(blocks, mean, weight)
    else:
        product = smoothed_covariance_product(blocks, mean, weight, mean_operator(graph, np.float32))
    if n_spots <= _MANY:
        return leading_eigenvectors(product, start, n_axes, seed=seed)
    few = blocks.every(2 * n_spots // _MANY)
    n_guessed = min(max(n_axes, _BLOCK), n_genes)
    rough = covariance_product(few, mean, weight)
    start = leading_eigenvectors(rough, start, n_guessed, seed=seed)
    return leading_eigenvectors(product, start, n_axes, seed=seed)


def smooth(values: np.ndarray, adjacency: Any, n_hops: int) -> np.ndarray:
    """Replace every row by the mean over its spot and the spot's neighbours, ``n_hops`` times.

    Parameters
    ----------
    values
        ``(N, d)``.
    adjacency
        Sparse ``(N, N)``; row i holds the neighbours of spot i. Weights and the diagonal are ignored.
    n_hops
        How often the mean is taken; 0 returns the values.

    Returns
    -------
    Array ``(N, d)`` of the type of ``values``.

    Examples
    --------
    >>> import numpy as np
    >>> chain = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> smooth(np.array([[0.0], [3.0], [6.0]]), chain, 1).ravel().tolist()
    [1.5, 3.0, 4.5]
    """
    mean = mean_operator(adjacency, values.dtype)
    for _ in range(n_hops):
        values = mean @ values
    return values


def mean_operator(adjacency: Any, dtype: np.dtype | type) -> sparse.csr_array:
    """The sparse ``(N, N)`` matrix whose product is the mean over each spot and its neighbours."""
    graph = sparse.csr_array(adjacency, dtype=dtype, copy=True)
    graph.setdiag(1)
    graph.eliminate_zeros()
    # Sums of rounded numbers keep their order, whatever that of the neighbours in the graph.
    graph.sort_indices()
    graph.data[:] = 1
    return sparse.csr_array(sparse.diags_array(1 / graph.sum(axis=1)).astype(dtype) @ graph)
