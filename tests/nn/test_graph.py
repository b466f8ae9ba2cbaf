"""Sparse products, the spot graph and its propagation, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from spotscape.nn import SpotGraph, propagate
from spotscape.nn.graph import Structure


def neighbours(n_spots: int = 60, seed: int = 0) -> sparse.csr_array:
    points = np.random.default_rng(seed).random((n_spots, 2))
    return sparse.csr_array(kneighbors_graph(points, 5))


def dense_of(graph: SpotGraph, weights: torch.Tensor) -> torch.Tensor:
    dense = weights.new_zeros(graph.n_spots, graph.n_spots)
    dense[graph.structure.rows, graph.structure.indices] = weights
    return dense


def test_products_and_gradients_are_dense_ones(device: torch.device) -> None:
    matrix = sparse.random_array((30, 20), density=0.2, rng=np.random.default_rng(0), format="csr")
    matrix = sparse.csr_array(matrix * (np.arange(30) != 4)[:, None])
    matrix.eliminate_zeros()
    structure = Structure(
        *(torch.from_numpy(part.astype(np.int64)).to(device) for part in (matrix.indptr, matrix.indices)), 20
    )
    values = torch.rand(2, matrix.nnz, dtype=torch.float64, device=device)
    x = torch.rand(2, 3, 20, 7, dtype=torch.float64, device=device, requires_grad=True)
    dense = x.new_zeros(2, 30, 20)
    dense[:, structure.rows, structure.indices] = values
    found, expected = structure.product(values, x), dense[:, None] @ x
    torch.testing.assert_close(found, expected)
    up = torch.rand_like(found)
    torch.testing.assert_close(*(torch.autograd.grad(result, x, up)[0] for result in (found, expected)))
    rows = torch.tensor([3, 29, 0], device=device)
    part, entries = structure.take(rows)
    torch.testing.assert_close(part.multiply(values[0, entries], x[0, 0].detach()), (dense[0] @ x[0, 0])[rows].detach())


def test_the_propagation_matrix_is_the_normalised_adjacency(device: torch.device) -> None:
    adjacency = neighbours()
    graph = SpotGraph.from_adjacency(adjacency, device)
    looped = (adjacency.toarray() > 0) + np.eye(60)
    scale = looped.sum(1) ** -0.5
    np.testing.assert_allclose(
        dense_of(graph, graph.whole_weights[0]).cpu(), scale[:, None] * looped * scale, rtol=1e-6
    )


def test_thinned_graphs_have_degrees_of_their_own() -> None:
    graph = SpotGraph.from_adjacency(neighbours())
    keep = torch.rand(2, graph.n_edges, generator=torch.Generator().manual_seed(0)) < 0.7
    weights = graph.weights(keep)
    for kept, found in zip(keep, weights, strict=True):
        dense = dense_of(graph, (kept | graph.is_loop).float())
        scale = dense.sum(1).rsqrt()
        torch.testing.assert_close(dense_of(graph, found), scale[:, None] * dense * scale)
    drawn = graph.draw_weights(1, 0.3, torch.Generator().manual_seed(1))
    share = (drawn[0] > 0)[~graph.is_loop].float().mean()
    assert abs(share - 0.7) < 0.1
    assert (drawn[0][graph.is_loop] > 0).all()


def test_edges_are_what_is_not_zero_off_the_diagonal() -> None:
    adjacency = sparse.csr_array(np.array([[5.0, 0.2, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]))
    adjacency.data[1] = 0.0
    graph = SpotGraph.from_adjacency(adjacency)
    assert dense_of(graph, torch.ones(graph.n_edges)).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="a spot graph is square"):
        SpotGraph.from_adjacency(sparse.csr_array((2, 3)))


def test_the_convolution_of_torch_geometric_is_the_same() -> None:
    conv = pytest.importorskip("torch_geometric.nn").GCNConv(8, 4, normalize=False, bias=False)
    graph = SpotGraph.from_adjacency(neighbours())
    x = torch.rand(60, 8)
    data = graph.to_torch_geometric(x)
    found = propagate(graph, graph.whole_weights, (x @ conv.lin.weight.T)[None, None])[0, 0]
    torch.testing.assert_close(found, conv(data.x, data.edge_index, data.edge_weight))
