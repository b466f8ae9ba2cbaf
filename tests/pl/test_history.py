from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

import spotscape as sp

CURVES = {
    "loss": np.geomspace(1, 0.001, 50),
    "reconstruction": np.linspace(0.4, 0.3, 50),
    "gap": np.linspace(1, -1, 50),
}


@pytest.mark.parametrize("source", ["adata", "record", "curves"])
def test_a_panel_for_every_curve(source: str) -> None:
    adata = ad.AnnData(np.ones((2, 2)), uns={"mine": {"history": CURVES, "params": {}}})
    given = {"adata": adata, "record": adata.uns["mine"], "curves": CURVES}[source]
    figure = sp.pl.history(given, key="mine", return_fig=True)
    assert [ax.get_title() for ax in figure.axes] == list(CURVES)
    for ax, values in zip(figure.axes, CURVES.values(), strict=True):
        (line,) = ax.lines
        assert np.array_equal(line.get_ydata(), values)
        assert np.array_equal(line.get_xdata(), np.arange(1, 51))
    assert not plt.get_fignums()


def test_scales_follow_the_curves() -> None:
    curves = {**CURVES, "broken": [np.nan, np.nan], "lr": np.geomspace(1e-3, 1e-8, 50)}
    figure = sp.pl.history(curves, return_fig=True)
    assert [ax.get_yscale() for ax in figure.axes] == ["log", "linear", "linear", "linear", "linear"]
    figure.canvas.draw()


def test_rows_are_of_one_length() -> None:
    figure = sp.pl.history({f"loss {i}": [1, 2] for i in range(6)}, figsize=(5, 4), dpi=40, return_fig=True)
    assert len(figure.axes) == 6
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert tuple(figure.get_size_inches()) == (5, 4)


def test_five_panels_share_a_row() -> None:
    """Three losses, their sum and the rate: what SpaCross leaves."""
    rate = np.full(50, 1e-3)
    figure = sp.pl.history({**CURVES, "contrast": np.linspace(2, 1, 50), "lr": rate}, return_fig=True)
    assert figure.axes[0].get_gridspec().get_geometry() == (1, 5)
    assert figure.axes[-1].get_title() == "learning rate"
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == ["0.001"]


@pytest.mark.parametrize("encoder", ["spotscape", "spacross"])
def test_the_encoder_that_was_run_need_not_be_named(encoder: str) -> None:
    adata = ad.AnnData(np.ones((2, 2)), uns={encoder: {"history": {"loss": [2, 1]}}, "prepare": {}})
    assert len(sp.pl.history(adata, return_fig=True).axes) == 1
    adata.uns["spotscape"] = adata.uns["spacross"] = adata.uns[encoder]
    with pytest.raises(ValueError, match=r"adata\.uns has 'spotscape' and 'spacross'; name one: key='spotscape'"):
        sp.pl.history(adata, return_fig=True)
    assert len(sp.pl.history(adata, key="spacross", return_fig=True).axes) == 1


def test_errors() -> None:
    adata = ad.AnnData(np.ones((2, 2)), uns={"other": {"params": {}}})
    with pytest.raises(KeyError, match=r"'spotscape' not found in adata\.uns, which has: 'other'"):
        sp.pl.history(adata, return_fig=True)
    with pytest.raises(
        ValueError, match=r"adata.uns\['other'\] is not a record of that kind, but a dict without 'history'"
    ):
        sp.pl.history(adata, key="other", return_fig=True)
    with pytest.raises(ValueError, match="the history holds no curves"):
        sp.pl.history({"history": {}}, return_fig=True)
    with pytest.raises(ValueError, match=r"curve 'loss' of the history has shape \(2, 2\)"):
        sp.pl.history({"loss": np.ones((2, 2))})
