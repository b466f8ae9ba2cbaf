"""Other spots at random: distinct, not the spot itself, and every choice equally likely."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from spotscape.nn import draw_others


@settings(max_examples=60)
@given(n=st.integers(2, 12), data=st.data())
def test_distinct_and_never_the_spot_itself(n: int, data: st.DataObject) -> None:
    n_others = data.draw(st.integers(1, n - 1))
    others = draw_others(n, n_others, torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    assert others.shape == (n, n_others)
    assert others.dtype == torch.int64
    for spot, row in enumerate(others.tolist()):
        assert len({spot, *row}) == n_others + 1
        assert set(row) <= set(range(n))


@pytest.mark.parametrize(("n", "n_others"), [(3, 1), (4, 2), (5, 2), (4, 3)])
def test_every_ordered_choice_is_equally_likely(n: int, n_others: int) -> None:
    """All arrangements of each spot's others, counted over 4,000 draws."""
    generator = torch.Generator().manual_seed(0)
    draws = np.stack([draw_others(n, n_others, generator).numpy() for _ in range(4_000)])
    for spot in range(n):
        counts = Counter(map(tuple, draws[:, spot].tolist()))
        possible = list(permutations(sorted({*range(n)} - {spot}), n_others))
        assert counts.keys() <= set(possible)
        assert chisquare([counts[choice] for choice in possible]).pvalue > 1e-4


def test_spots_are_drawn_independently() -> None:
    """A shuffle would tie one spot's choice to another's; of three spots each has two others, so eight outcomes."""
    generator = torch.Generator().manual_seed(0)
    outcomes = Counter(tuple(draw_others(3, 1, generator)[:, 0].tolist()) for _ in range(4_000))
    assert len(outcomes) == 8
    assert chisquare(list(outcomes.values())).pvalue > 1e-4


def test_for_some_spots_only() -> None:
    rows = torch.tensor([4, 0, 4])
    others = draw_others(5, 4, torch.Generator().manual_seed(0), rows=rows)
    assert others.sort().values.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3]]
    assert draw_others(5, 2, torch.Generator(), rows=rows[:0]).shape == (0, 2)


def test_repeatable_and_on_the_device_asked_for(device: torch.device) -> None:
    first, second = (draw_others(50, 2, torch.Generator().manual_seed(3), device=device) for _ in range(2))
    assert first.device.type == device.type
    assert torch.equal(first, second)
    assert torch.equal(first.cpu(), draw_others(50, 2, torch.Generator().manual_seed(3)))
    assert not torch.equal(first.cpu(), draw_others(50, 2, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize(("n", "n_others"), [(3, 3), (2, 2), (1, 1), (0, 1)])
def test_more_than_there_are(n: int, n_others: int) -> None:
    with pytest.raises(ValueError, match=f"n_others={n_others} distinct other spots cannot be drawn from {n} spots"):
        draw_others(n, n_others, torch.Generator())


def test_none_at_all() -> None:
    with pytest.raises(ValueError, match="n_others=0 must be at least 1"):
        draw_others(5, 0, torch.Generator())
