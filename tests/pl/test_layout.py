"""Where words stand: within the figure, not on each other, and not on a panel beside their own."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from mpl_toolkits.mplot3d.proj3d import proj_transform

import spotscape as sp
from spotscape.pl._sheet import per_row

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


def outside(figure: Figure) -> list[str]:
    """Axes that reach out of the figure with all that belongs to them, and those that lie on others."""
    FigureCanvasAgg(figure).draw()
    sheet, boxes = figure.bbox.padded(1), [ax.get_tightbbox() for ax in figure.axes]
    found = [str(box) for box in boxes if not all(sheet.contains(*corner) for corner in (box.min, box.max))]
    pairs = combinations([box.padded(-1) for box in boxes], 2)
    return found + [f"{one} on {other}" for one, other in pairs if one.overlaps(other)]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_what_stands_beside_panels_stays_within_the_figure_of_the_user(layout: Any) -> None:
    adata = tissue(5, "Layer {} of cortex", n_slices=3)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout=layout)
    sp.pl.domains(adata, "domain", ax=axes)
    assert not outside(figure)
    widths = [ax.bbox.width for ax in axes]
    assert max(widths) < 1.02 * min(widths)
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout=layout)
    sp.pl.domains(adata[adata.obs["slice"] == "section 0"].copy(), "domain", ax=axes[0, 0])
    sp.pl.composition(adata, "domain", ax=axes[0, 1])
    sp.pl.crosstab(adata, "found", to="domain", ax=axes[1, 0])
    sp.pl.embedding(adata, "slice", basis="spatial", ax=axes[1, 1])
    assert not outside(figure)


def test_axes_with_room_for_all_stay_where_the_user_has_put_them() -> None:
    figure, ax = plt.subplots(figsize=(8, 4))
    figure.subplots_adjust(left=0.2, right=0.6)
    before = ax.get_position(original=True).bounds
    sp.pl.domains(tissue(3), "domain", ax=ax)
    assert ax.get_position(original=True).bounds == before
    assert not outside(figure)


def test_a_long_legend_leaves_no_gap_between_rows_of_slices() -> None:
    adata = tissue(30, LONG, n_slices=5)
    figure = sp.pl.confidence(adata, "domain", return_fig=True)
    assert not faults(figure)
    first, last = figure.axes[0], figure.axes[3]
    assert last.bbox.y1 < first.bbox.y0
    assert first.bbox.y0 - last.bbox.y1 < 0.4 * first.bbox.height
    legend = figure.axes[2].get_legend().get_window_extent()
    assert figure.bbox.padded(1).contains(*legend.min)
    assert figure.bbox.padded(1).contains(*legend.max)


def test_a_slice_does_not_leave_the_bars_alone_in_a_row() -> None:
    figure = sp.pl.confidence(tissue(3, n_slices=4), "domain", return_fig=True)
    assert [ax.get_subplotspec().rowspan.start for ax in figure.axes] == [0, 0, 0, 1, 1]
    figure = sp.pl.confidence(tissue(3, n_slices=4), "domain", ncols=5, return_fig=True)
    assert {ax.get_subplotspec().rowspan.start for ax in figure.axes} == {0}


def test_letters_and_numbers_of_a_table_follow_the_size_of_the_users_font() -> None:
    sizes = {"font.size": 6, "ytick.labelsize": 5, "axes.titlesize": 7}
    with plt.rc_context(sizes):
        bars = sp.pl.confidence(tissue(3), "domain", return_fig=True).axes[-1]
        table = sp.pl.crosstab(tissue(3), "found", to="domain", return_fig=True).axes[0]
        assert {label.get_fontsize() for label in bars.get_yticklabels()} == {5}
        assert max(text.get_fontsize() for text in table.texts) < 6


def test_titles_fit_a_small_figure_as_it_is_drawn() -> None:
    adata = tissue(7, wide=0.8)
    adata.obs["smoothed_pca_domain"] = adata.obs["domain"]
    figure = sp.pl.domains(adata, "smoothed_pca_domain", figsize=(2.2, 1.8), return_fig=True)
    FigureCanvasAgg(figure).draw()
    box = figure.axes[0].title.get_window_extent()
    assert box.x1 <= figure.bbox.width + 1


def test_names_of_a_small_table_stay_within_the_figure() -> None:
    adata = tissue(2)
    adata.obs["domains of the smoothed embedding"] = adata.obs["found"]
    figure = sp.pl.crosstab(adata, "domains of the smoothed embedding", to="domain", return_fig=True)
    assert not outside(figure)


def test_nodes_have_numbers_where_names_would_hide_a_small_panel() -> None:
    adata = tissue(4, "Layer {}")
    rows = adata.obsm["spatial"][:, 1]
    adata.obsm["X_smoothed_pca"] = np.column_stack([rows, np.random.default_rng(0).normal(size=len(rows))])
    sp.tl.trajectory(adata, root="Layer 0", key="domain", use_rep="X_smoothed_pca")
    names = [
        {text.get_text() for text in sp.pl.trajectory(adata, figsize=figsize, return_fig=True).axes[1].texts}
        for figsize in (None, (4, 2))
    ]
    assert names == [{f"Layer {number}" for number in range(4)}, {"1", "2", "3", "4"}]


def test_markers_of_many_domains_fit_a_slide() -> None:
    adata = tissue(30)
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(3, (adata.n_obs, 90)).astype(np.float32), obs=adata.obs, obsm=dict(adata.obsm))
    for number in range(30):
        adata.X[adata.obs["domain"] == str(number), 3 * number : 3 * number + 3] += 9
    adata.X = np.log1p(adata.X)
    sp.tl.markers(adata, key="domain", method="t-test", neighbors_key=None)
    figure = sp.pl.markers(adata, return_fig=True)
    width, height = figure.get_size_inches()
    assert width < 18
    assert height < 8
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:3] == ["0", "1", "2"]
    ax = plt.subplots(figsize=(8, 4))[1]
    sp.pl.markers(adata, n_genes=1, group=["0", "1"], ax=ax)
    figure = ax.figure
    FigureCanvasAgg(figure).draw()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= 8
    assert box.y1 <= 4


@pytest.mark.parametrize("elev", [22, 40])
def test_slices_of_a_stack_keep_apart(elev: float) -> None:
    figure = sp.pl.stack_3d(tissue(4, n_slices=4), "domain", elev=elev, return_fig=True)
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    spans = []
    for one in ax.collections:
        x, y, z = one._offsets3d
        high = proj_transform(np.asarray(x), np.asarray(y), np.asarray(z), ax.get_proj())[1]
        spans.append((high.min(), high.max()))
    spans.sort()
    assert all(low[1] < high[0] for low, high in pairwise(spans))


def test_legends_of_all_plots_have_2_before_10() -> None:
    adata = tissue(12, n_slices=2)
    adata.obs["domain"] = pd.Categorical(adata.obs["domain"].astype(str))
    figure = sp.pl.stack_3d(adata, "domain", return_fig=True)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [str(number) for number in range(12)]


@pytest.mark.parametrize(
    ("options", "n_panels", "expected"),
    [
        # Five panels as wide as high: 1.4 inches in one row; in two rows half of 3, less what titles take, is 1.
        ({"figsize": (7, 3)}, 5, 5),
        ({"figsize": (2, 10)}, 4, 1),
        ({"figsize": (8, 8)}, 4, 2),
        # Without a size, rows of one length of at most four.
        ({}, 4, 4),
        ({}, 5, 3),
        ({}, 9, 3),
        ({"ncols": 2, "figsize": (7, 3)}, 5, 2),
    ],
)
def test_panels_are_as_large_as_the_figure_lets_them(options: Any, n_panels: int, expected: int) -> None:
    assert per_row(options, n_panels, (4.2, 4.2), 4) == expected


def test_small_curves_are_not_hidden_by_a_legend() -> None:
    adata = tissue(2)
    curve = {"k": [2, 3, 4], "mean": [0.5, 0.9, 0.7], "score": [0.6, 1.0, 0.8], "bic": [10.0, 4.0, 0.0]}
    adata.uns["n_domains"] = {"curve": curve, "picked": 3}
    figures = [sp.pl.n_domains(adata, key="n_domains", figsize=size, return_fig=True) for size in ((5, 1.8), (12, 3))]
    assert [[ax.get_legend() is None for ax in figure.axes] for figure in figures] == [[True] * 3, [False] * 3]
