"""One consensus of several clusterings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import entr
from torch import Tensor
from torch.nn.functional import normalize

from spotscape._core.validation import require_positive_int
from spotscape.nn.clustering._kmeans import by_size, lloyd_step, seeded_centres

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Consensus:
    """A consensus of several clusterings."""

    labels: np.ndarray  # Cluster of each point, (n,): 0 is the largest, of equals the first to appear
    confidence: np.ndarray  # Share of the runs that agree on each point, (n,), above 0 and at most 1
    run_agreement: np.ndarray  # Share of the points on which each run agrees with the consensus, (n_runs,)
    entropy: np.ndarray  # Of the votes at each point, (n,), divided by the highest possible; 0 where all agree


def combine_clusterings(runs: np.ndarray | Sequence[np.ndarray]) -> Consensus:
    """Find the clustering on which most runs ``(n_runs, n)``, all of one number of clusters, agree for most points."""
    checked, n_clusters = _check(runs)
    patterns, pattern_of, counts = np.unique(checked, axis=1, return_inverse=True, return_counts=True)
    # Runs that equal an earlier one but for the numbers of the clusters lead to the same consensus.
    starts: dict[bytes, np.ndarray] = {}
    for run in patterns:
        starts.setdefault(pd.factorize(run)[0].tobytes(), run)
    fits = [_climb(patterns, counts, start, n_clusters) for start in starts.values()]
    # Agreement of runs and points. Of equal ones, a consensus that equals some runs is preferred.
    by_run = [(matched == reference) @ counts for reference, matched in fits]
    best = max(range(len(fits)), key=lambda index: (by_run[index].sum(), (by_run[index] ** 2).sum()))
    reference, matched = fits[best]
    agreeing = matched == reference
    labels, _ = by_size(reference[pattern_of.ravel()])
    confidence = agreeing.mean(axis=0)[pattern_of.ravel()]
    votes = np.stack([(matched == cluster).mean(axis=0) for cluster in range(n_clusters)])
    # The entropy is highest where the runs are spread over the clusters as evenly as their number allows.
    each, further = divmod(len(checked), n_clusters)
    evenly = (each + (np.arange(n_clusters) < further)) / len(checked)
    spread = entr(votes).sum(axis=0) / max(entr(evenly).sum(), np.finfo(float).tiny)
    return Consensus(labels, confidence, agreeing @ counts / counts.sum(), spread[pattern_of.ravel()])


def _check(runs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    labels = np.asarray(runs)
    if labels.ndim != 2 or 0 in labels.shape or labels.dtype.kind not in "iu":
        msg = f"runs has shape {labels.shape} and dtype {labels.dtype}; expected integers (n_runs, n_points)."
        raise ValueError(msg)
    coded = np.stack([np.unique(run, return_inverse=True)[1] for run in labels])
    found = coded.max(axis=1) + 1
    if found.min() != found.max():
        msg = f"the runs have {found.tolist()} clusters; all need as many."
        raise ValueError(msg)
    return coded, int(found[0])


def _climb(
    patterns: np.ndarray, counts: np.ndarray, start: np.ndarray, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """The consensus that a start leads to, and all runs with its cluster numbers."""
    reference, points = start, np.arange(len(start))
    matched = _match(patterns, counts, reference, n_clusters)
    for _ in range(_MOST_ROUNDS):
        votes = np.stack([(matched == cluster).sum(axis=0) for cluster in range(n_clusters)])
        best = votes.argmax(axis=0)
        # Of equal ones the present cluster.
        voted = np.where(votes[reference, points] == votes[best, points], reference, best)
        if np.array_equal(voted, reference) or len(np.unique(voted)) < n_clusters:
            break
        reference, matched = voted, _match(patterns, counts, voted, n_clusters)
    return reference, matched


def _match(patterns: np.ndarray, counts: np.ndarray, reference: np.ndarray, n_clusters: int) -> np.ndarray:
    """All runs, with clusters renamed to those of the reference with which they share the most points."""
    matched = np.empty_like(patterns)
    for row, run in enumerate(patterns):
        shared = np.bincount(run * n_clusters + reference, weights=counts, minlength=n_clusters**2)
        _, name = linear_sum_assignment(-shared.reshape(n_clusters, n_clusters))
        matched[row] = name[run]
    return matched


_STEPS = 20


@torch.no_grad()
def consensus_clusterings(embeddings: Tensor, n_clusters: int, n_runs: int, generator: torch.Generator) -> Tensor:
    """Cluster the same embeddings several times by k-means with different starts, on their device.

    Parameters
    ----------
    embeddings
        Shape ``(N, d)``. The rows may have any length.
    n_clusters
        Number of clusters of each run. If there are fewer distinct directions, some clusters stay empty.
    n_runs
        Number of runs R.
    generator
        Source of the starts, on the device of the embeddings.

    Returns
    -------
    The cluster of every spot in each run, int64 ``(R, N)``. Cluster numbers of different runs are unrelated.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import consensus_clusterings
    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> runs = consensus_clusterings(points, 2, 5, torch.Generator().manual_seed(0))
    >>> (runs[:, 0] == runs[:, 1]).tolist(), (runs[:, 0] == runs[:, 2]).tolist()
    ([True, True, True, True, True], [False, False, False, False, False])
    """
    require_positive_int(n_clusters, "n_clusters")
    require_positive_int(n_runs, "n_runs")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        msg = f"embeddings has shape {tuple(embeddings.shape)}; expected (N, d) with one spot or more."
        raise ValueError(msg)
    directions = normalize(embeddings.float(), dim=1)
    runs = []
    for _ in range(n_runs):
        centres = seeded_centres(directions, n_clusters, generator)
        for _ in range(_STEPS):
            centres = lloyd_step(directions, centres)
        runs.append((directions @ centres.T).argmax(1))
    return torch.stack(runs)
