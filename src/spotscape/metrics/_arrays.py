"""What every metric does first: labels to codes, unlabelled spots left out, points checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core.validation import require_finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

# More spots than this are sampled where a metric needs all pairwise distances.
MAX_SPOTS = 5_000


class UndefinedScoreError(ValueError):
    """The labels are right, but the score has no value for them, as that of a single domain compared with others."""


def encode(labels: ArrayLike) -> np.ndarray:
    """Codes 0, 1, ... in order of appearance, ``-1`` for unlabelled (NaN, None) spots; shape ``(n_spots,)``."""
    # As objects, because NumPy would turn the NaN of ["L1", nan] into the string "nan".
    values = labels if isinstance(labels, (pd.Series, pd.Categorical)) else np.asarray(labels, dtype=object)
    return pd.factorize(values)[0]


def encode_pair(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Codes of both labellings for the spots that both label."""
    true, pred = encode(labels_true), encode(labels_pred)
    require_same_length(true, len(pred), "labels_true", "labels_pred")
    kept = (true >= 0) & (pred >= 0)
    if not kept.any():
        msg = (
            f"no spot has a label in both labels_true ({(true >= 0).sum()} of {len(true)} labelled) and "
            f"labels_pred ({(pred >= 0).sum()} labelled)."
        )
        raise ValueError(msg)
    return true[kept], pred[kept]


def encode_points(
    labels: ArrayLike, points: ArrayLike, name: str, library: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, float64 points ``(n_labelled, n_dims)`` and slice codes of the labelled spots."""
    codes = encode(labels)
    values = _points(points, name, codes, "labels")
    kept = codes >= 0
    if not kept.any():
        msg = f"none of the {len(codes)} spots has a label."
        raise ValueError(msg)
    slices = np.zeros(len(codes), dtype=np.intp)
    if library is not None:
        slices = encode(library)
        require_same_length(codes, len(slices), "labels", "library")
        _require_every_slice(slices)
    return codes[kept], values[kept], slices[kept]


def encode_library(library: ArrayLike, embedding: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Slice codes and float64 points ``(n_spots, n_dims)`` of all spots."""
    slices = encode(library)
    values = _points(embedding, "embedding", slices, "library")
    _require_every_slice(slices)
    return slices, values


def rows_by(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of each code in turn."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def require_same_length(codes: np.ndarray, length: int, name: str, other: str) -> None:
    """Refuse two arrays that do not describe the same spots."""
    if len(codes) != length:
        msg = f"{name} has {len(codes)} spots and {other} has {length}; give the same spots in the same order."
        raise ValueError(msg)


def require_two_labels(codes: np.ndarray, metric: str) -> None:
    """Refuse a single label, under which no spot has another domain to be compared with."""
    if codes.min() == codes.max():
        msg = f"{metric} compares domains, but all {len(codes)} labelled spots have the same label."
        raise UndefinedScoreError(msg)


def require_shared_labels(codes: np.ndarray, metric: str) -> None:
    """Refuse labels of which each has one spot, so that none has a width."""
    if len(np.unique(codes)) == len(codes):
        msg = f"{metric} needs a domain with at least two spots, but all {len(codes)} spots have labels of their own."
        raise UndefinedScoreError(msg)


def require_two_slices(slices: np.ndarray, metric: str) -> None:
    """Refuse a single slice, which has nothing to be mixed with."""
    if len(slices) == 0 or slices.min() == slices.max():
        msg = f"{metric} looks at how slices mix, but all {len(slices)} spots are of the same slice."
        raise UndefinedScoreError(msg)


def _points(points: ArrayLike, name: str, codes: np.ndarray, other: str) -> np.ndarray:
    values = np.asarray(points, dtype=np.float64)
    require_same_length(codes, len(values), other, name)
    broken = (~np.isfinite(values)).any(axis=1)
    if broken.any():
        msg = f"{name} has NaN or infinite values in {broken.sum()} of {len(values)} spots; remove those spots."
        raise ValueError(msg)
    require_finite(values, name)
    return values


def _require_every_slice(slices: np.ndarray) -> None:
    if (slices < 0).any():
        msg = f"library is missing for {(slices < 0).sum()} spots; every spot needs its slice."
        raise ValueError(msg)
