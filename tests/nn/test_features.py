"""Every storage of the expression gives the products of the matrix it stands for, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from spotscape.nn import FeatureMatrix, LowRankFeatures, MaskedFeatures, as_features, random_view
from spotscape.nn.graph import SpotGraph

RNG = np.random.default_rng(0)
VALUES = np.where(RNG.random((30, 12)) < 0.4, RNG.gamma(2.0, size=(30, 12)), 0.0)


def storages() -> dict[str, tuple[FeatureMatrix, np.ndarray]]:
    left, singular, right = np.linalg.svd(VALUES, full_matrices=False)
    scores, loadings = left[:, :5] * singular[:5], right[:5].T
    low_rank = LowRankFeatures(torch.from_numpy(scores), torch.from_numpy(loadings.copy()))
    return {
        "dense": (as_features(VALUES, dtype=torch.float64), VALUES),
        "csr": (as_features(sparse.csr_matrix(VALUES), dtype=torch.float64), VALUES),
        "csc": (as_features(sparse.csc_array(VALUES), dtype=torch.float64), VALUES),
        "low rank": (low_rank, scores @ loadings.T),
    }


@pytest.mark.parametrize("name", ["dense", "csr", "csc", "low rank"])
class TestStorage:
    def test_products_and_gradients(self, name: str) -> None:
        features, matrix = storages()[name]
        dense = torch.from_numpy(matrix)
        for product, factor, rows in (
            (features.matmul, dense, 12),
            (features.transposed_matmul, dense.T, 30),
        ):
            ours = torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            theirs = ours.clone().requires_grad_()
            ours.requires_grad_()
            torch.testing.assert_close(product(ours), factor @ theirs)
            product(ours).square().sum().backward()
            (factor @ theirs).square().sum().backward()
            torch.testing.assert_close(ours.grad, theirs.grad)

    def test_moments(self, name: str) -> None:
        features, matrix = storages()[name]
        assert features.shape == matrix.shape
        np.testing.assert_allclose(features.column_means().numpy(), matrix.mean(0), rtol=1e-12, atol=1e-14)
        expected = np.square(matrix - matrix.mean(0)).sum()
        assert features.squared_norm().item() == pytest.approx(expected, rel=1e-12)

    def test_dropped_genes(self, name: str) -> None:
        """A mask in the weight is a mask in the data."""
        features, matrix = storages()[name]
        keep = torch.arange(12) % 3 > 0
        weight = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        expected = torch.from_numpy(matrix * keep.numpy()) @ weight
        torch.testing.assert_close(MaskedFeatures(features, keep).matmul(weight), expected)


def test_moments_of_large_float32_sums() -> None:
    """Column sums must not be taken in float32: at a million entries that costs three digits."""
    column = np.full((200_000, 1), 0.1, dtype=np.float32)
    features = as_features(sparse.csr_array(column))
    assert features.column_means().item() == pytest.approx(float(np.float32(0.1)), rel=1e-12)
    assert features.squared_norm().item() == pytest.approx(0, abs=1e-8)


def test_views_are_random_but_repeatable() -> None:
    features = as_features(RNG.random((200, 500)).astype(np.float32))
    graph = SpotGraph.from_adjacency(sparse.random_array((200, 200), density=0.1, rng=RNG))
    first, second, again = (
        random_view(features, graph, edge_drop=0.2, feature_drop=0.3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1, 0)
    )
    assert torch.equal(first[0].keep, again[0].keep)
    assert torch.equal(first[1].values(), again[1].values())
    assert not torch.equal(first[0].keep, second[0].keep)
    assert first[0].keep.float().mean() == pytest.approx(0.7, abs=0.07)
    edges = first[1].values()[~graph.is_loop]
    assert (edges > 0).float().mean() == pytest.approx(0.8, abs=0.03)
    assert (first[1].values()[graph.is_loop] > 0).all()


def test_nothing_dropped_is_the_whole() -> None:
    features = as_features(VALUES)
    graph = SpotGraph.from_adjacency(sparse.eye_array(30, k=1))
    view, adjacency = random_view(
        features, graph, edge_drop=0.0, feature_drop=0.0, generator=torch.Generator().manual_seed(0)
    )
    assert view.keep.all()
    assert torch.equal(adjacency.to_dense(), graph.normalized().to_dense())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_that_may_not_be_written_to(dtype: type) -> None:
    """As a memory map gives it: torch would warn, and warnings are errors here."""
    values = np.ones((4, 3), dtype=dtype)
    values.flags.writeable = False
    assert as_features(values).column_means().tolist() == [1, 1, 1]
