"""pp.choose_scale: the curve by hand, what it chooses on known tissue, and that the graph follows it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import cKDTree

import spotscape as sp
from spotscape._core.geometry import lattice
from spotscape._stats.scale import are_alike, predicted_share


def cells(n: int, *, noise: float, stripe: float, seed: int = 0, genes: int = 12) -> ad.AnnData:
    """Cells at random places of the unit square, in stripes that differ in half of the genes."""
    rng = np.random.default_rng(seed)
    places = rng.random((n, 2))
    domain = (places[:, 0] // stripe).astype(int) % 2
    means = 3 + np.outer(domain, np.repeat([1.0, 0.0], genes // 2))
    values = np.maximum(means + noise * rng.normal(size=(n, genes)), 0)
    return ad.AnnData(values.astype(np.float32), obsm={"spatial": places})


def test_share_predicted_is_that_of_dense_matrices() -> None:
    rng = np.random.default_rng(0)
    values, places = rng.normal(size=(80, 4)), rng.random((80, 2))
    values[:, 0] += 3 * (places[:, 0] > 0.5)
    parts = [np.arange(50), np.arange(50, 80)]
    share, reach = predicted_share(values, [(rows, places[rows]) for rows in parts], [3, 7])

    centred = values.copy()
    for rows in parts:
        centred[rows] -= centred[rows].mean(axis=0)
    whitened = centred @ np.linalg.inv(np.linalg.cholesky(centred.T @ centred / 80)).T
    predictions, distances = [], []
    for size in (3, 7):
        mean, last = np.zeros((80, 80)), []
        for rows in parts:
            order = np.argsort(np.linalg.norm(places[rows][:, None] - places[rows], axis=2), axis=1)[:, : size + 1]
            mean[rows[:, None], rows[order]] = 1 / (size + 1)
            last.append(np.linalg.norm(places[rows] - places[rows[order[:, -1]]], axis=1))
        twice = mean @ mean
        np.fill_diagonal(twice, 0)
        predictions.append(twice / twice.sum(axis=1, keepdims=True) @ whitened)
        distances.append(np.median(np.concatenate(last)))
    shared = [whitened.T @ each / 80 for each in predictions]
    eigenvalues, directions = np.linalg.eigh(np.mean([each + each.T for each in shared], axis=0) / 2)
    weights = np.maximum(eigenvalues, 0)
    expected = [
        np.average(1 - (((whitened - each) @ directions) ** 2).mean(axis=0), weights=weights) for each in predictions
    ]
    np.testing.assert_allclose(share, expected, rtol=1e-10)
    np.testing.assert_allclose(reach, distances)


def test_spots_at_one_place_do_not_predict_themselves() -> None:
    rng = np.random.default_rng(1)
    places = np.repeat(rng.random((40, 2)), 5, axis=0)
    share, _ = predicted_share(rng.normal(size=(200, 3)), [(np.arange(200), places)], [2, 4, 20])
    assert share.max() < 0.1


@pytest.mark.parametrize(("noise", "least", "most"), [(0.3, 6, 12), (4.0, 18, 50)])
def test_noise_asks_for_more_neighbours(noise: float, least: int, most: int) -> None:
    adata = cells(2_000, noise=noise, stripe=0.5)
    sp.pp.choose_scale(adata)
    entry = adata.uns["scale"]
    assert least <= entry["n_neighs"] <= most
    assert entry["geometry"] == "irregular"
    nearest = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], entry["n_neighs"] + 1)[0]
    assert entry["radius"] == pytest.approx(np.median(nearest[:, -1]), rel=0.05)


def test_thin_stripes_ask_for_fewer_neighbours() -> None:
    adata = cells(2_000, noise=0.3, stripe=0.06)
    sp.pp.choose_scale(adata)
    assert adata.uns["scale"]["n_neighs"] < 12


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize(("geometry", "expected"), [("hexagonal", 6), ("square", 8), ("irregular", 12)])
def test_usual_number_stays_where_the_curve_is_flat(geometry: str, expected: int, share: float) -> None:
    rng = np.random.default_rng(0)
    adata = sp.datasets.simulate_tissue(n_spots=1_200, n_genes=200, geometry=geometry, difficulty=0.3)  # type: ignore[arg-type]
    adata.X = sparse.csr_matrix(rng.binomial(adata.X.toarray().astype(int), share).astype(np.float32))
    kept = np.sort(rng.permutation(1_200)[: 960 if share < 1 else 1_200])
    adata = adata[kept].copy()
    sp.pp.spatial_neighbors_knn(adata)
    assert adata.uns["scale"]["geometry"] == geometry
    assert adata.uns["scale"]["n_neighs"] == expected
    assert (np.diff(adata.obsp["spatial_connectivities"].indptr) == expected).all()


def test_counts_and_their_logarithm_say_the_same() -> None:
    counts = sp.datasets.simulate_tissue(n_spots=600, n_genes=150, geometry="irregular")
    logs = sp.pp.prepare(counts, copy=True)
    assert logs is not None
    for each in (counts, logs):
        sp.pp.choose_scale(each, mask_var=None)
    share, same = (each.uns["scale"]["curve"]["predicted"] for each in (counts, logs))
    np.testing.assert_allclose(share, same, atol=1e-4)


def test_without_expression_geometry_decides(caplog: pytest.LogCaptureFixture) -> None:
    adata = ad.AnnData(obsm={"spatial": np.random.default_rng(0).random((300, 2))})
    with caplog.at_level("INFO"):
        sp.pp.spatial_neighbors_knn(adata)
    assert adata.uns["scale"]["n_neighs"] == 12
    assert "the default for cells, because there is no expression" in caplog.text


def test_where_no_neighbours_predict_the_default_stays(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.random((2_000, 20)).astype(np.float32), obsm={"spatial": rng.random((2_000, 2))})
    sp.pp.choose_scale(adata, n_neighs=[6, 9, 12])
    assert adata.uns["scale"]["curve"]["predicted"].max() < 0
    assert adata.uns["scale"]["n_neighs"] == 12
    assert "neighbours do not predict each other" in adata.uns["scale"]["reason"]
    assert "no more alike" in caplog.text


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("difference", "told"), [(0.15, False), (0.1, True)])
def test_mixtures_of_cell_types_ask_for_more_neighbours(
    seed: int, difference: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Domains of the same types in slightly different shares: single neighbours say little, and many say enough.

    The fainter ones are not told from noise, which the log says; they need many neighbours all the more.
    """
    rng = np.random.default_rng(seed)
    places = rng.random((4_000, 2))
    share = 1 + difference * np.where(np.arange(12) % 2, 1, -1)
    drawn = [rng.choice(12, 4_000, p=each / 12) for each in (share, 2 - share)]
    types = np.where(places[:, 0] < 0.5, *drawn)
    adata = ad.AnnData(np.zeros((4_000, 1)), obsm={"spatial": places, "types": np.eye(12)[types]})
    sp.pp.choose_scale(adata, use_rep="types")
    assert adata.uns["scale"]["n_neighs"] >= 25
    assert ("no more alike" in caplog.text) == told


def test_noise_is_told_from_structure() -> None:
    """Of 200 tissues without structure, a few are taken for tissue with structure; with heavy tails as well."""
    told = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.standard_t(2, size=(150, 10))
        told += are_alike(values, [(np.arange(150), rng.random((150, 2)))], (6, 12, 25), rng)
    assert told <= 6
    assert not are_alike(np.ones((150, 2)), [(np.arange(150), rng.random((150, 2)))], (6, 12, 25), rng)


@pytest.mark.parametrize("seed", range(4))
def test_coordinates_of_other_spots_are_told(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """As of a table joined in another order. By chance, neighbours predict each other a little."""
    adata = sp.datasets.simulate_tissue(
        n_domains=4, n_spots=2000, n_genes=40, geometry="irregular", difficulty=0.3, random_state=seed
    )
    said = "are the rows of `adata.obsm['spatial']` in the order of the spots?"
    sp.pp.choose_scale(adata)
    assert said not in caplog.text
    adata.obsm["spatial"] = np.random.default_rng(seed).permutation(adata.obsm["spatial"])
    sp.pp.choose_scale(adata)
    assert said in caplog.text


def test_few_spots_do_not_all_see_each_other() -> None:
    """With all as neighbours, means over neighbours would be the same everywhere."""
    adata = ad.AnnData(np.ones((5, 2), np.float32), obsm={"spatial": np.random.default_rng(0).random((5, 2))})
    sp.pp.spatial_neighbors_knn(adata)
    assert (np.diff(adata.obsp["spatial_connectivities"].indptr) == 2).all()


def test_graph_takes_the_stored_number_until_coordinates_change() -> None:
    adata = cells(600, noise=0.5, stripe=0.5)
    sp.pp.choose_scale(adata, n_neighs=[25, 9])
    assert adata.uns["scale"]["curve"]["n_neighs"].tolist() == [9, 25]
    stored = adata.uns["scale"]["n_neighs"]
    sp.pp.spatial_neighbors_knn(adata)
    assert adata.obsp["spatial_connectivities"][0].nnz == stored
    adata.obsm["spatial"] = adata.obsm["spatial"][::-1].copy()
    sp.pp.spatial_neighbors_knn(adata)
    assert adata.uns["scale"]["curve"]["n_neighs"].tolist() == [6, 9, 12, 18, 25, 36, 50]


def test_copy_and_what_is_left_alone() -> None:
    adata = cells(300, noise=0.5, stripe=0.5)
    given = adata.X.copy()
    found = sp.pp.choose_scale(adata, copy=True)
    assert "scale" not in adata.uns
    assert found is not None
    assert "scale" in found.uns
    sp.pp.spatial_neighbors_knn(adata, copy=True)
    assert not adata.uns
    np.testing.assert_array_equal(adata.X, given)


def test_large_tissue_is_looked_at_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = cells(3_000, noise=0.5, stripe=0.5)
    sp.pp.choose_scale(adata)
    monkeypatch.setattr("spotscape.pp._scale._WINDOW_SPOTS", 250)
    windows = sp.pp.choose_scale(adata, copy=True)
    assert windows is not None
    assert windows.uns["scale"]["n_neighs"] == adata.uns["scale"]["n_neighs"]
    again = sp.pp.choose_scale(adata, copy=True)
    assert again is not None
    np.testing.assert_array_equal(again.uns["scale"]["curve"]["predicted"], windows.uns["scale"]["curve"]["predicted"])


@pytest.mark.parametrize("kind", ["hexagonal", "square"])
def test_lattice_with_missing_spots_is_still_one(kind: str) -> None:
    rng = np.random.default_rng(0)
    adata = sp.datasets.simulate_tissue(n_spots=1_500, n_genes=20, geometry=kind)  # type: ignore[arg-type]
    kept = rng.random(1_500) < 0.7
    assert lattice(adata.obsm["spatial"][kept]).kind == kind
    assert lattice(rng.random((1_500, 2))).kind == "irregular"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": "none"}, KeyError, "'none' not found in adata.layers"),
        ({"use_rep": "X_none"}, KeyError, "'X_none' not found in adata.obsm"),
        ({"spatial_key": "none"}, KeyError, "'none' not found in adata.obsm"),
    ],
)
def test_errors(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sp.pp.choose_scale(cells(200, noise=0.5, stripe=0.5), **arguments)  # type: ignore[arg-type]
