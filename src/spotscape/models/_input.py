"""What a model is given: arrays that make sense, the rows of each slice, and a hash of it all."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from spotscape._core.rows import RowSource
from spotscape._core.validation import require_finite


def slice_rows(slices: np.ndarray | None, n_spots: int, device: torch.device) -> tuple[Tensor, ...]:
    """Rows of each slice; empty for a single slice."""
    if slices is None:
        return ()
    if np.shape(slices) != (n_spots,):
        msg = f"slices has shape {np.shape(slices)}; expected one label for each of the {n_spots} spots."
        raise ValueError(msg)
    names, codes, sizes = np.unique(np.asarray(slices), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return ()
    if sizes.min() < 2:
        msg = f"slice {str(names[sizes.argmin()])!r} has a single spot; remove it, or leave slices out."
        raise ValueError(msg)
    return tuple(torch.from_numpy(np.flatnonzero(codes == code)).to(device) for code in range(len(names)))


def check_input(expression: Any, adjacency: Any) -> None:
    """Refuse what is no matrix of numbers, a graph of other spots, and expression that is not finite."""
    if not sparse.issparse(expression) and not isinstance(expression, RowSource | np.ndarray):
        msg = f"expression is a {type(expression).__name__}; expected is a NumPy array or a scipy sparse matrix."
        raise TypeError(msg)
    if not sparse.issparse(adjacency):
        msg = f"adjacency is a {type(adjacency).__name__}; expected is a scipy sparse matrix (N, N)."
        raise TypeError(msg)
    if len(expression.shape) != 2 or 0 in expression.shape:
        msg = f"expression has shape {expression.shape}; expected is (N, G), with some spots and genes."
        raise ValueError(msg)
    if isinstance(expression, np.ndarray) and expression.dtype.kind not in "fiub":
        msg = f"expression has dtype {expression.dtype}; expected are real numbers."
        raise TypeError(msg)
    if adjacency.shape != (expression.shape[0], expression.shape[0]):
        msg = f"the graph is {adjacency.shape}, the expression has {expression.shape[0]} spots; build the graph anew."
        raise ValueError(msg)
    require_finite(expression, "expression")


def digest_of(expression: Any, adjacency: Any, slices: np.ndarray | None, batch_size: int | None) -> str:
    """A hash of all data that a training depends on."""
    digest = hashlib.sha256(repr((expression.shape, batch_size)).encode())
    blocks = expression.blocks() if isinstance(expression, RowSource) else (expression,)
    matrices = (*blocks, adjacency, np.empty(0) if slices is None else np.unique(slices, return_inverse=True)[1])
    for matrix in matrices:
        csr = matrix.tocsr() if sparse.issparse(matrix) else None
        for part in (matrix,) if csr is None else (csr.indptr, csr.indices, csr.data):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
