from __future__ import annotations

from typing import Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

import spotscape as sp


@pytest.fixture
def adata() -> ad.AnnData:
    curve = {
        "k": np.arange(2, 7),
        "mean": np.array([0.6, 0.7, 0.98, 0.9, 0.8]),
        "sd": np.array([0.2, 0.1, 0.03, 0.05, 0.1]),
        "to_next": np.array([0.5, 0.6, 0.8, 0.7, np.nan]),
        "bic": np.array([900.0, 700.0, 500.0, 490.0, 495.0]),
    }
    return ad.AnnData(np.ones((2, 2)), uns={"n_domains": {"picked": 4, "curve": curve}})


def test_both_curves_and_the_number_chosen(adata: ad.AnnData) -> None:
    figure = sp.pl.n_domains(adata, figsize=(6, 2), dpi=50, return_fig=True)
    curve = adata.uns["n_domains"]["curve"]
    for ax, expected in zip(figure.axes, (curve["mean"], curve["bic"] - 490), strict=True):
        mark, line, point = ax.lines
        assert list(mark.get_xdata()) == [4, 4]
        np.testing.assert_array_equal(line.get_xdata(), [2, 3, 4, 5, 6])
        np.testing.assert_array_equal(line.get_ydata(), expected)
        assert (list(point.get_xdata()), list(point.get_ydata())) == ([4], [expected[2]])
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["chosen: 4"]
    (band,) = figure.axes[0].collections
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].max() == 1
    assert vertices[:, 1].min() == pytest.approx(0.4)
    assert tuple(figure.get_size_inches()) == (6, 2)
    assert not plt.get_fignums()


def test_stability_below_zero_is_not_cut_off(adata: ad.AnnData) -> None:
    adata.uns["n_domains"]["curve"]["mean"][0] = -0.1
    assert sp.pl.n_domains(adata, return_fig=True).axes[0].get_ylim()[0] == pytest.approx(-0.3)


@pytest.mark.parametrize(
    ("uns", "message"),
    [
        ({"other": 1}, r"'n_domains' not found in adata.uns, which has: 'other'.*sp.tl.choose_n_domains\(adata\)"),
        (
            {"n_domains": {"picked": 3}},
            r"adata.uns\['n_domains'\] is not a record .*, but a dict without 'curve'. It is made",
        ),
        ({"n_domains": {"curve": {}}}, r"adata.uns\['n_domains'\] is not a record .*, but a dict without 'picked'"),
        ({"n_domains": {"curve": {}, "picked": 3}}, r"'k' not found in adata.uns\['n_domains'\]\['curve'\]"),
    ],
)
def test_errors(uns: dict[str, Any], message: str) -> None:
    with pytest.raises((KeyError, ValueError), match=message):
        sp.pl.n_domains(ad.AnnData(np.ones((2, 2)), uns=uns))
