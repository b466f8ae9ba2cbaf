from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color, to_rgba

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
    figure = sp.pl.domains(tissue(n_slices=n_slices), color=color, library_key="lib", ncols=ncols)
    keys = [color] if isinstance(color, str) else color
    assert len(figure.axes) == n_slices * len(keys)
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    expected = keys if n_slices == 1 else [f"s{i}" for i in range(n_slices)] * len(keys)
    assert [ax.get_title() for ax in figure.axes] == expected
    figure.canvas.draw()


def test_panels_show_their_own_spots() -> None:
    adata = tissue(n_slices=2)
    figure = sp.pl.domains(adata, color="domain", library_key="lib")
    for i, ax in enumerate(figure.axes):
        assert np.array_equal(tiles(ax).get_offsets(), HEXAGONS + 5000 * i)
        low, high = ax.get_xlim()
        assert low < tiles(ax).get_offsets()[:, 0].min()
        assert high > tiles(ax).get_offsets()[:, 0].max()
        assert ax.get_aspect() == 1
        assert not ax.axison


def test_one_palette_across_slices_kept_in_uns() -> None:
    adata = tissue(n_slices=2)
    figure = sp.pl.domains(adata, color="domain", library_key="lib")
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
    figure = sp.pl.domains(adata, color="domain", library_key="lib")
    first, second = (tiles(ax).get_facecolors() for ax in figure.axes)
    assert np.allclose(first[1], second[0])


def test_stored_colours_are_respected_and_palette_replaces_them() -> None:
    adata = tissue()
    adata.uns["domain_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    figure = sp.pl.domains(adata, color="domain")
    assert np.allclose(tiles(figure.axes[0]).get_facecolors()[1], [0, 1, 0, 1])
    assert list(adata.uns["domain_colors"]) == ["#ff0000", "#00ff00", "#0000ff"]
    sp.pl.domains(adata, color="domain", palette={"a": "black", "b": "white", "c": "#123456", "z": "red"})
    assert list(adata.uns["domain_colors"]) == ["#000000", "#ffffff", "#123456"]
    sp.pl.domains(adata, color="domain", palette=["red", "blue", "lime", "cyan"])
    assert list(adata.uns["domain_colors"]) == ["#ff0000", "#0000ff", "#00ff00"]
    sp.pl.domains(adata, color="domain", palette="tab10")
    assert list(adata.uns["domain_colors"]) == ["#1f77b4", "#ff7f0e", "#2ca02c"]
    sp.pl.domains(adata, color="domain", palette="viridis")
    assert list(adata.uns["domain_colors"]) == ["#440154", "#21918c", "#fde725"]


def test_stale_colours_are_not_used_and_not_overwritten() -> None:
    adata = tissue()
    adata.uns["domain_colors"] = ["#ff0000"]
    with pytest.warns(UserWarning, match=r"uns\['domain_colors'\] has 1 colours for 3 categories.*palette="):
        sp.pl.domains(adata, color="domain")
    assert adata.uns["domain_colors"] == ["#ff0000"]


@pytest.mark.filterwarnings("error")
def test_a_view_is_not_written_to() -> None:
    adata = tissue(n_slices=2)
    view = adata[adata.obs["lib"] == "s0"]
    sp.pl.domains(view, color="domain", library_key="lib")
    assert view.is_view
    assert "domain_colors" not in adata.uns


def test_text_and_booleans_are_categories_and_leave_no_colours() -> None:
    adata = tissue()
    adata.obs["text"] = adata.obs["domain"].astype(str)
    adata.obs["flag"] = adata.obs["depth"] > 0.5
    figure = sp.pl.domains(adata, color=["text", "flag"])
    labels = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert labels == [["a", "b", "c"], ["False", "True"]]
    assert not adata.uns
    assert adata.obs["text"].dtype == object or adata.obs["text"].dtype == "string"


def test_unlabelled_spots_are_light_grey() -> None:
    adata = tissue()
    adata.obs.loc[adata.obs_names[:3], "domain"] = np.nan
    adata.obs.loc[adata.obs_names[:3], "depth"] = np.nan
    figure = sp.pl.domains(adata, color=["domain", "depth"])
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
    figure = sp.pl.domains(adata, color="Mbp", library_key="lib", layer=layer, vmin=0, vmax=600)
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
    figure = sp.pl.domains(adata, color=["depth", "same", "none"])
    figure.canvas.draw()
    adata.obs["depth"] = [*np.linspace(0, 1, 143), 1e6]
    (bar,) = sp.pl.domains(adata, color="depth").axes[0].child_axes
    assert bar.get_ylim()[1] < 2


@pytest.mark.parametrize(
    ("coords", "corners", "width"),
    [(HEXAGONS, 6, 100), (SQUARES, 4, 50), (CELLS, None, None)],
    ids=["hexagons", "squares", "cells"],
)
def test_spots_have_the_shape_and_size_of_their_cell_in_data_units(
    coords: np.ndarray, corners: Any, width: Any
) -> None:
    (ax,) = sp.pl.domains(tissue(coords), color="domain").axes
    path = tiles(ax).get_paths()[0]
    if corners is None:
        spacing = np.median(np.sort(np.linalg.norm(coords[:, None] - coords, axis=-1))[:, 1])
        assert drawn_width(ax) == pytest.approx(1.45 * spacing, rel=0.01)
    else:
        assert len(np.unique(np.round(path.vertices, 6), axis=0)) == corners
        assert drawn_width(ax) == pytest.approx(width, rel=0.01)
    ax.set_xlim(coords[:, 0].min(), coords[:, 0].mean())
    zoomed = drawn_width(ax)
    (half,) = sp.pl.domains(tissue(coords), color="domain", size=0.5).axes
    assert drawn_width(half) == pytest.approx(zoomed / 2)


@pytest.mark.parametrize("degrees", [0, 17, 45])
@pytest.mark.parametrize(("coords", "corners"), [(HEXAGONS, 6), (SQUARES, 4)])
def test_tiles_of_a_turned_lattice_meet_edge_to_edge(coords: np.ndarray, corners: Any, degrees: int) -> None:
    turn = np.deg2rad(degrees)
    turned = coords @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    (ax,) = sp.pl.domains(tissue(turned), color="domain").axes
    vertices = tiles(ax).get_paths()[0].vertices[:corners]
    middles = (vertices + np.roll(vertices, -1, axis=0)) / 2
    neighbours = turned - turned[len(turned) // 2 + 6]
    for middle in middles:
        assert np.linalg.norm(neighbours - 2 * middle, axis=1).min() < 1e-3 * np.linalg.norm(middle)


def test_y_points_down_unless_told() -> None:
    adata = tissue()
    down, up = (sp.pl.domains(adata, color="domain", invert_y=flag).axes[0].get_ylim() for flag in (True, False))
    assert down[0] > down[1]
    assert up[0] < up[1]


@pytest.mark.parametrize(("n", "rasterized"), [(144, False), (50_001, True)])
def test_rasterised_above_50000_spots(n: Any, rasterized: bool) -> None:
    (ax,) = sp.pl.domains(tissue(np.random.default_rng(0).random((n, 2))), color="domain").axes
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
        figure = sp.pl.domains(adata, color="domain", library_key="lib")
        assert not figure.axes[0].images
        (image,) = figure.axes[1].images
        assert image.get_extent() == [0, 300, 400, 0]
        assert image.get_zorder() < tiles(figure.axes[1]).get_zorder()
        assert drawn_width(figure.axes[1]) == pytest.approx(70, rel=0.01)

    def test_low_resolution_will_do(self, adata: ad.AnnData) -> None:
        del adata.uns["spatial"]["s1"]["images"]["hires"]
        figure = sp.pl.domains(adata, color="domain", library_key="lib")
        assert figure.axes[1].images[0].get_array().shape[:2] == (4, 3)

    def test_can_be_left_out(self, adata: ad.AnnData) -> None:
        figure = sp.pl.domains(adata, color="domain", library_key="lib", image=False)
        assert not figure.axes[1].images

    def test_without_slices_the_only_image_is_taken(self, adata: ad.AnnData) -> None:
        assert sp.pl.domains(adata, color="domain").axes[0].images
        adata.uns["spatial"]["other"] = adata.uns["spatial"]["s1"]
        assert not sp.pl.domains(adata, color="domain").axes[0].images

    def test_other_things_under_that_key_are_passed_over(self, adata: ad.AnnData) -> None:
        adata.uns["spatial"] = np.ones(3)
        assert not sp.pl.domains(adata, color="domain").axes[0].images


def test_draws_on_given_axes() -> None:
    figure, axes = plt.subplots(1, 2)
    assert sp.pl.domains(tissue(), color="domain", ax=axes[0], title="mine") is axes[0]
    sp.pl.domains(tissue(), color="depth", ax=axes[1], legend=False)
    assert axes[0].get_title() == "mine"
    assert axes[0].get_legend() is not None
    assert not axes[1].child_axes
    plt.close(figure)


def test_leaves_pyplot_alone() -> None:
    mine = plt.figure()
    figure = sp.pl.domains(tissue(), color="domain", figsize=(3, 2), dpi=50)
    assert plt.gcf() is mine
    assert plt.get_fignums() == [mine.number]
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert figure.dpi == 50
    plt.close(mine)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_can_be_saved(tmp_path: Path, suffix: str) -> None:
    figure = sp.pl.domains(tissue(n_slices=2), color=["domain", "Mbp"], library_key="lib")
    figure.savefig(tmp_path / f"tissue.{suffix}", bbox_inches="tight")
    assert (tmp_path / f"tissue.{suffix}").stat().st_size > 1000


def test_legend_can_be_left_out_and_titles_then_name_the_key() -> None:
    figure = sp.pl.domains(tissue(n_slices=2), color=["domain", "Mbp"], library_key="lib", legend=False)
    assert figure.axes[0].get_title() == "domain, s0"
    assert all(ax.get_legend() is None and not ax.child_axes for ax in figure.axes)


def test_slices_of_like_size_share_their_scale_and_others_their_shape() -> None:
    for factor, same in ((1.5, True), (10, False)):
        adata = tissue(np.vstack([HEXAGONS, HEXAGONS * factor]))
        adata.obs["lib"] = pd.Categorical(np.repeat(["small", "large"], 144))
        figure = sp.pl.domains(adata, color="domain", library_key="lib")
        large, small = (np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())]) for ax in figure.axes)
        assert np.allclose(large, small) == same
        assert large[0] / large[1] == pytest.approx(small[0] / small[1])


def test_few_spots_and_coincident_spots() -> None:
    for coords in (np.zeros((1, 2)), np.zeros((5, 2)), np.array([[0.0, 0], [1, 1]])):
        adata = tissue(coords)
        sp.pl.domains(adata, color="depth").canvas.draw()


def test_default_colours_are_distinct_however_many() -> None:
    from spotscape.pl._palette import default_colors

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
            ({"size": 0}, ValueError, "size=0 must be positive"),
            ({"ncols": 0}, ValueError, "ncols=0 must be at least 1"),
            ({"palette": ["red"]}, ValueError, "palette has 1 colours for 3 categories"),
            ({"palette": {"a": "red"}}, ValueError, r"palette has no colour for the categories \['b', 'c'\]"),
            ({"palette": "nope"}, ValueError, "palette='nope' is not a colormap of matplotlib"),
            ({"palette": ["red", "blue", "nope"]}, ValueError, "palette has 'nope', which is not a colour"),
            ({"title": ["a", "b"]}, ValueError, "title has 2 entries for 1 panels"),
        ],
    )
    def test_arguments(self, kwargs: dict[str, Any], error: type[Exception], match: str) -> None:
        adata = tissue()
        with pytest.raises(error, match=match):
            sp.pl.domains(adata, **{"color": "domain", **kwargs})
        assert not adata.uns

    def test_ax_takes_one_panel(self) -> None:
        figure, ax = plt.subplots()
        with pytest.raises(ValueError, match=r"ax takes one panel, but 2 slice\(s\) of 1 key\(s\) make 2"):
            sp.pl.domains(tissue(n_slices=2), color="domain", library_key="lib", ax=ax)
        plt.close(figure)

    def test_nothing_to_show(self) -> None:
        with pytest.raises(ValueError, match="0 spots"):
            sp.pl.domains(tissue()[:0].copy(), color="domain")


class TestConfidence:
    """Colours fade, to near white but never all the way."""

    def test_colours_by_hand(self) -> None:
        adata = tissue()
        adata.obs["sure"] = np.resize([1.0, 0.0, 0.5, np.nan], adata.n_obs)
        plain = tiles(sp.pl.domains(adata, color="domain").axes[0]).get_facecolors()
        faded = tiles(sp.pl.domains(adata, color="domain", confidence="sure").axes[0]).get_facecolors()
        pale = np.array(to_rgba("#F7F7F7"))
        np.testing.assert_allclose(faded[0], plain[0])
        np.testing.assert_allclose(faded[1], 0.08 * plain[1] + 0.92 * pale)
        np.testing.assert_allclose(faded[2], 0.54 * plain[2] + 0.46 * pale)
        np.testing.assert_allclose(faded[3], 0.08 * plain[3] + 0.92 * pale)

    def test_numbers_do_not_fade(self) -> None:
        adata = tissue()
        adata.obs["sure"] = 0.5
        plain, faded = (sp.pl.domains(adata, color="depth", confidence=one).axes[0] for one in (None, "sure"))
        np.testing.assert_array_equal(tiles(plain).get_facecolors(), tiles(faded).get_facecolors())

    def test_the_legend_keeps_full_colours(self) -> None:
        adata = tissue()
        adata.obs["sure"] = 0.0
        legend = sp.pl.domains(adata, color="domain", confidence="sure").axes[0].get_legend()
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
            sp.pl.domains(adata, color="domain", confidence="sure")
