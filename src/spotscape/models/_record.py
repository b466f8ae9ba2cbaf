"""What a trained model remembers of its tissue, so that new slices can be treated alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

# A megabyte of positions; offsets are smooth, so more of them would say nothing new.
_MOST_SPOTS = 20_000


@dataclass(frozen=True)
class TrainingRecord:
    """The genes a model was trained on, and how expression and graph were made.

    Attributes
    ----------
    genes
        Names in the order of the model's columns.
    scale
        ``"logarithm"``, ``"linear"`` or ``"counts"``: what the values look like.
    prepare
        Parameters of :func:`spotscape.pp.prepare`; ``None`` if it was not used.
    graph
        Parameters of the spatial graph as they stand in ``adata.uns``.
    mean_degree
        Neighbours of a spot, on average.
    means
        Value of each gene that says nothing: the mean, in the units of the input, float32 ``(G,)``.
    detected
        Share of the spots in which each gene is not zero, float32 ``(G,)``.
    """

    genes: tuple[str, ...]
    scale: str
    prepare: Mapping[str, Any] | None
    graph: Mapping[str, Any]
    mean_degree: float
    means: np.ndarray
    detected: np.ndarray


@dataclass(frozen=True)
class Reference:
    """Where the spots of the training lie in the embedding: what new slices are aligned with.

    Attributes
    ----------
    embedding
        Float32 ``(R, d)``.
    slices
        Number of the slice of each, int64 ``(R,)``; all 0 for a single slice.
    """

    embedding: np.ndarray
    slices: np.ndarray

    @classmethod
    def of(cls, embedding: np.ndarray, slices: np.ndarray | None, *, seed: int, at_most: int = _MOST_SPOTS) -> Self:
        """All spots, or ``at_most`` of them drawn at random."""
        rows = np.arange(len(embedding))
        if len(rows) > at_most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, at_most, replace=False))
        codes = np.zeros(len(embedding)) if slices is None else np.unique(slices, return_inverse=True)[1]
        return cls(np.ascontiguousarray(embedding[rows], dtype=np.float32), codes[rows].astype(np.int64))
