"""A target network that follows the online one: every parameter and buffer, by the formula."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spotscape.nn import follow


def network(seed: int = 0) -> nn.Module:
    """Linear and batch normalisation, with statistics and counts that differ from seed to seed; float64."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            random = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_((10 * random.abs()).to(tensor.dtype))
    return module


def test_every_tensor_by_the_formula() -> None:
    target, online = network(0), network(1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    follow(target, online, 0.9)
    for name, now in target.state_dict().items():
        theirs = online.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * theirs if now.is_floating_point() else theirs
        torch.testing.assert_close(now, expected, rtol=1e-12, atol=0)
    assert before["1.num_batches_tracked"] != target.state_dict()["1.num_batches_tracked"]
    assert not torch.equal(before["1.running_var"], target.state_dict()["1.running_var"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_momentum_zero_is_a_copy_bit_for_bit(dtype: torch.dtype) -> None:
    target, online = network(0).to(dtype), network(1).to(dtype)
    target[0].weight.data[0, 0] = torch.inf  # an average would make NaN of it
    follow(target, online, 0)
    assert all(torch.equal(now, online.state_dict()[name]) for name, now in target.state_dict().items())
    online[0].weight.data.zero_()
    assert target[0].weight.abs().sum() > 0, "a copy, not the same memory"


def test_momentum_one_stands_still_but_for_whole_numbers() -> None:
    target, online = network(0), network(1)
    before = deepcopy(target.state_dict())
    follow(target, online, 1.0)
    moved = [name for name, now in target.state_dict().items() if not torch.equal(now, before[name])]
    assert moved == ["1.num_batches_tracked"]


@settings(max_examples=25, deadline=None)
@given(momentum=st.floats(0, 1), steps=st.integers(1, 5))
def test_the_distance_to_an_online_network_at_rest_shrinks_by_the_momentum(momentum: float, steps: int) -> None:
    target, online = network(0), network(1)
    distance = target[0].weight.detach() - online[0].weight.detach()
    for _ in range(steps):
        follow(target, online, momentum)
    left = target[0].weight.detach() - online[0].weight.detach()
    torch.testing.assert_close(left, momentum**steps * distance, rtol=1e-9, atol=1e-12)


def test_no_gradient_flows_and_the_online_network_stays() -> None:
    target, online = network(0), network(1)
    before = deepcopy(online.state_dict())
    follow(target, online, 0.5)
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in target.parameters())
    assert all(torch.equal(now, before[name]) for name, now in online.state_dict().items())
    assert all(parameter.grad is None for parameter in online.parameters())


def test_buffers_outside_of_checkpoints_follow_too() -> None:
    target, online = nn.Module(), nn.Module()
    target.register_buffer("scale", torch.tensor(1.0), persistent=False)
    online.register_buffer("scale", torch.tensor(2.0), persistent=False)
    follow(target, online, 0.5)
    assert target.scale.item() == 1.5


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_momentum_outside_its_range(momentum: float) -> None:
    with pytest.raises(ValueError, match=r"momentum=.* lies outside \[0, 1\]"):
        follow(network(), network(), momentum)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_modules_that_differ(momentum: float) -> None:
    with pytest.raises(ValueError, match=r"only target has 'bias' of shape \(2,\); .* copies of one module"):
        follow(nn.Linear(3, 2), nn.Linear(3, 2, bias=False), momentum)
    with pytest.raises(ValueError, match=r"has 'weight' of shape"):
        follow(nn.Linear(3, 1, bias=False), nn.Linear(3, 2, bias=False), momentum)
