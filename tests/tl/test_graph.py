"""Which graph a tool takes: the stored one, within slices unless the tool allows for more, or the default one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import spotscape as sp
from spotscape._core.graphs import read_graph
from spotscape.tl._embedding import graph_or_default, read_input

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "spatial_3d_neighbors"
MEND = (
    r"^\d+ edges of adata.obsp\['spatial_3d_connectivities'\] join different slices of adata.obs\['slice'\]\. "
    r"Build a graph within slices, sp.pp.spatial_neighbors_knn\(adata, library_key='slice'\), and name it: "
    r"neighbors_key='spatial_neighbors'\. A graph across slices is for sp.tl.spacross and sp.tl.smoothed_pca, and of "
    r"sp.pp.spatial_neighbors_3d\.$"
)


@pytest.fixture(scope="module")
def _stack() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_domains=3, n_slices=2, n_spots=150, n_genes=60, random_state=0)
    sp.pp.prepare(adata, library_key="slice")
    # As they lie on the glass: where the edges between slices lead does not matter here, that there are some does.
    sp.pp.spatial_neighbors_3d(adata, library_key="slice", spatial_key="spatial", slice_gap=1.0)
    return adata


@pytest.fixture
def stack(_stack: AnnData) -> AnnData:
    """Return two slices with a graph across them and none within."""
    return _stack.copy()


def n_crossing(adata: AnnData, graph: object) -> int:
    rows, columns = graph.nonzero()
    codes = adata.obs["slice"].cat.codes.to_numpy()
    return int(np.count_nonzero(codes[rows] != codes[columns]))


def test_edges_across_slices_are_kept_where_they_are_allowed(stack: AnnData) -> None:
    stored = stack.obsp["spatial_3d_connectivities"]
    assert n_crossing(stack, stored) > 0
    read = read_graph(stack, KEY, "slice", across_slices=True)
    chosen, built = graph_or_default(stack, KEY, "slice", across_slices=True)
    names = {"neighbors_key": KEY, "library_key": "slice", "layer": None, "use_rep": None, "mask_var": None}
    tissue = read_input(stack, **names, slices=stack.obs["slice"].array, across_slices=True)
    for graph in (read, chosen, tissue.graph):
        assert (graph != stored).nnz == 0
    assert built == tissue.built == {}


def test_edges_across_slices_are_refused_elsewhere(stack: AnnData) -> None:
    before = set(stack.obsm)
    with pytest.raises(ValueError, match=MEND):
        sp.tl.spotscape(stack, library_key="slice", neighbors_key=KEY)
    assert set(stack.obsm) == before
    for read in (read_graph, graph_or_default):
        with pytest.raises(ValueError, match=MEND):
            read(stack, KEY, "slice")


def test_what_the_refusal_says_helps(stack: AnnData) -> None:
    sp.pp.spatial_neighbors_knn(stack, library_key="slice")
    sp.tl.smoothed_pca(stack, library_key="slice", neighbors_key="spatial_neighbors", n_comps=5)
    assert KEY in stack.uns


def test_without_slices_no_edge_crosses_any(stack: AnnData) -> None:
    assert read_graph(stack, KEY).nnz == stack.obsp["spatial_3d_connectivities"].nnz


def test_the_default_graph_stays_within_slices(stack: AnnData) -> None:
    with pytest.warns(UserWarning, match="not used; to use it, name it: neighbors_key='spatial_3d_neighbors'"):
        graph, built = graph_or_default(stack, "spatial_neighbors", "slice", across_slices=True)
    assert n_crossing(stack, graph) == 0
    assert set(built) == {"obsp", "uns"}


def test_no_word_of_a_graph_that_the_tool_could_not_use(stack: AnnData) -> None:
    graph, _ = graph_or_default(stack, "spatial_neighbors", "slice")
    assert n_crossing(stack, graph) == 0


def test_a_graph_across_slices_wants_to_know_the_slices(stack: AnnData) -> None:
    with pytest.warns(UserWarning, match="'spatial_3d_neighbors' joins slices, but library_key is None") as caught:
        sp.tl.spotscape(stack, neighbors_key=KEY, max_epochs=2)
    assert caught[0].filename == __file__
    sp.tl.spacross(stack, neighbors_key=KEY, max_epochs=2)
    assert stack.uns["spacross"]["params"]["library_key"] == "slice"


@pytest.mark.filterwarnings("error")
def test_smoothed_pca_averages_over_slices_that_it_has_centred(stack: AnnData) -> None:
    for given in ("slice", None):
        sp.tl.smoothed_pca(stack, library_key=given, neighbors_key=KEY, n_comps=5, n_hops=1)
        assert stack.uns["smoothed_pca"]["params"]["library_key"] == "slice"
    across = stack.obsm["X_smoothed_pca"]
    sp.pp.spatial_neighbors_knn(stack, library_key="slice")
    sp.tl.smoothed_pca(stack, n_comps=5, n_hops=1)
    assert not np.allclose(across, stack.obsm["X_smoothed_pca"])


def test_spacross_takes_edges_across_slices(stack: AnnData) -> None:
    before = stack.copy()
    sp.tl.spacross(stack, library_key="slice", neighbors_key=KEY, max_epochs=2)
    assert stack.uns["spacross"]["params"]["neighbors_key"] == KEY
    assert set(stack.obsp) == set(before.obsp)
    assert (stack.obsp["spatial_3d_connectivities"] != before.obsp["spatial_3d_connectivities"]).nnz == 0
    sp.pp.spatial_neighbors_knn(stack, library_key="slice")
    within = sp.tl.spacross(stack, library_key="slice", max_epochs=2, copy=True)
    assert not np.allclose(within.obsm["X_spacross"], stack.obsm["X_spacross"])


def test_a_graph_that_is_not_there_is_asked_for_with_the_right_call(stack: AnnData) -> None:
    across = (
        r"\['spatial_3d_neighbors'\]. Build it with sp.pp.spatial_neighbors_3d\(adata, library_key='slice', slice_gap="
    )
    with pytest.raises(KeyError, match=across + r"\.\.\., key_added='thick'\)"):
        graph_or_default(stack, "thick_neighbors", "slice", across_slices=True)
    within = r"Build it with sp.pp.spatial_neighbors_knn\(adata, key_added='thick'\)"
    for library_key, across_slices in (("slice", False), (None, True)):
        with pytest.raises(KeyError, match=within):
            graph_or_default(stack, "thick_neighbors", library_key, across_slices=across_slices)
