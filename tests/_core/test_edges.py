"""Edges on grids do not depend on shift, rotation or rounding; elsewhere they are those of squidpy."""

from __future__ import annotations

import numpy as np
import pytest

from spotscape._core.geometry import join_coincident
from spotscape._core.graphs import edges_within, nearest, nearest_edges, triangulated_edges

RNG = np.random.default_rng(0)
HEXAGONS = np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(30) for x in range(30)])
SQUARES = np.array([[x, y] for y in range(30) for x in range(30)], float)
GRIDS = {
    "hexagonal": HEXAGONS,
    "square": SQUARES,
    "hexagonal with holes": HEXAGONS[RNG.random(900) > 0.08],
    "square with holes": SQUARES[RNG.random(900) > 0.08],
    "pixels": np.round(HEXAGONS * 137),
}
BUILD = {
    "nearest 6": lambda c, s: nearest_edges(c, 6),
    "nearest 4": lambda c, s: nearest_edges(c, 4),
    "within": lambda c, s: edges_within(c, 0, s),
    "ring": lambda c, s: edges_within(c, s * np.sqrt(3), 2 * s),
    "delaunay": lambda c, s: triangulated_edges(c),
    "pruned delaunay": lambda c, s: triangulated_edges(c, 0, s),
}
TURN = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
MOVE = {
    "shift": lambda c, s: c + 1e4 * s,
    "rotation": lambda c, s: c @ TURN,
    "float32": lambda c, s: (c + 1e3 * s).astype(np.float32).astype(float),
    "reflection and scale": lambda c, s: c * [-3.7, 3.7],
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("build", BUILD)
@pytest.mark.parametrize("move", MOVE)
def test_the_frame_decides_nothing_on_a_grid(grid: str, build: str, move: str) -> None:
    coords, spacing = GRIDS[grid], 137.0 if grid == "pixels" else 1.0
    scale = 3.7 if "scale" in move else 1.0
    before = BUILD[build](coords, spacing)
    after = BUILD[build](MOVE[move](coords, spacing), spacing * scale)
    assert before.nnz == after.nnz
    assert np.array_equal(before.indices, after.indices)
    assert np.array_equal(before.indptr, after.indptr)
    assert np.allclose(before.data * scale, after.data, rtol=1e-2)


@pytest.mark.parametrize("grid", GRIDS)
def test_neighbours_are_as_near_as_exact_ones(grid: str) -> None:
    coords = GRIDS[grid]
    brute = np.sort(np.linalg.norm(coords[:, None] - coords, axis=-1), axis=1)[:, 1:7]
    found = np.sort(nearest_edges(coords, 6).data.reshape(len(coords), 6), axis=1)
    assert np.allclose(found, brute, atol=0.05 * brute[0, 0])


def test_the_draw_favours_no_direction() -> None:
    """Of the four diagonal neighbours of a square two are taken; all four must be equally likely."""
    edges = nearest_edges(SQUARES, 6).tocoo()
    diagonal = edges.data > 1.2
    steps = SQUARES[edges.col[diagonal]] - SQUARES[edges.row[diagonal]]
    share = [np.mean((steps == step).all(axis=1)) for step in ([1, 1], [1, -1], [-1, 1], [-1, -1])]
    assert np.abs(np.array(share) - 0.25).max() < 0.04


def test_a_square_grid_is_joined_to_all_eight() -> None:
    edges = triangulated_edges(SQUARES)
    inner = np.abs(SQUARES - 14.5).max(axis=1) < 14
    assert set(np.diff(edges.indptr)[inner]) == {8}
    assert edges.data.max() < 1.5
    assert set(np.diff(triangulated_edges(HEXAGONS).indptr)[np.abs(SQUARES - 14.5).max(axis=1) < 13]) == {6}


def test_a_missing_spot_is_bridged_by_all_around_it() -> None:
    hole = np.argmin(np.linalg.norm(HEXAGONS - [15, 13], axis=1))
    around = np.flatnonzero(np.abs(np.linalg.norm(HEXAGONS - HEXAGONS[hole], axis=1) - 1) < 1e-9)
    coords = np.delete(HEXAGONS, hole, axis=0)
    edges = triangulated_edges(coords)
    around -= around > hole
    assert (edges[around][:, around].toarray() > 0).sum() == 30


@pytest.mark.parametrize("dimensions", [2, 3])
def test_irregular_spots_have_their_exact_neighbours(dimensions: int) -> None:
    coords = RNG.random((300, dimensions))
    exact = np.linalg.norm(coords[:, None] - coords, axis=-1)
    order = np.argsort(exact, axis=1)[:, 1:6]
    edges = nearest_edges(coords, 5)
    assert np.array_equal(np.sort(edges.indices.reshape(300, 5), axis=1), np.sort(order, axis=1))
    near = edges_within(coords, 0.05, 0.2)
    wanted = (exact >= 0.05) & (exact <= 0.2) & ~np.eye(300, dtype=bool)
    assert np.array_equal(near.toarray() > 0, wanted)
    assert np.allclose(near.toarray()[wanted], exact[wanted])


def test_nearest_from_one_set_to_another_and_few_points() -> None:
    queries, points = RNG.random((40, 3)), RNG.random((60, 3))
    exact = np.linalg.norm(queries[:, None] - points, axis=-1)
    lengths, found = nearest(queries, points, 5, width=0, itself=False)
    assert np.array_equal(np.sort(found, axis=1), np.sort(np.argsort(exact, axis=1)[:, :5], axis=1))
    assert np.allclose(np.take_along_axis(exact, found, axis=1), lengths)
    assert nearest(queries, points[:2], 5, width=0, itself=False)[1].shape == (40, 2)
    assert nearest(points[:1], points[:1], 5, width=0, itself=True)[1].shape == (1, 0)
    same = np.zeros((500, 2))
    lengths, found = nearest(same, same, 6, width=0, itself=True)
    assert not lengths.any()
    assert (found != np.arange(500)[:, None]).all()
    assert all(len(set(row)) == 6 for row in found)


def test_spots_at_one_place_share_their_neighbours() -> None:
    lengths = nearest_edges(np.array([[0.0, 0], [1, 0], [3, 0]]), 1)
    joined = join_coincident(lengths, np.array([2, 0, 1, 0, 2]))
    expected = {(1, 2): 1, (3, 2): 1, (2, 1): 1, (2, 3): 1, (0, 2): 2, (4, 2): 2}
    expected |= dict.fromkeys([(1, 3), (3, 1), (0, 4), (4, 0)], 0)
    table = joined.tocoo()
    assert {(r, c): v for r, c, v in zip(table.row, table.col, table.data, strict=True)} == expected
