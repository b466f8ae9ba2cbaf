"""The mathematics of registration on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape.registration._section import Section, about, displacement, guiding_features, motion, move, one_hot
from spotscape.registration._stack import align, n_mutual_pairs, partners_of, register, unit_ratios

degrees = st.floats(-179, 180)
coordinate = st.floats(-1e4, 1e4)


def lattice(half: int = 16) -> np.ndarray:
    row, column = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    return np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)])


def comma(points: np.ndarray) -> np.ndarray:
    """Which points lie in a shape that no rotation or mirror image maps to itself."""
    x, y = points.T
    head, tail = np.hypot(x + 3, y - 2) < 8, (np.abs(x - 2) < 4) & (y < 0) & (y > -13)
    return head | tail | ((np.abs(y - 6) < 2.5) & (x > 0) & (x < 12))


@pytest.fixture(scope="module")
def slices() -> tuple[np.ndarray, np.ndarray]:
    """Two slices of one tissue whose spots do not coincide; a fifth of the second's are lost."""
    rng = np.random.default_rng(0)
    other = move(motion(17.0, (0.3, 0.4)), lattice(24))
    other = other[comma(other)]
    return lattice()[comma(lattice())], other[rng.random(len(other)) > 0.2]


class TestRigid:
    def test_about_keeps_the_centre_in_place(self) -> None:
        centre = np.array([3.0, -2.0])
        np.testing.assert_allclose(move(about(motion(70), centre), centre[None])[0], centre)

    def test_displacement_of_a_shift(self) -> None:
        assert displacement(np.eye(3), motion(0, (3, 4)), np.zeros((2, 2))) == pytest.approx(5)


class TestPiece:
    def test_a_disc_has_its_area_and_normals(self) -> None:
        points = lattice(20)
        points = points[np.hypot(*points.T) < 12]
        piece = Section.of(points)
        assert piece.area == pytest.approx(np.pi * 12**2, rel=0.08)
        assert np.hypot(*piece.contour.T) == pytest.approx(12, abs=1.0)
        outward = (piece.normals * piece.contour).sum(axis=1) / np.hypot(*piece.contour.T)
        assert outward.min() > 0.9

    def test_missing_spots_tear_no_holes(self) -> None:
        points = lattice(20)
        kept = points[np.random.default_rng(0).random(len(points)) > 0.3]
        assert Section.of(kept).area == pytest.approx(Section.of(points).area, rel=0.05)

    def test_a_hole_in_the_tissue_stays(self) -> None:
        points = lattice(20)
        piece = Section.of(points[np.hypot(*points.T) > 6])
        assert piece.covers(np.array([[0.0, 0.0], [10.0, 0.0]])).tolist() == [False, True]


class TestAlign:
    @settings(max_examples=8)
    @given(degrees, coordinate, coordinate, st.booleans())
    def test_a_known_motion_is_undone(
        self, slices: tuple[np.ndarray, np.ndarray], angle: float, x: float, y: float, mirror: bool
    ) -> None:
        reference, query = slices
        away = motion(angle, (x, y), mirror=mirror)
        found = align(move(away, query), reference, allow_flip=True)
        assert displacement(found.matrix @ away, np.eye(3), query) < 0.5
        assert found.runner_up is None or found.runner_up.total < 0.9 * found.score.total
        assert not found.poor

    @pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
    def test_the_unit_does_not_matter(self, slices: tuple[np.ndarray, np.ndarray], unit: float) -> None:
        reference, query = slices
        away = motion(100)
        found = align(unit * move(away, query), unit * reference)
        assert displacement(found.matrix @ away, np.eye(3), unit * query) < 0.5 * unit

    @pytest.mark.slow
    def test_the_order_of_spots_does_not_matter(self, slices: tuple[np.ndarray, np.ndarray]) -> None:
        reference, query = slices
        rng = np.random.default_rng(3)
        one = align(query, reference)
        other = align(rng.permutation(query), rng.permutation(reference))
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-6)

    def test_the_scale_is_found_if_asked(self, slices: tuple[np.ndarray, np.ndarray]) -> None:
        reference, query = slices
        found = align(7.0 * move(motion(60), query), reference, scale=True)
        assert np.sqrt(np.linalg.det(found.matrix[:2, :2])) == pytest.approx(1 / 7, rel=0.03)

    def test_a_part_finds_its_place(self, slices: tuple[np.ndarray, np.ndarray]) -> None:
        reference, query = slices
        part = query[query[:, 1] > -6]
        away = motion(-150, (5, 5))
        found = align(move(away, part), reference)
        assert displacement(found.matrix @ away, np.eye(3), part) < 0.7

    @pytest.mark.slow
    def test_a_disc_is_ambiguous_until_features_guide(self) -> None:
        disc = lattice(20)
        disc = disc[np.hypot(*disc.T) < 13]
        assert align(move(motion(40), disc), disc).ambiguous
        values = np.column_stack([disc[:, 0] > 4, np.hypot(*(disc - [3, 5]).T) < 4]).astype(float)
        features = guiding_features([values, values])
        found = align(move(motion(40), disc), disc, features=(features[0], features[1]))
        assert displacement(found.matrix @ motion(40), np.eye(3), disc) < 0.2
        assert not found.ambiguous

    def test_unlike_shapes_fit_poorly(self) -> None:
        points = lattice(30)
        cross = points[(np.abs(points[:, 0]) < 3) | (np.abs(points[:, 1]) < 3)]
        ring = points[(np.hypot(*points.T) < 22) & (np.hypot(*points.T) > 14)]
        assert align(cross, ring).poor


@pytest.mark.parametrize("n_spots", [3, 5, 8, 10])
def test_spots_too_few_for_an_outline_are_refused(n_spots: int, recwarn: pytest.WarningsRecorder) -> None:
    rng = np.random.default_rng(0)
    tissue, few = rng.uniform(0, 30, (400, 2)), rng.uniform(0, 300, (n_spots, 2))
    for query, reference in ((few, tissue), (tissue, few)):
        sizes = f"{len(query)} and {len(reference)}"
        with pytest.raises(ValueError, match=rf"^slices of {sizes} spots cannot be registered: the smaller"):
            align(query, reference)
    assert not recwarn.list


class TestChain:
    @pytest.mark.slow
    def test_neighbours_pass_on_their_motions(self, slices: tuple[np.ndarray, np.ndarray]) -> None:
        reference, query = slices
        away = [motion(angle, (angle, 0)) for angle in (0, 50, -120)]
        placed = [move(m, s) for m, s in zip(away, (reference, query, reference), strict=True)]
        for policy, partners in (("sequential", [0, 0, 1]), ("star", [0, 0, 0])):
            found = register(placed, policy=policy)
            assert found.partners.tolist() == partners
            for matrix, m, points in zip(found.transforms, away, (reference, query, reference), strict=True):
                assert displacement(matrix @ m, np.eye(3), points) < 0.7

    def test_the_reference_may_stand_in_the_middle(self) -> None:
        assert partners_of(5, 2, "sequential").tolist() == [1, 2, 2, 2, 3]

    def test_threads_change_nothing(self, slices: tuple[np.ndarray, np.ndarray]) -> None:
        one, two = (register([*slices], n_threads=n).transforms for n in (1, 2))
        np.testing.assert_array_equal(one, two)

    def test_pairs_are_mutual_and_near(self) -> None:
        one = np.array([[0.0, 0], [1, 0], [2, 0], [9, 9]])
        assert n_mutual_pairs(one, one + np.array([0.2, 0])) == 4
        assert n_mutual_pairs(one[:3], np.array([[0.1, 0], [1.4, 0], [8.0, 0], [9.0, 0]])) == 2

    def test_units_are_told_from_technology_and_size(self) -> None:
        wide = lattice(16)
        fine = lattice(32) / 2
        assert unit_ratios([wide, 137 * wide])[1] == pytest.approx(137)
        assert unit_ratios([wide, fine])[1] == 1
        assert unit_ratios([wide, wide[:200]])[1] == 1
        assert unit_ratios([wide, 1.2 * wide])[1] == pytest.approx(1.2)

    def test_among_cells_a_spacing_may_differ(self) -> None:
        cells = np.random.default_rng(0).random((2000, 2))
        assert unit_ratios([cells, 1.2 * cells])[1] == 1
        assert unit_ratios([cells, 1.6 * cells])[1] == pytest.approx(1.6)


def test_features_say_nothing_where_the_tissues_do_not_meet(slices: tuple[np.ndarray, np.ndarray]) -> None:
    from spotscape.registration._search import _feature_terms

    one, two = (Section.of(points, points) for points in slices)
    (first, *_) = _feature_terms(one, two)
    found = first.residuals(motion(0, (1e3, 0)), np.zeros(2))
    assert found.values.shape == found.weights.shape == (0,)


class TestFeatures:
    def test_shift_of_a_slice_goes(self) -> None:
        values = np.random.default_rng(0).normal(size=(50, 12))
        one, other = guiding_features([values, values + 5])
        np.testing.assert_allclose(one, other, atol=1e-10)
        assert one.shape == (50, 8)
        assert one[:, 0].std() == pytest.approx(1)

    def test_unlabelled_spots_say_nothing(self) -> None:
        found = one_hot(np.array([0, 1, -1, 1]), 2)
        np.testing.assert_allclose(found, [[1, 0], [0, 1], [1 / 3, 2 / 3], [0, 1]])
