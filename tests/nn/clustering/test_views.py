"""The number of clusters at which embeddings agree: the rule by hand, and numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from spotscape.nn.clustering import agreement_curve, clusterings
from spotscape.nn.clustering._views import pick_agreed


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


def views(n_groups: int, *, n_views: int = 2, n_each: int = 40, distance: float = 9.0) -> list[np.ndarray]:
    """The same groups, each time in other places and with noise of its own."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_groups), n_each)
    return [
        distance * rng.permutation(np.eye(n_groups))[labels] + rng.normal(size=(len(labels), n_groups))
        for _ in range(n_views)
    ]


@pytest.mark.parametrize("n_groups", [2, 3, 5, 7])
def test_groups_that_all_see(n_groups: int) -> None:
    curve = agreement_curve(views(n_groups, n_views=3 if n_groups == 5 else 2), range(2, 9))
    assert curve.picked == n_groups
    assert curve.is_clear
    assert curve.mean[n_groups - 2] > 0.99
    assert curve.share.sum() == pytest.approx(1)


def test_what_only_one_sees_does_not_count() -> None:
    """One embedding divides each of three groups in two, the other sees the three."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(3), 80)
    half = rng.integers(2, size=240)
    coarse = 30 * np.eye(3)[group] + rng.normal(size=(240, 3))
    fine = np.column_stack([30 * np.eye(3)[group], 12 * half]) + rng.normal(size=(240, 4))
    assert agreement_curve([coarse, fine], range(2, 9)).picked == 3
    assert agreement_curve([fine, fine[:, ::-1] * 2], range(2, 9)).picked == 6


def test_noise_has_no_clear_number() -> None:
    rng = np.random.default_rng(0)
    curve = agreement_curve([rng.normal(size=(200, 4)) for _ in range(2)], range(2, 7))
    assert not curve.is_clear
    assert abs(curve.mean).max() < 0.05


def test_same_seed_same_bits_and_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotscape.nn.clustering._views._MOST_POINTS", 150)
    one, again = (agreement_curve(views(4), range(2, 7), seed=3) for _ in range(2))
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
