"""The parts of the simulation against hand-worked values."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape.datasets._regions import Outline, Tear, draw_regions, smooth_field
from spotscape.datasets._tissue import draw_cell_types, draw_counts, draw_programs, row_chunks
from spotscape.registration._section import motion, move

TEAR = Tear(tip=np.zeros(2), direction=np.array([1.0, 0.0]), length=10.0, width=4.0)


def test_a_motion_mirrors_then_turns_then_shifts() -> None:
    matrix = motion(90, (10, 20), mirror=True)
    np.testing.assert_allclose(move(matrix, np.array([[1.0, 2.0]])), [[8.0, 19.0]])
    np.testing.assert_allclose(matrix[2], [0, 0, 1])


@given(st.floats(-360, 360), st.floats(-50, 50), st.booleans())
def test_a_motion_keeps_distances(angle: float, shift: float, mirrored: bool) -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    moved = move(motion(angle, (shift, -shift), mirror=mirrored), points)
    assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(5)


def test_tear_closes_the_wedge() -> None:
    # At the rim (x = 10) the crack is open from y = -2 to y = 2, half way (x = 5) from -1 to 1.
    points = np.array([[10.0, 2.0], [10.0, -2.0], [5.0, 1.0], [5.0, 0.9], [10.0, 0.0], [-3.0, 0.5], [5.0, 500.0]])
    before, on_tissue = TEAR.close(points)
    expected = [[10, 0], [10, 0], [5, 0], None, None, [-3, 0.5], [5, 500]]
    assert on_tissue.tolist() == [position is not None for position in expected]
    np.testing.assert_allclose(before[on_tissue], [p for p in expected if p is not None], atol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_tears_do_not_fold_the_tissue(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tear = Tear.draw(rng, 20.0)
    normal = np.array([-tear.direction[1], tear.direction[0]])
    line = tear.tip + tear.direction * rng.uniform(0, 25) + np.linspace(-30, 30, 400)[:, None] * normal
    before, on_tissue = tear.close(line)
    assert (np.diff(before[on_tissue] @ normal) > 0).all()


def test_smooth_field_is_smooth_and_of_unit_variance() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-500, 500, (20_000, 2))
    field = smooth_field(rng, 10.0)
    values = field(points)
    assert values.std() == pytest.approx(1, abs=0.1)
    assert np.abs(field(points + 0.05) - values).max() < 0.5
    np.testing.assert_array_equal(field(points, 3), values)


def test_outline_grows_outwards_and_holds_about_its_spots() -> None:
    outline = Outline.draw(np.random.default_rng(1), 2000, "square")
    directions = np.random.default_rng(2).normal(size=(50, 2))
    levels = np.array([outline.level(scale * directions) for scale in (1, 2, 3)])
    np.testing.assert_allclose(levels[1:], levels[0] * [[2], [3]])
    x, y = np.mgrid[-60:61, -60:61].reshape(2, -1)
    assert np.sum(outline.level(np.column_stack([x, y])) < 1) == pytest.approx(2000, rel=0.15)


def test_domain_shares_add_up_and_blend_only_at_boundaries() -> None:
    rng = np.random.default_rng(3)
    outline = Outline.draw(rng, 2000, "hexagonal")
    regions = draw_regions(rng, outline, layout="mixed", n_domains=6)
    points, inside = outline.grid()
    weights = regions.weights(points[inside], 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights.argmax(axis=1), regions.scores(points[inside], 0).argmax(axis=1))
    assert 0.5 < np.mean(weights.max(axis=1) > 0.95) < 0.99


def test_adjacency_of_layers_is_a_chain() -> None:
    rng = np.random.default_rng(0)
    outline = Outline.draw(rng, 2000, "hexagonal")
    adjacency = draw_regions(rng, outline, layout="layers", n_domains=4).adjacency(outline)
    chain = np.eye(4, k=1, dtype=bool) | np.eye(4, k=-1, dtype=bool)
    np.testing.assert_array_equal(adjacency, chain)


def test_counts_are_negative_binomial() -> None:
    n = 200_000
    share = np.full((n, 2), 0.5, dtype=np.float32)
    concentration = np.array([1.0, 4.0])
    counts = draw_counts(np.random.default_rng(0), share, np.full(n, 6.0), concentration, 0.0).toarray()
    np.testing.assert_allclose(counts.mean(axis=0), 3, rtol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), 3 + 9 / concentration, rtol=0.03)


def test_dropout_inflates_zeros_as_documented() -> None:
    n, mean, concentration, dropout = 200_000, 2.0, 2.0, 0.5
    share = np.ones((n, 1), dtype=np.float32)
    counts = draw_counts(np.random.default_rng(0), share, np.full(n, mean), np.array([concentration]), dropout)
    zero = (1 + mean / concentration) ** -concentration
    expected = zero + (1 - zero) * dropout * np.exp(-mean / 4)
    assert 1 - counts.nnz / n == pytest.approx(expected, abs=0.005)
    assert (counts.data > 0).all()


def test_batch_effects_are_zero_on_average() -> None:
    parameters = SimpleNamespace(total_genes=30, n_slices=3, difficulty=0.5, batch_effect=0.5)
    programs = draw_programs(np.random.default_rng(0), np.zeros((2, 2), dtype=bool), parameters, 20.0)
    np.testing.assert_allclose(programs.batch.mean(axis=0), 0, atol=1e-12)
    assert programs.batch.std() > 0.3


def test_spots_mix_cell_types_and_cells_do_not() -> None:
    cells = draw_cell_types(np.random.default_rng(0), 500, single_cells=True)
    spots = draw_cell_types(np.random.default_rng(0), 500, single_cells=False)
    assert set(np.unique(cells)) == {0.0, 1.0}
    np.testing.assert_allclose(cells.sum(axis=1), 1)
    np.testing.assert_allclose(spots.sum(axis=1), 1)
    assert np.mean(spots.max(axis=1) < 0.95) > 0.3


@pytest.mark.parametrize(("n_spots", "n_genes"), [(10, 5), (9000, 1000), (3, 10_000_000)])
def test_chunks_cover_every_row_once(n_spots: int, n_genes: int) -> None:
    rows = np.concatenate([np.arange(n_spots)[chunk] for chunk in row_chunks(n_spots, n_genes)])
    np.testing.assert_array_equal(rows, np.arange(n_spots))
