"""The graph of spots as tensors. Models see the neighbours of spots in this form only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from typing import Self


class Structure:
    """Positions of the entries of a sparse ``(n_rows, n_columns)`` matrix, in compressed rows (CSR), int64.

    Torch's embedding bag computes products, 3 to 8 times faster than torch's CSR product from 36,000 rows on
    (``benchmarks/products.py``).
    """

    def __init__(self, indptr: Tensor, indices: Tensor, n_columns: int) -> None:
        self.indptr, self.indices, self.n_columns = indptr, indices, n_columns

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Tensor:
        """The row of each entry, int64 ``(E,)``."""
        places = torch.arange(self.n_rows, device=self.indptr.device)
        return torch.repeat_interleave(places, self.indptr.diff(), output_size=len(self.indices))

    @cached_property
    def order(self) -> Tensor:
        """The order of the entries that transposes the matrix, int64 ``(E,)``."""
        return self.indices.argsort(stable=True)

    @cached_property
    def transposed(self) -> Structure:
        """The structure of the transpose."""
        counts = torch.bincount(self.indices, minlength=self.n_columns)
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Structure(indptr, self.rows[self.order], self.n_rows)

    def product(self, values: Tensor, dense: Tensor) -> Tensor:
        """Matrices of values ``(V, E)``, without gradients, times ``(V, B, n_columns, d)``: ``(V, B, n_rows, d)``."""
        return cast("Tensor", _Product.apply(self, values, dense))  # type: ignore[no-untyped-call]

    def multiply(self, values: Tensor, dense: Tensor) -> Tensor:
        """The same for values ``(E,)`` and a matrix ``(n_columns, d)``, without a gradient."""
        return embedding_bag(
            self.indices, dense, self.indptr, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def row_sums(self, kept: Tensor) -> Tensor:
        """Number of kept entries in each row, int64 ``(..., n_rows)``, given a bool ``(..., E)``."""
        sums = kept.cumsum(-1)
        padded = torch.cat([sums.new_zeros(*sums.shape[:-1], 1), sums], dim=-1)
        return padded[..., self.indptr[1:]] - padded[..., self.indptr[:-1]]

    def take(self, rows: Tensor) -> tuple[Structure, Tensor]:
        """The structure of the rows ``(n,)``, int64, and the positions of their entries among all entries, ``(e,)``."""
        entries = entries_of(self.indptr, rows)
        counts = self.indptr.diff()[rows]
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Structure(indptr, self.indices[entries], self.n_columns), entries


def entries_of(indptr: Tensor, rows: Tensor) -> Tensor:
    """Positions of the entries of some rows among all entries, row by row, int64."""
    counts = indptr.diff()[rows]
    starts = torch.repeat_interleave(indptr[rows] - (counts.cumsum(0) - counts), counts)
    return starts + torch.arange(len(starts), device=indptr.device)


def _multiply_all(structure: Structure, values: Tensor, dense: Tensor) -> Tensor:
    # Matrix by matrix, so that the bits of one do not depend on how many there are.
    parts = [
        structure.multiply(own, one) for own, several in zip(values, dense, strict=True) for one in several.contiguous()
    ]
    return torch.stack(parts).view(*dense.shape[:2], structure.n_rows, dense.shape[-1])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, structure: Structure, values: Tensor, dense: Tensor) -> Tensor:
        ctx.structure, ctx.values = structure, values
        with torch.autocast(dense.device.type, enabled=False):
            # Detached: an embedding bag of what asks for a gradient prepares one of its own.
            return _multiply_all(structure, values, dense.detach().to(values.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        values = ctx.values.index_select(1, ctx.structure.order)
        return None, None, _multiply_all(ctx.structure.transposed, values, gradient)


@dataclass(frozen=True, eq=False)
class SpotGraph:
    """A directed graph of spots with a self-loop on each spot, in compressed rows of fixed structure.

    Row :math:`u` lists the neighbours of :math:`u`. Edges that are left out have weight zero. The structure never
    changes, so every view of the graph has tensors of the same shape.

    Attributes
    ----------
    structure
        Rows and columns of the adjacency with self-loops.
    degrees
        Row sums with self-loops, int64 ``(n,)``. For a part of a tissue they are those of the whole graph. The spots of
        the outermost ring have no rows of their own in a part, but they also keep these degrees.
    """

    structure: Structure
    degrees: Tensor

    @classmethod
    def from_adjacency(cls, adjacency: Any, device: torch.device | str = "cpu") -> Self:
        """Build the graph from a scipy sparse matrix ``(N, N)``: every non-zero entry off the diagonal is an edge.

        Parameters
        ----------
        adjacency
            Sparse connectivities; row i holds the neighbours of spot i. Their weights are ignored.
        device
            Device of the tensors.
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
        indptr, indices = (
            torch.from_numpy(part.astype(np.int64)).to(device) for part in (matrix.indptr, matrix.indices)
        )
        return cls(Structure(indptr, indices, matrix.shape[0]), indptr.diff())

    @property
    def n_spots(self) -> int:
        """Number of spots n."""
        return self.structure.n_rows

    @property
    def n_edges(self) -> int:
        """Number of directed edges E, self-loops included."""
        return len(self.structure.indices)

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.structure.indices.device

    @cached_property
    def is_loop(self) -> Tensor:
        """Which edges are self-loops, bool ``(E,)``."""
        return self.structure.rows == self.structure.indices

    @cached_property
    def _outermost(self) -> Tensor | None:
        """Which spots have no row in this part of the graph, bool ``(n,)``; ``None`` if all have one."""
        empty = self.structure.indptr.diff() == 0
        return empty if bool(empty.any()) else None

    @cached_property
    def whole_weights(self) -> Tensor:
        """Values of the propagation matrix of the full graph, ``(1, E)``."""
        return self.weights(torch.ones_like(self.is_loop)[None])

    def weights(self, keep: Tensor, degrees: Tensor | None = None) -> Tensor:
        r"""Values of :math:`\hat A = D^{-1/2}(A + I)D^{-1/2}` for views that leave out some edges, ``(V, E)``.

        Parameters
        ----------
        keep
            Edges that are kept in each of V views, bool ``(V, E)``. Self-loops are always kept.
        degrees
            Row sums of the graphs of the views, ``(V, n)``. ``None`` counts the edges. The spots of the outermost ring
            of a part, which have no rows there, are then counted with all of their edges.
        """
        keep = keep | self.is_loop
        if degrees is None:
            degrees = self.structure.row_sums(keep)
            degrees = degrees if self._outermost is None else torch.where(self._outermost, self.degrees, degrees)
        scale = degrees.to(torch.get_default_dtype()).rsqrt()
        return keep.to(scale.dtype) * scale[:, self.structure.rows] * scale[:, self.structure.indices]

    def draw_weights(self, n_views: int, edge_drop: float, generator: torch.Generator) -> Tensor:
        """:meth:`weights` of views that each leave out a share ``edge_drop`` of the directed edges, ``(V, E)``.

        For the spots of an outermost ring, the number of remaining edges is drawn from the binomial distribution.
        """
        keep = torch.rand(n_views, self.n_edges, generator=generator, device=self.device) >= edge_drop
        if self._outermost is None:
            return self.weights(keep)
        others = (self.degrees - 1).to(torch.float32).expand(n_views, -1).contiguous()
        left = 1 + torch.binomial(others, torch.full_like(others, 1 - edge_drop), generator=generator).long()
        return self.weights(keep, torch.where(self._outermost, left, self.structure.row_sums(keep | self.is_loop)))

    def to_torch_geometric(self, features: Tensor | None = None) -> Any:
        """The tissue as a :class:`torch_geometric.data.Data`, to train any model of that library on it.

        Parameters
        ----------
        features
            Features of the spots, ``(n, p)``; they become ``x``.

        Returns
        -------
        Data with ``edge_index`` from neighbours to spots, including self-loops, and ``edge_weight``, the entries of the
        propagation matrix. ``GCNConv(..., normalize=False)`` on these data is the graph convolution of this package.
        """
        from torch_geometric.data import Data

        edge_index = torch.stack([self.structure.indices, self.structure.rows])
        return Data(x=features, edge_index=edge_index, edge_weight=self.whole_weights[0], num_nodes=self.n_spots)


def propagate(graph: SpotGraph, weights: Tensor, x: Tensor) -> Tensor:
    r"""Sum over neighbours, :math:`\hat A X`: the graph convolution without its weights (Kipf & Welling 2017).

    Parameters
    ----------
    graph
        Graph of n spots.
    weights
        Values of the propagation matrix in each view, ``(V, E)``.
    x
        One matrix for each view and each of B encoders, ``(V, B, n, d)``.

    Returns
    -------
    Shape ``(V, B, n, d)``. Rows of an outermost ring are zero. Sums have the precision of the weights, also under
    autocast: reading memory takes most of the time, so lower precision would save nothing.
    """
    return graph.structure.product(weights, x)
