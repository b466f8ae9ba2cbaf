"""The clustering, and the number of clusters, on which most agree.

k-means divides the directions in which points vary most, and a mixture those in which points form separate groups. A
border that only one of several clusterers draws is likely an artefact of it. If k-means disagrees with the mixtures,
which outvote it, a second embedding of the same points decides.

Each embedding has artefacts of its own. With too few clusters, each merges other regions; with too many, each cuts
another region; they agree best at the number of regions that both show. Any two embeddings agree on the coarsest
division, such as white and grey matter, so a finer one counts only if the agreement rises again, or has not fallen. If
regions are uniform, the likelihood of a mixture shows their number by its elbow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.metrics import adjusted_rand_score

from spotscape._core.settings import one_thread
from spotscape.nn.clustering._kmeans import check_points, kmeans, partitions, soft_assignment, varying, whiten
from spotscape.nn.clustering._mixture import gaussian_mixture
from spotscape.nn.clustering._stability import (
    StabilityCurve,
    check_numbers,
    check_sample,
    draw_points,
    elbow,
    likelihoods_of_samples,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spotscape.nn.clustering._kmeans import Clustering


# How far the covariance of a mixture is moved towards a sphere: 0 leaves it free, and 1 is k-means with soft clusters
# of unequal size.
SHRINKAGES = (0.0, 0.05, 0.5, 1.0)
# On tissue with clear regions k-means agrees with the mixtures by more, on sparse beads and tumours often by less.
CLEAR_AGREEMENT = 0.5
# Whitened starts count if the mixture of this shrinkage is likelier from them by this much per point. On most tissue
# they end where the others do, or in another division that is hardly likelier and no better.
_WITNESS, _CLEARLY = 0.05, 0.1
# If no clustering agrees with the others by this much, another seed often leads to other domains. With two more runs of
# each clusterer the choice depends less on the seed.
_SETTLED, _MORE_RUNS = 0.9, 2
# Relative to the largest variance of a column: keeps covariances invertible.
_RIDGE = 1e-8
# Single runs of k-means. With more points they seldom differ, and take long.
_RUNS, _MANY = 6, 20_000


@dataclass(frozen=True)
class Agreed:
    """The clustering that was taken, and why."""

    clustering: Clustering
    name: str  # ``"kmeans"``, or ``"mixture_0.05"`` and so on, with the shrinkage of the covariance
    agreement: dict[str, float]  # Mean adjusted Rand index of each clusterer with the other four
    beside: dict[str, float] | None = None  # The same with those of the second embedding, if that decided


def most_agreed(
    points: np.ndarray,
    n_clusters: int,
    *,
    seed: int = 0,
    second: Callable[[], np.ndarray | None] | None = None,
) -> Agreed:
    """Cluster points ``(n, d)`` by k-means and four mixtures, and take what agrees most with the others.

    If none agrees with the others by .9, each clusterer runs three times, from different starts. If k-means agrees with
    the mixtures by less than .5, the clusterings of a second embedding decide, which ``second`` computes only then.
    """
    names, fits = _runs(points, n_clusters, seed)
    labels = [fit.labels for fit in fits]
    alike = _among(labels)
    own = {str(name): float(alike[names == name][:, names != name].mean()) for name in dict.fromkeys(names)}
    beside, deciding = None, _with_others(alike)
    if own["kmeans"] < CLEAR_AGREEMENT and second is not None and (other := second()) is not None:
        deciding = _agreement(labels, [fit.labels for fit in _runs(other, n_clusters, seed)[1]]).mean(axis=1)
        beside = {name: float(deciding[names == name].mean()) for name in own}
    # Rounded, so that the last digit does not decide between clusterings that are the same.
    taken = int(np.argmax(np.round(deciding, 10)))
    fit = replace(fits[taken], criterion="agreement", value=float(deciding[taken]))
    if names[taken] == "kmeans":
        fit = replace(fit, posterior=soft_assignment(points, fit.labels))
    return Agreed(fit, str(names[taken]), own, beside)


def _runs(points: np.ndarray, n_clusters: int, seed: int) -> tuple[np.ndarray, list[Clustering]]:
    """One run of each clusterer, or three where no two clusterers quite agree: their names, and what they found."""
    found = [clusterings(points, n_clusters, seed=seed)]
    labels = [fit.labels for fit in found[0].values()]
    if len(points) <= _MANY and _with_others(_among(labels)).max() < _SETTLED:
        seeds = np.random.default_rng(seed).integers(2**31, size=_MORE_RUNS)
        found += [clusterings(points, n_clusters, seed=int(again)) for again in seeds]
    return np.concatenate([list(run) for run in found]), [fit for run in found for fit in run.values()]


def _with_others(alike: np.ndarray) -> np.ndarray:
    """Mean agreement of each with all others, from that of each with each."""
    mean: np.ndarray = (alike.sum(axis=1) - 1) / (len(alike) - 1)
    return mean


def _among(labels: list[np.ndarray]) -> np.ndarray:
    """Adjusted Rand index of each pair, which has no order."""
    found: np.ndarray = squareform(pdist(labels, adjusted_rand_score))
    np.fill_diagonal(found, 1)
    return found


def _agreement(some: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """Adjusted Rand index of each of some clusterings with each of others."""
    found: np.ndarray = cdist(some, others, adjusted_rand_score)
    return found


def clusterings(points: np.ndarray, n_clusters: int, *, seed: int = 0) -> dict[str, Clustering]:
    """The same points clustered by k-means and by mixtures whose covariance is free, a sphere, or in between."""
    values = np.asarray(points, dtype=np.float64)
    generator, n_runs = np.random.default_rng(seed), 1 if len(values) > _MANY else _RUNS
    plain = kmeans(points, n_clusters, seed=seed)
    with one_thread():
        starts = [plain.labels, *_starts(points, n_clusters, n_runs, generator)]

    def mixtures(starts: list[np.ndarray], shrinkages: Sequence[float] = SHRINKAGES) -> dict[float, Clustering]:
        return {each: gaussian_mixture(points, n_clusters, shrinkage=each, starts=starts) for each in shrinkages}

    found = mixtures(starts)
    with one_thread():
        others = _whitened_starts(values, found[_WITNESS].labels, n_runs, generator)
    if mixtures(others, [_WITNESS])[_WITNESS].value > found[_WITNESS].value + _CLEARLY:
        found = mixtures(starts + others)
    return {"kmeans": plain, **{f"mixture_{shrinkage:g}": fit for shrinkage, fit in found.items()}}


def _starts(points: np.ndarray, n_clusters: int, n_runs: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Ward's tree and single runs of k-means, in the units of the points and in standard deviations.

    k-means alone divides a large cluster before it finds a small one. The search of :func:`gaussian_mixture` tries more
    starts, and often ends in clusters of a few unusual points, which differ between seeds.
    """
    centred, spread = varying(points)
    return [
        *partitions(centred, n_clusters, n_runs, generator),
        *partitions(centred / spread, n_clusters, max(n_runs - 2, 1), generator),
    ]


def _whitened_starts(
    values: np.ndarray, labels: np.ndarray, n_runs: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """The same in coordinates in which all points, or those within the clusters, vary equally in all directions.

    These starts find small islands in a background that varies more than islands differ. Elsewhere they divide noise.
    """
    n_clusters = int(labels.max()) + 1
    centred = values - values.mean(axis=0)
    within = values - np.stack([values[labels == label].mean(axis=0) for label in range(n_clusters)])[labels]
    ridge = _RIDGE * (centred**2).mean(axis=0).max() * np.eye(values.shape[1])
    return [
        start
        for deviations in (centred, within)
        for start in partitions(
            whiten(centred, deviations.T @ deviations / len(values) + ridge), n_clusters, n_runs, generator
        )
    ]


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
    pairs = list(combinations(range(len(points)), 2))
    # Adjusted Rand index (K, P, C, C): in each of P pairs, C clusterings of one embedding with C of the other.
    every = []
    for number in numbers:
        labels = [[fit.labels for fit in clusterings(view, number, seed=seed).values()] for view in points]
        every.append([_agreement(labels[a], labels[b]) for a, b in pairs])
    found = np.array(every)
    n_clusterings = found.shape[-1]
    likelihoods = np.array([likelihoods_of_samples(view, numbers, _N_SAMPLES, seed) for view in points])
    picks = []
    for _ in range(_BOOTSTRAPS):
        drawn = generator.integers(n_clusterings, size=(len(points), n_clusterings))
        sampled = [found[:, pair][:, drawn[a]][:, :, drawn[b]] for pair, (a, b) in enumerate(pairs)]
        seen = likelihoods[:, generator.integers(_N_SAMPLES, size=_N_SAMPLES)]
        picks.append(_pick(numbers, np.mean(sampled, axis=(0, 2, 3)), _elbow(seen)))
    share = np.array([picks.count(number) for number in numbers]) / _BOOTSTRAPS
    by_number = found.reshape(len(numbers), -1)
    mean, sharpness = by_number.mean(axis=1), _elbow(likelihoods)
    picked = int(share.argmax())
    fits = np.zeros(len(numbers), dtype=bool)
    if sharpness.max() < _SHARP:
        fits[1:] = _counts(mean) & (mean[1:] >= mean[picked] - _ALIKE)
    return StabilityCurve(
        np.array(numbers),
        mean,
        by_number.std(axis=1),
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
