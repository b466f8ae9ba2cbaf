"""Consensus of clusterings: worked by hand, and the same whatever clusters and points are called."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score

from spotscape.nn.clustering._consensus import combine_clusterings

# Six spots in three runs; the second has the names of the first turned, the third moves spot 2.
RUNS = [[0, 0, 0, 1, 1, 2], [2, 2, 2, 0, 0, 1], [0, 0, 1, 1, 1, 2]]


def test_by_hand() -> None:
    found = combine_clusterings(RUNS)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2]
    np.testing.assert_allclose(found.confidence, [1, 1, 2 / 3, 1, 1, 1])
    np.testing.assert_allclose(found.run_agreement, [1, 1, 5 / 6])


@pytest.mark.parametrize(("n_runs", "n_clusters"), [(2, 2), (3, 2), (4, 3), (5, 2), (3, 7)])
def test_the_entropy_is_1_where_runs_are_spread_as_widely_as_possible(n_runs: int, n_clusters: int) -> None:
    runs = np.tile(np.repeat(np.arange(n_clusters), 20), (n_runs, 1))
    runs[:, 0] = np.arange(n_runs) % n_clusters
    entropy = combine_clusterings(runs).entropy
    assert entropy[0] == pytest.approx(1)
    assert (entropy[1:] == 0).all()


def test_of_one_run_is_that_run_by_size() -> None:
    found = combine_clusterings([[5, 5, 3, 3, 3]])
    assert found.labels.tolist() == [1, 1, 0, 0, 0]
    assert (found.confidence == 1).all()


def test_of_equal_ends_the_one_that_some_runs_repeat() -> None:
    # Two runs say left and right; two others each cut elsewhere.
    steady = np.repeat([0, 1], 12)
    others = [np.arange(24) % 2, np.arange(24) // 2 % 2]
    found = combine_clusterings([others[0], steady, others[1], steady])
    np.testing.assert_array_equal(found.labels, steady)


def test_the_consensus_is_a_better_one_than_any_run() -> None:
    # Every run has another tenth of the spots wrong, so for each spot most are right.
    truth = np.repeat([0, 1, 2], 20)
    runs = np.stack([np.where(np.arange(60) % 10 == run, (truth + 1) % 3, truth) for run in range(5)])
    found = combine_clusterings(runs)
    np.testing.assert_array_equal(found.labels, truth)
    np.testing.assert_allclose(found.run_agreement, 0.9)
    np.testing.assert_allclose(found.confidence[:10], [0.8] * 5 + [1.0] * 5)


def test_no_cluster_is_voted_away() -> None:
    # Spot by spot the majority says 0, and would leave the second cluster empty.
    found = combine_clusterings([[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]])
    assert len(np.unique(found.labels)) == 2


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_confidence_is_the_highest_there_is(seed: int) -> None:
    # All 2^6 clusterings of six spots into two are tried, with the best names for each run.
    runs = np.random.default_rng(seed).integers(0, 2, (3, 6))
    runs[:, 0], runs[:, 1] = 0, 1
    best = max(
        np.mean([max((run == labels).mean(), (run != labels).mean()) for run in runs])
        for labels in map(np.array, itertools.product([0, 1], repeat=6))
        if 0 < labels.sum() < 6
    )
    assert combine_clusterings(runs).confidence.mean() == pytest.approx(best)


runs_of_spots = arrays(np.int64, (4, 30), elements=st.integers(0, 2)).map(
    lambda runs: np.concatenate([np.tile([0, 1, 2], (4, 1)), runs], axis=1)
)


@settings(max_examples=40)
@given(runs_of_spots, st.permutations(range(33)))
def test_the_order_of_the_spots_does_not_matter(runs: np.ndarray, order: list[int]) -> None:
    first, second = combine_clusterings(runs), combine_clusterings(runs[:, order])
    assert adjusted_rand_score(first.labels[order], second.labels) == 1
    np.testing.assert_allclose(first.confidence[order], second.confidence)


@settings(max_examples=40)
@given(st.lists(st.permutations(range(3)), min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_the_names_of_the_clusters_do_not_matter(names: list[list[int]], seed: int) -> None:
    truth = np.arange(60) % 3
    rng = np.random.default_rng(seed)
    runs = np.stack([np.where(rng.random(60) < 0.1, rng.integers(0, 3, 60), truth) for _ in range(5)])
    renamed = np.stack([np.asarray(name)[run] for name, run in zip(names, runs, strict=True)])
    first, second = combine_clusterings(runs), combine_clusterings(renamed)
    assert second.confidence.mean() == pytest.approx(first.confidence.mean())
    sure = (first.confidence > 0.5) & (second.confidence > 0.5)
    assert adjusted_rand_score(first.labels[sure], second.labels[sure]) == 1


@settings(max_examples=40)
@given(runs_of_spots)
def test_what_always_holds(runs: np.ndarray) -> None:
    found = combine_clusterings(runs)
    assert np.bincount(found.labels).min() > 0
    assert len(np.bincount(found.labels)) == 3
    assert (np.diff(np.bincount(found.labels)) <= 0).all()
    assert found.confidence.min() >= 0
    assert found.confidence.max() <= 1
    assert found.run_agreement.mean() == pytest.approx(found.confidence.mean())


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([0, 1], r"runs has shape \(2,\)"),
        ([[0.0, 1.0]], "dtype float64"),
        (np.zeros((0, 3), int), r"shape \(0, 3\)"),
        ([[0, 1, 1], [0, 1, 2]], r"the runs have \[2, 3\] clusters; all need as many"),
    ],
)
def test_errors(runs: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combine_clusterings(runs)
