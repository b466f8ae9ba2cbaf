"""Majority vote of neighbours on labels: what stands alone among others takes their label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core.validation import require_positive_int

if TYPE_CHECKING:
    from collections.abc import Iterator


def majority_passes(labels: np.ndarray, adjacency: Any, n_passes: int) -> Iterator[np.ndarray]:
    """Let neighbours vote, all spots at once, pass by pass, and yield the labels after each.

    A spot takes the label that more than half of its labelled neighbours have; without such a label it keeps its own.
    So there are no ties. A pass that changes nothing is the last one.

    Parameters
    ----------
    labels
        Integers from 0, shape ``(N,)``; -1 for spots without label, which neither vote nor get one.
    adjacency
        Sparse ``(N, N)``; row i holds the neighbours of spot i, each with one vote. The diagonal is ignored.
    n_passes
        Largest number of passes.

    Yields
    ------
    Labels after each pass, shape ``(N,)``.

    Examples
    --------
    >>> import numpy as np
    >>> ring = np.roll(np.eye(5), 1, axis=1) + np.roll(np.eye(5), -1, axis=1)
    >>> [labels.tolist() for labels in majority_passes(np.array([0, 0, 1, 0, 0]), ring, 3)]
    [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    require_positive_int(n_passes, "n_passes")
    current = np.asarray(labels)
    labelled, edges = current >= 0, sparse.coo_array(adjacency)
    row, col = edges.coords
    # One vote for each edge from a labelled spot to another labelled one.
    kept = (edges.data != 0) & (row != col) & labelled[row] & labelled[col]
    ones = np.ones(int(kept.sum()), dtype=np.int32)
    neighbors = sparse.csr_array((ones, (row[kept], col[kept])), shape=edges.shape)
    neighbors.data[:] = 1
    for _ in range(n_passes):
        previous, current = current, _vote(current, neighbors)
        yield current
        if np.array_equal(previous, current):
            return


def _vote(labels: np.ndarray, neighbors: sparse.csr_array) -> np.ndarray:
    labelled = np.flatnonzero(labels >= 0)
    ones = np.ones(len(labelled), dtype=np.int32)
    members = sparse.csr_array((ones, (labelled, labels[labelled])), shape=(len(labels), labels.max(initial=0) + 1))
    votes = (neighbors @ members).tocoo()
    spot, label = votes.coords
    majority = 2 * votes.data > np.diff(neighbors.indptr)[spot]
    voted = labels.copy()
    voted[spot[majority]] = label[majority]
    return voted
