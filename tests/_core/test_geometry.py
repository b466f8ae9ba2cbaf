from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape._core.geometry import (
    expected_degree,
    lattice,
    layout_of,
    nearest_distances,
    radius_for,
    spot_spacing,
)

HEXAGONS = np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(15) for x in range(15)])
SQUARES = np.array([[x, y] for y in range(15) for x in range(15)], float)


@pytest.mark.parametrize(("coords", "kind", "symmetry"), [(HEXAGONS, "hexagonal", 6), (SQUARES, "square", 4)])
@settings(max_examples=20)
@given(angle=st.floats(0, 6.28), scale=st.floats(1e-3, 1e4), jitter=st.floats(0, 0.04))
def test_lattices_are_recognised_at_any_rotation_and_unit(  # noqa: PLR0917
    coords: np.ndarray, kind: str, symmetry: int, angle: float, scale: float, jitter: float
) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    noise = jitter * np.random.default_rng(0).standard_normal(coords.shape)
    found = lattice((coords + noise) @ turn * scale)
    assert found.kind == kind
    assert found.spacing == pytest.approx(scale, rel=0.01)
    assert np.cos(symmetry * (found.angle - angle)) == pytest.approx(1, abs=0.01)


def test_holes_do_not_hide_a_lattice() -> None:
    keep = np.random.default_rng(0).random(len(HEXAGONS)) > 0.05
    assert lattice(HEXAGONS[keep]).kind == "hexagonal"


def test_cells_lines_and_points_are_irregular() -> None:
    cells = np.random.default_rng(0).random((300, 2))
    for coords in (cells, np.c_[np.arange(50.0), np.zeros(50)], np.zeros((5, 2)), np.zeros((1, 2))):
        assert lattice(coords).kind == "irregular"
    assert lattice(np.zeros((5, 2))).spacing == 1


def test_spacing_counts_positions_once() -> None:
    assert spot_spacing(np.repeat(SQUARES * 3, 4, axis=0)) == 3
    assert spot_spacing(np.zeros((4, 2))) == np.inf
    assert np.array_equal(nearest_distances(np.array([[0.0, 0], [3, 4]]), 2), [[5, np.inf], [5, np.inf]])


def test_radius_for_six_gives_about_six() -> None:
    cells = np.random.default_rng(0).random((2000, 2))
    assert 5 < expected_degree(cells, radius_for(cells)) < 8
    assert expected_degree(HEXAGONS, radius_for(HEXAGONS)) > 5
    assert radius_for(np.zeros((3, 2))) == np.inf
    assert expected_degree(SQUARES, 100) == len(SQUARES) - 1


def _tissue(coords: np.ndarray, **slots: object) -> ad.AnnData:
    obs = pd.DataFrame(index=[f"s{i}" for i in range(len(coords))])
    return ad.AnnData(obs=obs.assign(**slots.pop("obs", {})), obsm={"spatial": coords}, **slots)


@pytest.mark.parametrize(
    ("coords", "obs", "factors", "platform", "spacing_um"),
    [
        (HEXAGONS * 137, {"array_row": 1, "array_col": 2}, None, "Visium", 100),
        (HEXAGONS * 137, {}, {"spot_diameter_fullres": np.array([89.4]), "tissue_hires_scalef": 0.1}, "Visium", 100),
        (HEXAGONS * 137, {}, None, None, None),
        (SQUARES * 29.3, {}, {"bin_size_um": 8.0, "microns_per_pixel": 0.273}, "Visium HD", 8),
        (SQUARES * 29.3, {}, {"bin_size_um": "8"}, None, None),
        (np.random.default_rng(0).random((400, 2)) * 250, {"cell_area": 1.0, "nucleus_area": 1.0}, None, "Xenium", ...),
        (np.random.default_rng(0).random((400, 2)), {"cell_area": 1.0, "nucleus_area": 1.0}, None, None, None),
    ],
)
def test_layout_says_what_the_file_knows(
    coords: np.ndarray, obs: dict[str, Any], factors: dict[str, Any] | None, platform: str | None, spacing_um: Any
) -> None:
    uns = {} if factors is None else {"spatial": {"is_single": True, "lib": {"scalefactors": factors}}}
    layout = layout_of([coords], _tissue(coords, obs=obs, uns=uns))
    assert layout.platform == platform
    expected = layout.spacing if spacing_um is ... else spacing_um
    assert layout.spacing_um == (None if expected is None else pytest.approx(expected))
    assert ("µm" in str(layout)) == (platform is not None)


def test_layout_is_that_of_most_slices() -> None:
    slices = [HEXAGONS * 100, SQUARES, HEXAGONS * 104]
    layout = layout_of(slices, _tissue(np.vstack(slices)))
    assert layout.kind == "hexagonal"
    assert layout.spacing == pytest.approx(102)


def test_a_thick_block_is_measured_in_space() -> None:
    """In projection cells lie nearly on each other; a slice that is tilted a little stays what it is."""
    block = np.random.default_rng(0).random((2000, 3)) * [100, 100, 20]
    layout = layout_of([block], _tissue(block))
    assert layout.kind == "irregular"
    assert layout.spacing == pytest.approx(spot_spacing(block))
    assert layout.spacing > 2 * spot_spacing(block[:, :2])
    tilted = np.column_stack([HEXAGONS, 0.2 * HEXAGONS[:, 0]])
    assert layout_of([tilted], _tissue(tilted)).kind == "hexagonal"
