"""Number of clusters by agreement: clusterings of two embeddings of the same points are compared.

Each embedding has artefacts of its own. With too few clusters, each merges other regions; with too many, each cuts
another region; they agree best at the number of regions that both show. Any two embeddings agree on the coarsest
division, such as white and grey matter, so a finer one counts only if the agreement rises again, or has not fallen. If
regions are uniform, the likelihood of a mixture shows their number by its elbow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape.nn.clustering._agreement import clusterings, similarity
from spotscape.nn.clustering._kmeans import check_points
from spotscape.nn.clustering._stability import (
    StabilityCurve,
    check_numbers,
    check_sample,
    draw_points,
    elbow,
    likelihoods_of_samples,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# More points make the choice slower but not more reliable.
_MOST_POINTS = 3_000
# What counts as equal: to the highest agreement, and to that on the first number. What counts as a rise.
_TOLERANCE, _NO_FALL, _RISE = 0.01, 0.02, 0.1
# An elbow is sharp if one more cluster brings less than half of what the last ones did. Four samples of the points show
# it.
_SHARP, _N_SAMPLES = 0.8, 4
# Numbers whose agreement is this close to that of the number picked are candidates, too.
_ALIKE = 0.05
_BOOTSTRAPS = 200


def agreement_curve(views: Sequence[np.ndarray], numbers: Sequence[int], *, seed: int = 0) -> StabilityCurve:
    """Cluster two or more embeddings ``(n, d)`` of the same points into each number of clusters, and compare them.

    The agreement is the mean adjusted Rand index over all pairs of clusterings, by k-means and four mixtures, of
    different embeddings. If an elbow is .8 or more, its number is picked, otherwise see :func:`pick_agreed`. Of more
    than 3,000 points 3,000 are drawn. ``fits`` are the numbers whose agreement is within .05 of that of the number
    picked.
    """
    numbers = check_numbers(numbers)
    generator = np.random.default_rng(seed)
    points = [check_points(view, numbers[-1]) for view in views]
    check_sample(len(points[0]), numbers[-1])
    rows = draw_points(len(points[0]), _MOST_POINTS, generator)
    points = [view[rows] for view in points]
    # Adjusted Rand index of all clusterings, (K, V, C, V, C) for V embeddings in C clusterings each.
    every = [
        [[fit.labels for fit in clusterings(view, number, seed=seed).values()] for view in points] for number in numbers
    ]
    n_views, n_clusterings = len(points), len(every[0][0])
    first, second = np.triu_indices(n_views, 1)
    found = np.ones((len(numbers), n_views, n_clusterings, n_views, n_clusterings))
    for same, labels in zip(found, every, strict=True):
        for a, b in zip(first, second, strict=True):
            same[a, :, b] = similarity(labels[a], labels[b])
            same[b, :, a] = same[a, :, b].T
    pairs = found[:, first, :, second].transpose(1, 0, 2, 3).reshape(len(numbers), -1)
    likelihoods = np.array([likelihoods_of_samples(view, numbers, _N_SAMPLES, seed) for view in points])
    picks = []
    for _ in range(_BOOTSTRAPS):
        drawn = generator.integers(n_clusterings, size=(n_views, n_clusterings))
        sampled = [found[:, a][:, drawn[a]][:, :, b][:, :, drawn[b]] for a, b in zip(first, second, strict=True)]
        seen = likelihoods[:, generator.integers(_N_SAMPLES, size=_N_SAMPLES)]
        picks.append(_pick(numbers, np.mean(sampled, axis=(0, 2, 3)), _elbow(seen)))
    share = np.array([picks.count(number) for number in numbers]) / _BOOTSTRAPS
    mean, sharpness = pairs.mean(axis=1), _elbow(likelihoods)
    picked = int(share.argmax())
    fits = np.zeros(len(numbers), dtype=bool)
    if sharpness.max() < _SHARP:
        fits[1:] = _counts(mean) & (mean[1:] >= mean[picked] - _ALIKE)
    return StabilityCurve(
        np.array(numbers),
        mean,
        pairs.std(axis=1),
        share,
        int(numbers[picked]),
        n_clusterings,
        elbow=sharpness,
        fits=fits,
    )


def _pick(numbers: list[int], agreement: np.ndarray, sharpness: np.ndarray) -> int:
    if sharpness.max() >= _SHARP:
        return numbers[int(sharpness.argmax())]
    return pick_agreed(numbers, agreement)


def _elbow(likelihoods: np.ndarray) -> np.ndarray:
    """The elbow of log-likelihoods ``(V, S, K + 4)`` averaged over samples, and the mean of it over embeddings."""
    return np.asarray(np.mean([elbow(each) for each in likelihoods.mean(axis=1)], axis=0))


def pick_agreed(numbers: Sequence[int] | np.ndarray, agreement: np.ndarray) -> int:
    """The number with the highest agreement, without the first; of numbers within .01 of it, the largest.

    A number counts if its agreement is as high as that of the first (within .02), or .1 above the lowest before it.
    """
    counts = _counts(agreement)
    if not counts.any():
        return int(numbers[0])
    best = agreement[1:][counts].max()
    return int(numbers[1 + np.flatnonzero(counts & (agreement[1:] >= best - _TOLERANCE))[-1]])


def _counts(agreement: np.ndarray) -> np.ndarray:
    """Which numbers after the first count."""
    lowest = np.minimum.accumulate(agreement)[:-1]
    return np.asarray((agreement[1:] >= lowest + _RISE) | (agreement[1:] >= agreement[0] - _NO_FALL))
