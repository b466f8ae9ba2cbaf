from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

mpl.use("Agg")
import matplotlib.pyplot as plt

import spotscape as sp
from spotscape._core.geometry import evenly_spread

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.array([[x, y] for y in range(12) for x in range(10)], float) * 50


@pytest.fixture
def matched() -> ad.AnnData:
    """Return three slices of 120 spots whose bands are plain in the embedding, labels transferred from the second."""
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.ones((360, 2), dtype="float32"), obs=pd.DataFrame(index=[f"s{i}" for i in range(360)]))
    adata.var_names = ["Mbp", "Snap25"]
    adata.obs["lib"] = pd.Categorical(np.repeat(["a", "b", "c"], 120))
    bands = np.tile(GRID[:, 1] // 200, 3).astype(int)
    adata.obs["band"] = pd.Categorical(np.array(["low", "mid", "top"])[bands], categories=["low", "mid", "top"])
    adata.obsm["X_spotscape"] = np.eye(4)[bands] * 5 + rng.normal(size=(360, 4)) * 0.1
    adata.uns["spotscape"] = {"params": {}}
    adata.obsm["spatial"] = np.vstack([GRID, GRID + 3000, GRID * 10])
    sp.tl.match_slices(adata, library_key="lib", reference="b", labels_key="band")
    return adata


def lines(ax: Any) -> Any:
    return ax.collections[-1]


def ends(ax: Any) -> np.ndarray:
    return np.array(lines(ax).get_segments())


def rows_at(tiles: Any, points: np.ndarray) -> np.ndarray:
    return np.array([np.abs(tiles.get_offsets() - point).sum(1).argmin() for point in points])


@pytest.mark.parametrize(("layout", "shape"), [("above", (1, 2)), ("beside", (2, 1))])
def test_a_panel_for_each_query(matched: ad.AnnData, layout: Any, shape: tuple[int, int]) -> None:
    figure = sp.pl.matching(matched, layout=layout, return_fig=True)
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == ["a → b", "c → b"]
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert not plt.get_fignums()
    figure.canvas.draw()


@pytest.mark.parametrize("layout", ["above", "beside"])
@pytest.mark.parametrize("query", ["a", "c"])
def test_lines_join_a_spot_with_its_best_match(matched: ad.AnnData, layout: Any, query: str) -> None:
    (ax,) = sp.pl.matching(matched, query=query, layout=layout, n_lines=40, return_fig=True).axes
    left, right = ax.collections[:2]
    found = ends(ax)
    assert found.shape == (40, 2, 2)
    queries = np.flatnonzero(matched.obs["lib"] == query)[rows_at(left, found[:, 0])]
    references = np.flatnonzero(matched.obs["lib"] == "b")[rows_at(right, found[:, 1])]
    best = matched.obs["spotscape_match"].astype(str).to_numpy()[queries]
    assert (best == matched.obs_names[references]).all()
    assert len(set(queries)) == 40
    # No spot of one slice is drawn over the other slice.
    axis = 1 if layout == "above" else 0
    assert left.get_offsets()[:, axis].max() < right.get_offsets()[:, axis].min()
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    for tiles in (left, right):
        assert (tiles.get_offsets() > low).all()
        assert (tiles.get_offsets() < high).all()


def test_slices_of_another_unit_are_drawn_at_the_same_size(matched: ad.AnnData) -> None:
    (ax,) = sp.pl.matching(matched, query="c", layout="beside", return_fig=True).axes
    widths = [np.ptp(tiles.get_offsets()[:, 0]) for tiles in ax.collections[:2]]
    assert widths[0] == pytest.approx(widths[1])


def test_y_points_down_as_in_images(matched: ad.AnnData) -> None:
    for invert in (True, False):
        (ax,) = sp.pl.matching(matched, query="a", layout="beside", invert_y=invert, return_fig=True).axes
        drawn = ax.collections[0].get_offsets()[:, 1]
        assert np.sign(np.corrcoef(drawn, GRID[:, 1])[0, 1]) == (-1 if invert else 1)


def test_colours_are_those_of_the_labels(matched: ad.AnnData) -> None:
    (ax,) = sp.pl.matching(matched, query="a", n_lines=500, return_fig=True).axes
    colors = dict(zip(["low", "mid", "top"], matched.uns["band_colors"], strict=True))
    expected = [to_rgba(colors[band]) for band in matched.obs["band"][:120]]
    np.testing.assert_allclose(ax.collections[0].get_facecolors(), expected)
    np.testing.assert_allclose(lines(ax).get_colors()[:, :3], np.array(expected)[:, :3])
    assert ax.get_legend().get_title().get_text() == "band"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["low", "mid", "top"]


def test_the_query_shows_what_it_received(matched: ad.AnnData) -> None:
    matched.obs.loc[matched.obs["lib"] == "a", "band"] = "top"
    (ax,) = sp.pl.matching(matched, query="a", return_fig=True).axes
    assert len(np.unique(ax.collections[0].get_facecolors(), axis=0)) == 3
    (ax,) = sp.pl.matching(matched, query="a", color="band", return_fig=True).axes
    assert len(np.unique(ax.collections[0].get_facecolors(), axis=0)) == 1


def test_similarity_where_no_labels_were_transferred(matched: ad.AnnData) -> None:
    sp.tl.match_slices(matched, library_key="lib", reference="b")
    ax = sp.pl.matching(matched, query="a", return_fig=True).axes[0]
    assert len(np.unique(ax.collections[1].get_facecolors(), axis=0)) == 1
    assert len(np.unique(ax.collections[0].get_facecolors(), axis=0)) > 20
    bar = ax.child_axes[0]
    assert bar.get_ylabel() == "similarity"


def test_genes_own_axes_and_no_legend(matched: ad.AnnData) -> None:
    _, ax = plt.subplots()
    assert sp.pl.matching(matched, query="a", color="Mbp", ax=ax, colorbar=False, show=False) is ax
    assert not ax.child_axes
    assert ax.get_legend() is None


def test_a_query_without_matches_is_drawn_without_lines(matched: ad.AnnData) -> None:
    matched.obs.loc[matched.obs["lib"] == "a", "spotscape_match"] = np.nan
    (ax,) = sp.pl.matching(matched, query="a", return_fig=True).axes
    assert len(ax.collections) == 2


def test_a_subset(matched: ad.AnnData) -> None:
    part = matched[::3].copy()
    (ax,) = sp.pl.matching(part, query="a", return_fig=True).axes
    kept = part.obs["spotscape_match"].astype(str).isin(part.obs_names) & (part.obs["lib"] == "a")
    assert len(ends(ax)) == kept.sum() > 0


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files(matched: ad.AnnData, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"matching.{suffix}"
    sp.pl.matching(matched, return_fig=True).savefig(path)
    assert path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, KeyError, "'other' not found in adata.uns.*sp.tl.match_slices"),
        ({"key": "band"}, KeyError, "'band' not found in adata.uns"),
        ({"query": "b"}, ValueError, "matches were made for the slices \\['a', 'c'\\]"),
        ({"query": []}, ValueError, "matches were made for"),
        ({"color": "Gad1"}, KeyError, "neither a column of adata.obs"),
        ({"layout": "below"}, ValueError, "layout='below'"),
        ({"n_lines": 0}, ValueError, "n_lines=0"),
        ({"spatial_key": "x"}, KeyError, "'x' not found in adata.obsm"),
    ],
)
def test_bad_input(matched: ad.AnnData, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    before = set(matched.uns)
    with pytest.raises(error, match=message):
        sp.pl.matching(matched, **arguments, return_fig=True)
    assert set(matched.uns) == before


def test_axes_take_one_panel(matched: ad.AnnData) -> None:
    with pytest.raises(ValueError, match="ax has 1 axes for 2 panels"):
        sp.pl.matching(matched, ax=plt.figure().add_subplot(), return_fig=True)


def test_another_record_is_refused(matched: ad.AnnData) -> None:
    matched.uns["band"] = {"params": {}}
    with pytest.raises(ValueError, match="is not a record of matches"):
        sp.pl.matching(matched, key="band", return_fig=True)


def test_a_lost_slice_is_said(matched: ad.AnnData) -> None:
    with pytest.raises(ValueError, match="no spots of the reference 'b' or none of its queries"):
        sp.pl.matching(matched[matched.obs["lib"] != "b"].copy(), return_fig=True)


def test_lines_are_spread_evenly() -> None:
    square = np.random.default_rng(0).random((4096, 2))
    drawn = square[evenly_spread(square, 64)]
    counts = np.histogram2d(*drawn.T, bins=4, range=[[0, 1]] * 2)[0]
    assert counts.min() >= 2
    assert counts.max() <= 6
    assert evenly_spread(square[:5], 64).tolist() == [0, 1, 2, 3, 4]
    assert len(set(evenly_spread(np.zeros((10, 2)), 4).tolist())) == 4
