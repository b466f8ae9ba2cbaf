"""Where words stand: within the figure, not on each other, and not on a panel beside their own."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

import spotscape as sp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONG = "Layer {} of the somatosensory cortex, upper part"


def tissue(n_domains: int, name: str = "{}", *, n_slices: int = 1, wide: float = 1.0) -> ad.AnnData:
    """Patches of domains, in the order of their names, with a confidence and other domains to compare with."""
    across = int(np.ceil(np.sqrt(n_domains)))
    grid = np.array([[x, y] for y in range(6 * across) for x in range(6 * across)], float)
    codes = np.minimum(grid[:, 1] // 6 * across + grid[:, 0] // 6, n_domains - 1).astype(int)
    names = [name.format(number) for number in range(n_domains)]
    one = ad.AnnData(np.ones((len(grid), 1), np.float32), obsm={"spatial": grid * [wide, 1.0]})
    one.obs["domain"] = pd.Categorical.from_codes(codes, names)
    one.obs["found"] = pd.Categorical.from_codes(np.roll(codes, 2), names)
    one.obs["domain_confidence"] = np.linspace(0.2, 1, len(grid))
    if n_slices == 1:
        return one
    slices = {f"section {number}": one for number in range(n_slices)}
    return ad.concat(slices, label="slice", index_unique="-")


def written(figure: Figure) -> list[Text]:
    """All words of a figure that are drawn."""
    FigureCanvasAgg(figure).draw()
    axes = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
    off = [axis for ax in axes if not ax.axison for axis in (ax.xaxis, ax.yaxis)]
    hidden = {id(text) for axis in off for text in axis.findobj(Text)}
    for axis in (axis for ax in axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {id(tick.label1) for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and id(text) not in hidden]


def faults(figure: Figure) -> list[str]:
    """Words that leave the figure or lie on others, and panels without room."""
    words = [(text.get_text(), text.get_window_extent()) for text in written(figure)]
    high, wide = figure.bbox.height, figure.bbox.width
    found = [
        f"{name} leaves" for name, box in words if box.x0 < -1 or box.y0 < -1 or box.x1 > wide + 1 or box.y1 > high + 1
    ]
    found += [
        f"{one} on {other}"
        for (one, first), (other, second) in combinations(words, 2)
        if first.padded(-1).overlaps(second.padded(-1))
    ]
    return found + ["a panel is tiny" for ax in figure.axes if min(ax.bbox.size) < 0.7 * figure.dpi]


@pytest.mark.parametrize(
    ("n_domains", "name", "n_slices", "figsize"),
    [
        *((30, LONG, 1, None), (30, LONG, 1, (16, 9)), (2, LONG, 3, None)),
        *(pytest.param(30, name, 3, None, marks=pytest.mark.slow) for name in ("{}", LONG)),
    ],
)
def test_legends_leave_room_for_the_tissue(n_domains: int, name: str, n_slices: int, figsize: Any) -> None:
    adata = tissue(n_domains, name, n_slices=n_slices, wide=2.0)
    figure = sp.pl.domains(adata, "domain", figsize=figsize, return_fig=True)
    assert not faults(figure)
    assert min(ax.bbox.width for ax in figure.axes) > 2 * figure.dpi
    assert figure.get_figwidth() <= 17


@pytest.mark.slow
def test_letters_of_a_legend_shrink_in_a_small_figure() -> None:
    adata = tissue(7, "Layer_{} cortex", n_slices=3)
    figure = sp.pl.domains(adata, ["domain", "found"], figsize=(6, 3), return_fig=True)
    assert not faults(figure)


@pytest.mark.parametrize(
    ("n_domains", "name", "figsize"),
    [pytest.param(7, LONG, None, marks=pytest.mark.slow), (7, LONG, (3, 2.5)), (30, "{}", None), (30, "{}", (3, 2.5))],
)
def test_names_on_the_tissue_lie_within_the_panel_and_on_no_other(n_domains: int, name: str, figsize: Any) -> None:
    figure = sp.pl.domains(tissue(n_domains, name), "domain", legend_loc="on data", figsize=figsize, return_fig=True)
    (ax,) = figure.axes
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == n_domains
    assert all(ax.bbox.padded(1).contains(*corner) for box in boxes for corner in (box.min, box.max))
    if figsize is None:
        assert not faults(figure)


def test_titles_may_stand_over_the_legend_but_not_over_the_next_panel() -> None:
    title = [
        "Domains of this slice of the tissue as we found them",
        "Layers of the tissue, as two anatomists drew them",
    ]
    adata = tissue(3, LONG)
    figure = sp.pl.domains(adata, ["domain", "found"], title=title, return_fig=True)
    assert not faults(figure)
    first, second = figure.axes
    assert [ax.get_title() for ax in (first, second)] == title
    assert first.title.get_window_extent().width > first.bbox.width
    assert first.title.get_window_extent().x0 == pytest.approx(first.bbox.x0, abs=1)
    assert first.title.get_window_extent().x1 < second.bbox.x0
    # Without a legend the same title is broken, and a short one stays in the middle.
    figure = sp.pl.domains(adata, ["domain", "found"], title=[title[0], "short"], legend_loc=None, return_fig=True)
    assert not faults(figure)
    first, second = figure.axes
    assert first.get_title().replace("\n", " ") == title[0]
    assert "\n" in first.get_title()
    assert first.title.get_window_extent().x1 < second.bbox.x0
    box = second.title.get_window_extent()
    assert (box.x0 + box.x1) / 2 == pytest.approx((second.bbox.x0 + second.bbox.x1) / 2, abs=1)


@pytest.mark.parametrize(
    ("n_domains", "name", "n_slices", "wide"),
    [(2, LONG, 1, 1.0), (30, "{}", 1, 2.5), pytest.param(30, LONG, 2, 1.0, marks=pytest.mark.slow)],
)
def test_bars_have_room_for_their_names(n_domains: int, name: str, n_slices: int, wide: float) -> None:
    adata = tissue(n_domains, name, n_slices=n_slices, wide=wide)
    assert not faults(sp.pl.confidence(adata, "domain", return_fig=True))
    assert not faults(sp.pl.disagreement(adata, ["domain", "found"], return_fig=True))


def test_bars_have_the_numbers_of_long_names() -> None:
    figure = sp.pl.confidence(tissue(3, LONG), "domain", return_fig=True)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [f"{number} {LONG.format(number - 1)}" for number in (1, 2, 3)]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["1", "2", "3"]


@pytest.mark.parametrize(("rows", "columns"), [(2, 7), (30, 2)])
def test_tables_have_room_for_their_names(rows: int, columns: int) -> None:
    adata, other = tissue(rows, LONG), tissue(columns, LONG)
    adata.obs["other"] = np.resize(other.obs["domain"].to_numpy(), adata.n_obs)
    figure = sp.pl.crosstab(adata, "domain", to="other", return_fig=True)
    straight = [text for text in written(figure) if text not in figure.axes[0].get_xticklabels()]
    boxes = [text.get_window_extent() for text in straight]
    assert not [1 for one, other in combinations(boxes, 2) if one.padded(-1).overlaps(other.padded(-1))]
    assert figure.axes[0].bbox.height > 0.3 * rows * figure.dpi


def test_names_of_nodes_do_not_lie_on_the_title() -> None:
    adata = tissue(30)
    rows = adata.obsm["spatial"][:, 1]
    # A thin layer along the upper edge of the panel.
    layers = np.array(["upper layer", "middle layer", "lower layer"])
    adata.obs["domain"] = pd.Categorical(layers[np.digitize(rows, [1, 18])], categories=layers)
    adata.obsm["X_smoothed_pca"] = np.column_stack([rows, np.random.default_rng(0).normal(size=len(rows))])
    sp.tl.trajectory(adata, root="lower layer", key="domain", use_rep="X_smoothed_pca")
    assert not faults(sp.pl.trajectory(adata, return_fig=True))


def test_titles_of_curves_stay_over_their_panels() -> None:
    curves = {"loss of the reconstruction": [1.0, 0.5], "loss of the similarities": [1.0, 0.2]}
    figure = sp.pl.history(curves, figsize=(3.5, 2), return_fig=True)
    assert not faults(figure)
    assert [ax.get_title().replace("\n", " ") for ax in figure.axes] == list(curves)


def test_lines_are_seen_on_a_dark_background() -> None:
    with plt.style.context("dark_background"):
        figure = sp.pl.confidence(tissue(3), "domain", return_fig=True)
    assert {to_hex(line.get_color()) for line in figure.axes[-1].lines} == {"#ffffff"}
