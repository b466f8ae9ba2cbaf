from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from skimage.transform import estimate_transform

import spotscape as sp
from spotscape.registration._section import move

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture(scope="module")
def registered() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=[400, 300], n_genes=30, n_domains=3, rotation=[0, 70])
    sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
    return adata


def test_before_and_after_with_every_spot(registered: AnnData) -> None:
    figure = sp.pl.registration(registered, style="spots", return_fig=True)
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == ["before", "after"]
    for ax, key in zip(figure.axes, ("spatial", "spatial_aligned"), strict=True):
        drawn = np.asarray(ax.collections[0].get_offsets())
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(registered.obsm[key], axis=0))
        assert ax.get_aspect() == 1.0
    figure.canvas.draw()


def test_colours_belong_to_slices(registered: AnnData) -> None:
    palette = {"slice_1": "#112233", "slice_2": "#445566"}
    figure = sp.pl.registration(
        registered, library_key="slice", palette=palette, alpha=0.5, style="spots", return_fig=True
    )
    tiles = figure.axes[1].collections[0]
    drawn = {tuple(xy): to_hex(c) for xy, c in zip(tiles.get_offsets().round(3), tiles.get_facecolors(), strict=True)}
    for name, color in palette.items():
        rows = (registered.obs["slice"] == name).to_numpy()
        assert {drawn[tuple(xy)] for xy in registered.obsm["spatial_aligned"][rows].round(3)} == {color}
    legend = figure.axes[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(palette)


def test_sections_that_are_called_by_their_height(registered: AnnData) -> None:
    adata = registered.copy()
    adata.obs["Bregma"] = np.where(adata.obs["slice"] == "slice_1", -0.29, 0.06)
    sp.pp.register_slices(adata, library_key="Bregma", labels_key="domain")
    figure = sp.pl.registration(adata, library_key="Bregma", return_fig=True)
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend() is not None] + figure.legends
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["-0.29", "0.06"]]


def test_the_caption_says_the_rmse(registered: AnnData) -> None:
    figure = sp.pl.registration(registered, library_key="slice", return_fig=True)
    rmse = registered.uns["spatial_aligned"]["rmse"][1]
    assert any(text.get_text().startswith(f"RMSE {rmse:.3g}") for text in figure.axes[1].texts)


def test_y_points_down_unless_told(registered: AnnData) -> None:
    down, up = (
        sp.pl.registration(registered, library_key="slice", invert_y=flag, return_fig=True).axes[0]
        for flag in (True, False)
    )
    assert down.yaxis_inverted()
    assert not up.yaxis_inverted()


def test_nothing_is_written(registered: AnnData) -> None:
    before = set(registered.uns)
    sp.pl.registration(registered, library_key="slice", return_fig=True)
    assert set(registered.uns) == before


def test_many_spots_are_rasterised(registered: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotscape.pl._sheet.RASTER_ABOVE", 100)
    figure = sp.pl.registration(registered, style="spots", return_fig=True)
    assert figure.axes[0].collections[0].get_rasterized()


def test_outlines_meet_after_registration(registered: AnnData) -> None:
    before, after = sp.pl.registration(registered, style="outline", show=False)
    apart = []
    for ax in (before, after):
        outlines = [np.vstack([path.vertices for path in lines.get_paths()]) for lines in ax.collections]
        assert len(outlines) == 2
        assert not ax.images
        apart.append(cKDTree(outlines[0]).query(outlines[1])[0].mean())
    assert apart[1] < 0.7 * apart[0]
    density = sp.pl.registration(registered, show=False)[1]
    assert [len(density.images), len(density.collections)] == [2, 2]


def test_a_checkerboard_shows_each_slice_in_its_fields(registered: AnnData) -> None:
    *_, board = sp.pl.registration(registered, checkerboard="domain", show=False)
    drawn = np.asarray(board.collections[0].get_offsets())
    coords = registered.obsm["spatial_aligned"]
    low = coords.min(axis=0)
    field = np.ptp(coords, axis=0).max() / 6
    where = cKDTree(coords).query(drawn)[1]
    fields = np.floor((drawn - low) / field).astype(int).sum(axis=1) % 2
    np.testing.assert_array_equal(registered.obs["slice"].cat.codes.to_numpy()[where], fields)
    assert 0.35 < len(drawn) / len(coords) < 0.65


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"library_key": "slice", "key": "nothing"}, KeyError, "Call sp.pp.register_slices"),
        ({"library_key": "sample"}, KeyError, "'sample' not found in adata.obs"),
        ({"library_key": "slice", "spatial_key": "pixels"}, KeyError, "'pixels' not found in adata.obsm"),
    ],
)
def test_refuses(registered: AnnData, arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sp.pl.registration(registered, **arguments, return_fig=True)


def test_coordinates_that_were_lost(registered: AnnData) -> None:
    adata = registered.copy()
    del adata.obsm["spatial_aligned"]
    with pytest.raises(KeyError, match=r"'spatial_aligned' not found in adata\.obsm"):
        sp.pl.registration(adata, library_key="slice", return_fig=True)


def pattern(points: np.ndarray) -> np.ndarray:
    """A colour for every place of the tissue."""
    return np.stack([0.5 + 0.4 * np.sin(points @ np.array(way) / 150) for way in ((1, 0), (0, 1), (1, 1))], axis=-1)


@pytest.fixture(scope="module")
def photographed() -> AnnData:
    """The same tissue turned, each slice with an image in its own frame."""
    adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=[900, 800], n_genes=30, n_domains=3, rotation=[0, 70])
    adata.obsm["spatial"] = adata.obsm["spatial"] - adata.obsm["spatial"].min(axis=0)
    adata.uns["spatial"] = {}
    for name in adata.obs["slice"].cat.categories:
        rows = (adata.obs["slice"] == name).to_numpy()
        own = adata.obsm["spatial"][rows]
        to_truth = estimate_transform("euclidean", own, adata.obsm["spatial_truth"][rows]).params
        width, height = (0.1 * own.max(axis=0)).astype(int) + 1
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        pixels = np.uint8(255 * pattern(move(to_truth, np.stack([x, y], axis=-1).reshape(-1, 2) / 0.1)))
        adata.uns["spatial"][name] = {
            "images": {"hires": pixels.reshape(height, width, 3)},
            "scalefactors": {"tissue_hires_scalef": 0.1, "spot_diameter_fullres": 50.0},
        }
    sp.pp.register_slices(adata, library_key="slice", labels_key="domain", deform="smooth")
    return adata


@pytest.mark.slow
def test_a_checkerboard_of_images_shows_one_tissue(photographed: AnnData) -> None:
    *_, board, _ = sp.pl.registration(photographed, checkerboard="image", show=False)
    assert board.get_title() == "images"
    (layer,) = board.images
    pixels, (left, right, bottom, top) = layer.get_array(), layer.get_extent()
    x, y = (
        np.linspace(low, high, 2 * n + 1)[1::2]
        for low, high, n in ((left, right, pixels.shape[1]), (bottom, top, pixels.shape[0]))
    )
    places = np.stack(np.meshgrid(x, y), axis=-1)
    near = cKDTree(photographed.obsm["spatial_aligned"]).query(places)[0] < 60
    shown = near & (pixels[..., 3] == 1)
    assert shown.sum() > 0.9 * near.sum()
    reference = (photographed.obs["slice"] == "slice_1").to_numpy()
    own, truth = (photographed.obsm[key][reference] for key in ("spatial", "spatial_truth"))
    to_truth = estimate_transform("euclidean", own, truth).params
    expected = pattern(move(to_truth, places.reshape(-1, 2))).reshape(*places.shape[:2], 3)
    assert np.abs(pixels[..., :3] - expected)[shown].mean() < 0.05
    # The fields of the second slice would show something else without its transform.
    assert np.abs(np.roll(pixels[..., :3], 40, axis=0) - expected)[shown].mean() > 0.15


def test_images_that_are_not_there(registered: AnnData) -> None:
    with pytest.raises(KeyError, match="there is none"):
        sp.pl.registration(registered, checkerboard="image", return_fig=True)


def test_the_grid_of_each_bent_slice(photographed: AnnData) -> None:
    *_, grid = sp.pl.registration(photographed, show=False)
    assert grid.get_title() == "bending of slice_2"
    straight, bent = grid.collections
    before = np.vstack(straight.get_segments())
    steps = np.array(bent.get_segments())
    entry = photographed.uns["spatial_aligned"]
    own = move(np.linalg.inv(entry["transforms"][1]), before)
    moved = sp.pp.apply_registration(photographed, points=own, library="slice_2")
    assert cKDTree(moved).query(steps.reshape(-1, 2))[0].max() < 1e-6
    shifts = np.linalg.norm(moved - before, axis=1) / entry["spacing"][1]
    assert grid.texts[0].get_text().endswith(f"at most {bent.get_array().max():.2g} spacings")
    assert bent.get_array().max() == pytest.approx(shifts.max(), rel=0.02)
    assert len(sp.pl.registration(photographed, deformation=False, show=False)) == 2


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_the_colours_of_a_grid_stand_out_from_the_background(style: str) -> None:
    adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=150, n_genes=30, n_domains=3, geometry="irregular")
    sp.pp.register_slices(adata, library_key="slice", labels_key="domain", deform="smooth")
    with plt.style.context(style):
        figure = sp.pl.registration(adata, return_fig=True)
    (bent,) = [one for one in figure.axes[2].collections if one.get_array() is not None]
    shades = bent.get_cmap()(np.linspace(0, 1, 9))[:, :3].mean(axis=1)
    assert (abs(shades - np.mean(to_rgb(figure.get_facecolor()))) > 0.3).all()
