"""Tables and pictures of `methods_study.py` for the documentation: `python benchmarks/methods_report.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from markdown_tables import write_table
from matplotlib.figure import Figure
from style import COLORS, NAMES, STYLE

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "methods_study.csv"
TABLES, PICTURES = HERE.parent / "docs" / "_tables", HERE.parent / "docs" / "_static"
TISSUES = {
    "starmap": "STARmap visual cortex",
    "osmfish": "osmFISH cortex",
    **{f"mpfc_{index}": f"STARmap prefrontal cortex, animal {index + 1}" for index in range(3)},
    "mpfc": "STARmap prefrontal cortex, three animals",
    **{f"dlpfc_{name}": f"DLPFC {name}" for name in range(151673, 151677)},
    "dlpfc_donor3": "DLPFC, four slices",
    **{f"her2st_{index}": f"HER2+ tumour {'ABEF'[index]}" for index in range(4)},
    "her2st": "HER2+ tumours, four patients",
}
ANNOTATIONS = {"domain": "", "domain_banksy": ", second annotation"}
METHODS = ("smoothed_pca", "spotscape", "spacross", "consensus")
CLUSTERERS = {"auto": "", "kmeans": ", k-means", "gmm": ", mixture"}
BEST = "best smoother"


def main() -> None:
    """Write everything."""
    rows = pd.read_csv(RESULTS)
    scores = summarise(rows)
    write_table(TABLES / "methods.md", table(scores, ["auto"]))
    write_table(TABLES / "methods_clusterers.md", table(scores, ["kmeans", "gmm"]))
    write_table(TABLES / "methods_confidence.md", confidence(rows))
    write_table(TABLES / "methods_seconds.md", seconds(rows))
    draw(scores, PICTURES / "accuracy.png")


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD and number of seeds of each method; of the smoothers the best by the labels, whatever its clusterer."""
    index = ["tissue", "annotation"]
    by = rows.groupby([*index, "method", "clusterer"])["ari"]
    scores = pd.DataFrame({"mean": by.mean(), "sd": by.std(), "seeds": by.size()}).reset_index()
    smoothers = scores["method"].str.startswith("mean_")
    best = scores.loc[scores[smoothers].groupby(index)["mean"].idxmax()] if smoothers.any() else scores[:0]
    best = best.assign(
        setting=best["method"].str.removeprefix("mean_") + best["clusterer"].map({"kmeans": " k", "gmm": " m"}),
        method=BEST,
        clusterer="auto",
    )
    return pd.concat([scores[~smoothers], best], ignore_index=True)


def table(scores: pd.DataFrame, clusterers: list[str]) -> pd.DataFrame:
    """A row for each annotation of each tissue."""
    columns = [(method, how) for method in METHODS for how in clusterers if method != "consensus" or how == "auto"]
    found = []
    for tissue, annotation in _annotations(scores):
        own = scores[(scores["tissue"] == tissue) & (scores["annotation"] == annotation)]
        line = {"tissue": TISSUES[tissue] + ANNOTATIONS[annotation]}
        if "auto" in clusterers:
            line["best smoother"] = _cell(own[own["method"] == BEST])
        for method, how in columns:
            line[NAMES[method] + CLUSTERERS[how]] = _cell(own[(own["method"] == method) & (own["clusterer"] == how)])
        if "auto" in clusterers:
            line["seeds"] = str(own.loc[own["method"] == "spotscape", "seeds"].max())
        found.append(line)
    return pd.DataFrame(found).set_index("tissue")


def _cell(own: pd.DataFrame) -> str:
    if not len(own):
        return "–"
    one = own.iloc[0]
    if one["method"] == BEST:
        return f"{_short(one['mean'])} ({one['setting']})"
    return _short(one["mean"]) + ("" if one["seeds"] < 2 else f" ± {_short(one['sd'])}")


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def confidence(rows: pd.DataFrame) -> pd.DataFrame:
    """How many spots all methods agree on, and how often these and the others have the annotation of their domain."""
    found = rows[rows["method"] == "consensus"].groupby(["tissue", "annotation"])[
        ["sure", "right_sure", "right_others"]
    ]
    means = found.mean()
    lines = [
        {
            "tissue": TISSUES[tissue] + ANNOTATIONS[annotation],
            "spots on which all agree": f"{means.loc[(tissue, annotation), 'sure']:.0%}",
            "of these as annotated": f"{means.loc[(tissue, annotation), 'right_sure']:.0%}",
            "of the others": f"{means.loc[(tissue, annotation), 'right_others']:.0%}",
        }
        for tissue, annotation in _annotations(rows)
        if (tissue, annotation) in means.index
    ]
    return pd.DataFrame(lines).set_index("tissue")


def seconds(rows: pd.DataFrame) -> pd.DataFrame:
    """Processor seconds of each method, one thread; the least of the seeds, since other work only adds to it."""
    least = rows.groupby(["tissue", "method"])["seconds"].min()
    lines = [
        {"tissue": label} | {NAMES[method]: f"{least.get((tissue, method), np.nan):.1f}" for method in METHODS[:3]}
        for tissue, label in TISSUES.items()
        if (tissue, "spotscape") in least.index
    ]
    return pd.DataFrame(lines).set_index("tissue")


def draw(scores: pd.DataFrame, file: Path) -> None:
    """A dot for each method on each tissue, with its SD."""
    lines = _annotations(scores)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.36 * len(lines) + 1.4), layout="constrained")
        axes = figure.subplots()
        shown = {BEST: "D", "smoothed_pca": "^", "spacross": "s", "spotscape": "o"}
        for place, (method, marker) in enumerate(shown.items()):
            own = scores[(scores["method"] == method) & (scores["clusterer"] == "auto")]
            own = own.set_index(["tissue", "annotation"]).reindex(lines)
            heights = np.arange(len(lines)) + 0.16 * (place - 1.5)
            label = NAMES.get(method, "best linear smoother, known only from the labels")
            look = {"color": COLORS[method], "fmt": marker, "markersize": 5.5, "elinewidth": 1.4, "capsize": 0}
            axes.errorbar(own["mean"], heights, xerr=own["sd"].fillna(0), label=label, **look)
        names = [TISSUES[tissue] + ANNOTATIONS[annotation] for tissue, annotation in lines]
        axes.set(xlabel="agreement with the annotation (adjusted Rand index)", xlim=(min(0, axes.get_xlim()[0]), 1))
        axes.set_yticks(range(len(lines)), names)
        axes.invert_yaxis()
        axes.grid(axis="both")
        figure.legend(loc="outside lower center", ncols=2)
        figure.savefig(file, dpi=160)


def _annotations(rows: pd.DataFrame) -> list[tuple[str, str]]:
    there = set(zip(rows["tissue"], rows["annotation"], strict=True))
    return [(tissue, one) for tissue in TISSUES for one in ANNOTATIONS if (tissue, one) in there]


if __name__ == "__main__":
    main()
