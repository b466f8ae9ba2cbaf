"""Tests between pseudo-bulk samples: hand-worked, against ordinary t-tests, and calibrated on simulated counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.special import digamma

from spotscape._stats.differential import compare, log_cpm, moderated_t, prior_variance, sum_by_group


def test_sums_by_group_of_dense_and_sparse() -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    codes = np.array([1, -1, 0, 1])
    expected = np.stack([matrix[2], matrix[0] + matrix[3], np.zeros(3)])
    assert np.array_equal(sum_by_group(matrix, codes, 3), expected)
    assert np.array_equal(sum_by_group(sparse.csr_array(matrix), codes, 3), expected)


def test_log_cpm_knows_no_depth() -> None:
    counts = np.array([[10.0, 90, 0], [100, 900, 0]])
    logs = log_cpm(counts)
    assert np.allclose(logs[0], logs[1])
    prior = 2 * 100 / 550
    assert logs[0, 0] == pytest.approx(np.log2((10 + prior) / (100 + 2 * prior) * 1e6))


def test_the_prior_and_its_trend_are_recovered() -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(2, 12, 20_000)
    scale = 0.05 + np.exp(-level / 2)
    true = scale * 8 / rng.chisquare(8, 20_000)
    degrees, found = prior_variance(true * rng.chisquare(3, 20_000) / 3, 3, level)
    assert degrees == pytest.approx(8, rel=0.15)
    assert np.abs(np.log(found / scale)).max() < 0.25
    assert np.abs(np.log(found / scale)).mean() < 0.06


def test_few_genes_have_one_prior() -> None:
    level = np.linspace(0, 1, 30)
    degrees, scale = prior_variance(np.full(30, 2.0), 4, level)
    assert np.isinf(degrees)
    assert np.allclose(scale, scale[0])
    tested = moderated_t(np.linspace(-1, 1, 30), np.full(30, 2.0), 4, scale=0.5, level=level)
    assert np.allclose(tested.score, np.linspace(-1, 1, 30) / np.sqrt(scale * 0.5))
    # As many degrees of freedom as 30 genes with 4 each have together.
    assert np.allclose(tested.pvalue, 2 * stats.t.sf(np.abs(tested.score), 120))


def test_a_prior_of_one_gene() -> None:
    degrees, scale = prior_variance(np.array([2.0]), 3, np.array([1.0]))
    assert np.isinf(degrees)
    assert scale[0] == pytest.approx(2 * np.exp(np.log(1.5) - digamma(1.5)))


def test_with_many_samples_it_is_an_ordinary_t_test() -> None:
    rng = np.random.default_rng(1)
    spread = np.exp(rng.normal(scale=0.5, size=200))
    one, other = rng.normal(size=(400, 200)) * spread, (0.1 + rng.normal(size=(300, 200))) * spread
    inside = np.repeat([True, False], [400, 300])
    found = compare(np.concatenate([one, other]), inside)
    assert found is not None
    assert np.allclose(found.score, stats.ttest_ind(one, other).statistic, rtol=0.1)
    assert np.allclose(found.log2_fold_change, one.mean(axis=0) - other.mean(axis=0))
    blocks = np.tile(np.arange(300), 2)
    paired = compare(np.concatenate([one[:300], other]), np.repeat([True, False], 300), blocks)
    assert paired is not None
    assert np.allclose(paired.score, stats.ttest_rel(one[:300], other).statistic, rtol=0.1)
    assert np.allclose(paired.log2_fold_change, (one[:300] - other).mean(axis=0))


def test_blocks_are_a_linear_model() -> None:
    """Effect, variance and standard error against least squares with a column for each block."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(9, 40)) + 3
    inside = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0], bool)
    blocks = np.array([4, 4, 4, 7, 7, 7, 1, 1, 1])
    design = np.column_stack([inside, *(blocks == block for block in (1, 4, 7))]).astype(float)
    solution, rest, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    found = compare(values, inside, blocks)
    assert found is not None
    assert np.allclose(found.log2_fold_change, solution[0])
    scale = np.linalg.inv(design.T @ design)[0, 0]
    expected = moderated_t(solution[0], rest / (9 - rank), 9 - rank, scale=scale, level=values.mean(axis=0))
    assert np.allclose(found.pvalue, expected.pvalue)


@pytest.mark.parametrize(
    ("inside", "blocks"),
    [
        ([1, 1, 1, 1], None),
        ([1, 0], None),
        ([1, 1, 0, 0], [0, 0, 1, 1]),
        ([1, 0], [0, 0]),
        ([1, 0, 1], [0, 0, 1]),
    ],
)
def test_designs_that_tell_nothing(inside: list[int], blocks: list[int] | None) -> None:
    values = np.random.default_rng(0).normal(size=(len(inside), 5))
    assert compare(values, np.array(inside, bool), None if blocks is None else np.array(blocks)) is None


def test_one_degree_of_freedom_is_enough() -> None:
    """Two samples against one: the variance of the two, and as effect the difference of the means."""
    values = np.array([[1.0], [3.0], [7.0]])
    found = compare(values, np.array([True, True, False]))
    assert found is not None
    assert found.log2_fold_change[0] == pytest.approx(-5)
    # The prior of one gene is its own variance, 2, made up for what the logarithm of a chi-squared is too low by.
    prior = 2 * np.exp(np.log(0.5) - digamma(0.5))
    assert found.score[0] == pytest.approx(-5 / np.sqrt(prior * (1 / 2 + 1)))


def test_a_gene_that_varies_by_chance_little_is_not_first() -> None:
    values = np.random.default_rng(2).normal(size=(6, 500))
    values[:, 0] = [0.01, 0.01, 0.01, 0, 0, 0]
    found = compare(values, np.repeat([True, False], 3))
    assert found is not None
    assert np.abs(found.score).argmax() != 0
    assert np.isfinite(found.pvalue).all()


def counts_of(n: int, seed: int, lowest: float, highest: float, fold: float = 1.0) -> np.ndarray:
    """Negative binomial counts of 4,000 genes in samples of unlike depth; the first 200 differ between halves."""
    rng = np.random.default_rng(seed)
    means = np.exp(rng.uniform(np.log(lowest), np.log(highest), 4_000)) * np.exp(rng.normal(0, 0.2, (n, 1)))
    means[: n // 2, :100] *= fold
    means[n // 2 :, 100:200] *= fold
    dispersion = 0.05 * 8 / rng.chisquare(8, 4_000)
    return rng.poisson(means * rng.gamma(1 / dispersion, dispersion, (n, 4_000)))


@pytest.mark.parametrize(("n", "paired"), [(4, False), (6, False), (8, True), (12, True)])
@pytest.mark.parametrize(("lowest", "highest"), [(3, 50), (3, 3_000), (500, 50_000)])
def test_p_values_are_calibrated(n: int, paired: bool, lowest: float, highest: float) -> None:
    """Of 40,000 genes without a difference as many are below a threshold as it says.

    Two samples against two and three against three; and four and six slices with a domain and its rest each.
    """
    half = np.arange(n) < n // 2
    blocks = np.tile(np.arange(n // 2), 2) if paired else None
    found = [compare(log_cpm(counts_of(n, seed, lowest, highest)), half, blocks) for seed in range(10)]
    pvalue = np.stack([each.pvalue for each in found if each is not None])
    assert pvalue.size == 40_000
    assert 0.043 < (pvalue < 0.05).mean() < 0.057
    # Expected are 40 ± 6.3. With two against two, tails of genes of few counts are heavier than the prior's.
    assert 15 < (pvalue < 0.001).sum() < (90 if n == 4 else 60)


@pytest.mark.parametrize(("n", "least"), [(4, 0.6), (6, 0.8)])
def test_power(n: int, least: float) -> None:
    """Of genes with a fourfold change, how many are found at a false discovery rate of 5 %, and how many others."""
    found = compare(log_cpm(counts_of(n, 0, 20, 3_000, fold=4.0)), np.arange(n) < n // 2)
    assert found is not None
    significant = stats.false_discovery_control(found.pvalue) < 0.05
    assert significant[:200].mean() > least
    assert significant[200:].sum() <= 0.1 * significant.sum()
