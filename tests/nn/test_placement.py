"""New slices moved onto a reference that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from spotscape.nn import nearest, place, vote

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

SHIFT = np.array([1.5, -1.0, 0.5, 0.0])


def groups(n: int = 400, seed: int = 0, present: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[np.ndarray, np.ndarray]:
    """Spots around the corners of a simplex, and the corner of each."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(present, n)
    return (6 * np.eye(4)[labels] + rng.normal(0, 0.5, (n, 4))).astype(np.float32), labels


def distances(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values - 6 * np.eye(4)[labels], axis=1)


def test_an_offset_is_taken_off() -> None:
    reference, _ = groups()
    clean, labels = groups(seed=1)
    placed = place(clean + SHIFT, reference)
    assert placed.dtype == np.float32
    assert distances(clean + SHIFT, labels).mean() > 1.5
    assert distances(placed, labels).mean() < 1.2 * distances(clean, labels).mean()


def test_offsets_may_differ_from_region_to_region() -> None:
    reference, _ = groups()
    clean, labels = groups(seed=1)
    moved = clean + np.array([SHIFT, -SHIFT, SHIFT, -SHIFT])[labels]
    assert distances(place(moved, reference, average=False), labels).mean() < 0.75 * distances(moved, labels).mean()


def test_a_slice_without_offset_stays_about_where_it_is() -> None:
    reference, _ = groups()
    clean, _ = groups(seed=1)
    assert np.abs(place(clean, reference, average=False) - clean).mean() < 0.15


def test_averaging_takes_noise_away() -> None:
    reference, _ = groups()
    clean, labels = groups(seed=1)
    without, averaged = (place(clean, reference, average=on) for on in (False, True))
    assert distances(averaged, labels).mean() < 0.9 * distances(without, labels).mean()


def test_a_region_that_the_reference_lacks_stays_apart() -> None:
    reference, _ = groups(present=(0, 1, 2))
    clean, labels = groups(seed=1)
    placed = place(clean + SHIFT, reference)
    gap = np.linalg.norm(placed[labels == 3].mean(0) - reference.mean(0))
    assert gap > 4


def test_each_slice_is_placed_by_itself() -> None:
    reference, known = groups()
    first, second = groups(200, seed=1)[0] + SHIFT, groups(150, seed=2)[0] - SHIFT
    slices = np.array(["a"] * 200 + ["b"] * 150)
    together = place(
        np.concatenate([first, second]).astype(np.float32), reference, slices=slices, reference_slices=known % 2
    )
    np.testing.assert_array_equal(
        together[:200], place(first.astype(np.float32), reference, reference_slices=known % 2)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_input_nor_global_randomness_changes(
    dtype: type, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    reference, _ = groups()
    values = groups(seed=1)[0].astype(dtype)
    before = values.copy(), reference.copy()
    with global_state_untouched():
        first = place(values, reference, seed=3)
    np.testing.assert_array_equal(first, place(values, reference, seed=3))
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(reference, before[1])


def test_offsets_that_keep_the_two_apart() -> None:
    """Few spots are mutual neighbours then, and only directions around each one's own mean find the others."""
    reference, _ = groups()
    clean, labels = groups(seed=1)
    placed = place(clean + 12, reference, average=False)
    assert distances(placed, labels).mean() < 0.2 * distances(clean + 12, labels).mean()


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="has 4 axes, the reference 3"):
        place(groups()[0], groups()[0][:, :3])


def test_no_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="n_neighbors=0"):
        place(groups()[0], groups()[0], n_neighbors=0)
    with pytest.raises(ValueError, match="n_prototypes=0"):
        place(groups()[0], groups()[0], n_prototypes=0)
    with pytest.raises(ValueError, match="n_neighbors=0"):
        nearest(groups()[0], groups()[0], 0)


def test_nearest_and_their_vote() -> None:
    found = nearest(np.array([[0.4], [9.0]]), np.array([[0.0], [1.0], [8.0]]), 2)
    assert found.indices.tolist() == [[0, 1], [2, 1]]
    votes = vote(found, torch.tensor([0, 1, 1]), 2)
    assert votes.confidence.tolist() == [0.5, 1.0]
    assert votes.labels[1] == 1
    assert nearest(np.zeros((1, 1)), np.zeros((3, 1)), 10).indices.shape == (1, 3)
