"""Tiles cover every spot once; a region gives its inside spots what the whole tissue gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from spotscape.nn import Region, SpotGraph, graph_tiles


def tissue(n_spots: int = 400, seed: int = 0) -> sparse.csr_array:
    return sparse.csr_array(kneighbors_graph(np.random.default_rng(seed).random((n_spots, 2)), 5))


@settings(max_examples=30, deadline=None)
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
    pieces = sparse.block_diag([np.ones((2, 2))] * 10, format="csr")
    assert [len(tile) for tile in graph_tiles(pieces, 5)] == [4, 4, 4, 4, 4]


@pytest.mark.parametrize("size", [0, -1])
def test_a_tile_has_spots(size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size} must be at least 1"):
        graph_tiles(tissue(), size)


@pytest.mark.parametrize("n_hops", [0, 1, 2, 3])
def test_the_inside_has_the_bits_of_the_whole(n_hops: int, device: torch.device) -> None:
    graph = SpotGraph.from_adjacency(tissue(), device)
    values = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).to(device)
    whole = values
    for _ in range(n_hops):
        whole = graph.normalized() @ whole
    for tile in graph_tiles(tissue(), 60):
        region = Region.around(graph, tile, n_hops)
        part = values[region.spots]
        for _ in range(n_hops):
            part = region.normalized() @ part
        np.testing.assert_array_equal(region.inside.cpu(), tile)
        torch.testing.assert_close(part[: region.n_inside], whole[region.inside], rtol=0, atol=0)


def test_fewer_hops_are_not_enough() -> None:
    graph = SpotGraph.from_adjacency(tissue())
    values = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    region = Region.around(graph, np.arange(50), 1)
    adjacency = region.normalized()
    part = adjacency @ (adjacency @ values[region.spots])
    whole = graph.normalized() @ (graph.normalized() @ values)
    assert not torch.allclose(part[:50], whole[region.inside], atol=1e-3)


def test_a_region_by_hand() -> None:
    chain = SpotGraph.from_adjacency(sparse.eye_array(5, k=1) + sparse.eye_array(5, k=-1))
    region = Region.around(chain, np.array([0]), 2)
    assert region.spots.tolist() == [0, 1, 2]
    assert region.degrees.tolist() == [2, 3, 3]
    assert region.rows.tolist() == [0, 0, 1, 1, 1]
    assert region.indices.tolist() == [0, 1, 0, 1, 2]
    assert chain.rows[region.edges].tolist() == [0, 0, 1, 1, 1]


def test_edges_dropped_in_the_whole_are_dropped_in_the_region() -> None:
    graph = SpotGraph.from_adjacency(tissue())
    keep = torch.rand(graph.n_edges, generator=torch.Generator().manual_seed(0)) > 0.3
    degrees = torch.zeros(400).index_add_(0, graph.rows, (keep | graph.is_loop).float())
    values = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    thinned = graph.normalized(keep)
    whole = thinned @ (thinned @ values)
    region = Region.around(graph, np.arange(0, 400, 9), 2)
    adjacency = region.normalized(keep[region.edges], degrees[region.spots])
    part = adjacency @ (adjacency @ values[region.spots])
    torch.testing.assert_close(part[: region.n_inside], whole[region.inside], rtol=0, atol=0)


def test_thinned_regions_have_the_mean_of_thinned_tissue() -> None:
    graph = SpotGraph.from_adjacency(tissue(60))
    region = Region.around(graph, np.arange(10), 2)
    generator = torch.Generator().manual_seed(0)
    values = torch.ones(60, 1)
    ours, theirs = torch.zeros(10, 1), torch.zeros(10, 1)
    for _ in range(400):
        part = region.thinned(0.4, generator)
        ours += (part @ (part @ values[region.spots]))[:10]
        keep = torch.rand(graph.n_edges, generator=generator) >= 0.4
        whole = graph.normalized(keep)
        theirs += (whole @ (whole @ values))[:10]
    torch.testing.assert_close(ours / 400, theirs / 400, atol=0.04, rtol=0)


def test_nothing_dropped_is_the_full_graph() -> None:
    region = Region.around(SpotGraph.from_adjacency(tissue()), np.arange(40), 2)
    thinned = region.thinned(0.0, torch.Generator().manual_seed(0))
    assert torch.equal(thinned.values(), region.normalized().values())


def test_a_region_moves(device: torch.device) -> None:
    region = Region.around(SpotGraph.from_adjacency(tissue()), np.arange(40), 2).to(device)
    assert {part.device.type for part in (region.spots, region.indptr, region.degrees)} == {device.type}
