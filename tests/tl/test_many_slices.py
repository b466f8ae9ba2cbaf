"""``tl.spotscape``, ``tl.spacross`` and ``tl.integrate_slices`` on several slices."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

QUICK = SpotscapeConfig(max_epochs=6, n_encoders=2, scaling_spots=100)
spotscape = partial(sp.tl.spotscape, library_key="slice", config=QUICK)
ACROSS = SpaCrossConfig(max_epochs=6, n_comps=20, refresh_every=3)
# The width of the paper. With the default of 32 and without integration before the training, more of the offset stays.
LEARNT = SpaCrossConfig(latent_size=16, max_epochs=60, lr=0.01, n_comps=20)
spacross = partial(sp.tl.spacross, library_key="slice", config=ACROSS)
spacross_3d = partial(spacross, neighbors_key="spatial_3d_neighbors")
encoders = pytest.mark.parametrize(
    ("tool", "key"),
    [
        pytest.param(spotscape, "X_spotscape", id="spotscape"),
        pytest.param(spacross, "X_spacross", id="spacross"),
        pytest.param(spacross_3d, "X_spacross", id="spacross_3d"),
    ],
)
integrate = partial(sp.tl.integrate_slices, library_key="slice", use_rep="X_smoothed_pca")


@pytest.fixture(scope="session")
def _slices() -> AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=3, n_slices=3, n_spots=[250, 60, 180], n_genes=120, difficulty=0.3, batch_effect=0.6, random_state=0
    )
    sp.pp.prepare(adata, n_top_genes=100, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    adata.obsm["spatial_aligned"] = adata.obsm["spatial_truth"].copy()
    sp.pp.spatial_neighbors_3d(adata, library_key="slice", slice_gap=1.0)
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


def test_several_slices_have_their_own_defaults(adata: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    sp.tl.spotscape(adata, library_key="slice", max_epochs=2)
    params = adata.uns["spotscape"]["params"]
    assert params["n_encoders"] == SpotscapeConfig.several_slices().n_encoders == 4
    assert SpotscapeConfig.several_slices().max_epochs < SpotscapeConfig().max_epochs
    assert SpotscapeConfig.several_slices(latent_size=8).latent_size == 8
    one = adata[adata.obs["slice"] == "slice_1"].copy()
    asked = []
    monkeypatch.setattr(SpotscapeConfig, "_choose", lambda *_, **given: asked.append(given) or QUICK)
    sp.tl.spotscape(one, library_key="slice")
    assert [given["several_slices"] for given in asked] == [False]


@pytest.mark.parametrize(("tool", "key"), [(spotscape, "X_spotscape"), (spacross, "X_spacross")])
def test_a_single_slice_needs_none_of_them(adata: AnnData, tool: partial[None], key: str) -> None:
    one = adata[adata.obs["slice"] == "slice_1"].copy()
    tool(one)
    assert "scaling" not in one.uns[key.removeprefix("X_")]["history"]
    same = one.copy()
    tool(same, library_key=None)
    assert same.obsm[key].tobytes() == one.obsm[key].tobytes()


@encoders
def test_neither_labels_nor_names_of_slices_are_looked_at(adata: AnnData, tool: partial[None], key: str) -> None:
    """Training with the truth, and without any annotation on slices of other names, gives the same bits."""
    bare = adata.copy()
    bare.obs = bare.obs[["slice"]]
    bare.obs["slice"] = bare.obs["slice"].cat.rename_categories(["x", "y", "z"])
    del bare.varm["domain_effect"], bare.obsm["spatial_truth"], bare.uns["simulation"]
    for tissue in (adata, bare):
        tool(tissue)
    assert bare.obsm[key].tobytes() == adata.obsm[key].tobytes()


@pytest.mark.parametrize(
    "neighbors_key", ["spatial_neighbors", pytest.param("spatial_3d_neighbors", marks=pytest.mark.slow)]
)
def test_spacross_finds_domains_under_a_batch_effect(neighbors_key: str) -> None:
    """Two slices of one tissue, hardly any spots of which a PCA mixes; the mean over two tissues."""
    import scanpy as sc

    found = []
    for seed in range(2):
        two = sp.datasets.simulate_tissue(
            n_domains=3, n_slices=2, n_spots=200, n_genes=120, difficulty=0.3, batch_effect=0.4, random_state=seed
        )
        sp.pp.prepare(two, recipe="spacross", library_key="slice")
        sp.pp.spatial_neighbors_knn(two, library_key="slice")
        sp.pp.spatial_neighbors_3d(two, library_key="slice", spatial_key="spatial_truth", slice_gap=1.0)
        sc.pp.pca(two, n_comps=16)
        spacross(two, neighbors_key=neighbors_key, config=replace(LEARNT, integrate=False))
        two.obsm["X_apart"] = two.obsm.pop("X_spacross")
        sp.tl.integrate_slices(two, library_key="slice", use_rep="X_apart", key_added="X_spacross")
        sp.tl.domains(two, n_domains=3, use_rep="X_spacross")
        gaps, spreads = zip(*(gap_and_spread(two, key) for key in ("X_apart", "X_spacross")), strict=True)
        domain = two.obs["domain"]
        clisi = [sp.metrics.clisi(domain, two.obsm[key]) for key in ("X_pca", "X_spacross")]
        ari = sp.metrics.ari(domain, two.obs["spacross_domain"])
        found.append((gaps[1] / gaps[0], spreads[1] / spreads[0], *clisi, ari))
    gap, spread, clisi_before, clisi_after, ari = np.mean(found, axis=0)
    # The offset goes, and nothing else does.
    assert gap < 0.3
    assert 0.97 < spread < 1.01
    assert clisi_after > max(0.9, clisi_before)
    assert ari > 0.75


def gap_and_spread(adata: AnnData, key: str) -> tuple[float, float]:
    """How far the means of a domain in the slices differ, and how far spots do within a domain of a slice."""
    grouped = pd.DataFrame(adata.obsm[key]).groupby([adata.obs["domain"].to_numpy(), adata.obs["slice"].to_numpy()])
    gap = grouped.mean().groupby(level=0).var().mean(axis=None)
    return float(np.sqrt(gap)), float(np.sqrt(grouped.var().mean(axis=None)))


def test_integration_after_spacross_is_an_option(adata: AnnData) -> None:
    kept = spacross(adata, config=SpaCrossConfig(max_epochs=6, integrate=False), copy=True)
    taken = spacross(adata, config=SpaCrossConfig(max_epochs=6), copy=True)
    slices = adata.obs["slice"]
    mixing = [sp.metrics.ilisi(slices, one.obsm["X_spacross"]) for one in (kept, taken)]
    assert mixing[0] + 0.05 < mixing[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "key"),
    [
        (partial(spotscape, config=SpotscapeConfig(max_epochs=40, n_encoders=2, scaling_spots=100)), "X_spotscape"),
        (partial(spacross_3d, config=LEARNT), "X_spacross"),
    ],
    ids=["spotscape", "spacross_3d"],
)
def test_interleaved_spots_are_no_other_tissue(adata: AnnData, tool: partial[None], key: str) -> None:
    """The embedding does not depend on slices lying one after the other, up to random draws; the mean of three."""
    assert adata.obs["slice"].is_monotonic_increasing
    mixed = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    sp.pp.spatial_neighbors_knn(mixed, library_key="slice")
    sp.pp.spatial_neighbors_3d(mixed, library_key="slice", slice_gap=1.0)
    agreement = []
    for seed in range(3):
        for tissue in (adata, mixed):
            tool(tissue, random_state=seed)
            sp.tl.domains(tissue, n_domains=3, use_rep=key, method="kmeans")
        assert np.isfinite(mixed.obsm[key]).all()
        domains = [tissue.obs[key.removeprefix("X_") + "_domain"] for tissue in (adata, mixed)]
        agreement.append(sp.metrics.ari(domains[0], domains[1].loc[domains[0].index]))
    assert np.mean(agreement) > 0.6


def test_unused_categories_and_the_global_generator_are_left_alone(adata: AnnData) -> None:
    adata.obs["slice"] = adata.obs["slice"].cat.add_categories("slice_9")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    spotscape(adata)
    spacross_3d(adata)
    integrate(adata)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert "slice_9" in adata.obs["slice"].cat.categories


@pytest.mark.parametrize(("tool", "key"), [(spotscape, "X_spotscape"), (spacross, "X_spacross")])
def test_different_panels(adata: AnnData, tool: partial[None], key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Genes that a slice lacks are zero there after an outer join; the others are used, and it says how many."""
    parts = [adata[adata.obs["slice"] == name].copy() for name in adata.obs["slice"].cat.categories]
    used = adata.var_names[adata.var["highly_variable"]]
    parts[0] = parts[0][:, ~parts[0].var_names.isin(used[:10])]
    parts[2] = parts[2][:, ~parts[2].var_names.isin(used[5:20])]
    joined = ad.concat(parts, join="outer", merge="first")
    joined.obs["slice"] = joined.obs["slice"].astype("category")
    mask = joined.var_names.isin(used)
    with caplog.at_level(logging.INFO, logger="spotscape"):
        tool(joined, mask_var=mask, decoded_layer="decoded")
    n_shared = joined.uns[key.removeprefix("X_")]["params"]["n_features"]
    decoded = np.isfinite(joined.layers["decoded"])
    assert decoded.all(axis=0).sum() == decoded.any(axis=0).sum() == n_shared
    assert not decoded[:, joined.var_names.isin(used[:20])].any()
    # A few more may be missing from the small slice by chance.
    assert 75 <= n_shared <= 80
    text = "\n".join(record.message for record in caplog.records)
    assert f"Using the {n_shared} genes, of 100 in adata.X, that all slices share" in text
    assert "'slice_1' lacks 10" in text
    assert "'slice_3' lacks 15" in text


@pytest.mark.parametrize("tool", [spotscape, spacross])
def test_few_shared_genes_are_a_warning_and_none_an_error(adata: AnnData, tool: partial[None]) -> None:
    matrix = adata.X.toarray()
    first = (adata.obs["slice"] == "slice_1").to_numpy()
    matrix[np.ix_(first, np.arange(120) < 60)] = 0
    few = adata.copy()
    few.X = matrix
    with pytest.warns(UserWarning, match="that all slices share"):
        tool(few, mask_var=np.arange(120) < 70)
    matrix[np.ix_(~first, np.arange(120) >= 60)] = 0
    few.X = matrix
    before = few.copy()
    with pytest.raises(ValueError, match="share none of the 120 genes"):
        tool(few, mask_var=None)
    assert set(few.obsm) == set(before.obsm)


@pytest.mark.parametrize("tool", [spotscape, spacross])
def test_a_slice_of_one_spot(adata: AnnData, tool: partial[None]) -> None:
    single = np.r_[0, np.flatnonzero(adata.obs["slice"] != "slice_1")]
    lonely = adata[single].copy()
    sp.pp.spatial_neighbors_radius(adata, radius=150, library_key="slice")
    lonely.obsp["spatial_connectivities"] = adata.obsp["spatial_connectivities"][single][:, single]
    with pytest.raises(ValueError, match=r"slice 'slice_1' of adata.obs\['slice'\] has a single spot; leave it out"):
        tool(lonely)


@pytest.mark.slow
def test_neighbourhoods_are_part_of_the_checkpoint(
    adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were last found before the interruption, in an embedding that is no more."""
    from spotscape.models._spacross import SpaCrossObjective

    config = SpaCrossConfig(max_epochs=40, refresh_every=20, n_comps=10, target_momentum=0.5)
    fit = partial(spacross_3d, config=config)
    expected = fit(adata, copy=True).obsm["X_spacross"].tobytes()
    evaluate = SpaCrossObjective.__call__

    def interrupted(self: SpaCrossObjective, batch: object, drawn: object, epoch: float) -> object:
        if epoch == 30:
            raise KeyboardInterrupt
        return evaluate(self, batch, drawn, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(SpaCrossObjective, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(adata, checkpoint=tmp_path / "fit.ckpt")
    assert "X_spacross" not in adata.obsm
    fit(adata, checkpoint=tmp_path / "fit.ckpt")
    assert adata.obsm["X_spacross"].tobytes() == expected


@pytest.mark.slow
def test_an_interrupted_fit_resumes_to_the_same_numbers(
    adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prototypes are part of the checkpoint."""
    from spotscape.models._spotscape import SpotscapeObjective

    one = partial(spotscape, config=SpotscapeConfig(max_epochs=60, n_encoders=1, scaling_spots=50, hidden_size=16))
    expected = one(adata, copy=True).obsm["X_spotscape"].tobytes()
    evaluate = SpotscapeObjective.__call__

    def interrupted(self: SpotscapeObjective, batch: object, drawn: object, epoch: float) -> object:
        if epoch == 55:
            raise KeyboardInterrupt
        return evaluate(self, batch, drawn, epoch)

    file = tmp_path / "fit.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(SpotscapeObjective, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one(adata, checkpoint=file)
    assert "X_spotscape" not in adata.obsm
    one(adata, checkpoint=file)
    assert adata.obsm["X_spotscape"].tobytes() == expected


def test_integration_removes_a_batch_effect(adata: AnnData) -> None:
    sp.tl.smoothed_pca(adata, library_key="slice", center_slices=False)
    integrate(adata)
    gaps, spreads = zip(*(gap_and_spread(adata, f"X_smoothed_pca{end}") for end in ("", "_integrated")), strict=True)
    assert gaps[1] < 0.3 * gaps[0]
    assert 0.97 < spreads[1] / spreads[0] < 1.01
    domain = adata.obs["domain"]
    clisi = [sp.metrics.clisi(domain, adata.obsm[f"X_smoothed_pca{end}"]) for end in ("", "_integrated")]
    assert clisi[1] > clisi[0] - 0.05
    assert adata.uns["smoothed_pca_integrated"]["params"]["use_rep"] == "X_smoothed_pca"


def test_integration_keeps_to_spots_in_any_order(adata: AnnData) -> None:
    mixed = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    for tissue in (adata, mixed):
        integrate(tissue)
    found = [pd.DataFrame(each.obsm["X_smoothed_pca_integrated"], each.obs_names) for each in (adata, mixed)]
    np.testing.assert_allclose(found[1].loc[adata.obs_names], found[0], atol=1e-5)


def test_what_overflows_is_refused(adata: AnnData) -> None:
    adata.obsm["X_large"] = np.full((adata.n_obs, 2), -3e38, np.float32)
    adata.obsm["X_large"][adata.obs["slice"] == "slice_1"] = 3e38
    adata.obsm["X_large"][::3] *= 0.9
    adata.obsm["X_large"][0] = 3.4e38
    with pytest.raises(ValueError, match="whose squares are out of range"):
        integrate(adata, use_rep="X_large")
    assert "X_large_integrated" not in adata.obsm


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_integration_copy_names_and_round_trip(adata: AnnData, tmp_path: Path) -> None:
    result = integrate(adata, copy=True, key_added="X_joint")
    assert "X_joint" not in adata.obsm
    assert result is not None
    result.write_h5ad(tmp_path / "a.h5ad")
    result.write_zarr(tmp_path / "a.zarr")
    for read in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        assert read.obsm["X_joint"].tobytes() == result.obsm["X_joint"].tobytes()
        assert read.uns["joint"]["params"]["n_prototypes"] == 8
        assert read.uns["joint"]["params"]["ridge"] == 100


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"library_key": "batch"}, KeyError, "'batch' not found"),
        ({"library_key": "library_size"}, TypeError, "expected the name of a slice"),
        ({"use_rep": "X_umap"}, KeyError, "'X_umap' not found"),
        ({"n_prototypes": 0}, ValueError, "n_prototypes=0"),
        ({"n_prototypes": 1.5}, TypeError, "n_prototypes"),
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
    with pytest.raises(TypeError, match="library_key must be"):
        integrate(adata, library_key=None)
    adata.obsm["X_smoothed_pca"][3, 1] = np.nan
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        integrate(adata)
