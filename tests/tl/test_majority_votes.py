"""Majority votes, worked by hand."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spotscape.tl._refine_domains import majority_passes

CHAIN = sparse.csr_array(sparse.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(7, 7)))


def last(labels: list[int], graph: object, n_passes: int = 1) -> list[int]:
    return list(majority_passes(np.array(labels), graph, n_passes))[-1].tolist()


def test_a_single_spot_gives_in_and_ties_keep_their_own() -> None:
    # Spot 2 has both neighbours against it; at the border between 0 and 1 each spot has one neighbour of either.
    assert last([0, 0, 1, 0, 1, 1, 1], CHAIN) == [0, 0, 0, 1, 1, 1, 1]
    assert last([0, 0, 0, 0, 1, 1, 1], CHAIN) == [0, 0, 0, 0, 1, 1, 1]


def test_three_labels_without_a_majority() -> None:
    # The middle of a star sees two of 1, two of 2 and one of 3: more than its own, but less than half.
    star = np.zeros((6, 6))
    star[0, 1:] = 1
    assert last([0, 1, 1, 2, 2, 3], star)[0] == 0
    assert last([0, 1, 1, 1, 2, 3], star)[0] == 1


def test_unlabelled_spots_neither_vote_nor_get_a_label() -> None:
    assert last([0, -1, 0, 1, 0, -1, 1], CHAIN) == [0, -1, 1, 0, 1, -1, 1]
    assert last([-1] * 7, CHAIN) == [-1] * 7


def test_weights_stored_zeros_and_the_diagonal_have_no_vote() -> None:
    graph = sparse.csr_array(
        (np.array([9.0, 1, 1, 0, 5]), (np.array([0, 0, 0, 0, 1]), np.array([1, 2, 3, 4, 1]))), shape=(5, 5)
    )
    # Spot 0 sees 1, 2 and 3, by one vote each, not 4; spot 1 sees nobody but itself.
    assert last([0, 1, 2, 2, 1], graph) == [2, 1, 2, 2, 1]


def test_passes_follow_each_other_and_stop_when_nothing_changes() -> None:
    passes = [labels.tolist() for labels in majority_passes(np.array([0, 0, 1, 0, 0, 0, 0]), CHAIN, 5)]
    assert passes == [[0] * 7, [0] * 7]
    alternating = list(majority_passes(np.array([0, 1, 0, 1, 0, 1, 0]), CHAIN, 5))
    assert len(alternating) == 5


def test_the_argument_is_not_changed() -> None:
    labels = np.array([0, 0, 1, 0, 0, 0, 0])
    list(majority_passes(labels, CHAIN, 2))
    assert labels.tolist() == [0, 0, 1, 0, 0, 0, 0]
