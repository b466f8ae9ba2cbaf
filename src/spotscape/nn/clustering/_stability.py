"""Number of clusters by stability: clusterings of different samples of the same points are compared.

At the right number, samples agree. They may also agree on two or three main parts, so the likelihood of a mixture
helps: it rises steeply up to the right number, and slowly from there. Neighbouring spots are not independent, so it
goes on rising faster than BIC corrects for, and BIC alone finds no maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice, pairwise, permutations
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from spotscape._core.settings import one_thread
from spotscape._core.validation import require_choice, require_positive_int
from spotscape.nn.clustering._kmeans import check_points, fit_kmeans, whiten
from spotscape.nn.clustering._mixture import TiedEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.cluster import KMeans

    from spotscape.nn.clustering._mixture import TiedMixture

METHODS = ("gmm", "kmeans")
# In halves, small clusters are lost. If samples overlap much more, stability hardly falls above the right number.
_SHARE = 0.65
# More points make a fit slower but the curve no more reliable.
_SAMPLE_POINTS = 3_000
_COMPARED_POINTS = 3_000
# The rule: stability and the elbow's weight beside it, steps behind and ahead, and what counts as equal.
_ELBOW, _BEHIND, _AHEAD, _LEAST_GAIN = 0.2, 2, 3, 0.02
_TOLERANCE = 0.04
_ITERATIONS, _TOL, _RIDGE = 100, 1e-5, 1e-8
# A number is clear if this share of the bootstraps picks it, and if clusterings agree by as much.
CLEAR = 0.9
# Samples are added until a number is clear, or until there are four times as many as at first.
_FEWEST_ROUNDS, _MOST_ROUNDS, _BOOTSTRAPS = 2, 4, 200
_KMEANS_STARTS = 2


@dataclass(frozen=True)
class StabilityCurve:
    """Agreement of clusterings over samples or embeddings, for each number of clusters; arrays are ``(K,)``."""

    numbers: np.ndarray
    mean: np.ndarray  # Of the adjusted Rand index over pairs of samples, or of clusterings of different embeddings
    sd: np.ndarray
    share: np.ndarray  # Share of the bootstraps that pick the number
    picked: int
    n_samples: int  # Number of samples, or of clusterings of each embedding
    # For samples of one embedding: agreement of k with k + 1, BIC of the mixture, stability plus a part of the elbow.
    to_next: np.ndarray | None = None
    bic: np.ndarray | None = None
    score: np.ndarray | None = None
    # For several embeddings: their mean elbow, and which numbers fit about as well as the one picked.
    elbow: np.ndarray | None = None
    fits: np.ndarray | None = None

    @property
    def is_clear(self) -> bool:
        """Whether nine in ten bootstraps agree, clusterings agree by .9, and only adjacent numbers fit as well."""
        stable = self.share.max() >= CLEAR and self.mean[self.share.argmax()] >= CLEAR
        return bool(stable and np.abs(np.array(self.candidates) - self.picked).max() <= 1)

    @property
    def candidates(self) -> list[int]:
        """The number picked, numbers that a tenth of the bootstraps pick, and numbers that fit about as well."""
        fits = np.zeros(len(self.numbers), dtype=bool) if self.fits is None else self.fits
        return [int(k) for k in self.numbers[(self.share >= 0.1) | (self.numbers == self.picked) | fits]]


def stability_curve(
    points: np.ndarray,
    numbers: Sequence[int],
    *,
    method: Literal["gmm", "kmeans"] = "gmm",
    n_resamples: int = 6,
    seed: int = 0,
) -> StabilityCurve:
    """Cluster samples of the points ``(n, d)`` into each number of clusters and compare the clusterings.

    A sample is 65 % of the points, 3,000 at most, clustered from starts of its own; its clusters are extended to all
    points. ``numbers`` are consecutive and start at 2 or above. Twice ``n_resamples`` samples are drawn, and then more,
    up to four times as many in total, until nine in ten bootstraps over the samples pick the same number. It runs on
    one thread.
    """
    numbers = check_numbers(numbers)
    require_choice(method, "method", METHODS)
    require_positive_int(n_resamples, "n_resamples", minimum=2)
    values = check_points(points, numbers[-1])
    check_sample(len(values), numbers[-1])
    centred, standardised = _scaled(values)
    generators = (np.random.default_rng([seed, index]) for index in count())
    compared = draw_points(len(values), _COMPARED_POINTS, next(generators))
    found: list[tuple[list[np.ndarray], np.ndarray]] = []
    agreement = np.empty((len(numbers), 0, 0))
    with one_thread():
        for number in range(_MOST_ROUNDS):
            for generator in islice(generators, n_resamples):
                sample = _Sample(standardised, centred, compared, numbers, generator)
                found.append(sample.cluster(method))
            if number + 1 < _FEWEST_ROUNDS:
                continue
            agreement = _agreement([labels for labels, _ in found], agreement)
            log_likelihood = np.array([each for _, each in found])
            share = _bootstrap(agreement, log_likelihood, numbers, np.random.default_rng(seed))
            if share.max() >= CLEAR:
                break
    first = list(permutations([labels for labels, _ in found[:n_resamples]], 2))
    to_next = [
        np.mean([adjusted_rand_score(a[index], b[index + 1]) for a, b in first]) for index in range(len(numbers) - 1)
    ]
    pairs = agreement[:, *np.triu_indices(len(found), 1)]
    mean_log_likelihood = log_likelihood.mean(axis=0)
    k, n, d = np.array(numbers), _n_drawn(len(values)), centred.shape[1]
    bic = (k - 1 + k * d + d * (d + 1) / 2) * np.log(n) - 2 * n * mean_log_likelihood[1:-_AHEAD]
    return StabilityCurve(
        np.array(numbers),
        pairs.mean(axis=1),
        pairs.std(axis=1),
        share,
        int(numbers[int(share.argmax())]),
        len(found),
        np.array([*to_next, np.nan]),
        bic,
        _score(pairs.mean(axis=1), mean_log_likelihood),
    )


def likelihoods_of_samples(points: np.ndarray, numbers: list[int], n_samples: int, seed: int) -> np.ndarray:
    """Mean log-likelihoods of mixtures of samples, ``(S, K + 4)``, including one number before and three after."""
    centred, standardised = _scaled(points)
    none = np.arange(0)
    with one_thread():
        samples = [
            _Sample(standardised, centred, none, numbers, np.random.default_rng([seed, index]))
            for index in range(n_samples)
        ]
        return np.array([[height for _, height in sample.mixtures()] for sample in samples])


def _score(mean: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    return np.asarray(mean + _ELBOW * elbow(log_likelihood))


def _bootstrap(
    agreement: np.ndarray, log_likelihood: np.ndarray, numbers: list[int], generator: np.random.Generator
) -> np.ndarray:
    """Share of bootstraps over the samples that pick each number."""
    picked = np.zeros(len(numbers))
    for _ in range(_BOOTSTRAPS):
        drawn = generator.integers(len(log_likelihood), size=len(log_likelihood))
        # The agreement of a sample with itself is no evidence.
        different = np.not_equal.outer(drawn, drawn)
        if not different.any():
            continue
        mean = agreement[:, drawn[:, None], drawn][:, different].mean(axis=1)
        number = pick_number(numbers, _score(mean, log_likelihood[drawn].mean(axis=0)))
        picked[numbers.index(number)] += 1
    return np.asarray(picked / picked.sum())


def elbow(log_likelihood: np.ndarray) -> np.ndarray:
    """How much less a further component adds to the likelihood than the last ones did, as the logarithm of a ratio.

    It is the mean gain of the last two steps over that of the next three, which is at least 2 % of the largest gain;
    the first number and the last three have none.
    """
    gains = np.diff(log_likelihood)
    floor = max(_LEAST_GAIN * gains.max(), np.finfo(np.float64).tiny)
    last = range(1, len(gains) - _AHEAD + 1)
    before = np.array([gains[max(0, index - _BEHIND) : index].mean() for index in last])
    after = np.array([gains[index : index + _AHEAD].mean() for index in last])
    return np.asarray(np.log(np.maximum(before, floor) / np.maximum(after, floor)))


def pick_number(numbers: Sequence[int] | np.ndarray, score: np.ndarray, *, tolerance: float = _TOLERANCE) -> int:
    """The largest number whose score is at most ``tolerance`` below the highest score."""
    return int(numbers[np.flatnonzero(score >= score.max() - tolerance)[-1]])


class _Sample:
    """One sample of the points, its starts and its clusterings."""

    def __init__(
        self,
        standardised: np.ndarray,
        centred: np.ndarray,
        compared: np.ndarray,
        numbers: list[int],
        generator: np.random.Generator,
    ) -> None:
        rows = draw_points(len(centred), _n_drawn(len(centred)), generator)
        shift = standardised[rows].mean(axis=0)
        self.em = TiedEM(standardised[rows] - shift, _RIDGE)
        self.compared = standardised[compared] - shift
        self.raw, self.raw_compared = centred[rows], centred[compared]
        self.numbers, self.generator = numbers, generator

    def cluster(self, method: str) -> tuple[list[np.ndarray], np.ndarray]:
        """Labels of the compared points, and mean log-likelihoods, including one number before and three after."""
        mixtures = self.mixtures()
        log_likelihood = np.array([found for _, found in mixtures])
        if method == "kmeans":
            fits = (self._run_kmeans(self.raw, k, n_init=_KMEANS_STARTS) for k in self.numbers)
            return [fit.predict(self.raw_compared) for fit in fits], log_likelihood
        em = TiedEM(self.compared, _RIDGE)
        return [em.posterior(mixture).argmax(axis=1) for mixture, _ in mixtures[1:-_AHEAD]], log_likelihood

    def mixtures(self) -> list[tuple[TiedMixture, float]]:
        """The best mixture of every number, of one before and of three after, with their mean log-likelihoods."""
        points, numbers = self.em.points, range(self.numbers[0] - 1, self.numbers[-1] + _AHEAD + 1)
        total = self.em.total + _RIDGE * np.eye(points.shape[1])
        # A tree serves all numbers of clusters.
        trees = [linkage(space, "ward") for space in (points, whiten(points, total))]
        return [self._mixture(k, [fcluster(tree, k, "maxclust") - 1 for tree in trees]) for k in numbers]

    def _mixture(self, k: int, starts: list[np.ndarray]) -> tuple[TiedMixture, float]:
        found = [self._climb(labels, k) for labels in starts]
        within = whiten(self.em.points, max(found, key=itemgetter(1))[0].covariance)
        found.append(self._climb(self._run_kmeans(within, k, n_init=1).labels_, k))
        return max(found, key=itemgetter(1))

    def _climb(self, labels: np.ndarray, k: int) -> tuple[TiedMixture, float]:
        return self.em.run(self.em.start(labels, k), _ITERATIONS, _TOL)

    def _run_kmeans(self, points: np.ndarray, k: int, *, n_init: int) -> KMeans:
        return fit_kmeans(points, k, n_init=n_init, seed=int(self.generator.integers(2**31)))


def _n_drawn(n_points: int) -> int:
    return min(_SAMPLE_POINTS, int(_SHARE * n_points))


def _agreement(labels: list[list[np.ndarray]], known: np.ndarray) -> np.ndarray:
    """Agreement of each pair of samples, ``(K, n_samples, n_samples)``; ``known`` holds what was already computed."""
    agreement = np.ones((len(known), len(labels), len(labels)))
    n_known = known.shape[1]
    agreement[:, :n_known, :n_known] = known
    for second in range(n_known, len(labels)):
        for first in range(second):
            found = [adjusted_rand_score(*both) for both in zip(labels[first], labels[second], strict=True)]
            agreement[:, first, second] = agreement[:, second, first] = found
    return agreement


def check_numbers(numbers: Sequence[int]) -> list[int]:
    checked = [require_positive_int(number, "number of clusters", minimum=2) for number in numbers]
    if len(checked) < 2 or any(later != earlier + 1 for earlier, later in pairwise(checked)):
        msg = f"numbers={checked} must be two or more consecutive numbers of clusters, ascending."
        raise ValueError(msg)
    return checked


def check_sample(n_points: int, largest: int) -> None:
    n_drawn = _n_drawn(n_points)
    if n_drawn < 2 * largest:
        msg = f"samples of {n_drawn} of the {n_points} points are too small for {largest} clusters; ask for fewer."
        raise ValueError(msg)


def _scaled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns that vary, centred, and the same in standard deviations."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 1e-6 * spread.max()]
    return centred, centred / centred.std(axis=0)


def draw_points(n_points: int, n_drawn: int, generator: np.random.Generator) -> np.ndarray:
    if n_drawn >= n_points:
        return np.arange(n_points)
    return np.sort(generator.choice(n_points, n_drawn, replace=False))
