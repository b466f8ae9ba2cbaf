"""Normalisation against torch's, whole, folded into weights, in parts and kept."""

from __future__ import annotations

import torch
from torch.nn.functional import batch_norm

from spotscape.nn import Reduce, SpotNorm


def norm(size: int = 6, n_encoders: int = 2) -> SpotNorm:
    layer = SpotNorm(n_encoders, size).double()
    generator = torch.Generator().manual_seed(3)
    for one in layer.parameters():
        one.data.uniform_(0.5, 1.5, generator=generator)
    return layer


def expected_of(x: torch.Tensor, layer: SpotNorm, n_inside: int) -> torch.Tensor:
    """Each view and encoder by itself, from the statistics of the first rows."""
    views = []
    for view in x:
        parts = []
        for rows, gain, shift in zip(view, layer.gain, layer.shift, strict=True):
            inside = rows[:n_inside]
            mean, variance = inside.mean(0), inside.var(0, correction=0)
            parts.append((rows - mean) * (variance + 1e-5).rsqrt() * gain[0] + shift[0])
        views.append(torch.stack(parts))
    return torch.stack(views)


def check(found: torch.Tensor, expected: torch.Tensor, *of: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected)
    up = torch.rand(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    pairs = zip(torch.autograd.grad(found, of, up), torch.autograd.grad(expected, of, up), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_value_and_gradients_are_those_of_the_formula() -> None:
    layer = norm()
    x = (torch.rand(2, 2, 30, 6, dtype=torch.float64) * 3 + 5).requires_grad_()
    for n_inside in (30, 17):
        check(layer(x, n_inside, Reduce()), expected_of(x, layer, n_inside), x, layer.gain, layer.shift)
    single = layer(x, 30, Reduce())[0, 0]
    torch.testing.assert_close(
        single, batch_norm(x[0, 0], None, None, layer.gain[0, 0], layer.shift[0, 0], training=True)
    )


def test_folded_into_the_weights_it_is_the_same() -> None:
    """Mean and variance of a product follow from the moments of its narrow factor."""
    layer = norm()
    rows = (torch.rand(2, 1, 30, 4, dtype=torch.float64) + 2).requires_grad_()
    weight = torch.rand(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    for n_inside in (30, 17):
        scaled, shift = layer.folded(weight, rows, n_inside, Reduce())
        check(rows @ scaled + shift, expected_of(rows @ weight, layer, n_inside), rows, weight, layer.gain, layer.shift)


def test_evaluation_gives_the_bits_of_the_last_pass_in_training() -> None:
    layer = SpotNorm(2, 6)
    rows, weight = torch.rand(1, 1, 30, 4), torch.rand(1, 2, 4, 6)
    x = rows @ weight
    plain, (scaled, shift) = layer(x, 30, Reduce()), layer.folded(weight, rows, 30, Reduce())
    layer.eval()
    folded = layer.folded(weight, rows[:, :, :1], 1, Reduce())
    assert torch.equal(folded[0], scaled)
    assert torch.equal(folded[1], shift)
    layer.train()
    layer(x * 7, 30, Reduce())
    layer(x, 30, Reduce())
    layer.eval()
    layer(x * 7, 30, Reduce())
    assert torch.equal(layer(x, 30, Reduce()), plain)
