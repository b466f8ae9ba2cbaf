"""Tests between pseudo-bulk samples: hand-worked, against ordinary t-tests, and calibrated on simulated counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.interpolate import CubicSpline
from scipy.special import digamma, polygamma

from spotscape._stats.differential import (
    _spline_basis,
    compare,
    compare_counts,
    effective_depth,
    log_cpm,
    moderated_t,
    prior_variance,
    sum_by_group,
)


def test_sums_by_group_of_dense_and_sparse() -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    codes = np.array([1, -1, 0, 1])
    expected = np.stack([matrix[2], matrix[0] + matrix[3], np.zeros(3)])
    assert np.array_equal(sum_by_group(matrix, codes, 3), expected)
    assert np.array_equal(sum_by_group(sparse.csr_array(matrix), codes, 3), expected)


def test_log_cpm_does_not_lean_by_depth() -> None:
    assert log_cpm(np.array([[10.0, 90, 0]]))[0, 0] == pytest.approx(np.log2(10.5 / 101 * 1e6))
    rng = np.random.default_rng(0)
    share = np.array([2, 5, 20, 1_973]) / 2_000
    shallow, deep = (log_cpm(rng.poisson(depth * share, (4_000, 4))).mean(axis=0) for depth in (2_000, 200_000))
    np.testing.assert_allclose(shallow[:3], deep[:3], atol=0.1)


def test_a_few_strong_genes_do_not_put_the_others_down() -> None:
    """Ten genes take half of all counts in three of six samples; 4,000 others are as they were."""
    rng = np.random.default_rng(0)
    means = rng.uniform(20, 400, 4_010) * np.repeat([1.0, 2.0, 0.5], 2)[rng.permutation(6)][:, None]
    inside = np.repeat([True, False], 3)
    means[inside, :10] += means[inside, 10:].sum(axis=1, keepdims=True) / 10
    dispersion = 0.05
    counts = rng.poisson(means * rng.gamma(1 / dispersion, dispersion, means.shape)).astype(float)
    assert counts[:, :10].sum(axis=1)[inside] / counts.sum(axis=1)[inside] == pytest.approx(0.5, abs=0.1)
    tested = compare_counts(counts, inside)
    assert tested is not None
    assert len(tested[0]) == 4_010
    found = tested[1]
    assert np.median(found.log2_fold_change[10:]) == pytest.approx(0, abs=0.02)
    significant = stats.false_discovery_control(found.pvalue) < 0.05
    assert significant[:10].all()
    assert significant[10:].sum() <= 1


def test_depths_by_hand() -> None:
    """Ratios to the geometric mean are 1/2 and 2 but for one gene; the scale is that of the sums."""
    counts = np.array([[10.0] * 11, [40.0] * 10 + [4_000.0]])
    sums = counts.sum(axis=1)
    np.testing.assert_allclose(effective_depth(counts), np.sqrt(sums.prod()) * np.array([0.5, 2]))
    np.testing.assert_allclose(effective_depth(counts[:, :10]), [100, 400])
    uneven = np.array([[10.0] * 9 + [1_000.0], [40.0] * 10])
    np.testing.assert_allclose(effective_depth(uneven), np.sqrt(1_090 * 400) * np.array([0.5, 2]))
    # The median is that of ratios: most genes are doubled, but not the one that is in the middle in both samples.
    first = np.array([10.0, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110])
    second = first * np.array([2, 2, 2, 8, 8, 8, 8, 8, 2, 2, 2])
    found = effective_depth(np.stack([first, second]))
    assert found[1] / found[0] == pytest.approx(2)
    # Nine genes are too few, and so are genes of nine counts.
    np.testing.assert_allclose(effective_depth(counts[:, :9]), [90, 360])
    np.testing.assert_allclose(effective_depth(counts - [[1], [0]]), [99, 4_400])
    np.testing.assert_allclose(effective_depth(np.zeros((2, 3))), 1)


def test_effective_depths_have_the_geometric_mean_of_the_depths() -> None:
    counts = np.random.default_rng(0).poisson(50, (3, 40)) * np.array([[1], [2], [5]])
    found = effective_depth(counts)
    np.testing.assert_allclose(found.prod(), counts.sum(axis=1, dtype=float).prod())
    assert np.std(found / counts.sum(axis=1)) > 0.001


def test_depths_of_shallow_samples_do_not_come_from_genes_that_happen_to_be_high() -> None:
    """Of genes with ten counts in the shallow sample, many have more there than usual: it seemed a quarter deeper."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(20):
        share = rng.lognormal(0, 1.5, 2_000)
        means = np.array([[3e3], [1e6], [1e6], [1e6]]) * share / share.sum() * rng.gamma(20, 1 / 20, (4, 2_000))
        depths = effective_depth(rng.poisson(means).astype(float))
        ratios.append(np.log(depths[0] / depths[1:].mean() / 3e-3))
    assert np.exp(np.mean(ratios)) == pytest.approx(1, abs=0.06)


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


@pytest.mark.parametrize(("n_genes", "n_columns"), [(39, 1), (40, 2), (79, 3), (100, 5), (3_000, 5)])
def test_the_trend_is_a_natural_cubic_spline(n_genes: int, n_columns: int) -> None:
    """All of them, with knots at quantiles from 5 to 95 %: what scipy interpolates through any values there."""
    level = np.random.default_rng(n_genes).gamma(2, size=n_genes)
    basis = _spline_basis(level)
    assert basis.shape == (n_genes, n_columns)
    assert np.linalg.matrix_rank(basis) == n_columns
    assert np.abs(basis).max() < 1e5
    if n_columns == 1:
        return
    knots = np.quantile(level, np.linspace(0.05, 0.95, n_columns))
    values = np.random.default_rng(0).normal(size=(n_columns, 3))
    spline = CubicSpline(knots, values, bc_type="natural")
    ends = np.clip(level, knots[0], knots[-1])
    wanted = spline(ends) + spline(ends, 1) * (level - ends)[:, None]
    np.testing.assert_allclose(basis @ np.linalg.lstsq(basis, wanted, rcond=None)[0], wanted, atol=1e-6)


def test_the_trend_has_one_level_where_genes_have() -> None:
    assert _spline_basis(np.ones(100)).tolist() == [[1.0]] * 100
    degrees, scale = prior_variance(np.repeat([1.0, 4.0], 50), 4, np.repeat([1.0, 2.0], 50))
    assert np.isinf(degrees)
    np.testing.assert_allclose(scale[50:], 4 * scale[:50])


def test_variances_are_drawn_to_the_prior() -> None:
    """By hand from the prior; a gene that is constant counts as a hundred thousandth of the median."""
    rng = np.random.default_rng(0)
    effect, variance, level = rng.normal(size=30), rng.chisquare(3, 30) ** 2, np.arange(30.0)
    variance[0] = 0
    found = moderated_t(effect, variance, 3, scale=0.7, level=level)
    floored = variance.copy()
    floored[0] = 1e-5 * np.median(variance[1:])
    degrees, prior = prior_variance(floored, 3, level)
    assert 0 < degrees < 20
    np.testing.assert_allclose(found.score, effect / np.sqrt((degrees * prior + 3 * floored) / (degrees + 3) * 0.7))
    np.testing.assert_allclose(found.pvalue, 2 * stats.t.sf(np.abs(found.score), degrees + 3))
    assert np.isfinite(moderated_t(effect, np.zeros(30), 3, scale=1.0, level=level).score).all()
    # A variance of zero counts as a hundred-thousandth of the median of the others, however small they are.
    some = np.r_[0, 1e-3 * variance[1:]]
    least = np.r_[1e-5 * np.median(some[1:]), some[1:]]
    scores = [moderated_t(effect, each, 3, scale=0.7, level=level).score for each in (some, least)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0, 30.0, 1e4])
def test_a_prior_of_two_genes(spread: float) -> None:
    """One degree of freedom is left for how logarithms of variances differ; twice the square is their variance."""
    apart = np.sqrt((spread + polygamma(1, 1.5)) / 2)
    degrees, _ = prior_variance(np.exp([-apart, apart]), 3, np.arange(2.0))
    assert polygamma(1, degrees / 2) == pytest.approx(spread, rel=1e-8)


def test_the_prior_by_hand() -> None:
    """Moments of the logarithms around a constant: 30 genes leave 29 degrees of freedom."""
    variance, degrees = np.exp(np.tile([-2.0, 0.0, 2.0], 10)), 5
    found, scale = prior_variance(variance, degrees, np.arange(30.0))
    spread = np.var(np.log(variance), ddof=1) - polygamma(1, degrees / 2)
    assert polygamma(1, found / 2) == pytest.approx(spread)
    centre = -digamma(degrees / 2) + np.log(degrees / 2)
    np.testing.assert_allclose(scale, np.exp(centre + digamma(found / 2) - np.log(found / 2)))


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


@pytest.mark.parametrize("blocks", [None, np.array([4, 4, 4, 7, 7, 7, 1, 1, 1])])
def test_weights_are_those_of_least_squares(blocks: np.ndarray | None) -> None:
    rng = np.random.default_rng(2)
    values, weights = rng.normal(size=(9, 40)) + 3, rng.gamma(1, size=(9, 40))
    inside = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0], bool)
    columns = [np.ones(9)] if blocks is None else [blocks == block for block in np.unique(blocks)]
    design = np.column_stack([inside, *columns]).astype(float)
    found = compare(values, inside, blocks, weights)
    assert found is not None
    effect, variance, scale = np.empty((3, 40))
    for gene, root in enumerate(np.sqrt(weights).T):
        solution, rest = np.linalg.lstsq(root[:, None] * design, root * values[:, gene], rcond=None)[:2]
        effect[gene], variance[gene] = solution[0], rest[0] / (9 - design.shape[1])
        scale[gene] = np.linalg.inv(design.T @ (weights[:, gene, None] * design))[0, 0]
    np.testing.assert_allclose(found.log2_fold_change, effect)
    expected = moderated_t(effect, variance, 9 - design.shape[1], scale=scale, level=values.mean(axis=0))
    np.testing.assert_allclose(found.pvalue, expected.pvalue)


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
    found = [compare_counts(counts_of(n, seed, lowest, highest), half, blocks) for seed in range(10)]
    pvalue = np.concatenate([each[1].pvalue for each in found if each is not None])
    assert pvalue.size > 38_000
    assert 0.043 < (pvalue < 0.05).mean() < 0.057
    # Expected are 40 ± 6.3. With two against two, tails of genes of few counts are heavier than the prior's.
    assert 15 < (pvalue < 0.001).sum() < (90 if n == 4 else 60)


@pytest.mark.parametrize(
    ("depths", "n_inside", "paired"),
    [
        ([1e4] * 3 + [1e6] * 3, 3, False),
        ([3e3] * 2 + [1e6] * 6, 2, False),
        ([1e4] * 4 + [1e6] * 4, 4, True),
        ([3e3, 1e4, 1e5, 1e6] + [1e6] * 4, 4, True),
        ([1e4, 1e5, 1e6, 2e4, 1e5, 5e5], 3, False),
        ([1e4] * 2 + [1e6] * 6, 2, False),
    ],
)
@pytest.mark.parametrize("unlike", [False, True])
def test_p_values_are_calibrated_whatever_the_depths(
    depths: list[float], n_inside: int, paired: bool, unlike: bool
) -> None:
    """Sums over ten spots beside sums over a thousand: few or many of either, on one side or both.

    Dispersions of genes differ as those of tissue do, or by far more.
    """
    pvalue, n = [], len(depths)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        share = rng.lognormal(0, 1.5, 1_500)
        dispersion = 0.05 * (rng.lognormal(0, 1.5, 1_500) if unlike else 8 / rng.chisquare(8, 1_500))
        means = np.array(depths)[:, None] * share / share.sum() * rng.gamma(1 / dispersion, dispersion, (n, 1_500))
        blocks = np.tile(np.arange(n // 2), 2) if paired else None
        found = compare_counts(rng.poisson(means).astype(float), np.arange(n) < n_inside, blocks)
        assert found is not None
        pvalue.append(found[1].pvalue)
    tested = np.concatenate(pvalue)
    assert tested.size > 1_500
    assert 0.02 < (tested < 0.05).mean() < 0.08
    assert (tested < 0.001).mean() < 0.006


def test_genes_with_too_few_counts_for_the_shallow_side_are_not_tested() -> None:
    """Ten counts on two sides that are equally deep; of a deep side as many as a shallow one would have."""
    counts = np.array([[6.0, 5, 0, 10, 1_000], [6, 5, 0, 0, 1_000], [500, 0, 900, 0, 90_000], [500, 0, 900, 0, 90_000]])
    found = compare_counts(counts, np.array([True, True, False, False]))
    assert found is not None
    depth = counts.sum(axis=1).reshape(2, 2).sum(axis=1)
    equal = counts[:2].sum(axis=0) + counts[2:].sum(axis=0) * depth[0] / depth[1]
    assert found[0].tolist() == np.flatnonzero(equal >= 10).tolist() == [0, 1, 2, 3, 4]
    assert compare_counts(np.delete(counts, 3, axis=0), np.array([True, True, False])) is not None
    counts[:2, 3] = [9, 0]
    assert compare_counts(counts, np.array([True, True, False, False]))[0].tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(("n", "least"), [(4, 0.6), (6, 0.8)])
def test_power(n: int, least: float) -> None:
    """Of genes with a fourfold change, how many are found at a false discovery rate of 5 %, and how many others."""
    found = compare_counts(counts_of(n, 0, 20, 3_000, fold=4.0), np.arange(n) < n // 2)
    assert found is not None
    assert len(found[0]) == 4_000
    significant = stats.false_discovery_control(found[1].pvalue) < 0.05
    assert significant[:200].mean() > least
    assert significant[200:].sum() <= 0.1 * significant.sum()
