"""What ``tl.spotscape`` and ``tl.smoothed_pca`` have in common: reading, writing, refusing, leaving alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

Tool = Callable[..., AnnData | None]
spotscape = partial(sp.tl.spotscape, max_epochs=3)
TOOLS = [pytest.param(spotscape, "X_spotscape", id="spotscape")]
TOOLS.append(pytest.param(sp.tl.smoothed_pca, "X_smoothed_pca", id="smoothed_pca"))
both = pytest.mark.parametrize(("tool", "key"), TOOLS)


def same(first: AnnData, second: AnnData) -> bool:
    """Whether two AnnData hold the same names, values and graphs."""
    slots = ("obs", "var", "obsm", "varm", "obsp", "layers", "uns")
    keys = all(set(getattr(first, slot)) == set(getattr(second, slot)) for slot in slots)
    return keys and (first.X != second.X).sum() == 0 and first.obs.equals(second.obs)


@both
class TestBoth:
    def test_what_is_written(self, adata: AnnData, tool: Tool, key: str) -> None:
        before = adata.copy()
        assert tool(adata) is None
        record = key.removeprefix("X_")
        assert set(adata.obsm) - set(before.obsm) == {key}
        assert set(adata.uns) - set(before.uns) == {record}
        assert adata.obsm[key].dtype == np.float32
        assert adata.obsm[key].flags.c_contiguous
        assert len(adata.obsm[key]) == adata.n_obs
        assert adata.uns[record]["version"] == sp.__version__
        assert adata.uns[record]["random_state"] == 0
        assert adata.uns[record]["params"]["neighbors_key"] == "spatial_neighbors"
        del adata.obsm[key], adata.uns[record]
        assert same(adata, before)

    def test_copy(self, adata: AnnData, tool: Tool, key: str) -> None:
        before = adata.copy()
        result = tool(adata, copy=True)
        assert same(adata, before)
        tool(adata)
        np.testing.assert_array_equal(result.obsm[key], adata.obsm[key])

    def test_key_added(self, adata: AnnData, tool: Tool, key: str) -> None:
        tool(adata, key_added="X_mine")
        assert "X_mine" in adata.obsm
        assert "mine" in adata.uns
        assert key not in adata.obsm

    @pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
    def test_round_trips(self, adata: AnnData, tool: Tool, key: str, tmp_path: Path) -> None:
        tool(adata)
        adata.write_h5ad(tmp_path / "tissue.h5ad")
        adata.write_zarr(tmp_path / "tissue.zarr")
        for loaded in (ad.read_h5ad(tmp_path / "tissue.h5ad"), ad.read_zarr(tmp_path / "tissue.zarr")):
            np.testing.assert_array_equal(loaded.obsm[key], adata.obsm[key])
            record, kept = adata.uns[key.removeprefix("X_")], loaded.uns[key.removeprefix("X_")]
            assert set(kept) == set(record)
            assert set(kept["params"]) == set(record["params"])
            for name, curve in record.get("history", {}).items():
                np.testing.assert_array_equal(kept["history"][name], curve)

    def test_purity(
        self,
        adata: AnnData,
        tool: Tool,
        key: str,
        global_state_untouched: Callable[[], AbstractContextManager[None]],
    ) -> None:
        before = adata.X.copy()
        with global_state_untouched():
            tool(adata)
        assert key in adata.obsm
        assert (before != adata.X).nnz == 0

    def test_same_seed_same_bits(self, adata: AnnData, tool: Tool, key: str) -> None:
        first, again = (tool(adata, copy=True, random_state=3).obsm[key] for _ in range(2))
        assert first.tobytes() == again.tobytes()

    def test_a_drawn_seed_is_kept(self, adata: AnnData, tool: Tool, key: str) -> None:
        tool(adata, random_state=None)
        drawn = adata.obsm[key]
        tool(adata, random_state=int(adata.uns[key.removeprefix("X_")]["random_state"]))
        np.testing.assert_array_equal(adata.obsm[key], drawn)

    @pytest.mark.parametrize("container", ["dense", "csc", "csr_array", "float64", "view", "dask", "backed"])
    def test_containers(self, adata: AnnData, tool: Tool, key: str, container: str, tmp_path: Path) -> None:
        """Every container gives what CSR gives, up to the order in which sums are taken."""
        expected = tool(adata, copy=True).obsm[key]
        if container == "view":
            adata = ad.concat([adata, adata[:5]], pairwise=True, merge="same", uns_merge="same", index_unique="-")[:300]
            adata = adata.copy()[np.arange(300)]
        elif container == "backed":
            adata.write_h5ad(tmp_path / "tissue.h5ad")
            adata = ad.read_h5ad(tmp_path / "tissue.h5ad", backed="r")
        else:
            convert = {
                "dense": lambda x: x.toarray(),
                "csc": sparse.csc_matrix,
                "csr_array": sparse.csr_array,
                "float64": lambda x: x.astype(np.float64),
                "dask": lambda x: da.from_array(x.toarray(), chunks=(100, -1)),
            }[container]
            adata.X = convert(adata.X)
        found = adata.copy() if container == "view" else adata
        tool(found)
        np.testing.assert_allclose(np.abs(found.obsm[key]), np.abs(expected), atol=2e-2)

    def test_genes(self, adata: AnnData, tool: Tool, key: str) -> None:
        """The default takes the highly variable genes; a mask, a column and all genes can be asked for."""
        selected = adata.var["highly_variable"].to_numpy()
        adata.var["mine"] = selected
        default = tool(adata, copy=True)
        assert default.uns[key.removeprefix("X_")]["params"].get("n_features", 100) == 100
        for mask in (selected, "mine"):
            np.testing.assert_array_equal(tool(adata, copy=True, mask_var=mask).obsm[key], default.obsm[key])
        np.testing.assert_array_equal(tool(adata[:, selected].copy(), copy=True).obsm[key], default.obsm[key])
        assert not np.allclose(tool(adata, copy=True, mask_var=None).obsm[key], default.obsm[key])

    def test_no_selection_of_genes_takes_all(
        self, adata: AnnData, tool: Tool, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = tool(adata, copy=True, mask_var=None).obsm[key]
        del adata.var["highly_variable"]
        with caplog.at_level(logging.INFO):
            tool(adata)
        np.testing.assert_array_equal(adata.obsm[key], expected)
        assert "No `adata.var['highly_variable']`: using all 120 genes." in caplog.text

    def test_layer_and_representation(self, adata: AnnData, tool: Tool, key: str) -> None:
        adata.layers["log"] = adata.X.copy()
        adata.obsm["genes"] = pd.DataFrame(adata[:, adata.var["highly_variable"]].X.toarray(), index=adata.obs_names)
        expected = tool(adata, copy=True).obsm[key]
        adata.X = adata.layers["counts"].copy()
        np.testing.assert_array_equal(tool(adata, layer="log", copy=True).obsm[key], expected)
        from_genes = tool(adata, use_rep="genes", copy=True)
        assert from_genes.uns[key.removeprefix("X_")]["params"]["source"] == "adata.obsm['genes']"

    def test_the_default_graph_is_built_and_announced(
        self, adata: AnnData, tool: Tool, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = tool(adata, copy=True)
        del adata.uns["spatial_neighbors"], adata.obsp["spatial_connectivities"], adata.obsp["spatial_distances"]
        with caplog.at_level(logging.INFO):
            tool(adata)
        assert "No spatial graph yet: building the default, the 6 nearest neighbours" in caplog.text
        np.testing.assert_array_equal(adata.obsm[key], expected.obsm[key])
        for name in ("spatial_connectivities", "spatial_distances"):
            assert (adata.obsp[name] != expected.obsp[name]).nnz == 0
        assert adata.uns["spatial_neighbors"]["params"]["n_neighbors"] == 6

    def test_another_graph(self, adata: AnnData, tool: Tool, key: str) -> None:
        sp.pp.spatial_neighbors_knn(adata, n_neighs=10, key_added="wide")
        default = tool(adata, copy=True).obsm[key]
        assert not np.allclose(tool(adata, neighbors_key="wide_neighbors", copy=True).obsm[key], default)

    def test_slices_stay_apart(self, tool: Tool, key: str) -> None:
        """The default graph with a library_key is block-diagonal, although the slices lie on top of each other."""
        two = sp.datasets.simulate_tissue(n_domains=3, n_slices=2, n_spots=150, n_genes=120, random_state=0)
        sp.pp.prepare(two, library_key="slice")
        tool(two, library_key="slice")
        codes = two.obs["slice"].cat.codes.to_numpy()
        rows, columns = two.obsp["spatial_connectivities"].nonzero()
        assert (codes[rows] == codes[columns]).all()
        assert key in two.obsm


def break_names(adata: AnnData) -> None:
    adata.obs.index = ["same", *adata.obs_names[1:-1], "same"]


def break_genes(adata: AnnData) -> None:
    adata.var.index = ["same", *adata.var_names[1:-1], "same"]


def set_entry(value: float) -> Callable[[AnnData], None]:
    def broken(adata: AnnData) -> None:
        adata.X[0, adata.var["highly_variable"].to_numpy().argmax()] = value

    return broken


def zero_spot(adata: AnnData) -> None:
    adata.X = sparse.csr_matrix(sparse.diags_array((np.arange(adata.n_obs) != 7).astype(np.float32)) @ adata.X)


def zero_gene(adata: AnnData) -> None:
    column = adata.var["highly_variable"].to_numpy().argmax()
    adata.X = sparse.csr_matrix(adata.X @ sparse.diags_array((np.arange(adata.n_vars) != column).astype(np.float32)))


def raw(adata: AnnData) -> None:
    adata.X = adata.layers["counts"].copy()


def no_graph(adata: AnnData) -> None:
    del adata.uns["spatial_neighbors"]


def no_coordinates(adata: AnnData) -> None:
    no_graph(adata)
    del adata.obsm["spatial"]


def coordinate(value: float) -> Callable[[AnnData], None]:
    def broken(adata: AnnData) -> None:
        no_graph(adata)
        adata.obsm["spatial"][3, 1] = value

    return broken


def lost_graph(adata: AnnData) -> None:
    del adata.obsp["spatial_connectivities"]


def empty_graph(adata: AnnData) -> None:
    adata.obsp["spatial_connectivities"] = sparse.csr_matrix((adata.n_obs, adata.n_obs))


def text_slices(adata: AnnData) -> None:
    adata.obs["where"] = np.array(["a", "b"], dtype=object)[np.arange(adata.n_obs) % 2]


def missing_slices(adata: AnnData) -> None:
    adata.obs["where"] = pd.Categorical([None, *["a"] * (adata.n_obs - 1)])


def crossed_slices(adata: AnnData) -> None:
    adata.obs["where"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "a", "b"))


REFUSALS = [
    (break_names, {}, ValueError, r"adata.obs_names are not unique \(for example 'same'\); call adata.obs_names_make_"),
    (break_genes, {}, ValueError, "adata.var_names are not unique"),
    (set_entry(np.nan), {}, ValueError, "adata.X has 1 NaN or infinite values; remove or replace them"),
    (set_entry(np.inf), {}, ValueError, "adata.X has 1 NaN or infinite values"),
    (set_entry(-2.0), {}, ValueError, r"adata.X has negative values \(minimum -2\).*name scaled data by use_rep"),
    (zero_spot, {}, ValueError, r"1 of 300 spots \(for example .*sc.pp.filter_cells\(adata, min_counts=1\)"),
    (zero_gene, {}, ValueError, r"1 of 100 genes are zero throughout adata.X.*sc.pp.filter_genes"),
    (raw, {}, ValueError, r"adata.X looks like raw counts; call sp.pp.prepare\(adata\) first"),
    (no_coordinates, {}, KeyError, "'spatial' not found in adata.obsm, which has: .*Put the x and y"),
    (coordinate(np.nan), {}, ValueError, "NaN or infinite coordinates in 1 of 300 spots"),
    (coordinate(np.inf), {}, ValueError, "NaN or infinite coordinates in 1 of 300 spots"),
    (lost_graph, {}, KeyError, r"'spatial_connectivities' not found in adata.obsp.*spatial_neighbors_knn\(adata\)"),
    (empty_graph, {}, ValueError, r"has no edges; build it anew: sp.pp.spatial_neighbors_knn\(adata\)"),
    (text_slices, {"library_key": "where"}, TypeError, r"dtype (object|str), expected category; call .*astype"),
    (missing_slices, {"library_key": "where"}, ValueError, "missing for 1 spots"),
    (crossed_slices, {"library_key": "where"}, ValueError, r"edges of .* join different slices .*library_key='where'"),
    (None, {"library_key": "nope"}, KeyError, "'nope' not found in adata.obs, which has: .*'domain'"),
    (None, {"neighbors_key": "nope"}, KeyError, r"which has the graphs: \['spatial_neighbors'\].*key_added='nope'"),
    (None, {"layer": "nope"}, KeyError, "'nope' not found in adata.layers, which has: 'counts'"),
    (None, {"use_rep": "nope"}, KeyError, "'nope' not found in adata.obsm, which has: .*'spatial'"),
    (None, {"use_rep": "spatial", "layer": "counts"}, ValueError, "exclude each other"),
    (None, {"mask_var": "nope"}, KeyError, "'nope' not found in adata.var"),
    (None, {"mask_var": np.ones(3, dtype=bool)}, ValueError, r"one value for each of 120 genes, not bool \(3,\)"),
    (None, {"mask_var": np.zeros(120, dtype=bool)}, ValueError, "mask_var selects no gene"),
    (None, {"random_state": -1}, ValueError, "random_state=-1 is negative"),
]


@both
@pytest.mark.parametrize(("damage", "arguments", "error", "message"), REFUSALS)
def test_refusals(  # noqa: PLR0917
    adata: AnnData,
    tool: Tool,
    key: str,
    damage: Callable[[AnnData], None] | None,
    arguments: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    """Bad input gets a clear error, and the AnnData is left as it was."""
    if damage is not None:
        damage(adata)
    before = {slot: set(getattr(adata, slot)) for slot in ("obs", "obsm", "obsp", "layers", "uns")}
    with pytest.raises(error, match=message):
        tool(adata, **arguments)
    assert key not in adata.obsm
    assert {slot: set(getattr(adata, slot)) for slot in before} == before


@both
def test_nothing_to_work_on(adata: AnnData, tool: Tool, key: str) -> None:
    for empty in (adata[:0], adata[:, :0]):
        with pytest.raises(ValueError, match="there is nothing to work on"):
            tool(empty.copy())
    with pytest.raises(TypeError, match="adata must be an AnnData, not ndarray"):
        tool(adata.X.toarray())
    without = AnnData(obs=adata.obs, var=adata.var)
    with pytest.raises(ValueError, match=r"adata\.X is None"):
        tool(without)
    assert key not in adata.obsm


@both
def test_too_few_spots_for_the_default_graph(adata: AnnData, tool: Tool, key: str) -> None:
    few = adata[:6].copy()
    few = few[:, np.asarray((few.X > 0).sum(0)).ravel() > 0].copy()
    no_graph(few)
    with pytest.raises(ValueError, match="n_neighs"):
        tool(few)
    assert key not in few.obsm


def test_counts_in_a_layer_are_the_users_choice(adata: AnnData) -> None:
    with pytest.warns(UserWarning, match="looks like raw counts") as caught:
        sp.tl.smoothed_pca(adata, layer="counts")
    assert caught[0].filename == __file__


def test_spots_without_neighbours_are_warned_of(adata: AnnData) -> None:
    subset = adata[::9].copy()
    with pytest.warns(UserWarning, match=r"of 34 spots have no neighbour .* after the graph was built; build it anew"):
        sp.tl.smoothed_pca(subset)


def test_a_graph_of_another_size(adata: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """AnnData refuses such a graph itself; a reader must not rely on that."""
    from spotscape._core import reading

    obsp = {"spatial_connectivities": adata.obsp["spatial_connectivities"][:9, :9]}
    stub = SimpleNamespace(uns=adata.uns, obsp=obsp, n_obs=adata.n_obs)
    with pytest.raises(ValueError, match=r"is \(9, 9\) for 300 spots; build it anew"):
        reading.read_graph(stub, "spatial_neighbors")


class TestSpotscape:
    def test_record(self, adata: AnnData) -> None:
        spotscape(adata)
        record = adata.uns["spotscape"]
        assert set(record["history"]) == {"loss", "telescope", "reconstruction", "lr"}
        assert all(len(curve) == 3 for curve in record["history"].values())
        assert record["params"]["max_epochs"] == 3
        assert record["params"]["n_features"] == 100

    def test_configuration(self, adata: AnnData) -> None:
        config = sp.models.SpotscapeConfig(latent_size=8, max_epochs=50)
        spotscape(adata, config=config)
        assert adata.obsm["X_spotscape"].shape == (300, 8)
        assert adata.uns["spotscape"]["params"]["max_epochs"] == 3

    def test_same_as_the_model(self, adata: AnnData) -> None:
        spotscape(adata)
        matrix = sparse.csr_array(adata.X[:, adata.var["highly_variable"].to_numpy()])
        graph = adata.obsp["spatial_connectivities"]
        model = sp.models.Spotscape(sp.models.SpotscapeConfig(max_epochs=3))
        embedding = model.fit(matrix, graph, progress_bar=False).embed(matrix, graph)
        np.testing.assert_array_equal(embedding, adata.obsm["X_spotscape"])

    def test_interruption_leaves_everything(self, adata: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
        before = adata.copy()
        no_graph(adata)
        no_graph(before)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("spotscape.nn.trainer.Trainer._step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spotscape(adata)
        assert same(adata, before)

    def test_scaled_data_by_use_rep(self, adata: AnnData) -> None:
        adata.obsm["X_scaled"] = np.random.default_rng(0).normal(size=(300, 20))
        spotscape(adata, use_rep="X_scaled")
        assert np.isfinite(adata.obsm["X_spotscape"]).all()

    def test_device(self, adata: AnnData) -> None:
        import torch

        with pytest.raises(ValueError, match="device='gpu' is not a device; use 'auto', 'cpu', 'cuda'"):
            spotscape(adata, device="gpu")
        if not torch.cuda.is_available():
            with pytest.raises(ValueError, match="torch finds no usable GPU"):
                spotscape(adata, device="cuda:1")

    def test_it_says_what_it_does(self, adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            spotscape(adata)
        assert "Training Spotscape on 300 spots and 100 genes: 4 encoder(s), 3 epochs each, on cpu." in caplog.text
        assert "Adding `adata.obsm['X_spotscape']`." in caplog.text

    def test_progress_bar(self, adata: AnnData, capsys: pytest.CaptureFixture[str]) -> None:
        spotscape(adata, progress_bar=True)
        assert "encoder 4 of 4: 100%" in capsys.readouterr().err
        spotscape(adata, progress_bar=False)
        assert "encoder" not in capsys.readouterr().err


class TestSmoothedPca:
    def test_no_hops_is_a_pca(self, adata: AnnData) -> None:
        import scanpy as sc

        sp.tl.smoothed_pca(adata, n_hops=0, n_comps=10)
        sc.pp.pca(adata, n_comps=10)
        ours, theirs = adata.obsm["X_smoothed_pca"], adata.obsm["X_pca"]
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)

    def test_hops_smooth(self, adata: AnnData) -> None:
        graph = adata.obsp["spatial_connectivities"]
        roughness = []
        for n_hops in (0, 1, 3):
            sp.tl.smoothed_pca(adata, n_hops=n_hops)
            x = adata.obsm["X_smoothed_pca"]
            roughness.append(np.square(x[graph.nonzero()[0]] - x[graph.nonzero()[1]]).mean() / x.var())
        assert roughness[0] > 2 * roughness[1] > 4 * roughness[2]

    def test_few_genes(self, adata: AnnData) -> None:
        sp.tl.smoothed_pca(adata, mask_var=np.arange(120) < 9)
        assert adata.obsm["X_smoothed_pca"].shape == (300, 8)

    def test_a_representation_is_smoothed_as_it_is(self, adata: AnnData) -> None:
        sp.tl.smoothed_pca(adata, use_rep="spatial", n_hops=0)
        np.testing.assert_allclose(adata.obsm["X_smoothed_pca"], adata.obsm["spatial"], rtol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"n_hops": -1}, ValueError, "n_hops=-1 must be at least 0"),
            ({"n_hops": 1.5}, TypeError, "n_hops must be an integer"),
            ({"n_comps": 0}, ValueError, "n_comps=0 must be at least 1"),
        ],
    )
    def test_refusals(self, adata: AnnData, arguments: dict[str, object], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            sp.tl.smoothed_pca(adata, **arguments)
