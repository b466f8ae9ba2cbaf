"""The closed form of the telescope loss against the N×N formula it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from spotscape.nn import TelescopeGrams, telescope_loss

if TYPE_CHECKING:
    from collections.abc import Callable


def dense_telescope(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The formula as printed: all pairs, all cosines."""
    a, b = normalize(first, dim=1), normalize(second, dim=1)
    return (a @ b.T - b @ a.T).square().sum() / len(a) ** 2


def views(n: int, d: int, *, distance: float, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64)
    second = first + distance * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return [view.to(dtype).requires_grad_() for view in (first, second)]


def value_and_gradients(
    loss: Callable[..., torch.Tensor], inputs: list[torch.Tensor]
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(value, inputs)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


def test_by_hand() -> None:
    """Two spots, one seen turned by 90 degrees: cosines 0 and 1 against 1 and 0 off the diagonal."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    # A Bᵀ = [[1, 0], [1, 0]]; its transpose differs by ±1 in two of four entries.
    assert telescope_loss(first, second).item() == pytest.approx(2 / 4)


# Views closer than this are no test: the dense formula itself is then wrong beyond the twelfth digit.
@pytest.mark.parametrize("distance", [1.0, 1e-1, 1e-2])
@pytest.mark.parametrize(("n", "d"), [(200, 16), (37, 64), (2, 1)])
def test_equals_dense_in_float64(n: int, d: int, distance: float) -> None:
    inputs = views(n, d, distance=distance)
    value, gradients = value_and_gradients(telescope_loss, inputs)
    expected, expected_gradients = value_and_gradients(dense_telescope, inputs)
    if d == 1:
        # In one dimension every cosine is ±1 and the loss is a count; gradients of a constant are zero.
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        return
    assert relative(value, expected) < 1e-12
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert relative(found, wanted) < 1e-12


@pytest.mark.parametrize("distance", [1.0, 0.1, 1e-2, 1e-3])
def test_float32_is_no_less_accurate_than_dense_float32(distance: float) -> None:
    """Averaged over seeds, because a single rounding error is a coin toss."""
    ours, dense = [], []
    for seed in range(10):
        inputs = views(400, 32, distance=distance, seed=seed, dtype=torch.float32)
        exact, exact_gradients = value_and_gradients(
            dense_telescope, [view.detach().double().requires_grad_() for view in inputs]
        )
        for errors, loss in ((ours, telescope_loss), (dense, dense_telescope)):
            value, gradients = value_and_gradients(loss, inputs)
            errors.append(
                [relative(value, exact), *(relative(g, e) for g, e in zip(gradients, exact_gradients, strict=True))]
            )
    np.testing.assert_array_less(np.mean(ours, axis=0), np.mean(dense, axis=0))


def test_gram_matrices_add_over_spots() -> None:
    first, second = views(300, 8, distance=0.3)
    whole = telescope_loss(first, second)
    parts = [TelescopeGrams.of_views(a, b) for a, b in zip(first.split(77), second.split(77), strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.n_spots == 300
    torch.testing.assert_close(total.loss(), whole, rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 12))
def test_invariances(seed: int, n: int, d: int) -> None:
    """Swapping views, permuting spots, rescaling rows and rotating the latent space change nothing."""
    first, second = (view.detach() for view in views(n, d, distance=0.5, seed=seed))
    loss = telescope_loss(first, second)
    generator = torch.Generator().manual_seed(seed + 1)
    order = torch.randperm(n, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    scale = 0.1 + torch.rand(n, 1, generator=generator, dtype=torch.float64)
    for other in (
        telescope_loss(second, first),
        telescope_loss(first[order], second[order]),
        telescope_loss(first * scale, second),
        telescope_loss(first @ rotation, second @ rotation),
    ):
        torch.testing.assert_close(other, loss, rtol=1e-9, atol=1e-14)
    assert loss >= -1e-14


def test_identical_views_have_no_loss() -> None:
    first, _ = views(50, 6, distance=1.0)
    assert telescope_loss(first, first).item() == 0


def test_unembedded_spots_do_not_break_it() -> None:
    """A spot whose embedding is all zero has no direction; it counts as dissimilar to all, without NaN."""
    first, second = (view.detach().clone() for view in views(20, 4, distance=0.5))
    first[3] = 0
    first.requires_grad_()
    loss = telescope_loss(first, second)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(first.grad).all()
