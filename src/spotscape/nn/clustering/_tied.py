"""Expectation-maximisation for Gaussian mixtures whose components share one covariance (mclust's EEE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

# Rows handled at once: the temporaries stay in the cache, and sums are always added in the same order.
_BLOCK = 16_384


@dataclass(frozen=True)
class TiedMixture:
    """Parameters of a mixture with one covariance, in the coordinates it was fitted in.

    Attributes
    ----------
    weights
        Share of each component, shape ``(k,)``.
    means
        Shape ``(k, d)``.
    covariance
        Shared by all components, shape ``(d, d)``, positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariance: np.ndarray


class TiedEM:
    r"""EM steps on centred points, each in :math:`O(N d k)` instead of :math:`O(N d^2 k)`.

    With one covariance :math:`\Sigma` the quadratic term :math:`x^\top \Sigma^{-1} x` is the same for all components,
    so it cancels from the posterior, which is a softmax of :math:`X \Sigma^{-1} M^\top + b`; and its mean over the
    points is :math:`\operatorname{tr}(\Sigma^{-1} T)` with the total scatter :math:`T = X^\top X / N`. The shared
    covariance is the total scatter less the scatter between the means, :math:`\Sigma = T - \sum_k w_k m_k m_k^\top +
    \epsilon I`.

    Parameters
    ----------
    points
        Shape ``(n, d)``, float64, with column means of zero.
    ridge
        Added to the diagonal of the covariance.
    shrinkage
        How far each M-step draws the covariance toward a sphere of the same trace: 0 leaves it, 1 makes it the sphere.
    scale
        What the columns have been divided by, ``(d,)``: the sphere is one in the units before.
    """

    def __init__(
        self, points: np.ndarray, ridge: float, *, shrinkage: float = 0.0, scale: np.ndarray | None = None
    ) -> None:
        self.points = points
        self.ridge = ridge
        self.shrinkage, self.scale = shrinkage, scale
        self.unit = np.ones(points.shape[1]) if scale is None else scale**-2.0
        self.total = points.T @ points / len(points)

    def on(self, points: np.ndarray) -> TiedEM:
        """The same on other points."""
        return TiedEM(points, self.ridge, shrinkage=self.shrinkage, scale=self.scale)

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
        """Iterate until the mean log-likelihood per point rises by less than ``tol``.

        Returns
        -------
        The mixture, and its mean log-likelihood per point.
        """
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
        return np.concatenate([_softmax(block @ slope + offset)[0] for block in self._blocks()])

    def _blocks(self) -> list[np.ndarray]:
        return [self.points[start : start + _BLOCK] for start in range(0, len(self.points), _BLOCK)]

    def _linear(self, mixture: TiedMixture) -> tuple[np.ndarray, np.ndarray, float]:
        """Slope and offset of the log-joint up to a term per point, and the mean of that term."""
        factor = cho_factor(mixture.covariance, lower=True, check_finite=False)
        slope = cho_solve(factor, mixture.means.T, check_finite=False)
        with np.errstate(divide="ignore"):
            offset = np.log(mixture.weights) - 0.5 * np.einsum("kd,dk->k", mixture.means, slope)
        spread = np.trace(cho_solve(factor, self.total, check_finite=False))
        log_determinant = 2 * np.log(np.diag(factor[0])).sum()
        constant = -0.5 * (spread + log_determinant + len(self.total) * np.log(2 * np.pi))
        return slope, offset, float(constant)

    def _expect(self, mixture: TiedMixture) -> tuple[float, np.ndarray, np.ndarray]:
        slope, offset, constant = self._linear(mixture)
        log_likelihood, counts, sums = 0.0, np.zeros(len(offset)), np.zeros_like(mixture.means)
        for block in self._blocks():
            posterior, normaliser = _softmax(block @ slope + offset)
            log_likelihood += normaliser.sum()
            counts += posterior.sum(axis=0)
            sums += posterior.T @ block
        return float(log_likelihood / len(self.points)) + constant, counts, sums

    def _maximise(self, counts: np.ndarray, sums: np.ndarray) -> TiedMixture:
        means = sums / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
        weights = counts / counts.sum()
        covariance = self.total - (means.T * weights) @ means
        if self.shrinkage:
            radius = (np.diag(covariance) / self.unit).mean()
            covariance = (1 - self.shrinkage) * covariance + self.shrinkage * radius * np.diag(self.unit)
        covariance[np.diag_indices_from(covariance)] += self.ridge
        return TiedMixture(weights, means, covariance)


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Softmax over the columns (in place) and log-sum-exp of each row."""
    peak = logits.max(axis=1, keepdims=True)
    logits -= peak
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    logits /= total
    return logits, (peak + np.log(total))[:, 0]
