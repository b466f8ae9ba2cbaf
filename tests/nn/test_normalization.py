"""Batch normalisation of the inside of regions, and its statistics over parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spotscape.nn.layers import calibrate_batch_norm
from spotscape.nn.normalization import SpotNorm, calibrate_in_parts, counting


def values(n_rows: int, size: int = 4) -> torch.Tensor:
    return 3 + torch.randn(n_rows, size, generator=torch.Generator().manual_seed(n_rows)) * torch.arange(1, size + 1)


def test_outside_it_is_torch() -> None:
    ours, theirs, x = SpotNorm(4), nn.BatchNorm1d(4), values(20)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_statistics_are_of_the_inside() -> None:
    layer, x = SpotNorm(4), values(20)
    with counting(layer, 12):
        found = layer(x)
    torch.testing.assert_close(found[:12], nn.BatchNorm1d(4)(x[:12]))
    torch.testing.assert_close(found, (x - x[:12].mean(0)) / (x[:12].var(0, unbiased=False) + 1e-5).sqrt())
    assert layer.n_counted is None
    assert torch.equal(layer.running_mean, torch.zeros(4))


def test_gradients_are_those_of_torch() -> None:
    weights = values(20) - 3
    gradients = []
    for counted in (20, None):
        layer, x = SpotNorm(4), values(20).requires_grad_()
        if counted is None:
            output = layer(x)
        else:
            with counting(layer, counted):
                output = layer(x)
        gradients.append(torch.autograd.grad((output * weights).sum(), [x, layer.weight, layer.bias]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_with_rows_that_do_not_count() -> None:
    """Also through the statistics that those rows are normalised by, against finite differences."""
    layer = SpotNorm(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))

    def normalised(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        with counting(layer, 5):
            output: torch.Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return output.sin()

    inputs = [values(9, 3).double(), layer.weight.detach().clone(), layer.bias.detach().clone()]
    assert torch.autograd.gradcheck(normalised, [part.requires_grad_() for part in inputs])


def test_it_is_switched_off_after_an_error() -> None:
    layer = SpotNorm(4)
    with pytest.raises(KeyError), counting(layer, 3):
        raise KeyError
    assert layer.n_counted is None


def test_calibration_in_parts_is_that_of_the_whole() -> None:
    def build() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), SpotNorm(6), nn.ReLU(), nn.Linear(6, 3), SpotNorm(3))

    with torch.random.fork_rng():
        whole, parted = build(), build()
    x = values(50)
    calibrate_batch_norm(whole, lambda: whole(x))
    parts = [x[:7], x[7:30], x[30:]]
    halo = torch.full((5, 4), 1e6)
    calibrate_in_parts(parted, lambda part: parted(torch.cat([part, halo])), parts, len)
    for ours, theirs in zip(parted.buffers(), whole.buffers(), strict=True):
        if ours.is_floating_point():
            torch.testing.assert_close(ours, theirs)
    assert not parted.training


def test_layers_that_are_not_reached_keep_their_statistics() -> None:
    used, idle = SpotNorm(4), SpotNorm(4)
    calibrate_in_parts(nn.ModuleList([used, idle]), used, [values(9)], len)
    torch.testing.assert_close(used.running_mean, values(9).mean(0))
    assert torch.equal(idle.running_mean, torch.zeros(4))
    assert idle.collected is None
