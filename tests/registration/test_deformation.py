"""Smooth deformations: known ones are found, nothing folds, and each can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import estimate_transform

from spotscape.registration._section import Section, motion, move
from spotscape.registration._smooth import Deformation, fit_deformation
from spotscape.registration._stack import align

HALF = 22


def disc(seed: int) -> np.ndarray:
    """Spots about one apart, on no lattice."""
    grid = np.stack(np.meshgrid(*[np.arange(-HALF, HALF + 1.0)] * 2), axis=-1).reshape(-1, 2)
    points = grid + np.random.default_rng(seed).uniform(-0.4, 0.4, grid.shape)
    return points[np.hypot(*points.T) < HALF]


def features(points: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Six patterns of domain size in each spot, and noise as large as you like."""
    waves = np.random.default_rng(7).normal(size=(6, 2)) * 0.22
    phases = np.random.default_rng(8).uniform(0, 6, 6)
    return np.sin(points @ waves.T + phases) + noise * np.random.default_rng(seed).normal(size=(len(points), 6))


def bend(points: np.ndarray, amplitude: float, angle: float = 0.0) -> np.ndarray:
    """A wave as long as the tissue is wide, in a direction of its own."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    wave = np.sin(2 * np.pi * (points @ direction[::-1]) / (2.2 * HALF) + angle)
    return points + amplitude * wave[:, None] * direction


def bent_pair(amplitude: float, angle: float, noise: float = 0.4) -> tuple[Section, Section, np.ndarray]:
    """The slice that is bent, rigidly laid on the other; that one; and where the spots of the first belong."""
    one, two = disc(1), disc(2)
    moved = bend(two, amplitude, angle)
    truth = two
    moved = move(estimate_transform("euclidean", moved, truth).params, moved)
    return Section.of(moved, features(two, noise, 3)), Section.of(one, features(one, noise, 4)), truth


def rms(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((one - other) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("angle", [0.4, pytest.param(2.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("amplitude", "most"), [(0.0, 0.5), (2.5, 0.6), (5.0, 0.8)])
def test_a_known_deformation_is_found(amplitude: float, most: float, angle: float) -> None:
    moving, fixed, truth = bent_pair(amplitude, angle)
    found = fit_deformation(moving, fixed)
    assert found is not None
    assert rms(found.move(moving.points), truth) < most
    assert amplitude == 0 or rms(found.move(moving.points), truth) < 0.5 * rms(moving.points, truth)
    assert found.areas().min() > 0
    np.testing.assert_allclose(found.move_back(found.move(moving.points)), moving.points, atol=1e-6)


def test_noise_alone_hardly_bends() -> None:
    one, two = disc(1), disc(2)
    noise = np.random.default_rng(0).normal(size=(len(one) + len(two), 6))
    found = fit_deformation(Section.of(two, noise[: len(two)]), Section.of(one, noise[len(two) :]))
    assert found is not None
    assert rms(found.move(two), two) < 1.0


def test_half_of_a_slice_is_enough() -> None:
    moving, fixed, truth = bent_pair(4.0, 1.0)
    kept = truth[:, 0] < 6
    part = Section.of(moving.points[kept], moving.features[kept])  # type: ignore[index]
    found = fit_deformation(part, fixed)
    assert found is not None
    assert rms(found.move(part.points), truth[kept]) < 1.2


@pytest.mark.parametrize("unit", [pytest.param(1e-3, marks=pytest.mark.slow), 250.0])
def test_align_bends_in_any_unit(unit: float) -> None:
    moving, fixed, truth = bent_pair(3.0, 1.0)
    away = motion(70, (30, -10))
    pair = (moving.features, fixed.features)
    found = align(unit * move(away, moving.points), unit * fixed.points, features=pair, deform=True)  # type: ignore[arg-type]
    rigid = move(found.matrix, unit * move(away, moving.points))
    assert found.deformation is not None
    assert rms(found.deformation.move(rigid), unit * truth) < unit
    assert rms(rigid, unit * truth) > 1.5 * unit
    assert found.deformed_features > found.score.features


def test_a_fold_is_seen() -> None:
    axis = np.arange(0.0, 20.0)
    values = np.stack([np.broadcast_to(-1.5 * np.sin(axis)[:, None], (20, 20)), np.zeros((20, 20))])
    assert Deformation(np.zeros(2), 1.0, values).areas().min() < 0
    gentle = Deformation(np.zeros(2), 1.0, 0.2 * values)
    assert gentle.areas().min() > 0.5
    points = np.random.default_rng(0).uniform(2, 17, (50, 2))
    np.testing.assert_allclose(gentle.move_back(gentle.move(points)), points, atol=1e-8)


@pytest.mark.slow
def test_what_would_fold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stiffness keeps areas above three times what they were."""
    monkeypatch.setattr("spotscape.registration._smooth._LEAST_AREA", 3.0)
    moving, fixed, _ = bent_pair(4.0, 1.0)
    assert fit_deformation(moving, fixed) is None
    found = align(moving.points, fixed.points, features=(moving.features, fixed.features), deform=True)  # type: ignore[arg-type]
    assert found.deformation is None
    assert np.isnan(found.deformed_features)


def test_a_cut_edge_is_straight_and_a_round_one_is_not() -> None:
    points = disc(1)
    assert Section.of(points).longest_straight_edge < 0.25 * Section.of(points).diameter
    cut = Section.of(points[points[:, 0] < 8])
    assert cut.longest_straight_edge == pytest.approx(2 * np.sqrt(HALF**2 - 8**2), rel=0.35)
