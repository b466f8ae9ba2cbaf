"""Moments and products in blocks against NumPy, and the same bits on any number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from spotscape._stats import covariance
from spotscape._stats.components import mean_operator
from spotscape._stats.covariance import Blocks, covariance_product, moments, smoothed_covariance_product
from spotscape.nn import PrincipalComponents

if TYPE_CHECKING:
    from collections.abc import Callable

STORAGES = [np.asarray, sparse.csr_array, sparse.csr_matrix, sparse.csc_array]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "_ROWS", 37)


def values(n_spots: int = 200, n_genes: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    dense = rng.gamma(2, size=(n_spots, n_genes)) * rng.lognormal(size=n_genes)
    return np.where(rng.random(dense.shape) < 0.6, 0, dense).astype(np.float32)


@pytest.mark.parametrize("storage", STORAGES)
def test_moments(storage: Callable[[np.ndarray], Any]) -> None:
    matrix = values()
    mean, deviation = moments(Blocks(storage(matrix)))
    np.testing.assert_allclose(mean, matrix.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation, matrix.std(0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_product(storage: Callable[[np.ndarray], Any]) -> None:
    matrix = values()
    weight = np.random.default_rng(1).random(30)
    vectors = np.random.default_rng(2).normal(size=(30, 4))
    expected = weight[:, None] * np.cov(matrix, rowvar=False, bias=True) * weight @ vectors
    found = covariance_product(Blocks(storage(matrix)), matrix.mean(0, dtype=np.float64), weight)(vectors)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def directed_graph(n_spots: int) -> sparse.csr_array:
    """About four neighbours of each spot, of any weight; some spots have none."""
    return sparse.random_array((n_spots, n_spots), density=4 / n_spots, rng=np.random.default_rng(5), format="csr")


def means_over_neighbours(graph: sparse.csr_array) -> np.ndarray:
    joined = (graph.toarray() != 0) | np.eye(graph.shape[0], dtype=bool)
    return joined / joined.sum(1, keepdims=True)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("ceiling", [None, 2.0])
def test_product_of_means_over_neighbours(storage: Callable[[np.ndarray], Any], ceiling: float | None) -> None:
    matrix, graph = values(), directed_graph(200)
    weight = np.random.default_rng(1).random(30)
    vectors = np.random.default_rng(2).normal(size=(30, 4))
    lowered = matrix.astype(np.float64) if ceiling is None else np.minimum(matrix, ceiling).astype(np.float64)
    smoothed = means_over_neighbours(graph) @ lowered
    expected = weight[:, None] * np.cov(smoothed, rowvar=False, bias=True) * weight @ vectors
    blocks = Blocks(storage(matrix), None if ceiling is None else np.full(30, ceiling, dtype=np.float32))
    product = smoothed_covariance_product(blocks, lowered.mean(0), weight, mean_operator(graph, np.float32))
    np.testing.assert_allclose(product(vectors), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("storage", STORAGES)
def test_a_ceiling_is_cut_off(storage: Callable[[np.ndarray], Any]) -> None:
    matrix, ceiling = values(), np.full(30, 2, dtype=np.float32)
    mean, deviation = moments(Blocks(storage(matrix), ceiling))
    lowered = np.minimum(matrix, ceiling).astype(np.float64)
    np.testing.assert_allclose(mean, lowered.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, lowered.std(0), rtol=1e-6)
    assert matrix.max() > 2


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("options", [{}, {"graph": directed_graph(500), "dispersion": 0.5, "clip": 5.0}])
def test_same_bits_on_any_number_of_threads(storage: Callable[[np.ndarray], Any], options: dict[str, Any]) -> None:
    matrix = storage(values(500, 60))
    found = []
    for threads in (1, 2, 5):
        with threadpool_limits(threads, user_api="blas"):
            components = PrincipalComponents.fit(matrix, 8, **options)
            found.append((components.loadings.tobytes(), components.project(matrix).tobytes()))
    assert len(set(found)) == 1


def test_rows_beside_the_blocks() -> None:
    matrix, beside = values(), np.arange(200.0)
    parts = Blocks(matrix).map(lambda block, rows: (block.shape[0], rows), beside)
    sizes, rows = zip(*parts, strict=True)
    assert sizes == (37, 37, 37, 37, 37, 15)
    np.testing.assert_array_equal(np.concatenate(rows), beside)


def test_blocks_of_a_csr_matrix_are_views() -> None:
    matrix = sparse.csr_array(values())
    blocks = list(Blocks(matrix).map(lambda block: block))
    assert [block.shape[0] for block in blocks] == [37] * 5 + [15]
    assert all(np.shares_memory(block.data, matrix.data) for block in blocks)
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), matrix.toarray())
