"""Layers against the formulas they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from spotscape.nn import FeatureProjection, GraphBlock, GraphConvolution, SpotGraph, as_features
from spotscape.nn.layers import build_seeded, calibrate_batch_norm

RNG = np.random.default_rng(0)


@pytest.fixture
def adjacency() -> torch.Tensor:
    return SpotGraph.from_adjacency(sparse.random_array((40, 40), density=0.1, rng=RNG)).normalized()


def test_convolution_is_propagated_projection(adjacency: torch.Tensor) -> None:
    layer = GraphConvolution(7, 3)
    x = torch.randn(40, 7)
    expected = adjacency.to_dense() @ x @ layer.lin.weight.T
    torch.testing.assert_close(layer(x, adjacency), expected)


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
