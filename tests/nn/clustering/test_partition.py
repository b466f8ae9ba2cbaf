"""k-means, exact numbers of clusters, numbering by size, and the search for a resolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from spotscape.nn.clustering._kmeans import by_size, kmeans, make_exactly, search_resolution, soft_assignment
from spotscape.nn.clustering._mixture import gaussian_mixture

pytestmark = pytest.mark.all_starts


def test_labels_go_by_size_then_first_point() -> None:
    labels, old = by_size(np.array([5, 2, 2, 7, 5, 9, 9, 9]))
    assert labels.tolist() == [1, 2, 2, 3, 1, 0, 0, 0]
    assert old.tolist() == [9, 5, 2, 7]


def test_the_closest_clusters_are_merged() -> None:
    points = np.array([[0.0], [1.0], [10.0], [20.0]])
    assert make_exactly(np.arange(4), points, 3).tolist() == [0, 0, 1, 2]
    # By Ward's criterion two single points 3 apart are closer than two large clusters 2 apart.
    points = np.repeat([[0.0], [2.0], [10.0], [13.0]], [50, 50, 1, 1], axis=0)
    merged = make_exactly(np.repeat(np.arange(4), [50, 50, 1, 1]), points, 3)
    assert len(np.unique(merged[:100])) == 2
    assert merged[100] == merged[101]


def test_the_widest_cluster_is_split() -> None:
    points = np.array([[0.0], [0.1], [10.0], [14.0], [14.1]])
    assert make_exactly(np.array([0, 0, 1, 1, 1]), points, 3).tolist() == [0, 0, 1, 2, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=4, max_size=30), st.data())
@settings(max_examples=60)
def test_as_many_clusters_as_asked_for(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    points = np.array(rows, dtype=float)
    n_distinct = len(np.unique(points, axis=0))
    start = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(rows), max_size=len(rows))))
    wanted = data.draw(st.integers(1, n_distinct))
    assert len(np.unique(make_exactly(start, points, wanted))) == wanted


def test_kmeans_is_scikit_learns() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    ours, theirs = kmeans(points, 5, n_init=10, seed=4), KMeans(5, n_init=10, random_state=4).fit(points)
    assert ours.value == pytest.approx(theirs.inertia_)
    np.testing.assert_array_equal(ours.labels, by_size(theirs.labels_)[0])
    assert (ours.criterion, ours.posterior) == ("inertia", None)


def test_a_point_so_far_off_that_it_hides_the_others_is_a_cluster_and_no_warning() -> None:
    group = np.arange(240) % 4
    points = 5 * np.eye(4)[group] + np.random.default_rng(1).normal(size=(240, 4))
    points[0] += 1e12
    assert np.bincount(kmeans(points, 4).labels).tolist()[-1] == 1


def test_small_data_get_more_starts() -> None:
    points = np.random.default_rng(0).normal(size=(500, 4))
    default, ten, hundred = (kmeans(points, 9, n_init=n_init).value for n_init in (None, 10, 100))
    assert default == hundred < ten


def test_kmeans_has_the_same_bits_on_any_number_of_threads() -> None:
    points = np.random.default_rng(0).normal(size=(5000, 16))
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(kmeans(points, 7))
    assert results[0].value == results[1].value
    np.testing.assert_array_equal(results[0].labels, results[1].labels)


@pytest.mark.parametrize("cluster", [kmeans, gaussian_mixture])
def test_errors(cluster: object) -> None:
    points = np.repeat(np.eye(3), 5, axis=0)
    with pytest.raises(ValueError, match="the 15 points have 3 distinct positions, too few for 4 clusters"):
        cluster(points, 4)  # type: ignore[operator]
    with pytest.raises(ValueError, match="n_clusters=1 must be at least 2"):
        cluster(points, 1)  # type: ignore[operator]
    with pytest.raises(TypeError, match="n_clusters must be an integer"):
        cluster(points, 2.0)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"points have shape \(15,\)"):
        cluster(points[:, 0], 2)  # type: ignore[operator]
    with pytest.raises(ValueError, match="points has 1 NaN or infinite values"):
        cluster(np.r_[points, [[0, 0, np.inf]]], 2)  # type: ignore[operator]


@pytest.mark.parametrize("wanted", [2, 5, 30])
def test_a_resolution_is_found(wanted: int) -> None:
    labels, resolution = search_resolution(lambda r: np.arange(1000) % max(1, int(7 * r)), wanted)
    assert len(np.unique(labels)) == wanted == int(7 * resolution)


@pytest.mark.parametrize("start", [1e-6, 5e3])
def test_a_resolution_is_found_from_one_that_is_far_off(start: float) -> None:
    labels, _ = search_resolution(lambda r: np.arange(1000) % max(1, int(7 * r)), 30, start=start)
    assert len(np.unique(labels)) == 30


def test_the_nearest_number_above_is_taken_where_none_fits() -> None:
    labels, _ = search_resolution(lambda r: np.arange(1000) % (2 * max(1, int(r))), 5)
    assert len(np.unique(labels)) == 6
    labels, _ = search_resolution(lambda r: np.arange(1000) % min(3, 1 + int(r)), 5)
    assert len(np.unique(labels)) == 3


class TestSoftAssignment:
    def test_by_hand(self) -> None:
        """Means .5 and 3.5, variance .25: at 0 the logits are -.5 and -24.5, and at 1 they are -.5 and -12.5."""
        points = np.array([[0.0], [1.0], [3.0], [4.0]])
        found = soft_assignment(points, np.array([0, 0, 1, 1]))
        np.testing.assert_allclose(found[0, 1], 1 / (1 + np.exp(24)), rtol=1e-9)
        np.testing.assert_allclose(found[1, 1], 1 / (1 + np.exp(12)), rtol=1e-9)
        np.testing.assert_allclose(found.sum(axis=1), 1)

    def test_the_own_cluster_of_kmeans_is_the_most_probable(self) -> None:
        points = np.random.default_rng(0).normal(size=(200, 3))
        found = kmeans(points, 5)
        np.testing.assert_array_equal(soft_assignment(points, found.labels).argmax(axis=1), found.labels)

    def test_clusters_of_single_points_are_certain(self) -> None:
        np.testing.assert_array_equal(soft_assignment(np.eye(3), np.arange(3)), np.eye(3))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_neither_a_constant_column_nor_an_offset_matters(self, dtype: type) -> None:
        points = np.random.default_rng(0).normal(size=(200, 3)).astype(dtype)
        labels = kmeans(points, 4).labels
        expected = soft_assignment(points, labels)
        constant = np.c_[points, np.full((200, 3), 3.1, dtype=dtype)]
        np.testing.assert_allclose(soft_assignment(constant, labels), expected, atol=1e-12)
        np.testing.assert_allclose(soft_assignment(points.astype(np.float64) + 1e8, labels), expected, atol=1e-6)
