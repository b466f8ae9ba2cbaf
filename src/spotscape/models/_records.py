"""What a model stores of its training: how its input was made, and positions of its spots in the embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

# A megabyte of positions; offsets are smooth, so more of them would add nothing.
MOST_SPOTS = 20_000


@dataclass(frozen=True)
class TrainingRecord:
    """The genes that a model was trained on, and how expression and graph were made.

    Attributes
    ----------
    genes
        Names in the order of the model's columns.
    scale
        ``"logarithm"``, ``"linear"`` or ``"counts"``: scale of the values.
    prepare
        Parameters of :func:`spotscape.pp.prepare`; ``None`` if it was not used.
    graph
        Parameters of the spatial graph, as in ``adata.uns``.
    mean_degree
        Mean number of neighbours of a spot.
    means
        Mean of each gene in the units of the input, float32 ``(G,)``. It fills genes that a new slice lacks.
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
    """Spots of the training with which new slices are aligned.

    Attributes
    ----------
    embedding
        Float32 ``(R, d)``.
    slices
        Slice number of each spot, int64 ``(R,)``; all 0 for a single slice.
    inputs
        Components that the encoders saw, as means over neighbourhoods, float32 ``(R, p)``; ``None`` if they are not
        aligned.
    """

    embedding: np.ndarray
    slices: np.ndarray
    inputs: np.ndarray | None = None

    @classmethod
    def of(
        cls, embedding: np.ndarray, slices: np.ndarray | None, inputs: np.ndarray | None = None, *, seed: int
    ) -> Self:
        """All spots, or 20,000 of them, drawn at random."""
        rows = np.arange(len(embedding))
        if len(rows) > MOST_SPOTS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_SPOTS, replace=False))
        codes = np.zeros(len(embedding)) if slices is None else np.unique(slices, return_inverse=True)[1]
        seen = None if inputs is None else np.ascontiguousarray(inputs[rows], dtype=np.float32)
        return cls(np.ascontiguousarray(embedding[rows], dtype=np.float32), codes[rows].astype(np.int64), seen)
