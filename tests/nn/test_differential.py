from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from spotscape.nn.differential import (
    log_cpm,
    moderated_t,
    paired_test,
    prior_variance,
    sum_by_group,
    two_sample_test,
)


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


def test_the_prior_is_recovered() -> None:
    rng = np.random.default_rng(0)
    true = 0.3 * 8 / rng.chisquare(8, 20_000)
    degrees, scale = prior_variance(true * rng.chisquare(3, 20_000) / 3, 3)
    assert degrees == pytest.approx(8, rel=0.15)
    assert scale == pytest.approx(0.3, rel=0.05)


def test_equal_variances_are_pooled() -> None:
    degrees, scale = prior_variance(np.full(50, 2.0), 4)
    assert np.isinf(degrees)
    tested = moderated_t(np.linspace(-1, 1, 50), np.full(50, 2.0), 4, scale=0.5)
    assert np.allclose(tested.score, np.linspace(-1, 1, 50) / np.sqrt(scale * 0.5))


@pytest.mark.parametrize("n_slices", [2, 3, 5])
def test_p_values_are_uniform_where_nothing_differs(n_slices: int) -> None:
    rng = np.random.default_rng(n_slices)
    spread = np.sqrt(1 / rng.gamma(3, 1, 8000))
    one, other = (rng.normal(size=(n_slices, 8000)) * spread for _ in range(2))
    for tested in (paired_test(one, other), two_sample_test(one, other)):
        assert stats.kstest(tested.pvalue, "uniform").pvalue > 1e-4
        assert np.mean(tested.pvalue < 0.01) == pytest.approx(0.01, abs=0.008)


def test_with_many_samples_it_is_an_ordinary_t_test() -> None:
    rng = np.random.default_rng(1)
    spread = np.exp(rng.normal(scale=0.5, size=200))
    one, other = rng.normal(size=(400, 200)) * spread, (0.1 + rng.normal(size=(300, 200))) * spread
    assert np.allclose(two_sample_test(one, other).score, stats.ttest_ind(one, other).statistic, rtol=0.1)
    assert np.allclose(paired_test(one[:300], other).score, stats.ttest_rel(one[:300], other).statistic, rtol=0.1)


def test_a_gene_that_varies_by_chance_little_is_not_first() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(3, 500)), rng.normal(size=(3, 500))
    one[:, 0], other[:, 0] = 0.01, 0.0
    assert np.abs(two_sample_test(one, other).score).argmax() != 0
    assert np.isfinite(two_sample_test(one, other).pvalue).all()
