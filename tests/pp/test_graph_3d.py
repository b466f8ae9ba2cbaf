"""Graphs over a stack of slices: by hand, by brute force, its records, and what is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = st.integers(0, 2**32 - 1)
KEYS = ("spatial_3d_connectivities", "spatial_3d_distances")


def stack_of(slices: dict[str, np.ndarray], *, spatial_key: str = "spatial_aligned", **obs: Any) -> ad.AnnData:
    coords = np.concatenate([np.asarray(xy, float) for xy in slices.values()])
    adata = ad.AnnData(np.ones((len(coords), 1), np.float32), obsm={spatial_key: coords})
    names = np.repeat(list(slices), [len(xy) for xy in slices.values()])
    adata.obs["slice"] = pd.Categorical(names, categories=[*slices, "unused"])
    for key, values in obs.items():
        adata.obs[key] = values
    return adata


def hexagons(n: int = 12, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    return np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(n) for x in range(n)]) + np.array(shift)


def cells(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2))


def three_slices(seed: int = 0) -> ad.AnnData:
    return stack_of({name: cells(size, seed + size) for name, size in (("a", 40), ("b", 55), ("c", 30))})


def build(adata: ad.AnnData, *, n_neighs: int | None = 6, **kwargs: Any) -> Any:
    return sp.pp.spatial_neighbors_3d(adata, library_key="slice", n_neighs=n_neighs, **kwargs)


@pytest.mark.parametrize(("geometry", "expected"), [("hexagonal", 6), ("square", 8), ("irregular", 12)])
def test_neighbours_in_the_slice_are_chosen_as_in_the_plane(
    geometry: Any, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    slices = [
        sp.datasets.simulate_tissue(n_spots=400, n_genes=80, geometry=geometry, random_state=seed) for seed in (0, 1)
    ]
    adata = ad.concat(slices, keys=["a", "b"], label="slice", index_unique="-")
    adata.obs["z"] = 50.0 * adata.obs["slice"].cat.codes.astype(float)
    adata.obsm["xyz"] = np.column_stack([adata.obsm["spatial"], adata.obs["z"]])
    flat = sp.pp.spatial_neighbors_knn(adata, library_key="slice", copy=True)
    codes = adata.obs["slice"].cat.codes.to_numpy()
    with caplog.at_level(logging.INFO, logger="spotscape"):
        for arguments in ({"spatial_key": "xyz"}, {"spatial_key": "spatial", "z_key": "z"}):
            build(adata, n_neighs=None, **arguments)
            graph = adata.obsp[KEYS[0]].multiply(codes[:, None] == codes[None, :]).tocsr()
            graph.eliminate_zeros()
            assert (graph != flat.connectivities).nnz == 0
            assert (np.diff(graph.indptr) == expected).all()
            assert adata.uns["spatial_3d_neighbors"]["params"]["n_neighbors"] == expected
            assert (adata.uns["scale"]["n_neighs"], adata.uns["scale"]["geometry"]) == (expected, geometry)
    assert f"Chose {expected} neighbours, within" in caplog.text


def test_a_block_takes_the_number_that_was_chosen_for_it() -> None:
    cloud = np.random.default_rng(0).random((300, 3)) * [9, 9, 4]
    adata = ad.AnnData(np.ones((300, 1), np.float32), obsm={"spatial": cloud})
    sp.pp.spatial_neighbors_3d(adata)
    assert (np.diff(adata.obsp[KEYS[0]].indptr) == 12).all()
    adata.uns["scale"]["n_neighs"] = 9
    sp.pp.spatial_neighbors_3d(adata)
    assert (np.diff(adata.obsp[KEYS[0]].indptr) == 9).all()


@pytest.mark.parametrize("z_key", [None, "z"])
def test_a_block_has_the_nearest_in_space(z_key: str | None) -> None:
    cloud = np.random.default_rng(0).random((80, 3)) * [9, 9, 4]
    adata = ad.AnnData(
        np.ones((80, 1), np.float32), obsm={"spatial": cloud[:, : 2 if z_key else 3]}, obs={"z": cloud[:, 2]}
    )
    sp.pp.spatial_neighbors_3d(adata, z_key=z_key, n_neighs=5)
    away = cdist(cloud, cloud)
    np.fill_diagonal(away, np.inf)
    expected = away <= np.sort(away, axis=1)[:, 4:5]
    np.testing.assert_array_equal(adata.obsp[KEYS[0]].toarray() > 0, expected)
    np.testing.assert_allclose(adata.obsp[KEYS[1]].toarray()[expected], away[expected])
    np.testing.assert_array_equal(adata.obsm["spatial_3d"], cloud)
    params = adata.uns["spatial_3d_neighbors"]["params"]
    assert (params["cross_slice_fraction"], params["library_order"]) == (0.0, [])
    with pytest.raises(ValueError, match="n_neighs_between=2 goes with several slices"):
        sp.pp.spatial_neighbors_3d(adata, z_key=z_key, n_neighs_between=2)


def test_two_slices_by_hand() -> None:
    # below: 0 - 1 -- 2 on a line at x = 0, 1, 3; above, 2 higher: 3 at x = 0 and 4 at x = 3.
    adata = stack_of({"below": [[0, 0], [1, 0], [3, 0]], "above": [[0, 0], [3, 0]]})
    graph = build(adata, slice_gap=2, n_neighs=1, n_neighs_between=1, copy=True)
    expected = np.zeros((5, 5))
    expected[[0, 1, 2, 3, 4], [1, 0, 1, 4, 3]] = [1, 1, 2, 3, 3]
    expected[[0, 1, 2, 3, 4], [3, 3, 4, 0, 2]] = [2, np.hypot(1, 2), 2, 2, 2]
    np.testing.assert_array_equal(graph.distances.toarray(), expected)
    np.testing.assert_array_equal(graph.connectivities.toarray(), expected > 0)


@pytest.mark.parametrize("spacing", [1.0, 0.4])
def test_no_neighbours_where_the_other_slice_has_no_tissue(spacing: float, caplog: pytest.LogCaptureFixture) -> None:
    """The second slice is the left half of the first, of the same or of another platform."""
    whole = hexagons(24)
    half = hexagons(int(24 / spacing)) * spacing
    half = half[half[:, 0] <= 11]
    adata = stack_of({"whole": whole, "half": half})
    with caplog.at_level("INFO", logger="spotscape"):
        graph = build(adata, slice_gap=0.1, n_neighs_between=2, copy=True).connectivities.tocsr()
    across = graph[: len(whole), len(whole) :]
    degree = np.asarray(across.sum(axis=1)).ravel()
    assert set(degree[whole[:, 0] <= 11]) == {2}
    assert set(degree[whole[:, 0] > 17]) == {0}
    assert set(np.asarray(graph[len(whole) :, : len(whole)].sum(axis=1)).ravel()) == {2}
    assert f"{np.count_nonzero(degree == 0)} spots lie where an adjacent slice has no tissue" in caplog.text


def test_only_adjacent_slices_are_joined_in_the_given_order() -> None:
    adata = three_slices()
    build(adata, slice_gap=[0.1, 0.3], library_order=["c", "a", "b"])
    codes = adata.obs["slice"].cat.codes.to_numpy()
    edges = adata.obsp[KEYS[0]].tocoo()
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (codes[edges.row], codes[edges.col]), 1)
    # a lies in the middle: 2 neighbours in each of its adjacent slices, as every spot of theirs has 2 in it.
    np.testing.assert_array_equal(counts, [[240, 80, 80], [110, 330, 0], [60, 0, 180]])
    z = adata.obsm["spatial_3d"][:, 2]
    assert {name: set(z[adata.obs["slice"] == name]) for name in "abc"} == {"c": {0.0}, "a": {0.1}, "b": {0.1 + 0.3}}
    params = adata.uns["spatial_3d_neighbors"]["params"]
    assert params["library_order"] == ["c", "a", "b"]
    assert params["cross_slice_fraction"] == 330 / 1080


def test_the_part_within_slices_is_the_graph_within_slices() -> None:
    adata = stack_of({"a": hexagons(), "b": hexagons() + 0.1})
    graph = build(adata, slice_gap=0.2, copy=True)
    flat = sp.pp.spatial_neighbors_knn(adata, library_key="slice", spatial_key="spatial_aligned", copy=True)
    codes = adata.obs["slice"].cat.codes.to_numpy()
    within = graph.distances.multiply(codes[:, None] == codes[None, :])
    assert (within.tocsr() != flat.distances).nnz == 0


@given(SEEDS, st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=15)
@pytest.mark.filterwarnings("ignore:the nearest spots of slices")
def test_equals_brute_force(seed: int, n_neighs: int, between: int) -> None:
    adata = three_slices(seed)
    z = np.random.default_rng(seed).permutation(3)[adata.obs["slice"].cat.codes] + 0.2 * cells(125, seed)[:, 0]
    adata.obs["z"] = z
    graph = build(adata, z_key="z", n_neighs=n_neighs, n_neighs_between=between, copy=True)
    codes = adata.obs["slice"].cat.codes.to_numpy()
    level = np.argsort(np.argsort([z[codes == code].mean() for code in range(3)]))[codes]
    points = np.column_stack([adata.obsm["spatial_aligned"], z])
    lengths = cdist(points, points)
    np.fill_diagonal(lengths, np.inf)
    plane = cdist(points[:, :2], points[:, :2])
    own = np.array([np.sort(plane[spot, level == level[spot]])[6] for spot in range(125)])
    limit = 3 * np.maximum(own[:, None], [np.median(own[level == other]) for other in range(3)])
    expected = np.zeros((125, 125), bool)
    for spot in range(125):
        for other in range(3):
            steps, k = abs(other - level[spot]), n_neighs if other == level[spot] else between
            there = np.flatnonzero(level == other)
            if steps <= 1:
                near = there[np.argsort(lengths[spot, there])[:k]]
                expected[spot, near] = (other == level[spot]) | (plane[spot, near] <= limit[spot, other])
    np.testing.assert_array_equal(graph.connectivities.toarray(), expected)
    np.testing.assert_allclose(graph.distances.toarray(), np.where(expected, lengths, 0), rtol=1e-12)


@given(SEEDS)
@settings(max_examples=15)
@pytest.mark.filterwarnings("ignore")
def test_order_of_spots_does_not_matter(seed: int) -> None:
    adata = three_slices(seed)
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    for method in ("separate", "euclidean"):
        graph = build(adata, slice_gap=0.1, method=method, copy=True)
        shuffled = build(adata[order].copy(), slice_gap=0.1, method=method, copy=True)
        np.testing.assert_array_equal(shuffled.distances.toarray(), graph.distances.toarray()[order][:, order])


def test_a_slice_more_changes_nothing_between_the_others() -> None:
    adata = three_slices()
    pair = adata[adata.obs["slice"] != "c"].copy()
    both, alone = (build(data, slice_gap=0.1, copy=True).distances.toarray() for data in (adata, pair))
    np.testing.assert_array_equal(both[:95, :95], alone)


@pytest.mark.filterwarnings("ignore:.*of the edges join different slices")
def test_euclidean_is_the_plain_nearest_in_3d() -> None:
    adata = three_slices()
    build(adata, slice_gap=0.1, method="euclidean", n_neighs=8)
    points = adata.obsm["spatial_3d"]
    lengths = cdist(points, points)
    np.fill_diagonal(lengths, np.inf)
    nearest = np.argsort(lengths, axis=1)[:, :8]
    found = adata.obsp[KEYS[0]]
    np.testing.assert_array_equal(np.sort(nearest), np.sort(found.indices.reshape(-1, 8)))
    codes = adata.obs["slice"].cat.codes.to_numpy()
    share = adata.uns["spatial_3d_neighbors"]["params"]["cross_slice_fraction"]
    assert share == np.mean(codes[nearest] != codes[:, None])


def test_z_from_a_column_a_gap_and_a_third_coordinate_give_the_same() -> None:
    adata = three_slices()
    z = 0.25 * adata.obs["slice"].cat.codes.to_numpy()
    adata.obs["z"] = z
    adata.obsm["xyz"] = np.column_stack([adata.obsm["spatial_aligned"], z])
    first, *others = (
        build(adata, copy=True, **kwargs)
        for kwargs in ({"slice_gap": 0.25}, {"z_key": "z"}, {"spatial_key": "xyz"}, {"z_key": "z", "n_jobs": 2})
    )
    for graph in others:
        for left, right in zip(first, graph, strict=True):
            np.testing.assert_array_equal(left.indices, right.indices)
            np.testing.assert_array_equal(left.data, right.data)


def test_what_is_written() -> None:
    adata = three_slices()
    build(adata, slice_gap=0.1, n_neighs=4, n_neighs_between=1)
    connectivities, distances = (adata.obsp[key] for key in KEYS)
    assert adata.obsm["spatial_3d"].dtype == distances.dtype == np.float64
    assert adata.obsm["spatial_3d"].shape == (125, 3)
    np.testing.assert_array_equal(adata.obsm["spatial_3d"][:, :2], adata.obsm["spatial_aligned"])
    assert connectivities.dtype == np.float32
    assert connectivities.format == distances.format == "csr"
    assert set(connectivities.data) == {1.0}
    assert not connectivities.diagonal().any()
    assert connectivities.has_sorted_indices
    np.testing.assert_array_equal(connectivities.indptr, distances.indptr)
    np.testing.assert_array_equal(connectivities.indices, distances.indices)
    record = adata.uns["spatial_3d_neighbors"]
    assert record.keys() == {"connectivities_key", "distances_key", "params"}
    assert (record["connectivities_key"], record["distances_key"]) == KEYS
    expected = {"method": "separate", "n_neighbors": 4, "n_neighs_between": 1, "slice_gap": 0.1}
    assert expected.items() <= record["params"].items()
    assert {"library_key": "slice", "spatial_key": "spatial_aligned", "coord_type": "generic"}.items() <= record[
        "params"
    ].items()


def test_spots_at_one_place_keep_their_edge() -> None:
    adata = stack_of({"a": np.repeat(cells(20, 0), 2, axis=0), "b": cells(30, 1)})
    graph = build(adata, slice_gap=0.1, copy=True)
    assert graph.connectivities[0, 1] == 1
    assert graph.distances.nnz == graph.connectivities.nnz == 70 * 8
    assert np.count_nonzero(graph.distances.data == 0) == 40


@pytest.mark.filterwarnings("ignore")
def test_scanpy_squidpy_and_our_tools_take_it() -> None:
    import scanpy as sc
    import squidpy as sq

    adata = three_slices()
    adata.obsm["X_rep"] = np.random.default_rng(0).normal(size=(125, 4)).astype(np.float32)
    adata.obs["domain"] = pd.Categorical(np.where(adata.obsm["spatial_aligned"][:, 0] < 0.5, "left", "right"))
    build(adata, slice_gap=0.1)
    name = "spatial_3d_neighbors"
    sc.tl.leiden(adata, neighbors_key=name, flavor="igraph", n_iterations=2, directed=False)
    assert len(adata.obs["leiden"].cat.categories) > 1
    sp.tl.smoothed_pca(adata, use_rep="X_rep", neighbors_key=name, n_hops=1)
    graph = adata.obsp[KEYS[0]] + np.eye(125)
    means = graph @ adata.obsm["X_rep"] / graph.sum(axis=1)
    np.testing.assert_allclose(adata.obsm["X_smoothed_pca"], means, atol=1e-5)
    sq.gr.nhood_enrichment(
        adata, cluster_key="domain", connectivity_key="spatial_3d", n_perms=20, seed=0, show_progress_bar=False
    )
    assert (np.diag(adata.uns["domain_nhood_enrichment"]["zscore"]) > 0).all()


def test_the_log_says_order_and_share(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spotscape"):
        build(three_slices(), slice_gap=0.1, copy=True)
    assert "Slices from the lowest z up: a, b, c." in caplog.text
    assert "360 of 1,110 edges join different slices (32.4 %)." in caplog.text


@pytest.mark.filterwarnings("error")
class TestWarnings:
    @pytest.fixture
    def adata(self) -> ad.AnnData:
        return stack_of({"a": hexagons(), "b": hexagons(shift=(0.2, 0.1))})

    def test_silent_on_a_sound_stack(self, adata: ad.AnnData) -> None:
        build(adata, slice_gap=0.1)
        build(adata, slice_gap=0.9, method="euclidean", n_neighs=8)

    def test_most_edges_cross(self, adata: ad.AnnData) -> None:
        more = stack_of({name: hexagons() for name in "abcdefgh"})
        with pytest.warns(UserWarning, match=r"\d\d% of the edges join different slices: they lie closer"):
            build(more, slice_gap=0.05, method="euclidean")

    def test_no_edge_crosses(self, adata: ad.AnnData) -> None:
        with pytest.warns(UserWarning, match="no edge joins different slices: they lie farther apart than n_neighs"):
            build(adata, slice_gap=4, method="euclidean")

    def test_z_in_a_larger_and_in_a_smaller_unit(self, adata: ad.AnnData) -> None:
        with pytest.warns(UserWarning, match=r"up to 100 apart in z, but the largest is only 14.93 across; is z in"):
            build(adata, slice_gap=100)
        with pytest.warns(UserWarning, match=r"at most 0.001 apart in z, but spots of a slice 1 apart; is z in"):
            build(adata, slice_gap=0.001)

    def test_slices_in_different_units(self) -> None:
        adata = stack_of({"pixels": hexagons(36) / 3.1, "microns": hexagons()})
        with pytest.warns(
            UserWarning, match=r"slice 'microns' lie 1 apart and those of slice 'pixels' 0\.3226; unless"
        ):
            build(adata, slice_gap=0.5)

    def test_slices_side_by_side(self) -> None:
        adata = stack_of({"a": hexagons(), "b": hexagons(shift=(20, 0))}, spatial_key="spatial")
        with pytest.warns(UserWarning, match=r"Register them first: sp.pp.register_slices\(adata, library_key='slice'"):
            build(adata, spatial_key="spatial", slice_gap=0.5)

    def test_one_of_several_slices_lies_beside(self) -> None:
        adata = stack_of({name: hexagons(shift=(20 * (name == "d"), 0)) for name in "abcd"})
        with pytest.warns(UserWarning, match="the nearest spots of slices 'c' and 'd' lie"):
            build(adata, slice_gap=0.5)

    def test_silent_on_a_small_slice_within_a_large_one(self) -> None:
        large, middle = hexagons(36), hexagons(36).mean(axis=0)
        small = large[np.linalg.norm(large - middle, axis=1) < 4]
        build(stack_of({"a": large, "b": small + 0.3}), slice_gap=0.5)

    def test_strays(self) -> None:
        adata = stack_of({"a": np.vstack([hexagons(), [[500, 500]]]), "b": hexagons()})
        with pytest.warns(UserWarning, match="1 of 289 spots lie more than 20 times"):
            build(adata, slice_gap=0.5)


@pytest.mark.filterwarnings("ignore")
class TestErrors:
    @pytest.fixture
    def adata(self) -> ad.AnnData:
        adata = three_slices()
        codes = adata.obs["slice"].cat.codes
        return stack_of(
            {name: adata.obsm["spatial_aligned"][adata.obs["slice"] == name] for name in "abc"},
            z=codes.to_numpy(float),
            flat=7,
            same_level=np.minimum(codes.to_numpy(), 1),
            text="x",
            truth=codes.to_numpy() > 0,
            holes=np.where(np.arange(125) == 3, np.nan, codes.to_numpy()),
        )

    @pytest.fixture(autouse=True)
    def untouched(self, adata: ad.AnnData) -> Iterator[None]:
        before = adata.copy()
        yield
        assert not adata.obsp
        assert not adata.uns
        assert adata.obs.equals(before.obs)
        assert adata.obsm.keys() == before.obsm.keys()

    def test_neither_z_nor_gap(self, adata: ad.AnnData) -> None:
        with pytest.raises(
            ValueError, match=r"neither slice_gap nor z_key is given.*\(where spots lie 0\.\d+ apart\), or z_key="
        ):
            build(adata)

    def test_both(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match=r"slice_gap=1.0 and z_key='z' both say"):
            build(adata, slice_gap=1, z_key="z")
        adata.obsm["spatial_aligned"] = np.column_stack([adata.obsm["spatial_aligned"], adata.obs["z"]])
        with pytest.raises(ValueError, match=r"slice_gap=1.0 and the third coordinate of 'spatial_aligned' both say"):
            build(adata, slice_gap=1)
        with pytest.raises(ValueError, match=r"z_key='z' and the third coordinate of 'spatial.*' both say"):
            build(adata, z_key="z")

    def test_z_column(self, adata: ad.AnnData) -> None:
        with pytest.raises(KeyError, match=r"'height' not found in adata.obs.*z_key names the column"):
            build(adata, z_key="height")
        for key in ("text", "slice", "truth"):
            with pytest.raises(TypeError, match=rf"adata.obs\['{key}'\] has dtype .*expected numbers"):
                build(adata, z_key=key)
        with pytest.raises(ValueError, match=r"\['holes'\] is NaN or infinite for 1 of 125 spots"):
            build(adata, z_key="holes")
        with pytest.raises(ValueError, match=r"adata.obs\['flat'\] is 7 for all spots, so all slices lie on one plane"):
            build(adata, z_key="flat")
        adata.obsm["spatial_aligned"] = np.column_stack([adata.obsm["spatial_aligned"], np.zeros(125)])
        with pytest.raises(ValueError, match="neither slice_gap nor z_key is given"):
            build(adata)

    def test_two_slices_at_one_level(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match="slices 'b' and 'c' lie at the same z=1"):
            build(adata, z_key="same_level")
        assert build(adata, z_key="same_level", method="euclidean", copy=True).connectivities.nnz == 750

    def test_gap_of_a_wrong_kind(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match="slice_gap has 3 values for 3 slices; give one number, or 2"):
            build(adata, slice_gap=[1, 2, 3])

    def test_order(self, adata: ad.AnnData) -> None:
        for order in (["a", "b"], ["a", "b", "d"], ["a", "b", "c", "c"]):
            with pytest.raises(ValueError, match=r"must name every slice once; .* has \['a', 'b', 'c'\]"):
                build(adata, slice_gap=1, library_order=order)
        with pytest.raises(ValueError, match="library_order goes with slice_gap only"):
            build(adata, z_key="z", library_order=["a", "b", "c"])

    def test_not_registered(self, adata: ad.AnnData) -> None:
        adata.obsm["spatial"] = adata.obsm.pop("spatial_aligned")
        with pytest.raises(KeyError, match=r"Register the slices first: sp.pp.register_slices.*spatial_key='spatial'"):
            build(adata, slice_gap=1)
        adata.obsm["spatial_aligned"] = adata.obsm.pop("spatial")

    def test_no_coordinates(self, adata: ad.AnnData) -> None:
        with pytest.raises(KeyError, match=r"'xy' not found in adata.obsm, which has: 'spatial_aligned'"):
            build(adata, slice_gap=1, spatial_key="xy")

    def test_one_slice(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match=r"holds one slice, and .*Use sp.pp.spatial_neighbors_knn"):
            build(adata[:40].copy(), slice_gap=1)

    def test_no_library(self, adata: ad.AnnData) -> None:
        with pytest.raises(KeyError, match=r"'sample' not found in adata.obs"):
            sp.pp.spatial_neighbors_3d(adata, library_key="sample", slice_gap=1)
        with pytest.raises(ValueError, match=r"no library_key is given, and .* has two coordinates"):
            sp.pp.spatial_neighbors_3d(adata, spatial_key="spatial_aligned", slice_gap=1)

    def test_numbers_of_neighbours(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match="n_neighs_between=2 goes with several slices and method='separate'"):
            build(adata, slice_gap=0.1, n_neighs_between=2, method="euclidean")

    def test_as_many_neighbours_as_there_are(self, adata: ad.AnnData) -> None:
        few = adata[::9].copy()
        sizes = few.obs["slice"].value_counts()[few.obs["slice"]].to_numpy()
        graph = build(few, slice_gap=0.1, n_neighs=30, n_neighs_between=1, copy=True)
        own = few.obs["slice"].to_numpy()[:, None] == few.obs["slice"].to_numpy()
        assert np.array_equal((graph.connectivities.toarray() * own).sum(axis=1), sizes - 1)
        whole = build(few, slice_gap=0.1, n_neighs=30, method="euclidean", copy=True)
        assert set(np.diff(whole.connectivities.indptr)) == {few.n_obs - 1}

    def test_does_not_overwrite_the_coordinates(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match="key_added='spatial_aligned' would overwrite"):
            build(adata, slice_gap=0.1, key_added="spatial_aligned")
