"""Genes predicted in spots, and scores of the predictions for held-out values.

A gene is predicted from other genes of the spot with its embedding, or from the spots nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.stats import rankdata

from spotscape._core.randomness import drawn_by_name
from spotscape._core.validation import require_finite
from spotscape._stats.components import PrincipalComponents
from spotscape.nn.matching import Offset, batch_offset, match

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


# Penalties that are tried, in units of the mean variance along the features: from none to all but the mean.
_PENALTIES = np.logspace(-3, 2, 16)
# Entries of the dense expression of a block of genes.
_BLOCK_ENTRIES = 1_000_000


class Predicted(NamedTuple):
    """Predicted expression."""

    values: np.ndarray  # Of all spots, (N, g)
    left_out: np.ndarray  # Of each spot of the fit, from the other spots; NaN for spots outside the fit, (N, g)


@dataclass(frozen=True)
class SpotRegression:
    r"""Ridge regression of genes on features of spots, with an intercept for each slice and a penalty for each gene.

    With features :math:`f_u` of spot :math:`u` and its slice :math:`s(u)`, gene :math:`g` is predicted as

    .. math::

        \hat x_{ug} = \bar x_{sg} + (f_u - \bar f_s)^\top \beta_g,

    where bars are means over the slice. :math:`\beta_g` minimises the squared error in the spots of the fit, plus
    :math:`\lambda_g \lVert \beta_g \rVert^2`, and :math:`\lambda_g` minimises the generalised cross-validation error. A
    gene that the features do not predict stays close to its mean. In a slice without spots in the fit, the intercept is
    the mean over the other slices.

    Attributes
    ----------
    features
        Features of all spots, ``(N, d)``.
    slices
        Number of the slice of each spot, int ``(N,)``, from 0.
    fitted
        Rows of the n spots of the fit, ``(n,)``.
    axes, variances
        Eigenvectors ``(d, r)`` and eigenvalues ``(r,)`` of the covariance of the features within slices, times n.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import SpotRegression
    >>> place = np.arange(50.0)[:, None]
    >>> regression = SpotRegression.on(place, fitted=np.arange(40))
    >>> regression.predict(3 * place).values[[0, 49]].round(2).ravel().tolist()
    [0.06, 146.91]
    """

    features: np.ndarray
    slices: np.ndarray
    fitted: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def on(cls, features: np.ndarray, *, slices: np.ndarray | None = None, fitted: np.ndarray | None = None) -> Self:
        """Prepare the regression on features of spots.

        Parameters
        ----------
        features
            ``(N, d)``, finite. Their scale matters, because the penalty is the same for all of them.
        slices
            Number of the slice of each spot, from 0, ``(N,)``; ``None`` for a single one.
        fitted
            Rows of the spots in which genes are measured; ``None`` for all.

        Returns
        -------
        A regression; call :meth:`predict` for each block of genes.

        Raises
        ------
        ValueError
            If features are not finite, or the fit has fewer than three spots.
        """
        features = np.asarray(features, dtype=np.float64)
        require_finite(features, "features")
        slices = np.zeros(len(features), dtype=np.int64) if slices is None else np.asarray(slices)
        fitted = np.arange(len(features)) if fitted is None else np.asarray(fitted)
        if len(fitted) < 3:
            msg = f"genes are measured in {len(fitted)} spots; at least 3 are needed to fit to."
            raise ValueError(msg)
        centred = features[fitted] - _slice_means(features[fitted], slices[fitted])[slices[fitted]]
        variances, axes = np.linalg.eigh(centred.T @ centred)
        kept = variances > 1e-10 * max(variances[-1], np.finfo(np.float64).tiny)
        return cls(features, slices, fitted, axes[:, kept], variances[kept])

    def predict(self, measured: Any) -> Predicted:
        """Fit genes and predict them in all spots.

        Parameters
        ----------
        measured
            Expression of a block of genes, dense or sparse, ``(N, g)``. Rows of spots outside the fit are ignored.
            Dense arrays of this size are held in memory, so divide many genes into blocks.

        Returns
        -------
        Predictions, and those to which a spot's own value does not contribute.
        """
        rows, codes = self.fitted, self.slices[self.fitted]
        block = measured[rows]
        values = np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
        means, centres = _slice_means(values, codes), _slice_means(self.features[rows], codes)
        scores = (self.features[rows] - centres[codes]) @ self.axes
        values -= means[codes]
        products = scores.T @ values
        # What is left of each axis for each gene, (r, g), at the penalty of the least cross-validation error.
        explained = np.square(products) / np.maximum(self.variances[:, None], np.finfo(np.float64).tiny)
        penalties = _PENALTIES * (self.variances.mean() if len(self.variances) else 1.0)
        left = self.variances / (self.variances + penalties[:, None])
        residual = np.square(values).sum(0) - (2 * left - left**2) @ explained
        n_parameters = left.sum(1) + len(np.unique(codes))
        errors = residual / np.maximum(1 - n_parameters / len(rows), 1e-3)[:, None] ** 2
        shrinkage = left[errors.argmin(0)].T
        weights = self.axes @ (products * shrinkage / self.variances[:, None])
        present = np.bincount(codes) > 0
        intercepts = means - centres @ weights
        mean = intercepts[present].mean(0)
        # One row more, the mean over slices, which also stands for slices without rows and for those after them.
        intercepts = np.vstack([np.where(present[:, None], intercepts, mean), mean])
        left_out = np.full((len(self.features), values.shape[1]), np.nan)
        own = np.square(scores) @ (shrinkage / self.variances[:, None])
        own += 1 / np.bincount(codes)[codes][:, None]
        missed = (values - scores @ (self.axes.T @ weights)) / np.maximum(1 - own, 1e-6)
        left_out[rows] = values + means[codes] - missed
        intercept_of = np.minimum(self.slices, len(intercepts) - 1)
        return Predicted(self.features @ weights + intercepts[intercept_of], left_out)


def _slice_means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Means of the rows of each slice, ``(largest code + 1, d)``; 0 for a slice without rows."""
    sizes = np.bincount(codes)
    member = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(sizes), len(codes)))
    return np.asarray(member @ values) / np.maximum(sizes, 1)[:, None]


# Predicts a block (N, g) of genes in all spots.
Predictor: TypeAlias = "Callable[[Any], Predicted]"


def predict_genes(
    predictor: Callable[[int, np.ndarray], Predictor],
    measured: Any,
    is_measured: np.ndarray,
    slices: np.ndarray,
    fold: np.ndarray,
    *,
    n_kept: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predict genes block by block, each in all spots from the spots in which it may be fitted, and score each.

    ``predictor`` makes a :class:`Predictor` from the number of a fold and the rows to fit to; ``is_measured``, bool
    ``(n_slices, T)``, tells in which ``slices`` a gene of ``measured`` ``(N, T)`` may be fitted, and ``fold`` ``(T,)``
    is the fold of each gene. Returned are the predictions of the first ``n_kept`` spots, not below 0, and the scores by
    name.
    """
    columns: Any = sparse.csc_array(measured) if sparse.issparse(measured) else np.asarray(measured)
    values = np.empty((n_kept, columns.shape[1]), dtype=np.float32)
    scores = {name: np.full(columns.shape[1], np.nan) for name in ("spearman", "r2", "spearman_carried")}
    n_fitted = np.zeros(columns.shape[1], dtype=np.int64)
    width = max(1, _BLOCK_ENTRIES // max(len(slices), 1))
    groups, group = np.unique(np.vstack([fold, is_measured]), axis=1, return_inverse=True)
    for number in range(groups.shape[1]):
        fitted = np.flatnonzero(groups[1:, number].astype(bool)[slices])
        predict = predictor(int(groups[0, number]), fitted)
        chosen_genes = np.flatnonzero(group.ravel() == number)
        for genes in np.split(chosen_genes, range(width, len(chosen_genes), width)):
            block = columns[:, genes]
            true = np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
            found = predict(true)
            values[:, genes] = np.maximum(found.values[:n_kept], 0)
            n_fitted[genes] = len(fitted)
            # What predictions add to the mean of the slice without the spot. Levels of slices are no prediction. Nor is
            # the mean of the other spots, which falls as the value of a spot rises.
            known, codes = true[fitted], slices[fitted]
            means = _slice_means(known, codes)[codes]
            mean_of_others = means - (known - means) / np.maximum(np.bincount(codes)[codes] - 1, 1)[:, None]
            squares, missed = (np.square(known - guess).sum(0) for guess in (mean_of_others, found.left_out[fitted]))
            varies = squares > 0
            added = (found.left_out[fitted] - mean_of_others) / np.where(varies, np.sqrt(squares / len(known)), 1)
            lost = np.divide(missed, squares, out=np.full_like(squares, np.nan), where=varies)
            scores["r2"][genes], scores["spearman"][genes] = 1 - lost, rank_correlations(known, added.round(9), codes)
            others = np.setdiff1d(np.arange(len(true)), fitted)
            if len(others) > 1:
                carried = rank_correlations(true[others], found.values[others], slices[others])
                scores["spearman_carried"][genes] = carried
    return values, {"n_fitted": n_fitted, **scores}


def rank_correlations(true: np.ndarray, found: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Spearman correlation within slices of each column; NaN where the truth is constant, 0 where the other is."""
    ranks = np.zeros((2, *true.shape))
    for rows in (np.flatnonzero(slices == number) for number in np.unique(slices)):
        for part, values in zip(ranks, (true, found), strict=True):
            part[rows] = (rankdata(values[rows], axis=0) - (len(rows) + 1) / 2) / len(rows)
    products, (first, second) = ranks.prod(0).sum(0), np.square(ranks).sum(1)
    scale = np.sqrt(first * second)
    correlations = np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(first > 0, correlations, np.nan)


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
            beside = [] if embedding is None else [embedding]
            blocks.append(np.hstack([_scaled(each, slices, reference) for each in (scores, *beside)]))
        codes = np.zeros(expression.shape[0], dtype=np.int64) if slices is None else slices
        return cls(fold, tuple(blocks), codes)

    def regression(self, fold: int, fitted: np.ndarray) -> Predictor:
        """The regression on the features of a fold, fitted to these rows."""
        return SpotRegression.on(self.features[fold], slices=self.slices, fitted=fitted).predict


def _scaled(part: np.ndarray, slices: np.ndarray | None, reference: np.ndarray | None) -> np.ndarray:
    """Centred values of total variance 1, without the offsets of slices that are not in the reference."""
    values = np.asarray(part, dtype=np.float64)
    values = values if slices is None or reference is None else shifted(values, slices, reference)
    values = values - values.mean(0)
    spread = np.sqrt(values.var(0).sum())
    return np.asarray(values / spread) if spread > 0 else values


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


def neighbor_means(
    embedding: np.ndarray, slices: np.ndarray, n_neighbors: int, _fold: int, fitted: np.ndarray
) -> Predictor:
    """Predict genes by the mean over those spots of the fit that are nearest in an embedding ``(N, k)``."""
    nearest = neighbor_operator(embedding, fitted, fitted, n_neighbors)
    for number in np.setdiff1d(np.unique(slices), np.unique(slices[fitted])):
        nearest = nearest + neighbor_operator(embedding, np.flatnonzero(slices == number), fitted, n_neighbors)

    def predict(measured: Any) -> Predicted:
        values = np.asarray(nearest @ measured, dtype=np.float64)
        left_out = np.full(values.shape, np.nan)
        left_out[fitted] = values[fitted]
        return Predicted(values, left_out)

    return predict
