r"""Expression as the encoders see it: principal components, or all genes.

Scores :math:`S` (N×r) and loadings :math:`V` (G×r, orthonormal columns) represent :math:`X = S V^\top`. A view that
keeps the genes :math:`m \in \{0, 1\}^G` needs only an r×r matrix between scores and weights,

.. math:: X\,\mathrm{diag}(m)\,W = S\,(V^\top \mathrm{diag}(m)\,V)\,W' \qquad\text{for } W = V W',

and the squared error of genes equals that of components. Scores are divided by their root mean square, by whose square
errors are multiplied again. All genes (``n_comps=None``, as in the papers) may be sparse and are never made dense.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from spotscape.nn.graph import Structure

if TYPE_CHECKING:
    from typing import Self

# Moments of the features cost the square of this many columns for each spot, which pays against wide hidden layers.
_MOST_NARROW = 256


@dataclass(frozen=True, eq=False)
class Features:
    """Features of N spots on one device, read-only.

    Attributes
    ----------
    values
        A dense matrix ``(N, p)``, or the stored values of a sparse one, ``(E,)``.
    structure
        Positions of the stored values of a sparse matrix; ``None`` for a dense one.
    loadings
        Loadings V of the genes, ``(G, p)``; ``None`` if the columns are the genes.
    unit
        The number that the values were divided by.
    """

    values: Tensor
    structure: Structure | None = None
    loadings: Tensor | None = None
    unit: float = 1.0

    @classmethod
    def of(
        cls,
        matrix: Any,
        *,
        loadings: np.ndarray | None = None,
        unit: float | None = 1.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Wrap a dense array or a scipy sparse matrix ``(N, p)``; ``unit=None`` takes the root mean square."""
        if sparse.issparse(matrix):
            csr = sparse.csr_array(matrix)
            csr.sort_indices()
            indptr, indices = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (csr.indptr, csr.indices))
            values = torch.from_numpy(np.array(csr.data)).to(device, dtype)
            return cls(values, Structure(indptr, indices, csr.shape[1]))
        # Torch takes no array that may not be written to, such as a memory map.
        values = torch.as_tensor(np.require(matrix, requirements=["C", "W"])).to(device, dtype)
        if unit is None:
            squares = sum(
                (part.double().square().sum() for part in values.split(65_536)), torch.zeros((), device=device)
            )
            unit = float(squares / max(values.numel(), 1)) ** 0.5 or 1.0
        held = None if loadings is None else torch.from_numpy(loadings).to(device, dtype)
        return cls(values if unit == 1 else values / unit, None, held, unit)

    @property
    def shape(self) -> tuple[int, int]:
        """Spots and columns, ``(N, p)``."""
        if self.structure is not None:
            return self.structure.n_rows, self.structure.n_columns
        return self.values.shape[0], self.values.shape[1]

    @property
    def n_genes(self) -> int:
        """Number of genes that the columns represent and that views may leave out."""
        return self.shape[1] if self.loadings is None else len(self.loadings)

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self.values.device

    @property
    def is_narrow(self) -> bool:
        """Whether the matrix is dense and has few columns, so that its moments are cheap to compute."""
        return self.structure is None and self.shape[1] <= _MOST_NARROW

    def draw_kept(self, n_views: int, drop: float, generator: torch.Generator) -> Tensor:
        """Draw which genes each view keeps, bool ``(V, G)``."""
        return torch.rand(n_views, self.n_genes, generator=generator, device=self.device) >= drop

    def mask(self, kept: Tensor | None) -> Tensor | None:
        r"""The matrix between values and weights in a view: :math:`V^\top \mathrm{diag}(m) V`, or :math:`m` itself.

        Its shape is ``(V, p, p)`` or ``(V, p, 1)``, for a bool ``(V, G)``. ``None`` keeps all genes and is returned as
        it is.
        """
        if kept is None:
            return None
        seen = kept.to(self.values.dtype)[..., None]
        return seen if self.loadings is None else (self.loadings * seen).mT @ self.loadings

    def multiply(self, weight: Tensor) -> Tensor:
        """The product with weights ``(V, B, p, h)``, ``(V, B, N, h)``."""
        if self.structure is None:
            return torch.matmul(self.values, weight)
        values = self.values.expand(len(weight), -1)
        return self.structure.product(values, weight)

    def multiply_transposed(self, hidden: Tensor) -> Tensor:
        """The transpose times a matrix ``(N, h)``, ``(p, h)``, without a gradient."""
        if self.structure is None:
            return self.values.T @ hidden
        return self.structure.transposed.multiply(self.values[self.structure.order], hidden)

    @cached_property
    def column_means(self) -> Tensor:
        """Mean of every column, float64 ``(p,)``."""
        if self.structure is None:
            return self.values.mean(0, dtype=torch.float64)
        sums = torch.zeros(self.shape[1], dtype=torch.float64, device=self.device)
        return sums.index_add_(0, self.structure.indices, self.values.double()) / self.shape[0]

    @cached_property
    def spread(self) -> Tensor:
        """Sum of squares of all entries after subtraction of the column means, a float64 scalar."""
        if self.structure is None:
            # In chunks, so that the float64 copy of the whole is never there.
            return torch.stack([(part - self.column_means).square().sum() for part in self.values.split(4096)]).sum()
        return self.values.double().square().sum() - self.shape[0] * self.column_means.square().sum()

    def first(self, n_rows: int) -> Self:
        """The features of the first spots."""
        if n_rows == self.shape[0]:
            return self
        if self.structure is None:
            return replace(self, values=self.values[:n_rows])
        return self.take(torch.arange(n_rows, device=self.device))

    def take(self, rows: Tensor) -> Self:
        """The features of the spots ``(n,)``, int64."""
        if self.structure is None:
            return replace(self, values=self.values[rows])
        structure, entries = self.structure.take(rows)
        return replace(self, values=self.values[entries], structure=structure)


def apply_mask(mask: Tensor | None, weight: Tensor) -> Tensor:
    """Weights ``(B, p, h)`` as a view uses them, ``(V, B, p, h)``; V is 1 without a mask."""
    if mask is None:
        return weight[None]
    mask = mask[:, None]
    return mask * weight if mask.shape[-1] == 1 else mask @ weight
