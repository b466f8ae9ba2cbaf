from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import ListedColormap, same_color, to_rgba

mpl.use("Agg")
import matplotlib.pyplot as plt

import spotscape as sp

if TYPE_CHECKING:
    from pathlib import Path

HEXAGONS = np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(12) for x in range(12)]) * 100
SQUARES = np.array([[x, y] for y in range(12) for x in range(12)], float) * 50
CELLS = np.random.default_rng(0).random((144, 2)) * 1000


def tissue(coords: np.ndarray = HEXAGONS, n_slices: int = 1) -> ad.AnnData:
    adata = ad.AnnData(
        np.arange(len(coords) * n_slices * 2, dtype=np.float32).reshape(-1, 2),
        obsm={"spatial": np.vstack([coords + 5000 * i for i in range(n_slices)])},
    )
    adata.var_names = ["Mbp", "Snap25"]
    adata.obs["lib"] = pd.Categorical(np.repeat([f"s{i}" for i in range(n_slices)], len(coords)))
    adata.obs["domain"] = pd.Categorical(np.resize(["a", "b", "c"], adata.n_obs))
    adata.obs["depth"] = np.linspace(0, 1, adata.n_obs)
    return adata


def drawn(adata: ad.AnnData, color: Any, **options: Any) -> Any:
    return sp.pl.domains(adata, color, **({"return_fig": True} | options))


def tiles(ax: Any) -> Any:
    return ax.collections[0]


def drawn_width(ax: Any) -> float:
    """Width of a spot on the drawn axes, in data units."""
    ax.figure.canvas.draw()
    path = tiles(ax).get_paths()[0].transformed(tiles(ax).get_transform())
    pixels = np.ptp(path.vertices[:, 0])
    return pixels / abs(ax.transData.transform((1, 0))[0] - ax.transData.transform((0, 0))[0])


@pytest.mark.parametrize(
    ("n_slices", "color", "ncols", "shape"),
    [(1, "domain", 4, (1, 1)), (3, "domain", 2, (2, 2)), (1, ["domain", "depth", "Mbp"], 2, (2, 2)),
     (2, ["domain", "Mbp"], 4, (2, 2))],
)  # fmt: skip
def test_a_panel_for_every_slice_and_key(n_slices: int, color: Any, ncols: int, shape: Any) -> None:
    figure = drawn(tissue(n_slices=n_slices), color=color, library_key="lib", ncols=ncols)
    keys = [color] if isinstance(color, str) else color
    assert len(figure.axes) == n_slices * len(keys)
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    expected = keys if n_slices == 1 else [f"s{i}" for i in range(n_slices)] * len(keys)
    assert [ax.get_title() for ax in figure.axes] == expected
    figure.canvas.draw()


def test_panels_show_their_own_spots() -> None:
    adata = tissue(n_slices=2)
    figure = drawn(adata, color="domain", library_key="lib")
    for i, ax in enumerate(figure.axes):
        assert np.array_equal(tiles(ax).get_offsets(), HEXAGONS + 5000 * i)
        low, high = ax.get_xlim()
        assert low < tiles(ax).get_offsets()[:, 0].min()
        assert high > tiles(ax).get_offsets()[:, 0].max()
        assert ax.get_aspect() == 1
        assert not ax.axison


def test_one_palette_across_slices_kept_in_uns() -> None:
    adata = tissue(n_slices=2)
    figure = drawn(adata, color="domain", library_key="lib")
    colors = adata.uns["domain_colors"]
    assert len(set(colors)) == 3
    for ax, rows in zip(figure.axes, (slice(0, 144), slice(144, None)), strict=True):
        expected = [to_rgba(colors[code]) for code in adata.obs["domain"].cat.codes[rows]]
        assert np.allclose(tiles(ax).get_facecolors(), expected)
    legend = figure.axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]
    assert all(same_color(h.get_color(), c) for h, c in zip(legend.legend_handles, colors, strict=True))
    assert legend.get_title().get_text() == "domain"


def test_a_slice_without_some_domains_keeps_the_colours_of_the_others() -> None:
    adata = tissue(n_slices=2)
    adata.obs["domain"] = pd.Categorical(["a", "b"] * 72 + ["b", "c"] * 72)
    figure = drawn(adata, color="domain", library_key="lib")
    first, second = (tiles(ax).get_facecolors() for ax in figure.axes)
    assert np.allclose(first[1], second[0])


def test_stored_colours_are_respected_and_palette_replaces_them() -> None:
    adata = tissue()
    adata.uns["domain_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    figure = drawn(adata, color="domain")
    assert np.allclose(tiles(figure.axes[0]).get_facecolors()[1], [0, 1, 0, 1])
    assert list(adata.uns["domain_colors"]) == ["#ff0000", "#00ff00", "#0000ff"]
    drawn(adata, color="domain", palette={"a": "black", "b": "white", "c": "#123456", "z": "red"})
    assert list(adata.uns["domain_colors"]) == ["#000000", "#ffffff", "#123456"]
    drawn(adata, color="domain", palette=["red", "blue", "lime", "cyan"])
    assert list(adata.uns["domain_colors"]) == ["#ff0000", "#0000ff", "#00ff00"]
    drawn(adata, color="domain", palette="tab10")
    assert list(adata.uns["domain_colors"]) == ["#1f77b4", "#ff7f0e", "#2ca02c"]
    drawn(adata, color="domain", palette="viridis")
    assert list(adata.uns["domain_colors"]) == ["#440154", "#21918c", "#fde725"]


def test_stale_colours_are_replaced() -> None:
    adata = tissue()
    adata.uns["domain_colors"] = ["#ff0000"]
    with pytest.warns(UserWarning, match=r"uns\['domain_colors'\] has 1 colours for 3 categories"):
        drawn(adata, "domain")
    assert len(set(adata.uns["domain_colors"])) == 3


def test_a_view_is_not_written_to() -> None:
    adata = tissue(n_slices=2)
    view = adata[adata.obs["lib"] == "s0"]
    drawn(view, color="domain", library_key="lib")
    assert view.is_view
    assert "domain_colors" not in adata.uns


def test_text_and_booleans_are_categories_and_leave_no_colours() -> None:
    adata = tissue()
    adata.obs["text"] = adata.obs["domain"].astype(str)
    adata.obs["flag"] = adata.obs["depth"] > 0.5
    figure = drawn(adata, color=["text", "flag"])
    labels = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert labels == [["a", "b", "c"], ["False", "True"]]
    assert not adata.uns
    assert adata.obs["text"].dtype == object or adata.obs["text"].dtype == "string"


def test_unlabelled_spots_are_light_grey() -> None:
    adata = tissue()
    adata.obs.loc[adata.obs_names[:3], "domain"] = np.nan
    adata.obs.loc[adata.obs_names[:3], "depth"] = np.nan
    figure = drawn(adata, color=["domain", "depth"])
    for ax in figure.axes:
        assert np.allclose(tiles(ax).get_facecolors()[:3], to_rgba("#DCDCDC"))
        assert not np.allclose(tiles(ax).get_facecolors()[3], to_rgba("#DCDCDC"))
    assert figure.axes[0].get_legend().get_texts()[-1].get_text() == "unlabelled"


@pytest.mark.parametrize("matrix", ["dense", "sparse", "layer"])
def test_genes_share_one_scale(matrix: str) -> None:
    from scipy import sparse

    adata = tissue(n_slices=2)
    values = adata.X[:, 0].copy()
    if matrix == "sparse":
        adata.X = sparse.csr_matrix(adata.X)
    if matrix == "layer":
        adata.layers["raw"], adata.X = adata.X, np.zeros(adata.shape, np.float32)
    layer = "raw" if matrix == "layer" else None
    figure = drawn(adata, color="Mbp", library_key="lib", layer=layer, vmin=0, vmax=600)
    expected = plt.get_cmap("viridis")(values / 600)
    assert np.allclose(np.vstack([tiles(ax).get_facecolors() for ax in figure.axes]), expected, atol=0.01)
    (bar,) = figure.axes[1].child_axes
    assert bar.get_ylim() == (0, 600)
    assert bar.get_ylabel() == "Mbp"


def test_the_scale_ends_at_percentiles_and_survives_constants() -> None:
    adata = tissue()
    adata.obs["depth"] = [*np.zeros(143), 1e6]
    adata.obs["same"] = 3.0
    adata.obs["none"] = np.nan
    figure = drawn(adata, color=["depth", "same", "none"])
    figure.canvas.draw()
    # The colour of the one value is that of the value in the colour bar.
    (bar,) = figure.axes[1].child_axes
    assert bar.get_ylim() == (3, 6)
    adata.obs["depth"] = [*np.linspace(0, 1, 143), 1e6]
    (bar,) = drawn(adata, color="depth").axes[0].child_axes
    assert bar.get_ylim()[1] < 2


@pytest.mark.parametrize(
    ("coords", "corners", "width"),
    [(HEXAGONS, 6, 100), (SQUARES, 4, 50), (CELLS, None, None)],
    ids=["hexagons", "squares", "cells"],
)
def test_spots_have_the_shape_and_size_of_their_cell_in_data_units(
    coords: np.ndarray, corners: Any, width: Any
) -> None:
    (ax,) = drawn(tissue(coords), color="domain").axes
    path = tiles(ax).get_paths()[0]
    if corners is None:
        spacing = np.median(np.sort(np.linalg.norm(coords[:, None] - coords, axis=-1))[:, 1])
        assert drawn_width(ax) == pytest.approx(1.45 * spacing, rel=0.01)
    else:
        assert len(np.unique(np.round(path.vertices, 6), axis=0)) == corners
        assert drawn_width(ax) == pytest.approx(width, rel=0.01)
    ax.set_xlim(coords[:, 0].min(), coords[:, 0].mean())
    zoomed = drawn_width(ax)
    (half,) = drawn(tissue(coords), color="domain", size=0.5).axes
    assert drawn_width(half) == pytest.approx(zoomed / 2)


def test_no_gaps_where_columns_stray_from_the_grid() -> None:
    """As arrays print them: tiles are as wide as the widest gap, so that no white lines cross the tissue."""
    columns = np.cumsum([0, 50, 50, 58, 42, 50, 50, 58, 50, 45, 50, 50])
    coords = np.array([[x, 50.0 * y] for x in columns for y in range(12)])
    (ax,) = drawn(tissue(coords), color="domain").axes
    assert drawn_width(ax) == pytest.approx(58, rel=0.01)


@pytest.mark.parametrize("degrees", [0, 17, 45])
@pytest.mark.parametrize(("coords", "corners"), [(HEXAGONS, 6), (SQUARES, 4)])
def test_tiles_of_a_turned_lattice_meet_edge_to_edge(coords: np.ndarray, corners: Any, degrees: int) -> None:
    turn = np.deg2rad(degrees)
    turned = coords @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    (ax,) = drawn(tissue(turned), color="domain").axes
    vertices = tiles(ax).get_paths()[0].vertices[:corners]
    middles = (vertices + np.roll(vertices, -1, axis=0)) / 2
    neighbours = turned - turned[len(turned) // 2 + 6]
    for middle in middles:
        assert np.linalg.norm(neighbours - 2 * middle, axis=1).min() < 1e-3 * np.linalg.norm(middle)


def test_y_points_down_unless_told() -> None:
    adata = tissue()
    down, up = (drawn(adata, color="domain", invert_y=flag).axes[0].get_ylim() for flag in (True, False))
    assert down[0] > down[1]
    assert up[0] < up[1]


@pytest.mark.parametrize(("n", "rasterized"), [(144, False), (50_001, True)])
def test_rasterised_above_50000_spots(n: Any, rasterized: bool) -> None:
    (ax,) = drawn(tissue(np.random.default_rng(0).random((n, 2))), color="domain").axes
    assert bool(tiles(ax).get_rasterized()) == rasterized


class TestImage:
    @pytest.fixture
    def adata(self) -> ad.AnnData:
        adata = tissue(n_slices=2)
        adata.uns["spatial"] = {
            "s1": {
                "images": {"hires": np.full((40, 30, 3), 0.5), "lowres": np.zeros((4, 3, 3))},
                "scalefactors": {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.01},
            }
        }
        return adata

    def test_lies_under_its_own_slice_in_full_resolution_units(self, adata: ad.AnnData) -> None:
        figure = drawn(adata, color="domain", library_key="lib")
        assert not figure.axes[0].images
        (image,) = figure.axes[1].images
        assert image.get_extent() == [0, 300, 400, 0]
        assert image.get_zorder() < tiles(figure.axes[1]).get_zorder()
        assert drawn_width(figure.axes[1]) == pytest.approx(70, rel=0.01)

    def test_low_resolution_will_do(self, adata: ad.AnnData) -> None:
        del adata.uns["spatial"]["s1"]["images"]["hires"]
        figure = drawn(adata, color="domain", library_key="lib")
        assert figure.axes[1].images[0].get_array().shape[:2] == (4, 3)

    def test_can_be_left_out(self, adata: ad.AnnData) -> None:
        figure = drawn(adata, color="domain", library_key="lib", img=False)
        assert not figure.axes[1].images

    def test_without_slices_the_only_image_is_taken(self, adata: ad.AnnData) -> None:
        assert drawn(adata, color="domain").axes[0].images
        adata.uns["spatial"]["other"] = adata.uns["spatial"]["s1"]
        assert not drawn(adata, color="domain").axes[0].images

    def test_other_things_under_that_key_are_passed_over(self, adata: ad.AnnData) -> None:
        adata.uns["spatial"] = np.ones(3)
        assert not drawn(adata, color="domain").axes[0].images


def test_draws_on_given_axes() -> None:
    figure, axes = plt.subplots(1, 2)
    assert sp.pl.domains(tissue(), "domain", ax=axes[0], title="mine", show=False) is axes[0]
    assert sp.pl.domains(tissue(), "depth", ax=axes[1], colorbar=False) is None
    assert axes[0].get_title() == "mine"
    assert axes[0].get_legend() is not None
    assert not axes[1].child_axes
    assert sp.pl.domains(tissue(), ["depth", "domain"], ax=axes, return_fig=True) is figure
    assert plt.fignum_exists(figure.number)


def test_the_figure_stays_open_until_it_is_taken() -> None:
    adata = tissue(n_slices=2)
    assert sp.pl.domains(adata, "domain", figsize=(3, 2), dpi=50) is None
    figure = plt.gcf()
    assert (tuple(figure.get_size_inches()), figure.dpi, len(figure.axes)) == ((3, 2), 50, 1)
    axes = sp.pl.domains(adata, "domain", library_key="lib", show=False)
    assert [ax.get_title() for ax in axes] == ["s0", "s1"]
    assert len(plt.get_fignums()) == 2
    taken = drawn(adata, "domain")
    assert taken.number not in plt.get_fignums()


def test_show_calls_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    assert sp.pl.domains(tissue(), "domain", show=True) is None
    assert len(shown) == 1


def test_a_plot_that_fails_leaves_nothing() -> None:
    adata = tissue()
    with pytest.raises(ValueError, match="is not a colormap"):
        sp.pl.domains(adata, ["domain", "depth"], cmap="no such map")
    assert not plt.get_fignums()
    assert not adata.uns


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_can_be_saved(tmp_path: Path, suffix: str) -> None:
    figure = drawn(tissue(n_slices=2), color=["domain", "Mbp"], library_key="lib")
    figure.savefig(tmp_path / f"tissue.{suffix}", bbox_inches="tight")
    assert (tmp_path / f"tissue.{suffix}").stat().st_size > 1000


def test_legends_can_be_left_out_and_rows_name_their_key() -> None:
    options = {"library_key": "lib", "legend_loc": None, "colorbar": False}
    figure = drawn(tissue(n_slices=2), ["domain", "Mbp"], **options)
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["domain"], [], ["Mbp"], []]
    assert all(ax.get_legend() is None and not ax.child_axes for ax in figure.axes)


def test_slices_of_like_size_share_their_scale_and_others_their_shape() -> None:
    for factor, same in ((1.5, True), (10, False)):
        adata = tissue(np.vstack([HEXAGONS, HEXAGONS * factor]))
        adata.obs["lib"] = pd.Categorical(np.repeat(["small", "large"], 144))
        figure = drawn(adata, color="domain", library_key="lib")
        large, small = (np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())]) for ax in figure.axes)
        assert np.allclose(large, small) == same
        assert large[0] / large[1] == pytest.approx(small[0] / small[1])


def test_few_spots_and_coincident_spots() -> None:
    for coords in (np.zeros((1, 2)), np.zeros((5, 2)), np.array([[0.0, 0], [1, 1]])):
        adata = tissue(coords)
        drawn(adata, color="depth").canvas.draw()


def test_default_colours_are_distinct_however_many() -> None:
    from spotscape._core.colors import default_colors

    assert len(set(default_colors(60))) == 60
    assert default_colors(3) == default_colors(60)[:3]


class TestErrors:
    @pytest.mark.parametrize(
        ("kwargs", "error", "match"),
        [
            (
                {"color": "no"},
                KeyError,
                r"color='no' is neither .* has: 'lib', 'domain', 'depth'; nor one of the 2 genes",
            ),
            ({"color": "Mbp", "layer": "no"}, KeyError, "'no' not found in adata.layers"),
            ({"spatial_key": "no"}, KeyError, "'no' not found in adata.obsm, which has: 'spatial'"),
            ({"library_key": "no"}, KeyError, "'no' not found in adata.obs, which has"),
            ({"library_key": "depth"}, TypeError, "expected the name of a slice"),
            ({"color": []}, ValueError, "color is empty"),
            ({"groups": ["a", "z"]}, ValueError, r"groups=\['z'\] are no categories of 'domain', which has"),
            ({"color": "depth", "vmax": "99"}, ValueError, "'99' is no end of a scale"),
            ({"color": "depth", "vmin": "p101"}, ValueError, "'p101' is no end of a scale"),
            ({"legend_loc": "nowhere"}, ValueError, "legend_loc='nowhere' is not one of"),
            ({"crop_coord": (0, 0, 1, 2)}, ValueError, r"must be \(left, right, top, bottom\)"),
            ({"palette": {"a": "red"}}, ValueError, r"palette has no colour for the categories \['b', 'c'\]"),
            ({"palette": "nope"}, ValueError, "palette='nope' is not a colormap of matplotlib"),
            ({"palette": ["red", "blue", "nope"]}, ValueError, "palette has 'nope', which is not a colour"),
            ({"title": ["a", "b"]}, ValueError, "title has 2 entries for 1 panels"),
        ],
    )
    def test_arguments(self, kwargs: dict[str, Any], error: type[Exception], match: str) -> None:
        adata = tissue()
        with pytest.raises(error, match=match):
            drawn(adata, **{"color": "domain", **kwargs})
        assert not adata.uns

    def test_ax_takes_one_panel(self) -> None:
        figure, ax = plt.subplots()
        with pytest.raises(ValueError, match="ax has 1 axes for 2 panels"):
            drawn(tissue(n_slices=2), color="domain", library_key="lib", ax=ax)
        plt.close(figure)

    def test_nothing_to_show(self) -> None:
        with pytest.raises(ValueError, match="0 spots"):
            drawn(tissue()[:0].copy(), color="domain")


class TestConfidence:
    """Colours fade, to near white but never all the way."""

    def test_colours_by_hand(self) -> None:
        adata = tissue()
        adata.obs["sure"] = np.resize([1.0, 0.0, 0.5, np.nan], adata.n_obs)
        plain = tiles(drawn(adata, color="domain").axes[0]).get_facecolors()
        faded = tiles(drawn(adata, color="domain", confidence="sure").axes[0]).get_facecolors()
        pale = np.array(to_rgba("#F7F7F7"))
        np.testing.assert_allclose(faded[0], plain[0])
        np.testing.assert_allclose(faded[1], 0.08 * plain[1] + 0.92 * pale)
        np.testing.assert_allclose(faded[2], 0.54 * plain[2] + 0.46 * pale)
        np.testing.assert_allclose(faded[3], 0.08 * plain[3] + 0.92 * pale)

    def test_numbers_do_not_fade(self) -> None:
        adata = tissue()
        adata.obs["sure"] = 0.5
        plain, faded = (drawn(adata, color="depth", confidence=one).axes[0] for one in (None, "sure"))
        np.testing.assert_array_equal(tiles(plain).get_facecolors(), tiles(faded).get_facecolors())

    def test_the_legend_keeps_full_colours(self) -> None:
        adata = tissue()
        adata.obs["sure"] = 0.0
        legend = drawn(adata, color="domain", confidence="sure").axes[0].get_legend()
        colors = [handle.get_color() for handle in legend.legend_handles]
        assert all(map(same_color, colors, adata.uns["domain_colors"]))

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            (None, KeyError, r"'sure' not found in adata.obs, .*sp.tl.consensus_domains"),
            ("high", TypeError, "confidence must be numbers between 0 and 1"),
            (1.5, ValueError, "lies between 1.5 and 1.5; expected 0 to 1"),
            (-1.0, ValueError, "lies between -1 and -1; expected 0 to 1"),
        ],
    )
    def test_errors(self, values: object, error: type[Exception], message: str) -> None:
        adata = tissue()
        if values is not None:
            adata.obs["sure"] = values
        with pytest.raises(error, match=message):
            drawn(adata, color="domain", confidence="sure")


class TestColours:
    """What scanpy and squidpy accept."""

    @pytest.mark.parametrize(
        ("palette", "expected"),
        [
            ({1: "red", 2: "lime", 3: "blue"}, ["#ff0000", "#00ff00", "#0000ff"]),
            (ListedColormap(["red", "lime", "blue"]), ["#ff0000", "#00ff00", "#0000ff"]),
            (plt.get_cmap("gray"), ["#000000", "#808080", "#ffffff"]),
            (mpl.cycler(color=["red", "lime", "blue", "cyan"]), ["#ff0000", "#00ff00", "#0000ff"]),
            ((name for name in ("red", "lime", "blue")), ["#ff0000", "#00ff00", "#0000ff"]),
        ],
        ids=["integer keys", "listed", "colormap", "cycler", "iterator"],
    )
    def test_palettes(self, palette: Any, expected: list[str]) -> None:
        adata = tissue()
        adata.obs["domain"] = adata.obs["domain"].cat.rename_categories([1, 2, 3])
        drawn(adata, "domain", palette=palette)
        assert list(adata.uns["domain_colors"]) == expected

    def test_a_short_palette_is_filled_up(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue()
        drawn(adata, "domain", palette=["#0072B2"])
        assert len(set(adata.uns["domain_colors"])) == 3
        assert "1 colours for 3 categories" in caplog.text

    def test_stored_as_a_mapping(self) -> None:
        adata = tissue()
        adata.uns["domain_colors"] = {"b": "lime", "a": "red", "c": "blue"}
        assert np.allclose(tiles(drawn(adata, "domain").axes[0]).get_facecolors()[:2], [[1, 0, 0, 1], [0, 1, 0, 1]])

    def test_groups_alone_have_colour_and_all_keep_theirs(self) -> None:
        adata = tissue()
        ax = drawn(adata, "domain", groups="b", na_color="white").axes[0]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["b", "other"]
        assert len(adata.uns["domain_colors"]) == 3
        faces = tiles(ax).get_facecolors()
        assert np.allclose(faces[-1], to_rgba(adata.uns["domain_colors"][1]))
        assert (faces == 1).all(axis=1).sum() == 96

    def test_columns_side_by_side_share_colours(self) -> None:
        adata = tissue()
        adata.obs["found"] = adata.obs["domain"].cat.rename_categories({"a": "2", "b": "0", "c": "1"})
        adata.obs["found"] = adata.obs["found"].cat.reorder_categories(["0", "1", "2"])
        first, second = drawn(adata, ["domain", "found"]).axes
        assert np.allclose(tiles(first).get_facecolors(), tiles(second).get_facecolors())
        colors = adata.uns["domain_colors"]
        assert adata.uns["found_colors"] == [colors[1], colors[2], colors[0]]

    def test_the_same_domains_under_another_key_keep_their_colours(self) -> None:
        adata = tissue()
        adata.obs["refined"] = adata.obs["domain"]
        adata.obs.loc[adata.obs_names[:20], "refined"] = "c"
        drawn(adata, "domain", palette=["red", "lime", "blue"])
        drawn(adata, "refined")
        assert adata.uns["refined_colors"] == adata.uns["domain_colors"]

    def test_names_are_written_on_the_tissue_beyond_12(self) -> None:
        adata = tissue(np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(26) for x in range(26)]))
        stripes = [f"d{index:02}" for index in range(13)]
        adata.obs["many"] = np.repeat(stripes, 52)
        adata.obs["few"] = adata.obs["many"].replace("d12", "d11")
        many, few = drawn(adata, ["many", "few"]).axes
        assert sorted(text.get_text() for text in many.texts) == stripes
        assert not few.texts
        assert not drawn(adata, "many", legend_loc=None).axes[0].texts
        adata.obs["long"] = "domain " + adata.obs["many"]
        (ax,) = drawn(adata, "long").axes
        assert sorted(int(text.get_text()) for text in ax.texts) == list(range(1, 14))
        assert ax.get_legend().get_texts()[2].get_text() == "3 domain d02"
        adata.obs["scattered"] = np.random.default_rng(0).permutation(adata.obs["many"].to_numpy())
        assert not drawn(adata, "scattered").axes[0].texts
        (on,) = drawn(adata, "few", legend_loc="on data").axes
        assert len(on.texts) == 12
        assert on.get_legend() is None

    def test_match_colors_pairs_by_shared_spots(self) -> None:
        adata = tissue()
        adata.obs["found"] = np.where(adata.obs["domain"] == "a", "2", np.where(adata.obs["domain"] == "b", "0", "1"))
        adata.obs.loc[adata.obs_names[:15], "found"] = "3"
        sp.pl.match_colors(adata, "found", to="domain")
        a, b, c = adata.uns["domain_colors"]
        *paired, alone = adata.uns["found_colors"]
        assert paired == [b, c, a]
        assert alone not in {a, b, c}


def delta_e(colors: list[str]) -> np.ndarray:
    """Least CIEDE2000 of any two colours over normal, deuteranopic and protanopic vision (Machado et al. 2009)."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = np.array([to_rgba(color)[:3] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    deuteranopia = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    protanopia = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    least = np.full((len(colors), len(colors)), np.inf)
    for matrix in (np.eye(3), deuteranopia, protanopia):
        seen = np.clip(linear @ np.transpose(matrix), 0, 1)
        lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
        least = np.minimum(least, deltaE_ciede2000(lab[:, None], lab[None]))
    return least + np.diag(np.full(len(colors), np.inf))


def test_any_two_of_the_first_12_colours_can_be_told_apart() -> None:
    from spotscape._core.colors import UNLABELLED, default_colors

    assert delta_e([*default_colors(12), UNLABELLED]).min() >= 10
    # The check sees a pair that is not: red and green of matplotlib's own cycle.
    assert delta_e(["#2ca02c", "#d62728"]).min() < 10 or delta_e(["#8c564b", "#2ca02c"]).min() < 10


class TestSlicesWithoutAKey:
    """Slices that lie on each other are never drawn on each other."""

    def test_the_record_of_the_graph_says_which_column(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue(n_slices=2)
        sp.pp.spatial_neighbors_knn(adata, library_key="lib")
        assert len(drawn(adata, "domain").axes) == 2
        assert "adata.obs['lib']" in caplog.text

    def test_a_usual_name_counts_where_groups_overlap(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue(n_slices=2)
        adata.obs["sample"] = adata.obs["lib"]
        assert len(drawn(adata, "domain").axes) == 1
        adata.obsm["spatial"][144:] -= 5000
        assert len(drawn(adata, "domain").axes) == 2
        assert "adata.obs['sample']` overlap" in caplog.text


class TestValues:
    """Numbers from wherever expression is kept, and their scale."""

    def test_percentiles_and_a_centre(self) -> None:
        adata = tissue()
        adata.obs["depth"] = np.linspace(-1, 3, 144)
        (bar,) = drawn(adata, "depth", vmin="p0", vmax="p50").axes[0].child_axes
        assert bar.get_ylim() == pytest.approx((-1, 1))
        (ax,) = drawn(adata, "depth", vcenter=0, vmin=-1, vmax=3, cmap="coolwarm").axes
        middle = np.abs(adata.obs["depth"]).argmin()
        grey = plt.get_cmap("coolwarm")(0.5)
        assert np.allclose(tiles(ax).get_facecolors()[middle], grey, atol=0.03)

    def test_genes_of_raw_dask_and_symbols(self) -> None:
        dask = pytest.importorskip("dask.array")
        adata = tissue()
        values = adata.X[:, 0].copy()
        expected = tiles(drawn(adata, "Mbp").axes[0]).get_facecolors()
        adata.var["symbol"] = ["first", "second"]
        adata.raw = adata
        lazy = adata.copy()
        lazy.X = dask.from_array(lazy.X)
        bare = ad.AnnData(obs=adata.obs, obsm={"spatial": HEXAGONS}, layers={"counts": adata.X}, var=adata.var)
        kept = adata[:, [1]].copy()
        for data, options in (
            (lazy, {"color": "Mbp"}),
            (bare, {"color": "Mbp", "layer": "counts"}),
            (kept, {"color": "Mbp"}),
            (adata, {"color": "first", "gene_symbols": "symbol"}),
            (kept, {"color": "first", "gene_symbols": "symbol"}),
        ):
            assert np.array_equal(tiles(drawn(data, **options).axes[0]).get_facecolors(), expected)
        assert values.std() > 0
        with pytest.raises(KeyError, match=r"adata.X is None.*name a layer.*counts"):
            drawn(bare, "Mbp")

    @pytest.mark.parametrize("place", ["var", "symbols", "raw"])
    def test_a_gene_whose_name_occurs_twice_is_refused(self, place: str) -> None:
        adata, options = tissue(), {}
        if place == "symbols":
            adata.var["symbol"] = ["Mbp", "Mbp"]
            options = {"gene_symbols": "symbol"}
        else:
            adata.var_names = ["Mbp", "Mbp"]
        if place == "raw":
            adata.raw = adata
            adata.var_names = ["a", "b"]
        with pytest.raises(ValueError, match=r"'Mbp' names 2 genes, because .* are not unique"):
            drawn(adata, "Mbp", **options)

    def test_without_a_key_the_domains_that_were_found(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue()
        assert [ax.get_title() for ax in drawn(adata, None).axes] == [""]
        adata.obs["smoothed_pca_domain"] = adata.obs["consensus_domain"] = adata.obs["domain"]
        with caplog.at_level("INFO", logger="spotscape"):
            assert [ax.get_title() for ax in drawn(adata, None).axes] == ["smoothed_pca_domain", "consensus_domain"]
        assert "Showing 'smoothed_pca_domain', 'consensus_domain' of `adata.obs`." in caplog.text
        assert [ax.get_title() for ax in drawn(adata, [None]).axes] == [""]

    def test_a_category_without_spots_is_not_in_the_legend(self) -> None:
        adata = tissue()
        adata.obs["domain"] = adata.obs["domain"].cat.set_categories(["unused", "a", "b", "c"])
        legend = drawn(adata, "domain").axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]
        colors = [handle.get_color() for handle in legend.legend_handles]
        stored = adata.uns["domain_colors"]
        assert len(stored) == 4
        assert all(same_color(one, other) for one, other in zip(colors, stored[1:], strict=True))

    def test_no_colour_at_all(self) -> None:
        plain, _ = drawn(tissue(), [None, "domain"]).axes
        assert np.allclose(tiles(plain).get_facecolors(), to_rgba("#DCDCDC"))
        assert plain.get_legend() is None


class TestWhatFilesHold:
    """Images and scale factors as they come."""

    @staticmethod
    def with_image(pixels: Any, scale: Any = 0.1, **factors: Any) -> ad.AnnData:
        adata = tissue()
        scales = {} if scale is None else {"tissue_hires_scalef": scale}
        adata.uns["spatial"] = {"v1": {"images": {"hires": pixels}, "scalefactors": {**scales, **factors}}}
        return adata

    @pytest.mark.parametrize(
        "shape", [(40, 30, 3), (3, 40, 30), (1, 40, 30), (40, 30, 1), (40, 30), (40, 30, 4)], ids=str
    )
    def test_channels_anywhere(self, shape: tuple[int, ...]) -> None:
        (image,) = drawn(self.with_image(np.random.default_rng(0).random(shape)), "domain").axes[0].images
        assert image.get_array().shape[:2] == (40, 30)

    def test_an_array_of_one_as_scale_factor(self) -> None:
        (image,) = drawn(self.with_image(np.zeros((40, 30, 3)), np.array([0.1])), "domain").axes[0].images
        assert image.get_extent() == [0, 300, 400, 0]

    def test_sixteen_bits_are_stretched_and_eight_are_not(self) -> None:
        ramp = np.linspace(0, 4000, 1200).reshape(40, 30)
        (image,) = drawn(self.with_image(ramp.astype(np.uint16)), "domain").axes[0].images
        assert np.asarray(image.get_array()).max() == pytest.approx(1)
        colours = np.full((40, 30, 3), 100, np.uint8)
        colours[0, 0] = 0
        (image,) = drawn(self.with_image(colours), "domain").axes[0].images
        assert np.array_equal(image.get_array(), colours)
        (image,) = drawn(self.with_image(colours), "domain", img_contrast=(0, 100), img_alpha=0.5).axes[0].images
        assert np.asarray(image.get_array()).max() == 1
        assert image.get_alpha() == 0.5

    @pytest.mark.parametrize(
        ("uns", "words"),
        [
            ({"is_single": True}, None),
            ({"v1": {"images": {"hires": np.zeros((4, 4, 3))}, "scalefactors": {}}}, "has no scale factor"),
            ({"v1": {"images": {"hires": np.zeros((5, 5, 7))}, "scalefactors": {"tissue_hires_scalef": 1}}}, "shape"),
            ({"a": {"images": {"hires": 1}}, "b": {"images": {"hires": 1}}}, r"images of \['a', 'b'\]"),
        ],
    )
    def test_what_cannot_be_shown_is_said(self, uns: Any, words: Any, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue()
        adata.uns["spatial"] = uns
        assert not drawn(adata, "domain").axes[0].images
        assert re.search(words, caplog.text) if words else not caplog.text

    def test_ids_that_are_no_slices(self, caplog: pytest.LogCaptureFixture) -> None:
        adata = tissue(n_slices=2)
        adata.uns["spatial"] = {"V1_rep1": {"images": {"hires": np.zeros((4, 4, 3))}}}
        drawn(adata, "domain", library_key="lib")
        assert "images of ['V1_rep1'], and `adata.obs['lib']` the slices ['s0', 's1']" in caplog.text

    def test_a_crop(self) -> None:
        (ax,) = drawn(tissue(), "domain", crop_coord=(100, 400, 200, 300)).axes
        assert (ax.get_xlim(), ax.get_ylim()) == ((100, 400), (300, 200))

    @pytest.mark.parametrize(
        ("factors", "options", "unit"),
        [
            ({"spot_diameter_fullres": 55}, {}, 1.0),
            ({"microns_per_pixel": 0.27}, {}, 0.27),
            ({}, {}, None),
            ({}, {"scalebar": 2.0}, 2.0),
            ({"microns_per_pixel": 0.27}, {"scalebar": False}, None),
        ],
    )
    def test_scale_bar_where_the_unit_is_known(self, factors: Any, options: Any, unit: Any) -> None:
        (ax,) = drawn(self.with_image(np.zeros((4, 4, 3)), **factors), "domain", **options).axes
        found = [artist.dx for artist in ax.artists if hasattr(artist, "dx")]
        assert found == pytest.approx([] if unit is None else [unit])


@pytest.mark.parametrize("corner", ["lower left", "lower right", "upper left", "upper right"])
def test_the_scale_bar_takes_the_corner_without_spots(corner: str) -> None:
    """Below the tissue lies debris in all corners but one, so low that the bar would cover nothing else."""
    vertical, side = corner.split()
    block = np.array([[x, y] for x in range(60) for y in range(60)], float)
    debris = [[x, y] for y in (-5, 64) for x in (1, 2, 3, 56, 57, 58)]
    empty = {"lower": 64, "upper": -5}[vertical], {"left": (1, 2, 3), "right": (56, 57, 58)}[side]
    kept = [[x, y] for x, y in debris if not (y == empty[0] and x in empty[1])]
    # More tissue within reach of the bar on the empty side, as large as a bar drawn without measure would be.
    near = [[x, empty[0] + (-4 if vertical == "lower" else 4)] for x in empty[1]]
    adata = ad.AnnData(obsm={"spatial": np.vstack([block, kept, near])})
    figure = sp.pl.domains(adata, None, scalebar=100.0, return_fig=True)
    figure.draw_without_rendering()
    (bar,) = [artist for artist in figure.axes[0].artists if hasattr(artist, "dx")]
    assert bar.location == {"lower left": 3, "lower right": 4, "upper left": 2, "upper right": 1}[corner]


def test_a_script_saves_what_it_drew(tmp_path: Path) -> None:
    grid = np.array([[x, y] for x in range(10) for y in range(10)], float)
    adata = ad.AnnData(np.ones((100, 1)), obsm={"spatial": grid})
    adata.obs["domain"] = np.repeat(["a", "b"], 50)
    sp.pl.domains(adata, "domain")
    plt.savefig(tmp_path / "shown.png")
    pixels = plt.imread(tmp_path / "shown.png")[..., :3]
    for color in ("#0072B2", "#E69F00"):
        assert (np.abs(pixels - to_rgba(color)[:3]).max(axis=2) < 0.02).mean() > 0.1


def test_a_high_legend_does_not_shrink_panels_of_wide_tissue() -> None:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.zeros((300, 1), np.float32), obsm={"spatial": rng.random((300, 2)) * [3.0, 1.0]})
    for key in ("one", "other"):
        adata.obs[key] = pd.Categorical([str(number) for number in range(12)] * 25)
    figure = sp.pl.domains(adata, ["one", "other"], return_fig=True)
    figure.draw_without_rendering()
    widths = [ax.get_window_extent().width / figure.dpi for ax in figure.axes]
    assert min(widths) > 2.5
