"""Similarity scaling against the formula with all N×N similarities and masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from spotscape.nn import scaling_loss

SIZES = [(20, 20), (3, 40), (30, 6, 17), (9, 25, 4, 31, 12)]


def dense_scaling(first: torch.Tensor, second: torch.Tensor, code: torch.Tensor, k: int) -> torch.Tensor:
    """The formula as printed: every similarity, masked by slice, sorted; pairs of slices averaged."""
    similarities = normalize(first, dim=1) @ normalize(second, dim=1).T
    same = torch.eye(len(code), dtype=torch.bool)
    terms = []
    for i in range(int(code.max()) + 1):
        for j in range(int(code.max()) + 1):
            if i == j:
                continue
            errors = []
            for u in torch.nonzero(code == i)[:, 0]:
                own = similarities[u][(code == i) & ~same[u]].sort(descending=True).values[:k].mean()
                other = similarities[u][code == j].sort(descending=True).values[:k].mean()
                errors.append((own - other) ** 2)
            terms.append(torch.stack(errors).mean())
    return torch.stack(terms).mean()


def problem(sizes: tuple[int, ...], seed: int = 0, d: int = 6) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Two related views, spots of all slices shuffled among each other."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    code = code[torch.randperm(len(code), generator=generator)]
    first = torch.randn(len(code), d, generator=generator, dtype=torch.float64) + code[:, None]
    second = first + 0.3 * torch.randn(len(code), d, generator=generator, dtype=torch.float64)
    return [first.requires_grad_(), second.requires_grad_()], code


def rows_of(code: torch.Tensor) -> list[torch.Tensor]:
    return [torch.nonzero(code == i)[:, 0] for i in range(int(code.max()) + 1)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("k", [1, 5])
def test_equals_the_dense_formula(sizes: tuple[int, ...], k: int) -> None:
    views, code = problem(sizes)
    found = scaling_loss(*views, rows_of(code), n_neighbors=k)
    expected = dense_scaling(*views, code, k)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    for mine, theirs in zip(torch.autograd.grad(found, views), torch.autograd.grad(expected, views), strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-10


def test_by_hand() -> None:
    """Slice one: two spots 60 degrees apart; slice two: twins along the first spot."""
    half = torch.tensor(0.75).sqrt()
    z = torch.tensor([[1.0, 0.0], [0.5, half], [3.0, 0.0], [1.0, 0.0]])
    # Slice one: inside .5 for both; outside 1 and .5. Slice two: inside 1; outside 1.
    expected = ((0.5**2 + 0.0) / 2 + 0.0) / 2
    found = scaling_loss(z, z, [torch.tensor([0, 1]), torch.tensor([2, 3])], n_neighbors=1)
    assert found.item() == pytest.approx(expected, abs=1e-7)


def test_some_spots_are_the_mean_over_those_and_all_of_them_the_whole() -> None:
    views, code = problem((12, 7, 9))
    rows = rows_of(code)
    whole = scaling_loss(*views, rows)
    every = [torch.arange(len(own)) for own in rows]
    torch.testing.assert_close(scaling_loss(*views, rows, queries=every), whole, rtol=1e-12, atol=0)
    # Each slice weighs the same: the mean over draws from all slices in step is the whole if sizes agree.
    equal, code = problem((8, 8))
    rows = rows_of(code)
    single = [
        scaling_loss(*equal, rows, queries=[torch.tensor([number]), torch.tensor([number])]) for number in range(8)
    ]
    torch.testing.assert_close(torch.stack(single).mean(), scaling_loss(*equal, rows), rtol=1e-12, atol=0)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 50.0))
def test_ignores_lengths_rotations_and_the_order_of_spots(seed: int, scale: float) -> None:
    views, code = problem((7, 11, 5), seed=seed)
    expected = scaling_loss(*views, rows_of(code))
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(len(code), generator=generator)
    moved = [scale * (view @ rotation)[order] for view in views]
    torch.testing.assert_close(scaling_loss(*moved, rows_of(code[order])), expected, rtol=1e-9, atol=1e-12)


def test_slices_that_coincide_have_no_loss_but_for_the_spot_itself() -> None:
    """Twins of every spot in each slice: the nearest outside is the twin, the nearest inside its own twin."""
    points, _ = problem((10,))
    twice = torch.cat([points[0], points[0]]).detach()
    both = torch.cat([twice, twice])
    loss = scaling_loss(both, both, [torch.arange(20), torch.arange(20, 40)], n_neighbors=1)
    assert loss.item() == pytest.approx(0, abs=1e-20)
