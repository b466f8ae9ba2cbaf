"""tl.domains: what it writes, exact numbers, purity, round trips, and every error."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

import spotscape as sp

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ["auto", "gmm", "kmeans", "leiden"]


@pytest.fixture
def adata() -> ad.AnnData:
    points, truth = make_blobs([60, 50, 40, 30], n_features=6, cluster_std=1.0, random_state=0)
    counts = sparse.random_array((180, 5), density=0.5, rng=np.random.default_rng(0), format="csr", dtype=np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts), obs=pd.DataFrame(index=[f"spot{i}" for i in range(180)]))
    adata.obsm["X_spotscape"] = points.astype(np.float32)
    adata.obs["truth"] = pd.Categorical(truth.astype(str))
    return adata


@pytest.mark.parametrize("method", METHODS)
def test_domains_are_found_numbered_by_size_and_recorded(adata: ad.AnnData, method: str) -> None:
    assert sp.tl.domains(adata, n_domains=4, method=method) is None
    column = adata.obs["spotscape_domain"]
    assert [*column.cat.categories] == ["0", "1", "2", "3"]
    assert column.value_counts().loc[["0", "1", "2", "3"]].is_monotonic_decreasing
    assert adjusted_rand_score(adata.obs["truth"], column) > 0.95
    entry = adata.uns["spotscape_domain"]
    assert entry["params"]["method"] == method
    assert (entry["params"]["n_domains"], entry["params"]["use_rep"], entry["params"]["random_state"]) == (
        4,
        "X_spotscape",
        0,
    )
    names = {"auto": "agreement", "gmm": "log_likelihood", "kmeans": "inertia", "leiden": "resolution"}
    assert entry["criterion"]["name"] == names[method]
    assert np.isfinite(entry["criterion"]["value"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_domains", [2, 3, 11, 17])
def test_exactly_as_many_domains_as_asked_for(adata: ad.AnnData, method: str, n_domains: int) -> None:
    sp.tl.domains(adata, n_domains=n_domains, method=method, key_added="d")
    assert [*adata.obs["d"].cat.categories] == [str(number) for number in range(n_domains)]
    assert (adata.obs["d"].value_counts() > 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_domains", [2, 3, 4])
def test_degenerate_embedding(method: str, n_domains: int) -> None:
    adata = ad.AnnData(np.zeros((40, 1), dtype=np.float32))
    adata.obsm["X_spotscape"] = np.c_[np.eye(4)[np.arange(40) % 4], np.ones(40)]
    sp.tl.domains(adata, n_domains=n_domains, method=method)
    assert adata.obs["spotscape_domain"].nunique() == n_domains


class TestConfidence:
    """The posterior of the mixture; none where there is none."""

    def test_is_the_posterior_of_the_own_domain(self, adata: ad.AnnData) -> None:
        # Two tight groups and one spot midway: with equal weights it belongs to both by one half.
        adata = ad.AnnData(np.zeros((9, 1), dtype=np.float32))
        adata.obsm["X"] = np.array([0, 0.1, 0, -0.1, 5, 9.9, 10, 10.1, 10])[:, None]
        sp.tl.domains(adata, n_domains=2, method="gmm", use_rep="X")
        confidence = adata.obs["X_domain_confidence"]
        assert confidence.dtype == np.float32
        assert confidence.idxmin() == "4"
        assert 0.5 <= confidence.iloc[4] < 0.75
        assert (confidence.drop("4") > 0.99).all()

    @pytest.mark.parametrize("method", ["kmeans", "leiden"])
    def test_of_an_earlier_call_is_removed(self, adata: ad.AnnData, method: str) -> None:
        sp.tl.domains(adata, n_domains=4, method="gmm")
        sp.tl.domains(adata, n_domains=4, method=method)
        assert "spotscape_domain_confidence" not in adata.obs

    def test_a_column_of_the_user_is_not(self, adata: ad.AnnData) -> None:
        adata.obs["d_confidence"] = 1.0
        sp.tl.domains(adata, n_domains=4, method="kmeans", key_added="d")
        assert (adata.obs["d_confidence"] == 1).all()


def test_an_annotation_that_is_replaced_is_told(adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    adata.obs["layer"] = "mine"
    for told in (1, 0):
        caplog.clear()
        sp.tl.domains(adata, n_domains=4, method="kmeans", key_added="layer")
        lines = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
        assert lines == ["`adata.obs['layer']`, which has no record of an earlier call, is replaced."] * told


def test_leiden_without_a_number_uses_the_resolution(adata: ad.AnnData) -> None:
    sp.tl.domains(adata, method="leiden", resolution=0.2, key_added="few")
    sp.tl.domains(adata, method="leiden", resolution=3, key_added="many")
    assert adata.obs["few"].nunique() < adata.obs["many"].nunique()
    assert adata.uns["many"]["criterion"] == {"name": "resolution", "value": 3}
    assert "n_domains" not in adata.uns["many"]["params"]


class TestWhichEmbedding:
    """Whoever has run one encoder need not name it."""

    @pytest.mark.parametrize("method", ["spacross", "smoothed_pca"])
    def test_that_of_another_method_if_it_is_the_only_one(
        self, adata: ad.AnnData, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = sp.tl.domains(adata, n_domains=4, copy=True).obs["spotscape_domain"]
        adata.obsm[f"X_{method}"] = adata.obsm.pop("X_spotscape")
        adata.obsm["X_pca"] = np.zeros((180, 2))
        with caplog.at_level("INFO"):
            sp.tl.domains(adata, n_domains=4)
        pd.testing.assert_series_equal(adata.obs[f"{method}_domain"], expected, check_names=False)
        assert adata.uns[f"{method}_domain"]["params"]["use_rep"] == f"X_{method}"
        assert f"Using `adata.obsm['X_{method}']`." in caplog.text

    def test_two_are_an_error_unless_one_is_named(self, adata: ad.AnnData) -> None:
        adata.obsm["X_spacross"] = adata.obsm["X_spotscape"][:, ::-1].copy()
        with pytest.raises(ValueError, match="has 'X_spotscape' and 'X_spacross'; name one: use_rep='X_spotscape'"):
            sp.tl.domains(adata, n_domains=4)
        assert "spotscape_domain" not in adata.obs
        sp.tl.domains(adata, n_domains=4, use_rep="X_spacross")
        assert adata.uns["spacross_domain"]["params"]["use_rep"] == "X_spacross"

    def test_each_has_columns_of_its_own(self, adata: ad.AnnData) -> None:
        for key in ("X_spacross", "X_smoothed_pca", "X_pca"):
            adata.obsm[key] = adata.obsm["X_spotscape"][:, ::-1].copy()
        sp.tl.domains(adata, n_domains=4, use_rep="X_spotscape")
        before = adata.obs["spotscape_domain"].copy()
        for key in ("X_spacross", "X_smoothed_pca", "X_pca"):
            sp.tl.domains(adata, n_domains=3, use_rep=key)
        pd.testing.assert_series_equal(adata.obs["spotscape_domain"], before)
        assert {"spacross_domain", "smoothed_pca_domain", "pca_domain"} <= {*adata.obs} & {*adata.uns}
        with pytest.raises(ValueError, match="has 'spotscape_domain' and 'spacross_domain'; name one"):
            sp.tl.refine_domains(adata)

    def test_who_needs_domains_takes_those_that_are_there(self, adata: ad.AnnData) -> None:
        adata.obsm["X_spacross"] = adata.obsm.pop("X_spotscape")
        adata.obsm["spatial"] = np.random.default_rng(0).random((180, 2))
        sp.tl.domains(adata, n_domains=4)
        sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
        sp.tl.refine_domains(adata)
        assert "spacross_domain_refined" in adata.obs

    def test_none(self, adata: ad.AnnData) -> None:
        adata.obsm["X_pca"] = adata.obsm.pop("X_spotscape")
        message = r"has: 'X_pca'. Name the .* sp.tl.spotscape\(adata\) or sp.tl.spacross\(adata\)"
        with pytest.raises(KeyError, match=message):
            sp.tl.domains(adata, n_domains=4)


@pytest.mark.parametrize("clear", [True, False])
def test_clusterers_that_disagree_are_reported(clear: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Two groups, or a cloud with a few points far off: k-means cuts the cloud, mixtures take the points."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 4)) * np.array([1, 1, 1, 1 if clear else 3])
    points[: 300 if clear else 12, 0] += 12
    adata = ad.AnnData(np.zeros((600, 1), np.float32), obsm={"X_spotscape": points})
    sp.tl.domains(adata, n_domains=2)
    assert ("depend on the clusterer" in caplog.text) != clear


def test_smoothed_components_decide_between_clusterers_that_disagree(caplog: pytest.LogCaptureFixture) -> None:
    """Two regions, and a few spots far off in the embedding only, which mixtures take for a domain."""
    adata = sp.datasets.simulate_tissue(n_domains=2, n_spots=400, n_genes=100, random_state=0)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata)
    region = (adata.obs["domain"] == adata.obs["domain"].iloc[0]).to_numpy()
    embedding = np.random.default_rng(0).normal(size=(400, 5))
    embedding[:, 0] += 3 * region
    embedding[:8, 4] += 9
    adata.obsm["X_spotscape"] = embedding
    sp.tl.domains(adata, n_domains=2)
    assert "Took k-means, whose domains agree most with those of smoothed PCA" in caplog.text
    entry = adata.uns["spotscape_domain"]
    assert entry["agreement_beside"]["kmeans"] > 0.3 > entry["agreement_beside"]["mixture_0"]
    assert adjusted_rand_score(region, adata.obs["spotscape_domain"]) > 0.5
    sp.tl.consensus_domains(adata, n_domains=2)
    assert adjusted_rand_score(region, adata.obs["consensus_domain"]) > 0.5
    adata.obsm["X_smoothed_pca"] = embedding
    del adata.uns["smoothed_pca"]
    sp.tl.domains(adata, n_domains=2, use_rep="X_smoothed_pca")
    assert "agree most with those of smoothed PCA over another number of hops" in caplog.text
    del adata.X, adata.layers["counts"]
    sp.tl.domains(adata, n_domains=2)
    assert "whose domains agree most with the others" in caplog.text
    assert adata.obs["spotscape_domain"].value_counts().min() == 8


@pytest.mark.parametrize("method", METHODS)
def test_nothing_else_is_touched(adata: ad.AnnData, method: str) -> None:
    adata.uns["neighbors"] = {"mine": 1}
    before, state = adata.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    sp.tl.domains(adata, n_domains=3, method=method)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert (adata.X != before.X).nnz == 0
    assert {*adata.uns} == {"neighbors", "spotscape_domain"}
    assert adata.uns["neighbors"] == {"mine": 1}
    confidence = {"spotscape_domain_confidence"} if method in {"auto", "gmm"} else set()
    assert {*adata.obs} == {"truth", "spotscape_domain"} | confidence
    assert not adata.obsp
    np.testing.assert_array_equal(adata.obsm["X_spotscape"], before.obsm["X_spotscape"])


@pytest.mark.parametrize("method", METHODS)
def test_copy_and_same_seed_same_domains(adata: ad.AnnData, method: str) -> None:
    first = sp.tl.domains(adata, n_domains=5, method=method, random_state=7, copy=True)
    second = sp.tl.domains(adata, n_domains=5, method=method, random_state=7, copy=True)
    assert "spotscape_domain" not in adata.obs
    assert "spotscape_domain" not in adata.uns
    pd.testing.assert_frame_equal(first.obs, second.obs)
    np.testing.assert_equal(first.uns["spotscape_domain"], second.uns["spotscape_domain"])


# anndata announces a change of its default zarr format.
@pytest.mark.filterwarnings("ignore:.*zarr:UserWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("random_state", [0, None])
def test_round_trips(adata: ad.AnnData, tmp_path: Path, method: str, random_state: int | None) -> None:
    sp.tl.domains(adata, n_domains=3, method=method, random_state=random_state)
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        pd.testing.assert_series_equal(back.obs["spotscape_domain"], adata.obs["spotscape_domain"])
        entry, written = back.uns["spotscape_domain"], adata.uns["spotscape_domain"]
        assert entry["version"] == written["version"]
        assert dict(entry["criterion"]) == written["criterion"]
        assert dict(entry["params"]) == written["params"]
    again = sp.tl.domains(adata, n_domains=3, method=method, random_state=written["params"]["random_state"], copy=True)
    pd.testing.assert_series_equal(again.obs["spotscape_domain"], adata.obs["spotscape_domain"])


@pytest.mark.parametrize(
    "container",
    [np.asarray, lambda x: x.astype(np.float64), pd.DataFrame, sparse.csr_matrix, sparse.csr_array],
)
def test_containers_of_the_embedding(adata: ad.AnnData, container: object) -> None:
    expected = sp.tl.domains(adata, n_domains=4, copy=True)
    values = container(adata.obsm["X_spotscape"])  # type: ignore[operator]
    if isinstance(values, pd.DataFrame):
        values.index, values.columns = adata.obs_names, values.columns.astype(str)
    adata.obsm["other"] = values
    sp.tl.domains(adata, n_domains=4, use_rep="other")
    np.testing.assert_array_equal(adata.obs["other_domain"], expected.obs["spotscape_domain"])


BAD = [
    ({"n_domains": 1}, ValueError, "n_domains=1 must be at least 2"),
    ({"n_domains": 181}, ValueError, "n_domains=181 is more than the 180 spots"),
    ({"n_domains": 2.0}, TypeError, "n_domains must be an integer"),
    (
        {"n_domains": 3, "method": "mclust"},
        ValueError,
        r"method='mclust' is not one of \['auto', 'gmm', 'kmeans', 'leiden'\]",
    ),
    ({"n_domains": 3, "use_rep": "X_none"}, KeyError, r"'X_none' not found in adata.obsm, which has: 'X_spotscape'"),
    ({"n_domains": 3, "random_state": -1}, ValueError, "random_state=-1 is negative"),
    ({"method": "leiden", "resolution": 0}, ValueError, "resolution=0 lies outside"),
    ({"method": "leiden", "n_neighbors": 1}, ValueError, "n_neighbors=1 must be at least 2"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_leave_the_data_as_they_were(
    adata: ad.AnnData, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sp.tl.domains(adata, **arguments)  # type: ignore[arg-type]
    assert {*adata.obs} == {"truth"}
    assert not adata.uns


@pytest.mark.parametrize("method", METHODS)
def test_errors_of_the_embedding(adata: ad.AnnData, method: str) -> None:
    adata.obsm["broken"] = adata.obsm["X_spotscape"].copy()
    adata.obsm["broken"][4, 2] = np.nan
    with pytest.raises(ValueError, match=r"adata.obsm\['broken'\] has 1 NaN or infinite values"):
        sp.tl.domains(adata, n_domains=3, method=method, use_rep="broken")
    adata.obsm["flat"] = np.repeat(np.eye(2), 90, axis=0)
    with pytest.raises(ValueError, match="180 points have 2 distinct positions, too few for 3 clusters"):
        sp.tl.domains(adata, n_domains=3, method=method, use_rep="flat")
    adata.obsm["cube"] = np.zeros((180, 2, 2))
    with pytest.raises(ValueError, match=r"adata.obsm\['cube'\] has shape \(180, 2, 2\)"):
        sp.tl.domains(adata, n_domains=3, method=method, use_rep="cube")
    del adata.obsm["X_spotscape"]
    with pytest.raises(KeyError, match=r"'X_spotscape' not found in adata.obsm, which has: .*sp.tl.spotscape\(adata\)"):
        sp.tl.domains(adata, n_domains=3, method=method)
    with pytest.raises(TypeError, match="adata must be an AnnData, not ndarray"):
        sp.tl.domains(np.zeros((3, 3)), n_domains=2, method=method)  # type: ignore[arg-type]


def test_leiden_of_one_spot(adata: ad.AnnData) -> None:
    with pytest.raises(ValueError, match="method='leiden' needs two spots or more"):
        sp.tl.domains(adata[:1].copy(), method="leiden")


def test_leiden_without_igraph_says_how_to_install_it(adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "spotscape.tl._domains.find_spec", lambda name: None if name == "igraph" else found(name), raising=True
    )
    with pytest.raises(ImportError, match=r'pip install "spotscape\[leiden\]"'):
        sp.tl.domains(adata, n_domains=3, method="leiden")


@pytest.mark.parametrize("entry", [[1, 2], "text", np.arange(3), pd.DataFrame({"a": [1]}), {"params": [1]}])
def test_whatever_another_method_keeps_under_the_name_of_its_embedding(entry: Any) -> None:
    """Embeddings of others have records of their own kind, or none; they are clustered all the same."""
    other = ad.AnnData(np.zeros((60, 1), dtype=np.float32), uns={"mofa": entry})
    other.obsm["X_mofa"] = np.random.default_rng(0).normal(size=(60, 3)) + 9 * np.eye(3)[np.arange(60) % 3]
    sp.tl.domains(other, n_domains=3, use_rep="X_mofa", method="kmeans", key_added="found")
    assert sp.metrics.ari(np.arange(60) % 3, other.obs["found"]) == 1


def test_an_embedding_without_genes_is_enough() -> None:
    """Embeddings of other packages come in an AnnData without genes, as scanpy takes them."""
    rng = np.random.default_rng(0)
    regions = np.repeat([0.0, 6.0, 12.0], 100)
    adata = ad.AnnData(obs=pd.DataFrame({"slice": np.tile(["a", "b"], 150)}, index=[f"spot_{i}" for i in range(300)]))
    adata.obsm["X_mine"] = (regions[:, None] + rng.normal(size=(300, 4))).astype(np.float32)
    sp.tl.integrate_slices(adata, library_key="slice", use_rep="X_mine")
    sp.tl.domains(adata, n_domains=3, use_rep="X_mine")
    sp.tl.choose_n_domains(adata, use_rep="X_mine", k_range=(2, 4))
    sp.tl.consensus_domains(adata, n_domains=3, use_reps=["X_mine", "X_mine_integrated"])
    new, known = adata[::3].copy(), adata[1::3].copy()
    sp.tl.transfer_domains(new, reference=known, labels_key="mine_domain", use_rep="X_mine", key_added="from_known")
    for found in (adata.obs["mine_domain"], adata.obs["consensus_domain"]):
        assert sp.metrics.ari(regions, found) == 1
    assert sp.metrics.ari(new.obs["from_known"], new.obs["mine_domain"]) == 1
    assert adata.uns["n_domains"]["picked"] == 3
