"""Cosine reconstruction against the formula, row by row, and what it does where the formula is infinite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape.nn import cosine_reconstruction_loss
from spotscape.nn.objectives._angles import EPS, directions, guarded_log


def printed_formula(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    terms = []
    for ours, theirs in zip(decoded, target, strict=True):
        cosine = (ours * theirs).sum() / (ours.square().sum().sqrt() * theirs.square().sum().sqrt())
        terms.append(-((((1 + cosine) / 2) ** 2).log()))
    return torch.stack(terms).mean()


def problem(n: int = 17, d: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    decoded, target = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    return decoded.requires_grad_(), target.requires_grad_()


def at_angle(theta: float, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """One decoded row at an angle to its target."""
    decoded = torch.tensor([[math.cos(theta), math.sin(theta)]], dtype=dtype, requires_grad=True)
    return decoded, torch.tensor([[1.0, 0.0]], dtype=dtype)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula(seed: int) -> None:
    rows = problem(seed=seed)
    found, expected = cosine_reconstruction_loss(*rows), printed_formula(*rows)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    for mine, theirs in zip(torch.autograd.grad(found, rows), torch.autograd.grad(expected, rows), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([4.0, 0.0], 0.0),
        ([0.0, 3.0], 2 * math.log(2)),
        ([1.0, math.sqrt(3)], -2 * math.log(0.75)),
        ([-1.0, math.sqrt(3)], 4 * math.log(2)),
    ],
)
def test_by_hand(decoded: list[float], expected: float) -> None:
    """Aligned, at right angles, at 60 and at 120 degrees."""
    found = cosine_reconstruction_loss(
        torch.tensor([decoded], dtype=torch.float64), torch.tensor([[2.0, 0.0]]).double()
    )
    assert found.item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), exponents=st.lists(st.integers(-12, 12), min_size=34, max_size=34))
def test_ignores_lengths_and_the_order_of_spots(seed: int, exponents: list[int]) -> None:
    decoded, target = problem(seed=seed)
    lengths = (10.0 ** torch.tensor(exponents)).double().view(2, 17, 1)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(seed))
    moved = cosine_reconstruction_loss((lengths[0] * decoded)[order], (lengths[1] * target)[order])
    torch.testing.assert_close(moved, cosine_reconstruction_loss(decoded, target), rtol=1e-9, atol=0)


class TestGuard:
    @pytest.mark.parametrize("delta", [0.0, 1e-12, 1e-6, 1e-3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_finite_and_large_near_opposite(self, delta: float, dtype: torch.dtype) -> None:
        decoded, target = at_angle(math.pi - delta, dtype)
        loss = cosine_reconstruction_loss(decoded, target)
        loss.backward()
        assert loss.item() >= -2 * math.log(EPS)
        assert math.isfinite(loss.item())
        assert torch.isfinite(decoded.grad).all()

    @pytest.mark.parametrize("theta", [0.0, 1.0, 2.0, 3.0, 3.13])
    def test_touches_nothing_else(self, theta: float) -> None:
        """Down to (1 + cos) / 2 of 3e-5, value and gradient are the formula's, not almost."""
        decoded, target = at_angle(theta)
        found, expected = cosine_reconstruction_loss(decoded, target), printed_formula(decoded, target)
        assert found.item() == pytest.approx(expected.item(), rel=1e-10, abs=1e-14)
        mine, theirs = (torch.autograd.grad(loss, decoded)[0] for loss in (found, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)

    def test_the_logarithm_goes_on_as_its_tangent(self) -> None:
        x = torch.tensor([-0.1, 0.0, 0.05, 0.1, 0.1000001, 2.0], dtype=torch.float64, requires_grad=True)
        value = guarded_log(x, 0.1)
        expected = [math.log(0.1) - 2, math.log(0.1) - 1, math.log(0.1) - 0.5, math.log(0.1)]
        torch.testing.assert_close(value[:4], torch.tensor(expected, dtype=torch.float64))
        assert torch.equal(value[4:], x[4:].log())
        slope = torch.autograd.grad(value.sum(), x)[0]
        torch.testing.assert_close(
            slope, torch.tensor([10.0, 10.0, 10.0, 10.0, 1 / 0.1000001, 0.5], dtype=torch.float64)
        )

    def test_the_worst_spot_is_still_moved(self) -> None:
        """At a closeness below eps the slope is that at eps, where a clamp would have none."""
        decoded, target = at_angle(math.pi - 1e-4)
        cosine_reconstruction_loss(decoded, target).backward()
        expected = math.sin(1e-4) / EPS  # |d loss / d theta|
        assert decoded.grad.norm().item() == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_zero_rows(self, dtype: torch.dtype) -> None:
        """At right angles to everything; a moderate push towards the target on one side, none on the other."""
        decoded = torch.zeros(1, 2, dtype=dtype, requires_grad=True)
        target = torch.tensor([[3.0, 0.0]], dtype=dtype)
        loss = cosine_reconstruction_loss(decoded, target)
        assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-6)
        (gradient,) = torch.autograd.grad(loss, decoded)
        assert torch.equal(gradient[0, 1:], torch.zeros(1, dtype=dtype))
        assert -10 < gradient[0, 0] < 0
        both = cosine_reconstruction_loss(decoded, torch.zeros_like(target))
        assert torch.equal(torch.autograd.grad(both, decoded)[0], torch.zeros_like(decoded))

    def test_a_zero_row_leaves_the_others_alone(self) -> None:
        decoded, target = problem()
        with torch.no_grad():
            decoded[3], target[5] = 0, 0
        rest = [row for row in range(17) if row not in {3, 5}]
        loss = cosine_reconstruction_loss(decoded, target)
        expected = (15 * printed_formula(decoded[rest], target[rest]) + 2 * 2 * math.log(2)) / 17
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        mine, theirs = (torch.autograd.grad(value, decoded)[0][rest] for value in (loss, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-18, 1e-12, 1e12, 1e30])
def test_directions_of_very_short_and_very_long_rows_in_float32(scale: float) -> None:
    """Their squares leave the range of float32; the direction does not."""
    rows = (scale * torch.tensor([[3.0, 4.0], [0.0, -2.0]])).requires_grad_()
    found = directions(rows)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    (gradient,) = torch.autograd.grad(found[0, 0], rows)
    torch.testing.assert_close(gradient[0] * scale, torch.tensor([0.128, -0.096]))


def test_half_precision_is_computed_in_single() -> None:
    decoded, target = (tensor.detach().bfloat16() for tensor in problem())
    found = cosine_reconstruction_loss(decoded, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cosine_reconstruction_loss(decoded.float(), target.float()), rtol=0, atol=0)


def test_other_shapes_are_refused() -> None:
    decoded, target = problem()
    with pytest.raises(ValueError, match=r"decoded has shape \(17, 6\) and target \(1, 6\); they hold the same spots"):
        cosine_reconstruction_loss(decoded, target[:1])
