from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from spotscape._stats.fuzzy_graph import fuzzy_weights
from spotscape.tl._trajectory import embed_neighbors


def graph_of(distances: list[list[float]], neighbors: list[list[int]]) -> sparse.csr_array:
    n, k = np.shape(distances)
    return sparse.csr_array((np.ravel(distances), np.ravel(neighbors), np.arange(0, n * k + 1, k)), shape=(n, n))


def test_the_nearest_has_weight_1_and_the_sum_is_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.gamma(2, size=(40, 7)), axis=1)
    # Nobody is a neighbour of a neighbour, so that directed weights are those of the union.
    neighbors = 40 + np.arange(280).reshape(40, 7)
    padding = np.ones((280, 7)), np.zeros((280, 7), dtype=int) + np.arange(40, 47)
    weights = fuzzy_weights(graph_of([*lengths, *padding[0]], [*neighbors, *padding[1]])).toarray()[:40]
    own = np.take_along_axis(weights, neighbors, axis=1)
    np.testing.assert_array_equal(own[:, 0], 1)
    np.testing.assert_allclose(own.sum(axis=1), np.log2(8), rtol=1e-9)
    # The logarithms of the others fall in proportion to their distance beyond the nearest.
    beyond = lengths[:, 1:] - lengths[:, :1]
    np.testing.assert_allclose(np.ptp(np.log(own[:, 1:]) / beyond, axis=1), 0, atol=1e-9)


def test_both_directions_are_united_by_hand() -> None:
    weights = fuzzy_weights(graph_of([[1.0], [1.0], [2.0]], [[1], [0], [1]])).toarray()
    np.testing.assert_array_equal(weights, [[0, 1, 0], [1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_does_not_matter(unit: float) -> None:
    points = np.random.default_rng(0).normal(size=(60, 3))
    one, other = (embed_neighbors(scale * points, 8, 0).obsp["connectivities"] for scale in (1.0, unit))
    np.testing.assert_allclose(other.toarray(), one.toarray(), atol=1e-5)


def test_points_at_one_place_are_joined_fully() -> None:
    weights = embed_neighbors(np.repeat(np.eye(2), 4, axis=0), 4, 0).obsp["connectivities"].toarray()
    inside = np.kron(np.eye(2, dtype=bool), np.ones((4, 4), dtype=bool)) & ~np.eye(8, dtype=bool)
    np.testing.assert_array_equal(weights, inside)


@pytest.mark.slow
@pytest.mark.parametrize("n_neighbors", [5, 15, 60])
def test_the_graph_is_scanpys(n_neighbors: int) -> None:
    points = np.random.default_rng(0).standard_t(4, size=(700, 5)).astype(np.float32)
    theirs, ours = AnnData(points), embed_neighbors(points, n_neighbors, 0)
    sc.pp.neighbors(theirs, n_neighbors=n_neighbors, use_rep="X", transformer="sklearn")
    for name, tolerance in (("distances", 1e-5), ("connectivities", 1e-5)):
        assert ours.obsp[name].nnz == theirs.obsp[name].nnz
        assert abs(ours.obsp[name] - theirs.obsp[name]).max() < tolerance
    assert ours.uns["neighbors"].keys() == theirs.uns["neighbors"].keys()
