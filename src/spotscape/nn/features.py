"""Expression as models see it: something to multiply, held once, whatever its storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from spotscape.nn.graph import csr_tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class FeatureMatrix(ABC):
    """The matrix X of N spots by G genes, read-only, on one device.

    Models never index it. They need three products and two sums, and each storage gives them in its cheapest way.
    """

    shape: tuple[int, int]
    device: torch.device

    @abstractmethod
    def matmul(self, weight: Tensor) -> Tensor:
        """``X @ weight``: ``(G, h)`` to ``(N, h)``."""

    @abstractmethod
    def transposed_matmul(self, hidden: Tensor) -> Tensor:
        """``X.T @ hidden``: ``(N, h)`` to ``(G, h)``."""

    @abstractmethod
    def column_means(self) -> Tensor:
        """Mean of every gene, float64 ``(G,)``."""

    @abstractmethod
    def squared_norm(self) -> Tensor:
        """Sum of squares of all entries after the column means are taken off, a float64 scalar."""

    @abstractmethod
    def take(self, rows: Tensor) -> FeatureMatrix:
        """Some of the spots, int64 ``(n,)``, as a matrix of their own."""

    def masked_matmul(self, keep: Tensor, weight: Tensor) -> Tensor:
        """``(X diag(keep)) @ weight`` for a bool ``(G,)``."""
        return self.matmul(weight * keep[:, None])

    def averaged(self, average: Callable[[Tensor], Tensor]) -> FeatureMatrix | None:
        """``Â X`` from a function that does so for a dense matrix; ``None`` where ``Â (X W)`` is cheaper."""
        del average
        return None


class DenseFeatures(FeatureMatrix):
    """A dense tensor ``(N, G)``."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.shape = (values.shape[0], values.shape[1])
        self.device = values.device
        self._means = values.mean(0, dtype=torch.float64)
        # In chunks, so that the float64 copy of the whole is never there.
        self._squares = torch.stack([(rows - self._means).square().sum() for rows in values.split(4096)]).sum()

    def matmul(self, weight: Tensor) -> Tensor:
        return self.values @ weight

    def transposed_matmul(self, hidden: Tensor) -> Tensor:
        product: Tensor = self.values.T @ hidden
        return product

    def column_means(self) -> Tensor:
        return self._means

    def squared_norm(self) -> Tensor:
        return self._squares

    def take(self, rows: Tensor) -> DenseFeatures:
        return DenseFeatures(self.values[rows])


class SparseFeatures(FeatureMatrix):
    """A CSR matrix ``(N, G)``, kept together with its transpose so that gradients need no conversion in each step."""

    def __init__(self, matrix: sparse.csr_array, device: torch.device | str = "cpu") -> None:
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.device = torch.device(device)
        self._rows = _to_torch(matrix, self.device)
        self._columns = _to_torch(sparse.csr_array(matrix.T), self.device)
        # scipy would add up float32 entries in float32, whatever dtype the sum is asked for.
        means = np.bincount(matrix.indices, weights=matrix.data, minlength=matrix.shape[1]) / matrix.shape[0]
        squares = np.square(matrix.data, dtype=np.float64).sum() - matrix.shape[0] * np.square(means).sum()
        self._means = torch.from_numpy(means).to(self.device)
        self._squares = torch.tensor(squares, dtype=torch.float64, device=self.device)

    def matmul(self, weight: Tensor) -> Tensor:
        return _sparse_product(self._rows, self._columns, weight)

    def transposed_matmul(self, hidden: Tensor) -> Tensor:
        return _sparse_product(self._columns, self._rows, hidden)

    def column_means(self) -> Tensor:
        return self._means

    def squared_norm(self) -> Tensor:
        return self._squares

    def take(self, rows: Tensor) -> SparseFeatures:
        indptr, indices, values = (
            part.cpu().numpy() for part in (self._rows.crow_indices(), self._rows.col_indices(), self._rows.values())
        )
        matrix = sparse.csr_array((values, indices, indptr), shape=self.shape)
        return SparseFeatures(matrix[rows.cpu().numpy()], self.device)


class LowRankFeatures(FeatureMatrix):
    r"""The matrix :math:`X = S V^\top` of rank r, held as scores ``(N, r)`` and loadings ``(G, r)``.

    Principal components stand for such a matrix. Products cost :math:`O((N + G)\,r\,h)` instead of
    :math:`O(N\,G\,h)`, and dropping a gene is exact:
    :math:`S V^\top \mathrm{diag}(m) W = S\,(V^\top (\mathrm{diag}(m) W))`.
    """

    def __init__(self, scores: Tensor, loadings: Tensor) -> None:
        self.scores, self.loadings = scores, loadings
        self.shape = (scores.shape[0], loadings.shape[0])
        self.device = scores.device

    def matmul(self, weight: Tensor) -> Tensor:
        return self.scores @ (self.loadings.T @ weight)

    def masked_matmul(self, keep: Tensor, weight: Tensor) -> Tensor:
        return self.scores @ ((self.loadings * keep[:, None]).T @ weight)

    def transposed_matmul(self, hidden: Tensor) -> Tensor:
        return self.loadings @ (self.scores.T @ hidden)

    def column_means(self) -> Tensor:
        return self._means

    def squared_norm(self) -> Tensor:
        return self._squares

    def take(self, rows: Tensor) -> LowRankFeatures:
        return LowRankFeatures(self.scores[rows], self.loadings)

    def averaged(self, average: Callable[[Tensor], Tensor]) -> LowRankFeatures:
        return LowRankFeatures(average(self.scores), self.loadings)

    # Found when they are asked for, which many parts and views of a tissue are not.
    @cached_property
    def _means(self) -> Tensor:
        return self.loadings.double() @ self.scores.mean(0, dtype=torch.float64)

    @cached_property
    def _squares(self) -> Tensor:
        centered = self.scores.double() - self.scores.mean(0, dtype=torch.float64)
        gram = self.loadings.double().T @ self.loadings.double()
        return ((centered.T @ centered) * gram).sum()


class MaskedFeatures:
    """A view of X with some genes set to zero for all spots: ``(X diag(m)) W = X (diag(m) W)``, so X is not copied."""

    def __init__(self, features: FeatureMatrix, keep: Tensor) -> None:
        self.features = features
        self.keep = keep.to(features.device)

    def matmul(self, weight: Tensor) -> Tensor:
        """``(X diag(m)) @ weight``: ``(G, h)`` to ``(N, h)``."""
        return self.features.masked_matmul(self.keep, weight)

    def averaged(self, average: Callable[[Tensor], Tensor]) -> MaskedFeatures | None:
        """``Â (X diag(m))``; see :meth:`FeatureMatrix.averaged`."""
        seen = self.features.averaged(average)
        return None if seen is None else MaskedFeatures(seen, self.keep)


def as_features(
    matrix: Any, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DenseFeatures | SparseFeatures:
    """Wrap expression for the models without changing its storage.

    Parameters
    ----------
    matrix
        Dense array or scipy sparse matrix ``(N, G)``.
    device
        Where it is to live.
    dtype
        float32 or float64.

    Returns
    -------
    Dense or sparse features.
    """
    if sparse.issparse(matrix):
        numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
        return SparseFeatures(sparse.csr_array(matrix, dtype=numpy_dtype), device)
    # Torch takes no array that may not be written to, such as a memory map.
    return DenseFeatures(torch.as_tensor(np.require(matrix, requirements=["C", "W"]), dtype=dtype, device=device))


class _SparseProduct(torch.autograd.Function):
    """Sparse times dense with the transpose at hand for the backward pass."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


def _sparse_product(matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
    return cast("Tensor", _SparseProduct.apply(matrix, transposed, dense))  # type: ignore[no-untyped-call]


def _to_torch(matrix: sparse.csr_array, device: torch.device) -> Tensor:
    matrix.sort_indices()
    indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return csr_tensor(indptr, indices, torch.from_numpy(matrix.data.copy()), matrix.shape[1]).to(device)
