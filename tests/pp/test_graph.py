from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scipy import sparse

BUILDERS = {
    "knn": (sp.pp.spatial_neighbors_knn, {"n_neighs": 4}),
    "radius": (sp.pp.spatial_neighbors_radius, {"radius": 0.4}),
    "delaunay": (sp.pp.spatial_neighbors_delaunay, {}),
}
each_builder = pytest.mark.parametrize(("build", "kwargs"), BUILDERS.values(), ids=BUILDERS)


def tissue(coords: np.ndarray, slices: list[str] | None = None) -> ad.AnnData:
    adata = ad.AnnData(np.ones((len(coords), 1), np.float32), obsm={"spatial": np.asarray(coords, float)})
    if slices is not None:
        adata.obs["lib"] = pd.Categorical(slices)
    return adata


def cells(n: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2))


def equal(left: sparse.csr_matrix, right: sparse.csr_matrix) -> bool:
    return left.shape == right.shape and np.array_equal(left.toarray(), right.toarray())


def hexagons(n: int = 12) -> np.ndarray:
    return np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(n) for x in range(n)])


# 0 - 1 -- 2 --- 3, on a line at x = 0, 1, 3, 6
LINE = np.array([[0.0, 0], [1, 0], [3, 0], [6, 0]])


def test_knn_on_a_line_by_hand() -> None:
    graph = sp.pp.spatial_neighbors_knn(tissue(LINE), n_neighs=1, copy=True)
    expected = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0]], float)
    assert np.array_equal(graph.distances.toarray(), expected)
    assert np.array_equal(graph.connectivities.toarray(), (expected > 0).astype(float))


@pytest.mark.filterwarnings("ignore:radius=2 gives")
def test_radius_on_a_line_by_hand() -> None:
    with pytest.warns(UserWarning, match="1 of 4 spots have no neighbour within radius=2"):
        graph = sp.pp.spatial_neighbors_radius(tissue(LINE), radius=2, copy=True)
    expected = np.array([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 0]], float)
    assert np.array_equal(graph.distances.toarray(), expected)


@pytest.mark.filterwarnings("ignore:radius=")
def test_radius_pair_keeps_a_ring() -> None:
    graph = sp.pp.spatial_neighbors_radius(tissue(LINE), radius=(1.5, 3.0), copy=True)
    assert sorted(graph.distances.data) == [2, 2, 3, 3, 3, 3]


def test_delaunay_of_a_square_with_centre_by_hand() -> None:
    corners = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2], [1, 1]])
    graph = sp.pp.spatial_neighbors_delaunay(tissue(corners), copy=True)
    side, half = 2.0, np.sqrt(2)
    expected = np.array(
        [
            [0, side, 0, side, half],
            [side, 0, side, 0, half],
            [0, side, 0, side, half],
            [side, 0, side, 0, half],
            [half, half, half, half, 0],
        ]
    )
    assert np.allclose(graph.distances.toarray(), expected)


@each_builder
@pytest.mark.parametrize("slices", [None, ["a", "b"] * 30], ids=["single", "interleaved"])
@pytest.mark.filterwarnings("ignore:radius")
def test_equals_squidpy_bit_by_bit(build: Callable[..., Any], kwargs: dict[str, Any], slices: Any) -> None:
    import squidpy as sq

    ours, theirs = tissue(cells(), slices), tissue(cells(), slices)
    library_key = None if slices is None else "lib"
    build(ours, library_key=library_key, **kwargs)
    getattr(sq.gr, build.__name__)(theirs, library_key=library_key, **kwargs)
    for key in ("spatial_connectivities", "spatial_distances"):
        left, right = ours.obsp[key], theirs.obsp[key]
        right.sort_indices()
        assert type(left) is type(right)
        assert left.dtype == right.dtype
        for part in ("indptr", "indices", "data"):
            assert np.array_equal(getattr(left, part), getattr(right, part))
    record, reference = ours.uns["spatial_neighbors"], theirs.uns["spatial_neighbors"]
    assert record.keys() == reference.keys()
    assert record["connectivities_key"] == reference["connectivities_key"]
    assert record["distances_key"] == reference["distances_key"]
    for name, value in reference["params"].items():
        assert record["params"].get(name) == value
    assert record["params"].get("library_key") == library_key


@each_builder
@pytest.mark.filterwarnings("ignore:radius")
def test_every_slice_is_what_it_is_alone(build: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    coords = cells(90)
    slices = np.random.default_rng(1).permutation(["a"] * 40 + ["b"] * 50)
    both = build(tissue(coords, list(slices)), library_key="lib", copy=True, n_jobs=2, **kwargs)
    for name in "ab":
        rows = np.flatnonzero(slices == name)
        alone = build(tissue(coords[rows]), copy=True, **kwargs)
        assert equal(both.connectivities[rows][:, rows], alone.connectivities)
        assert equal(both.distances[rows][:, rows], alone.distances)
    across = both.connectivities[slices == "a"][:, slices == "b"]
    assert across.nnz == 0


@each_builder
@pytest.mark.filterwarnings("ignore:radius")
def test_unused_categories_are_no_slices(build: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    adata = tissue(cells(), ["a", "b"] * 30)
    adata.obs["lib"] = adata.obs["lib"].cat.add_categories(["empty"])
    build(adata, library_key="lib", **kwargs)
    assert adata.obsp["spatial_connectivities"].shape == (60, 60)


@each_builder
@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    angle=st.floats(0, 6.28),
    shift=st.floats(-1e3, 1e3),
    flip=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:radius")
@pytest.mark.filterwarnings("ignore:.* of 40 spots")
def test_rigid_motion_keeps_the_graph(  # noqa: PLR0917
    build: Callable[..., Any], kwargs: dict[str, Any], seed: int, angle: float, shift: float, flip: bool
) -> None:
    coords = cells(40, seed)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (coords * [1, -1] if flip else coords) @ turn + shift
    before, after = (build(tissue(c), copy=True, **kwargs) for c in (coords, moved))
    assert equal(before.connectivities, after.connectivities)
    assert np.allclose(before.distances.toarray(), after.distances.toarray(), atol=1e-9)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e4))
def test_knn_and_delaunay_know_no_unit(seed: int, scale: float) -> None:
    coords = cells(40, seed)
    for build in (sp.pp.spatial_neighbors_knn, sp.pp.spatial_neighbors_delaunay):
        before, after = (build(tissue(c), copy=True) for c in (coords, coords * scale))
        assert equal(before.connectivities, after.connectivities)


@each_builder
@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
@pytest.mark.filterwarnings("ignore:radius")
@pytest.mark.filterwarnings("ignore:.* of 40 spots")
def test_permuted_spots_give_the_permuted_graph(build: Callable[..., Any], kwargs: dict[str, Any], seed: int) -> None:
    coords = cells(40, seed)
    order = np.random.default_rng(seed).permutation(40)
    before, after = (build(tissue(c), copy=True, **kwargs).connectivities for c in (coords, coords[order]))
    assert equal(before[order][:, order], after)


@pytest.mark.parametrize("n_same", [2, 3, 12])
def test_coincident_spots_keep_degree_and_are_not_their_own_neighbours(n_same: int) -> None:
    coords = np.vstack([cells(), np.full((n_same, 2), 0.5)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spotscape.pp._overlaid._SHARED_POSITIONS", 1.0)
        graph = sp.pp.spatial_neighbors_knn(tissue(coords), n_neighs=5, copy=True)
    assert np.array_equal(np.diff(graph.connectivities.indptr), np.full(len(coords), 5))
    assert not graph.connectivities.diagonal().any()
    assert graph.distances.nnz == graph.connectivities.nnz
    assert np.array_equal(graph.distances.indices, graph.connectivities.indices)
    assert (graph.distances.data == 0).sum() == n_same * min(n_same - 1, 5)


def test_coincident_spots_share_their_corner_of_the_triangulation() -> None:
    coords = cells(50)
    doubled = np.vstack([coords, coords[[7]]])
    graph = sp.pp.spatial_neighbors_delaunay(tissue(doubled), copy=True)
    plain = sp.pp.spatial_neighbors_delaunay(tissue(coords), copy=True)
    adjacency = graph.connectivities.toarray()
    assert adjacency[7, 50] == adjacency[50, 7] == 1
    assert np.array_equal(np.delete(adjacency[50], [7, 50]), np.delete(adjacency[7], [7, 50]))
    assert np.array_equal(adjacency[:50, :50], plain.connectivities.toarray())
    assert graph.distances.nnz == graph.connectivities.nnz
    assert np.allclose(graph.distances[50, :50].toarray(), plain.distances[7].toarray())
    assert graph.connectivities.dtype == np.float32
    assert graph.distances.dtype == np.float64


def test_three_dimensions() -> None:
    cube = np.random.default_rng(0).random((50, 3))
    graph = sp.pp.spatial_neighbors_knn(tissue(cube), n_neighs=3, copy=True)
    brute = np.linalg.norm(cube[:, None] - cube, axis=-1)
    assert np.allclose(np.sort(graph.distances.data.reshape(50, 3)), np.sort(brute)[:, 1:4])


def test_says_degree_and_lengths(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.spatial_neighbors_knn(tissue(LINE), n_neighs=1)
    assert "4 spots, 4 edges: 1.0 neighbours per spot (1 to 1), 0 isolated" in caplog.text
    assert "median 1.5, longest 3" in caplog.text


def test_says_how_the_spots_lie(caplog: pytest.LogCaptureFixture) -> None:
    visium = tissue(hexagons() * 137)
    visium.obs["array_row"] = visium.obs["array_col"] = 0
    with caplog.at_level(logging.INFO, logger="spotscape"):
        sp.pp.spatial_neighbors_knn(visium, n_neighs=6)
        sp.pp.spatial_neighbors_knn(tissue(np.array([[x, y] for x in range(12) for y in range(12)])), n_neighs=6)
    assert "a hexagonal grid (Visium), spots 137 apart (100 µm)." in caplog.text
    assert "a square grid, spots 1 apart." in caplog.text
    assert caplog.text.count("On a square grid, the nearest 4, 8 and 12 spots are whole rings. Of 6 neighbours,") == 1
    layout = visium.uns["spatial_neighbors"]["params"]["layout"]
    assert layout["um_per_unit"] * layout["spacing"] == pytest.approx(100)


@pytest.mark.parametrize("make", [tuple, list, np.array])
@pytest.mark.parametrize("build", [sp.pp.spatial_neighbors_radius, sp.pp.spatial_neighbors_delaunay])
@pytest.mark.filterwarnings("ignore:radius")
@pytest.mark.filterwarnings("ignore:. of 60 spots")
def test_a_ring_in_any_container(build: Callable[..., Any], make: Callable[[Any], Any], tmp_path: Path) -> None:
    adata = tissue(cells())
    build(adata, radius=make([0.1, 0.3]))
    assert adata.obsp["spatial_distances"].data.min() >= 0.1
    assert adata.obsp["spatial_distances"].data.max() <= 0.3
    adata.write_h5ad(tmp_path / "a.h5ad")
    stored = ad.read_h5ad(tmp_path / "a.h5ad").uns["spatial_neighbors"]["params"]["radius"]
    again = build(adata, radius=stored, copy=True)
    assert equal(again.distances, adata.obsp["spatial_distances"])


def test_a_ring_from_a_file_is_read_by_the_encoders(tmp_path: Path) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=100, n_genes=30, n_domains=2, random_state=0)
    sp.pp.prepare(adata, n_top_genes=None)
    sp.pp.spatial_neighbors_radius(adata, radius=[50.0, 250.0])
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    for tissue in (adata, back):
        model = sp.tl.spotscape(tissue, max_epochs=1, return_model=True)
        sp.tl.embed(tissue, model, key_added="again")
        assert np.isfinite(tissue.obsm["again"]).all()
    np.testing.assert_array_equal(back.obsm["X_spotscape"], adata.obsm["X_spotscape"])


def test_a_constant_third_coordinate_is_no_dimension() -> None:
    flat = np.column_stack([cells(), np.full(60, 7.0)])
    for build, kwargs in BUILDERS.values():
        assert equal(*(build(tissue(c), copy=True, **kwargs).connectivities for c in (flat, flat[:, :2])))


def test_an_adata_without_genes_will_do() -> None:
    adata = ad.AnnData(obs=pd.DataFrame(index=[str(i) for i in range(60)]), obsm={"spatial": cells()})
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    assert adata.obsp["spatial_connectivities"].nnz == 360


class TestWarnings:
    def test_radius_in_another_unit_too_large(self) -> None:
        with pytest.warns(UserWarning, match=r"radius=50 is 50 times the spacing.*lie 1 apart.*take radius=1\.1\."):
            sp.pp.spatial_neighbors_radius(tissue(hexagons()), radius=50)

    def test_radius_in_another_unit_too_small(self) -> None:
        coords = np.vstack([hexagons(), [[0.1, 0]]])
        with (
            pytest.warns(UserWarning, match="radius=0.2 is 0.2 times the spacing"),
            pytest.warns(UserWarning, match="143 of 145 spots have no neighbour within radius=0.2 and are embedded"),
        ):
            sp.pp.spatial_neighbors_radius(tissue(coords), radius=0.2)

    def test_names_the_slice_in_another_unit(self) -> None:
        coords = np.vstack([hexagons(), hexagons() * 0.01])
        with pytest.warns(UserWarning, match="spots of slice 'micro' lie 0.01 apart"):
            sp.pp.spatial_neighbors_radius(
                tissue(coords, ["base"] * 144 + ["micro"] * 144), radius=1.1, library_key="lib"
            )

    def test_too_many_neighbours(self) -> None:
        with pytest.warns(UserWarning, match=r"radius=6 gives [6-9]\d\.\d neighbours per spot on average"):
            sp.pp.spatial_neighbors_radius(tissue(hexagons()), radius=6)

    def test_too_few_neighbours_and_isolated_spots(self) -> None:
        with (
            pytest.warns(UserWarning, match=r"radius=0\.1 gives 1\.\d neighbours"),
            pytest.warns(UserWarning, match=r"most in slice 'a': \d+"),
        ):
            sp.pp.spatial_neighbors_radius(tissue(cells(100), ["a"] * 60 + ["b"] * 40), radius=0.1, library_key="lib")

    def test_pruned_triangulation(self) -> None:
        with (
            pytest.warns(UserWarning, match=r"radius=0\.05 gives"),
            pytest.warns(UserWarning, match="have no neighbour"),
        ):
            sp.pp.spatial_neighbors_delaunay(tissue(cells(100)), radius=0.05)

    def test_strays(self) -> None:
        with pytest.warns(UserWarning, match="1 of 145 spots lie more than 20 times the usual 1 from"):
            sp.pp.spatial_neighbors_knn(tissue(np.vstack([hexagons(), [[500, 500]]])))

    def test_overlaid_slices_by_a_telling_column(self) -> None:
        adata = tissue(cells())
        adata.obs["sample"] = ["a", "b"] * 30
        with pytest.warns(UserWarning, match="keep them apart with library_key='sample'"):
            sp.pp.spatial_neighbors_knn(adata)

    @pytest.mark.parametrize("overlap", [0, 0.15, 1])
    def test_fields_side_by_side_are_one_tissue(self, overlap: float, recwarn: pytest.WarningsRecorder) -> None:
        """Nine fields of view of 300 cells; to cut the tissue along them would lose the neighbours beyond."""
        fields = [cells(300, seed=3 * x + y) + (1 - overlap) * np.array([x, y]) for x in range(3) for y in range(3)]
        adata = tissue(np.vstack(fields))
        adata.obs["fov"] = np.repeat(np.arange(9), 300)
        sp.pp.spatial_neighbors_knn(adata, n_neighs=12)
        assert any("library_key='fov'" in str(one.message) for one in recwarn) == (overlap > 0)

    def test_overlaid_slices_by_their_positions(self) -> None:
        with pytest.warns(UserWarning, match="120 of 120 spots share their position"):
            sp.pp.spatial_neighbors_knn(tissue(np.vstack([cells(), cells()])))

    @pytest.mark.parametrize("name", ["whatever", "fov"])
    def test_fields_with_coordinates_of_their_own(self, name: str) -> None:
        """Cells that keep apart within each field, and lie over those of other fields."""
        rng = np.random.default_rng(0)
        adata = tissue(
            np.vstack([hexagons(15) + rng.normal(0, 0.1, (225, 2)) + rng.uniform(0, 1, 2) for _ in range(4)])
        )
        adata.obs["cell_type"] = pd.Categorical(rng.choice(list("xyz"), 900))
        adata.obs[name] = np.repeat(["f1", "f2", "f3", "f4"] if name == "whatever" else [1, 2, 3, 4], 225)
        with pytest.warns(
            UserWarning, match=rf"\d\d% of the edges .*adata.obs\['{name}'\], whose coordinates overlap"
        ) as said:
            sp.pp.spatial_neighbors_knn(adata)
        assert len(said) == 1
        adata.obs["half"] = pd.Categorical(np.repeat(["p", "q"], 450))
        with pytest.warns(UserWarning, match="as well as adata.obs"):
            sp.pp.spatial_neighbors_knn(adata, library_key="half")

    def test_of_donors_and_their_slices_the_slices_are_named(self) -> None:
        adata = tissue(np.vstack([cells(seed=seed) for seed in range(4)]))
        adata.obs["donor"] = np.repeat(["p", "q"], 120)
        adata.obs["library_id"] = np.repeat(list("abcd"), 60)
        with pytest.warns(UserWarning, match="keep them apart with library_key='library_id'") as said:
            sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
        assert len(said) == 1

    @pytest.mark.filterwarnings("error:.*coordinates overlap")
    def test_sections_of_one_height_of_several_animals(self) -> None:
        rng = np.random.default_rng(0)
        parts = [hexagons(15) + rng.normal(0, 0.1, (225, 2)) + rng.uniform(0, 1, 2) for _ in range(4)]
        adata = tissue(np.vstack(parts))
        adata.obs["Bregma"], adata.obs["Animal_ID"] = np.repeat([0.1, 0.2, 0.1, 0.2], 225), np.repeat([1, 2], 450)
        for library_key in ("Bregma", "Animal_ID"):
            with pytest.warns(UserWarning, match="keep apart the groups of both: ") as said:
                sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key=library_key)
            exec(str(said[0].message).split("of both: ")[1].split(", then")[0], {"adata": adata})
            assert adata.obs["section"].nunique() == 4
            sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key="section")
            del adata.obs["section"]

    @pytest.mark.parametrize("column", ["Bregma", "depth", None])
    def test_sections_by_their_height(self, column: str | None) -> None:
        """Four sections of a block, 50 cells apart, as in the MERFISH file of squidpy and the Allen atlas."""
        heights = np.repeat([5.2, 5.4, 5.6, 5.8], 60)
        flat = 0.01 * np.vstack([cells(seed=seed) for seed in range(4)])
        adata = tissue(np.c_[flat, heights])
        adata.obs["half"] = np.repeat([0, 1], 120)
        if column is not None:
            adata.obs[column] = heights if column == "Bregma" else pd.Categorical(np.repeat(list("wxyz"), 60))
        named = "..." if column is None else repr(column)
        with pytest.warns(UserWarning, match=rf"third coordinate has 4 different values.*library_key={named}\."):
            sp.pp.spatial_neighbors_knn(adata, n_neighs=6)

    @pytest.mark.filterwarnings("error")
    def test_planes_of_a_block_are_no_sections(self) -> None:
        rng = np.random.default_rng(0)
        sp.pp.spatial_neighbors_knn(tissue(np.c_[10 * rng.random((400, 2)), rng.integers(0, 5, 400)]), n_neighs=6)

    @pytest.mark.filterwarnings("error")
    def test_cell_types_are_no_samples(self) -> None:
        """Types that are mixed at random, or that form regions, or chains of unlike ones, leave no warning."""
        rng = np.random.default_rng(0)
        adata = tissue(hexagons(30) + rng.normal(0, 0.1, (900, 2)))
        adata.obs["mixed"] = pd.Categorical(rng.choice(list("abcde"), 900))
        adata.obs["regions"] = np.where(adata.obsm["spatial"][:, 0] > 12, "left", "right")
        adata.obs["sparse"] = np.where(rng.random(900) < 0.02, "rare", "common")
        adata.obs["unique"] = [f"cell{i}" for i in range(900)]
        sp.pp.spatial_neighbors_knn(adata)

    def test_a_slice_of_few_spots(self) -> None:
        adata = tissue(cells(), ["a"] * 55 + ["b"] * 4 + ["c"])
        with pytest.warns(UserWarning, match=r"slice 'b' has 4 spots, too few for n_neighs=6.*1 other slices"):
            sp.pp.spatial_neighbors_knn(adata, library_key="lib", n_neighs=6)
        degree = np.diff(adata.obsp["spatial_connectivities"].indptr)
        assert degree.tolist() == [6] * 55 + [3] * 4 + [0]

    @pytest.mark.parametrize(
        ("build", "arguments"),
        [
            (sp.pp.spatial_neighbors_knn, {}),
            (sp.pp.spatial_neighbors_3d, {"spatial_key": "spatial", "slice_gap": 1.0}),
        ],
    )
    def test_a_slice_without_coordinates(self, build: Callable[..., Any], arguments: dict[str, Any]) -> None:
        adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=60, n_genes=20, n_domains=2)
        adata.obsm["spatial"][adata.obs["slice"] == "slice_2"] = 0.0
        with pytest.warns(UserWarning, match=r"all spots of slice 'slice_2' lie at one place.*obsm\['spatial'\]\?"):
            build(adata, library_key="slice", **arguments)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("row_first", [False, True])
    def test_numbers_of_columns_and_rows(self, row_first: bool) -> None:
        numbers = np.array([[column, row] for row in range(12) for column in range(row % 2, 24, 2)], float)
        adata = tissue(numbers[:, ::-1] if row_first else numbers)
        with pytest.warns(UserWarning, match="numbers of columns and rows of a hexagonal grid") as caught:
            sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
        exec(str(caught[0].message).split("rows: ")[1].rstrip("."), {"adata": adata})
        graph = sp.pp.spatial_neighbors_knn(adata, n_neighs=6, copy=True)
        assert np.median(graph.distances.data) == pytest.approx(graph.distances.data.min()) == 2

    def test_silent_on_sound_tissue(self) -> None:
        adata = tissue(np.vstack([hexagons(), hexagons() + 100]), ["a"] * 144 + ["b"] * 144)
        adata.obs["sample"] = adata.obs["lib"]
        sp.pp.spatial_neighbors_knn(adata)
        sp.pp.spatial_neighbors_radius(adata, radius=1.1, library_key="lib")
        sp.pp.spatial_neighbors_delaunay(adata, library_key="lib")

    def test_points_at_the_caller(self) -> None:
        with pytest.warns(UserWarning, match="radius=50") as caught:
            sp.pp.spatial_neighbors_radius(tissue(hexagons()), radius=50)
        assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore")
class TestErrors:
    @pytest.fixture
    def adata(self) -> ad.AnnData:
        adata = tissue(cells(), ["a"] * 55 + ["b"] * 5)
        adata.obs["text"] = ["x"] * 60
        return adata

    @pytest.fixture(autouse=True)
    def untouched(self, adata: ad.AnnData) -> Iterator[None]:
        before = adata.copy()
        yield
        assert not adata.obsp
        assert adata.uns == before.uns
        assert adata.obs.equals(before.obs)

    @each_builder
    def test_no_coordinates(self, adata: ad.AnnData, build: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        with pytest.raises(KeyError, match=r"'xy' not found in adata.obsm, which has: 'spatial'"):
            build(adata, spatial_key="xy", **kwargs)

    @each_builder
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_broken_coordinates(
        self, adata: ad.AnnData, build: Callable[..., Any], kwargs: dict[str, Any], value: Any
    ) -> None:
        adata.obsm["spatial"][3, 1] = value
        with pytest.raises(ValueError, match="NaN or infinite coordinates in 1 of 60 spots"):
            build(adata, **kwargs)

    @each_builder
    def test_slice_column(self, adata: ad.AnnData, build: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        with pytest.raises(KeyError, match=r"'no' not found in adata.obs, which has: 'lib', 'text'"):
            build(adata, library_key="no", **kwargs)

    @each_builder
    def test_no_spots(self, adata: ad.AnnData, build: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="0 spots"):
            build(adata[:0].copy(), **kwargs)

    def test_radius_that_joins_nothing(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match=r"radius=1e-09 joins no spots at all: the spots lie 0\.\d+ apart"):
            sp.pp.spatial_neighbors_radius(adata, radius=1e-9)
        with pytest.raises(ValueError, match="radius=1e-09 removes every edge"):
            sp.pp.spatial_neighbors_delaunay(adata, radius=1e-9)

    def test_radius_that_joins_everything(self, adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spotscape.pp._graph_build._MAX_EDGES", 1000)
        with pytest.raises(ValueError, match=r"would join every spot to about 59 others \(3.5e\+03 edges"):
            sp.pp.spatial_neighbors_radius(adata, radius=1e6)

    def test_no_triangulation(self, adata: ad.AnnData) -> None:
        adata.obsm["spatial"][:, 1] = 0
        with pytest.raises(ValueError, match="adata has 60 spots that lie on one line"):
            sp.pp.spatial_neighbors_delaunay(adata)
