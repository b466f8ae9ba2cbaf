"""Tables and picture of `peers.py`: `python benchmarks/peers_report.py` draws the picture of the documentation."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from style import COLORS, NAMES, STYLE

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.csv"
PICTURE = HERE.parent / "docs" / "_static" / "peers.png"
METHODS = {name: NAMES[name] for name in ("smoothed_pca", "spotscape", "spacross")} | {
    "cellcharter_pca": "CellCharter, PCA",
    "cellcharter_scvi": "CellCharter, scVI",
    "banksy": "BANKSY",
    "nichepca": "NichePCA",
    "stagate": "STAGATE",
    "graphst": "GraphST",
    "domino": "DOMINO",
    "cosmim": "CoSMIM",
    "spatialleiden": "SpatialLeiden",
}
PAINT = (
    COLORS
    | {"cellcharter_pca": "#CC79A7", "cellcharter_scvi": "#882255", "banksy": "#B8860B"}
    | {
        "nichepca": "#56B4E9",
        "stagate": "#444444",
        "graphst": "#999933",
        "domino": "#332288",
        "cosmim": "#661100",
        "spatialleiden": "#88CCEE",
    }
)
TISSUES = {
    "starmap": "STARmap",
    "mpfc": "prefrontal cortex",
    "osmfish": "osmFISH",
    "dlpfc_151673": "DLPFC 151673",
    "her2st": "HER2+ tumours",
    "simulated_40000": "simulated",
}
PANELS = 2  # in a row; letters keep their size in a column of the page
CLUSTERERS = {"kmeans": ("k-means", "o"), "gmm": ("tied mixture", "s"), "own": ("the package's own", "^")}


def ranking(results: pd.DataFrame) -> pd.DataFrame:
    """ARI of each method with its better clusterer on each real annotation, and its mean rank over those it was run on.

    The annotation decides which clusterer is better, for all methods.
    """
    real = results[~results["tissue"].str.startswith("simulated")]
    means = real.groupby(["tissue", "annotation", "method", "clusterer"])["ari"].mean().groupby(level=[0, 1, 2]).max()
    wide = means.reset_index().pivot_table(index=["tissue", "annotation"], columns="method", values="ari")
    scores = wide[_present(real, "method", METHODS)]
    scores = scores.reindex([key for name in TISSUES for key in scores.index if key[0] == name])
    ranks = scores.rank(axis=1, ascending=False)
    rows = {"mean rank": ranks.mean().map("{:.1f}".format)}
    for tissue, annotation in scores.index:
        second = ", second annotation" if annotation != "domain" else ""
        told = scores.loc[tissue, annotation].map(lambda value: "–" if pd.isna(value) else f"{value:.2f}")
        rows[f"{TISSUES[tissue]}{second}"] = told
    # Methods as rows: a page is narrower than twelve methods.
    found = pd.DataFrame(rows).rename(index=METHODS).rename_axis("method")
    return found.loc[[METHODS[name] for name in ranks.mean().sort_values().index]]


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row for each tissue and method; two numbers where there are two annotations."""
    rows = []
    for tissue in _present(results, "tissue", TISSUES):
        of_tissue = results[results["tissue"] == tissue]
        for method in _present(of_tissue, "method", METHODS):
            of_method = of_tissue[of_tissue["method"] == method]
            rows.append({"": f"{TISSUES[tissue]}, {of_tissue['spots'].iloc[0]:,}", **_row(method, of_method)})
    return pd.DataFrame(rows).set_index("").rename_axis("tissue, cells or spots")


def _row(method: str, rows: pd.DataFrame) -> dict[str, str]:
    scores = rows.groupby(["clusterer", "annotation"])["ari"].mean()
    runs = rows.drop_duplicates("seed")[["cpu_seconds", "gb_peak"]].mean()
    own = rows.loc[rows["clusterer"] == "own", "cluster_seconds"].mean()
    found = {"method (seeds)": f"{METHODS[method]} ({rows['seed'].nunique()})"}
    for clusterer, name in (("kmeans", "ARI, k-means"), ("gmm", "mixture"), ("own", "own")):
        there = scores[clusterer].map("{:.2f}".format) if clusterer in scores.index.get_level_values(0) else ["–"]
        found[name] = " / ".join(there)
    found["processor s"] = _seconds(runs["cpu_seconds"])
    found["own clusterer, s"] = "–" if pd.isna(own) else _seconds(own)
    return found | {"peak GB": f"{runs['gb_peak']:.2f}"}


def draw(results: pd.DataFrame, file: Path) -> None:
    """Accuracy against processor seconds: a panel for each annotation, a colour for each method."""
    panels = [
        (tissue, annotation)
        for tissue in _present(results, "tissue", TISSUES)
        for annotation in results.loc[results["tissue"] == tissue, "annotation"].unique()
    ]
    with mpl.rc_context(STYLE):
        n_rows = -(-len(panels) // PANELS)
        figure = Figure(figsize=(3.6 * PANELS, 2.7 * n_rows + 1.0), layout="constrained")
        grid = figure.subplots(n_rows, PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, (tissue, annotation) in zip(grid, panels, strict=False):
            rows = results[(results["tissue"] == tissue) & (results["annotation"] == annotation)]
            for method in _present(rows, "method", METHODS):
                _draw_method(axes, rows[rows["method"] == method], PAINT[method])
            which = f", {annotation}" if [one for one, _ in panels].count(tissue) > 1 else ""
            axes.set_title(f"{TISSUES[tissue]}{which}\n{rows['spots'].iloc[0]:,} × {rows['genes'].iloc[0]:,} genes")
            axes.set(xscale="log", xlabel="processor seconds", ylim=(-0.05, 1.03))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.grid(visible=True)
            axes.label_outer()
        for row in range(n_rows):
            grid[row * PANELS].set_ylabel("ARI with the annotation")
        shown = _present(results, "method", METHODS)
        colours = [Line2D([], [], color=PAINT[one], linewidth=3, label=METHODS[one]) for one in shown]
        shapes = [Line2D([], [], color="#555555", marker=m, linestyle="", label=n) for n, m in CLUSTERERS.values()]
        figure.legend(handles=colours + shapes, loc="outside lower center", ncols=3)
        figure.savefig(file, dpi=160)


def _draw_method(axes: mpl.axes.Axes, rows: pd.DataFrame, colour: str) -> None:
    """One method: its clusterers on a line, which stands at its mean time."""
    seconds = rows.drop_duplicates("seed")["cpu_seconds"].mean()
    means = rows.groupby("clusterer")["ari"].mean()
    axes.plot([seconds] * 2, [means.min(), means.max()], color=colour, linewidth=1.5, alpha=0.6)
    for clusterer, (_, marker) in CLUSTERERS.items():
        if clusterer in means:
            axes.scatter(seconds, means[clusterer], marker=marker, color=colour, s=46, edgecolor="white", zorder=3)


def _present(results: pd.DataFrame, column: str, names: dict[str, str]) -> list[str]:
    return [name for name in names if name in set(results[column])]


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


if __name__ == "__main__":
    draw(pd.read_csv(RESULTS), PICTURE)
