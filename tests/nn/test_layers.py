"""Layers against the formulas they stand for."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from spotscape.nn import FeatureProjection, GraphBlock, GraphConvolution, SpotGraph, as_features
from spotscape.nn.layers import PartialDraws, build_seeded, calibrate_batch_norm, drop_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

RNG = np.random.default_rng(0)


@pytest.fixture
def adjacency() -> torch.Tensor:
    return SpotGraph.from_adjacency(sparse.random_array((40, 40), density=0.1, rng=RNG)).normalized()


def test_convolution_is_propagated_projection(adjacency: torch.Tensor) -> None:
    layer = GraphConvolution(7, 3)
    x = torch.randn(40, 7)
    expected = adjacency.to_dense() @ x @ layer.lin.weight.T
    torch.testing.assert_close(layer(x, adjacency), expected)


def test_gradient_goes_backwards_along_directed_edges_in_every_step(adjacency: torch.Tensor) -> None:
    assert not torch.equal(adjacency.to_dense(), adjacency.to_dense().T)
    layer = GraphConvolution(7, 3)
    weight = torch.randn(40, 3)
    expected = adjacency.to_dense().T @ weight @ layer.lin.weight
    for _ in range(2):
        x = torch.randn(40, 7, requires_grad=True)
        (layer(x, adjacency) * weight).sum().backward()
        torch.testing.assert_close(x.grad, expected)


def test_adjacency_is_forgotten_with_its_last_reference() -> None:
    adjacency = SpotGraph.from_adjacency(sparse.eye_array(5, k=1)).normalized()
    (GraphConvolution(2, 2)(torch.ones(5, 2), adjacency)).sum().backward()
    known = weakref.ref(adjacency)
    del adjacency
    assert known() is None


def test_first_block_takes_features_of_any_storage(adjacency: torch.Tensor) -> None:
    values = np.where(RNG.random((40, 7)) < 0.5, RNG.random((40, 7)), 0).astype(np.float32)
    block = GraphBlock(7, 3, momentum=0.1, from_features=True)
    expected = torch.relu(block.norm(adjacency.to_dense() @ torch.from_numpy(values) @ block.convolution.lin.weight))
    for matrix in (values, sparse.csr_array(values)):
        torch.testing.assert_close(block(as_features(matrix), adjacency), expected)


def test_linear_block_has_both_signs(adjacency: torch.Tensor) -> None:
    x = torch.randn(40, 7)
    assert (GraphBlock(7, 3, momentum=0.1)(x, adjacency) >= 0).all()
    assert (GraphBlock(7, 3, momentum=0.1, linear=True)(x, adjacency) < 0).any()


def test_propagation_is_float32_under_autocast(adjacency: torch.Tensor) -> None:
    layer = GraphConvolution(7, 3)
    x = torch.randn(40, 7)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x, adjacency)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, layer(x, adjacency), rtol=0.05, atol=0.05)


def test_seeded_modules_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_seeded(lambda: FeatureProjection(5, 4), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_calibration_makes_evaluation_equal_the_whole_tissue() -> None:
    """Running statistics become those of the data, whatever they were, and the mode and momentum come back."""
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.2)).eval()
    data = torch.randn(500, 4) * 3 + 1
    calibrate_batch_norm(module, lambda: module(data))
    assert not module.training
    assert module[1].momentum == 0.2
    hidden = module[0](data)
    torch.testing.assert_close(module[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(module[1].running_var, hidden.var(0))


class TestDropOut:
    def test_what_stays_is_scaled_up(self) -> None:
        x = torch.randn(400, 300, generator=torch.Generator().manual_seed(0)) + 3
        thinned = drop_out(x, 0.3, torch.Generator().manual_seed(1))
        kept = thinned != 0
        assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)
        torch.testing.assert_close(thinned[kept], x[kept] / 0.7)
        # Entries are drawn one by one: neither whole spots nor whole columns.
        assert kept.float().mean(0).std() < 0.05
        assert kept.float().mean(1).std() < 0.05

    def test_expectation_is_the_input(self) -> None:
        x, generator = torch.tensor([[1.0, -2.0, 0.5]]), torch.Generator().manual_seed(0)
        mean = torch.stack([drop_out(x, 0.5, generator) for _ in range(4000)]).mean(0)
        torch.testing.assert_close(mean, x, atol=0, rtol=0.07)

    def test_nothing_to_leave_out(self) -> None:
        x, generator = torch.randn(4, 3), torch.Generator().manual_seed(0)
        state = generator.get_state()
        assert drop_out(x, 0.0, generator) is x
        assert drop_out(x, 0.9, None) is x
        assert torch.equal(generator.get_state(), state)

    def test_a_part_loses_what_it_loses_within_the_whole(self) -> None:
        x, rows = torch.randn(50, 4), torch.tensor([7, 3, 49, 0])
        whole, part = (torch.Generator().manual_seed(5) for _ in range(2))
        expected = drop_out(x, 0.5, whole)[rows]
        assert torch.equal(drop_out(x[rows], 0.5, PartialDraws(part, rows, 50)), expected)
        assert torch.equal(part.get_state(), whole.get_state())

    def test_gradient_flows_through_what_stays(self) -> None:
        x = torch.randn(50, 4, requires_grad=True)
        thinned = drop_out(x, 0.2, torch.Generator().manual_seed(0))
        thinned.sum().backward()
        torch.testing.assert_close(x.grad, torch.where(thinned != 0, 1 / 0.8, 0.0))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_the_generator_decides(
        self, dtype: torch.dtype, global_state_untouched: Callable[[], AbstractContextManager[None]]
    ) -> None:
        x = torch.ones(20, 5, dtype=dtype)
        with global_state_untouched():
            first, again, other = (drop_out(x, 0.5, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
        assert first.dtype == dtype
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        with torch.random.fork_rng():
            torch.manual_seed(99)
            assert torch.equal(drop_out(x, 0.5, torch.Generator().manual_seed(3)), first)
