"""Parts of the registration against values worked out by hand, dense formulas and finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spotscape.registration._search import (
    PoseScorer,
    PoseSearch,
    Refiner,
    Score,
    _feature_terms,
    _jacobian,
    _peaks,
    _point_to_line,
    distinct,
)
from spotscape.registration._section import Field, Section, _outline, displacement, motion, move, typical_distance
from spotscape.registration._smooth import Deformation, _displaced, _features, _sampled, _solve, _Splines
from spotscape.registration._smooth import _outline as _outline_equations
from spotscape.registration._stack import Alignment, Registration, _combined, _is_contested, _sizes, align, measures

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def grid(width: int, height: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(float(width)), np.arange(float(height)), indexing="ij"), -1).reshape(-1, 2)


@pytest.fixture(scope="module")
def letter() -> Section:
    """An L of spots one apart with two features: a line and a wave."""
    points = grid(14, 20)
    points = points[(points[:, 0] < 7) | (points[:, 1] < 6)]
    features = np.column_stack([points[:, 0] / 5 - 1, np.sin(points[:, 1] / 3)])
    return Section.of(points, features)


class TestSection:
    def test_a_field_is_linear_between_its_points(self) -> None:
        x, y = np.meshgrid(1 + 0.5 * np.arange(4), 2 + 0.5 * np.arange(5), indexing="ij")
        field = Field(np.array([1.0, 2.0]), 0.5, np.stack([3 * x - y, x + 2 * y]))
        points = np.array([[1.3, 2.2], [2.4, 3.9], [0.9, 3.0]])
        np.testing.assert_allclose(field.at(points, outside=7.0)[:2], [[1.7, 5.7], [3.3, 10.2]])
        assert field.at(points, outside=7.0)[2].tolist() == [7, 7]
        assert field.at(points)[2].tolist() == [0, 0]
        np.testing.assert_allclose(field.gradient().at(points[:2]), [[3, -1, 1, 2]] * 2)

    def test_the_outline_of_a_cone_is_a_circle(self) -> None:
        axis = -6 + 0.25 * np.arange(49)
        x, y = np.meshgrid(axis, axis, indexing="ij")
        contour, normals = _outline(Field(np.array([-6.0, -6.0]), 0.25, 4.0 - np.hypot(x, y)[None]))
        np.testing.assert_allclose(np.hypot(*contour.T), 4, atol=0.01)
        # Normals are of a field smoothed over two spacings, which is rough at the corners of the grid's squares.
        np.testing.assert_allclose(np.hypot(*normals.T), 1)
        assert (normals * contour / 4).sum(axis=1).min() > 0.99
        assert (np.diff(contour[:, 0]) >= 0).all()

    def test_distance_to_the_sixth_neighbour(self) -> None:
        """On a line: the sixth nearest is three away inside, and four or five near the ends."""
        line = np.column_stack([np.arange(21.0), np.zeros(21)])
        assert typical_distance(line) == 3
        assert typical_distance(line[:4]) == 2.5

    def test_the_features_are_averages_under_a_gaussian(self, letter: Section) -> None:
        assert letter.features is not None
        constant = replace(letter, features=np.ones((len(letter.points), 1)))
        inside = letter.points[letter.depth.at(letter.points)[:, 0] > 1]
        np.testing.assert_allclose(constant.smooth_features(1.0).at(inside), 1, atol=1e-6)
        middle = inside[np.abs(inside - [3, 10]).max(axis=1) < 0.1]
        away = np.square(letter.points - middle[0]).sum(axis=1)
        weights = np.exp(-away / 2)
        expected = weights @ letter.features / weights.sum()
        np.testing.assert_allclose(letter.smooth_features(1.0).at(middle)[0], expected, atol=0.005)

    def test_size_and_centre(self, letter: Section) -> None:
        assert letter.diameter == pytest.approx(np.hypot(13, 19))
        np.testing.assert_allclose(letter.centre, letter.points.mean(axis=0))
        # A spot stands for its cell.
        assert letter.area == pytest.approx(len(letter.points), rel=0.05)
        assert Section.of(letter.points + 1e5).area == pytest.approx(letter.area, rel=0.03)


class TestEquations:
    def test_jacobian_is_the_change_under_a_small_motion(self) -> None:
        rng = np.random.default_rng(0)
        slopes, arms = rng.normal(size=(2, 5, 2))
        found = _jacobian(slopes, arms)
        step = 1e-6
        moves = [motion(0.0, (step, 0)), motion(0.0, (0, step)), motion(np.rad2deg(step)), motion(0.0, scale=1 + step)]
        expected = [(slopes * (move(each, arms) - arms)).sum(axis=1) / step for each in moves]
        np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-5)

    def test_pairs_of_outlines_count_less_the_farther_and_the_more_askew(self) -> None:
        """Gaps of 1 and 3 under a width of 2; normals equal, at 60 degrees, opposite."""
        up, askew = np.array([0.0, 1.0]), np.array([np.sqrt(0.75), 0.5])
        moving = np.array([[2.0, 1.0], [2.0, 3.0], [2.0, 1.0], [2.0, 1.0]])
        fixed = np.array([[2.0, 0.0]] * 4)
        normals, others = np.array([up] * 4), np.array([up, up, askew, -up])
        found = _point_to_line(moving, fixed, normals, others, width=2.0, centre=np.array([1.0, 0.0]))
        np.testing.assert_allclose(found.values, [1, 3, 1, 1])
        np.testing.assert_allclose(found.weights, [0.75**2 * 0.5, 0, 0, 0], atol=1e-12)
        # Up by one, turning by the arm to the right, growing by the arm upwards.
        np.testing.assert_allclose(found.rows, [[0, 1, 1, height] for height in (1, 3, 1, 1)])

    def test_features_of_a_line_ask_for_the_shift(self, letter: Section) -> None:
        """Moved by (.3, 0), the first feature is .06 too large everywhere inside; the second has no say in x."""
        term = _feature_terms(letter, letter)[-1]
        found = term.residuals(motion(0.0, (0.3, 0.0)), np.zeros(2))
        n = len(found.values) // 2
        inner = slice(0, n)
        assert np.median(found.values[inner]) == pytest.approx(0.06, rel=0.15)
        np.testing.assert_allclose(np.median(found.rows[inner, 0]), 0.2, rtol=0.15)
        assert abs(np.median(found.rows[n:, 0])) < 0.02
        # All spots together have a say of one and a half outlines over the typical disagreement.
        total = (found.values**2).reshape(2, n).sum(axis=0)
        typical = np.median(total)
        share = 1.5 * len(letter.contour) / (2 * len(term.points))
        np.testing.assert_allclose(found.weights[:n], share * 2 / typical / (1 + total / (3 * typical)))
        np.testing.assert_allclose(found.weights[n:], found.weights[:n])

    @pytest.mark.parametrize("scale", [False, True])
    def test_one_pose_is_refined_to_the_other(self, letter: Section, scale: bool) -> None:
        away = motion(4.0, (0.8, -0.6), scale=1.05 if scale else 1.0)
        query = Section.of(move(away, letter.points), letter.features)
        found = Refiner(query, letter, scale=scale).refine(np.eye(3), widths=np.array([4.0, 1.5]), finish=True)
        assert displacement(found @ away, np.eye(3), letter.points) < 0.01
        size = np.sqrt(np.linalg.det(found[:2, :2]))
        assert size == pytest.approx(1 / 1.05 if scale else 1.0, abs=0.001 if scale else 1e-9)

    def test_a_step_leaves_a_pose_that_fits_where_it_is(self, letter: Section) -> None:
        step = Refiner(letter, letter, scale=True)._step(np.eye(3), 1.5, finest=True)
        assert displacement(step, np.eye(3), letter.points) < 1e-6

    def test_sizes_far_off_are_not_followed(self, letter: Section) -> None:
        refiner = Refiner(letter, letter, scale=True)
        for size, fits in ((1.24, True), (1.26, False), (1 / 1.24, True), (1 / 1.26, False)):
            assert refiner._acceptable(motion(0.0, scale=size), np.eye(3)) is fits


class TestScores:
    def test_a_slice_on_itself(self, letter: Section) -> None:
        score = PoseScorer(letter, letter).score(np.eye(3))
        assert (score.outline, score.features) == (pytest.approx(1), pytest.approx(1, abs=0.02))
        assert score.overlap == 1
        assert score.total == pytest.approx(score.outline + 0.1 + 2.5 * score.features)
        assert Score(0.5, 0.2, float("nan")).total == pytest.approx(0.52)

    def test_outlines_that_run_beside_each_other_speak_against_a_pose(self) -> None:
        """A square moved by 3 along x: two sides of four lie on their like, two run 3 beside it."""
        square = Section.of(grid(31, 31))
        scorer = PoseScorer(square, square)
        found = {shift: scorer.score(motion(0.0, (shift, 0.0))) for shift in (0.5, 3.0, 7.0)}
        assert found[0.5].outline == pytest.approx(0.5 + 0.5 * np.exp(-((0.5 / 0.7) ** 2) / 2), abs=0.06)
        assert found[3.0].outline == pytest.approx(0.0, abs=0.1)
        assert found[7.0].outline == pytest.approx(0.5 * 24 / 31, abs=0.12)
        assert found[7.0].overlap == pytest.approx(24 / 31, abs=0.02)
        assert np.isnan(found[7.0].features)

    def test_agreement_of_features_is_a_correlation(self, letter: Section) -> None:
        assert letter.features is not None
        turned = replace(letter, features=-letter.features)
        assert PoseScorer(letter, turned).features(letter.points) == pytest.approx(-1, abs=0.02)
        assert PoseScorer(letter, letter).features(letter.points + 100) == 0
        nothing = replace(letter, features=0 * letter.features)
        assert PoseScorer(letter, nothing).features(letter.points) == 0
        assert np.isnan(PoseScorer(letter, Section.of(letter.points)).features(letter.points))

    def test_scores_of_all_shifts_are_sums_over_pixels(self, letter: Section) -> None:
        """The Fourier transforms against sums over the two images at a few shifts."""
        search = PoseSearch(letter, letter)
        turn = motion(20.0)
        found = search._score(turn)
        points = search._query_grid @ turn[:2, :2] + search._middle
        side, extent, shape = search._side, search._extent, search._shape
        moving, features_moving = search._images(letter, points, (side, side), which=0)
        axes = [search._low[i] + search.step * np.arange(extent[i]) for i in range(2)]
        pixels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        fixed, features_fixed = search._images(letter, pixels, (extent[0], extent[1]), which=1)

        def padded(image: np.ndarray) -> np.ndarray:
            whole = np.zeros((*image.shape[:-2], *shape))
            whole[..., : image.shape[-2], : image.shape[-1]] = image
            return whole

        ft = [2 * np.pi * np.fft.fftfreq(n) for n in shape]
        squared = ft[0][:, None] ** 2 + ft[1][None] ** 2
        band = squared * np.exp(-squared * (search._blur / search.step) ** 2)

        def edges(image: np.ndarray) -> np.ndarray:
            return np.asarray(np.fft.fft2(padded(image)) * np.sqrt(band))

        here, there = edges(fixed), edges(moving)
        norm = np.sqrt((np.abs(here) ** 2).sum() * (np.abs(there) ** 2).sum())
        a, b = padded(fixed), padded(moving)
        f, g = padded(features_fixed), padded(features_moving)
        places = np.argwhere(np.isfinite(found))
        for row, column in places[:: len(places) // 5]:
            shifted, turned = (np.roll(image, (row, column), axis=(-2, -1)) for image in (b, g))
            overlap = (a * shifted).sum() / min(a.sum(), b.sum())
            phase = np.exp(-1j * (ft[0][:, None] * row + ft[1][None] * column))
            outline = (here * np.conj(there * phase)).real.sum() / norm
            energies = ((f**2).sum(0) * shifted).sum(), (a * (turned**2).sum(0)).sum()
            assert min(energies) > 1
            features = (f * turned).sum() / np.sqrt(np.prod(energies))
            assert found[row, column] == pytest.approx(outline + 0.2 * overlap + 1.5 * features, abs=1e-6)
            assert overlap > 0.45

    def test_the_best_shift_lays_the_slice_on_itself(self, letter: Section) -> None:
        away = motion(-35.0, (3.0, 4.0))
        query = Section.of(move(away, letter.points), letter.features)
        found = PoseSearch(query, letter).poses(np.array([-35.0, 35.0, 215.0]), mirror=False)
        assert len(found) <= 9
        score, best = max(found, key=lambda pose: pose[0])
        assert displacement(best @ away, np.eye(3), letter.points) < 1.0
        assert score > 2.4

    def test_peaks_are_apart_on_the_torus(self) -> None:
        score = np.zeros((8, 9))
        score[0, 0], score[7, 8], score[3, 4], score[3, 6] = 5, 4, 3, 2
        assert _peaks(score, 3, reach=1) == [(0, 0), (3, 4), (3, 6)]
        assert _peaks(score, 3, reach=2)[:2] == [(0, 0), (3, 4)]
        assert _peaks(np.where(score == 5, score, -np.inf), 3, reach=1) == [(0, 0)]

    def test_poses_that_move_the_points_elsewhere_are_distinct(self) -> None:
        poses = [
            (score, motion(0.0, (shift, 0.0))) for score, shift in ((1.0, 0.0), (0.9, 0.5), (0.8, 0.7), (2.0, 9.0))
        ]
        kept = distinct([*poses, (-np.inf, motion(0.0, (90.0, 0.0)))], SQUARE, 10.0, most=9)
        assert [score for score, _ in kept] == [2.0, 1.0, 0.8]
        assert [score for score, _ in distinct(poses, SQUARE, 10.0, most=2)] == [2.0, 1.0]


class TestWhole:
    @pytest.mark.parametrize("mirror", [False, True])
    def test_a_slice_comes_back(self, letter: Section, mirror: bool) -> None:
        """Turned by 100 degrees, mirrored or not, and a fifth larger, which only a change of size may undo."""
        assert letter.features is not None
        away = motion(100.0, (50.0, -20.0), mirror=mirror)
        pair = letter.features, letter.features
        found = align(move(away, letter.points), letter.points, features=pair, allow_flip=mirror)
        assert displacement(found.matrix @ away, np.eye(3), letter.points) < 0.02
        assert found.score.total > 3.5
        assert (np.linalg.det(found.matrix[:2, :2]) < 0) == mirror
        if not mirror:
            larger = align(1.2 * move(away, letter.points), letter.points, features=pair)
            assert np.linalg.det(larger.matrix[:2, :2]) == pytest.approx(1)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("outline", "features", "ambiguous_at", "poor"),
        [(0.7, np.nan, 0.95, False), (0.14, np.nan, 0.95, True), (0.14, 0.41, 0.95, False), (0.14, 0.39, 0.95, True)],
    )
    def test_poor_and_ambiguous(self, outline: float, features: float, ambiguous_at: float, poor: bool) -> None:
        score = Score(outline, 0.5, features)
        assert Alignment(np.eye(3), score, None).poor is poor
        # A scrap of tissue on which features agree is no fit.
        assert Alignment(np.eye(3), Score(outline, 0.05, features), None).poor is (outline < 0.15)
        assert not Alignment(np.eye(3), score, None).ambiguous
        for share, ambiguous in ((ambiguous_at, True), (0.93, False)):
            rival = Score(share * score.total, 0.0, np.nan)
            assert Alignment(np.eye(3), score, rival).ambiguous is ambiguous
        assert Alignment(np.eye(3), score, None, contested=True).ambiguous

    def test_contested(self) -> None:
        """An outline of .6 of a disc is believed unless another has .75 of its score, or an edge is straight."""
        points = grid(33, 33) - 16
        disc = Section.of(points[np.hypot(*points.T) < 15])
        both, half = (disc, disc), Section.of(disc.points[disc.points[:, 0] < 0])
        score = Score(0.61, 0.0, np.nan)
        assert not _is_contested(score, [], both)
        assert not _is_contested(score, [Score(0.74 * 0.61, 0.0, np.nan)], both)
        assert _is_contested(score, [Score(0.1, 0.0, np.nan), Score(0.76 * 0.61, 0.0, np.nan)], both)
        assert _is_contested(Score(0.59, 0.0, np.nan), [], both)
        assert _is_contested(score, [], (disc, half))
        guided = Score(0.1, 0.0, 0.5)
        assert not _is_contested(guided, [Score(0.1, 0.0, 0.5)], (disc, half))
        assert _is_contested(guided, [Score(0.1, 0.0, 0.51)], both)

    def test_sizes_by_spacing_and_by_area(self) -> None:
        """A finer technology has half the spacing; by area it must not be magnified."""
        wide, fine = grid(20, 20), grid(41, 41) / 2
        np.testing.assert_allclose(_sizes(3 * wide, wide), [1 / 3])
        by_spacing, by_area = _sizes(fine, wide)
        assert by_spacing == pytest.approx(2)
        assert by_area == pytest.approx(1, rel=0.05)

    def test_measures_before_and_after(self) -> None:
        one, two = grid(5, 4), grid(5, 4) + np.array([0.0, 0.5])
        score = Score(0.7, 0.8, 0.9)
        known = Alignment(motion(0.0, (0.0, -0.5)), score, None, deformed_features=0.95)
        found = Registration(np.stack([np.eye(3), known.matrix]), np.array([0, 0]), (None, known), (None, None))
        told = measures([one, two], found)
        np.testing.assert_allclose(told["rmse"], [0, 0], atol=1e-12)
        np.testing.assert_allclose(told["rmse_before"], [0, 0.5])
        assert told["n_pairs"].tolist() == [20, 20]
        for name, value in (("overlap", 0.8), ("outline_agreement", 0.7)):
            np.testing.assert_allclose(told[name], [1, value])
        for name, value in (("feature_agreement", 0.9), ("feature_agreement_deformed", 0.95)):
            np.testing.assert_allclose(told[name], [np.nan, value])
        assert told["ambiguous"].tolist() == told["poor"].tolist() == [False, False]


def bent(shape: tuple[int, int] = (14, 14)) -> Deformation:
    """Half up and a gentle wave to the right, on a grid from (-1, -1) to (12, 12)."""
    x = np.arange(shape[0]) - 1.0
    wave = np.broadcast_to(0.4 * np.sin(x / 2)[:, None], shape)
    return Deformation(np.array([-1.0, -1.0]), 1.0, np.stack([wave, np.full(shape, 0.5)]))


class TestBending:
    def test_a_linear_deformation_has_its_determinant(self) -> None:
        """u = (.1 x + .2 y, -.3 x + .4 y): areas grow by 1.1 · 1.4 + .2 · .3."""
        x, y = np.meshgrid(2 + 0.5 * np.arange(9), 1 + 0.5 * np.arange(8), indexing="ij")
        found = Deformation(np.array([2.0, 1.0]), 0.5, np.stack([0.1 * x + 0.2 * y, -0.3 * x + 0.4 * y]))
        np.testing.assert_allclose(found.areas(), 1.1 * 1.4 + 0.2 * 0.3)
        assert [axis.tolist()[:2] for axis in found.axes()] == [[2, 2.5], [1, 1.5]]
        assert [len(axis) for axis in found.axes()] == [9, 8]
        on_grid = np.array([[3.0, 2.0], [4.5, 3.5]])
        np.testing.assert_allclose(found.displacements(on_grid), [[0.7, -0.1], [1.15, 0.05]])
        scaled = found.scaled(10.0, np.array([5.0, -5.0]))
        np.testing.assert_allclose(scaled.displacements(10 * on_grid + [5, -5]), 10 * found.displacements(on_grid))

    def test_motions_and_bends_are_passed_along_the_chain(self) -> None:
        """The third slice is bent onto the second, which is turned and bent onto the first."""
        points = grid(8, 8) + 2
        turn = motion(10.0, (1.0, 0.0))
        score = Score(1.0, 1.0, 1.0)
        first = Alignment(turn, score, None, deformation=bent())
        second = Alignment(np.eye(3), score, None, deformation=bent())
        transforms = np.stack([np.eye(3), turn, turn])
        found = _combined([points] * 3, transforms, np.array([0, 0, 1]), (None, first, second))
        assert found[0] is None
        one = bent().move(move(turn, points))
        two = bent().move(move(turn, bent().move(points)))
        for deformation, expected in zip(found[1:], (one, two), strict=True):
            assert deformation is not None
            inner = slice(20, 44)
            np.testing.assert_allclose(deformation.move(move(turn, points))[inner], expected[inner], atol=0.02)
        # All slices and four spacings around them.
        everything = np.concatenate([points, move(turn, points)])
        np.testing.assert_allclose(found[1].origin, everything.min(axis=0) - 4)
        assert (np.array([axis[-1] for axis in found[1].axes()]) >= everything.max(axis=0) + 4).all()
        straight = (None, replace(first, deformation=None), replace(second, deformation=None))
        assert _combined([points] * 3, transforms, np.array([0, 0, 1]), straight) == (None, None, None)

    def test_splines_add_up_to_one_and_reproduce_lines(self) -> None:
        splines = _Splines(np.array([0.0, 0.0]), np.array([40.0, 30.0]))
        assert splines.step == 4
        points = np.random.default_rng(0).uniform(0, 1, (50, 2)) * [40, 30]
        basis = splines.basis(points)
        np.testing.assert_allclose(basis.sum(axis=1), 1)
        assert basis.toarray().min() >= 0
        knots = [splines.origin[i] + splines.step * np.arange(splines.shape[i]) for i in range(2)]
        x, y = np.meshgrid(*knots, indexing="ij")
        np.testing.assert_allclose(basis @ np.stack([x.ravel(), y.ravel()], 1), points)
        # At a knot: 1/6, 4/6, 1/6 in either direction.
        at_knot = splines.basis(np.array([[knots[0][3], knots[1][3]]])).toarray().reshape(splines.shape)
        np.testing.assert_allclose(at_knot[2:5, 2:5], np.outer([1, 4, 1], [1, 4, 1]) / 36, atol=1e-12)
        assert _Splines(np.zeros(2), np.array([600.0, 0.0])).step == 10

    @pytest.mark.parametrize(
        ("function", "density"),
        [
            (lambda x, y: 0 * x + 7, 0.0),
            (lambda x, y: 0.3 * x, 0.5 * 0.3**2),
            (lambda x, y: -0.3 * y, 0.5 * 0.3**2),
        ],
    )  # fmt: skip
    def test_the_penalty_of_a_line_is_its_strain(self, function: Any, density: float) -> None:
        splines = _Splines(np.array([0.0, 0.0]), np.array([40.0, 30.0]))
        x, y = np.meshgrid(*[splines.step * np.arange(n) for n in splines.shape], indexing="ij")
        coefficients = function(x, y).ravel()
        nx, ny = splines.shape
        cells = (nx - 1) * ny if density and function(1.0, 0.0) else nx * (ny - 1)
        found = coefficients @ (splines.penalty() @ coefficients)
        assert found == pytest.approx(density * cells * splines.step**2, abs=1e-9)

    @pytest.mark.parametrize("kind", ["xx", "yy", "xy"])
    def test_the_penalty_of_a_parabola_is_its_bending(self, kind: str) -> None:
        """Bending is 8 times the squares of all second derivatives, mixed ones twice; the strain comes on top."""
        splines = _Splines(np.array([0.0, 0.0]), np.array([40.0, 30.0]))
        nx, ny = splines.shape
        x, y = np.meshgrid(*[splines.step * np.arange(n) for n in splines.shape], indexing="ij")
        values = {"xx": x**2 / 2, "yy": y**2 / 2, "xy": x * y}[kind]
        cells = {"xx": 8 * (nx - 2) * ny, "yy": 8 * nx * (ny - 2), "xy": 16 * (nx - 1) * (ny - 1)}[kind]
        strain = 0.5 * sum(np.square(np.diff(values, axis=axis)).sum() for axis in (0, 1))
        found = values.ravel() @ (splines.penalty() @ values.ravel())
        assert found == pytest.approx(cells * splines.step**2 + strain)

    def test_disagreement_of_features_by_hand(self, letter: Section) -> None:
        """One feature, 3 x + y, too large by .1 and .3. Near the outline and outside of it nothing counts."""
        x, y = np.meshgrid(np.arange(-2.0, 25), np.arange(-2.0, 25), indexing="ij")
        field = Field(np.array([-2.0, -2.0]), 1.0, (3 * x + y)[None])
        moved = np.array([[3.0, 9.0], [3.0, 10.0], [1.0, 11.0], [0.0, 10.0], [12.0, 15.0]])
        gap = np.array([0.1, 0.1, 0.3, 5.0, 5.0])
        wanted = field.at(moved) - gap[:, None]
        normal, gradient = _features(moved, wanted, field, letter, 2.0)
        variance = 0.1**2 / 0.455
        weights = 2.0 / (1 + gap**2 / variance / 3) / variance * [1, 1, 1, 0, 0]
        np.testing.assert_allclose(normal, weights[:, None, None] * [[9, 3], [3, 1]], rtol=1e-6)
        np.testing.assert_allclose(gradient, (weights * gap)[:, None] * [3, 1], rtol=1e-6, atol=1e-12)

    def test_disagreement_of_outlines_by_hand(self) -> None:
        """Two points at heights 1 and 9 over a flat outline with normals up: the far one has no say."""
        empty = Field(np.zeros(2), 1.0, np.zeros((1, 2, 2)))
        up = np.array([[0.0, 1.0], [0.0, 1.0]])
        fixed = Section(np.zeros((1, 2)), empty, np.array([[0.0, 0.0], [8.0, 0.0]]), up)
        moving = Section(np.zeros((1, 2)), empty, np.array([[0.0, 1.0], [8.0, 9.0]]), up)
        splines = _Splines(np.zeros(2), np.array([8.0, 9.0]))
        basis = splines.basis(moving.contour)
        rest = np.zeros(2 * basis.shape[1])
        normal, gradient = _outline_equations(moving, fixed, basis, rest)
        weight = np.hypot(8, 8) * (1 - 1 / 16) ** 2 / 0.7**2
        np.testing.assert_allclose(normal, [[[0, 0], [0, weight]], np.zeros((2, 2))], atol=1e-12)
        np.testing.assert_allclose(gradient, [[0, weight], [0, 0]], atol=1e-12)
        down = replace(moving, normals=-up)
        assert not np.any(_outline_equations(down, fixed, basis, rest)[0])

    def test_the_grid_has_the_values_of_the_splines(self) -> None:
        splines = _Splines(np.array([0.0, 0.0]), np.array([20.0, 12.0]))
        coefficients = np.random.default_rng(0).normal(size=2 * int(np.prod(splines.shape)))
        found = _sampled(splines, coefficients)
        assert found.step == 2
        points = np.stack(np.meshgrid(*found.axes(), indexing="ij"), -1).reshape(-1, 2)
        assert (points.min(axis=0) <= 0).all()
        assert (points.max(axis=0) >= [20, 12]).all()
        np.testing.assert_allclose(
            found.displacements(points), _displaced(splines.basis(points), coefficients), atol=1e-9
        )

    def test_a_spot_counts_for_as_much_as_its_gaussian_covers(
        self, letter: Section, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neighbouring spots say the same after smoothing: 4 π σ² of them count for one; a sample counts for all."""
        shares = []

        def features(moved: np.ndarray, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
            shares.append(arguments[-1])
            return np.zeros((len(moved), 2, 2)), np.zeros((len(moved), 2))

        monkeypatch.setattr("spotscape.registration._smooth._features", features)
        splines = _Splines(letter.points.min(axis=0) - 2, letter.points.max(axis=0) + 2)
        _solve(letter, letter, splines, 1.0)
        monkeypatch.setattr("spotscape.registration._smooth._MOST_SPOTS", len(letter.points) // 2)
        _solve(letter, letter, splines, 1.0)
        expected = np.repeat([1 / (4 * np.pi * width**2) for width in (4, 2, 1)], 6)
        np.testing.assert_allclose(shares, [*expected, *(2 * expected)])

    def test_the_solution_is_a_minimum(self, letter: Section) -> None:
        """On itself a slice is not bent; moved by less than half a spacing it is moved back."""
        splines = _Splines(letter.points.min(axis=0) - 2, letter.points.max(axis=0) + 2)
        rest = _solve(letter, letter, splines, 1.0)
        np.testing.assert_allclose(_displaced(splines.basis(letter.points), rest), 0, atol=1e-6)
        away = Section.of(letter.points + np.array([0.4, 0.0]), letter.features)
        found = _displaced(splines.basis(away.points), _solve(away, letter, splines, 1.0))
        np.testing.assert_allclose(found.mean(axis=0), [-0.4, 0.0], atol=0.08)
