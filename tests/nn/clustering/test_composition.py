"""Inertia of domains by genes: the formula as oracle, slices, sources of rows, invariances; the bars of mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from spotscape._core.rows import BLOCK_ROWS, RowSource
from spotscape.nn.clustering import composition_inertia
from spotscape.nn.clustering._composition import BARS, clearly_best


def counts_and_labels(seed: int, n: int = 60, genes: int = 5, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), rng.integers(k, size=n - k)]
    return rng.poisson(rng.gamma(2, 2, (k, genes))[labels]).astype(np.float64) + (labels == 0)[:, None], labels


def chi_squared(counts: np.ndarray, labels: np.ndarray) -> float:
    table = np.stack([counts[labels == label].sum(axis=0) for label in np.unique(labels)])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("seed", range(3))
def test_is_the_statistic_of_independence_for_each_count(seed: int) -> None:
    counts, labels = counts_and_labels(seed)
    coarse = np.minimum(labels, 1)
    expected = [chi_squared(counts, one) / counts.sum() for one in (labels, coarse)]
    np.testing.assert_allclose(composition_inertia(counts, [labels, coarse]), expected, rtol=1e-12)


def test_tables_of_slices_add_up() -> None:
    counts, labels = counts_and_labels(0)
    slices = np.arange(60) % 2
    expected = sum(chi_squared(counts[slices == one], labels[slices == one]) for one in (0, 1)) / counts.sum()
    assert composition_inertia(counts, [labels], slices=slices)[0] == pytest.approx(expected, rel=1e-12)


def test_what_tells_slices_apart_does_not_count() -> None:
    """Domains with one composition per slice, whatever it is, differ in nothing."""
    slices, labels = np.repeat([0, 1], 6), np.tile([0, 0, 0, 1, 0, 1], 2)
    counts = np.array([[4.0, 1.0], [1.0, 4.0]])[slices]
    labels[6:] = 1 - labels[6:]
    assert composition_inertia(counts, [labels], slices=slices)[0] == pytest.approx(0, abs=1e-14)
    assert composition_inertia(counts, [labels])[0] > 0.01


def test_genes_and_domains_without_counts_say_nothing() -> None:
    counts, labels = counts_and_labels(1)
    wider = np.c_[counts, np.zeros(len(counts))]
    empty = np.r_[wider, np.zeros((2, 6))]
    expected = composition_inertia(counts, [labels])
    np.testing.assert_allclose(composition_inertia(wider, [labels]), expected, rtol=1e-12)
    np.testing.assert_allclose(composition_inertia(empty, [np.r_[labels, 3, 3]]), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["csr", "float32", "rows"])
def test_containers(kind: str) -> None:
    counts, labels = counts_and_labels(2, n=BLOCK_ROWS + 50)
    given_as = {
        "csr": sparse.csr_array(counts),
        "float32": counts.astype(np.float32),
        "rows": RowSource(sparse.csr_matrix(counts)),
    }[kind]
    expected = composition_inertia(counts, [labels])
    np.testing.assert_allclose(composition_inertia(given_as, [labels]), expected, rtol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_names_units_and_order_do_not_matter(seed: int, unit: float) -> None:
    counts, labels = counts_and_labels(seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(labels)), rng.permutation(3)
    expected = composition_inertia(counts, [labels])
    np.testing.assert_allclose(composition_inertia(unit * counts[order], [names[labels[order]]]), expected, rtol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_a_finer_partition_never_explains_less(seed: int) -> None:
    counts, labels = counts_and_labels(seed)
    finer = labels + 3 * np.random.default_rng(seed).integers(2, size=len(labels))
    coarse, fine = composition_inertia(counts, [labels, np.unique(finer, return_inverse=True)[1]])
    assert fine >= coarse - 1e-12


@pytest.mark.parametrize(
    ("inertia", "chosen"),
    [([1, 1.009, 1, 1.02], 0), ([1, 1.011, 1, 1.02], 1), ([1, 1.02, 1.025, 1.029], 2), ([1, 1.02, 1, 1.031], 3)],
)
def test_each_mixture_has_to_be_clearly_better(inertia: list[float], chosen: int) -> None:
    assert clearly_best(np.array(inertia), np.array([*BARS.values()])) == chosen
