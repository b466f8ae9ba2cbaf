"""The plots of the report: floor, smoothed PCA, Spotscape and SpaCross side by side, in the same colours throughout."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from accuracy.summary import (
    CLUSTERERS,
    PLACE,
    SHOWN,
    beside_floor,
    degradation,
    differences,
    labelled,
    rank,
    robustness,
)
from accuracy.tissues import LEVELS, ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

COLORS = {"floor": "#8A8A8A", "smoothed_pca": "#009E73", "spotscape": "#0072B2", "spacross": "#D55E00"}
MARKERS = {"floor": "D", "smoothed_pca": "^", "spotscape": "o", "spacross": "s"}
NAMES = {"floor": "best floor", "smoothed_pca": "smoothed PCA", "spotscape": "Spotscape", "spacross": "SpaCross"}
PURPOSE = {"choose": "to choose by", "confirm": "to confirm on"}
CLUSTERER_NAMES = {"auto": "chosen by genes", "kmeans": "k-means", "gmm": "tied mixture"}
PLACES = {
    "accuracy_boundary": "accuracy at boundaries",
    "accuracy_interior": "accuracy elsewhere",
    "f1_thin": "F1 of thin layers",
}
ROW = 0.34
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "spotscape",
}


def draw_all(rows: pd.DataFrame, folder: Path) -> set[str]:
    """Draw what there are rows for and return the names of the files without their ending."""
    figures = {"agreement": agreement(rows), "difference": difference(rows)}
    for clusterer in CLUSTERERS:
        figures[f"places_{clusterer}"] = places(rows, clusterer)
        figures[f"degradation_{clusterer}"] = degradation_curves(rows, clusterer)
    figures |= {f"robustness_{base}": robustness_strip(rows, base) for base in ("spotscape", "spacross")}
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        with mpl.rc_context(STYLE):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return set(drawn)


@contextmanager
def sheet(n_columns: int, height: float, *, n_rows: int = 1, width: float = 9.5, **options: Any) -> Iterator[Any]:
    """A figure with its axes, in the style of the report."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
        yield figure, figure.subplots(n_rows, n_columns, squeeze=False, **options)


def agreement(rows: pd.DataFrame) -> Figure | None:
    """Mean ± SD of ARI on every tissue, a panel for each clusterer."""
    means = beside_floor(labelled(rows))
    places = _places(means)
    if not places:
        return None
    with sheet(len(CLUSTERERS), _height(places), width=12.5, sharey=True) as (figure, axes):
        for axis, clusterer in zip(axes[0], CLUSTERERS, strict=True):
            _rows_of_tissues(axis, places)
            _dots(axis, means[means["clusterer"] == clusterer], places)
            axis.set(title=CLUSTERER_NAMES[clusterer], xlabel="adjusted Rand index", xlim=(-0.02, 1.02))
        _roles(axes[0, -1], places)
        _legend(figure, axes[0, 0])
    return figure


def difference(rows: pd.DataFrame) -> Figure | None:
    """ARI minus the best of the floor under any clusterer, with what is asked of the defaults."""
    found = differences(rows)
    places = _places(found)
    if not places:
        return None
    spread = found["sd"].fillna(0)
    low = min(-0.06, (found["difference"] - spread).min() - 0.02)
    high = max(0.08, (found["difference"] + spread).max() + 0.02)
    with sheet(len(CLUSTERERS), _height(places), width=12.5, sharey=True) as (figure, axes):
        for axis, clusterer in zip(axes[0], CLUSTERERS, strict=True):
            _rows_of_tissues(axis, places)
            axis.axvline(0, color="#555555", linewidth=1)
            axis.axvspan(-0.02, 0.03, color="#F1E9D2", linewidth=0, zorder=0.6)
            shown = found[found["clusterer"] == clusterer].assign(mean=lambda one: one["difference"])
            _dots(axis, shown, places)
            axis.set(title=CLUSTERER_NAMES[clusterer], xlabel="ARI minus best floor, any clusterer", xlim=(low, high))
        _roles(axes[0, -1], places)
        _legend(figure, axes[0, 0], note="band: .02 below to .03 above")
    return figure


def places(rows: pd.DataFrame, clusterer: str) -> Figure | None:
    """Accuracy at boundaries and away from them, and the F1 score of thin layers."""
    rows = labelled(rows)
    rows = rows[rows["clusterer"] == clusterer]
    found = {score: beside_floor(rows, score) for score in PLACES if rows[score].notna().any()}
    where = _places(found["accuracy_boundary"]) if "accuracy_boundary" in found else []
    if not where:
        return None
    with sheet(len(found), _height(where), sharey=True, width=11) as (figure, axes):
        for axis, (score, means) in zip(axes[0], found.items(), strict=True):
            _rows_of_tissues(axis, where)
            _dots(axis, means, where)
            axis.set(title=PLACES[score], xlabel=PLACES[score].partition(" ")[0], xlim=(-0.02, 1.02))
        _roles(axes[0, -1], where)
        _legend(figure, axes[0, 0], note=f"clusterer: {CLUSTERER_NAMES[clusterer]}")
    return figure


def robustness_strip(rows: pd.DataFrame, base: str) -> Figure | None:
    """Change of mean ARI when each field is halved or doubled: a dot for each annotation, a mark for their mean."""
    found = robustness(rows)
    found = found[found["base"] == base]
    fields = list(dict.fromkeys(found["field"]))
    if not fields:
        return None
    limit = max(0.06, 1.08 * found["change"].abs().max())
    with sheet(len(CLUSTERERS), 1.5 + 0.42 * len(fields), width=12.5, sharey=True) as (figure, axes):
        for axis, clusterer in zip(axes[0], CLUSTERERS, strict=True):
            _stripes(axis, len(fields))
            axis.axvspan(-0.03, 0.03, color="#F1E9D2", linewidth=0, zorder=0.6)
            axis.axvline(0, color="#555555", linewidth=1)
            _strip(axis, found[found["clusterer"] == clusterer], fields)
            axis.set(title=CLUSTERER_NAMES[clusterer], xlabel="change of mean ARI", xlim=(-limit, limit))
        axes[0, 0].set_yticks(range(len(fields)), fields)
        axes[0, 0].set_ylim(len(fields) - 0.5, -0.5)
        handles = [
            mpl.lines.Line2D([], [], color=color, marker="o", linestyle="", markersize=8, label=label)
            for label, color in _DIRECTIONS.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=2,
            title=f"{NAMES[base]}: large dot mean, small dots tissues; band ± .03",
            alignment="left",
        )
    return figure


def degradation_curves(rows: pd.DataFrame, clusterer: str) -> Figure | None:
    """ARI against the share of genes, counts or spots that is left."""
    found = degradation(rows)
    if found.empty:
        return None
    found = found[found["clusterer"] == clusterer]
    where = _places(found.assign(tissue=found["base"]))
    kinds = [kind for kind in LEVELS if kind in set(found["kind"])]
    with sheet(len(kinds), 1 + 2.3 * len(where), n_rows=len(where), sharex="col", sharey="row") as (figure, axes):
        for (row, place), (column, kind) in ((r, c) for r in enumerate(where) for c in enumerate(kinds)):
            axis = axes[row, column]
            one = found[(found["base"] == place[0]) & (found["annotation"] == place[1]) & (found["kind"] == kind)]
            _curves(axis, one)
            axis.set_title(kind if row == 0 else "")
            axis.set_xlabel(f"{kind} left" if row == len(where) - 1 else "")
        for row, place in enumerate(where):
            axes[row, 0].set_ylabel(f"ARI, {_name(*place, found.assign(tissue=found['base']))}")
        _legend(figure, axes[0, 0], note=f"clusterer: {CLUSTERER_NAMES[clusterer]}")
    return figure


def _curves(axis: Axes, found: pd.DataFrame) -> None:
    axis.grid(visible=True)
    for shown in SHOWN:
        line = found[found["shown"] == shown].sort_values("share")
        if line.empty:
            continue
        spread = line["sd"].fillna(0)
        axis.fill_between(
            line["share"], line["mean"] - spread, line["mean"] + spread, color=COLORS[shown], alpha=0.15, linewidth=0
        )
        axis.plot(
            line["share"], line["mean"], color=COLORS[shown], marker=MARKERS[shown], markersize=5, label=NAMES[shown]
        )
    if len(found):
        axis.set_xlim(1.03, found["share"].min() - 0.03)
        axis.set_xticks(sorted(set(found["share"])))
    axis.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))


_DIRECTIONS = {"halved": "#56B4E9", "doubled": "#AA3377"}


def _strip(axis: Axes, found: pd.DataFrame, fields: list[str]) -> None:
    for (direction, color), offset in zip(_DIRECTIONS.items(), (-0.17, 0.17), strict=True):
        one = found[found["direction"] == direction]
        rows = one["field"].map(fields.index) + offset
        axis.scatter(one["change"], rows, s=12, color=color, alpha=0.45, linewidth=0, zorder=2)
        mean = one.groupby("field")["change"].mean()
        axis.scatter(
            mean, mean.index.map(fields.index) + offset, s=62, color=color, edgecolor="white", linewidth=1, zorder=3
        )


def _places(means: pd.DataFrame) -> list[tuple[str, str]]:
    """Tissues and annotations in the order of the split, real ones first."""
    found = set(means[PLACE].itertuples(index=False, name=None))
    return sorted(found, key=lambda place: (*rank(place[0]), place[1]))


def _height(places: list[tuple[str, str]]) -> float:
    return 1.4 + ROW * len(places)


def _rows_of_tissues(axis: Axes, places: list[tuple[str, str]]) -> None:
    _stripes(axis, len(places))
    axis.set_ylim(len(places) - 0.5, -0.5)
    names = pd.DataFrame(places, columns=PLACE)
    axis.set_yticks(range(len(places)), [_name(*place, names) for place in places])
    n_choose = sum(ROLES[tissue] == "choose" for tissue, _ in places)
    if 0 < n_choose < len(places):
        axis.axhline(n_choose - 0.5, color="#555555", linewidth=1, linestyle=(0, (4, 3)))


def _stripes(axis: Axes, n: int) -> None:
    for i in range(0, n, 2):
        axis.axhspan(i - 0.5, i + 0.5, color="#F6F6F6", linewidth=0, zorder=0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x")


def _roles(axis: Axes, places: list[tuple[str, str]]) -> None:
    """Write to the right what the tissues are for."""
    roles = np.array([ROLES[tissue] for tissue, _ in places])
    for role in dict.fromkeys(roles):
        middle = np.flatnonzero(roles == role).mean()
        axis.annotate(
            PURPOSE[role],
            (1.03, middle),
            xycoords=("axes fraction", "data"),
            rotation=-90,
            va="center",
            color="#555555",
            annotation_clip=False,
        )


def _dots(axis: Axes, means: pd.DataFrame, places: list[tuple[str, str]]) -> None:
    for shown, offset in zip(SHOWN, (-0.27, -0.09, 0.09, 0.27), strict=True):
        one = means[means["shown"] == shown]
        if one.empty:
            continue
        rows = [places.index(place) + offset for place in one[PLACE].itertuples(index=False, name=None)]
        axis.errorbar(
            one["mean"], rows, xerr=one["sd"].fillna(0), fmt=MARKERS[shown], color=COLORS[shown], markersize=5.5,
            elinewidth=1.6, capsize=0, label=NAMES[shown], zorder=3,
        )  # fmt: skip


def _name(tissue: str, annotation: str, means: pd.DataFrame) -> str:
    """The tissue, with the annotation where there are several."""
    several = len(set(means.loc[means["tissue"] == tissue, "annotation"])) > 1
    text = tissue.replace("sim_", "sim. ").replace("_", " ").replace("dlpfc", "DLPFC").replace("starmap", "STARmap")
    return f"{text}, {annotation}" if several else text


def _legend(figure: Figure, axis: Axes, note: str = "") -> None:
    handles, labels = axis.get_legend_handles_labels()
    if note:
        handles, labels = [*handles, mpl.lines.Line2D([], [], linestyle="")], [*labels, note]
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), handletextpad=0.4)
