"""What an array among the arguments may be; arrays of plain types are handed on."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.kinds import label
from spotscape._core.rows import RowSource
from spotscape._core.validation import as_numbers, described, require_names

if TYPE_CHECKING:
    from spotscape._core.arguments import Hint


def array(value: Any, name: str, hint: Hint) -> np.ndarray:
    """Numbers in any container, as a dense array; what they mean is looked at by who reads them."""
    if not sparse.issparse(value) and not _is_ordered(value):
        msg = f"{name} must be an array, not {described(value)}."
        raise TypeError(msg)
    return as_numbers(value, name)


def points(value: Any, name: str, hint: Hint) -> np.ndarray:
    """A point for each spot, as a dense array."""
    found = array(value, name, hint)
    if found.ndim != 2 or found.shape[1] == 0:
        msg = f"{name} has shape {found.shape}; expected one row per spot, shape (n_spots, n_dims)."
        raise ValueError(msg)
    return found


def graph(value: Any, name: str, hint: Hint) -> Any:
    """A graph as a sparse or dense matrix."""
    found = value if sparse.issparse(value) and value.dtype.kind in "fiub" else array(value, name, hint)
    if found.ndim != 2:
        msg = f"{name} has shape {found.shape}; expected a row and a column for each spot."
        raise ValueError(msg)
    return found


def labels_of_spots(value: Any, name: str, hint: Hint) -> Any:
    """One label for each spot, in any container; NaN and ``None`` stand for none."""
    if not _is_ordered(value) or getattr(value, "ndim", 1) != 1:
        msg = f"{name} must have one label for each spot, shape (n_spots,), not {described(value)}."
        raise (ValueError if hasattr(value, "shape") else TypeError)(msg)
    require_names(value, name)
    return value


def slices(value: Any, name: str, hint: Hint) -> np.ndarray:
    """The slice of each spot, none missing; names of different types as text."""
    array = np.asarray(labels_of_spots(value, name, hint))
    if array.dtype == object or array.dtype.kind not in "iubUS":
        if pd.isna(array).any():
            msg = (
                f"{name} is missing for {int(pd.isna(array).sum())} of {len(array)} spots; every spot needs its slice."
            )
            raise ValueError(msg)
        array = array.astype(str)
    return array


def adjacency(value: Any, name: str, hint: Hint) -> Any:
    """A spatial graph, sparse, with finite weights."""
    if not sparse.issparse(value) or value.dtype.kind not in "fiub":
        msg = f"{name} must be a sparse matrix of numbers, spots by spots, not {described(value)}."
        raise TypeError(msg)
    if value.ndim != 2 or value.shape[0] != value.shape[1]:
        msg = f"{name} has shape {value.shape}; expected a row and a column for each spot."
        raise ValueError(msg)
    if not np.isfinite(value.tocsr().data).all():
        msg = f"{name} has NaN or infinite weights; build the graph anew."
        raise ValueError(msg)
    return value


def expression(value: Any, name: str, hint: Hint) -> Any:
    """Spots by genes, some of each, in floats if it is in memory."""
    is_kept = isinstance(value, RowSource) or (sparse.issparse(value) and value.dtype.kind in "fiub")
    matrix = value if is_kept else array(value, name, hint)
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        msg = f"{name} has shape {matrix.shape}; expected spots by genes, some of each."
        raise ValueError(msg)
    # NumPy takes functions of small integers and bools in half precision.
    is_whole = not isinstance(matrix, RowSource) and matrix.dtype.kind in "iub"
    return matrix.astype(np.float32) if is_whole else matrix


def library(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, or the slice of each spot."""
    return labels_of_spots(value, name, hint) if "ArrayLike" in hint.classes else label(value, name, hint)


def _is_ordered(value: Any) -> bool:
    is_array = hasattr(value, "__array__") and not inspect.isclass(value) and getattr(value, "ndim", 1) > 0
    return is_array or isinstance(value, (list, tuple, range))
