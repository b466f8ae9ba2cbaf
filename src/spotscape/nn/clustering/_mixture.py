"""Gaussian mixture with one covariance for all components, which is model EEE in R's mclust."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.linalg.lapack import dpotrf, dpotrs

from spotscape._core.settings import one_thread
from spotscape._core.validation import require_in_range
from spotscape.nn.clustering._kmeans import (
    Clustering,
    by_size,
    check_points,
    make_exactly,
    partitions,
    varying_columns,
    whiten,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Rows handled at once: the temporaries stay in the cache, and sums are always added in the same order.
_BLOCK = 16_384


@dataclass(frozen=True)
class TiedMixture:
    """Parameters of a mixture with one covariance, in the coordinates of the fit."""

    weights: np.ndarray  # (k,)
    means: np.ndarray  # (k, d)
    covariance: np.ndarray  # (d, d), positive definite


class TiedEM:
    r"""EM steps on centred points, each in :math:`O(N d k)` instead of :math:`O(N d^2 k)` time.

    With one covariance :math:`\Sigma`, the term :math:`x^\top \Sigma^{-1} x` cancels from the posterior, and its mean
    over the points is :math:`\operatorname{tr}(\Sigma^{-1} T)` with the total scatter :math:`T = X^\top X / N`. Each
    M-step moves the covariance by ``shrinkage`` towards a sphere in the units that the columns had before they were
    divided by ``scale`` ``(d,)``.
    """

    def __init__(
        self, points: np.ndarray, ridge: float, *, shrinkage: float = 0.0, scale: np.ndarray | None = None
    ) -> None:
        self.points = points
        self.ridge = ridge
        self.shrinkage, self.scale = shrinkage, scale
        self.unit = np.ones(points.shape[1]) if scale is None else scale**-2.0
        self.total = points.T @ points / len(points)

    def start(self, labels: np.ndarray, n_components: int) -> TiedMixture:
        """Run the M-step from hard labels."""
        counts = np.bincount(labels, minlength=n_components).astype(np.float64)
        order = np.argsort(labels, kind="stable")
        filled = np.flatnonzero(counts)
        sums = np.zeros((n_components, self.points.shape[1]))
        starts = np.searchsorted(labels[order], filled)
        sums[filled] = np.add.reduceat(self.points[order], starts, axis=0)
        return self._maximise(counts, sums)

    def run(self, mixture: TiedMixture, max_iter: int, tol: float) -> tuple[TiedMixture, float]:
        """Iterate until the mean log-likelihood per point, which is returned too, rises by less than ``tol``."""
        previous = -np.inf
        for _ in range(max_iter):
            log_likelihood, counts, sums = self._expect(mixture)
            if log_likelihood - previous < tol:
                return mixture, log_likelihood
            previous = log_likelihood
            mixture = self._maximise(counts, sums)
        return mixture, self._expect(mixture)[0]

    def posterior(self, mixture: TiedMixture) -> np.ndarray:
        """Probability of each component for each point, shape ``(n, k)``."""
        slope, offset, _ = self._linear(mixture)
        return np.concatenate([_softmax(slope @ block.T + offset)[0].T for block in self._blocks()])

    def _blocks(self) -> list[np.ndarray]:
        return [self.points[start : start + _BLOCK] for start in range(0, len(self.points), _BLOCK)]

    def _linear(self, mixture: TiedMixture) -> tuple[np.ndarray, np.ndarray, float]:
        """Slope ``(k, d)`` and offset ``(k, 1)`` of the log-joint up to a term per point, and the mean of that term."""
        # For matrices this small, what SciPy wraps around these two takes longer than they do.
        factor, failed = dpotrf(mixture.covariance, lower=True, clean=False)
        if failed:
            msg = "the covariance of the mixture is not positive definite"
            raise np.linalg.LinAlgError(msg)
        slope = dpotrs(factor, mixture.means.T, lower=True)[0].T
        with np.errstate(divide="ignore"):
            offset = np.log(mixture.weights) - 0.5 * (mixture.means * slope).sum(axis=1)
        spread = dpotrs(factor, self.total, lower=True)[0].trace()
        log_determinant = 2 * np.log(factor.diagonal()).sum()
        constant = -0.5 * (spread + log_determinant + len(self.total) * np.log(2 * np.pi))
        return slope, offset[:, None], float(constant)

    def _expect(self, mixture: TiedMixture) -> tuple[float, np.ndarray, np.ndarray]:
        slope, offset, constant = self._linear(mixture)
        log_likelihood, counts, sums = 0.0, np.zeros(len(offset)), np.zeros_like(mixture.means)
        for block in self._blocks():
            posterior, normaliser = _softmax(slope @ block.T + offset)
            log_likelihood += normaliser.sum()
            counts += posterior.sum(axis=1)
            sums += posterior @ block
        return float(log_likelihood / len(self.points)) + constant, counts, sums

    def _maximise(self, counts: np.ndarray, sums: np.ndarray) -> TiedMixture:
        means = sums / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
        weights = counts / counts.sum()
        covariance = self.total - (means.T * weights) @ means
        if self.shrinkage:
            radius = (covariance.diagonal() / self.unit).mean()
            covariance = (1 - self.shrinkage) * covariance + self.shrinkage * radius * np.diag(self.unit)
        covariance[np.diag_indices_from(covariance)] += self.ridge
        return TiedMixture(weights, means, covariance)


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Softmax of each column of ``(k, n)`` (in place), and its log-sum-exp; over short rows numpy is slow."""
    peak = logits.max(axis=0)
    logits -= peak
    np.exp(logits, out=logits)
    total = logits.sum(axis=0)
    logits /= total
    return logits, peak + np.log(total)


# Above this many points the starts are tried on a seeded subsample, and the best few finished on all points.
_SEARCH_POINTS = 20_000
_SHORT_ITERATIONS = 20
_LONG_ITERATIONS = 1_000
_FULL_ITERATIONS = 200
_FULL_FINALISTS = 2
# k-means runs, and how many of the starts climb to the end, in raw, standardised and whitened coordinates and in those
# whitened by the best covariance found. All raw ones do: the first steps say little about where a start will end.
_SEARCH = ((16, 17), (10, 5), (10, 5), (8, 4))
# Small data get up to four times as many starts: they cost little, and few points have rougher likelihoods.
_SMALL_ENTRIES = 100_000
_MOST_REPEATS = 4
# Relative to the variance of each column: keeps the covariance invertible when columns are collinear.
_RIDGE = 1e-8

Candidate = tuple["TiedMixture", float]


def gaussian_mixture(
    points: np.ndarray,
    n_clusters: int,
    *,
    shrinkage: float = 0.0,
    tol: float = 1e-6,
    seed: int = 0,
    starts: Sequence[np.ndarray] | None = None,
) -> Clustering:
    r"""Fit a Gaussian mixture with one covariance for all components to points ``(n, d)`` by maximum likelihood.

    .. math:: p(x) = \sum_k w_k \, \mathcal N(x; m_k, \Sigma)

    This is model EEE of mclust (Scrucca et al., The R Journal 2016). EM starts from Ward's trees and k-means runs in
    raw, standardised and whitened coordinates, and again in coordinates whitened by the best covariance found;
    ``starts``, labels ``(n,)`` each, replace this search. ``shrinkage`` moves the covariance towards a sphere in the
    units of ``points``: 1 is k-means with soft clusters of unequal size. The fit runs on one thread and in float64, so
    it gives the same bits on any number of threads.
    """
    values = check_points(points, n_clusters)
    require_in_range(shrinkage, "shrinkage", low=0, high=1)
    raw, scale = varying_columns(points)
    em = TiedEM(raw / scale, _RIDGE, shrinkage=shrinkage, scale=scale)
    with one_thread():
        if starts is None:
            mixture, log_likelihood = _search(raw, em, n_clusters, tol, np.random.default_rng(seed))
        else:
            mixture, log_likelihood = _finish(em, starts, n_clusters, 1, tol)[0]
        # If a component is the most probable one for no point, one moves into it with its highest probability.
        posterior = em.posterior(mixture)
        component = posterior.argmax(axis=1)
        filled = np.unique(component)
        names = np.concatenate([filled, np.setdiff1d(np.arange(n_clusters), filled)])
        repaired = names[make_exactly(component, values, n_clusters)]
    moved = np.flatnonzero(repaired != component)
    swapped = posterior[moved, repaired[moved]], posterior[moved, component[moved]]
    posterior[moved, component[moved]], posterior[moved, repaired[moved]] = swapped
    labels, old = by_size(repaired)
    posterior = posterior[:, old]
    return Clustering(labels, "log_likelihood", log_likelihood - float(np.log(scale).sum()), posterior)


def _search(raw: np.ndarray, em: TiedEM, n_clusters: int, tol: float, generator: np.random.Generator) -> Candidate:
    if len(raw) <= _SEARCH_POINTS:
        return _climb(raw, em, n_clusters, tol, generator)[0]
    rows = np.sort(generator.choice(len(raw), _SEARCH_POINTS, replace=False))
    sample = em.points[rows]
    shift = sample.mean(axis=0)
    part = TiedEM(sample - shift, _RIDGE, shrinkage=em.shrinkage, scale=em.scale)
    candidates = _climb(raw[rows], part, n_clusters, tol, generator)
    started = [replace(mixture, means=mixture.means + shift) for mixture, _ in candidates[:_FULL_FINALISTS]]
    return _sorted(em.run(mixture, _FULL_ITERATIONS, tol) for mixture in started)[0]


def _climb(raw: np.ndarray, em: TiedEM, n_clusters: int, tol: float, generator: np.random.Generator) -> list[Candidate]:
    """Local maxima of the likelihood, the highest first."""
    standardised = em.points
    total = em.total + _RIDGE * np.eye(len(em.total))
    repeats = min(_MOST_REPEATS, max(1, _SMALL_ENTRIES // standardised.size))
    *plain, refining = [(repeats * n_runs, repeats * n_kept) for n_runs, n_kept in _SEARCH]
    found: list[Candidate] = []
    for space, (n_runs, n_kept) in zip((raw, standardised, whiten(standardised, total)), plain, strict=True):
        found += _finish(em, partitions(space, n_clusters, n_runs, generator), n_clusters, n_kept, tol)
    within = whiten(standardised, _sorted(found)[0][0].covariance)
    n_runs, n_kept = refining
    return _sorted(found + _finish(em, partitions(within, n_clusters, n_runs, generator), n_clusters, n_kept, tol))


def _finish(em: TiedEM, starts: Iterable[np.ndarray], n_clusters: int, n_kept: int, tol: float) -> list[Candidate]:
    """Run a few EM steps from each distinct start, and EM to the end from the best of them."""
    distinct = {pd.factorize(labels)[0].tobytes(): labels for labels in starts}.values()
    short = _sorted(em.run(em.start(labels, n_clusters), _SHORT_ITERATIONS, tol) for labels in distinct)
    return _sorted(em.run(mixture, _LONG_ITERATIONS, tol) for mixture, _ in short[:n_kept])


def _sorted(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: -candidate[1])
