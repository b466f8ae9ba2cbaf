"""The tied mixture: scikit-learn's EM as oracle, its best of 10 as bar, invariances, awkward data, threads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from spotscape.nn.clustering import _mixture
from spotscape.nn.clustering._mixture import TiedEM, TiedMixture, gaussian_mixture

pytestmark = pytest.mark.all_starts

RIDGE = 1e-6


def blobs(seed: int, n: int = 300, d: int = 6, k: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres, mixing = rng.normal(size=(k, d)) * 1.5, rng.normal(size=(d, d)) * 0.5
    return centres[rng.choice(k, n, p=rng.dirichlet(np.ones(k) * 3))] + rng.normal(size=(n, d)) @ mixing


def awkward(kind: str, seed: int) -> np.ndarray:  # noqa: PLR0911
    rng, points = np.random.default_rng(seed), blobs(seed)
    match kind:
        case "correlated":
            return points
        case "collinear":
            return np.c_[points, points[:, :2] @ [1.0, -2.0] + 1e-4 * rng.normal(size=len(points))]
        case "heavy":
            return points + rng.standard_t(2, size=points.shape)
        case "rectified":
            return np.maximum(points, 0)
        case "duplicated":
            return np.repeat(points[:100], 3, axis=0)
        case "tiny cluster":
            return np.r_[points, points[:5] + 20]
        case _:
            return points * np.logspace(-3, 3, points.shape[1])


@pytest.mark.parametrize("seed", range(3))
def test_steps_equal_scikit_learn_from_the_same_start(seed: int) -> None:
    points = blobs(seed)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    em = TiedEM(points, RIDGE)
    start = em.start(np.random.default_rng(seed).integers(4, size=len(points)), 4)
    ours, log_likelihood = em.run(start, 25, -np.inf)
    theirs = GaussianMixture(
        4,
        covariance_type="tied",
        tol=0.0,
        max_iter=25,
        reg_covar=RIDGE,
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariance),
    )
    with pytest.warns(Warning, match="did not converge"):
        theirs.fit(points)
    np.testing.assert_allclose(ours.means, theirs.means_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.covariance, theirs.covariances_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-8)
    np.testing.assert_allclose(em.posterior(ours), theirs.predict_proba(points), atol=1e-8)
    assert log_likelihood == pytest.approx(theirs.score(points), rel=1e-10)


def test_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(0) - blobs(0).mean(axis=0)
    whole = TiedEM(points, RIDGE)
    start = whole.start(np.arange(300) % 4, 4)
    expected, score = whole.run(start, 10, -np.inf)
    monkeypatch.setattr("spotscape.nn.clustering._mixture._BLOCK", 37)
    found, block_score = TiedEM(points, RIDGE).run(start, 10, -np.inf)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-10)
    assert block_score == pytest.approx(score, rel=1e-12)
    np.testing.assert_allclose(TiedEM(points, RIDGE).posterior(found), whole.posterior(expected), atol=1e-10)


def test_likelihood_never_falls() -> None:
    points = blobs(1) - blobs(1).mean(axis=0)
    em = TiedEM(points, 0.0)
    mixture: TiedMixture = em.start(np.arange(300) % 4, 4)
    scores = []
    for _ in range(40):
        mixture, score = em.run(mixture, 1, -np.inf)
        scores.append(score)
    assert (np.diff(scores) > -1e-10).all()
    assert scores[-1] > scores[0] + 0.1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind",
    [
        *("correlated", "collinear", "duplicated", "tiny cluster"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("heavy", "rectified", "unequal scales")),
    ],
)
def test_likelihood_is_never_worse_than_scikit_learns_best_of_10(kind: str, seed: int) -> None:
    points = awkward(kind, seed)
    bar = GaussianMixture(4, covariance_type="tied", n_init=10, random_state=seed, reg_covar=RIDGE).fit(points)
    ours = gaussian_mixture(points, 4, seed=seed)
    # Both add a ridge to the covariance; scikit-learn's swamps columns of tiny scale: those compare standardised only.
    slack = 1e-5
    if kind != "unequal scales":
        assert ours.value >= bar.score(points) - slack
    scaled = points / points.std(axis=0)
    bar = GaussianMixture(4, covariance_type="tied", n_init=10, random_state=seed, reg_covar=RIDGE).fit(scaled)
    assert ours.value + np.log(points.std(axis=0)).sum() >= bar.score(scaled) - slack
    assert len(np.unique(ours.labels)) == 4


def test_value_and_posterior_are_those_of_scikit_learn_at_our_optimum() -> None:
    points = blobs(3)
    ours = gaussian_mixture(points, 4)
    weights = ours.posterior.mean(axis=0)
    means = ours.posterior.T @ points / (len(points) * weights)[:, None]
    centred = points - points.mean(axis=0)
    between = means - points.mean(axis=0)
    precision = np.linalg.inv(centred.T @ centred / len(points) - (between.T * weights) @ between)
    theirs = GaussianMixture(
        4, covariance_type="tied", weights_init=weights, means_init=means, precisions_init=precision, tol=1e-9
    ).fit(points)
    assert theirs.score(points) == pytest.approx(ours.value, abs=1e-4)
    np.testing.assert_allclose(theirs.predict_proba(points), ours.posterior, atol=0.02)
    np.testing.assert_array_equal(ours.posterior.argmax(axis=1), ours.labels)
    np.testing.assert_allclose(ours.posterior.sum(axis=1), 1)


@pytest.mark.slow
def test_units_dead_columns_and_order_do_not_matter() -> None:
    points, _ = make_blobs(200, n_features=5, centers=4, cluster_std=1.5, random_state=0)
    expected = gaussian_mixture(points, 4)
    scaled = gaussian_mixture(points * 1e-5 + 7, 4)
    np.testing.assert_array_equal(scaled.labels, expected.labels)
    assert scaled.value == pytest.approx(expected.value - 5 * np.log(1e-5))
    dead = np.c_[points, np.zeros(200), np.full(200, 3.1, dtype=np.float32)]
    found = gaussian_mixture(dead.astype(np.float32), 4)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.value == pytest.approx(expected.value, abs=1e-4)
    order = np.random.default_rng(0).permutation(200)
    shuffled = gaussian_mixture(points[order], 4)
    assert shuffled.value == pytest.approx(expected.value, abs=1e-4)


@pytest.mark.slow
def test_large_data_are_searched_on_a_subsample(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = make_blobs(1500, n_features=4, centers=5, cluster_std=1.0, random_state=1)
    exact = gaussian_mixture(points, 5)
    monkeypatch.setattr(_mixture, "_SEARCH_POINTS", 400)
    sampled = gaussian_mixture(points, 5)
    assert sampled.value == pytest.approx(exact.value, abs=1e-4)
    assert np.mean(sampled.labels == exact.labels) > 0.99
    assert len(np.unique(truth)) == len(np.unique(sampled.labels))


@pytest.mark.parametrize(
    "points",
    [
        np.repeat(np.arange(3.0), 20)[:, None],
        np.eye(3)[np.arange(30) % 3],
        np.arange(3.0)[:, None] * [1.0, 1e-9],
        np.r_[np.zeros((50, 2)), [[1e6, 0], [0, 1e-6]]],
        np.array([[1.0], [1.0 + 2e-16], [1.0 + 4e-16]]),
    ],
)
def test_degenerate_points_give_all_clusters(points: np.ndarray) -> None:
    found = gaussian_mixture(points, len(np.unique(points, axis=0)))
    assert len(np.unique(found.labels)) == len(np.unique(points, axis=0))
    np.testing.assert_array_equal(found.posterior.argmax(axis=1), found.labels)


@pytest.mark.slow
def test_same_bits_on_any_number_of_threads_and_twice() -> None:
    points = blobs(5, n=3000, d=20)
    results = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            results.append(gaussian_mixture(points, 4, seed=3))
    for other in results[1:]:
        assert other.value == results[0].value
        np.testing.assert_array_equal(other.labels, results[0].labels)
        np.testing.assert_array_equal(other.posterior, results[0].posterior)


def test_input_stays_as_it_is() -> None:
    points = blobs(0)
    before, state = points.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    gaussian_mixture(points, 3)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def stripes(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two groups that lie apart in a direction of little variance."""
    rng = np.random.default_rng(seed)
    group = rng.integers(2, size=n)
    return np.c_[rng.normal(0, 5, n), group + rng.normal(0, 0.15, n)], group


class TestShrinkage:
    def test_none_cuts_where_points_lie_apart_and_all_of_it_where_they_vary(self) -> None:
        points, group = stripes()
        apart, varying = (gaussian_mixture(points, 2, shrinkage=each).labels for each in (0.0, 1.0))
        assert max((apart == group).mean(), (apart != group).mean()) == 1
        assert max((varying == group).mean(), (varying != group).mean()) < 0.6
        right = points[:, 0] > 0
        assert max((varying == right).mean(), (varying != right).mean()) > 0.95

    def test_steps_at_one_are_those_of_spheres(self) -> None:
        """By hand: equal spheres, whose variance is the mean squared distance to the own mean over dimensions."""
        points = blobs(3)
        points -= points.mean(axis=0)
        em = TiedEM(points, 0.0, shrinkage=1.0)
        labels = np.arange(len(points)) % 4
        mixture = em.start(labels, 4)
        means = np.stack([points[labels == one].mean(axis=0) for one in range(4)])
        variance = ((points - means[labels]) ** 2).mean()
        np.testing.assert_allclose(mixture.covariance, variance * np.eye(6), atol=1e-12)
        logits = -((points[:, None] - means) ** 2).sum(axis=2) / (2 * variance) + np.log(mixture.weights)
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(em.posterior(mixture), expected / expected.sum(axis=1, keepdims=True), atol=1e-10)

    def test_the_sphere_is_one_in_the_units_before_scaling(self) -> None:
        points = blobs(4)
        points -= points.mean(axis=0)
        scale = points.std(axis=0)
        labels = np.arange(len(points)) % 3
        raw = TiedEM(points, 0.0, shrinkage=0.3).start(labels, 3)
        scaled = TiedEM(points / scale, 0.0, shrinkage=0.3, scale=scale).start(labels, 3)
        np.testing.assert_allclose(scaled.covariance * np.outer(scale, scale), raw.covariance, atol=1e-12)

    @pytest.mark.parametrize("shrinkage", [0.05, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.5, 1.0))])
    def test_rotation_and_one_unit_for_all_do_not_matter(self, shrinkage: float) -> None:
        points = blobs(5)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
        first = gaussian_mixture(points, 4, shrinkage=shrinkage)
        again = gaussian_mixture(100 * points @ rotation, 4, shrinkage=shrinkage)
        assert (first.labels == again.labels).mean() > 0.99

    def test_of_a_large_tissue_is_found_on_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points, _ = stripes(1, 600)
        whole = gaussian_mixture(points, 2, shrinkage=1.0)
        monkeypatch.setattr(_mixture, "_SEARCH_POINTS", 300)
        sampled = gaussian_mixture(points, 2, shrinkage=1.0)
        assert (whole.labels == sampled.labels).mean() > 0.98
        assert sampled.value == pytest.approx(whole.value, abs=1e-3)

    @pytest.mark.parametrize("shrinkage", [-0.1, 1.1, np.nan])
    def test_outside_its_range(self, shrinkage: float) -> None:
        with pytest.raises(ValueError, match=r"shrinkage=.* lies outside \[0, 1\]"):
            gaussian_mixture(blobs(0), 2, shrinkage=shrinkage)
