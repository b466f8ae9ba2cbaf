"""Recognising raw counts, and saying what a matrix is when it holds none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core.validation import require_finite, require_nonnegative

if TYPE_CHECKING:
    from anndata import AnnData

# Large enough to be fast, small enough that the temporary copies of a block stay in the tens of megabytes.
_BLOCK = 4_000_000
# ln(1 + 1e9): no library of a billion counts exists, so a maximum below this speaks for a logarithm.
_LARGEST_LOGARITHM = 21.0


def require_counts(values: Any, where: str, *, hint: str) -> None:
    """Refuse a dense or sparse matrix (named ``where``) that is not made of finite, whole, non-negative numbers.

    ``hint`` is the sentence that tells the user where counts should be.
    """
    stored = _stored(values, where)
    require_finite(values, where)
    require_nonnegative(values, where)
    if not stored.any():
        msg = f"{where} holds nothing but zeros; there is no count to work on."
        raise ValueError(msg)
    if not _whole(stored):
        looks = "looks log-normalised already" if stored.max() < _LARGEST_LOGARITHM else "holds fractions"
        msg = f"{where} is not raw counts: it {looks} (for example {_first_fraction(stored):g}); {hint}"
        raise ValueError(msg)


def require_no_empty(adata: AnnData, values: Any, where: str) -> None:
    """Refuse spots and genes without a single count; the message counts them and names the call that removes them."""
    for axis, noun, names, call in (
        (1, "spots", adata.obs_names, "sc.pp.filter_cells(adata, min_counts=1)"),
        (0, "genes", adata.var_names, "sc.pp.filter_genes(adata, min_counts=1)"),
    ):
        empty = np.asarray(values.sum(axis=axis)).ravel() == 0
        if empty.any():
            msg = (
                f"{where} has {empty.sum()} of {len(empty)} {noun} without a single count "
                f"(first: {names[empty.argmax()]!r}); remove them: {_removal(where, axis, call)}."
            )
            raise ValueError(msg)


def n_varying(values: Any) -> int:
    """Count the genes (columns) whose count is not the same in all spots."""
    highest, lowest = values.max(axis=0), values.min(axis=0)
    if sparse.issparse(values):
        highest, lowest = highest.toarray(), lowest.toarray()
    return int(np.count_nonzero(highest != lowest))


def n_detected(values: Any) -> np.ndarray:
    """Count, for every gene (column), the spots that have it."""
    return np.asarray((values > 0).sum(axis=0)).ravel()


def _removal(where: str, axis: int, call: str) -> str:
    # scanpy's filters look at adata.X, which may hold something else than the layer that was checked.
    if where == "adata.X":
        return call
    kept = f"np.asarray({where}.sum(axis={axis})).ravel() > 0"
    return f"adata = adata[{kept}].copy()" if axis == 1 else f"adata = adata[:, {kept}].copy()"


def _stored(values: Any, where: str) -> np.ndarray:
    if values is None:
        msg = f"{where} is None; put the counts there, or name the layer that has them."
        raise ValueError(msg)
    if sparse.issparse(values):
        stored = values.data
    elif isinstance(values, np.ndarray):
        stored = values.ravel(order="K")
    else:
        msg = f"{where} is a {type(values).__name__}; expected a NumPy array or a SciPy sparse matrix in memory."
        raise TypeError(msg)
    if stored.dtype.kind not in "buif":
        msg = f"{where} has dtype {stored.dtype}; expected whole numbers."
        raise TypeError(msg)
    return np.asarray(stored)


def _blocks(stored: np.ndarray) -> list[np.ndarray]:
    return [stored[start : start + _BLOCK] for start in range(0, stored.size, _BLOCK)]


def _whole(stored: np.ndarray) -> bool:
    return stored.dtype.kind != "f" or all(np.array_equal(block, np.floor(block)) for block in _blocks(stored))


def _first_fraction(stored: np.ndarray) -> float:
    return next(float(block[block != np.floor(block)][0]) for block in _blocks(stored) if not _whole(block))
