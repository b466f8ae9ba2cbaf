"""Plots of embeddings, confidence, tables, markers and stacks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb, to_rgba
from scipy.ndimage import label

mpl.use("Agg")
import matplotlib.pyplot as plt

import spotscape as sp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = np.array([[x, y] for y in range(10) for x in range(30)], float) * 100


@pytest.fixture
def adata() -> ad.AnnData:
    """Two slices of three stripes, an embedding whose angle is the stripe, and expression of a marker for each."""
    stripe = np.tile((GRID[:, 0] // 1000).astype(int), 2)
    adata = ad.AnnData(np.eye(3, dtype=np.float32)[stripe] + 0.1, obsm={"spatial": np.vstack([GRID, GRID])})
    adata.var_names = ["A", "B", "C"]
    adata.obs["slice"] = pd.Categorical(np.repeat(["s1", "s2"], 300))
    adata.obs["patient"] = np.repeat(["p1", "p2"], 300)
    adata.obs["spotscape_domain"] = pd.Categorical(np.array(["0", "1", "2"])[stripe])
    adata.obs["spotscape_domain_confidence"] = np.where(stripe == 2, 0.5, 1.0)
    adata.obs["annotation"] = pd.Categorical(np.array(["deep", "mid", "outer"])[(stripe + 1) % 3])
    angle = np.deg2rad([0, 60, 180])[stripe]
    adata.obsm["X_spotscape"] = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32) * 3
    adata.uns["spotscape"] = {"params": {"library_key": "slice"}}
    adata.uns["spotscape_domain_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    return adata


@dataclass
class Picture:
    """A figure as pixels."""

    pixels: np.ndarray

    @classmethod
    def of(cls, figure: Figure) -> Picture:
        figure.set_dpi(50)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return cls(np.asarray(canvas.buffer_rgba())[..., :3] / 255)

    def share(self, color: str) -> float:
        """Share of all pixels that have about this colour."""
        return float((np.abs(self.pixels - to_rgb(color)).max(axis=2) < 0.03).mean())


def colors_of(ax: Any) -> np.ndarray:
    return ax.collections[0].get_facecolors()


class TestSimilarity:
    """Cosines of an anchor with all spots, worked out by hand: 1, .5 and -1."""

    def test_values_stars_and_rows(self, adata: ad.AnnData) -> None:
        figure = sp.pl.similarity(adata, ["0", 310], vmin=-1, cmap="gray", return_fig=True)
        assert len(figure.axes) == 4
        for ax in figure.axes[:2]:
            grey = np.round(colors_of(ax)[:, 0], 2)
            assert list(grey[[0, 10, 20]]) == [1.0, 0.75, 0.0]
        stars = [[tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata())] for ax in figure.axes]
        assert stars == [[(0, 0)], [], [], [(1000, 0)]]
        assert Picture.of(figure).share("black") > 0.05

    def test_a_scale_up_to_one(self, adata: ad.AnnData) -> None:
        ax, _ = sp.pl.similarity(adata, 0, show=False)
        (bar,) = ax.figure.axes[1].child_axes
        assert bar.get_ylim()[1] == 1

    @pytest.mark.parametrize(("anchor", "words"), [("no", "anchor 'no' is no spot"), (600, "anchor 600 is no row")])
    def test_no_such_spot(self, adata: ad.AnnData, anchor: Any, words: str) -> None:
        with pytest.raises(KeyError, match=words):
            sp.pl.similarity(adata, anchor)


class TestConfidenceAndDisagreement:
    """Bars by hand."""

    def test_confidence_of_spots_and_domains(self, adata: ad.AnnData) -> None:
        figure = sp.pl.confidence(adata, return_fig=True)
        *tissue, bars = figure.axes
        assert [ax.get_title() for ax in figure.axes] == ["s1", "s2", "confidence"]
        assert [patch.get_width() for patch in bars.patches] == [1, 1, 0.5]
        assert [to_hex(patch.get_facecolor()) for patch in bars.patches] == ["#ff0000", "#00ff00", "#0000ff"]
        assert to_hex(colors_of(tissue[0])[0]) == "#ff0000"
        assert to_hex(colors_of(tissue[0])[-1]) != "#0000ff"
        picture = Picture.of(figure)
        assert picture.share("#ff0000") > 0.05
        assert picture.share("#0000ff") < 0.03

    def test_names_of_bars_stand_clear_of_the_legend(self, adata: ad.AnnData) -> None:
        names = {name: f"connective tissue {name}" for name in adata.obs["spotscape_domain"].cat.categories}
        adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories(names)
        figure = sp.pl.confidence(adata, return_fig=True)
        figure.draw_without_rendering()
        (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
        left = min(label.get_window_extent().x0 for label in figure.axes[-1].get_yticklabels())
        assert left - legend.get_window_extent().x1 > 0.1 * figure.dpi  # inches

    def test_disagreement_after_matching_names(self, adata: ad.AnnData) -> None:
        adata.obs.loc[adata.obs_names[:5], "annotation"] = "mid"
        adata.obs.loc[adata.obs_names[5], "annotation"] = np.nan
        figure = sp.pl.disagreement(adata, ["spotscape_domain", "annotation"], return_fig=True)
        first, *_, bars = figure.axes
        # Stripe 0 is "mid" in the annotation, so all agree; the one without a label says nothing.
        assert len(np.unique(colors_of(first), axis=0)) == 2
        assert [round(patch.get_width(), 3) for patch in bars.patches] == [0, 0, 0]
        adata.obs.loc[adata.obs_names[:20], "annotation"] = "outer"
        bars = sp.pl.disagreement(adata, ["spotscape_domain", "annotation"], show=False)[-1]
        assert bars.patches[0].get_width() == pytest.approx(10 / 200)

    def test_several_labelings_count_by_share(self, adata: ad.AnnData) -> None:
        adata.obs["third"] = adata.obs["spotscape_domain"]
        adata.obs.loc[adata.obs_names[:10], "third"] = "2"
        bars = sp.pl.disagreement(adata, ["spotscape_domain", "annotation", "third"], show=False)[-1]
        assert bars.patches[0].get_width() == pytest.approx(10 * 0.5 / 200)

    def test_one_labeling_is_too_few(self, adata: ad.AnnData) -> None:
        with pytest.raises(ValueError, match="must name two or more columns"):
            sp.pl.disagreement(adata, ["spotscape_domain"])


class TestTables:
    """Shares by hand."""

    def test_composition_by_slice_and_condition(self, adata: ad.AnnData) -> None:
        adata.obs.loc[adata.obs_names[300:400], "spotscape_domain"] = "2"
        ax = sp.pl.composition(adata, condition="patient", show=False)
        widths = np.array([patch.get_width() for patch in ax.patches]).reshape(3, 2)
        after = adata.obs["spotscape_domain"][300:].value_counts(normalize=True)
        np.testing.assert_allclose(widths[:, 0], [1 / 3] * 3)
        np.testing.assert_allclose(widths[:, 1], [after[name] for name in ("0", "1", "2")])
        assert {text.get_text() for text in ax.texts} == {"p1", "p2"}
        assert Picture.of(ax.figure).share("#00ff00") > 0.03

    def test_conditions_are_in_their_own_order(self, adata: ad.AnnData) -> None:
        days = {"p1": "day 10", "p2": "day 9"}
        adata.obs["day"] = adata.obs["patient"].map(days).astype(str)
        for given, expected in ((None, ["day 9", "day 10"]), (["day 10", "day 9"], ["day 10", "day 9"])):
            if given:
                adata.obs["day"] = pd.Categorical(adata.obs["day"], categories=given)
            ax = sp.pl.composition(adata, condition="day", show=False)
            assert [text.get_text() for text in ax.texts] == expected

    def test_one_slice_in_two_conditions(self, adata: ad.AnnData) -> None:
        adata.obs["mixed"] = np.resize(["p1", "p2"], 600)
        with pytest.raises(ValueError, match="slice 's1' has spots of several conditions"):
            sp.pl.composition(adata, condition="mixed")

    def test_names_of_columns_stay_in_the_figure(self, adata: ad.AnnData) -> None:
        long = {name: f"{name}, a region with a name that goes on and on" for name in adata.obs["annotation"].unique()}
        adata.obs["long"] = adata.obs["annotation"].map(long).astype("category")
        figure = sp.pl.crosstab(adata, to="long", return_fig=True)
        figure.canvas.draw()
        assert all(text.get_window_extent().x0 >= 0 for text in figure.axes[0].get_xticklabels())

    @pytest.mark.parametrize(("normalize", "first"), [("rows", "1.00"), ("columns", ".91"), ("none", "200")])
    def test_crosstab_is_a_diagonal(self, adata: ad.AnnData, normalize: Any, first: str) -> None:
        adata.obs.loc[adata.obs_names[adata.obs["spotscape_domain"] == "0"][:20], "annotation"] = "deep"
        ax = sp.pl.crosstab(adata, to="annotation", normalize=normalize, show=False)
        assert [label.get_text() for label in ax.get_xticklabels()] == ["deep", "mid", "outer"]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "0", "1"]
        assert ax.texts[0].get_text() == first

    def test_numbers_are_no_domains(self, adata: ad.AnnData) -> None:
        adata.obs["depth"] = 0.5
        with pytest.raises(TypeError, match="expected groups"):
            sp.pl.crosstab(adata, "depth", to="annotation")


def test_embedding_by_domain_and_slice(adata: ad.AnnData) -> None:
    figure = sp.pl.embedding(adata, basis="spotscape", return_fig=True)
    assert [ax.get_title() for ax in figure.axes] == ["spotscape_domain", "slice"]
    assert len(figure.axes[0].collections[0].get_offsets()) == 600
    assert Picture.of(figure).share("#00ff00") > 0.001


@pytest.mark.slow
def test_a_umap_is_made_for_the_plot_alone(adata: ad.AnnData) -> None:
    before = set(adata.obsm)
    adata.obsm["X_spotscape"] += np.random.default_rng(0).normal(scale=0.05, size=(600, 2)).astype(np.float32)
    (ax,) = sp.pl.embedding(adata, "spotscape_domain", return_fig=True).axes
    plane, faces = ax.collections[0].get_offsets(), colors_of(ax)
    middles = [plane[(faces[:, :3] == np.eye(3)[code]).all(axis=1)].mean(axis=0) for code in range(3)]
    spread = plane[(faces[:, :3] == np.eye(3)[0]).all(axis=1)].std()
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > spread
    assert set(adata.obsm) == before


class TestStack:
    """Slices above each other."""

    def test_gap_order_and_colours(self, adata: ad.AnnData) -> None:
        (ax,) = sp.pl.stack_3d(adata, slice_gap=700, return_fig=True).axes
        heights = [np.unique(collection._offsets3d[2]) for collection in ax.collections]
        assert [list(one) for one in heights] == [[0], [700]]
        assert [text.get_text().strip() for text in ax.texts] == ["s1", "s2"]
        assert Picture.of(ax.figure).share("#ff0000") > 0.005

    def test_groups_alone(self, adata: ad.AnnData) -> None:
        (ax,) = sp.pl.stack_3d(adata, groups="1", return_fig=True).axes
        assert [len(collection._offsets3d[0]) for collection in ax.collections] == [100, 100]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1"]

    def test_a_block_stays_where_it_is(self, adata: ad.AnnData) -> None:
        adata.obsm["block"] = np.random.default_rng(0).random((600, 3))
        (ax,) = sp.pl.stack_3d(adata, "A", spatial_key="block", return_fig=True).axes
        (collection,) = ax.collections
        np.testing.assert_allclose(np.sort(collection._offsets3d[2]), np.sort(adata.obsm["block"][:, 2]))

    def test_the_corners_of_a_flat_block_are_seen(self, adata: ad.AnnData) -> None:
        """The axes of matplotlib end before two of the corners."""
        block = np.random.default_rng(0).uniform(0.3, 0.7, (600, 3)) * [1.771, 1.535, 0.088]
        block[:4] = np.array([[0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]]) * [1.771, 1.535, 0.088]
        adata.obsm["block"], adata.obs["corner"] = block, pd.Categorical(np.where(np.arange(600) < 4, "yes", "no"))
        figure = sp.pl.stack_3d(
            adata, "corner", spatial_key="block", palette={"yes": "#ff0000", "no": "#0000ff"}, size=3, return_fig=True
        )
        figure.axes[0].get_legend().remove()
        red = (Picture.of(figure).pixels * 255).round().astype(int)[..., :3] == [255, 0, 0]
        assert label(red.all(axis=2))[1] == 4

    def test_a_flat_block_fills_a_low_figure_and_its_legend_lies_beside_it(self, adata: ad.AnnData) -> None:
        adata.obsm["block"] = np.random.default_rng(0).random((600, 3)) * [20, 20, 1]
        figure = sp.pl.stack_3d(adata, spatial_key="block", return_fig=True)
        assert figure.get_figheight() < 0.6 * figure.get_figwidth()
        legend = figure.axes[0].get_legend()
        Picture.of(figure)
        beside = legend.get_window_extent().x0
        legend.remove()
        figure.set_layout_engine("none")
        rows, columns = (Picture.of(figure).pixels[..., :3] < 0.9).any(axis=2).nonzero()
        assert columns.max() < beside
        assert np.ptp(rows) > 0.75 * figure.bbox.height
        from_above = sp.pl.stack_3d(adata, spatial_key="block", elev=90, return_fig=True)
        assert from_above.get_figheight() > figure.get_figheight()

    def test_notebooks_cut_nothing_off_a_flat_block(self, adata: ad.AnnData) -> None:
        """They cut a picture to what matplotlib says is on it, and points in 3-D do not count."""
        adata.obsm["block"] = np.random.default_rng(0).random((600, 3)) * [20, 12, 1]
        figure = sp.pl.stack_3d(adata, spatial_key="block", return_fig=True)
        _, columns = (Picture.of(figure).pixels[..., :3] < 0.9).any(axis=2).nonzero()
        assert figure.get_tightbbox().x0 * figure.dpi <= columns.min()

    def test_in_plotly(self, adata: ad.AnnData) -> None:
        pytest.importorskip("plotly")
        figure = sp.pl.stack_3d(adata, interactive=True)
        assert [trace.name for trace in figure.data] == ["0", "1", "2"]
        assert [trace.marker.color for trace in figure.data] == ["#ff0000", "#00ff00", "#0000ff"]
        assert len(sp.pl.stack_3d(adata, "A", interactive=True).data[0].x) == 600
        assert not plt.get_fignums()


class TestMarkers:
    """Through scanpy's plots, and on the tissue."""

    @pytest.fixture
    def marked(self) -> ad.AnnData:
        adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=60, difficulty=0.2)
        sp.pp.prepare(adata)
        sp.tl.markers(adata, key="domain")
        return adata

    @pytest.mark.parametrize("kind", ["dots", "matrix"])
    def test_genes_and_groups(self, marked: ad.AnnData, kind: Any) -> None:
        figure = sp.pl.markers(marked, kind=kind, n_genes=2, return_fig=True)
        table = sp.get.markers_df(marked)
        up = table[table["log2_fold_change"] > 0].groupby("group", observed=True)["gene"].head(2)
        labels = {text.get_text() for ax in figure.axes for text in ax.get_xticklabels()}
        assert set(up) <= labels
        assert Picture.of(figure).pixels.std() > 0.05

    def test_symbols_where_names_are_identifiers(self, marked: ad.AnnData) -> None:
        marked.var["symbol_of"] = [f"S{name}" for name in marked.var_names]
        table = sp.get.markers_df(marked, gene_symbols="symbol_of")
        assert ("S" + table["gene"]).tolist() == table["symbol"].tolist()
        dots = sp.pl.markers(marked, n_genes=1, gene_symbols="symbol_of", return_fig=True)
        on_tissue = sp.pl.markers(marked, kind="tissue", gene_symbols="symbol_of", return_fig=True)
        best = set(table[table["rank"] == 1]["symbol"])
        assert best <= {text.get_text() for ax in dots.axes for text in ax.get_xticklabels()}
        assert best == {ax.get_title().split(" ")[0] for ax in on_tissue.axes}
        with pytest.raises(KeyError, match=r"adata\.var\['symbol_of'\] has it: gene_symbols='symbol_of'"):
            sp.pl.domains(marked, f"S{marked.var_names[0]}")

    def test_the_best_on_the_tissue(self, marked: ad.AnnData) -> None:
        figure = sp.pl.markers(marked, kind="tissue", group="Layer_2", return_fig=True)
        (title,) = (ax.get_title() for ax in figure.axes)
        gene = re.fullmatch(r"(\S+) \(Layer_2\)", title).group(1)
        values = marked.to_df()[gene]
        assert values[marked.obs["domain"] == "Layer_2"].mean() > values[marked.obs["domain"] != "Layer_2"].mean()

    def test_a_gene_of_two_domains_is_shown_for_both(self) -> None:
        counts = np.random.default_rng(0).poisson(1.0, (200, 40)).astype(np.float32)
        counts[:50, 7], counts[50:100, 7] = 40, 20
        adata = ad.AnnData(counts, obsm={"spatial": np.argwhere(np.ones((10, 20))).astype(float)})
        adata.obs["domain"] = pd.Categorical(np.repeat(["a", "b", "c", "d"], 50))
        sp.pp.prepare(adata)
        sp.tl.markers(adata, key="domain")
        assert sp.get.markers_df(adata, group=["a", "b"], n_genes=1)["gene"].tolist() == ["7", "7"]
        figure = sp.pl.markers(adata, kind="dots", n_genes=1, return_fig=True)
        assert [text.get_text() for text in figure.axes[0].get_xticklabels()][:2] == ["7", "7"]
        figure = sp.pl.markers(adata, kind="tissue", group=["a", "b"], return_fig=True)
        assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["7 (a, b)"]


@pytest.mark.parametrize("name", ["similarity", "matching", "confidence", "trajectory", "registration", "stack_3d"])
def test_arguments_that_nobody_reads_are_refused(adata: ad.AnnData, name: str) -> None:
    needed = {"similarity": {"anchors": 0}}.get(name, {})
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'colour'; it takes"):
        getattr(sp.pl, name)(adata, colour="red", **needed)


def test_output_arguments_are_those_of_domains() -> None:
    import inspect

    from spotscape.pl._sheet import Panels

    assert set(Panels.__annotations__) <= set(inspect.signature(sp.pl.domains).parameters)


@pytest.mark.slow
def test_domains_named_by_whole_numbers_are_domains(adata: ad.AnnData) -> None:
    adata.obs["number"] = adata.obs["spotscape_domain"].astype(int)
    colors = adata.uns["number_colors"] = adata.uns["spotscape_domain_colors"]
    for make in (
        lambda key: sp.pl.composition(adata, key, library_key="slice", return_fig=True),
        lambda key: sp.pl.crosstab(adata, key, to="annotation", return_fig=True),
        lambda key: sp.pl.confidence(adata, key, confidence_key="spotscape_domain_confidence", return_fig=True),
        lambda key: sp.pl.disagreement(adata, [key, "annotation"], return_fig=True),
    ):
        drawn = [Picture.of(make(key)) for key in ("number", "spotscape_domain")]
        # The heading of the legend is of another length, and makes the figure wider.
        by_number, by_name = ([one.share(color) * one.pixels.shape[1] for color in colors] for one in drawn)
        assert by_number == pytest.approx(by_name, rel=0.1)


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_spots_of_one_name_are_drawn(adata: ad.AnnData) -> None:
    adata.obs_names = ["spot"] * adata.n_obs
    for figure in (
        sp.pl.composition(adata, "spotscape_domain", return_fig=True),
        sp.pl.embedding(adata, "spotscape_domain", basis="X_spotscape", return_fig=True),
        sp.pl.confidence(adata, "spotscape_domain", return_fig=True),
        sp.pl.stack_3d(adata, "spotscape_domain", library_key="slice", return_fig=True),
    ):
        assert Picture.of(figure).share("#ff0000") > 0.001
    with pytest.raises(ValueError, match="obs_names are not unique"):
        sp.pl.similarity(adata, 0)


class TestNothingIsCutOff:
    """Saved as it is: ``plt.savefig`` of a script does not grow the picture to what is on it, as notebooks do."""

    @pytest.mark.slow
    def test_axes_with_legends_and_labels_lie_within_the_figure(self) -> None:
        hexagons = np.array([[x + 0.5 * (y % 2), y * np.sqrt(3) / 2] for y in range(34) for x in range(30)]) * 138
        many = ad.AnnData(np.ones((len(hexagons), 12), np.float32), obsm={"spatial": hexagons})
        many.var_names = [f"HLA-DRB1-isoform-{number}" for number in range(12)]
        many.obs["domain"] = pd.Categorical((hexagons[:, 0] // 350).astype(int).astype(str))
        many.obs["total"] = hexagons[:, 1] * 3
        many.X = np.eye(12, dtype=np.float32)[many.obs["domain"].cat.codes] + 0.1
        many.obs["long"] = "Population of stromal cells, number " + many.obs["domain"].astype(str).str.zfill(2)
        sp.tl.markers(many, key="domain")
        sp.tl.markers(many, key="long", key_added="markers_of_long")
        wide = many[hexagons[:, 1] < 2500].copy()
        figures = {
            "colour bar": sp.pl.domains(many, "total", return_fig=True),
            "long names": sp.pl.domains(wide, "long", return_fig=True),
            "long names beside others": sp.pl.domains(wide, ["long", "total", "domain", "total"], return_fig=True),
            "legend": sp.pl.composition(many, "domain", return_fig=True),
            "dots": sp.pl.markers(many, return_fig=True),
            "matrix": sp.pl.markers(many, kind="matrix", return_fig=True),
            "long domains": sp.pl.markers(many, key="markers_of_long", return_fig=True),
        }
        cut = set()
        for name, figure in figures.items():
            FigureCanvasAgg(figure).draw()
            for ax in figure.axes:
                box = ax.get_tightbbox()
                beyond = -box.x0, -box.y0, box.x1 - figure.bbox.width, box.y1 - figure.bbox.height
                cut |= {name} if max(beyond) > 1 else set()
        assert not cut

    @pytest.mark.slow
    def test_long_names_of_slices(self, adata: ad.AnnData) -> None:
        names = ["GSM5420749_PT_12_section_A_replicate1", "Patient 13, the section of the second block"]
        adata.obs["slice"] = adata.obs["slice"].cat.rename_categories(names)
        figure = sp.pl.domains(adata, "spotscape_domain", library_key="slice", return_fig=True)
        FigureCanvasAgg(figure).draw()
        one, other = (ax.title.get_window_extent() for ax in figure.axes)
        assert one.x0 >= 0
        assert one.x1 < other.x0
        assert other.x1 <= figure.bbox.width
        stack = sp.pl.stack_3d(adata, "spotscape_domain", library_key="slice", return_fig=True)
        FigureCanvasAgg(stack).draw()
        box = stack.axes[0].get_tightbbox()
        assert {text.get_text().strip() for text in stack.axes[0].texts} == set(names)
        assert box is not None
        assert all(box.x0 <= text.get_window_extent().x0 for text in stack.axes[0].texts)
        assert box.x0 >= -1

    @pytest.mark.parametrize("color", ["smoothed_pca_domain_confidence", ["smoothed_pca_domain_confidence", "domain"]])
    def test_a_long_name_beside_flat_slices_is_broken(self, color: str | list[str]) -> None:
        places = np.random.default_rng(0).random((400, 2)) * [5000, 1000]
        flat = ad.AnnData(np.ones((400, 1), np.float32), obsm={"spatial": places})
        flat.obs["slice"], flat.obs["domain"] = ["a", "b"] * 200, ["c", "d"] * 200
        flat.obs["smoothed_pca_domain_confidence"] = places[:, 0] / 5000
        figure = sp.pl.domains(flat, color, library_key="slice", return_fig=True)
        FigureCanvasAgg(figure).draw()
        panel = figure.axes[0]
        written = panel.child_axes or [other for ax in figure.axes for other in ax.child_axes]
        name = written[0].yaxis.label if isinstance(color, str) else panel.texts[0]
        assert name.get_text().replace("\n", "") == "smoothed_pca_domain_confidence"
        assert (name.get_window_extent().height < figure.bbox.height) & name.get_text().endswith("\nconfidence")
        assert panel.bbox.width > 0.35 * figure.bbox.width


def test_a_legend_has_numbers_in_their_order() -> None:
    adata = ad.AnnData(np.ones((44, 1), np.float32), obsm={"spatial": np.arange(88.0).reshape(44, 2)})
    adata.obs["domain"] = pd.Categorical([str(number % 11) for number in range(44)])
    figure = sp.pl.domains(adata, "domain", return_fig=True)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(map(str, range(11)))
    colors = dict(zip(adata.obs["domain"].cat.categories, adata.uns["domain_colors"], strict=True))
    handles = figure.axes[0].get_legend().legend_handles
    assert [handle.get_color() for handle in handles] == [colors[str(number)] for number in range(11)]
    bars = sp.pl.composition(adata, "domain", show=False)
    assert [text.get_text() for text in bars.get_legend().get_texts()] == list(map(str, range(11)))
    assert [handle.get_facecolor() for handle in bars.patches] == [to_rgba(colors[str(n)]) for n in range(11)]
    table = sp.pl.crosstab(adata, "domain", to="domain", show=False)
    assert [label.get_text() for label in table.get_xticklabels()] == list(map(str, range(11)))
    assert adata.uns["domain_colors"] == [colors[name] for name in adata.obs["domain"].cat.categories]
