"""Masked spots against a masked copy of the matrix that is really made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chisquare

from spotscape.nn import FeatureMatrix, LowRankFeatures, MaskedSpots, MaskToken, as_features, draw_masked

N, GENES = 40, 12
RNG = np.random.default_rng(0)
VALUES = np.where(RNG.random((N, GENES)) < 0.5, RNG.gamma(2.0, size=(N, GENES)), 0.0)


def storages() -> dict[str, tuple[FeatureMatrix, torch.Tensor]]:
    left, singular, right = np.linalg.svd(VALUES, full_matrices=False)
    scores, loadings = left[:, :5] * singular[:5], right[:5].T
    low_rank = LowRankFeatures(torch.from_numpy(scores), torch.from_numpy(loadings.copy()))
    dense = torch.from_numpy(VALUES)
    return {
        "dense": (as_features(VALUES, dtype=torch.float64), dense),
        "sparse": (as_features(sparse.csr_array(VALUES), dtype=torch.float64), dense),
        "low rank": (low_rank, torch.from_numpy(scores @ loadings.T)),
    }


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask_token(replace_rate: float = 0.05) -> MaskToken:
    module = MaskToken(GENES, replace_rate=replace_rate).double()
    torch.nn.init.normal_(module.token, generator=seeded(9))
    return module


def masked_copy(matrix: torch.Tensor, view: MaskedSpots) -> torch.Tensor:
    """The masked matrix, row by row."""
    donor_of = dict(zip(view.replaced.tolist(), view.donors.tolist(), strict=True))
    rows = []
    for spot in range(len(matrix)):
        if spot in donor_of:
            rows.append(matrix[donor_of[spot]])
        elif view.masked[spot]:
            rows.append(view.token)
        else:
            rows.append(matrix[spot])
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["dense", "sparse", "low rank"])
@pytest.mark.parametrize("replace_rate", [0.0, 0.05, 0.5, 1.0])
def test_equals_a_masked_copy(name: str, replace_rate: float) -> None:
    features, matrix = storages()[name]
    module = mask_token(replace_rate)
    view = module(features, draw_masked(N, 0.5, seeded()), seeded(1))
    assert len(view.replaced) == round(replace_rate * 20)
    weight = torch.randn(GENES, 4, dtype=torch.float64, generator=seeded(2)).requires_grad_()
    found, expected = view.matmul(weight), masked_copy(matrix, view) @ weight
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    leaves = [weight, module.token]
    mine, theirs = (
        torch.autograd.grad(product.sin().sum(), leaves, allow_unused=True, materialize_grads=True)
        for product in (found, expected)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert bool(mine[1].abs().sum() > 0) == (replace_rate < 1), "the token learns wherever it stands"


@pytest.mark.parametrize("name", ["dense", "sparse", "low rank"])
@pytest.mark.parametrize("replace_rate", [0.0, 0.5, 1.0])
def test_a_part_is_that_of_the_whole(name: str, replace_rate: float) -> None:
    """Also where a spot takes the features of one that is not in the part."""
    features, _ = storages()[name]
    view = mask_token(replace_rate)(features, draw_masked(N, 0.5, seeded()), seeded(1))
    weight = torch.randn(GENES, 4, dtype=torch.float64, generator=seeded(2))
    whole, found = view.matmul(weight), []
    for rows in (torch.arange(N).flip(0)[::3], torch.arange(5), torch.arange(5, N)):
        part = view.within(rows, features.take(rows))
        torch.testing.assert_close(part.matmul(weight), whole[rows], rtol=1e-12, atol=1e-12)
        found += part.donors.tolist()
    assert bool(set(found)) == (replace_rate > 0)


def test_by_hand() -> None:
    """Three spots of one gene, 2, 3, 5; the second takes the token 7, the third the first spot's value; weight 10."""
    features = as_features(np.array([[2.0], [3.0], [5.0]]))
    masked = torch.tensor([False, True, True])
    view = MaskedSpots(features, masked, torch.tensor([7.0]), torch.tensor([2]), torch.tensor([0]))
    assert view.matmul(torch.tensor([[10.0]])).flatten().tolist() == [20.0, 70.0, 20.0]


@settings(max_examples=100)
@given(n=st.integers(2, 200), rate=st.floats(0, 1, exclude_min=True, exclude_max=True), seed=st.integers(0, 99))
def test_a_view_and_its_complement_hide_every_spot_once(n: int, rate: float, seed: int) -> None:
    masked = draw_masked(n, rate, seeded(seed))
    assert masked.dtype == torch.bool
    assert masked.shape == (n,)
    assert int(masked.sum()) == min(max(round(rate * n), 1), n - 1)
    assert torch.equal(masked.int() + (~masked).int(), torch.ones(n, dtype=torch.int32))


def test_hidden_spots_do_not_show_in_their_own_row() -> None:
    """What a masked spot had can change at will, as long as nobody was given it."""
    module = mask_token()
    masked = draw_masked(N, 0.5, seeded())
    for hidden in (masked, ~masked):
        view = module(as_features(VALUES, dtype=torch.float64), hidden, seeded(1))
        given_away = torch.zeros(N, dtype=torch.bool).index_fill(0, view.donors, value=True)
        other = torch.where((hidden & ~given_away)[:, None], 100.0, torch.from_numpy(VALUES)).numpy()
        again = module(as_features(other, dtype=torch.float64), hidden, seeded(1))
        weight = torch.eye(GENES, dtype=torch.float64)
        torch.testing.assert_close(view.matmul(weight), again.matmul(weight), rtol=0, atol=0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), rate=st.floats(0.05, 0.95), replace_rate=st.floats(0, 1))
def test_replaced_spots_are_masked_and_take_from_another(seed: int, rate: float, replace_rate: float) -> None:
    masked = draw_masked(N, rate, seeded(seed))
    view = mask_token(replace_rate)(as_features(VALUES), masked, seeded(seed))
    assert len(view.replaced) == len(view.donors) == round(replace_rate * int(masked.sum()))
    assert masked[view.replaced].all()
    assert len(view.replaced.unique()) == len(view.replaced)
    assert (view.replaced != view.donors).all()


def test_every_spot_is_masked_and_gives_equally_often() -> None:
    """Counted over 2,000 draws; masking without replacement varies less than the test assumes, never more."""
    generator, features, module = seeded(), as_features(VALUES), mask_token(0.5)
    hidden, given_away = torch.zeros(N), torch.zeros(N)
    for _ in range(2_000):
        masked = draw_masked(N, 0.3, generator)
        hidden += masked
        given_away += torch.bincount(module(features, masked, generator).donors, minlength=N)
    assert chisquare(hidden.double()).pvalue > 1e-4
    assert chisquare(given_away.double()).pvalue > 1e-4


def test_the_token_starts_as_the_average_of_centred_features_and_is_part_of_a_checkpoint() -> None:
    module = MaskToken(GENES)
    assert torch.equal(module.token, torch.zeros(GENES))
    assert module.replace_rate == 0.05
    other = MaskToken(GENES)
    other.load_state_dict(mask_token().float().state_dict())
    assert torch.equal(other.token, mask_token().float().token)


def test_a_token_at_zero_gets_a_gradient() -> None:
    module = MaskToken(GENES)
    view = module(as_features(VALUES), draw_masked(N, 0.5, seeded()), seeded())
    view.matmul(torch.ones(GENES, 2)).sum().backward()
    torch.testing.assert_close(module.token.grad, torch.full((GENES,), 19 * 2.0))


def test_repeatable_and_on_the_device_asked_for(device: torch.device) -> None:
    masked = draw_masked(N, 0.4, seeded(), device=device)
    assert masked.device.type == device.type
    assert torch.equal(masked.cpu(), draw_masked(N, 0.4, seeded()))
    features = as_features(VALUES, device=device)
    views = [mask_token(0.5).float().to(device)(features, masked, seeded(1)) for _ in range(2)]
    weight = torch.ones(GENES, 2, device=device)
    assert torch.equal(views[0].replaced, views[1].replaced)
    assert torch.equal(views[0].matmul(weight), views[1].matmul(weight))
    assert views[0].matmul(weight).device.type == device.type


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, float("nan")])
def test_a_rate_outside_its_range(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate=.* lies outside \(0, 1\)"):
        draw_masked(10, rate, seeded())


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_spots(n: int) -> None:
    with pytest.raises(ValueError, match=f"n_spots={n}; masking needs at least 2 spots"):
        draw_masked(n, 0.5, seeded())


@pytest.mark.parametrize("replace_rate", [-0.1, 1.1])
def test_a_replace_rate_outside_its_range(replace_rate: float) -> None:
    with pytest.raises(ValueError, match=r"replace_rate=.* lies outside \[0, 1\]"):
        MaskToken(GENES, replace_rate=replace_rate)
