"""The clustering on which several agree: who is asked, who wins, and that it is one of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from spotscape.nn.clustering._agreement import SHRINKAGES, _starts, most_agreed
from spotscape.nn.clustering._kmeans import kmeans, soft_assignment
from spotscape.nn.clustering._mixture import gaussian_mixture

pytestmark = pytest.mark.all_starts


def stripes(gap: float, length: float, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two groups that lie ``gap`` apart across an axis along which both vary by ``length``."""
    rng = np.random.default_rng(0)
    group = np.arange(n) % 2
    return np.c_[length * rng.normal(size=n), gap * group + rng.normal(size=n), rng.normal(size=n)], group


def five(points: np.ndarray, n_clusters: int, seed: int) -> dict[str, np.ndarray]:
    """Labels of the five clusterers."""
    found = {"kmeans": kmeans(points, n_clusters, seed=seed).labels}
    starts = [found["kmeans"], *_starts(points, n_clusters, 6, np.random.default_rng(seed))]
    for each in SHRINKAGES:
        found[f"mixture_{each:g}"] = gaussian_mixture(points, n_clusters, shrinkage=each, starts=starts).labels
    return found


@pytest.mark.parametrize("settled", [True, False])
def test_it_is_the_clustering_with_the_highest_mean_agreement(settled: bool) -> None:
    points = np.random.default_rng(0).normal(size=(150, 3)) * [3.0, 2.0, 1.0]
    points += 8 * settled * np.eye(3)[np.arange(150) % 3]
    agreed = most_agreed(points, 3, seed=4)
    seeds = [4] if settled else [4, *np.random.default_rng(4).integers(2**31, size=2)]
    runs = [(name, labels) for seed in seeds for name, labels in five(points, 3, int(seed)).items()]
    with_each = np.array([[adjusted_rand_score(one, other) for _, other in runs] for _, one in runs])
    of_first = with_each[:5, :5].sum(axis=1) - 1
    assert (of_first.max() / 4 >= 0.9) == settled
    with_all = (with_each.sum(axis=1) - 1) / (len(runs) - 1)
    names = [name for name, _ in runs]
    expected = {
        one: np.mean(
            [with_each[i, j] for i in range(len(runs)) for j in range(len(runs)) if names[i] == one != names[j]]
        )
        for one in names
    }
    assert agreed.agreement == pytest.approx(expected)
    assert agreed.clustering.value == pytest.approx(with_all.max())
    assert agreed.name == names[with_all.argmax()]
    np.testing.assert_array_equal(agreed.clustering.labels, runs[with_all.argmax()][1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_choice_depends_less_on_the_seed_where_clusterers_disagree(seed: int) -> None:
    """Points with long tails have many divisions; with one run of each clusterer these agree by .49 and .39."""
    points = np.random.default_rng(seed).standard_t(4, size=(100 * (seed + 2), 5))
    found = [most_agreed(points, 3, seed=each).clustering.labels for each in range(4)]
    assert np.mean([[adjusted_rand_score(one, other) for other in found] for one in found]) > 0.8


@pytest.mark.parametrize(("gap", "length"), [(8.0, 6.0), (8.0, 1.0)])
def test_a_group_that_most_find_is_found_whoever_fails(gap: float, length: float) -> None:
    points, group = stripes(gap, length)
    agreed = most_agreed(points, 2)
    found, agreement = agreed.clustering, agreed.agreement
    assert adjusted_rand_score(group, found.labels) > 0.95
    if length == 6.0:
        assert adjusted_rand_score(group, kmeans(points, 2).labels) < 0.5
        assert agreement["kmeans"] < 0.3 < max(agreement.values())


def test_the_same_for_the_same_seed_and_any_order_of_points() -> None:
    points, _ = stripes(5.0, 2.0)
    order = np.random.default_rng(1).permutation(len(points))
    first, second, other = (most_agreed(each, 2, seed=3).clustering.labels for each in (points, points, points[order]))
    np.testing.assert_array_equal(first, second)
    assert adjusted_rand_score(first[order], other) > 0.97


@pytest.mark.parametrize("scale", [1.0, 1e-60, 1e10])
def test_groups_without_width_leave_no_doubt(scale: float) -> None:
    points = scale * np.repeat(np.eye(3), 4, axis=0)
    posterior = soft_assignment(points, np.repeat(np.arange(3), 4))
    np.testing.assert_array_equal(posterior, np.eye(3).repeat(4, axis=0))
    agreed = most_agreed(points, 3)
    found, agreement = agreed.clustering, agreed.agreement
    assert found.posterior is not None
    np.testing.assert_allclose(found.posterior[np.arange(12), found.labels], 1)
    assert set(agreement.values()) == {1.0}


def test_a_few_stray_points_do_not_take_a_cluster() -> None:
    """The highest likelihood is that of a cluster of strays; nobody wants it, and not every search finds it."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(3), 200)
    points = 4 * np.eye(3, 6)[group] + rng.normal(size=(600, 6))
    points[:6, 5] += 9
    found = [most_agreed(points, 3, seed=seed).clustering.labels for seed in range(3)]
    assert min(adjusted_rand_score(group, labels) for labels in found) > 0.9
    assert all(adjusted_rand_score(found[0], labels) > 0.95 for labels in found)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_small_islands_in_a_wide_background_are_found(seed: int) -> None:
    """Runs of k-means cut the background, and EM does not come back from that; Ward's tree finds the islands."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2, 3], [900, 30, 30, 30])
    points = rng.normal(size=(990, 6))
    points[:900, 0] *= 3
    points[:, 1:4] += 8 * np.eye(4)[group][:, 1:]
    assert adjusted_rand_score(group, kmeans(points, 4, seed=seed).labels) < 0.3
    assert adjusted_rand_score(group, most_agreed(points, 4, seed=seed).clustering.labels) > 0.95


@pytest.mark.parametrize("constant", [0.0, 3.1, 1e8 / 3])
def test_starts_are_the_same_beside_a_constant_column(constant: float) -> None:
    """The deviation of a column of 3.1 is no 0 but 9e-16, because its mean is rounded."""
    points, _ = stripes(5.0, 2.0)
    wider = np.c_[points, np.full(len(points), constant)]
    expected, found = (_starts(each, 4, 6, np.random.default_rng(0)) for each in (points, wider))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 4])
def test_islands_in_a_background_that_varies_more_than_they_differ_are_found(seed: int) -> None:
    """In these seeds, EM from Ward's tree leaves two islands together and divides the background."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(10), [900] + 9 * [40])
    points = rng.normal(size=(len(group), 12))
    points[:900, :3] *= 4
    points[:, 3:] += 6 * np.eye(10)[group][:, 1:]
    assert adjusted_rand_score(group, most_agreed(points, 10, seed=seed).clustering.labels) > 0.95


def strays(n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two groups along the first axis and eight points far off along the last; a view without these; the groups."""
    rng = np.random.default_rng(0)
    group = np.arange(n) % 2
    points = rng.normal(size=(n, 5))
    points[:, 0] += 3 * group
    points[:8, 4] += 9
    return points, 4 * np.eye(2)[group] + rng.normal(size=(n, 2)), group


@pytest.mark.slow
def test_a_second_embedding_decides_where_k_means_finds_something_else() -> None:
    points, other, group = strays()
    alone = most_agreed(points, 2)
    assert alone.agreement["kmeans"] < 0.1
    assert np.bincount(alone.clustering.labels).tolist() == [592, 8]
    assert alone.beside is None
    found = most_agreed(points, 2, second=lambda: other)
    assert found.name == "kmeans"
    assert found.agreement == alone.agreement
    assert found.beside is not None
    assert found.clustering.value == pytest.approx(found.beside["kmeans"])
    assert found.beside["kmeans"] > 0.3 > found.beside["mixture_0"]
    assert adjusted_rand_score(group, found.clustering.labels) > 0.5
    assert most_agreed(points, 2, second=lambda: None).name == alone.name


def test_a_second_embedding_is_not_asked_for_where_all_agree() -> None:
    points, _ = stripes(8.0, 1.0)

    def refuse() -> np.ndarray:
        raise AssertionError

    assert most_agreed(points, 2, second=refuse).beside is None
