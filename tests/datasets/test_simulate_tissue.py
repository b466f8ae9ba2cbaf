"""The simulated tissue: its layout, its truth, and how hard it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from spotscape.datasets import simulate_tissue

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"n_spots": 400, "n_genes": 60, "n_domains": 4}
NAMES = ["Layer_1", "Layer_2", "Layer_3", "Layer_4"]


def neighbours(coordinates: np.ndarray, k: int = 6) -> np.ndarray:
    return NearestNeighbors(n_neighbors=k).fit(coordinates).kneighbors(return_distance=False)


def principal_components(adata: ad.AnnData) -> np.ndarray:
    counts = adata.X.toarray()
    logged = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    return PCA(15, random_state=0).fit_transform(logged)


def clustering_scores(adata: ad.AnnData) -> tuple[float, float]:
    """The ARI of k-means on principal components, and on the same averaged twice over six neighbours."""
    plain = principal_components(adata)
    around = np.column_stack([np.arange(adata.n_obs), neighbours(adata.obsm["spatial"])])
    smooth = plain[around].mean(axis=1)[around].mean(axis=1)
    k = adata.obs["domain"].nunique()
    labels = [KMeans(k, n_init=3, random_state=0).fit_predict(z) for z in (plain, smooth)]
    return tuple(adjusted_rand_score(adata.obs["domain"], found) for found in labels)


def assert_same(first: ad.AnnData, second: ad.AnnData) -> None:
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(first.X, part), getattr(second.X, part))
    pd.testing.assert_frame_equal(first.obs, second.obs)
    for key in first.obsm:
        np.testing.assert_array_equal(np.asarray(first.obsm[key]), np.asarray(second.obsm[key]))
    np.testing.assert_array_equal(first.varm["domain_effect"], second.varm["domain_effect"])
    np.testing.assert_array_equal(first.uns["simulation"]["transforms"], second.uns["simulation"]["transforms"])


def test_holds_counts_positions_slices_and_domains() -> None:
    adata = simulate_tissue(n_slices=3, **SMALL | {"n_spots": [400, 250, 300]})

    assert adata.shape == (950, 60)
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.X.has_canonical_format
    np.testing.assert_array_equal(adata.X.data, np.round(adata.X.data))
    assert adata.X.data.min() >= 1
    assert adata.obs["slice"].value_counts(sort=False).to_dict() == {"slice_1": 400, "slice_2": 250, "slice_3": 300}
    assert adata.obs["domain"].cat.categories.to_list() == NAMES
    assert adata.obs["domain"].nunique() == 4
    assert adata.obsm["spatial"].shape == adata.obsm["spatial_truth"].shape == (950, 2)
    assert adata.varm["domain_effect"].shape == (60, 4)
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique


def test_has_more_than_nine_slices_and_domains_in_natural_order() -> None:
    adata = simulate_tissue(n_slices=11, n_domains=12, n_spots=200, n_genes=20)

    assert adata.obs["slice"].cat.categories.to_list() == [f"slice_{i}" for i in range(1, 12)]
    assert adata.obs["domain"].cat.categories.to_list() == [f"Layer_{i}" for i in range(1, 13)]


@pytest.mark.parametrize("geometry", ["hexagonal", "irregular"])
@pytest.mark.parametrize("layout", ["layers", "islands", "mixed"])
def test_same_seed_same_bits(geometry: str, layout: str) -> None:
    arguments = {"geometry": geometry, "layout": layout, "n_slices": 2, "tears": 1, "n_heldout_genes": 3, **SMALL}
    first = simulate_tissue(**arguments, random_state=4)

    assert_same(first, simulate_tissue(**arguments, random_state=4))
    other = simulate_tissue(**arguments, random_state=5)
    assert (first.X != other.X).nnz > 0
    assert not np.array_equal(first.obsm["spatial_truth"], other.obsm["spatial_truth"])


def test_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate_tissue(**SMALL)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_seed_drawn_by_the_system_is_recorded_and_repeats_the_run() -> None:
    first = simulate_tissue(**SMALL, random_state=None)
    assert_same(first, simulate_tissue(**SMALL, random_state=first.uns["simulation"]["random_state"]))


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("format_", ["h5ad", "zarr"])
def test_survives_a_round_trip(tmp_path: Path, format_: str) -> None:
    adata = simulate_tissue(
        n_slices=2,
        flip=[1],
        tears=[0, 1],
        missing_domains={0: ["Layer_2"]},
        private_domains={1},
        n_heldout_genes=4,
        **SMALL,
    )
    path = tmp_path / f"tissue.{format_}"
    getattr(adata, f"write_{format_}")(path)
    restored = getattr(ad, f"read_{format_}")(path)

    assert_same(adata, restored)
    pd.testing.assert_frame_equal(adata.obsm["heldout_expected"], restored.obsm["heldout_expected"])
    assert restored.uns["simulation"]["params"]["missing_domains"]["0"].tolist() == ["Layer_2"]
    assert restored.uns["simulation"]["params"]["geometry"] == "hexagonal"


@pytest.mark.parametrize("geometry", ["hexagonal", "square", "irregular"])
def test_stored_matrices_take_slices_back_to_the_tissue(geometry: str) -> None:
    adata = simulate_tissue(geometry=geometry, n_slices=3, rotation=120, shift=30, flip=[2], **SMALL)
    matrices = adata.uns["simulation"]["transforms"]

    np.testing.assert_allclose(matrices[0], np.eye(3), atol=1e-12)
    assert np.linalg.det(matrices[1]) == pytest.approx(1)
    assert np.linalg.det(matrices[2]) == pytest.approx(-1)
    assert np.abs(matrices[1] - np.eye(3)).max() > 0.1
    for name, matrix in zip(adata.obs["slice"].cat.categories, matrices, strict=True):
        part = adata[adata.obs["slice"] == name]
        restored = part.obsm["spatial"] @ matrix[:2, :2].T + matrix[:2, 2]
        np.testing.assert_allclose(restored, part.obsm["spatial_truth"], atol=1e-8)


def test_places_slices_exactly_where_told() -> None:
    adata = simulate_tissue(n_slices=2, rotation=[0, 90], shift=[(0, 0), (2, -1)], flip=[1], **SMALL)
    second = adata[adata.obs["slice"] == "slice_2"]
    x, y = second.obsm["spatial_truth"].T

    # Mirrored (-x, y), turned by a quarter (-y, -x), shifted by two and minus one spacing of 100 µm.
    np.testing.assert_allclose(second.obsm["spatial"], np.column_stack([-y + 200, -x - 100]), atol=1e-8)


@pytest.mark.parametrize(("geometry", "degree"), [("hexagonal", 6), ("square", 4)])
def test_lattices_have_their_spacing_also_on_turned_slides(geometry: str, degree: int) -> None:
    adata = simulate_tissue(geometry=geometry, n_slices=2, **SMALL)
    for name in adata.obs["slice"].cat.categories:
        xy = adata[adata.obs["slice"] == name].obsm["spatial"]
        distances, _ = NearestNeighbors(n_neighbors=degree).fit(xy).kneighbors()
        assert distances[:, 0] == pytest.approx(100)
        assert np.mean(np.isclose(distances[:, -1], 100)) > 0.7


def test_irregular_cells_are_irregular_and_of_one_type() -> None:
    adata = simulate_tissue(geometry="irregular", n_spots=1000, n_genes=50)
    distances, _ = NearestNeighbors(n_neighbors=1).fit(adata.obsm["spatial"]).kneighbors()
    assert 10 < np.median(distances) < 18
    assert distances.std() / distances.mean() > 0.1
    assert distances.min() > 0
    assert adata.obs["cell_type"].nunique() == 5


def test_slices_show_the_same_tissue() -> None:
    adata = simulate_tissue(n_slices=2, n_spots=1000, n_genes=20, n_domains=4, drift=0)
    first, second = (adata[adata.obs["slice"] == name] for name in ("slice_1", "slice_2"))
    nearest = NearestNeighbors(n_neighbors=1).fit(first.obsm["spatial_truth"])
    match = nearest.kneighbors(second.obsm["spatial_truth"], return_distance=False)[:, 0]
    agreement = np.mean(first.obs["domain"].to_numpy()[match] == second.obs["domain"].to_numpy())
    assert agreement > 0.9
    assert not np.isin(first.obsm["spatial_truth"], second.obsm["spatial_truth"]).all(axis=1).any()


def test_drift_moves_boundaries_between_slices() -> None:
    truths = [
        simulate_tissue(n_slices=3, n_spots=1000, n_genes=20, drift=drift, rotation=0, shift=0).obs["domain"].to_numpy()
        for drift in (0, 3)
    ]
    np.testing.assert_array_equal(truths[0][:1000], truths[1][:1000])
    assert np.mean(truths[0][2000:] != truths[1][2000:]) > 0.02


def test_layers_touch_only_the_next_layer() -> None:
    adata = simulate_tissue(n_domains=5, n_spots=3000, n_genes=20)
    codes = adata.obs["domain"].cat.codes.to_numpy().astype(int)
    steps = np.abs(codes[neighbours(adata.obsm["spatial"], 4)] - codes[:, None])
    assert np.mean(steps <= 1) > 0.999
    assert np.mean(steps == 1) > 0.02


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("islands", ["Background", "Island_1", "Island_2", "Island_3", "Island_4", "Island_5"]),
        ("mixed", ["Layer_1", "Layer_2", "Layer_3", "Layer_4", "Island_1", "Island_2"]),
    ],
)
def test_islands_lie_within_the_rest(layout: str, names: list[str]) -> None:
    adata = simulate_tissue(layout=layout, n_genes=20)
    domain = adata.obs["domain"]
    assert domain.cat.categories.to_list() == names
    around = domain.to_numpy()[neighbours(adata.obsm["spatial"])]
    for island in (name for name in names if name.startswith("Island")):
        touching = set(around[domain == island].ravel()) - {island}
        assert any(not name.startswith("Island") for name in touching)
        assert 0.005 < np.mean(domain == island) < 0.3


def test_slices_lack_and_gain_domains() -> None:
    adata = simulate_tissue(
        n_slices=3, missing_domains={1: ["Layer_2", "Layer_4"]}, private_domains=[2, 0], **SMALL | {"n_spots": 800}
    )
    found = {name: set(part["domain"]) for name, part in adata.obs.groupby("slice", observed=True)}

    assert adata.obs["domain"].cat.categories.to_list() == [*NAMES, "Private_1", "Private_3"]
    assert found["slice_1"] == {*NAMES, "Private_1"}
    assert found["slice_2"] == {"Layer_1", "Layer_3"}
    assert found["slice_3"] == {*NAMES, "Private_3"}


def test_a_small_slice_keeps_its_private_domain() -> None:
    adata = simulate_tissue(n_slices=2, n_spots=[2000, 150], n_genes=20, private_domains=[1])
    assert (adata.obs["domain"] == "Private_2").sum() >= 3


def test_tears_open_the_slide_and_leave_the_truth_whole() -> None:
    arguments = {"n_spots": 1500, "n_genes": 20, "n_slices": 2, "rotation": 0, "shift": 0}
    whole, torn = simulate_tissue(**arguments), simulate_tissue(**arguments, tears=[0, 2])
    slides = [adata.obsm["spatial"][1500:] for adata in (whole, torn)]
    truths = [adata.obsm["spatial_truth"][1500:] for adata in (whole, torn)]
    moved = np.linalg.norm(slides[1] - truths[1], axis=1)

    np.testing.assert_array_equal(torn.obsm["spatial"][:1500], torn.obsm["spatial_truth"][:1500])
    assert moved.max() > 100
    assert np.median(moved) < 100
    incomplete = [
        np.mean(NearestNeighbors(n_neighbors=6).fit(xy).kneighbors()[0][:, -1] > 101) for xy in (slides[0], slides[1])
    ]
    assert incomplete[1] > incomplete[0] + 0.03


def test_neighbouring_domains_share_genes() -> None:
    overlap: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(5):
        effect = simulate_tissue(n_spots=200, n_genes=400, random_state=seed).varm["domain_effect"] > 0
        for i in range(6):
            for j in range(i):
                overlap[i - j == 1].append((effect[:, i] & effect[:, j]).sum() / effect[:, i].sum())
    assert np.mean(overlap[True]) > 3 * np.mean(overlap[False])


def test_cell_types_have_nothing_to_do_with_domains() -> None:
    obs = simulate_tissue(geometry="irregular", n_genes=20).obs
    assert normalized_mutual_info_score(obs["cell_type"], obs["domain"]) < 0.02


def test_library_size_varies_from_spot_to_spot_and_over_the_slide() -> None:
    adata = simulate_tissue(n_genes=200, library_size=300, dropout=0)
    totals = np.asarray(adata.X.sum(axis=1)).ravel()
    depth = adata.obs["library_size"].to_numpy()
    around = depth[neighbours(adata.obsm["spatial"])].mean(axis=1)

    assert np.median(totals) == pytest.approx(300, rel=0.15)
    assert np.corrcoef(totals, depth)[0, 1] > 0.7
    assert np.std(np.log(depth)) > 0.3
    assert np.corrcoef(np.log(depth), np.log(around))[0, 1] > 0.2


def slice_difference(adata: ad.AnnData) -> float:
    first, second = (np.asarray(adata[adata.obs["slice"] == f"slice_{i}"].X.mean(axis=0)).ravel() for i in (1, 2))
    return float(np.std(np.log((first + 0.01) / first.sum()) - np.log((second + 0.01) / second.sum())))


def test_batch_effect_separates_slices_and_not_a_single_one() -> None:
    differences = [
        slice_difference(simulate_tissue(n_slices=2, n_spots=800, batch_effect=size)) for size in (0, 0.3, 0.6)
    ]
    assert differences[0] < 0.2 < differences[1] < differences[2]
    alone = [simulate_tissue(batch_effect=size, **SMALL) for size in (0, 0.6)]
    assert (alone[0].X != alone[1].X).nnz == 0


def test_held_out_genes_come_with_what_to_expect_of_them() -> None:
    adata = simulate_tissue(n_spots=1500, n_genes=100, n_heldout_genes=10, dropout=0, library_size=400)
    counts, expected = adata.obsm["heldout_counts"], adata.obsm["heldout_expected"]

    assert adata.n_vars == 100
    assert counts.columns.to_list() == expected.columns.to_list() == [f"gene_{i}" for i in range(101, 111)]
    assert counts.columns.intersection(adata.var_names).empty
    assert counts.index.equals(adata.obs_names)
    assert set(counts.dtypes) == set(expected.dtypes) == {np.dtype(np.float32)}
    scaled = expected.mul(adata.obs["library_size"] / 400, axis=0)
    np.testing.assert_allclose(counts.sum() / scaled.sum(), 1, atol=0.25)
    assert np.corrcoef(counts.to_numpy().ravel(), scaled.to_numpy().ravel())[0, 1] > 0.5


def test_held_out_genes_are_expected_without_the_batch() -> None:
    arguments = {"n_slices": 2, "n_heldout_genes": 5, **SMALL}
    expected = [simulate_tissue(batch_effect=size, **arguments).obsm["heldout_expected"] for size in (0, 1)]
    pd.testing.assert_frame_equal(*expected)


@pytest.mark.parametrize("layout", ["layers", "islands", "mixed"])
@pytest.mark.parametrize("geometry", ["hexagonal", "irregular"])
def test_by_default_space_is_needed_to_find_the_domains(layout: str, geometry: str) -> None:
    scores = [clustering_scores(simulate_tissue(layout=layout, geometry=geometry, random_state=i)) for i in range(2)]
    plain, smooth = np.mean(scores, axis=0)
    assert plain < 0.7 * smooth
    assert smooth > 0.4
    if (layout, geometry) == ("layers", "hexagonal"):
        # The defaults: plain clustering fails, and averages over neighbours do well.
        assert plain < 0.45
        assert smooth > plain + 0.3


def test_difficulty_is_monotone() -> None:
    levels = (0.0, 0.4, 0.6, 1.0)
    scores = np.array(
        [np.mean([clustering_scores(simulate_tissue(difficulty=d, random_state=i)) for i in (0, 1)], 0) for d in levels]
    )
    assert (np.diff(scores, axis=0) < 0.02).all()
    assert (scores[0] > 0.85).all()
    assert (scores[-1] < 0.35).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_genes": 3}, ValueError, "n_genes=3 must be at least 10"),
        ({"n_spots": 20}, ValueError, "n_spots=20 must be at least 40"),
        ({"n_spots": [100, 100]}, ValueError, "n_spots has 2 entries for n_slices=1"),
        ({"tears": -1}, ValueError, "tears=-1 must be at least 0"),
        ({"tears": [1, 1]}, ValueError, "tears has 2 entries for n_slices=1"),
        ({"rotation": [1, 2]}, ValueError, "rotation has 2 entries for n_slices=1"),
        ({"rotation": float("inf")}, ValueError, "rotation=inf lies outside"),
        ({"shift": [(0, 0), (1, 1)]}, ValueError, "shift has 2 entries for n_slices=1"),
        ({"shift": [5.0]}, ValueError, r"shift has shape \(1,\); expected a number or one \(x, y\)"),
        ({"flip": [1]}, ValueError, r"flip names slices \[1\]; with n_slices=1 there are 0 to 0"),
        ({"private_domains": [-1]}, ValueError, r"private_domains names slices \[-1\]"),
        ({"missing_domains": {3: ["Layer_1"]}}, ValueError, r"missing_domains names slices \[3\]"),
        ({"missing_domains": {0: ["Layer_9"]}}, ValueError, "must be a list of some, but not all, of .*'Layer_4'"),
        ({"missing_domains": {0: "Layer_1"}}, ValueError, "must be a list of some, but not all, of"),
        ({"missing_domains": {0: NAMES}}, ValueError, "must be a list of some, but not all, of"),
        ({"missing_domains": {0: ["Layer_1"]}}, ValueError, r"domains \['Layer_1'\] have no spots in any slice"),
        ({"random_state": -1}, ValueError, "random_state=-1 is negative"),
    ],
)
def test_refuses(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        simulate_tissue(**SMALL | arguments)
