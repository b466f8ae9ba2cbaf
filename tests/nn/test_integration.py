"""Integration of slices: batch effects go, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from spotscape.nn import integrate, nearest, place, vote
from spotscape.nn.integration import _fit, _plausibility, _regrouped, _settle
from spotscape.nn.prototypes import Mixture, SpotBlocks, _shifts, merge, single, split, step

pytestmark = pytest.mark.all_starts

# Kinds of spots in two slices and their proportions: alike, unlike, one lacking, and one private to each.
COMPOSITIONS = {
    "alike": ([1, 1, 1, 0], [1, 1, 1, 0]),
    "unlike": ([6, 3, 1, 0], [1, 3, 6, 0]),
    "lacking": ([1, 1, 1, 1], [1, 1, 1, 0]),
    "private": ([1, 1, 1, 0], [0, 1, 1, 1]),
}
# The others run at night.
ONE_NOW = [pytest.param(name, marks=[] if name == "unlike" else pytest.mark.slow) for name in COMPOSITIONS]
SD = 0.5


def tissue(n: int, composition: Any = "alike", seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two slices of ``n`` spots in six dimensions: domains at the corners of a simplex, 8 of their SD to a side."""
    rng = np.random.default_rng(seed)
    proportions = COMPOSITIONS[composition] if isinstance(composition, str) else composition
    kinds = np.concatenate([rng.choice(4, n, p=np.divide(p, np.sum(p))) for p in proportions])
    spots = 4 / np.sqrt(2) * np.eye(6)[kinds] + SD * rng.standard_normal((2 * n, 6))
    return spots, np.repeat([0, 1], n), kinds


def shift(seed: int, size: float = 2.0) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(6)
    return size * SD * vector / np.linalg.norm(vector)


def spread(spots: np.ndarray, kinds: np.ndarray) -> float:
    """Standard deviation within domains, slices together."""
    return float(np.sqrt(np.mean([spots[kinds == kind].var(axis=0).mean() for kind in np.unique(kinds)])))


def moved_apart(before: np.ndarray, after: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """By how much the second slice was moved relative to the first."""
    return (before - after)[slices == 1].mean(axis=0) - (before - after)[slices == 0].mean(axis=0)


@pytest.mark.parametrize(("n", "copies"), [(40, 2), (40, 3), (500, 3)])
def test_identical_copies_stay(n: int, copies: int) -> None:
    once = tissue(n)[0]
    spots = np.concatenate([once] * copies)
    found = integrate(spots, np.repeat(np.arange(copies), len(once)))
    assert np.abs(found - spots).max() <= 1e-6 * SD


@pytest.mark.parametrize("n", [1_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (10_000, 100_000))])
def test_slices_alike_keep_their_spread(n: int) -> None:
    spots, slices, kinds = tissue(n)
    found = integrate(spots, slices)
    assert 0.97 <= spread(found, kinds) / spread(spots, kinds) <= 1.0
    # What is taken off is what means of so many spots differ by, by chance.
    assert np.abs(found - spots).mean() < 3 * SD / np.sqrt(n / 8)


@pytest.mark.parametrize("composition", ONE_NOW)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_shift_is_taken_off(composition: str, seed: int) -> None:
    spots, slices, kinds = tissue(2_000, composition, seed)
    shifted = spots + slices[:, None] * shift(seed)
    found = integrate(shifted, slices)
    assert np.linalg.norm(moved_apart(shifted, found, slices) - shift(seed)) <= 0.2 * SD
    assert spread(found, kinds) / spread(spots, kinds) == pytest.approx(1, abs=0.01)


def shift_from_kinds(spots: np.ndarray, slices: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Least squares for someone who knows the kinds: differences of their means, weighted by their exactness."""
    parts = [[spots[(slices == name) & (kinds == kind)] for name in (0, 1)] for kind in range(4)]
    parts = [(one, two) for one, two in parts if len(one) and len(two)]
    weights = [1 / (1 / len(one) + 1 / len(two)) for one, two in parts]
    return np.average([two.mean(axis=0) - one.mean(axis=0) for one, two in parts], axis=0, weights=weights)


@pytest.mark.parametrize(
    "proportions",
    [([6, 3, 1, 0], [1, 3, 6, 0]), pytest.param(([20, 4, 1, 1], [1, 1, 4, 20]), marks=pytest.mark.slow)],
)
def test_a_shift_is_found_as_exactly_as_with_known_domains(proportions: Any) -> None:
    """Of 1,000 spots a slice in six dimensions, nobody finds it to much less than 0.2 SD: means of domains vary."""
    ours, best = [], []
    for seed in range(2):
        spots, slices, kinds = tissue(1_000, proportions, seed)
        shifted = spots + slices[:, None] * shift(seed)
        found = moved_apart(shifted, integrate(shifted, slices), slices)
        ours.append(np.square(found - shift(seed)).sum())
        best.append(np.square(shift_from_kinds(shifted, slices, kinds) - shift(seed)).sum())
    assert np.sqrt(np.mean(best)) > 0.1 * SD
    assert np.sqrt(np.mean(ours)) <= 1.2 * np.sqrt(np.mean(best))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize(
    "proportions", [pytest.param(([3, 3, 1, 0], [0, 1, 1, 3]), marks=pytest.mark.slow), ([4, 4, 1, 0], [0, 1, 1, 4])]
)
def test_slices_of_little_in_common_are_not_laid_on_each_other(proportions: Any, seed: int) -> None:
    """Three spots in ten are of kinds that both have. More would overlap under a wrong shift, which is 8 SD away."""
    spots, slices, _ = tissue(1_000, proportions, seed)
    shifted = spots + slices[:, None] * shift(seed)
    found = moved_apart(shifted, integrate(shifted, slices), slices)
    assert np.linalg.norm(found - shift(seed)) < 0.5 * SD


@pytest.mark.parametrize(("share", "seed"), [(0.5, 3), pytest.param(0.3, 0, marks=pytest.mark.slow), (0.15, 2)])
def test_as_many_regions_as_there_are_prototypes(share: float, seed: int) -> None:
    """Two kinds of spots are common, a share of all, and each slice has two of its own.

    Two kinds that had to share a prototype were laid on two others, 5 SD away.
    """
    own, common = (1 - share) / 2, share / 2
    proportions = [[own, own, common, common, 0, 0], [0, 0, common, common, own, own]]
    rng = np.random.default_rng(seed)
    kinds = np.concatenate([rng.choice(6, 1_000, p=each) for each in proportions])
    spots = 4 / np.sqrt(2) * np.eye(6)[kinds] + SD * rng.standard_normal((2_000, 6))
    slices = np.repeat([0, 1], 1_000)
    direction = rng.standard_normal(6)
    offset = 2 * SD * direction / np.linalg.norm(direction)
    shifted = spots + slices[:, None] * offset
    found = moved_apart(shifted, integrate(shifted, slices), slices)
    assert np.linalg.norm(found - offset) < 0.3 * SD


@pytest.mark.slow
def test_a_shift_far_beyond_the_tissue() -> None:
    spots, slices, _ = tissue(2_000, "lacking")
    far = shift(1, size=40)
    found = integrate(spots + slices[:, None] * far, slices)
    residual = moved_apart(spots + slices[:, None] * far, found, slices) - far
    assert np.linalg.norm(residual) <= 0.2 * SD


@pytest.mark.slow
def test_regions_may_have_offsets_of_their_own() -> None:
    spots, slices, kinds = tissue(4_000)
    offsets = np.stack([shift(seed, size=1.0) for seed in range(4)])
    moved = spots + slices[:, None] * offsets[kinds]
    gaps = [
        np.mean([
            np.linalg.norm(found[(kinds == k) & (slices == 0)].mean(0) - found[(kinds == k) & (slices == 1)].mean(0))
            for k in range(3)
        ])
        for found in (moved, integrate(moved, slices), integrate(moved, slices, ridge=1e9))
    ]  # fmt: skip
    assert gaps[0] > 0.9 * SD
    assert gaps[1] < gaps[0] / 3 < gaps[2]


@pytest.mark.slow
def test_a_gradient_is_no_batch_effect() -> None:
    """Position along a curve, of which the second slice lacks a quarter."""
    rng = np.random.default_rng(0)
    along = np.concatenate([rng.uniform(0, 6, 2_000), rng.uniform(1.5, 6, 2_000)])
    spots = np.stack([along, np.sin(along), np.cos(along)], axis=1) + 0.3 * rng.standard_normal((4_000, 3))
    slices = np.repeat([0, 1], 2_000)
    for offset in (np.zeros(3), np.array([1.0, -1.0, 0.5])):
        found = integrate(spots + slices[:, None] * offset, slices)
        slope = np.polyfit(along, found[:, 0], 1)[0]
        assert slope == pytest.approx(np.polyfit(along, spots[:, 0], 1)[0], abs=0.02)
        residual = moved_apart(spots + slices[:, None] * offset, found, slices) - offset
        assert np.linalg.norm(residual) < 0.2 * 0.3


@pytest.mark.slow
def test_neither_order_nor_names_matter() -> None:
    spots, slices, _ = tissue(700, "private")
    expected = integrate(spots, slices)
    order = np.random.default_rng(1).permutation(len(spots))
    np.testing.assert_allclose(integrate(spots[order], slices[order]), expected[order], atol=1e-9)
    np.testing.assert_allclose(integrate(spots, np.array(["z", "a"])[slices]), expected, atol=1e-9)


@pytest.mark.slow
def test_where_the_embedding_lies_does_not_matter() -> None:
    spots, slices, _ = tissue(500, "lacking")
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    expected = integrate(spots, slices)
    np.testing.assert_allclose(integrate(7 * spots @ turn + 100, slices), 7 * expected @ turn + 100, atol=1e-8)


def test_three_slices_of_which_none_is_the_reference() -> None:
    spots, slices, _ = tissue(900)
    thirds = slices + 2 * (np.arange(len(slices)) % 3 == 2) - slices * (np.arange(len(slices)) % 3 == 2)
    offsets = np.stack([shift(0), -shift(0), shift(1)])
    found = integrate(spots + offsets[thirds], thirds)
    taken = [(spots + offsets[thirds] - found)[thirds == name].mean(axis=0) for name in range(3)]
    np.testing.assert_allclose(np.mean(taken, axis=0), 0, atol=0.02 * SD)
    np.testing.assert_allclose(taken - offsets, -np.tile(offsets.mean(axis=0), (3, 1)), atol=0.2 * SD)


def test_one_slice_and_spots_in_one_place_are_returned_as_they_are() -> None:
    spots = tissue(50)[0].astype(np.float32)
    found = integrate(spots, np.zeros(len(spots)))
    assert found.tobytes() == spots.tobytes()
    assert not np.shares_memory(found, spots)
    np.testing.assert_array_equal(integrate(np.ones((4, 2)), np.array([0, 0, 1, 1])), 1)
    # One spot a slice: its offset and its place are the same.
    np.testing.assert_array_equal(integrate(spots, np.arange(len(spots))), spots)


def test_a_handful_of_spots_is_no_error() -> None:
    spots, slices, _ = tissue(50)
    few = np.r_[0:3, 50:52]
    assert np.isfinite(integrate(spots[few], slices[few])).all()


@pytest.mark.parametrize(("given", "returned"), [("float64", "float64"), ("float32", "float32"), ("int64", "float64")])
def test_types(given: str, returned: str) -> None:
    spots, slices, _ = tissue(100)
    values = (10 * (spots + slices[:, None])).round().astype(given)
    before = values.copy()
    found = integrate(values, slices)
    assert found.dtype == returned
    assert (found != found.round()).any()
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(("arguments", "message"), [({"n_prototypes": 0}, "n_prototypes=0"), ({"ridge": 0}, "ridge=0")])
def test_arguments_out_of_range(arguments: dict[str, int], message: str) -> None:
    spots, slices, _ = tissue(20)
    with pytest.raises(ValueError, match=message):
        integrate(spots, slices, **arguments)
    with pytest.raises(ValueError, match=message):
        place(spots, spots, **arguments)


def test_shifts_solve_the_weighted_regression() -> None:
    """Against a dense design matrix with a row for each slice and prototype; the sum of the shifts is another row."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, 4, generator=generator, dtype=torch.float64) + 0.1
    for held in ([False, False, False], [True, False, False]):
        design, target = [], []
        for s in range(3):
            for k in range(4):
                row = torch.zeros(7, dtype=torch.float64)
                row[s] = row[3 + k] = weights[s, k].sqrt()
                design.append(row)
                target.append(weights[s, k].sqrt() * means[s, k])
        constraint = torch.zeros(7, dtype=torch.float64)
        constraint[: 1 if held[0] else 3] = 1e5
        solution = torch.linalg.lstsq(
            torch.stack([*design, constraint]), torch.stack([*target, torch.zeros(2, dtype=torch.float64)])
        ).solution[:3]
        torch.testing.assert_close(_shifts(means, weights, torch.tensor(held)), solution, rtol=1e-5, atol=1e-5)


def test_likelihood_rises() -> None:
    spots, slices, _ = tissue(400, "unlike")
    parts = spots_of(spots, slices)
    held = torch.tensor([False, False])
    model = split(split(single(parts, held, from_means=False), parts), parts)
    seen = []
    for _ in range(20):
        model = step(model, parts, held, 50.0)
        seen.append(model.likelihood)
    assert seen[-1] > seen[1]
    assert all(later >= earlier - 1e-3 * abs(earlier) for earlier, later in pairwise(seen[1:]))


def test_one_step_by_hand() -> None:
    """One prototype: means 1 and 5 of two slices, counts 2 and 4, ridge 2, so that weights are 1 and 4 / 3."""
    parts = SpotBlocks.of([torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[4.0], [6.0]] * 2).double()])
    start = single(parts, torch.tensor([False, False]), from_means=False)
    assert start.centres.item() == 3
    found = step(start, parts, torch.tensor([False, False]), 2.0)
    np.testing.assert_allclose(found.shifts[:, 0], [-2, 2], atol=1e-5)
    np.testing.assert_allclose(found.centres[:, 0], [3], atol=1e-5)
    np.testing.assert_allclose(found.local.flatten(), [0, 0], atol=1e-5)
    np.testing.assert_allclose(found.variance.item(), 1, atol=1e-5)
    resting = step(start, parts, torch.tensor([False, False]), 2.0, free=False)
    # The centre is (1 · 1 + 5 · 4/3) / (1 + 4/3) = 23/7; what is left is shrunk by 2 / 4 and 4 / 6.
    np.testing.assert_allclose(resting.centres[:, 0], [23 / 7])
    np.testing.assert_allclose(resting.local.flatten(), [(1 - 23 / 7) / 2, (5 - 23 / 7) * 2 / 3])


def test_likelihood_by_hand() -> None:
    """Of two slices under two prototypes: that of the Gaussians, less the ridge, and more the leaning proportions."""
    from scipy.stats import norm

    parts = [torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.tensor([[5.0]], dtype=torch.float64)]
    shares = np.array([[0.5, 0.5], [0.2, 0.8]])
    local = np.array([[0.3, 0.0], [0.0, -0.5]])
    model = Mixture(
        torch.tensor([[0.0], [4.0]], dtype=torch.float64),
        torch.tensor([[0.1], [-0.1]], dtype=torch.float64),
        torch.from_numpy(local[..., None]),
        torch.from_numpy(np.log(shares)),
        torch.tensor(4.0, dtype=torch.float64),
    )
    means = np.array([0.0, 4.0]) + np.array([[0.1], [-0.1]]) + local
    joint = [shares[s] * norm.pdf(part.numpy(), means[s], 2.0) for s, part in enumerate(parts)]
    expected = sum(np.log(each.sum(axis=1)).sum() for each in joint) + 3 * np.log(2 * np.pi) / 2
    counts = np.stack([(each / each.sum(axis=1, keepdims=True)).sum(axis=0) for each in joint])
    prior = 0.05 * (counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / 3 * np.log(shares)).sum()
    found = step(model, SpotBlocks.of(parts), torch.tensor([False, False]), 50.0)
    assert found.likelihood == pytest.approx(expected - 50 * (0.3**2 + 0.5**2) / (2 * 4) + prior, rel=1e-12)
    proportions = (counts / counts.sum(axis=1, keepdims=True) + 0.05 * counts.sum(axis=0) / 3) / 1.05
    np.testing.assert_allclose(found.logs.exp(), proportions, rtol=1e-12)


def test_what_is_held_has_neither_shift_nor_offsets() -> None:
    """The prototype is that of the held slice: the other one's four spots weigh 4 / (1 + 4 / 2) against its two."""
    parts = SpotBlocks.of([torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[4.0], [6.0]] * 2).double()])
    held = torch.tensor([True, False])
    start = single(parts, held, from_means=True)
    assert (start.centres.item(), start.shifts[:, 0].tolist(), start.variance.item()) == (1, [0, 4], 1)
    assert single(parts, held, from_means=False).variance.item() == pytest.approx((2 + 2 * 9 + 2 * 25) / 6)
    resting = step(single(parts, held, from_means=False), parts, held, 2.0, free=False)
    weight = 4 / (1 + 4 / 2)
    centre = (2 * 1 + weight * 5) / (2 + weight)
    np.testing.assert_allclose(resting.centres.item(), centre)
    np.testing.assert_allclose(resting.local.flatten(), [0, (5 - centre) * 4 / (4 + 2)])
    np.testing.assert_allclose(step(start, parts, held, 2.0).shifts[:, 0], [0, 4], atol=1e-5)


@pytest.mark.parametrize(("rest", "expected"), [(1e-9, 7), (0.75, 1)])
def test_it_settles_once_all_rests(rest: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that halve the way to rest, with a standard deviation of 2: the first moves by 1, less than 0.75 of it."""
    steps = []

    def halve(model: Mixture, *_: Any, **__: Any) -> Mixture:
        steps.append(model)
        return replace(model, centres=model.centres / 2)

    monkeypatch.setattr("spotscape.nn.integration.step", halve)
    zeros = torch.zeros(2, 1)
    model = Mixture(torch.tensor([[2.0]]), zeros, zeros[:, None], zeros, torch.tensor(4.0))
    _settle(model, [], torch.tensor([False, False]), 1.0, steps=7, rest=rest)
    assert len(steps) == expected
    moved = replace(model, centres=torch.zeros(1, 1), shifts=torch.ones(2, 1))
    _settle(moved, [], torch.tensor([False, False]), 1.0, steps=7, rest=1e-9)
    assert len(steps) == expected + 1
    steps.clear()
    _settle(replace(model, centres=torch.full((1, 1), 1e9)), [], torch.tensor([False, False]), 1.0)
    assert len(steps) == 15
    # As a rule it rests at a thousandth of the deviation: the third step moves by 1.05 of that, the fourth by half.
    steps.clear()
    _settle(replace(model, centres=torch.full((1, 1), 0.0168)), [], torch.tensor([False, False]), 1.0)
    assert len(steps) == 4


def test_a_shift_of_few_spots() -> None:
    """As the example of the function has it: half of the shift is subtracted from either slice."""
    spots = np.random.default_rng(0).normal(size=(50, 2))
    found = integrate(np.concatenate([spots, spots + np.array([2.0, 0.0])]), np.repeat(["a", "b"], 50))
    np.testing.assert_allclose(found, np.concatenate([spots + np.array([1.0, 0.0])] * 2), atol=1e-5)
    assert np.isfinite(integrate(found, np.repeat(["a", "b"], 50), ridge=0.5)).all()


def test_splitting_goes_along_the_principal_axis() -> None:
    part = torch.tensor([[2.0, 7, 1], [8, 7, 1], [5, 8, 1], [5, 6, 1]], dtype=torch.float64)
    spots = SpotBlocks.of([part])
    model = split(single(spots, torch.tensor([False]), from_means=False), spots)
    half = np.sqrt(18 / 4) / 2
    assert sorted(model.centres[:, 0].tolist()) == pytest.approx([5 - half, 5 + half])
    np.testing.assert_allclose(model.centres[:, 1:], [[7, 1], [7, 1]], atol=1e-12)
    np.testing.assert_allclose(model.logs.exp(), 0.5)


def test_the_two_nearest_prototypes_are_merged() -> None:
    """Of 10, 30 and 60 spots at 0, 1 and 1.8 the last two would cost .64 · 20, the first two 1 · 7.5."""
    logs = torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64).log()
    centres = torch.tensor([[0.0], [1.0], [1.8]], dtype=torch.float64)
    local = torch.tensor([[[1.0], [2.0], [3.0]]], dtype=torch.float64)
    start = Mixture(centres, torch.zeros(1, 1, dtype=torch.float64), local, logs, torch.tensor(1.0))
    found = merge(start, SpotBlocks.of([torch.zeros(100, 1, dtype=torch.float64)]))
    np.testing.assert_allclose(found.centres[:, 0], [1.8, 0.75])
    np.testing.assert_allclose(found.local.flatten(), [3, 1.75])
    np.testing.assert_allclose(found.logs.exp(), [[0.6, 0.4]])


@pytest.mark.parametrize(("composition", "most"), [("alike", 4), ([[1, 0, 0, 0], [1, 0, 0, 0]], 1)])
def test_prototypes_that_can_be_spared_count_for_nothing(composition: Any, most: int) -> None:
    """Four for three kinds, and one for one kind, are as plausible as twice as many that fit no better."""
    spots, slices, _ = tissue(300, composition)
    parts = spots_of(spots, slices)
    held = torch.tensor([False, False])
    few = _fit(parts, held, most, 100.0)
    assert len(few.centres) == most
    doubled = split(few, parts)
    assert doubled.n_parameters == 2 * few.n_parameters == 2 * (most * 6 + 2 * most)
    scores = [_plausibility(model, parts, held, 100.0) for model in (few, replace(doubled, likelihood=few.likelihood))]
    assert scores[0] == pytest.approx(scores[1], abs=0.001 * abs(scores[0]) if most == 1 else 0.01 * abs(scores[0]))


def spots_of(spots: np.ndarray, slices: np.ndarray) -> SpotBlocks:
    return SpotBlocks.of([torch.from_numpy(spots[slices == name]) for name in np.unique(slices)])


@pytest.mark.parametrize(
    ("n", "most", "expected"),
    [(960, 1, 1), (960, 2, 2), (960, 3, 2), (960, 64, 16), (240, 64, 4), (239, 64, 2)],
)
def test_number_of_prototypes(n: int, most: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prototype takes 60 spots of each of the two slices: 960 leave room for 16, wherever the fit starts."""
    monkeypatch.setattr("spotscape.nn.integration._STARTS", ((True, 1, False),))
    parts = spots_of(*tissue(n)[:2])
    assert len(_fit(parts, torch.tensor([False, False]), most, 100.0).centres) == expected


def test_an_infinite_ridge_moves_all_spots_of_a_slice_alike() -> None:
    regions = np.repeat(6 * np.eye(3), 70, axis=0) + np.random.default_rng(0).normal(size=(210, 3))
    local = np.repeat([[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]], 70, axis=0)
    both = np.concatenate([regions, regions + local + 2.0])
    moved = both - integrate(both, np.repeat([0, 1], 210), ridge=np.inf)
    for own in (moved[:210], moved[210:]):
        np.testing.assert_allclose(own, np.broadcast_to(own[0], own.shape), atol=1e-12)
    assert np.abs(moved[0] - moved[-1]).min() > 1
    assert np.ptp(both[210:] - integrate(both, np.repeat([0, 1], 210))[210:], axis=0).max() > 0.1


def test_as_a_rule_the_ridge_is_a_hundred() -> None:
    spots, slices, kinds = tissue(130)
    moved = spots + slices[:, None] * np.stack([shift(seed) for seed in range(4)])[kinds]
    np.testing.assert_array_equal(integrate(moved, slices), integrate(moved, slices, ridge=100))
    new, old = moved[slices == 1], moved[slices == 0]
    np.testing.assert_array_equal(place(new, old), place(new, old, ridge=100))


def test_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free while prototypes are split: shifts early, late, or only at the end, and offsets early or late."""
    seen: list[tuple[int, bool, bool]] = []

    def settle(model: Mixture, *_: Any, ridge: float = 0, free: bool = True, steps: int = 0, **__: Any) -> Mixture:
        if not steps:
            seen.append((len(model.centres), np.isfinite(ridge), free))
        return model

    monkeypatch.setattr("spotscape.nn.integration._settle", settle)
    monkeypatch.setattr("spotscape.nn.integration._regrouped", lambda model, *_: model)
    monkeypatch.setattr("spotscape.nn.integration._plausibility", lambda *_: 0.0)
    _fit(spots_of(*tissue(500)[:2]), torch.tensor([False, False]), 8, 100.0)
    steps = [(1, False), (1, True), (2, False), (2, True), (4, False), (4, True), (8, False)]
    early = [(n, offsets, True) for n, offsets in steps]
    from_four = [(n, offsets, offsets or n >= 4) for n, offsets in steps]
    from_eight = [(n, offsets, offsets or n >= 8) for n, offsets in steps]
    with_offsets = [(n, True, True) for n, _ in steps]
    assert seen == [*early, *from_four, *from_eight, *with_offsets]


@pytest.mark.parametrize(("gains", "kept"), [([0.9], 0), ([1.1, 0.9], 1), ([1.1, 1.1, 1.1, 1.1], 3)])
def test_prototypes_are_regrouped_as_long_as_that_is_likelier(gains: list[float], kept: int) -> None:
    """By more than one, and three times at most."""
    parts = spots_of(*tissue(60)[:2])
    start = split(single(parts, torch.tensor([False, False]), from_means=False), parts)
    start = replace(start, likelihood=0.0)
    found = np.cumsum(gains)
    calls: list[int] = []

    def settle(model: Mixture, *, free: bool = True) -> Mixture:
        assert (len(model.centres), free) in {(4, False), (2, True)}
        if not free:
            return model
        calls.append(len(calls))
        return replace(model, likelihood=float(found[calls[-1]]))

    assert _regrouped(start, parts, settle).likelihood == (found[kept - 1] if kept else 0)
    assert len(calls) == min(len(gains), 3)


def test_shifts_add_up_to_zero() -> None:
    """The regression holds its middle only loosely, so it is taken off."""
    means = 100 + torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.tensor([[9.0], [1.0], [0.1]], dtype=torch.float64) * torch.ones(4, dtype=torch.float64)
    np.testing.assert_allclose(_shifts(means, weights, torch.tensor([False] * 3)).sum(0), 0, atol=1e-12)


def test_probabilities_are_those_of_gaussians() -> None:
    from scipy.stats import multivariate_normal

    model = Mixture(
        torch.tensor([[0.0, 0], [1, 2]], dtype=torch.float64),
        torch.tensor([[0.5, 0.0]], dtype=torch.float64),
        torch.tensor([[[0.0, 1], [0, 0]]], dtype=torch.float64),
        torch.tensor([[0.3, 0.7]], dtype=torch.float64).log(),
        torch.tensor(0.8, dtype=torch.float64),
    )
    spots = np.array([[0.2, 0.4], [1.0, 1.5]])
    joint = np.stack([
        share * multivariate_normal(mean, 0.8 * np.eye(2)).pdf(spots)
        for share, mean in ((0.3, [0.5, 1]), (0.7, [1.5, 2]))
    ], axis=1)  # fmt: skip
    found, logs = model.probabilities(torch.from_numpy(spots)[None], torch.tensor([0]))
    np.testing.assert_allclose(found[0].T, joint / joint.sum(axis=1, keepdims=True))
    # Without what all prototypes share.
    shared = np.square(spots).sum(axis=1) / (2 * 0.8) + np.log(2 * np.pi * 0.8)
    np.testing.assert_allclose(logs[0], np.log(joint.sum(axis=1)) + shared)


def test_slices_of_any_size_fill_blocks() -> None:
    """Three hundred spots take two blocks, the second filled up; what fills up counts nowhere."""
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy(1 + rng.normal(size=(n, 3))) for n in (300, 1, 256)]
    spots = SpotBlocks.of(parts)
    assert spots.slices.tolist() == [0, 0, 1, 2]
    assert spots.sizes.tolist() == [300, 1, 256]
    assert spots.n_spots == 557
    assert spots.squares == pytest.approx(sum(float(part.square().sum()) for part in parts))
    held = torch.tensor([False] * 3)
    model = single(spots, held, from_means=True)
    np.testing.assert_allclose(model.centres + model.shifts, np.stack([part.mean(0) for part in parts]))
    after = step(split(model, spots), spots, held, 100.0)
    assert float((spots.sizes[:, None] * after.logs.exp()).sum()) == pytest.approx(557)
    moved = [spots.correction(after, index) for index in range(3)]
    assert [each.shape for each in moved] == [part.shape for part in parts]
    for index, part in enumerate(parts):
        found = after.probabilities(part[None], torch.tensor([index]))[0][0]
        np.testing.assert_allclose(moved[index], after.shifts[index] + found.T @ after.local[index], atol=1e-12)


@pytest.mark.parametrize("composition", ONE_NOW)
def test_new_slices_come_to_the_reference(composition: str) -> None:
    spots, slices, _ = tissue(1_500, composition)
    reference, new = spots[slices == 0], spots[slices == 1]
    placed = place(new + shift(3), reference)
    assert placed.dtype == np.float32
    assert np.linalg.norm((placed - new).mean(axis=0)) <= 0.2 * SD
    stays = integrate(np.concatenate([reference, new + shift(3)]), slices, held=slices == 0)
    np.testing.assert_array_equal(stays[slices == 0], reference)
    np.testing.assert_allclose(stays[slices == 1], placed, atol=1e-5)


@pytest.mark.slow
def test_each_new_slice_is_placed_by_itself() -> None:
    spots, known, _ = tissue(300)
    first, second = tissue(200, seed=1)[0] + shift(0), tissue(150, seed=2)[0] - shift(1)
    slices = np.array(["a"] * len(first) + ["b"] * len(second))
    together = place(np.concatenate([first, second]), spots, slices=slices, reference_slices=known)
    np.testing.assert_array_equal(together[:400], place(first, spots, reference_slices=known))


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="has 6 axes, the reference 3"):
        place(tissue(20)[0], tissue(20)[0][:, :3])


def test_nearest_and_their_vote() -> None:
    found = nearest(np.array([[0.4], [9.0]]), np.array([[0.0], [1.0], [8.0]]), 2)
    assert found.indices.tolist() == [[0, 1], [2, 1]]
    votes = vote(found, torch.tensor([0, 1, 1]), 2)
    assert votes.confidence.tolist() == [0.5, 1.0]
    assert votes.labels[1] == 1
    assert nearest(np.zeros((1, 1)), np.zeros((3, 1)), 10).indices.shape == (1, 3)
    with pytest.raises(ValueError, match="n_neighbors=0"):
        nearest(np.zeros((1, 1)), np.zeros((3, 1)), 0)
