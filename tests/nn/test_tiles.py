"""Tiles cover every spot once; a region gives its inside spots what the whole tissue gives them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from spotscape.nn import graph_tiles


def tissue(n_spots: int = 400, seed: int = 0) -> sparse.csr_array:
    return sparse.csr_array(kneighbors_graph(np.random.default_rng(seed).random((n_spots, 2)), 5))


@settings(max_examples=30)
@given(n_spots=st.integers(8, 300), size=st.integers(1, 400), n_slices=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_spot_is_in_one_tile(n_spots: int, size: int, n_slices: int, seed: int) -> None:
    slices = np.arange(n_spots) % n_slices
    tiles = graph_tiles(tissue(n_spots, seed), size, slices=slices)
    np.testing.assert_array_equal(np.sort(np.concatenate(tiles)), np.arange(n_spots))
    assert max(map(len, tiles)) <= size
    assert all((np.diff(tile) > 0).all() and len(set(slices[tile])) == 1 for tile in tiles)


def test_tiles_are_compact() -> None:
    """A cut of a square of 400 spots into 4 leaves few edges between tiles; a random one leaves three quarters."""
    graph = tissue()
    label = np.empty(400, int)
    for number, tile in enumerate(graph_tiles(graph, 100)):
        label[tile] = number
    rows, columns = graph.nonzero()
    assert np.mean(label[rows] != label[columns]) < 0.2


def test_small_pieces_are_put_together() -> None:
    pieces = sparse.block_diag([sparse.coo_array(np.ones((2, 2)))] * 10, format="csr")
    assert [len(tile) for tile in graph_tiles(pieces, 5)] == [4, 4, 4, 4, 4]


@pytest.mark.parametrize("size", [0, -1])
def test_a_tile_has_spots(size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size} must be at least 1"):
        graph_tiles(tissue(), size)
