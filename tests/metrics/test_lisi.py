"""LISI by hand, against the formula written out spot by spot, its invariances and its extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial.distance import cdist

import spotscape as sp
from spotscape.metrics._lisi import lisi_of, perplexity_weights

SEEDS = st.integers(0, 2**32 - 1)


def cloud(seed: int, n: int = 150, n_slices: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Domains two units apart, slices half a unit."""
    rng = np.random.default_rng(seed)
    domain, library = rng.integers(4, size=n), rng.integers(n_slices, size=n)
    return domain, library, rng.normal(size=(n, 5)) + 2 * np.eye(5)[domain] + 0.5 * np.eye(5)[4 - library]


def brute_lisi(labels: np.ndarray, points: np.ndarray, perplexity: float) -> np.ndarray:
    """Solve for the kernel width by Brent's method and add up the weights label by label."""
    found = []
    for spot, row in enumerate(cdist(points, points)):
        others = np.delete(np.arange(len(points)), spot)
        nearest = others[np.argsort(row[others])[: round(3 * perplexity) - 1]]
        distances = row[nearest]

        def weights(log_beta: float, distances: np.ndarray = distances) -> np.ndarray:
            raw = np.exp(-np.exp(log_beta) * (distances - distances.min()))
            return raw / raw.sum()

        def excess(log_beta: float) -> float:
            p = weights(log_beta)
            return -np.sum(p * np.log(np.maximum(p, 1e-300))) - np.log(perplexity)

        p = weights(brentq(excess, -15, 15, xtol=1e-12))
        found.append(1 / sum(p[labels[nearest] == label].sum() ** 2 for label in np.unique(labels)))
    return np.array(found)


@given(SEEDS, st.sampled_from([4.0, 7.5, 30.0]))
@settings(max_examples=10)
def test_equals_the_formula_spot_by_spot(seed: int, perplexity: float) -> None:
    _, library, points = cloud(seed)
    expected = brute_lisi(library, points, perplexity)
    np.testing.assert_allclose(sp.metrics.lisi(library, points, perplexity=perplexity), expected, rtol=2e-3)
    assert sp.metrics.ilisi(library, points, perplexity=perplexity) == pytest.approx(
        (np.median(expected) - 1) / 2, abs=2e-3
    )


def test_by_hand() -> None:
    # A regular tetrahedron: all three neighbours are equally far, so each weighs a third whatever the perplexity.
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    np.testing.assert_allclose(sp.metrics.lisi(list("aabb"), corners), 1 / (1 / 9 + 4 / 9))
    np.testing.assert_allclose(sp.metrics.lisi(list("aaab"), corners), [9 / 5] * 3 + [1])
    np.testing.assert_allclose(sp.metrics.lisi(list("abcd"), corners), 3)
    # Scaled: 9/5 of 2 slices is 0.8 mixed, and 0.2 apart.
    assert sp.metrics.ilisi(list("aabb"), corners) == pytest.approx(0.8)
    assert sp.metrics.clisi(list("aabb"), corners) == pytest.approx(0.2)
    # ilisi 0.8 and, with the same labels as slices, clisi 0.2: 2 * 0.16 / 1.
    assert sp.metrics.f1_lisi(list("aabb"), list("aabb"), corners) == pytest.approx(0.32)


def test_weights_have_the_perplexity() -> None:
    distances = np.sort(np.random.default_rng(0).gamma(3, size=(50, 89)), axis=1)
    for scale in (1e-9, 1.0, 1e9):
        weights = perplexity_weights(scale * distances, 30)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 30, rtol=1e-4)
        assert (np.diff(weights, axis=1) <= 0).all()


def test_weights_where_no_width_has_the_perplexity() -> None:
    np.testing.assert_allclose(perplexity_weights(np.zeros((1, 6)), 2), 1 / 6)
    np.testing.assert_allclose(perplexity_weights(np.array([[1.0, 1, 1, 5]]), 2)[0], [1 / 3, 1 / 3, 1 / 3, 0])


def test_extremes() -> None:
    rng = np.random.default_rng(0)
    domain, library = np.repeat([0, 1], 300), np.tile([0, 1, 2], 200)
    points = rng.normal(size=(600, 4)) + 50 * domain[:, None]
    apart = points + 1000 * library[:, None]
    assert sp.metrics.ilisi(library, points) > 0.85
    assert sp.metrics.ilisi(library, apart) == pytest.approx(0)
    assert sp.metrics.clisi(domain, points) == pytest.approx(1)
    assert sp.metrics.clisi(rng.permutation(domain), points) < 0.1
    assert sp.metrics.f1_lisi(domain, library, points) > 0.9
    assert sp.metrics.f1_lisi(domain, library, apart) == pytest.approx(0)


@given(SEEDS, st.floats(1e-3, 1e3))
@settings(max_examples=10)
def test_order_names_place_and_unit_do_not_matter(seed: int, scale: float) -> None:
    domain, library, points = cloud(seed)
    order = np.random.default_rng(seed).permutation(len(domain))
    names = np.array(["z", "b", "q"])[library]
    moved = (points * scale + 7.0)[order]
    expected = sp.metrics.lisi(library, points)
    np.testing.assert_allclose(sp.metrics.lisi(names[order], moved), expected[order], rtol=1e-4)
    assert sp.metrics.f1_lisi(domain[order], names[order], moved) == pytest.approx(
        sp.metrics.f1_lisi(domain, library, points), rel=1e-4
    )


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    _, library, points = cloud(0)
    whole = sp.metrics.lisi(library, points)
    monkeypatch.setattr("spotscape.metrics._lisi._BLOCK", 37)
    np.testing.assert_array_equal(sp.metrics.lisi(library, points), whole)


def test_unlabelled_spots_are_left_out() -> None:
    domain, library, points = cloud(0)
    kept = np.arange(len(domain)) % 7 != 0
    holes = [label if keep else None for label, keep in zip(domain, kept, strict=True)]
    found = sp.metrics.lisi(holes, points)
    np.testing.assert_array_equal(found[kept], sp.metrics.lisi(domain[kept], points[kept]))
    assert np.isnan(found[~kept]).all()
    assert sp.metrics.clisi(holes, points) == sp.metrics.clisi(domain[kept], points[kept])
    expected = sp.metrics.f1_lisi(domain[kept], library[kept], points[kept])
    assert sp.metrics.f1_lisi(holes, library, points) == expected


def test_errors() -> None:
    domain, library, points = cloud(0)
    for metric in (sp.metrics.lisi, sp.metrics.clisi):
        with pytest.raises(ValueError, match="labels has 2 spots and embedding has 150"):
            metric([0, 1], points)
        with pytest.raises(ValueError, match="none of the 150 spots has a label"):
            metric([None] * 150, points)
        with pytest.raises(ValueError, match="embedding has NaN or infinite values in 1 of 150"):
            metric(domain, np.where(np.arange(150)[:, None] == 3, np.nan, points))
    with pytest.raises(ValueError, match="there is one labelled spot only"):
        sp.metrics.lisi(["a", None], [[0.0], [1.0]])
    with pytest.raises(ValueError, match="library has 2 spots and embedding has 150"):
        sp.metrics.ilisi([0, 1], points)
    with pytest.raises(ValueError, match="library is missing for 1 spots"):
        sp.metrics.ilisi([None, *library[1:]], points)
    with pytest.raises(ValueError, match="ilisi looks at how slices mix, but all 150 spots are of the same slice"):
        sp.metrics.ilisi(["s"] * 150, points)
    with pytest.raises(ValueError, match="clisi compares domains, but all 150 labelled spots have the same label"):
        sp.metrics.clisi(["a"] * 150, points)
    with pytest.raises(ValueError, match="f1_lisi compares domains"):
        sp.metrics.f1_lisi(["a"] * 150, library, points)
    with pytest.raises(ValueError, match="f1_lisi looks at how slices mix"):
        sp.metrics.f1_lisi(domain, ["s"] * 150, points)


def test_neither_mixed_nor_apart_is_nothing() -> None:
    from spotscape.metrics._lisi import harmonic

    assert harmonic(0.0, 0.0) == 0.0
    assert harmonic(0.5, 1.0) == pytest.approx(2 / 3)


def test_few_spots_have_a_third_of_them_as_perplexity() -> None:
    points = np.random.default_rng(0).normal(size=(12, 2))
    codes = np.arange(12) % 2
    order = cdist(points, points).argsort(axis=1)[:, 1:]
    distances = np.take_along_axis(cdist(points, points), order, axis=1)
    shares = perplexity_weights(distances, 4)
    expected = [
        1 / sum(row[codes[near] == code].sum() ** 2 for code in (0, 1)) for row, near in zip(shares, order, strict=True)
    ]
    np.testing.assert_allclose(lisi_of(codes, distances, order, 30), expected)
