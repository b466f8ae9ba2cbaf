"""Tests of genes between pseudo-bulk samples: log counts per million and t-tests with moderated variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats
from scipy.optimize import brentq, newton
from scipy.special import digamma, polygamma

# Added to counts before the logarithm: with it, the mean of the logarithm hardly depends on the depth.
_PRIOR_COUNT = 0.5
# With fewer counts on both sides together, if both were as deep as the shallower one, nothing can be said of a gene.
_MIN_COUNTS = 10
# Rounds in which depths settle; the root of a dispersion is a relative deviation, here of a hundredth.
_ROUNDS, _LEAST_DISPERSION = 5, 1e-4
# Genes with so many counts in every sample show how deep it is; of fewer genes no median is taken.
_ENOUGH_COUNTS, _ENOUGH_GENES = 10, 10
# Knots of the trend of variances, at quantiles of the mean expression; genes that each of them needs.
_KNOTS = 5
_GENES_PER_KNOT = 20


@dataclass(frozen=True)
class Differences:
    """What a test says of each gene, each of shape ``(n_genes,)``."""

    log2_fold_change: np.ndarray
    score: np.ndarray
    pvalue: np.ndarray


def sum_by_group(matrix: np.ndarray | sparse.csr_array, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum of the rows of each group, float64 ``(n_groups, n_genes)``; rows with the code -1 are in none."""
    rows = np.flatnonzero(codes >= 0)
    member = sparse.csr_array((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, matrix.shape[0]))
    sums = member @ matrix
    return np.asarray(sums.toarray() if sparse.issparse(sums) else sums, dtype=np.float64)


def effective_depth(counts: np.ndarray) -> np.ndarray:
    """Depth of each sample ``(n_samples,)`` estimated from most genes, on the scale of the samples' sums of counts.

    Depths are medians of ratios: of a gene's counts to the geometric mean of its counts over samples (Anders and Huber,
    Genome Biology 2010). If hardly any gene is detected in all samples, they are the sums.
    """
    depth = np.log(counts.sum(axis=1).clip(min=1))
    logs, chosen = np.log(counts.clip(min=_PRIOR_COUNT)), counts.min(axis=0) >= _ENOUGH_COUNTS
    for _ in range(_ROUNDS):
        if np.count_nonzero(chosen) < _ENOUGH_GENES:
            break
        ratio = np.median(logs[:, chosen] - logs[:, chosen].mean(axis=0), axis=1)
        depth = ratio - ratio.mean() + depth.mean()
        # Genes that happen to have enough in a shallow sample have more there than usual; these should have enough.
        chosen = (logs - depth[:, None]).mean(axis=0) + depth.min() >= np.log(_ENOUGH_COUNTS) - 1e-9
    return np.asarray(np.exp(depth))


def log_cpm(counts: np.ndarray) -> np.ndarray:
    """log2 counts per million of the effective depth, ``(n_samples, n_genes)``, with half a count added to each."""
    return np.asarray(np.log2((counts + _PRIOR_COUNT) / (effective_depth(counts)[:, None] + 2 * _PRIOR_COUNT) * 1e6))


def compare_counts(
    counts: np.ndarray, inside: np.ndarray, blocks: np.ndarray | None = None
) -> tuple[np.ndarray, Differences] | None:
    """Which genes have counts enough to be compared, and :func:`compare` of these by their log counts per million.

    They are weighted by the variance that counting and the dispersion of the median gene give them. Without weights,
    the spread of many deep samples would be taken for that of the few shallow ones that they are compared with.
    """
    if inside.all() or not inside.any():
        return None
    depth = effective_depth(counts)
    sides = np.stack([counts[side].sum(axis=0) / max(depth[side].sum(), 1) for side in (inside, ~inside)])
    genes = np.flatnonzero(sides.sum(axis=0) * min(depth[inside].sum(), depth[~inside].sum()) >= _MIN_COUNTS)
    values = log_cpm(counts)[:, genes]
    plain = _fit(values, inside, blocks, np.ones_like(values)) if len(genes) else None
    if plain is None:
        return None
    expected = np.exp2(plain.fitted) * depth[:, None] / 1e6
    # The dispersion of counts at which the variance of the median gene is as expected, from logarithms to base 2.
    by_counting, found = 1 / (expected + 0.5), np.log(2) ** 2 * plain.variance
    mean = by_counting.mean(axis=0)
    usual = stats.chi2.median(plain.degrees) / plain.degrees

    def excess(dispersion: float) -> float:
        return float(np.median(found / (mean + dispersion)) - usual)

    dispersion = _LEAST_DISPERSION
    if excess(_LEAST_DISPERSION) > 0:
        dispersion = brentq(excess, _LEAST_DISPERSION, float(found.max()) / usual)
    tested = compare(values, inside, blocks, 1 / (by_counting + dispersion))
    return None if tested is None else (genes, tested)


def compare(
    values: np.ndarray, inside: np.ndarray, blocks: np.ndarray | None = None, weights: np.ndarray | None = None
) -> Differences | None:
    r"""Whether genes differ between samples inside and outside, with variances that borrow strength from all genes.

    A linear model of each gene has a mean for each block, such as a donor, and the difference :math:`\beta`. With the
    residual variance :math:`s^2` of :math:`d` degrees of freedom, and :math:`v` of the design and the weights,

    .. math::
        \tilde s^2 = \frac{d_0 s_0^2 + d s^2}{d_0 + d}, \qquad
        t = \frac{\beta}{\tilde s \sqrt{v}} \sim t_{d_0 + d}

    where :math:`s_0^2`, the variance that genes of like mean expression have, and :math:`d_0` come from all genes
    (:func:`prior_variance`). ``values`` ``(n_samples, n_genes)`` are logarithms. Samples of one of the ``blocks`` are
    compared with each other. ``None`` if the design leaves no degree of freedom, or cannot tell the difference from
    blocks.

    The method is that of Smyth (Stat. Appl. Genet. Mol. Biol. 2004) with a trend and weights (Law et al., Genome
    Biology 2014).
    """
    found = _fit(values, inside, blocks, np.ones_like(values) if weights is None else weights)
    if found is None:
        return None
    return moderated_t(found.effect, found.variance, found.degrees, scale=found.scale, level=values.mean(axis=0))


@dataclass(frozen=True)
class _Fit:
    """The linear model of :func:`compare`: of each gene, and its values without the residuals."""

    effect: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    fitted: np.ndarray
    degrees: int


def _fit(values: np.ndarray, inside: np.ndarray, blocks: np.ndarray | None, weights: np.ndarray) -> _Fit | None:
    blocks = np.zeros(len(values), int) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    sides = np.broadcast_to(inside.astype(float)[:, None], values.shape)
    # The difference after subtraction of each block's mean; a block on one side only contributes nothing.
    within = sides - _block_means(sides, blocks, weights)
    centred = values - _block_means(values, blocks, weights)
    size = (weights * within**2).sum(axis=0)
    degrees = len(values) - (blocks.max() + 1) - 1
    if degrees < 1 or (size < 1e-12 * weights.max(axis=0)).any():
        return None
    effect = (weights * within * centred).sum(axis=0) / size
    missed = centred - effect * within
    variance = (weights * missed**2).sum(axis=0) / degrees
    return _Fit(effect, variance, 1 / size, values - missed, degrees)


def _block_means(values: np.ndarray, blocks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    sums, totals = (sum_by_group(each, blocks, blocks.max() + 1) for each in (weights * values, weights))
    return np.asarray((sums / totals)[blocks])


def moderated_t(
    effect: np.ndarray, variance: np.ndarray, degrees: int, *, scale: float | np.ndarray, level: np.ndarray
) -> Differences:
    """t-tests with the variances of :func:`compare`; ``level`` is the mean expression of each gene."""
    # A gene that is constant by chance would have an infinite t, and no logarithm.
    floor = 1e-5 * np.median(variance[variance > 0]) if (variance > 0).any() else 1e-12
    variance = np.maximum(variance, floor)
    prior_degrees, prior = prior_variance(variance, degrees, level)
    most = float(degrees * len(variance))
    if np.isinf(prior_degrees):
        squeezed, total = prior, most
    else:
        squeezed = (prior_degrees * prior + degrees * variance) / (prior_degrees + degrees)
        total = min(prior_degrees + degrees, most)
    score = effect / np.sqrt(squeezed * scale)
    return Differences(effect, score, 2 * stats.t.sf(np.abs(score), total))


def prior_variance(variance: np.ndarray, degrees: int, level: np.ndarray) -> tuple[float, np.ndarray]:
    """Degrees of freedom and scales, a smooth function of the mean expression, of the variances' prior.

    It is a scaled inverse chi-squared, fitted by the moments of the logarithms of the variances around their trend.
    """
    half = degrees / 2
    logs = np.log(variance) - digamma(half) + np.log(half)
    basis = _spline_basis(level)
    trend = basis @ np.linalg.lstsq(basis, logs, rcond=None)[0]
    free = len(logs) - np.linalg.matrix_rank(basis)
    spread = np.square(logs - trend).sum() / free - polygamma(1, half) if free > 0 else 0.0
    if spread <= 0:
        return np.inf, np.exp(trend)
    # 1 / trigamma is nearly linear and convex, so that Newton's method converges from below.
    prior_degrees = 2 * float(
        newton(
            lambda x: 1 / polygamma(1, x) - 1 / spread,
            0.5 + 1 / spread,
            fprime=lambda x: -polygamma(2, x) / polygamma(1, x) ** 2,
            rtol=1e-10,
        )
    )
    return prior_degrees, np.exp(trend + digamma(prior_degrees / 2) - np.log(prior_degrees / 2))


def _spline_basis(level: np.ndarray) -> np.ndarray:
    """Natural cubic splines with knots at quantiles, ``(n_genes, n)``: linear outside; constant for a few genes."""
    n_knots = min(_KNOTS, len(level) // _GENES_PER_KNOT)
    knots = np.unique(np.quantile(level, np.linspace(0.05, 0.95, n_knots))) if n_knots > 1 else level[:0]
    if len(knots) < 2:
        return np.ones((len(level), 1))
    place = (level - knots[0]) / (knots[-1] - knots[0])
    knots = (knots - knots[0]) / (knots[-1] - knots[0])

    def bend(at: float) -> np.ndarray:
        return np.asarray((np.maximum(place - at, 0) ** 3 - np.maximum(place - 1, 0) ** 3) / (1 - at))

    last = bend(knots[-2])
    return np.stack([np.ones_like(place), place, *(bend(knot) - last for knot in knots[:-2])], axis=1)
