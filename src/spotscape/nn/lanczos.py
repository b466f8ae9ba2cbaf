"""Leading eigenvectors of a symmetric operator that can only be multiplied with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_COLUMNS = 512


def leading_eigenvectors(
    multiply: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    n_vectors: int,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> np.ndarray:
    r"""Find eigenvectors of the largest eigenvalues of a positive semi-definite operator :math:`C`, by block Lanczos.

    The best approximations within :math:`\mathrm{span}(Q, CQ, C^2Q, \dots)`, kept orthogonal throughout. It ends when
    :math:`\lVert Cv - \lambda v \rVert \le \epsilon \lambda` for each of them, or once the span is so large that what
    is left to be told apart are directions of noise with nearly the same variance.

    Parameters
    ----------
    multiply
        Takes ``(size, k)`` and returns the operator's product with it.
    start
        The block :math:`Q`, random or a guess, ``(size, k)``. A sparse matrix takes little longer for 32 vectors
        than for a few; the more there are, the larger the span that is needed.
    n_vectors
        How many, at most ``size``.
    tolerance
        :math:`\epsilon`.
    seed
        Of the directions to go on with where the operator's range is exhausted.

    Returns
    -------
    Orthonormal columns, float64 ``(size, n_vectors)``, largest eigenvalue first.

    Examples
    --------
    >>> import numpy as np
    >>> diagonal = np.array([3.0, 1.0, 7.0])
    >>> found = leading_eigenvectors(lambda vectors: diagonal[:, None] * vectors, np.ones((3, 1)), 2)
    >>> np.abs(found).round(6).tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    rng = np.random.default_rng(seed)
    size = len(start)
    most = min(size, max(_MOST_COLUMNS, 4 * n_vectors))
    basis: list[np.ndarray] = []
    projected = np.empty((0, 0))
    block = start
    # The same bits whatever the number of threads.
    with threadpool_limits(1, user_api="blas"):
        while True:
            basis.append(_orthonormal(block, basis))
            image = multiply(basis[-1])
            inner = np.vstack([part.T @ image for part in basis])
            projected = _bordered(projected, inner)
            values, vectors = np.linalg.eigh(projected)
            values, vectors = values[::-1][:n_vectors], vectors[:, ::-1][:, :n_vectors]
            image -= _combine(basis, inner)
            missed = np.linalg.norm(image @ vectors[-image.shape[1] :], axis=0)
            done = (missed <= tolerance * np.maximum(values, 1e-3 * values[0])).all() and len(projected) >= n_vectors
            if done or len(projected) >= most:
                return _combine(basis, vectors)
            strong = np.linalg.norm(image, axis=0) > 1e-6 * values[0]
            block = image[:, strong] if strong.any() else rng.standard_normal(start.shape)
            block = block[:, : size - len(projected)]


def _orthonormal(block: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """An orthonormal basis of the block outside of the basis; twice, for the digits that once leaves."""
    for _ in range(2):
        for part in basis:
            block = block - part @ (part.T @ block)
        block = np.linalg.qr(block)[0]
    return block


def _combine(basis: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The product of the basis, side by side, with weights."""
    cuts = np.cumsum([part.shape[1] for part in basis])[:-1]
    return np.asarray(sum(part @ rows for part, rows in zip(basis, np.split(weights, cuts), strict=True)))


def _bordered(projected: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The operator within the basis, grown by the products with its last block."""
    n_old, n_new = projected.shape[0], inner.shape[1]
    grown = np.empty((n_old + n_new, n_old + n_new))
    grown[:n_old, :n_old] = projected
    grown[:, n_old:] = inner
    grown[n_old:, :n_old] = inner[:n_old].T
    grown[n_old:, n_old:] = (inner[n_old:] + inner[n_old:].T) / 2
    return grown
