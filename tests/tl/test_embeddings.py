"""What ``tl.spotscape``, ``tl.spacross`` and ``tl.smoothed_pca`` have in common: reading, writing, refusing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse
from scipy.spatial.distance import pdist

import spotscape as sp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

Tool = Callable[..., AnnData | None]
spotscape = partial(sp.tl.spotscape, max_epochs=3)
spacross = partial(sp.tl.spacross, max_epochs=3)
ENCODERS = [pytest.param(spotscape, "X_spotscape", id="spotscape"), pytest.param(spacross, "X_spacross", id="spacross")]
# One encoder is enough to see what is read and written.
TOOLS = [
    pytest.param(partial(spotscape, n_encoders=1), "X_spotscape", id="spotscape"),
    pytest.param(partial(spacross, n_encoders=1), "X_spacross", id="spacross"),
    pytest.param(sp.tl.smoothed_pca, "X_smoothed_pca", id="smoothed_pca"),
]
every_tool = pytest.mark.parametrize(("tool", "key"), TOOLS)
both_encoders = pytest.mark.parametrize(("tool", "key"), ENCODERS)


def same(first: AnnData, second: AnnData) -> bool:
    """Whether two AnnData hold the same names, values and graphs."""
    slots = ("obs", "var", "obsm", "varm", "obsp", "layers", "uns")
    keys = all(set(getattr(first, slot)) == set(getattr(second, slot)) for slot in slots)
    return keys and (first.X != second.X).sum() == 0 and first.obs.equals(second.obs)


@every_tool
class TestEveryTool:
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
        # Axes of nearly the same variance may turn with the rounding; distances between spots do not.
        distances = pdist(expected)
        np.testing.assert_allclose(pdist(found.obsm[key]), distances, atol=2e-3 * distances.mean())

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
        del adata.uns["spatial_neighbors"]
        adata.uns.pop("scale", None)
        expected = tool(adata, copy=True, mask_var=None).obsm[key]
        del adata.var["highly_variable"]
        with caplog.at_level(logging.INFO):
            tool(adata)
        np.testing.assert_array_equal(adata.obsm[key], expected)
        assert caplog.text.count("No `adata.var['highly_variable']`: using all 120 genes.") == 1

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
        assert caplog.text.count("Adding `adata.obsp['spatial_connectivities']`") == 1
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


def scaled(adata: AnnData) -> None:
    set_entry(-2.0)(adata)
    del adata.layers["counts"]


def scaled_beside_raw(adata: AnnData) -> None:
    adata.raw = adata.copy()
    scaled(adata)


def missing_slices(adata: AnnData) -> None:
    adata.obs["where"] = pd.Categorical([None, *["a"] * (adata.n_obs - 1)])


def outer_join(adata: AnnData) -> None:
    adata.X = np.asarray(adata.X.toarray() if sparse.issparse(adata.X) else adata.X)
    adata.X[:100, 5:7] = np.nan


def crossed_slices(adata: AnnData) -> None:
    adata.obs["where"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "a", "b"))


@every_tool
@pytest.mark.parametrize("have", [zero_spot, zero_gene, break_names, break_genes])
@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_what_real_files_have_is_handled(adata: AnnData, tool: Tool, key: str, have: Callable[[AnnData], None]) -> None:
    have(adata)
    tool(adata)
    assert np.isfinite(adata.obsm[key]).all()


REFUSALS = [
    (set_entry(np.nan), {}, ValueError, "adata.X has 1 NaN or infinite values; remove or replace them"),
    (set_entry(np.inf), {}, ValueError, "adata.X has 1 NaN or infinite values; remove or replace them.$"),
    (outer_join, {}, ValueError, r"adata.X has 200 NaN .* anndata.concat\(join='outer'\) .* with fill_value=0"),
    (
        set_entry(-2.0),
        {},
        ValueError,
        r"adata.X has negative values \(minimum -2\).*holds counts: sp.pp.prepare\(adata, layer='counts'\)",
    ),
    (scaled, {}, ValueError, r"negative values .*principal components do as well"),
    (scaled_beside_raw, {}, ValueError, r"negative values .*adata.raw may hold it: adata = adata.raw.to_adata\(\)"),
    (raw, {}, ValueError, r"adata.X looks like raw counts; call sp.pp.prepare\(adata\) first"),
    (no_coordinates, {}, KeyError, "'spatial' not found in adata.obsm, which has: .*Put the x and y"),
    (coordinate(np.nan), {}, ValueError, "NaN or infinite coordinates in 1 of 300 spots"),
    (coordinate(np.inf), {}, ValueError, "NaN or infinite coordinates in 1 of 300 spots"),
    (lost_graph, {}, KeyError, r"'spatial_connectivities' not found in adata.obsp.*spatial_neighbors_knn\(adata\)"),
    (empty_graph, {}, ValueError, r"has no edges; build it again: sp.pp.spatial_neighbors_knn\(adata\)"),
    (missing_slices, {"library_key": "where"}, ValueError, "missing for 1 of 300 spots"),
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


@every_tool
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


@every_tool
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


@every_tool
def test_few_spots_have_fewer_neighbours(adata: AnnData, tool: Tool, key: str) -> None:
    few = adata[:6].copy()
    few = few[:, np.asarray((few.X > 0).sum(0)).ravel() > 0].copy()
    no_graph(few)
    with pytest.warns(UserWarning, match="adata has 6 spots"):
        tool(few)
    assert np.isfinite(few.obsm[key]).all()


@pytest.mark.parametrize("tool", [spotscape, sp.tl.smoothed_pca])
def test_edges_between_slices_are_refused(adata: AnnData, tool: Tool) -> None:
    before = set(adata.obsm)
    crossed_slices(adata)
    with pytest.raises(ValueError, match=r"edges of .* join different slices .*library_key='where'"):
        tool(adata, library_key="where")
    assert set(adata.obsm) == before


def test_spacross_warns_of_edges_between_slices_that_nobody_asked_for(adata: AnnData) -> None:
    """A graph of slices that were never registered, built without library_key, looks like that."""
    crossed_slices(adata)
    message = r"edges of adata.obsp\['spatial_connectivities'\] join different slices of adata.obs\['where'\], and .*3d"
    with pytest.warns(UserWarning, match=message) as caught:
        spacross(adata, library_key="where")
    assert caught[0].filename.endswith("test_embeddings.py")


def test_counts_in_a_layer_are_the_users_choice(adata: AnnData) -> None:
    with pytest.warns(UserWarning, match="looks like raw counts") as caught:
        sp.tl.smoothed_pca(adata, layer="counts")
    assert caught[0].filename == __file__


def test_a_graph_of_more_spots_is_warned_of(adata: AnnData) -> None:
    with (
        pytest.warns(UserWarning, match=r"of 34 spots have no neighbour"),
        pytest.warns(UserWarning, match=r"the 34 spots have 1\.0 neighbours .* was built with 6\.0.*Build it again"),
    ):
        sp.tl.smoothed_pca(adata[::9].copy())
    with pytest.warns(UserWarning, match=r"the 150 spots have [1-4]\.\d neighbours .* was built with 6\.0"):
        sp.tl.smoothed_pca(adata[::2].copy())


def test_a_graph_of_another_size(adata: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """AnnData refuses such a graph itself; a reader must not rely on that."""
    from spotscape._core import graphs

    obsp = {"spatial_connectivities": adata.obsp["spatial_connectivities"][:9, :9]}
    stub = SimpleNamespace(uns=adata.uns, obsp=obsp, n_obs=adata.n_obs)
    with pytest.raises(ValueError, match=r"is \(9, 9\) for 300 spots; build it again"):
        graphs.read_graph(stub, "spatial_neighbors")


@both_encoders
class TestEncoders:
    def test_record(self, adata: AnnData, tool: Tool, key: str) -> None:
        tool(adata)
        record = adata.uns[key.removeprefix("X_")]
        assert set(record) == {"params", "history", "random_state", "version", "written"}
        assert set(record["history"]) == {"loss", "reconstruction", "lr"} | CURVES[key]
        assert all(curve.shape == (3,) for curve in record["history"].values())
        params = {"max_epochs": 3, "n_features": 100, "source": "adata.X"}
        assert {name: record["params"][name] for name in params} == params

    @pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
    def test_what_stops_the_training_leaves_everything(
        self, adata: AnnData, tool: Tool, key: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither the graph, which was built by then, nor anything else is written."""
        no_graph(adata)
        before = adata.copy()

        def stopped(*_: object) -> None:
            raise error

        monkeypatch.setattr("spotscape.nn.trainer._Run.step", stopped)
        with pytest.raises(error):
            tool(adata, decoded_layer="decoded")
        assert same(adata, before)

    def test_nothing_is_written_if_decoding_fails(
        self, adata: AnnData, tool: Tool, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = adata.copy()

        def failing(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr("spotscape.models._base.GraphEncoder.reconstruct", failing)
        with pytest.raises(MemoryError):
            tool(adata, decoded_layer="decoded")
        assert same(adata, before)

    def test_scaled_data_by_use_rep(self, adata: AnnData, tool: Tool, key: str) -> None:
        adata.obsm["X_scaled"] = np.random.default_rng(0).normal(size=(300, 20))
        tool(adata, use_rep="X_scaled")
        assert np.isfinite(adata.obsm[key]).all()

    def test_device(self, adata: AnnData, tool: Tool, key: str) -> None:
        import torch

        with pytest.raises(ValueError, match="device='gpu' is not a device; use 'auto', 'cpu', 'cuda'"):
            tool(adata, device="gpu")
        if not torch.cuda.is_available():
            with pytest.raises(ValueError, match="torch finds no usable GPU"):
                tool(adata, device="cuda:1")
        assert key not in adata.obsm

    def test_progress_bar(self, adata: AnnData, tool: Tool, key: str, capsys: pytest.CaptureFixture[str]) -> None:
        tool(adata, progress_bar=True)
        assert "Training Sp" in (said := capsys.readouterr().err)
        assert "100%" in said
        tool(adata, progress_bar=False)
        assert "encoder" not in capsys.readouterr().err

    def test_a_view_becomes_an_anndata_of_its_own(self, adata: AnnData, tool: Tool, key: str) -> None:
        """As in scanpy, with anndata's own warning; the parent gets nothing."""
        view = adata[np.arange(300)]
        assert view.is_view
        with pytest.warns(ad.ImplicitModificationWarning):
            tool(view)
        assert not view.is_view
        assert key not in adata.obsm
        np.testing.assert_array_equal(view.obsm[key], tool(adata, copy=True).obsm[key])

    def test_a_backed_copy_is_refused_before_the_training(
        self, adata: AnnData, tool: Tool, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        adata.write_h5ad(tmp_path / "tissue.h5ad")
        backed = ad.read_h5ad(tmp_path / "tissue.h5ad", backed="r")
        forbid_training(monkeypatch)
        with pytest.raises(
            ValueError,
            match=r"tissue.h5ad' and cannot be copied in memory as it is; load it first: adata = adata.to_memory\(\)",
        ):
            tool(backed, copy=True)

    def test_a_checkpoint_resumes_to_the_same_bits(
        self, adata: AnnData, tool: Tool, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from spotscape.nn.trainer import _Run

        expected = tool(adata, max_epochs=30, copy=True)
        step, calls = _Run.step, []

        def interrupted(*arguments: object) -> None:
            calls.append(1)
            if len(calls) == 28:
                raise KeyboardInterrupt
            step(*arguments)

        file = tmp_path / "fit.ckpt"
        with monkeypatch.context() as patch:
            patch.setattr(_Run, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                tool(adata, max_epochs=30, checkpoint=file)
        assert file.exists()
        assert key not in adata.obsm
        tool(adata, max_epochs=30, checkpoint=file)
        assert adata.obsm[key].tobytes() == expected.obsm[key].tobytes()
        record = key.removeprefix("X_")
        np.testing.assert_array_equal(adata.uns[record]["history"]["loss"], expected.uns[record]["history"]["loss"])
        # All epochs are in the files by now, and training again would be a waste.
        forbid_training(monkeypatch)
        assert tool(adata, max_epochs=30, checkpoint=file, copy=True).obsm[key].tobytes() == adata.obsm[key].tobytes()

    def test_a_checkpoint_of_another_training_is_refused(
        self, adata: AnnData, tool: Tool, key: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "fit.ckpt"
        tool(adata, checkpoint=file, copy=True)
        other_expression, other_graph = adata.copy(), adata.copy()
        other_expression.X = adata.X[np.r_[1:300, 0]]
        sp.pp.spatial_neighbors_knn(other_graph, n_neighs=5)
        changes: list[tuple[AnnData, dict[str, Any]]] = [
            (adata[:299].copy(), {}),
            (other_expression, {}),
            (other_graph, {}),
            (adata, {"random_state": 1}),
            (adata, {"config": CONFIGS[key](lr=0.0123)}),
        ]
        for tissue, arguments in changes:
            with pytest.raises(ValueError, match=r"checkpoint .*fit.ckpt belongs to another model or data set"):
                tool(tissue, checkpoint=file, **arguments)
            assert key not in tissue.obsm


def test_a_checkpoint_of_the_other_encoder_is_refused(adata: AnnData, tmp_path: Path) -> None:
    spotscape(adata, checkpoint=tmp_path / "fit.ckpt")
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        spacross(adata, checkpoint=tmp_path / "fit.ckpt")


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: object) -> None:
        pytest.fail("it trains although it cannot succeed, or need not")

    monkeypatch.setattr("spotscape.nn.trainer._Run.step", trained)


@both_encoders
class TestDecodedLayer:
    def test_units(self, adata: AnnData, tool: Tool, key: str) -> None:
        """Expression in the units of the input: not below 0, about as large, and with each gene's pattern."""
        before = adata.copy()
        tool(adata, max_epochs=120, decoded_layer="decoded")
        assert set(adata.layers) - set(before.layers) == {"decoded"}
        layer, used = adata.layers["decoded"], adata.var["highly_variable"].to_numpy()
        assert layer.shape == adata.shape
        assert layer.dtype == np.float32
        assert np.isnan(layer[:, ~used]).all()
        decoded, given = layer[:, used], adata.X[:, used].toarray()
        assert np.isfinite(decoded).all()
        assert decoded.min() >= 0
        assert np.corrcoef(decoded.ravel(), given.ravel())[0, 1] > 0.5
        assert 0.8 < decoded.mean() / given.mean() < 1.25
        typical = pd.DataFrame(given).groupby(adata.obs["domain"].to_numpy()).transform("mean").to_numpy()
        of_domains = np.argsort(typical.var(axis=0))[-30:]
        # SpaCross decodes a gene as flat rather than upside down.
        sloping = [gene for gene in of_domains if np.ptp(decoded[:, gene]) > 1e-4]
        assert len(sloping) >= 27
        noisy, denoised = (
            np.median([np.corrcoef(values[:, gene], typical[:, gene])[0, 1] for gene in sloping])
            for values in (given, decoded)
        )
        assert denoised > noisy + 0.2
        assert same(before, without(adata, key, "decoded"))

    def test_denoised(self, adata: AnnData, tool: Tool, key: str) -> None:
        """Spots of a domain resemble each other more than before: what remains is less than half of the variance."""
        tool(adata, max_epochs=60, decoded_layer="decoded", mask_var=None)
        given, decoded = (
            pd.DataFrame(matrix).groupby(adata.obs["domain"].to_numpy()).var().to_numpy().mean()
            for matrix in (adata.X.toarray(), adata.layers["decoded"])
        )
        assert decoded < given / 2

    def test_the_embedding_does_not_depend_on_it(self, adata: AnnData, tool: Tool, key: str) -> None:
        with_layer = tool(adata, decoded_layer="decoded", copy=True)
        assert "decoded" not in adata.layers
        assert with_layer.obsm[key].tobytes() == tool(adata, copy=True).obsm[key].tobytes()

    def test_genes_that_a_slice_lacks(self, adata: AnnData, tool: Tool, key: str) -> None:
        """They were not seen by the encoder in any slice, so nothing is decoded for them in any."""
        adata.obs["slice"] = pd.Categorical(np.where(np.arange(300) < 150, "a", "b"))
        sp.pp.spatial_neighbors_knn(adata, library_key="slice")
        mean = np.where(adata.var["highly_variable"], np.asarray(adata.X.mean(0)).ravel(), 0)
        lacking = np.argsort(mean)[-3:]
        matrix = adata.X.toarray()
        matrix[np.ix_(np.arange(300) < 150, lacking)] = 0
        adata.X = sparse.csr_matrix(matrix)
        tool(adata, max_epochs=2, library_key="slice", decoded_layer="decoded")
        unseen = np.isnan(adata.layers["decoded"])
        assert unseen[:, lacking].all()
        assert unseen.all(axis=0).sum() == unseen.any(axis=0).sum() == 120 - adata.uns[key[2:]]["params"]["n_features"]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                {"use_rep": "spatial"},
                ValueError,
                r"'decoded' needs genes, but the input is adata.obsm\['spatial'\]; drop",
            ),
            ({"decoded_layer": "counts"}, ValueError, "'counts' would overwrite measured expression; choose another"),
            ({"decoded_layer": "log", "layer": "log"}, ValueError, "'log' would overwrite measured expression"),
        ],
    )
    def test_refusals_before_the_training(  # noqa: PLR0917
        self,
        adata: AnnData,
        tool: Tool,
        key: str,
        arguments: dict[str, object],
        error: type[Exception],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        adata.layers["log"] = adata.X.copy()
        before = adata.copy()
        forbid_training(monkeypatch)
        with pytest.raises(error, match=message):
            tool(adata, **{"decoded_layer": "decoded", **arguments})
        assert same(adata, before)


def without(adata: AnnData, key: str, layer: str) -> AnnData:
    """Return the AnnData without an encoder's results."""
    del adata.obsm[key], adata.uns[key.removeprefix("X_")], adata.layers[layer]
    return adata


CONFIGS = {"X_spotscape": sp.models.SpotscapeConfig, "X_spacross": sp.models.SpaCrossConfig}
MODELS = {"X_spotscape": sp.models.Spotscape, "X_spacross": sp.models.SpaCross}
CURVES = {"X_spotscape": {"telescope"}, "X_spacross": {"consistency", "contrast"}}


@both_encoders
class TestOnExpression:
    def test_configuration(self, adata: AnnData, tool: Tool, key: str) -> None:
        tool(adata, config=CONFIGS[key](n_axes=8, max_epochs=50, n_comps=20))
        assert adata.obsm[key].shape == (300, 8)
        params = adata.uns[key.removeprefix("X_")]["params"]
        assert (params["max_epochs"], params["n_comps"]) == (3, 20)

    def test_same_as_the_model(self, adata: AnnData, tool: Tool, key: str) -> None:
        tool(adata, decoded_layer="decoded")
        used, graph = adata.var["highly_variable"].to_numpy(), adata.obsp["spatial_connectivities"]
        matrix = sparse.csr_array(adata.X[:, used])
        model = MODELS[key](CONFIGS[key](max_epochs=3)).fit(matrix, graph, progress_bar=False)
        np.testing.assert_array_equal(adata.obsm[key], model.embed(matrix, graph))
        np.testing.assert_array_equal(adata.layers["decoded"][:, used], np.maximum(model.reconstruct(matrix, graph), 0))

    def test_it_says_what_it_does(self, adata: AnnData, tool: Tool, key: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            tool(adata, decoded_layer="decoded", config=CONFIGS[key](n_encoders=2))
        name = MODELS[key].__name__
        assert f"Training {name} on 300 spots and 100 genes: 2 encoder(s), 3 epochs, on cpu." in caplog.text
        assert "The 100 genes that were used are decoded; the others are NaN." in caplog.text
        for what in ("layers['decoded']", f"obsm['{key}']", f"uns['{key.removeprefix('X_')}']"):
            assert f"Adding `adata.{what}`." in caplog.text


def test_objectives_that_are_off_have_no_curve(adata: AnnData) -> None:
    spacross(adata, config=sp.models.SpaCrossConfig(contrast_weight=0))
    assert set(adata.uns["spacross"]["history"]) == {"loss", "reconstruction", "consistency", "lr"}


@pytest.mark.parametrize("log1p", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_spacross_takes_its_recipe(log1p: bool) -> None:
    adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=200, n_genes=120, difficulty=0.3, random_state=0)
    sp.pp.prepare(adata, recipe="spacross", n_top_genes=80, log1p=log1p)
    spacross(adata, decoded_layer="decoded", max_epochs=60)
    assert adata.uns["spacross"]["params"]["n_features"] == 80
    used = adata.var["highly_variable"].to_numpy()
    ratio = adata.layers["decoded"][:, used].mean() / adata.X[:, used].mean()
    assert 0.8 < ratio < 1.25


@both_encoders
class TestRepresentations:
    @pytest.mark.parametrize("form", ["dense", "float64", "sparse", "frame", "positive"])
    def test_they_are_taken_as_they_are(self, adata: AnnData, tool: Tool, key: str, form: str) -> None:
        """Neither exponentiated nor scaled nor reduced once more, whatever ``n_comps`` says."""
        scores = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
        if form == "positive":
            scores = np.abs(scores)
        convert = {
            "float64": lambda x: x.astype(np.float64),
            "sparse": sparse.csr_array,
            "frame": lambda x: pd.DataFrame(x, index=adata.obs_names, columns=[f"PC{i}" for i in range(20)]),
        }.get(form, lambda x: x)
        adata.obsm["X_pca"] = convert(scores)
        tool(adata, use_rep="X_pca", config=CONFIGS[key](n_comps=5))
        params = adata.uns[key.removeprefix("X_")]["params"]
        assert (params.get("n_comps"), params["n_features"]) == (None, 20)
        assert params["source"] == "adata.obsm['X_pca']"
        graph = adata.obsp["spatial_connectivities"]
        model = MODELS[key](CONFIGS[key](max_epochs=3, n_comps=None))
        matrix = sparse.csr_array(scores) if form == "sparse" and key == "X_spotscape" else scores
        embedding = model.fit(matrix, graph, progress_bar=False).embed(matrix, graph)
        np.testing.assert_array_equal(embedding, adata.obsm[key])

    def test_x_by_its_name_is_expression(self, adata: AnnData, tool: Tool, key: str) -> None:
        expected = tool(adata, copy=True).obsm[key]
        named = tool(adata, use_rep="X", copy=True)
        assert named.uns[key.removeprefix("X_")]["params"]["n_comps"] is not None
        np.testing.assert_array_equal(named.obsm[key], expected)

    def test_the_configuration_handed_in_is_not_changed(self, adata: AnnData, tool: Tool, key: str) -> None:
        config = CONFIGS[key](n_comps=5, max_epochs=50)
        adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(300, 20))
        tool(adata, use_rep="X_pca", config=config)
        assert config == CONFIGS[key](n_comps=5, max_epochs=50)

    def test_single_hyper_parameters(self, adata: AnnData, tool: Tool, key: str) -> None:
        config = CONFIGS[key](max_epochs=3, n_encoders=1, lr=2e-3)
        expected = tool(adata, config=config, copy=True)
        for preset in ({}, {"config": CONFIGS[key](n_encoders=3)}):
            found = tool(adata, n_encoders=1, lr=2e-3, copy=True, **preset)
            np.testing.assert_array_equal(found.obsm[key], expected.obsm[key])
            params = found.uns[key.removeprefix("X_")]["params"]
            assert (params["n_encoders"], params["lr"]) == (1, 2e-3)

    def test_models_say_what_they_are(self, adata: AnnData, tool: Tool, key: str) -> None:
        model = tool(adata, n_encoders=2, return_model=True)
        name = type(model).__name__
        assert repr(model).startswith(
            f"<{name}: 2 encoder(s) trained for 3 epochs on 100 genes of 300 spots in 1 slice(s) (gene_1, gene_2, "
        )
        assert repr(type(model)()) == f"<{name}: 4 encoder(s), not trained>"


@both_encoders
class TestPresets:
    @pytest.mark.parametrize("preset", ["default", "paper"])
    def test_same_bits_as_the_configuration(self, adata: AnnData, tool: Tool, key: str, preset: str) -> None:
        config = CONFIGS[key].of_preset(preset)
        explicit = tool(adata, config=config, copy=True)
        tool(adata, preset=preset)
        assert adata.obsm[key].tobytes() == explicit.obsm[key].tobytes()
        named, unnamed = (one.uns[key.removeprefix("X_")]["params"] for one in (adata, explicit))
        assert (named.pop("preset"), unnamed.pop("preset", None)) == (preset, None)
        assert named == unnamed

    def test_presets_differ(self, adata: AnnData, tool: Tool, key: str) -> None:
        paper, default = (tool(adata, preset=preset, copy=True) for preset in ("paper", "default"))
        assert not np.allclose(pdist(paper.obsm[key]), pdist(default.obsm[key]), rtol=0.05)

    @pytest.mark.parametrize("preset", ["default", "paper"])
    def test_several_slices(self, tool: Tool, key: str, preset: str) -> None:
        two = sp.datasets.simulate_tissue(n_domains=3, n_slices=2, n_spots=150, n_genes=120, random_state=0)
        sp.pp.prepare(two, library_key="slice")
        sp.pp.spatial_neighbors_knn(two, library_key="slice")
        expected = CONFIGS[key].of_preset(preset, several_slices=True)
        by_name, explicit = (
            tool(two, library_key="slice", copy=True, **chosen) for chosen in ({"preset": preset}, {"config": expected})
        )
        assert by_name.obsm[key].tobytes() == explicit.obsm[key].tobytes()
        params = by_name.uns[key.removeprefix("X_")]["params"]
        assert (params["preset"], params["n_encoders"], params["lr"]) == (preset, expected.n_encoders, expected.lr)
        one = two[two.obs["slice"] == "slice_1"].copy()
        tool(one, library_key="slice", preset=preset)
        expected = CONFIGS[key].of_preset(preset)
        params = one.uns[key.removeprefix("X_")]["params"]
        assert (params["n_encoders"], params["lr"]) == (expected.n_encoders, expected.lr)

    def test_a_large_tissue(self, adata: AnnData, tool: Tool, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fewer encoders from a fixed number of spots on; the published setting is what it is."""

        def encoders(**chosen: Any) -> int:
            return int(tool(adata, copy=True, **chosen).uns[key.removeprefix("X_")]["params"]["n_encoders"])

        monkeypatch.setattr("spotscape.tl._embedding.LARGE_TISSUE", adata.n_obs)
        assert encoders() == 4
        monkeypatch.setattr("spotscape.tl._embedding.LARGE_TISSUE", adata.n_obs - 1)
        assert encoders() == CONFIGS[key].large_tissue().n_encoders < 4
        assert encoders(preset="paper") == 1
        assert encoders(config=CONFIGS[key](n_encoders=2)) == 2

    @pytest.mark.parametrize("preset", ["paper"])
    def test_with_a_configuration_beside_it(
        self, adata: AnnData, tool: Tool, key: str, preset: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = adata.copy()
        forbid_training(monkeypatch)
        with pytest.raises(ValueError, match=f"preset='{preset}' and config exclude each other; give one of them"):
            tool(adata, preset=preset, config=CONFIGS[key]())
        assert same(adata, before)

    def test_no_such_preset(self, adata: AnnData, tool: Tool, key: str) -> None:
        before = adata.copy()
        with pytest.raises(ValueError, match=r"preset='published' is not one of \['default', 'paper'"):
            tool(adata, preset="published")
        assert same(adata, before)


def test_only_spacross_has_a_released_preset(adata: AnnData) -> None:
    spacross(adata, preset="released")
    assert adata.uns["spacross"]["params"]["preset"] == "released"
    assert adata.uns["spacross"]["params"]["pairing"] == "all"
    with pytest.raises(ValueError, match=r"preset='released' is not one of \['default', 'paper'\]"):
        spotscape(adata, preset="released")


class TestTheEncodersReadTheSame:
    """Who knows one knows the other: arguments, defaults, records."""

    signatures = (inspect.signature(sp.tl.spotscape), inspect.signature(sp.tl.spacross))

    def test_arguments(self) -> None:
        ours, other = (list(one.parameters.values()) for one in self.signatures)
        assert [parameter.name for parameter in ours] == [parameter.name for parameter in other]
        assert [parameter.kind for parameter in ours] == [parameter.kind for parameter in other]
        differing = [first.name for first, second in zip(ours, other, strict=True) if first.default != second.default]
        assert differing == ["key_added"]

    def test_annotations(self) -> None:
        ours, other = (one.parameters.values() for one in self.signatures)
        differing = {
            first.name: (first.annotation, second.annotation)
            for first, second in zip(ours, other, strict=True)
            if first.annotation != second.annotation
        }
        assert differing == {
            "preset": ("Literal['default', 'paper']", "Literal['default', 'paper', 'released']"),
            "config": ("SpotscapeConfig | None", "SpaCrossConfig | None"),
        }
        returned = [one.return_annotation for one in self.signatures]
        assert returned == ["AnnData | Spotscape | None", "AnnData | SpaCross | None"]

    def test_records(self, adata: AnnData) -> None:
        spotscape(adata)
        spacross(adata)
        ours, other = adata.uns["spotscape"], adata.uns["spacross"]
        assert list(ours) == list(other)
        for record in (ours, other):
            assert {"loss", "lr"} <= set(record["history"])
            assert all(curve.dtype == np.float64 for curve in record["history"].values())
        shared = {"source", "mask_var", "neighbors_key", "library_key", "n_features", "max_epochs"}
        assert {name: ours["params"].get(name) for name in shared} == {
            name: other["params"].get(name) for name in shared
        }

    def test_neither_disturbs_the_other(self, adata: AnnData) -> None:
        alone = spacross(adata, copy=True).obsm["X_spacross"]
        spotscape(adata)
        spacross(adata)
        assert {"X_spotscape", "X_spacross"} <= set(adata.obsm)
        assert adata.obsm["X_spacross"].tobytes() == alone.tobytes()


# An ordinary PCA of logarithms.
PLAIN: dict[str, Any] = {
    "n_comps": 30,
    "spatial_components": False,
    "linear_scale": False,
    "dispersion": None,
    "clip": None,
    "n_axes": None,
    "whitening": 0.0,
}


class TestSmoothedPca:
    def test_a_plain_pca_is_a_pca(self, adata: AnnData) -> None:
        import scanpy as sc

        sp.tl.smoothed_pca(adata, n_hops=0, **{**PLAIN, "n_comps": 10})
        sc.pp.pca(adata, n_comps=10)
        ours, theirs = adata.obsm["X_smoothed_pca"], adata.obsm["X_pca"]
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)

    def test_standardised_genes(self, adata: AnnData) -> None:
        import scanpy as sc

        sp.tl.smoothed_pca(adata, n_hops=0, **{**PLAIN, "n_comps": 3, "dispersion": 0.0, "clip": 10.0})
        standard = adata[:, adata.var["highly_variable"]].copy()
        standard.X = standard.X.toarray()
        sc.pp.scale(standard, max_value=10)
        sc.pp.pca(standard, n_comps=3)
        # scanpy cuts off after it has standardised, and divides by n - 1.
        distances = pdist(standard.obsm["X_pca"])
        np.testing.assert_allclose(pdist(adata.obsm["X_smoothed_pca"]), distances, rtol=0.03, atol=0.05)

    def test_the_default_is_what_an_encoder_sees_averaged(self, adata: AnnData) -> None:
        """By hand: linear scale, spatial components of weighted genes, two means, leading axes half whitened."""
        sp.tl.smoothed_pca(adata, n_comps=10, n_axes=4, random_state=0)
        linear = np.expm1(adata[:, adata.var["highly_variable"]].X.toarray().astype(float))
        linear = np.minimum(linear, linear.mean(0) + 5 * linear.std(0))
        weight = np.sqrt(linear.std(0) / np.sqrt(linear.mean(0)))
        scaled = (linear - linear.mean(0)) / linear.std(0) * weight / np.sqrt(np.square(weight).mean())
        mean = adata.obsp["spatial_connectivities"].toarray().astype(bool) | np.eye(adata.n_obs, dtype=bool)
        mean = mean / mean.sum(1, keepdims=True)
        shared = mean @ scaled
        _, vectors = np.linalg.eigh(np.cov(shared.T))
        smoothed = mean @ mean @ scaled @ vectors[:, ::-1][:, :10]
        left, spread, _ = np.linalg.svd(smoothed - smoothed.mean(0), full_matrices=False)
        expected = (left * np.sqrt(spread))[:, :4]
        expected *= np.sqrt(np.square(spread[:4]).sum() / spread[:4].sum())
        np.testing.assert_allclose(np.abs(adata.obsm["X_smoothed_pca"]), np.abs(expected), atol=0.01 * expected.std())

    def test_threads_do_not_change_a_bit(self, adata: AnnData) -> None:
        found, before = [], torch.get_num_threads()
        try:
            for threads in (1, 3):
                torch.set_num_threads(threads)
                found.append(sp.tl.smoothed_pca(adata, copy=True).obsm["X_smoothed_pca"].tobytes())
        finally:
            torch.set_num_threads(before)
        assert found[0] == found[1]

    def test_hops_smooth(self, adata: AnnData) -> None:
        graph = adata.obsp["spatial_connectivities"]
        roughness = []
        for n_hops in (0, 1, 3):
            sp.tl.smoothed_pca(adata, n_hops=n_hops, whitening=0.0)
            x = adata.obsm["X_smoothed_pca"]
            roughness.append(np.square(x[graph.nonzero()[0]] - x[graph.nonzero()[1]]).mean() / x.var())
        assert roughness[0] > 2 * roughness[1] > 4 * roughness[2]

    def test_few_genes(self, adata: AnnData) -> None:
        sp.tl.smoothed_pca(adata, mask_var=np.arange(120) < 9)
        assert adata.obsm["X_smoothed_pca"].shape == (300, 9)

    def test_a_representation_is_smoothed_as_it_is(self, adata: AnnData) -> None:
        sp.tl.smoothed_pca(adata, use_rep="spatial", n_hops=0)
        np.testing.assert_allclose(adata.obsm["X_smoothed_pca"], adata.obsm["spatial"], rtol=1e-6)
