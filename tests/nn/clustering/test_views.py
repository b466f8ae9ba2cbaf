"""The number of clusters at which embeddings agree: the rule by hand, and numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from spotscape.nn.clustering._agreement import _pick, agreement_curve, clusterings, pick_agreed
from spotscape.nn.clustering._stability import StabilityCurve

pytestmark = pytest.mark.all_starts


@pytest.mark.parametrize(
    ("agreement", "expected"),
    [
        ([0.95, 0.6, 0.8, 0.7], 4),
        ([0.95, 0.6, 0.8, 0.791], 5),
        ([0.95, 0.6, 0.8, 0.789], 4),
        ([0.95, 0.9, 0.8, 0.7], 2),
        ([0.85, 0.9, 0.8, 0.7], 3),
        ([0.85, 0.84, 0.8, 0.7], 3),
        ([0.95, 0.9, 0.8, 0.91], 5),
        ([0.95, 0.9, 0.8, 0.89], 2),
        ([0.3, 0.9, 0.8, 0.89], 5),
    ],
)
def test_the_rule(agreement: list[float], expected: int) -> None:
    assert pick_agreed([2, 3, 4, 5], np.array(agreement)) == expected


def test_a_range_that_begins_above_two() -> None:
    assert pick_agreed([5, 6, 7], np.array([0.9, 0.8, 0.7])) == 5
    assert pick_agreed([5, 6, 7], np.array([0.9, 0.95, 0.7])) == 6


@pytest.mark.parametrize(("sharpness", "expected"), [([0.1, 0.2, 0.79, 0.3], 3), ([0.1, 0.2, 0.3, 0.8], 5)])
def test_a_sharp_elbow_decides(sharpness: list[float], expected: int) -> None:
    assert _pick([2, 3, 4, 5], np.array([0.5, 0.9, 0.8, 0.7]), np.array(sharpness)) == expected


@pytest.mark.parametrize(
    ("fits", "candidates", "clear"), [((), [4], True), ((5,), [4, 5], True), ((2,), [2, 4], False)]
)
def test_a_number_is_clear_if_no_other_fits_as_well(
    fits: tuple[int, ...], candidates: list[int], *, clear: bool
) -> None:
    numbers = np.arange(2, 6)
    curve = StabilityCurve(
        numbers,
        mean=np.array([0.9, 0.5, 0.93, 0.9]),
        sd=np.zeros(4),
        share=np.array([0.05, 0, 0.95, 0]),
        picked=4,
        n_samples=5,
        fits=np.isin(numbers, fits),
    )
    assert curve.candidates == candidates
    assert curve.is_clear is clear


def views(n_groups: int, *, n_views: int = 2, n_each: int = 40, distance: float = 9.0) -> list[np.ndarray]:
    """The same groups, each time in other places and with noise of its own."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_groups), n_each)
    return [
        distance * rng.permutation(np.eye(n_groups))[labels] + rng.normal(size=(len(labels), n_groups))
        for _ in range(n_views)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [2, 3, 5, 7])
def test_groups_that_all_see(n_groups: int) -> None:
    curve = agreement_curve(views(n_groups, n_views=3 if n_groups == 5 else 2), range(2, 9))
    assert curve.picked == n_groups
    assert curve.is_clear
    assert curve.mean[n_groups - 2] > 0.99
    assert curve.share.sum() == pytest.approx(1)


@pytest.mark.slow
def test_what_only_one_sees_does_not_count() -> None:
    """One embedding divides each of three groups in two, the other sees the three."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(3), 80)
    half = rng.integers(2, size=240)
    coarse = 30 * np.eye(3)[group] + rng.normal(size=(240, 3))
    fine = np.column_stack([30 * np.eye(3)[group], 12 * half]) + rng.normal(size=(240, 4))
    assert agreement_curve([coarse, fine], range(2, 9)).picked == 3
    assert agreement_curve([fine, fine[:, ::-1] * 2], range(2, 9)).picked == 6


@pytest.mark.slow
def test_numbers_that_agree_nearly_as_well_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three groups of two each that lie near each other: three domains and six are both there."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(6), 60)
    centres = 20 * np.eye(3)[np.arange(6) // 2] + 3.5 * np.tile([[1, 0, 0], [-1, 0, 0]], (3, 1))
    both = [(centres[group] + rng.normal(size=(360, 3))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2)]
    # Uniform as they are, their likelihood would decide.
    monkeypatch.setattr("spotscape.nn.clustering._agreement._SHARP", np.inf)
    curve = agreement_curve(both, range(2, 9))
    assert {3, 6} <= {*curve.candidates}
    assert not curve.is_clear


@pytest.mark.slow
def test_the_elbow_is_that_of_both() -> None:
    """Uniform groups: the likelihood rises steeply up to their number in both embeddings, and slowly from there."""
    curve = agreement_curve(views(5, distance=5), range(2, 8))
    assert curve.elbow is not None
    assert curve.elbow.argmax() + 2 == curve.picked == 5
    assert curve.elbow[3] > 0.8
    apart = agreement_curve([views(5, distance=5)[0], np.random.default_rng(0).normal(size=(200, 5))], range(2, 8))
    assert apart.elbow is not None
    assert apart.elbow[3] == pytest.approx(curve.elbow[3] / 2, abs=0.3)


@pytest.mark.slow
def test_noise_has_no_clear_number() -> None:
    rng = np.random.default_rng(0)
    curve = agreement_curve([rng.normal(size=(200, 4)) for _ in range(2)], range(2, 7))
    assert not curve.is_clear
    assert abs(curve.mean).max() < 0.05


@pytest.mark.slow
def test_same_seed_same_bits_and_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotscape.nn.clustering._agreement._MOST_POINTS", 150)
    one, again = (agreement_curve(views(4), range(3, 6), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.mean, again.mean)
    np.testing.assert_array_equal(one.share, again.share)
    assert one.picked == 4


def test_agreement_is_the_mean_over_pairs_of_clusterings() -> None:
    from sklearn.metrics import adjusted_rand_score

    first, second = views(3, n_each=20, distance=3)
    curve = agreement_curve([first, second], [2, 3])
    for index, number in enumerate([2, 3]):
        labels = [[fit.labels for fit in clusterings(view, number).values()] for view in (first, second)]
        found = [adjusted_rand_score(one, other) for one in labels[0] for other in labels[1]]
        assert curve.mean[index] == pytest.approx(np.mean(found))
        assert curve.sd[index] == pytest.approx(np.std(found))


def test_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="must be two or more consecutive"):
        agreement_curve(views(3), [3])
    with pytest.raises(ValueError, match="too few for"):
        agreement_curve([np.eye(2)[np.arange(20) % 2]] * 2, [2, 3])
