"""``tl.spotscape`` and ``tl.integrate_slices`` on several slices."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest

import spotscape as sp
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

QUICK = SpotscapeConfig(max_epochs=6, n_encoders=2, scaling_spots=100)
spotscape = partial(sp.tl.spotscape, library_key="slice", config=QUICK)
integrate = partial(sp.tl.integrate_slices, library_key="slice", use_rep="X_smoothed_pca")


@pytest.fixture(scope="session")
def _slices() -> AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=3, n_spots=[250, 60, 180], n_genes=120, difficulty=0.3, batch_effect=0.6, random_state=0
    )
    sp.pp.prepare(adata, n_top_genes=100, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, library_key="slice", n_comps=10)
    return adata


@pytest.fixture
def adata(_slices: AnnData) -> AnnData:
    return _slices.copy()


def test_all_objectives_are_trained(adata: AnnData) -> None:
    spotscape(adata)
    history = adata.uns["spotscape"]["history"]
    assert {"telescope", "reconstruction", "scaling", "prototypes"} <= set(history)
    assert (history["scaling"] > 0).all()
    # Prototypes join after half of the epochs.
    assert (history["prototypes"] > 0).tolist() == [False] * 3 + [True] * 3
    assert adata.uns["spotscape"]["params"]["library_key"] == "slice"


def test_several_slices_have_their_own_defaults(adata: AnnData) -> None:
    sp.tl.spotscape(adata, library_key="slice", max_epochs=2)
    params = adata.uns["spotscape"]["params"]
    assert params["n_encoders"] == SpotscapeConfig.several_slices().n_encoders == 1
    assert SpotscapeConfig.several_slices().max_epochs == 300
    assert SpotscapeConfig.several_slices(latent_size=8).latent_size == 8
    one = adata[adata.obs["slice"] == "slice_1"].copy()
    sp.tl.spotscape(one, library_key="slice", max_epochs=2)
    assert one.uns["spotscape"]["params"]["n_encoders"] == SpotscapeConfig().n_encoders


def test_a_single_slice_needs_none_of_them(adata: AnnData) -> None:
    one = adata[adata.obs["slice"] == "slice_1"].copy()
    spotscape(one)
    assert "scaling" not in one.uns["spotscape"]["history"]
    same = one.copy()
    sp.tl.spotscape(same, config=QUICK)
    assert same.obsm["X_spotscape"].tobytes() == one.obsm["X_spotscape"].tobytes()


def test_labels_are_never_looked_at(adata: AnnData) -> None:
    """Training with the truth, with a shuffled truth and without any annotation gives the same bits."""
    spotscape(adata)
    expected = adata.obsm["X_spotscape"].tobytes()
    shuffled = adata.copy()
    shuffled.obs["domain"] = np.random.default_rng(0).permutation(adata.obs["domain"])
    bare = adata.copy()
    bare.obs = bare.obs[["slice"]]
    del bare.varm["domain_effect"], bare.obsm["spatial_truth"], bare.uns["simulation"]
    for other in (shuffled, bare):
        spotscape(other)
        assert other.obsm["X_spotscape"].tobytes() == expected


@pytest.mark.parametrize("tool", [spotscape, integrate])
def test_interleaved_spots_are_no_other_tissue(adata: AnnData, tool: partial[None]) -> None:
    """The embedding does not depend on slices lying one after the other, up to the draws of queries and prototypes."""
    tool(adata)
    assert adata.obs["slice"].is_monotonic_increasing
    key = "X_spotscape" if tool is spotscape else "X_smoothed_pca_integrated"
    mixed = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    sp.pp.spatial_neighbors_knn(mixed, library_key="slice")
    tool(mixed)
    assert np.isfinite(mixed.obsm[key]).all()
    domains = []
    for tissue in (adata, mixed):
        sp.tl.domains(tissue, n_domains=3, use_rep=key)
        domains.append(tissue.obs["spotscape_domain"])
    assert sp.metrics.ari(domains[0], domains[1].loc[domains[0].index]) > 0.6


def test_unused_categories_and_the_global_generator_are_left_alone(adata: AnnData) -> None:
    adata.obs["slice"] = adata.obs["slice"].cat.add_categories("slice_9")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    spotscape(adata)
    integrate(adata)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert "slice_9" in adata.obs["slice"].cat.categories


def test_different_panels(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """Genes that a slice lacks are zero there after an outer join; the others are used, and it says how many."""
    parts = [adata[adata.obs["slice"] == name].copy() for name in adata.obs["slice"].cat.categories]
    used = adata.var_names[adata.var["highly_variable"]]
    parts[0] = parts[0][:, ~parts[0].var_names.isin(used[:10])]
    parts[2] = parts[2][:, ~parts[2].var_names.isin(used[5:20])]
    joined = ad.concat(parts, join="outer", merge="first")
    joined.obs["slice"] = joined.obs["slice"].astype("category")
    mask = joined.var_names.isin(used)
    with caplog.at_level(logging.INFO, logger="spotscape"):
        spotscape(joined, mask_var=mask)
    n_shared = joined.uns["spotscape"]["params"]["n_features"]
    # A few more may be missing from the small slice by chance.
    assert 75 <= n_shared <= 80
    text = "\n".join(record.message for record in caplog.records)
    assert f"Using the {n_shared} genes, of 100 in adata.X, that all slices share" in text
    assert "'slice_1' lacks 10" in text
    assert "'slice_3' lacks 15" in text


def test_few_shared_genes_are_a_warning_and_none_an_error(adata: AnnData) -> None:
    matrix = adata.X.toarray()
    first = (adata.obs["slice"] == "slice_1").to_numpy()
    matrix[np.ix_(first, np.arange(120) < 60)] = 0
    few = adata.copy()
    few.X = matrix
    with pytest.warns(UserWarning, match="that all slices share"):
        spotscape(few, mask_var=np.arange(120) < 70)
    matrix[np.ix_(~first, np.arange(120) >= 60)] = 0
    few.X = matrix
    before = few.copy()
    with pytest.raises(ValueError, match="share none of the 120 genes"):
        spotscape(few, mask_var=None)
    assert set(few.obsm) == set(before.obsm)


def test_a_slice_of_one_spot(adata: AnnData) -> None:
    single = np.r_[0, np.flatnonzero(adata.obs["slice"] != "slice_1")]
    lonely = adata[single].copy()
    sp.pp.spatial_neighbors_radius(adata, radius=150, library_key="slice")
    lonely.obsp["spatial_connectivities"] = adata.obsp["spatial_connectivities"][single][:, single]
    with pytest.warns(UserWarning, match="no neighbour"), pytest.raises(ValueError, match="single spot"):
        spotscape(lonely)


def test_an_interrupted_fit_resumes_to_the_same_numbers(
    adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prototypes are part of the checkpoint."""
    from spotscape.models._spotscape_network import SpotscapeObjective

    one = partial(spotscape, config=SpotscapeConfig(max_epochs=60, n_encoders=1, scaling_spots=50, hidden_size=16))
    expected = one(adata, copy=True).obsm["X_spotscape"].tobytes()
    evaluate = SpotscapeObjective.__call__

    def interrupted(self: SpotscapeObjective, epoch: int) -> object:
        if epoch == 55:
            raise KeyboardInterrupt
        return evaluate(self, epoch)

    file = tmp_path / "fit.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(SpotscapeObjective, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one(adata, checkpoint=file)
    assert "X_spotscape" not in adata.obsm
    one(adata, checkpoint=file)
    assert adata.obsm["X_spotscape"].tobytes() == expected


def test_integration_removes_a_batch_effect(adata: AnnData) -> None:
    integrate(adata)
    slices, domain = adata.obs["slice"], adata.obs["domain"]
    before, after = adata.obsm["X_smoothed_pca"], adata.obsm["X_smoothed_pca_integrated"]
    assert sp.metrics.ilisi(slices, after) > sp.metrics.ilisi(slices, before) + 0.3
    assert sp.metrics.clisi(domain, after) > sp.metrics.clisi(domain, before) - 0.05
    assert adata.uns["smoothed_pca_integrated"]["params"]["use_rep"] == "X_smoothed_pca"


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_integration_copy_names_and_round_trip(adata: AnnData, tmp_path: Path) -> None:
    result = integrate(adata, copy=True, key_added="X_joint")
    assert "X_joint" not in adata.obsm
    assert result is not None
    result.write_h5ad(tmp_path / "a.h5ad")
    result.write_zarr(tmp_path / "a.zarr")
    for read in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        assert read.obsm["X_joint"].tobytes() == result.obsm["X_joint"].tobytes()
        assert read.uns["joint"]["params"]["n_rounds"] == 2
        assert bool(read.uns["joint"]["params"]["average"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"library_key": "batch"}, KeyError, "'batch' not found"),
        ({"library_key": "library_size"}, TypeError, "expected category"),
        ({"use_rep": "X_umap"}, KeyError, "'X_umap' not found"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors=0"),
        ({"n_prototypes": 0}, ValueError, "n_prototypes=0"),
        ({"n_rounds": 1.5}, TypeError, "n_rounds"),
        ({"ridge": 0}, ValueError, "ridge=0"),
    ],
)
def test_integration_refuses(
    adata: AnnData, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    before = set(adata.obsm)
    with pytest.raises(error, match=message):
        integrate(adata, **arguments)
    assert set(adata.obsm) == before


def test_integration_refuses_one_slice_and_nan(adata: AnnData) -> None:
    one = adata[adata.obs["slice"] == "slice_1"].copy()
    with pytest.raises(ValueError, match="holds one slice; two slices or more"):
        integrate(one)
    with pytest.raises(ValueError, match="library_key=None"):
        integrate(adata, library_key=None)
    adata.obsm["X_smoothed_pca"][3, 1] = np.nan
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        integrate(adata)
