"""The interactive view, without a browser: what it is given, and what a selection writes."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

import spotscape as sp

GRID = np.array([[x, y] for y in range(10) for x in range(20)], float)


@pytest.fixture
def adata() -> ad.AnnData:
    adata = ad.AnnData(np.ones((400, 1), np.float32), obsm={"spatial": np.vstack([GRID, GRID])})
    adata.obs["slice"] = pd.Categorical(np.repeat(["s1", "s2"], 200))
    adata.obs["domain"] = pd.Categorical(np.tile(np.where(GRID[:, 0] < 10, "left", "right"), 2))
    adata.obs["depth"] = np.linspace(0, 1, 400)
    return adata


def test_a_selection_is_written(adata: ad.AnnData) -> None:
    pytest.importorskip("jscatter")
    view = sp.pl.explore(adata, "domain", library_key="slice")
    assert "selected" not in adata.obs
    view.widget.selection = np.array([3, 5, 399])
    assert list(np.flatnonzero(adata.obs["selected"])) == [3, 5, 399]
    view.widget.selection = np.array([], dtype=int)
    assert adata.obs["selected"].dtype == bool
    assert not adata.obs["selected"].any()


def test_slices_lie_side_by_side_with_y_down(adata: ad.AnnData) -> None:
    pytest.importorskip("jscatter")
    view = sp.pl.explore(adata, "domain", library_key="slice")
    x, y = np.asarray(view.x_data), np.asarray(view.y_data)
    assert x[:200].max() < x[200:].min()
    np.testing.assert_allclose(x[:200] - x[0], GRID[:, 0], atol=1e-5)
    np.testing.assert_allclose(y[200:] - y[200], -GRID[:, 1], atol=1e-5)


def test_colours_are_those_of_other_plots(adata: ad.AnnData) -> None:
    pytest.importorskip("jscatter")
    view = sp.pl.explore(adata, "domain", library_key="slice")
    np.testing.assert_allclose(view.color()["map"], [to_rgba(color) for color in adata.uns["domain_colors"]])
    assert view.color()["by"] == "domain"
    numbers = sp.pl.explore(adata, "depth", vmin=0.25, vmax=0.75, library_key="slice").color()
    assert (numbers["norm"].vmin, numbers["norm"].vmax) == (0.25, 0.75)


def test_a_column_called_x_moves_no_spot(adata: ad.AnnData) -> None:
    pytest.importorskip("jscatter")
    adata.obs["x"] = adata.obs["depth"]
    views = [sp.pl.explore(adata, color, library_key="slice") for color in ("depth", "x")]
    np.testing.assert_array_equal(*(np.asarray(view.x_data) for view in views))
    assert views[1].color()["by"] == "x"


def test_2_comes_before_10(adata: ad.AnnData) -> None:
    pytest.importorskip("jscatter")
    adata.obs["many"] = pd.Categorical(np.resize([str(number) for number in range(12)], 400))
    view = sp.pl.explore(adata, "many", library_key="slice")
    legend = [name for name, *_ in view.widget.legend_encoding["color"]["values"]]
    assert legend == [str(number) for number in range(12)]


def test_without_the_widget_it_says_what_to_install(adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jscatter", None)
    with pytest.raises(ImportError, match=r"pip install 'spotscape\[interactive\]'"):
        sp.pl.explore(adata, "domain")
