"""The spot graph: structure, normalisation, and what dropping edges does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from spotscape.nn import Region, SpotGraph, smooth

# 0 - 1 - 2, and 3 alone; a directed edge 0 -> 2 on top (row 0 hears spot 2).
ADJACENCY = np.array([[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])


def dense_normalized(adjacency: np.ndarray) -> np.ndarray:
    with_loops = adjacency + np.eye(len(adjacency))
    scale = np.diag(with_loops.sum(1) ** -0.5)
    return scale @ with_loops @ scale


def test_structure_by_hand() -> None:
    graph = SpotGraph.from_adjacency(sparse.csr_array(ADJACENCY))
    assert (graph.n_spots, graph.n_edges) == (4, 9)
    assert graph.indptr.tolist() == [0, 3, 6, 8, 9]
    assert graph.indices.tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 3]
    assert graph.is_loop.sum() == 4


def test_normalisation_equals_the_dense_formula() -> None:
    graph = SpotGraph.from_adjacency(sparse.csr_array(ADJACENCY))
    np.testing.assert_allclose(graph.normalized().to_dense().numpy(), dense_normalized(ADJACENCY), rtol=1e-6)


def test_weights_loops_and_explicit_zeros_of_the_input_do_not_matter() -> None:
    messy = sparse.csr_array(ADJACENCY * 7.0 + np.diag([3.0, 0, 0, 1]))
    messy.data[messy.indices == 2] *= -0.5
    zeros = sparse.csr_array((np.zeros(2), ([3, 3], [0, 1])), shape=(4, 4))
    stored = sparse.csr_array(sparse.vstack([messy[:3], zeros[3:] + messy[3:]]))
    plain, other = (SpotGraph.from_adjacency(matrix) for matrix in (sparse.csr_array(ADJACENCY), stored))
    torch.testing.assert_close(plain.normalized().to_dense(), other.normalized().to_dense())


def test_dropped_edges_leave_the_degrees_too() -> None:
    graph = SpotGraph.from_adjacency(sparse.csr_array(ADJACENCY))
    keep = torch.ones(graph.n_edges, dtype=torch.bool)
    keep[2] = False  # 0 no longer hears 2
    keep[8] = False  # a self-loop: stays
    thinned = ADJACENCY.copy()
    thinned[0, 2] = 0
    np.testing.assert_allclose(graph.normalized(keep).to_dense().numpy(), dense_normalized(thinned), rtol=1e-6)


def test_in_double_precision_it_has_all_digits() -> None:
    graph = SpotGraph.from_adjacency(sparse.csr_array(ADJACENCY))
    keep = torch.ones(graph.n_edges, dtype=torch.bool)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        region = Region.around(graph, torch.arange(graph.n_spots), 1)
        matrices = [graph.normalized(), graph.normalized(keep), region.normalized(), region.normalized(keep)]
    finally:
        torch.set_default_dtype(before)
    for matrix in matrices:
        np.testing.assert_allclose(matrix.to_dense().numpy(), dense_normalized(ADJACENCY), rtol=1e-14)


def test_a_graph_is_square() -> None:
    with pytest.raises(ValueError, match=r"square, not \(3, 4\)"):
        SpotGraph.from_adjacency(sparse.csr_array(ADJACENCY[:3]))


def test_the_input_is_left_alone() -> None:
    matrix = sparse.csr_array(ADJACENCY * 2.0)
    before = matrix.copy()
    SpotGraph.from_adjacency(matrix)
    assert (matrix != before).nnz == 0


def test_smoothing_by_hand() -> None:
    values = np.array([[0.0], [3.0], [6.0], [5.0]], dtype=np.float32)
    once = smooth(values, sparse.csr_array(ADJACENCY), 1)
    np.testing.assert_allclose(once.ravel(), [3, 3, 4.5, 5])
    assert once.dtype == np.float32
    np.testing.assert_allclose(smooth(values, ADJACENCY, 2), smooth(once, ADJACENCY, 1), rtol=1e-6)
    np.testing.assert_array_equal(smooth(values, ADJACENCY, 0), values)
