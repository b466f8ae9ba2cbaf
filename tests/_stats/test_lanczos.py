"""Eigenvectors against NumPy's, of operators with gaps, without, and of low rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spotscape._stats.covariance import leading_eigenvectors

if TYPE_CHECKING:
    from collections.abc import Callable


def operator(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return (vectors * values) @ vectors.T, vectors


def start(size: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, width))


@pytest.mark.parametrize("width", [1, 3, 40])
def test_leading_eigenvectors_in_their_order(width: int) -> None:
    values = np.concatenate([[50, 30, 20, 12, 8], np.linspace(1, 0.1, 95)])
    matrix, vectors = operator(values)
    found = leading_eigenvectors(lambda block: matrix @ block, start(100, width), 5, tolerance=1e-3)
    assert found.shape == (100, 5)
    np.testing.assert_allclose(np.abs((found * vectors[:, :5]).sum(0)), 1, atol=1e-6)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=1e-10)


def test_residuals_are_within_the_tolerance() -> None:
    values = np.linspace(1, 0, 300) ** 2
    matrix, _ = operator(values)
    for tolerance in (1e-1, 1e-4):
        found = leading_eigenvectors(lambda block: matrix @ block, start(300, 8), 10, tolerance=tolerance)
        residuals = np.linalg.norm(matrix @ found - found * np.diag(found.T @ matrix @ found), axis=0)
        assert (residuals <= tolerance * values[:10]).all()


def test_a_good_guess_saves_products() -> None:
    values = np.concatenate([[9, 8, 7], np.linspace(1, 0, 197)])
    matrix, vectors = operator(values)
    products: dict[str, int] = {}

    def counted(name: str) -> Callable[[np.ndarray], np.ndarray]:
        def multiply(block: np.ndarray) -> np.ndarray:
            products[name] = products.get(name, 0) + block.shape[1]
            return np.asarray(matrix @ block)

        return multiply

    guess = vectors[:, :3] + 0.01 * start(200, 3)
    for name, block in (("random", start(200, 3)), ("guess", guess)):
        leading_eigenvectors(counted(name), block, 3)
    assert products["guess"] < products["random"]


@pytest.mark.parametrize("n_vectors", [2, 5, 12])
def test_low_rank(n_vectors: int) -> None:
    """Beyond the rank any directions complete the basis."""
    values = np.array([4.0, 2.0, *[0.0] * 10])
    matrix, vectors = operator(values)
    found = leading_eigenvectors(lambda block: matrix @ block, start(12, 1), n_vectors)
    assert found.shape == (12, n_vectors)
    np.testing.assert_allclose(found.T @ found, np.eye(n_vectors), atol=1e-8)
    np.testing.assert_allclose(np.abs((found[:, :2] * vectors[:, :2]).sum(0)), 1, atol=1e-6)


def test_equal_eigenvalues_share_a_span() -> None:
    matrix, vectors = operator(np.array([5.0, 5.0, 5.0, 1.0, 1.0, 1.0]))
    found = leading_eigenvectors(lambda block: matrix @ block, start(6, 3), 3)
    np.testing.assert_allclose(found @ found.T, vectors[:, :3] @ vectors[:, :3].T, atol=1e-8)


def test_zero_operator() -> None:
    found = leading_eigenvectors(np.zeros_like, start(4, 2), 3)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-10)


def test_the_search_ends_without_a_gap() -> None:
    """White noise has no leading directions; the span is capped and what comes back is orthonormal."""
    values = 1 + 1e-3 * np.linspace(0, 1, 900)
    matrix, _ = operator(values)
    found = leading_eigenvectors(lambda block: matrix @ block, start(900, 32), 4, tolerance=1e-12)
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-8)
