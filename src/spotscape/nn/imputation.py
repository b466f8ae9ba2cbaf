"""Features from which genes are predicted: other genes of the spot with its embedding, or the spots nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from spotscape._core.randomness import drawn_by_name
from spotscape._stats.components import PrincipalComponents
from spotscape._stats.prediction import Predicted, SpotRegression
from spotscape.nn.matching import Offset, batch_offset, match

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from spotscape._stats.prediction import Predictor


@dataclass(frozen=True)
class GeneFolds:
    """Features of spots for each fold of genes, computed without the genes of this fold."""

    fold: np.ndarray  # Fold of each column of the expression, (G,)
    features: tuple[np.ndarray, ...]  # (N, d) for each fold, and last from all genes, for genes outside the expression
    slices: np.ndarray  # Number of the slice of each spot, (N,)

    @classmethod
    def of(
        cls,
        expression: Any,
        embedding: np.ndarray | None,
        *,
        n_comps: int = 30,
        n_folds: int = 3,
        names: pd.Index | None = None,
        slices: np.ndarray | None = None,
        reference: np.ndarray | None = None,
        seed: int = 0,
    ) -> Self:
        """Principal components of expression ``(N, G)``, beside an embedding, if any, of the same total variance.

        The slices that are not in ``reference`` are shifted onto them by :func:`spotscape.nn.batch_offset`. Folds
        follow the ``names`` of the genes, whatever their order.
        """
        n_genes = expression.shape[1]
        n_folds = min(n_folds, n_genes)
        fold = drawn_by_name(pd.RangeIndex(n_genes) if names is None else names, seed) % max(n_folds, 1)
        kept = [fold != number for number in range(n_folds)] if n_folds > 1 else [np.ones(n_genes, dtype=bool)]
        blocks = []
        for columns in [*kept, np.ones(n_genes, dtype=bool)]:
            part = expression if columns.all() else expression[:, columns]
            scores = PrincipalComponents.fit(part, n_comps, scale=False, seed=seed).project(part)
            blocks.append(_side_by_side([scores, embedding], slices, reference))
        codes = np.zeros(expression.shape[0], dtype=np.int64) if slices is None else slices
        return cls(fold, tuple(blocks), codes)

    def regression(self, fold: int, fitted: np.ndarray) -> Predictor:
        """The regression on the features of a fold, fitted to these rows."""
        return SpotRegression.on(self.features[fold], slices=self.slices, fitted=fitted).predict


def _side_by_side(
    parts: Sequence[np.ndarray | None], slices: np.ndarray | None, reference: np.ndarray | None
) -> np.ndarray:
    scaled = []
    for part in parts:
        if part is None:
            continue
        values = np.asarray(part, dtype=np.float64)
        values = values if slices is None or reference is None else shifted(values, slices, reference)
        values = values - values.mean(0)
        spread = np.sqrt(values.var(0).sum())
        scaled.append(values / spread if spread > 0 else values)
    return np.concatenate(scaled, axis=1)


def shifted(values: np.ndarray, slices: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Values ``(N, d)`` minus the offset between each slice and those of the reference."""
    moved = values.copy()
    known = torch.from_numpy(values[np.isin(slices, reference)])
    for number in np.setdiff1d(np.unique(slices), reference):
        own = slices == number
        moved[own] += batch_offset(torch.from_numpy(values[own]), known).numpy()
    return moved


def neighbor_operator(
    embedding: np.ndarray, queries: np.ndarray, candidates: np.ndarray, n_neighbors: int
) -> sparse.csr_array:
    """The matrix ``(N, N)`` that takes the mean over the candidates nearest in direction, never the spot itself.

    Rows of spots that are not queries are empty. If queries and candidates have no spot in common, the offset between
    them is subtracted first.
    """
    values = torch.from_numpy(np.ascontiguousarray(embedding, dtype=np.float32))
    overlap = np.intersect1d(queries, candidates)
    offset: Offset = "none" if len(overlap) else "mutual"
    if offset == "none":
        values = values - values.mean(0)
    found = match(values[queries], values[candidates], n_neighbors + (len(overlap) > 0), offset=offset)
    columns = candidates[found.indices.numpy()]
    kept = columns != queries[:, None]
    # One more was asked for. Where the spot itself is not among them, the last one goes.
    if len(overlap):
        kept[kept.all(1), -1] = False
    row, place = np.nonzero(kept)
    weights = 1 / kept.sum(1)[row]
    n_spots = len(embedding)
    return sparse.csr_array((weights, (queries[row], columns[row, place])), shape=(n_spots, n_spots))


@dataclass(frozen=True)
class NeighborMeans:
    """Means over the nearest spots in an embedding ``(N, k)``, without the spot itself."""

    embedding: np.ndarray
    slices: np.ndarray
    n_neighbors: int

    def within(self, _fold: int, fitted: np.ndarray) -> Predictor:
        """The mean over these rows."""
        own = neighbor_operator(self.embedding, fitted, fitted, self.n_neighbors)
        for number in np.setdiff1d(np.unique(self.slices), np.unique(self.slices[fitted])):
            queries = np.flatnonzero(self.slices == number)
            own = own + neighbor_operator(self.embedding, queries, fitted, self.n_neighbors)

        def predict(measured: Any) -> Predicted:
            values = np.asarray(own @ measured, dtype=np.float64)
            left_out = np.full(values.shape, np.nan)
            left_out[fitted] = values[fitted]
            return Predicted(values, left_out)

        return predict
