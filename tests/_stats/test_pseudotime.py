from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from spotscape._stats.pseudotime import (
    crossing_fraction,
    diffusion_pseudotime,
    reached_from,
    root_spot,
)

LINE = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [9, 0]])


@pytest.mark.parametrize(
    ("in_root", "start", "expected"),
    [
        ([1, 1, 1, 0, 0, 0], "center", 1),
        ([1, 1, 1, 0, 0, 0], "tip", 0),
        ([0, 0, 0, 1, 1, 1], "tip", 5),
        ([0, 0, 0, 1, 1, 1], "center", 4),
        ([1, 1, 1, 1, 1, 1], "tip", 5),
    ],
)
def test_the_root_is_at_the_centre_or_the_end(in_root: list[int], start: str, expected: int) -> None:
    chosen = np.array(in_root, bool)
    assert root_spot(LINE, chosen, start) == expected  # type: ignore[arg-type]
    # The sign of a component means nothing.
    if not chosen.all():
        assert root_spot(-LINE, chosen, start) == expected  # type: ignore[arg-type]


def test_the_part_with_most_of_the_root_is_reached() -> None:
    graph = sparse.csr_array(([1.0, 1, 1], ([0, 1, 3], [1, 2, 4])), shape=(6, 6))
    reached, n_parts = reached_from(graph, np.array([1, 0, 0, 1, 1, 0], bool))
    assert n_parts == 3
    assert reached.tolist() == [False, False, False, True, True, False]


def test_edges_between_slices_against_chance() -> None:
    codes = np.array([0, 0, 1, 1])
    full = sparse.csr_array(np.ones((4, 4)))
    assert crossing_fraction(full, codes) == pytest.approx(1)
    assert crossing_fraction(sparse.csr_array(np.kron(np.eye(2), np.ones((2, 2)))), codes) == 0
    assert crossing_fraction(full, np.zeros(4, int)) == 1


def test_distance_by_hand() -> None:
    components = np.array([[0.0, 1], [1, 1], [0, 3]])
    # Weights 0.5 / 0.5 and 0.8 / 0.2: distances 1 and 8 from the first spot.
    assert np.allclose(diffusion_pseudotime(components, np.array([0.5, 0.8]), 0), [0, 1 / 8, 1])
