"""Tests of genes between pseudo-bulk samples: log counts per million and t-tests with moderated variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats
from scipy.special import digamma, polygamma

# Counts added to a sample of average depth before the logarithm, as the field does.
_PRIOR_COUNT = 2.0
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Differences:
    """What a test says of each gene, each of shape ``(n_genes,)``."""

    log2_fold_change: np.ndarray
    score: np.ndarray
    pvalue: np.ndarray


def sum_by_group(matrix: np.ndarray | sparse.csr_array, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum of the rows of each group, float64 ``(n_groups, n_genes)``; rows with the code -1 are in none.

    >>> sum_by_group(np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]), np.array([0, 0, -1]), 1)
    array([[4., 6.]])
    """
    rows = np.flatnonzero(codes >= 0)
    member = sparse.csr_array((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, matrix.shape[0]))
    sums = member @ matrix
    return np.asarray(sums.toarray() if sparse.issparse(sums) else sums, dtype=np.float64)


def log_cpm(counts: np.ndarray) -> np.ndarray:
    """log2 counts per million ``(n_samples, n_genes)``.

    What is added to the counts of a sample before the logarithm is in proportion to its depth, so that a gene with no
    counts at all is equal in all samples, however deep they are.
    """
    depth = counts.sum(axis=1, keepdims=True)
    prior = _PRIOR_COUNT * depth / depth.mean()
    return np.asarray(np.log2((counts + prior) / (depth + 2 * prior) * 1e6))


def paired_test(inside: np.ndarray, outside: np.ndarray) -> Differences:
    """Whether genes differ between the two samples of the same slices; both ``(n_slices, n_genes)``, log scale."""
    difference = inside - outside
    n = len(difference)
    return moderated_t(difference.mean(axis=0), difference.var(axis=0, ddof=1), n - 1, scale=1 / n)


def two_sample_test(one: np.ndarray, other: np.ndarray) -> Differences:
    """Whether genes differ between two sets of samples ``(n, n_genes)`` on the log scale, with pooled variances."""
    degrees = len(one) + len(other) - 2
    squares = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in (one, other))
    scale = 1 / len(one) + 1 / len(other)
    return moderated_t(one.mean(axis=0) - other.mean(axis=0), np.asarray(squares) / degrees, degrees, scale=scale)


def moderated_t(effect: np.ndarray, variance: np.ndarray, degrees: int, *, scale: float) -> Differences:
    r"""t-tests whose variances borrow strength from all genes.

    .. math::
        \tilde s^2 = \frac{d_0 s_0^2 + d s^2}{d_0 + d}, \qquad
        t = \frac{\text{effect}}{\tilde s \sqrt{\text{scale}}} \sim t_{d_0 + d}

    with :math:`d_0` and :math:`s_0^2` estimated from all genes (:func:`prior_variance`). With two or three samples a
    gene's own variance says little: some are tiny by chance, and plain t-tests would put those genes first.
    """
    # A gene that is constant by chance would have an infinite t, and no logarithm.
    floor = 1e-5 * np.median(variance[variance > 0]) if (variance > 0).any() else 1e-12
    variance = np.maximum(variance, floor)
    prior_degrees, prior = prior_variance(variance, degrees)
    if np.isinf(prior_degrees):
        squeezed, total = np.full_like(variance, prior), float(degrees * len(variance))
    else:
        squeezed = (prior_degrees * prior + degrees * variance) / (prior_degrees + degrees)
        total = min(prior_degrees + degrees, float(degrees * len(variance)))
    score = effect / np.sqrt(squeezed * scale)
    return Differences(effect, score, 2 * stats.t.sf(np.abs(score), total))


def prior_variance(variance: np.ndarray, degrees: int) -> tuple[float, float]:
    """Degrees of freedom and scale of the scaled inverse chi-squared prior, by moments of the log variances."""
    half = degrees / 2
    logs = np.log(variance) - digamma(half) + np.log(half)
    spread = logs.var(ddof=1) - polygamma(1, half) if len(logs) > 1 else 0.0
    if spread <= 0:
        return np.inf, float(np.exp(logs.mean()))
    prior_degrees = 2 * _inverse_trigamma(float(spread))
    scale = logs.mean() + digamma(prior_degrees / 2) - np.log(prior_degrees / 2)
    return prior_degrees, float(np.exp(scale))


def _inverse_trigamma(value: float) -> float:
    """Newton's method on 1 / trigamma, which is nearly linear and convex, so that it converges from below."""
    x = 0.5 + 1 / value
    for _ in range(_NEWTON_STEPS):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
