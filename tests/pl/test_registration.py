from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

import spotscape as sp

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
        ({"library_key": "slice", "size": 0}, ValueError, "size=0 lies outside"),
        ({"library_key": "slice", "alpha": 2}, ValueError, "alpha=2 lies outside"),
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
