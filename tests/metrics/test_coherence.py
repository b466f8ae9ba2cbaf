"""Coherence metrics: hand-worked values, brute force as oracle, invariances, slices, sampling, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

import spotscape as sp

SEEDS = st.integers(0, 2**32 - 1)
SPATIAL = [sp.metrics.chaos, sp.metrics.pas, sp.metrics.spatial_asw]


def tissue(seed: int, n: int = 80, n_labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.r_[np.arange(n_labels).repeat(3), rng.integers(n_labels, size=n - 3 * n_labels)], rng.normal(size=(n, 2))


def brute_chaos(labels: np.ndarray, points: np.ndarray) -> float:
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    total = 0.0
    for label in np.unique(labels):
        distances = cdist(points[labels == label], points[labels == label])
        np.fill_diagonal(distances, np.inf)
        if len(distances) > 2:
            total += distances.min(axis=1).sum()
    return total / len(labels)


def brute_pas(labels: np.ndarray, points: np.ndarray, k: int = 10) -> float:
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :k]
    return float(np.mean((labels[nearest] != labels[:, None]).sum(axis=1) > k / 2))


def test_chaos_worked_by_hand() -> None:
    # x has mean 0 and variance (4 + 1 + 1 + 4) * 2 / 10 = 2; y is constant.
    points = np.array([[x, 7.0] for x in (-2, -1, 0, 1, 2)] * 2)
    labels = ["a"] * 5 + ["b"] * 5
    assert sp.metrics.chaos(labels, points) == pytest.approx(1 / np.sqrt(2))
    # A pair adds nothing, but counts in the divisor.
    assert sp.metrics.chaos(["a", "a", "a", "b", "b"], points[:5]) == pytest.approx(3 / np.sqrt(2) / 5)


def test_pas_worked_by_hand() -> None:
    # On a line of 9, with 2 neighbours, only the lone b (a on both sides) has more than half of another label.
    line = np.arange(9.0)[:, None]
    assert sp.metrics.pas(list("aaaabaaaa"), line, n_neighs=2) == pytest.approx(1 / 9)
    # The centre's 4 equally near spots share 2 places: 3 differ, 1.5 of 2 on average, so it is abnormal. Right and left
    # see the centre (differs) and share a place between up (same) and down (differs): 1.5 too. Up and down: 1 of 2.
    cross = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    assert sp.metrics.pas(list("abbba"), cross, n_neighs=2) == pytest.approx(3 / 5)


@given(SEEDS)
@settings(max_examples=12)
def test_chaos_and_pas_equal_brute_force(seed: int) -> None:
    labels, points = tissue(seed)
    # Spots that are equally far to 1e-6 share a place, which the brute force does not do.
    distances = np.sort(cdist(points, points), axis=1)
    assume(all((distances[:, k + 1] > distances[:, k] * (1 + 1e-5)).all() for k in (5, 10)))
    assert sp.metrics.chaos(labels, points) == pytest.approx(brute_chaos(labels, points))
    assert sp.metrics.pas(labels, points) == pytest.approx(brute_pas(labels, points))
    assert sp.metrics.pas(labels, points, n_neighs=5) == pytest.approx(brute_pas(labels, points, 5))


@given(SEEDS, st.floats(0.1, 6.2), st.floats(0.01, 1e4))
@settings(max_examples=12)
def test_place_unit_and_order_do_not_matter(seed: int, angle: float, scale: float) -> None:
    labels, points = tissue(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    moved = (points * scale + [3.0, -5.0])[order]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for metric in SPATIAL:
        assert metric(labels[order], moved) == pytest.approx(metric(labels, points))
    for metric in (sp.metrics.pas, sp.metrics.spatial_asw):
        assert metric(labels, points @ turn) == pytest.approx(metric(labels, points))


@given(SEEDS)
@settings(max_examples=15)
def test_pas_of_a_lattice_does_not_depend_on_the_order_of_its_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    labels, order = rng.integers(2, size=64), rng.permutation(64)
    assert sp.metrics.pas(labels[order], grid[order]) == sp.metrics.pas(labels, grid)


@given(SEEDS)
@settings(max_examples=15)
def test_slices_are_scored_apart(seed: int) -> None:
    (first, one), (second, two) = tissue(seed), tissue(seed + 1, n=50)
    labels, library = np.r_[first, second], ["s1"] * len(first) + ["s2"] * len(second)
    for metric in SPATIAL:
        together = metric(labels, np.r_[one, two], library=library)
        apart = np.average([metric(first, one), metric(second, two)], weights=[len(first), len(second)])
        assert together == pytest.approx(apart)


def test_unlabelled_spots_are_left_out() -> None:
    labels, points = tissue(0)
    holes = [None if spot % 7 == 0 else label for spot, label in enumerate(labels)]
    kept = np.arange(len(labels)) % 7 != 0
    for metric in (*SPATIAL, sp.metrics.silhouette):
        assert metric(holes, points) == metric(labels[kept], points[kept])


def test_silhouette_is_scikit_learns_and_its_sample_comes_close() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=3000, p=[0.6, 0.3, 0.09, 0.01])
    points = rng.normal(size=(3000, 5)) + 3 * np.eye(5)[labels]
    exact = silhouette_score(points, labels)
    assert sp.metrics.silhouette(labels, points) == pytest.approx(exact)
    sampled = [sp.metrics.silhouette(labels, points, max_spots=500, random_state=seed) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled == pytest.approx([exact] * 3, abs=0.03)
    assert sp.metrics.spatial_asw(labels, points[:, :2], max_spots=500) == pytest.approx(
        silhouette_score(points[:, :2], labels), abs=0.03
    )


def test_coincident_and_few_spots() -> None:
    # 10 of the 19 other spots differ: 5.3 of 10 on average.
    assert sp.metrics.pas(["a", "b"] * 10, np.zeros((20, 2))) == 1
    assert sp.metrics.chaos(["a"] * 30, np.zeros((30, 2))) == 0
    assert sp.metrics.pas(["a", "b"], [[0, 0], [1, 1]]) == 1
    assert sp.metrics.pas(["a"], [[0, 0]]) == 0


@pytest.mark.parametrize("metric", [*SPATIAL, sp.metrics.silhouette])
def test_errors(metric: object) -> None:
    labels, points = tissue(0)
    with pytest.raises(ValueError, match=r"labels has 79 spots and .* has 80"):
        metric(labels[1:], points)  # type: ignore[operator]
    with pytest.raises(ValueError, match="none of the 80 spots has a label"):
        metric([None] * 80, points)  # type: ignore[operator]
    with pytest.raises(ValueError, match="expected one row per spot"):
        metric(labels, points[:, 0])  # type: ignore[operator]
    points[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 80 spots"):
        metric(labels, points)  # type: ignore[operator]


def test_errors_of_single_metrics() -> None:
    labels, points = tissue(0)
    for metric in (sp.metrics.silhouette, sp.metrics.spatial_asw):
        with pytest.raises(ValueError, match="all 80 labelled spots have the same label"):
            metric(["a"] * 80, points)
    with pytest.raises(ValueError, match="all 80 spots have labels of their own"):
        sp.metrics.silhouette(np.arange(80), points)
    with pytest.raises(ValueError, match="needs a slice with at least two domains"):
        sp.metrics.spatial_asw(labels, points, library=labels)
    for metric in SPATIAL:
        with pytest.raises(ValueError, match="labels has 80 spots and library has 2"):
            metric(labels, points, library=["s", "t"])
        with pytest.raises(ValueError, match="library is missing for 1 spots"):
            metric(labels, points, library=["s"] * 79 + [None])


def test_a_sample_of_all_spots_is_no_other() -> None:
    """Seven of eight spots are four of each domain after rounding, and none is drawn twice."""
    points = np.random.default_rng(0).normal(size=(8, 2))
    labels = list("aaaabbbb")
    assert sp.metrics.label_asw(labels, points, max_spots=7) == pytest.approx(sp.metrics.label_asw(labels, points))
