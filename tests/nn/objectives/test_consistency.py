"""Cross-masked latent consistency against the formula, spot by spot."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape.nn import consistency_loss, draw_others


def printed_formula(online: torch.Tensor, target: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())

    positives, others = [], []
    for spot in range(len(online)):
        same = cosine(online[spot], target[spot])
        positives.append(-(((1 + same) / 2) ** 2).log())
        for row in negatives[spot].tolist():
            other = cosine(online[spot], target[row])
            others.append(-(1 - ((1 + other) / 2) ** 2).log())
    return 0.5 * torch.stack(positives).mean() + 0.5 * torch.stack(others).mean()


def problem(n: int = 15, d: int = 5, n_others: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    online, target = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    return online.requires_grad_(), target, draw_others(n, n_others, generator)


@pytest.mark.parametrize("n_others", [1, 2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_formula(n_others: int, seed: int) -> None:
    online, target, negatives = problem(n_others=n_others, seed=seed)
    found, expected = consistency_loss(online, target, negatives), printed_formula(online, target, negatives)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    mine, theirs = (torch.autograd.grad(loss, online)[0] for loss in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


def test_by_hand() -> None:
    """Three spots at 0, 90 and 180 degrees, each with the two others; the online view turned by 60 degrees.

    Own target: cos 60° = 1/2, so each -log (3/4)². The others lie at 30, 120; 150, 30; 240 (= 120), 150 degrees.
    """
    angles = torch.tensor([0.0, math.pi / 2, math.pi], dtype=torch.float64)
    target = torch.stack([angles.cos(), angles.sin()], dim=1)
    turned = angles + math.pi / 3
    online = 7 * torch.stack([turned.cos(), turned.sin()], dim=1)
    between = [30, 120, 150, 30, 240, 150]
    repulsion = [-math.log(1 - ((1 + math.cos(math.radians(degrees))) / 2) ** 2) for degrees in between]
    expected = 0.5 * -2 * math.log(0.75) + 0.5 * sum(repulsion) / 6
    negatives = torch.tensor([[1, 2], [0, 2], [0, 1]])
    assert consistency_loss(online, target, negatives).item() == pytest.approx(expected, rel=1e-12)


def test_no_gradient_reaches_the_target() -> None:
    online, target, negatives = problem()
    target.requires_grad_()
    consistency_loss(online, target, negatives).backward()
    assert target.grad is None
    assert online.grad.abs().sum() > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), exponents=st.lists(st.integers(-9, 9), min_size=30, max_size=30))
def test_ignores_lengths_and_rotations(seed: int, exponents: list[int]) -> None:
    online, target, negatives = problem(seed=seed)
    lengths = (10.0 ** torch.tensor(exponents)).double().view(2, 15, 1)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed)).double()).Q
    moved = consistency_loss(lengths[0] * online @ rotation, lengths[1] * target @ rotation, negatives)
    torch.testing.assert_close(moved, consistency_loss(online, target, negatives), rtol=1e-9, atol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_ignores_the_order_of_spots(seed: int) -> None:
    online, target, negatives = problem(seed=seed)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
    new_row = torch.empty_like(order)
    new_row[order] = torch.arange(15)
    moved = consistency_loss(online[order], target[order], new_row[negatives[order]])
    torch.testing.assert_close(moved, consistency_loss(online, target, negatives), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestGuard:
    def test_opposite_to_its_own_target(self, dtype: torch.dtype) -> None:
        target = torch.tensor([[1.0, 2.0], [2.0, -1.0]], dtype=dtype)
        online = (-target).requires_grad_()
        loss = consistency_loss(online, target, torch.tensor([[1], [0]]))
        loss.backward()
        assert 10 < loss.item() < 20
        assert torch.isfinite(online.grad).all()

    def test_aligned_with_another(self, dtype: torch.dtype) -> None:
        """A collapsed embedding: all spots alike. Rounding carries some cosines above 1."""
        online = torch.full((50, 7), 0.3, dtype=dtype).requires_grad_()
        loss = consistency_loss(online, online, draw_others(50, 2, torch.Generator().manual_seed(0)))
        loss.backward()
        assert 5 < loss.item() < 10
        assert torch.isfinite(online.grad).all()

    def test_zero_rows(self, dtype: torch.dtype) -> None:
        online, target, negatives = problem()
        online, target = online.detach().to(dtype), target.to(dtype)
        online[0], target[1] = 0, 0
        online.requires_grad_()
        loss = consistency_loss(online, target, negatives)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(online.grad).all()
        assert online.grad.abs().max() < 10


def test_the_guard_touches_nothing_else() -> None:
    """A spot 0.01 from another's target: 1 - s² is 5e-5, above the guard."""
    target = torch.eye(2, dtype=torch.float64)
    angles = torch.tensor([0.3, 0.01], dtype=torch.float64)
    online = torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()
    negatives = torch.tensor([[1], [0]])
    found, expected = consistency_loss(online, target, negatives), printed_formula(online, target, negatives)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    mine, theirs = (torch.autograd.grad(loss, online)[0] for loss in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_descent_finds_the_target() -> None:
    """Forty spots in ten dimensions: the loss alone brings each to its own target."""
    _, target, _ = problem(n=40, d=10, seed=1)
    generator = torch.Generator().manual_seed(2)
    online = torch.randn(40, 10, generator=generator, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([online], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        consistency_loss(online, target, draw_others(40, 2, generator)).backward()
        optimiser.step()
    nearest = torch.nn.functional.normalize(online, dim=1) @ torch.nn.functional.normalize(target, dim=1).T
    assert torch.equal(nearest.argmax(1), torch.arange(40))


def test_other_shapes_are_refused() -> None:
    online, target, negatives = problem()
    with pytest.raises(ValueError, match=r"online has shape \(15, 5\) and target \(14, 5\)"):
        consistency_loss(online, target[:14], negatives)
    for wrong in (negatives[:1], negatives[:, 0]):
        with pytest.raises(ValueError, match=r"negatives has shape \(.*\); expected \(15, K\)"):
            consistency_loss(online, target, wrong)
