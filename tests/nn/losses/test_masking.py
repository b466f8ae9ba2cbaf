"""What is masked, and by what it is replaced."""

from __future__ import annotations

import pytest
import torch

from spotscape.nn import draw_masked, draw_masking, sample_negatives


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n_spots", "rate", "expected"), [(10, 0.3, 3), (10, 0.01, 1), (10, 0.99, 9), (2, 0.5, 1)])
def test_so_many_spots_are_masked(n_spots: int, rate: float, expected: int) -> None:
    masked, n_masked = draw_masked(n_spots, rate, generator())
    assert int(masked.sum()) == n_masked == expected


def test_every_spot_is_masked_as_often(device: torch.device) -> None:
    own = torch.Generator(device).manual_seed(0)
    shares = torch.stack([draw_masked(20, 0.4, own)[0] for _ in range(2000)]).float().mean(0)
    assert (shares - 0.4).abs().max() < 5 * (0.24 / 2000) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "message"), [((1, 0.5), "at least 2 spots"), ((5, 0.0), "rate"), ((5, 1.0), "rate")]
)
def test_one_is_hidden_and_one_seen(arguments: tuple[int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_masked(*arguments, generator())


def test_masked_spots_take_the_token_or_another_spot() -> None:
    features, token = torch.rand(40, 5), torch.rand(2, 1, 5, requires_grad=True)
    masked, n_masked = draw_masked(40, 0.5, generator())
    masking = draw_masking(masked, n_masked, 0.2, generator(1))
    assert torch.equal(masking.rows, masked.nonzero()[:, 0])
    assert len(masking.replaced) == 4
    assert masked[masking.replaced].all()
    assert (masking.donors != masking.replaced).all()
    # The rows that a layer of unit weights sees.
    weight = torch.cat([torch.eye(5).expand(2, 5, 5), token], dim=1)
    shown = masking.apply(features) @ weight
    kept = set(masking.rows.tolist()) - set(masking.replaced.tolist())
    for number in range(40):
        expected = token[:, 0] if number in kept else features[number].expand(2, 5)
        if number in masking.replaced.tolist():
            expected = features[masking.donors[masking.replaced.tolist().index(number)]].expand(2, 5)
        assert torch.equal(shown[:, number], expected)
    shown.sum().backward()
    assert token.grad is not None
    assert token.grad.unique().item() == n_masked - 4


def test_others_are_distinct_and_equally_likely() -> None:
    drawn = torch.stack([sample_negatives(5, 2, generator(seed)) for seed in range(3000)])
    assert (drawn != torch.arange(5)[None, :, None]).all()
    assert (drawn[..., 0] != drawn[..., 1]).all()
    counts = torch.stack([(drawn == other).float().mean(0) for other in range(5)])
    for spot in range(5):
        others = [other for other in range(5) if other != spot]
        assert (counts[others, spot] - 0.25).abs().max() < 5 * (0.1875 / 3000) ** 0.5


def test_where_there_are_too_few_others_all_have_fewer() -> None:
    assert sample_negatives(3, 5, generator()).sort().values.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert sample_negatives(1, 2, generator()).shape == (1, 0)
    assert sample_negatives(0, 2, generator()).shape == (0, 0)
