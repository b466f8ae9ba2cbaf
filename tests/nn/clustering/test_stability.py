"""The number of clusters by stability: hand-worked agreement, the rule, and numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from spotscape.nn.clustering._stability import elbow, pick_number, stability_curve

pytestmark = pytest.mark.all_starts


def blobs(n_clusters: int, *, n_each: int = 40, n_dims: int = 4, seed: int = 0) -> np.ndarray:
    """Groups of unit variance whose centres lie 10 from each other."""
    rng = np.random.default_rng(seed)
    centres = 10 / np.sqrt(2) * np.eye(max(n_clusters, n_dims))[:n_clusters]
    labels = np.repeat(np.arange(n_clusters), n_each)
    return centres[labels] + rng.normal(size=(len(labels), centres.shape[1]))


class TestTheRule:
    @pytest.mark.parametrize(
        ("score", "tolerance", "expected"),
        [
            ([1.0, 0.7, 0.98, 0.9], 0.04, 4),
            ([1.0, 0.7, 0.95, 0.9], 0.04, 2),
            ([0.5, 0.75, 0.5, 0.75], 0.0, 5),
            ([0.5, 0.75, 0.5, 0.5], 0.25, 5),
        ],
    )
    def test_largest_within_the_tolerance(self, score: list[float], tolerance: float, expected: int) -> None:
        assert pick_number([2, 3, 4, 5], np.array(score), tolerance=tolerance) == expected

    def test_elbow_by_hand(self) -> None:
        """Gains 4, 2, 1, 1, 1, 0.5: 4 over 4/3, 3 over 1, 1.5 over 2.5/3."""
        found = elbow(np.cumsum([0, 4, 2, 1, 1, 1, 0.5]))
        np.testing.assert_allclose(found, np.log([3, 3, 1.8]))

    def test_elbow_of_what_no_longer_rises(self) -> None:
        """Gains below 2 % of the largest count as that."""
        found = elbow(np.array([0.0, 10, 20, 20, 19, 19, 19]))
        np.testing.assert_allclose(found, np.log([10 / 3, 50, 25]))


class TestKnownNumbers:
    @pytest.mark.parametrize("method", ["gmm", "kmeans"])
    @pytest.mark.parametrize("n_clusters", [2, 8, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))])
    def test_blobs(self, n_clusters: int, method: str) -> None:
        curve = stability_curve(blobs(n_clusters), range(2, 11), method=method, n_resamples=4)
        assert curve.picked == n_clusters
        assert curve.mean[n_clusters - 2] > 0.99
        assert curve.mean.argmax() == n_clusters - 2
        # Independent points: here the criterion finds it as well.
        assert curve.numbers[curve.bic.argmin()] == n_clusters

    @pytest.mark.slow
    def test_two_levels(self) -> None:
        """Three pairs: three and six are both stable, and the finer level is taken."""
        parts = np.repeat(np.arange(6), 60)
        rng = np.random.default_rng(1)
        points = 60 * np.eye(3)[parts // 2] + 9 * (parts % 2)[:, None] + rng.normal(size=(360, 3))
        curve = stability_curve(points, range(2, 10), n_resamples=4)
        assert curve.mean[3 - 2] > 0.97
        assert curve.picked == 6

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["gmm", "kmeans"])
    def test_whatever_the_order_rotation_and_unit(self, method: str) -> None:
        points = blobs(4)
        rng = np.random.default_rng(0)
        for moved in (
            points[rng.permutation(len(points))],
            points @ ortho_group.rvs(4, random_state=1) + 100,
            1e-3 * points,
            np.column_stack([points, np.full(len(points), 3.0)]),
        ):
            assert stability_curve(moved, range(2, 9), method=method, n_resamples=3).picked == 4

    @pytest.mark.slow
    def test_a_cloud_is_less_stable_than_clusters(self) -> None:
        cloud = np.random.default_rng(0).normal(size=(300, 4))
        assert stability_curve(cloud, range(2, 7), n_resamples=4).mean.max() < 0.9

    @pytest.mark.slow
    def test_samples_of_many_points(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spotscape.nn.clustering._stability._SAMPLE_POINTS", 120)
        monkeypatch.setattr("spotscape.nn.clustering._stability._COMPARED_POINTS", 200)
        assert stability_curve(blobs(4, n_each=200), range(2, 8), n_resamples=3).picked == 4


def test_shapes_and_criterion_by_hand() -> None:
    points = blobs(2, n_dims=2)
    curve = stability_curve(points, [2, 3, 4], n_resamples=3)
    assert curve.numbers.tolist() == [2, 3, 4]
    assert [part.shape for part in (curve.mean, curve.sd, curve.to_next, curve.bic, curve.score)] == [(3,)] * 5
    assert np.isnan(curve.to_next).tolist() == [False, False, True]
    assert (curve.sd >= 0).all()
    # Samples of 52 points of two groups: standardised columns correlate by -c, so that within groups the likelihood is
    # that of a Gaussian with the pooled covariance, each point being its group's for certain.
    rows = np.repeat([0, 1], 40)
    standardised = (points - points.mean(axis=0)) / points.std(axis=0)
    within = standardised - np.stack([standardised[rows == group].mean(axis=0) for group in (0, 1)])[rows]
    pooled = within.T @ within / 80
    per_point = -0.5 * (np.linalg.slogdet(pooled)[1] + 2 + 2 * np.log(2 * np.pi)) - np.log(2)
    expected = (1 + 4 + 3) * np.log(52) - 2 * 52 * per_point
    assert curve.bic[0] == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_another_curve() -> None:
    cloud = np.random.default_rng(0).normal(size=(200, 3))
    first, again, other = (stability_curve(cloud, [2, 3, 4], n_resamples=3, seed=seed) for seed in (1, 1, 2))
    for name in ("mean", "sd", "to_next", "bic"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.mean, other.mean)


def test_few_distinct_points() -> None:
    points = np.eye(5)[np.arange(100) % 5]
    curve = stability_curve(points, range(2, 6), n_resamples=3)
    assert curve.picked == 5
    assert np.isfinite(curve.bic).all()


@pytest.mark.parametrize(
    ("numbers", "options", "error", "message"),
    [
        ([2], {}, ValueError, r"numbers=\[2\] must be two or more consecutive"),
        ([2, 4], {}, ValueError, r"numbers=\[2, 4\] must be two or more consecutive"),
        ([1, 2], {}, ValueError, "number of clusters=1 must be at least 2"),
        ([2.0, 3], {}, TypeError, "number of clusters must be an integer"),
        ([2, 3], {"method": "leiden"}, ValueError, r"method='leiden' is not one of \['gmm', 'kmeans'\]"),
        ([2, 3], {"n_resamples": 1}, ValueError, "n_resamples=1 must be at least 2"),
        (range(2, 50), {}, ValueError, "samples of 52 of the 80 points are too small for 49 clusters"),
        (range(2, 100), {}, ValueError, "too few for 99 clusters"),
    ],
)
def test_errors(numbers: list[int], options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stability_curve(blobs(2), numbers, **options)  # type: ignore[arg-type]
