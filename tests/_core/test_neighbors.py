"""Exact neighbours: brute force as oracle, in few and in many dimensions, coincident points, far origins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from spotscape._core.graphs import nearest_others


@pytest.mark.parametrize("n_dims", [2, 15, 16, 64])
@pytest.mark.parametrize("origin", [0.0, 1e6])
def test_nearest_others_equals_brute_force(n_dims: int, origin: float) -> None:
    points = np.random.default_rng(0).normal(size=(200, n_dims))
    lengths = cdist(points, points)
    np.fill_diagonal(lengths, np.inf)
    distances, indices = nearest_others(points + origin, 12)
    np.testing.assert_array_equal(indices, np.argsort(lengths, axis=1)[:, :12])
    np.testing.assert_allclose(distances, np.sort(lengths, axis=1)[:, :12], rtol=1e-6)


@pytest.mark.parametrize("n_dims", [2, 32])
def test_a_point_is_no_neighbour_of_itself_even_where_others_share_its_place(n_dims: int) -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(20, n_dims)), 4, axis=0)
    distances, indices = nearest_others(points, 3)
    np.testing.assert_array_equal(indices // 4, np.repeat(np.arange(20), 4)[:, None] * np.ones((1, 3)))
    assert not (indices == np.arange(80)[:, None]).any()
    np.testing.assert_allclose(distances, 0, atol=1e-6)
