from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from spotscape._stats import by_gene


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Counts, most of them zero; some negative numbers; a constant gene and a gene without counts."""
    rng = np.random.default_rng(0)
    found = rng.poisson(rng.gamma(0.3, 1, size=12), size=(150, 12)).astype(float)
    found[:, 0] -= rng.integers(0, 3, 150)
    found[:, 1], found[:, 2] = 3.0, 0.0
    return found


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("entries", [2**23, 100])
def test_scores_are_those_of_the_exact_formula_with_ties(
    values: np.ndarray, kind: type, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_gene, "_ENTRIES", entries)
    groups = np.random.default_rng(1).integers(0, 3, 150)
    scores = by_gene.rank_sum_scores(kind(values), groups, 3)
    for group in range(3):
        for gene in range(12):
            inside, outside = values[groups == group, gene], values[groups != group, gene]
            theirs = stats.mannwhitneyu(inside, outside, use_continuity=False, method="asymptotic")
            pvalue = 2 * stats.norm.sf(abs(scores[group, gene]))
            assert pvalue == pytest.approx(1.0 if np.ptp(values[:, gene]) == 0 else theirs.pvalue, rel=1e-9)
            if scores[group, gene]:
                assert np.sign(scores[group, gene]) == np.sign(theirs.statistic - len(inside) * len(outside) / 2)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("entries", [2**23, 100])
def test_morans_i_is_the_dense_formula(
    values: np.ndarray, kind: type, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_gene, "_ENTRIES", entries)
    edges = sparse.random_array((150, 150), density=0.04, rng=np.random.default_rng(2), format="csr")
    edges = sparse.csr_array(edges.multiply(np.arange(150)[:, None] > 1))  # two spots without neighbours
    edges.eliminate_zeros()
    found = by_gene.morans_i(kind(values), edges)
    dense = edges.toarray()
    dense /= np.maximum(dense.sum(axis=1, keepdims=True), 1e-300)
    for gene in range(12):
        away = values[:, gene] - values[:, gene].mean()
        if np.ptp(values[:, gene]) == 0:
            assert np.isnan(found[gene])
        else:
            assert found[gene] == pytest.approx(150 / dense.sum() * (away @ dense @ away) / (away @ away), rel=1e-9)
