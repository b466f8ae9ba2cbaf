"""kBET, Jensen-Shannon divergence, connectivity and the two silhouettes: by hand, by brute force, extremes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import chisquare
from sklearn.metrics import silhouette_samples

import spotscape as sp
from spotscape.metrics._spatial import silhouette_widths

SEEDS = st.integers(0, 2**32 - 1)
OF_SLICES = [sp.metrics.kbet, sp.metrics.js_divergence]


def cloud(seed: int, n: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    domain, library = rng.integers(4, size=n), rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    return domain, library, rng.normal(size=(n, 5)) + 2 * np.eye(5)[domain] + np.eye(5)[4 - library]


def extremes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two domains in three slices, mixed perfectly and apart."""
    domain, library = np.repeat([0, 1], 300), np.tile([0, 1, 2], 200)
    mixed = np.random.default_rng(0).normal(size=(600, 4)) + 50 * domain[:, None]
    return domain, library, mixed, mixed + 1000 * library[:, None]


def nearest(points: np.ndarray, k: int) -> np.ndarray:
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :k]


@given(SEEDS, st.integers(5, 60))
@settings(max_examples=12)
def test_kbet_and_divergence_equal_brute_force(seed: int, k: int) -> None:
    _, library, points = cloud(seed)
    shares = np.bincount(library) / len(library)
    counts = [np.bincount(library[row], minlength=3) for row in nearest(points, k)]
    accepted = [chisquare(count, k * shares).pvalue >= 0.05 for count in counts]
    bits = [jensenshannon(count / k, shares, base=2) ** 2 for count in counts]
    assert sp.metrics.kbet(library, points, n_neighs=k) == pytest.approx(np.mean(accepted))
    assert sp.metrics.js_divergence(library, points, n_neighs=k) == pytest.approx(np.mean(bits))


def test_kbet_by_hand() -> None:
    # Two pairs, far apart; the one neighbour has the same slice: χ² = (1 - ½)² / ½ + (0 - ½)² / ½ = 1, p = 0.317.
    pairs = [[0.0], [1.0], [8.0], [9.0]]
    assert sp.metrics.kbet(list("aabb"), pairs, n_neighs=1, alpha=0.31) == 1
    assert sp.metrics.kbet(list("aabb"), pairs, n_neighs=1, alpha=0.32) == 0


def test_kbet_and_divergence_at_the_extremes() -> None:
    _, library, mixed, apart = extremes()
    assert sp.metrics.kbet(library, mixed) > 0.9
    assert sp.metrics.kbet(library, apart) == 0
    # Under perfect mixing the noise of 50 neighbours remains: 0.18 * 2 / 50 bits.
    assert sp.metrics.js_divergence(library, mixed) == pytest.approx(0.0072, abs=0.0015)
    third, middle = 1 / 3, 2 / 3
    expected = (np.log2(1 / middle) + third * np.log2(third / middle) + middle * np.log2(third / (third / 2))) / 2
    assert sp.metrics.js_divergence(library, apart) == pytest.approx(expected)


def brute_connectivity(labels: np.ndarray, points: np.ndarray, k: int) -> float:
    """How many spots of its own domain a spot reaches along edges in either direction, at the most."""
    joined = np.eye(len(points), dtype=bool)
    joined[np.arange(len(points))[:, None], nearest(points, k)] = True
    reached = (joined | joined.T) & (labels[:, None] == labels)
    while (farther := reached @ reached).sum() > reached.sum():
        reached = farther
    return float(np.mean([reached[labels == label].sum(1).max() / sum(labels == label) for label in np.unique(labels)]))


@given(SEEDS, st.integers(1, 6))
@settings(max_examples=12)
def test_connectivity_equals_brute_force(seed: int, k: int) -> None:
    domain, _, points = cloud(seed)
    found = sp.metrics.graph_connectivity(domain, points, n_neighs=k)
    assert found == pytest.approx(brute_connectivity(domain, points, k))


def test_connectivity_at_the_extremes() -> None:
    domain, library, mixed, apart = extremes()
    assert sp.metrics.graph_connectivity(domain, mixed) == 1
    assert sp.metrics.graph_connectivity(domain, apart) == pytest.approx(1 / 3)
    assert sp.metrics.graph_connectivity(np.arange(600), mixed) == 1
    assert len(library) == 600


@given(SEEDS)
@settings(max_examples=12)
def test_silhouettes_equal_scikit_learns(seed: int) -> None:
    domain, library, points = cloud(seed)
    lonely = np.where(np.arange(len(domain)) == 5, 9, domain)
    expected = silhouette_samples(points, lonely)
    np.testing.assert_allclose(silhouette_widths(points + 1e4, lonely), expected, atol=1e-6)
    np.testing.assert_allclose(silhouette_widths(points, lonely), expected, atol=1e-12)
    assert sp.metrics.label_asw(lonely, points) == pytest.approx((expected.mean() + 1) / 2)
    scores = []
    for label in range(4):
        rows = domain == label
        scores.append(np.mean(1 - np.abs(silhouette_samples(points[rows], library[rows]))))
    assert sp.metrics.batch_asw(domain, library, points) == pytest.approx(np.mean(scores))


def test_silhouettes_by_hand() -> None:
    # Within "x": a at 0 and 1, b at 3. For 0: own 1, other 3, width 2/3; for 1: own 1, other 2, width 1/2; b alone: 0.
    # Domain "y" is in one slice, "z" has one spot in each: both left out.
    labels, library = list("xxxyyzz"), list("aabaaab")
    points = np.array([0.0, 1, 3, 50, 51, 90, 91])[:, None]
    assert sp.metrics.batch_asw(labels, library, points) == pytest.approx(1 - (2 / 3 + 1 / 2) / 3)
    assert sp.metrics.label_asw(list("aab"), points[:3]) == pytest.approx(((2 / 3 + 1 / 2) / 3 + 1) / 2)
    assert sp.metrics.label_asw(list("aabb"), np.zeros((4, 2))) == 0.5


def test_silhouettes_at_the_extremes() -> None:
    domain, library, mixed, apart = extremes()
    assert sp.metrics.batch_asw(domain, library, mixed) > 0.95
    assert sp.metrics.batch_asw(domain, library, apart) < 0.01
    assert sp.metrics.label_asw(domain, mixed) > 0.95
    assert sp.metrics.label_asw(domain, apart) < 0.55


def test_samples_come_close_and_are_seeded() -> None:
    domain, library, points = cloud(0, n=4000)
    exact = sp.metrics.batch_asw(domain, library, points)
    sampled = [sp.metrics.batch_asw(domain, library, points, max_spots=300, random_state=seed) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled == pytest.approx([exact] * 3, abs=0.03)
    assert sp.metrics.label_asw(domain, points, max_spots=600) == pytest.approx(
        sp.metrics.label_asw(domain, points), abs=0.02
    )


@given(SEEDS)
@settings(max_examples=10)
def test_order_names_place_and_unit_do_not_matter(seed: int) -> None:
    domain, library, points = cloud(seed)
    order = np.random.default_rng(seed).permutation(len(domain))
    names, moved = np.array(["z", "b", "q"])[library][order], (3.7 * points - 5)[order]
    for metric in OF_SLICES:
        assert metric(names, moved) == pytest.approx(metric(library, points))
    for metric in (sp.metrics.graph_connectivity, sp.metrics.label_asw):
        assert metric(domain[order], moved) == pytest.approx(metric(domain, points))
    assert sp.metrics.batch_asw(domain[order], names, moved) == pytest.approx(
        sp.metrics.batch_asw(domain, library, points)
    )


def test_unlabelled_spots_are_left_out() -> None:
    domain, library, points = cloud(0)
    kept = np.arange(len(domain)) % 7 != 0
    holes = [label if keep else None for label, keep in zip(domain, kept, strict=True)]
    for metric in (sp.metrics.graph_connectivity, sp.metrics.label_asw):
        assert metric(holes, points) == metric(domain[kept], points[kept])
    expected = sp.metrics.batch_asw(domain[kept], library[kept], points[kept])
    assert sp.metrics.batch_asw(holes, library, points) == expected


def test_evaluate_gives_the_same_scores() -> None:
    domain, library, points = cloud(0)
    scores = sp.metrics.evaluate(domain, domain, embedding=points, library=library)
    for metric in (sp.metrics.ilisi, *OF_SLICES):
        assert scores[metric.__name__] == metric(library, points)
    for metric in (sp.metrics.clisi, sp.metrics.label_asw, sp.metrics.graph_connectivity):
        assert scores[metric.__name__] == metric(domain, points)
    for metric in (sp.metrics.f1_lisi, sp.metrics.batch_asw):
        assert scores[metric.__name__] == metric(domain, library, points)
    unknown = sp.metrics.evaluate(None, domain, embedding=points, library=library)
    assert [*unknown.index] == ["silhouette", "ilisi", "kbet", "js_divergence"]
    single = sp.metrics.evaluate(np.zeros(160), domain, embedding=points, library=library)
    assert "kbet" in single
    assert np.isnan(single["clisi"])
    labelled_in_one = np.where(library == 0, domain.astype(object), None)
    assert "ilisi" not in sp.metrics.evaluate(labelled_in_one, domain, embedding=points, library=library)


@pytest.mark.parametrize("metric", OF_SLICES)
def test_errors_of_slices(metric: Any) -> None:
    _, library, points = cloud(0)
    with pytest.raises(ValueError, match="library has 2 spots and embedding has 160"):
        metric([0, 1], points)
    with pytest.raises(ValueError, match="library is missing for 1 spots"):
        metric([None, *library[1:]], points)
    with pytest.raises(ValueError, match=f"{metric.__name__} looks at how slices mix, but all 160 spots are of"):
        metric(["s"] * 160, points)
    with pytest.raises(ValueError, match="library must have one label for each spot"):
        metric(library[:, None], points)
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(library, np.full((160, 2), np.inf))
    with pytest.raises(ValueError, match="expected one row per spot"):
        metric(library, points[:, 0])


def test_errors() -> None:
    domain, library, points = cloud(0)
    with pytest.raises(ValueError, match="there is one labelled spot only"):
        sp.metrics.graph_connectivity(["a", None], [[0.0], [1.0]])
    with pytest.raises(ValueError, match="label_asw compares domains"):
        sp.metrics.label_asw(["a"] * 160, points)
    with pytest.raises(ValueError, match="label_asw needs a domain with at least two spots"):
        sp.metrics.label_asw(np.arange(160), points)
    with pytest.raises(ValueError, match="batch_asw looks at how slices mix"):
        sp.metrics.batch_asw(domain, ["s"] * 160, points)
    with pytest.raises(ValueError, match="batch_asw needs a domain in two slices"):
        sp.metrics.batch_asw(library, library, points)
    with pytest.raises(ValueError, match="labels has 160 spots and library has 2"):
        sp.metrics.batch_asw(domain, ["s", "t"], points)
    for metric in (sp.metrics.label_asw, sp.metrics.graph_connectivity):
        with pytest.raises(ValueError, match="none of the 160 spots has a label"):
            metric([None] * 160, points)


def test_two_spots_are_enough_for_connectivity() -> None:
    assert sp.metrics.graph_connectivity(["a", "a"], [[0.0], [1.0]]) == 1.0
    with pytest.raises(ValueError, match="one labelled spot only"):
        sp.metrics.graph_connectivity(["a"], [[0.0]])
