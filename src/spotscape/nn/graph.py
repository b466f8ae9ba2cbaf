"""The spot graph as tensors: the only form in which models see who is next to whom."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class SpotGraph:
    r"""A directed graph of spots with a self-loop on each, in compressed rows of fixed structure.

    Row :math:`u` lists the spots that :math:`u` hears. Edges are dropped by giving them weight zero, never by changing
    the structure, so that every view of the graph has tensors of the same shape.

    Attributes
    ----------
    indptr, indices
        Row pointers ``(N + 1,)`` and columns ``(E,)`` of the adjacency with self-loops, int64.
    rows
        The row of each edge, ``(E,)``, int64.
    is_loop
        Which edges are self-loops, ``(E,)``, bool.
    """

    indptr: Tensor
    indices: Tensor
    rows: Tensor
    is_loop: Tensor

    @classmethod
    def from_adjacency(cls, adjacency: Any, device: torch.device | str = "cpu") -> Self:
        """Build the graph from a scipy sparse matrix ``(N, N)``: every non-zero entry off the diagonal is an edge.

        Parameters
        ----------
        adjacency
            Sparse connectivities; row i holds the neighbours of spot i. Weights are not used.
        device
            Where the tensors live.
        """
        matrix = sparse.csr_array(adjacency, dtype=np.float32, copy=True)
        if matrix.shape[0] != matrix.shape[1]:
            msg = f"a spot graph is square, not {matrix.shape}."
            raise ValueError(msg)
        matrix.eliminate_zeros()
        matrix.data[:] = 1.0
        # Two plus one on the diagonal would be a weight; the structure alone is kept, so any value serves.
        matrix = sparse.csr_array(matrix + sparse.eye_array(matrix.shape[0], dtype=np.float32, format="csr"))
        matrix.sort_indices()
        indptr = torch.from_numpy(matrix.indptr.astype(np.int64))
        indices = torch.from_numpy(matrix.indices.astype(np.int64))
        rows = torch.repeat_interleave(torch.arange(matrix.shape[0]), indptr.diff())
        return cls(indptr, indices, rows, rows == indices).to(device)

    @property
    def n_spots(self) -> int:
        """Number of spots N."""
        return len(self.indptr) - 1

    @property
    def n_edges(self) -> int:
        """Number of directed edges E, self-loops included."""
        return len(self.indices)

    def to(self, device: torch.device | str) -> Self:
        """The same graph on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("indptr", "indices", "rows", "is_loop")}
        return replace(self, **moved)

    def normalized(self, keep: Tensor | None = None) -> Tensor:
        r"""The propagation matrix :math:`\hat A = D^{-1/2}(A + I)D^{-1/2}` as a sparse CSR tensor ``(N, N)``.

        Its entries have torch's default dtype, which is float32.

        Parameters
        ----------
        keep
            Which edges count, bool ``(E,)``; self-loops always do. ``None`` keeps all.
        """
        weight = torch.ones(self.n_edges, device=self.indices.device)
        if keep is not None:
            weight = (keep | self.is_loop).to(weight.dtype)
        degree = torch.zeros(self.n_spots, device=weight.device).index_add_(0, self.rows, weight)
        scale = degree.rsqrt()
        return csr_tensor(self.indptr, self.indices, weight * scale[self.rows] * scale[self.indices], self.n_spots)


def csr_tensor(indptr: Tensor, indices: Tensor, values: Tensor, n_columns: int) -> Tensor:
    """A torch CSR tensor, without the notice on the format's beta state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(indptr, indices, values, (len(indptr) - 1, n_columns), check_invariants=False)
