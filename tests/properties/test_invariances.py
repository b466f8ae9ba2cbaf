"""What must not matter: the order of spots, where and how tissue lies, names, and the container of the expression."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import spotscape as sp
from spotscape import registration as reg

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

few = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def cells(seed: int, n_slices: int = 1) -> ad.AnnData:
    """Cells at random places, where no two distances are the same."""
    rng = np.random.default_rng(seed)
    n = 40 * n_slices
    adata = ad.AnnData(np.ones((n, 1), np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]))
    adata.obsm["spatial"] = rng.random((n, 2)) * 1000
    adata.obs["slice"] = pd.Categorical(np.repeat([f"s{i}" for i in range(n_slices)], 40))
    return adata


def graph_of(adata: ad.AnnData, **options: Any) -> np.ndarray:
    with sp.settings.override(verbosity="error"):
        sp.pp.spatial_neighbors_knn(adata, n_neighs=5, **options)
    return np.asarray(adata.obsp["spatial_connectivities"].toarray() > 0)


@few
@given(seeds, st.floats(0, 360), st.floats(-1e4, 1e4), st.floats(0.01, 100))
def test_a_graph_does_not_know_where_the_tissue_lies(seed: int, angle: float, shift: float, size: float) -> None:
    adata = cells(seed)
    expected = graph_of(adata)
    adata.obsm["spatial"] = reg.move(reg.motion(angle, (shift, -shift), scale=size), adata.obsm["spatial"])
    np.testing.assert_array_equal(graph_of(adata), expected)


@few
@given(seeds)
def test_a_graph_follows_its_spots(seed: int) -> None:
    adata = cells(seed)
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    np.testing.assert_array_equal(graph_of(adata[order].copy()), graph_of(adata)[np.ix_(order, order)])


@few
@given(seeds, st.permutations(["x", "10", "slice 2"]))
def test_a_graph_of_slices_is_that_of_each_whatever_its_name(seed: int, names: list[str]) -> None:
    adata = cells(seed, 3)
    adata.obs["slice"] = adata.obs["slice"].cat.rename_categories(names)
    joint = graph_of(adata, library_key="slice")
    for name in names:
        own = (adata.obs["slice"] == name).to_numpy()
        np.testing.assert_array_equal(joint[np.ix_(own, own)], graph_of(adata[own].copy()))
        assert not joint[np.ix_(own, ~own)].any()


@few
@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_the_rand_index_counts_pairs(seed: int, n_one: int, n_other: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, n_one, 25), rng.integers(0, n_other, 25)
    pairs = list(combinations(range(25), 2))
    both = sum(one[i] == one[j] and other[i] == other[j] for i, j in pairs)
    first, second = (sum(x[i] == x[j] for i, j in pairs) for x in (one, other))
    chance = first * second / len(pairs)
    most = (first + second) / 2
    expected = 1.0 if most == chance else (both - chance) / (most - chance)
    assert sp.metrics.ari(one, other) == pytest.approx(expected)
    names = np.array(["d", "a", "c", "b"])
    assert sp.metrics.ari(names[one], other[::1]) == pytest.approx(expected)


@few
@given(seeds, st.integers(2, 5))
def test_accuracy_at_boundaries_counts_spots(seed: int, n_labels: int) -> None:
    """Spot by spot and edge by edge, under the best of all matchings; some spots are not labelled."""
    rng = np.random.default_rng(seed)
    known, found = rng.integers(-1, n_labels, 20), rng.integers(0, 3, 20)
    graph = (rng.random((20, 20)) < 0.08).astype(float)
    best, agreeing = -1, [False] * 20
    for names in permutations(range(-3, n_labels), 3):
        agree = [known[i] >= 0 and known[i] == names[found[i]] for i in range(20)]
        if sum(agree) > best:
            best, agreeing = sum(agree), agree
    touches = [
        any((graph[i, j] or graph[j, i]) and known[j] >= 0 and known[j] != known[i] for j in range(20))
        for i in range(20)
    ]
    labels = np.where(known < 0, None, known.astype(object))
    parts = [sp.metrics.boundary_accuracy(labels, found, graph), sp.metrics.interior_accuracy(labels, found, graph)]
    counts = [sum(known[i] >= 0 and touches[i] == side for i in range(20)) for side in (True, False)]
    # Where several matchings are best, which spots agree differs, but not how many.
    agreed = sum(round(part * n) for part, n in zip(parts, counts, strict=True) if n)
    assert agreed == sum(agreeing)
    assert [np.isnan(part) for part in parts] == [n == 0 for n in counts]


@few
@given(seeds, st.integers(2, 4))
def test_lisi_of_slices_and_domains_is_that_of_every_spot(seed: int, n_names: int) -> None:
    """Scaled medians; all spots see all others, so that the weights alone decide."""
    rng = np.random.default_rng(seed)
    names, points = np.arange(24) % n_names, rng.normal(size=(24, 2))
    inverse = []
    for i in range(24):
        distance = np.sqrt(((points - points[i]) ** 2).sum(axis=1))
        others = np.argsort(distance)[1:]
        low, high = -20.0, 20.0
        for _ in range(80):
            beta = np.exp((low + high) / 2)
            weights = np.exp(-beta * (distance[others] - distance[others].min()))
            weights /= weights.sum()
            entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum()
            low, high = ((low + high) / 2, high) if entropy > np.log(8) else (low, (low + high) / 2)
        shares = [weights[names[others] == name].sum() for name in range(n_names)]
        inverse.append(1 / np.square(shares).sum())
    median = np.median(inverse)
    assert sp.metrics.ilisi(names, points) == pytest.approx((median - 1) / (n_names - 1), abs=1e-3)
    assert sp.metrics.clisi(names, points) == pytest.approx((n_names - median) / (n_names - 1), abs=1e-3)


@few
@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_mutual_information_is_that_of_the_joint_shares(seed: int, n_one: int, n_other: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, n_one, 30), rng.integers(0, n_other, 30)
    joint = np.zeros((n_one, n_other))
    np.add.at(joint, (one, other), 1 / 30)

    def entropy(shares: np.ndarray) -> float:
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

    first, second, both = entropy(joint.sum(axis=1)), entropy(joint.sum(axis=0)), entropy(joint)
    shared = first + second - both
    expected = [shared / first if first > 1e-9 else 1.0, shared / second if second > 1e-9 else 1.0]
    assert sp.metrics.homogeneity(one, other) == pytest.approx(expected[0], abs=1e-9)
    assert sp.metrics.completeness(one, other) == pytest.approx(expected[1], abs=1e-9)
    if first + second > 1e-9:
        assert sp.metrics.nmi(one, other) == pytest.approx(2 * shared / (first + second), abs=1e-9)


@pytest.fixture(scope="module")
def counts() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=120, n_genes=60, n_domains=3, random_state=0)
    adata.X = sparse.csr_matrix(adata.X)
    return adata


def embedded(adata: ad.AnnData) -> np.ndarray:
    with sp.settings.override(verbosity="error"):
        sp.pp.prepare(adata, n_top_genes=None)
        sp.tl.smoothed_pca(adata, n_comps=5)
    return np.asarray(adata.obsm["X_smoothed_pca"])


@pytest.mark.parametrize(
    "form",
    [
        sparse.csc_matrix,
        sparse.csr_array,
        lambda x: x.toarray(),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int32),
        lambda x: np.asfortranarray(x.toarray()),
        lambda x: dask.array.from_array(x.toarray(), chunks=(50, -1)),
        lambda x: dask.array.from_array(x.toarray(), chunks=(17, 11)),
    ],
)
def test_the_container_does_not_matter(counts: ad.AnnData, form: Callable[[Any], Any]) -> None:
    other = counts.copy()
    other.X = form(counts.X)
    np.testing.assert_allclose(embedded(other), embedded(counts.copy()), atol=1e-4)


def test_a_view_and_a_file_do_not_matter(counts: ad.AnnData, tmp_path: Path) -> None:
    expected = embedded(counts.copy())
    doubled = ad.concat([counts, counts], index_unique="-")
    np.testing.assert_allclose(embedded(doubled[: counts.n_obs].copy()), expected, atol=1e-4)
    prepared = counts.copy()
    sp.pp.prepare(prepared, n_top_genes=None)
    prepared.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    sp.tl.smoothed_pca(backed, n_comps=5)
    np.testing.assert_allclose(backed.obsm["X_smoothed_pca"], expected, atol=1e-4)
    backed.file.close()
