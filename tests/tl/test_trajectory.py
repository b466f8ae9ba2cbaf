from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from scipy.stats import spearmanr

import spotscape as sp
from spotscape._stats.pseudotime import diffusion_components, group_connectivities, strongest_tree
from spotscape.tl._trajectory import _means, diffuse, embed_neighbors

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

KEY = "spotscape_pseudotime"
LAYERS = [f"Layer_{number}" for number in range(1, 6)]


def test_means_leave_out_what_is_unknown() -> None:
    domains = pd.Categorical(["b", "b", None, "a"], categories=["a", "b", "c"])
    means = _means(np.array([1.0, np.nan, 5.0, 7.0]), domains)
    assert np.array_equal(means, [7, 1, np.nan], equal_nan=True)
    assert means.index.tolist() == ["a", "b", "c"]


@pytest.fixture(scope="module")
def _layered() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=5, n_spots=500, n_genes=200, difficulty=0.4, random_state=3)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata, n_comps=10, key_added="X_spotscape")
    return adata


@pytest.fixture
def layered(_layered: ad.AnnData) -> ad.AnnData:
    return _layered.copy()


@pytest.fixture(scope="module")
def _slices() -> ad.AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=4, n_slices=3, n_spots=300, n_genes=150, difficulty=0.3)
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice", key_added="X_apart")
    sp.tl.integrate_slices(adata, library_key="slice", use_rep="X_apart", key_added="X_spotscape")
    return adata


@pytest.fixture
def slices(_slices: ad.AnnData) -> ad.AnnData:
    return _slices.copy()


def line(n_parts: int = 1) -> ad.AnnData:
    """Spots along a line, in ten domains; or on several lines far from each other."""
    x = np.arange(200.0)
    embedding = np.column_stack([x, np.zeros(200)])
    if n_parts == 2:
        embedding[120:, 1] = 1e4
    adata = ad.AnnData(np.zeros((200, 1), np.float32), obsm={"X_spotscape": embedding})
    adata.obs["spotscape_domain"] = pd.Categorical([f"d{int(value // 20)}" for value in x])
    return adata


@pytest.mark.parametrize("root", [LAYERS[0], LAYERS[-1]])
def test_the_order_of_layers_is_recovered(layered: ad.AnnData, root: str) -> None:
    sp.tl.trajectory(layered, root=root, key="domain")
    entry = layered.uns[KEY]
    assert list(entry["order"]) == (LAYERS if root == LAYERS[0] else LAYERS[::-1])
    assert layered.obs["domain"].loc[entry["root_spot"]] == root
    assert layered.obs[KEY].loc[entry["root_spot"]] == 0
    assert layered.obs[KEY].between(0, 1).all()
    depth = layered.obs["domain"].cat.codes.astype(float)
    assert abs(spearmanr(depth, layered.obs[KEY])[0]) > 0.9


def test_paga_finds_a_chain(layered: ad.AnnData) -> None:
    sp.tl.trajectory(layered, root="Layer_3", key="domain")
    tree = layered.uns[KEY]["connectivities_tree"] > 0
    chain = np.eye(5, k=1, dtype=bool) | np.eye(5, k=-1, dtype=bool)
    assert list(layered.uns[KEY]["groups"]) == LAYERS
    assert np.array_equal(tree, chain)
    assert layered.uns[KEY]["order"][0] == "Layer_3"


def test_pseudotime_follows_a_line_from_its_end() -> None:
    adata = line()
    sp.tl.trajectory(adata, root="d0", start="tip", n_neighbors=10)
    assert adata.uns[KEY]["root_spot"] in {"0", "1", "2"}
    assert spearmanr(np.arange(200), adata.obs[KEY])[0] > 0.999
    assert list(adata.uns[KEY]["order"]) == [f"d{i}" for i in range(10)]


def test_it_is_scanpys_pseudotime_where_that_drops_nothing(layered: ad.AnnData) -> None:
    sp.tl.trajectory(layered, root="Layer_1", key="domain", n_neighbors=60)
    graph = f"{KEY}_neighbors"
    sc.tl.diffmap(layered, n_comps=11, neighbors_key=graph)
    assert layered.uns["diffmap_evals"][1] < 0.9994
    layered.uns["iroot"] = layered.obs_names.get_loc(layered.uns[KEY]["root_spot"])
    sc.tl.dpt(layered, n_dcs=11, neighbors_key=graph)
    assert np.allclose(layered.obs["dpt_pseudotime"], layered.obs[KEY], atol=1e-4)


def test_spots_that_hang_on_by_next_to_nothing_do_not_spoil_the_order() -> None:
    x = np.arange(300.0)
    embedding = np.column_stack([x, np.zeros(300)])
    embedding[280:, 1] = 1e4
    graph = embed_neighbors(embedding, 15, 0)
    weak = graph.obsp["connectivities"].tolil()
    weak[150, 290] = weak[290, 150] = 1e-7
    graph.obsp["connectivities"] = weak.tocsr()
    time, _, n_components = diffuse(graph, x < 20, start="tip", n_dcs=10, seed=0)
    assert n_components == 1
    assert spearmanr(x[:280], time[:280])[0] > 0.999


def test_spots_in_another_order_give_the_same(layered: ad.AnnData) -> None:
    order = np.random.default_rng(0).permutation(layered.n_obs)
    shuffled = layered[order].copy()
    for adata in (layered, shuffled):
        sp.tl.trajectory(adata, root="Layer_1", key="domain")
    assert np.allclose(shuffled.obs[KEY], layered.obs[KEY].to_numpy()[order], atol=0.02)
    assert shuffled.uns[KEY]["order"] == layered.uns[KEY]["order"]


def test_a_turned_and_scaled_embedding_gives_the_same(layered: ad.AnnData) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    turned = layered.copy()
    turned.uns.pop("spotscape")
    turned.obsm["X_spotscape"] = 3 * layered.obsm["X_spotscape"] @ turn
    for adata in (layered, turned):
        sp.tl.trajectory(adata, root="Layer_1", key="domain")
    assert spearmanr(turned.obs[KEY], layered.obs[KEY])[0] > 0.99
    assert turned.uns[KEY]["order"] == layered.uns[KEY]["order"]


def test_the_same_seed_gives_the_same_bits_and_touches_nothing(
    layered: ad.AnnData, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    sc.pp.neighbors(layered, n_neighbors=5, use_rep="X_spotscape", method="gauss", transformer="sklearn")
    mine = layered.obsp["connectivities"].copy()
    before = set(layered.uns) | set(layered.obs) | set(layered.obsp) | set(layered.obsm)
    with global_state_untouched():
        first = sp.tl.trajectory(layered, root="Layer_1", key="domain", copy=True)
        second = sp.tl.trajectory(layered, root="Layer_1", key="domain", copy=True)
    assert np.array_equal(first.obs[KEY], second.obs[KEY])
    assert set(layered.uns) | set(layered.obs) | set(layered.obsp) | set(layered.obsm) == before
    assert (first.obsp["connectivities"] != mine).nnz == 0
    added = (set(first.uns) | set(first.obs) | set(first.obsp) | set(first.obsm)) - before
    assert added == {KEY, f"{KEY}_neighbors", f"{KEY}_connectivities", f"{KEY}_distances"}


def test_scanpy_goes_on_with_the_graph(layered: ad.AnnData) -> None:
    sp.tl.trajectory(layered, root="Layer_1", key="domain", n_neighbors=12)
    sc.tl.diffmap(layered, n_comps=4, neighbors_key=f"{KEY}_neighbors")
    assert layered.obsm["X_diffmap"].shape == (500, 4)
    assert layered.uns[f"{KEY}_neighbors"]["params"]["n_neighbors"] == 12


def test_spots_without_a_domain_have_a_time_and_count_in_no_mean(layered: ad.AnnData) -> None:
    layered.obs.loc[layered.obs_names[:50], "domain"] = np.nan
    sp.tl.trajectory(layered, root="Layer_1", key="domain")
    means = layered.obs.groupby("domain", observed=True)[KEY].mean()
    assert layered.obs[KEY].notna().all()
    assert np.allclose(means[list(layered.uns[KEY]["groups"])], layered.uns[KEY]["mean"])


def test_parts_that_are_not_joined_are_told() -> None:
    adata = line(2)
    with pytest.warns(UserWarning, match=r"2 parts; 80 of 200 spots are not joined to the root 'd1'"):
        sp.tl.trajectory(adata, root="d1", n_neighbors=10)
    assert np.array_equal(np.isnan(adata.obs[KEY]), np.arange(200) >= 120)
    assert next(iter(adata.uns[KEY]["order"])) == "d1"
    assert set(adata.uns[KEY]["order"]) == {f"d{i}" for i in range(6)}
    assert adata.uns[KEY]["n_components"] == 2


def islands(sizes: list[int]) -> ad.AnnData:
    """Clusters of spots so far from each other that no neighbour lies in another one."""
    rng = np.random.default_rng(0)
    centres = 1e3 * rng.normal(size=(len(sizes), 5))
    adata = ad.AnnData(np.zeros((sum(sizes), 1), np.float32))
    adata.obsm["X_test"] = np.repeat(centres, sizes, axis=0) + rng.normal(size=(sum(sizes), 5))
    adata.obs["domain"] = pd.Categorical(np.repeat(np.arange(len(sizes)), sizes))
    return adata


@pytest.mark.parametrize("sizes", [[40, 40], [30] * 12, [3, 60], [60, 3], [400, 350]], ids=str)
def test_islands_are_an_answer_with_a_warning(sizes: list[int]) -> None:
    adata = islands(sizes)
    n_neighbors = min(3, *sizes) if 3 in sizes else 10
    with pytest.warns(UserWarning, match=f"not joined to the root '{len(sizes) - 1}', and their pseudotime is NaN"):
        sp.tl.trajectory(adata, root=len(sizes) - 1, key="domain", use_rep="X_test", n_neighbors=n_neighbors)
    assert np.isfinite(adata.obs[KEY]).sum() == sizes[-1]
    assert list(adata.uns[KEY]["order"]) == [str(len(sizes) - 1)]
    assert not adata.uns[KEY]["connectivities_tree"].any()


@pytest.mark.filterwarnings("ignore:the neighbour graph of the embedding falls into")
def test_spots_on_one_place_are_no_error() -> None:
    adata = islands([40, 40])
    adata.obsm["X_test"] = np.repeat(np.eye(2), 40, axis=0)
    sp.tl.trajectory(adata, root=0, key="domain", use_rep="X_test", n_neighbors=5)
    assert adata.obs[KEY].min() == 0


def test_domains_are_connected_as_scanpys_paga_says(slices: ad.AnnData) -> None:
    pytest.importorskip("igraph")
    sp.tl.trajectory(slices, root="Layer_1", key="domain")
    sc.tl.paga(slices, groups="domain", neighbors_key=f"{KEY}_neighbors")
    theirs = [slices.uns["paga"][name].toarray() for name in ("connectivities", "connectivities_tree")]
    assert np.allclose(slices.uns[KEY]["connectivities"], theirs[0])
    assert np.allclose(slices.uns[KEY]["connectivities_tree"], np.maximum(theirs[1], theirs[1].T))


def test_connections_by_hand() -> None:
    """Spots 0, 1 | 2, 3, and one of no group: chance gives (2 * 2 + 1 * 2) / 3 = 2 of the edges, there is 1."""
    edges = np.zeros((5, 5))
    edges[[0, 1, 2, 4], [1, 2, 3, 0]] = 0.7
    found = group_connectivities(sparse.csr_array(edges), np.array([0, 0, 1, 1, -1]), 2)
    assert np.allclose(found, [[0, 0.5], [0.5, 0]])
    assert np.array_equal(strongest_tree(found), found)


@pytest.mark.parametrize("n", [40, 900])
def test_diffusion_components_are_eigenvectors(n: int) -> None:
    points = np.random.default_rng(0).normal(size=(n, 2))
    graph = embed_neighbors(points, 12, 0).obsp["connectivities"]
    vectors, values = diffusion_components(graph, 6, 0)
    dense = graph.toarray().astype(float)
    dense /= np.outer(dense.sum(1), dense.sum(1))
    dense /= np.sqrt(np.outer(dense.sum(1), dense.sum(1)))
    assert np.allclose(dense @ vectors, vectors * values, atol=1e-7)
    assert values[0] == pytest.approx(1)
    assert np.allclose(values, np.linalg.eigvalsh(dense)[::-1][:6])


def test_tissue_larger_than_scanpys_exact_search() -> None:
    """Above some 8,000 spots scanpy takes another search, which certain versions below it break."""
    pytest.importorskip("igraph")
    adata = ad.AnnData(np.zeros((9000, 1), np.float32))
    along = np.random.default_rng(0).random(9000)
    adata.obsm["X_test"] = np.column_stack([10 * along, np.random.default_rng(1).normal(size=(9000, 4))])
    adata.obs["domain"] = pd.Categorical((4 * along).astype(int))
    sp.tl.trajectory(adata, root=0, key="domain", use_rep="X_test", n_neighbors=15)
    assert list(adata.uns[KEY]["order"]) == ["0", "1", "2", "3"]
    sp.tl.domains(adata, method="leiden", use_rep="X_test", key_added="leiden")
    assert len(adata.obs["leiden"].cat.categories) > 1


@pytest.mark.slow
def test_scanpy_finds_neighbours_in_a_large_embedding() -> None:
    """As the README has it: the versions that are installed beside each other must fit."""
    adata = ad.AnnData(np.random.default_rng(0).normal(size=(9000, 5)).astype(np.float32))
    sc.pp.neighbors(adata, use_rep="X")
    assert adata.obsp["connectivities"].shape == (9000, 9000)


def test_slices_are_ordered_together(slices: ad.AnnData) -> None:
    adata = sp.tl.trajectory(slices, root="Layer_1", key="domain", library_key="slice", copy=True)
    entry = adata.uns[KEY]
    assert list(entry["order"]) == LAYERS[:4]
    assert entry["crossing"] > 0.5
    for row, name in zip(entry["mean_by_slice"], entry["slices"], strict=True):
        own = adata.obs[adata.obs["slice"] == name]
        assert np.allclose(row, own.groupby("domain", observed=False)[KEY].mean())
        assert (np.diff(row) > 0).all()


@pytest.mark.filterwarnings("ignore:the neighbour graph of the embedding falls into")
def test_slices_that_hardly_meet_are_told(slices: ad.AnnData) -> None:
    apart = 1e3 * slices.obs["slice"].cat.codes.to_numpy()[:, None]
    slices.obsm["X_apart"] = slices.obsm["X_spotscape"] + apart
    slices.uns.pop("apart", None)
    with pytest.warns(UserWarning, match="slices are hardly connected: the neighbour graph has 0 of the edges"):
        sp.tl.trajectory(slices, root="Layer_1", key="domain", use_rep="X_apart", library_key="slice")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"root": "Layer_9"}, ValueError, r"root='Layer_9' is no domain of adata.obs\['domain'\], which has"),
        ({"key": "nothing"}, KeyError, r"'nothing' not found in adata.obs"),
        ({"key": "library_size"}, TypeError, r"key='library_size' names numbers"),
        ({"key": "slice", "root": "slice_1"}, ValueError, "one domain; there is nothing to order"),
        ({"key": "empty"}, ValueError, "missing for all spots"),
        ({"use_rep": "X_none"}, KeyError, r"'X_none' not found in adata.obsm"),
        ({"n_neighbors": 1}, ValueError, "n_neighbors=1 must be at least 2"),
        ({"library_key": "library_size"}, TypeError, "expected the name of a slice"),
    ],
)
def test_errors(layered: ad.AnnData, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    layered.obs["empty"] = pd.Categorical([None] * layered.n_obs, categories=["a"])
    before = set(layered.uns) | set(layered.obs)
    with pytest.raises(error, match=match):
        sp.tl.trajectory(layered, **{"root": "Layer_1", "key": "domain", **arguments})
    assert set(layered.uns) | set(layered.obs) == before
