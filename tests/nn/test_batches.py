"""Parts of a tissue have the values of the whole, and sums over them are completed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from spotscape.nn import Batch, Features, SpotGraph, graph_tiles, propagate
from spotscape.nn.batches import Known, RunningMean

ADJACENCY = sparse.csr_array(kneighbors_graph(np.random.default_rng(0).random((400, 2)), 6))


def tissue(device: torch.device | str = "cpu") -> Batch:
    values = np.random.default_rng(1).random((400, 5)).astype(np.float32)
    return Batch.whole(Features.of(values, device=device), SpotGraph.from_adjacency(ADJACENCY, device))


@pytest.mark.parametrize("n_hops", [1, 2, 3])
def test_the_inside_has_the_bits_of_the_whole(n_hops: int, device: torch.device) -> None:
    whole = tissue(device)

    def hops(batch: Batch) -> torch.Tensor:
        x = batch.features.values[None, None]
        for _ in range(n_hops):
            x = propagate(batch.graph, batch.graph.whole_weights, x)
        return x[0, 0, : batch.n_inside]

    expected = hops(whole)
    for rows in graph_tiles(ADJACENCY, 100):
        part = Batch.around(whole.features, whole.graph, rows, n_hops)
        assert torch.equal(part.inside.cpu(), torch.from_numpy(rows))
        assert torch.equal(hops(part), expected[part.inside])
        if n_hops > 1:
            narrow = Batch.around(whole.features, whole.graph, rows, n_hops - 1)
            assert not torch.equal(hops(narrow), expected[part.inside])


def test_edges_dropped_in_the_whole_are_dropped_in_the_part() -> None:
    whole = tissue()
    keep = torch.rand(2, whole.graph.n_edges, generator=torch.Generator().manual_seed(0)) < 0.8
    part = Batch.around(whole.features, whole.graph, np.arange(0, 400, 7), 2)
    degrees = whole.graph.structure.row_sums(keep | whole.graph.is_loop)
    found = part.graph.weights(keep[:, part.places], degrees[:, part.spots])
    assert torch.equal(found, whole.graph.weights(keep)[:, part.places])


def test_thinned_parts_have_the_mean_of_thinned_tissue() -> None:
    whole = tissue()
    part = Batch.around(whole.features, whole.graph, np.arange(60), 2)
    draws = [part.graph.draw_weights(8, 0.3, torch.Generator().manual_seed(seed)) for seed in range(250)]
    others = [whole.graph.draw_weights(8, 0.3, torch.Generator().manual_seed(1000 + seed)) for seed in range(250)]
    found, expected = (torch.cat(each).double() for each in (draws, others))
    expected = expected[:, part.places]
    error = ((found.var(0) + expected.var(0)) / len(found)).sqrt()
    assert ((found.mean(0) - expected.mean(0)).abs() < 5 * error + 1e-6).all()


def test_a_running_mean_is_exact_where_nothing_changes() -> None:
    """With the same rows in each sweep their mean over it is the sum of the tissue; the gradient is scaled to it."""
    whole, reduce = tissue(), RunningMean()
    rows = whole.features.values.double()
    tiles = graph_tiles(ADJACENCY, 100)
    total = rows.T @ rows
    assert {len(tile) for tile in tiles} == {100}
    for _ in range(40):
        completed = []
        for tile in tiles:
            batch = Batch.around(whole.features, whole.graph, tile, 1)
            own = rows[batch.inside].clone().requires_grad_()
            found = reduce.complete("grams", own.T @ own, batch)
            completed.append(found.detach())
    torch.testing.assert_close(torch.stack(completed).mean(0), total)
    (gradient,) = torch.autograd.grad(found.sum(), own)
    torch.testing.assert_close(gradient, 2 * own.sum(1, keepdim=True).expand_as(own) * 400 / len(own))


def test_rows_of_other_spots_are_those_last_seen() -> None:
    whole, reduce = tissue(), RunningMean()
    first, second = (Batch.around(whole.features, whole.graph, rows, 1) for rows in ([3, 5], [5, 9]))
    reduce.share("seen", torch.full((1, first.graph.n_spots, 2), 1.0), first)
    known = reduce.share("seen", torch.full((1, second.graph.n_spots, 2), 2.0, requires_grad=True), second)
    wanted = torch.tensor([9, 3, 0, 5])
    found = known.take(wanted)
    assert found[0, :, 0].tolist() == [2, 1, 0, 2]
    assert reduce.knows_all(1.0)
    assert not reduce.knows_all(0.5)
    assert Known(found).take(torch.tensor([1]))[0, 0, 0] == 1


def test_a_checkpoint_holds_what_is_remembered() -> None:
    whole, reduce = tissue(), RunningMean()
    batch = Batch.around(whole.features, whole.graph, [0, 1], 1)
    reduce.complete("sums", torch.tensor([3.0]), batch)
    other = torch.nn.ModuleDict({"reduce": RunningMean()})
    other.load_state_dict({f"reduce.{name}": value for name, value in reduce.state_dict().items()})
    found, expected = (one.complete("sums", torch.tensor([5.0]), batch) for one in (other["reduce"], reduce))
    assert torch.equal(found, expected)
