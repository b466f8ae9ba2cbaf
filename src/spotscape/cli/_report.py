"""The report: one page of HTML that holds everything that it shows."""

from __future__ import annotations

import base64
import io
import platform
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from spotscape._core import keys
from spotscape._core.genes import column_of_symbols
from spotscape.cli._inspect import duration, rows_of
from spotscape.cli._plan import domain_key, python_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.figure import Figure

    from spotscape.cli._inspect import Description
    from spotscape.cli._plan import Step
    from spotscape.readers._read import Input

_NAMES = {"spotscape": "Spotscape", "spacross": "SpaCross", "smoothed-pca": "Smoothed PCA"}
_PAPERS = {
    "spotscape": "Oh et al., Global Context-aware Representation Learning for Spatially Resolved Transcriptomics, "
    "ICML 2025",
    "spacross": "Fang & Min, SpaCross deciphers spatial structures and corrects batch effects in multi-slice spatially "
    "resolved transcriptomics, Communications Biology 8, 1393 (2025)",
}
_PACKAGES = ("spotscape", "anndata", "scanpy", "squidpy", "torch", "scikit-learn", "scipy", "numpy", "pandas")
_N_CHIPS, _N_MARKERS = 5, 5
_UNSURE = 0.5


@dataclass
class Report:
    """What a run found, as a page."""

    options: argparse.Namespace
    tissue: Input
    adata: AnnData
    found: Description
    steps: Sequence[Step]
    notes: Sequence[tuple[str, str]]
    seconds: float

    def write(self, path: Path) -> None:
        """Fill in ``report.html``, with pictures inside."""
        import jinja2
        from markupsafe import Markup, escape

        environment = jinja2.Environment(loader=jinja2.PackageLoader("spotscape.cli", ""), autoescape=True)
        environment.filters["number"] = "{:,}".format
        environment.filters["percent"] = lambda value, digits=0: f"{value:.{digits}%}"
        # What stands between backticks is code.
        quoted = re.compile("`([^`]+)`")
        environment.filters["code"] = lambda line: Markup(quoted.sub(r"<code>\1</code>", str(escape(line))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(environment.get_template("report.html").render(self.contents()), encoding="utf-8")

    def contents(self) -> dict[str, Any]:
        """What the page says, by the names that it has in ``report.html``."""
        now, method, key = datetime.now().astimezone(), self.options.method, domain_key(self.options)
        paths = self.options.inputs
        names = [path.absolute().parent.name if path.name in ("", "outs") else path.name for path in paths]
        column, confidence = self.adata.obs[key], self.adata.obs.get(keys.confidence_of(key))
        lines = [*(("INFO", f"{note}.") for note in self.found.notes), *self.notes]
        chosen, record = "The number was given.", self.adata.uns.get(keys.N_DOMAINS)
        if not self.options.n_domains:
            chosen = "The spots are too few to choose a number by."
        if not self.options.n_domains and record is not None:
            unclear = "" if record.get("clear", True) else ", in which no number is clear"
            chosen = f"Their number was chosen from the data{unclear}."
        pictures = self._pictures(key)
        markers = self._markers(key)
        share, unsure = 0.0 if confidence is None else float((confidence < _UNSURE).mean()), ""
        if confidence is not None:
            unsure = f"{max(share, 0.001):.1%} of the spots have" if share else "No spot has"
        return {
            "title": names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more",
            "subtitle": f"{self.found.platform} · {now:%d %B %Y}",
            "date": f"{now:%Y-%m-%d %H:%M %Z}",
            "version": version("spotscape"),
            "method": _NAMES[method],
            "paper": _PAPERS.get(method),
            "is_trained": method != "smoothed-pca",
            "is_consensus": key == keys.CONSENSUS,
            "found": self.found,
            "chosen": chosen,
            "unsure": unsure,
            "unsure_below": f"{_UNSURE:g}",
            "tiles": self._tiles(column, confidence),
            # Drawing has stored the colours.
            "pictures": pictures,
            "domains": self._domains(key, markers),
            "slices": self._slices(column),
            "markers": markers.groupby("group", observed=True).head(_N_MARKERS).to_dict("records"),
            "n_markers": _N_MARKERS,
            "log": dict.fromkeys(one for one in lines if not re.match(r"(Adding|Removing) `adata", one[1])),
            "inputs": [("file", ", ".join(map(str, paths))), ("read as", self.tissue.kind), *rows_of(self.found)],
            "command": shlex.join(["spotscape", *self.options.words]),
            "python": "\n".join(["import spotscape as sp", "", *python_of(self.options, self.tissue, self.steps)]),
            "settings": self._settings(),
        }

    def _tiles(self, column: pd.Series, confidence: pd.Series | None) -> Iterator[tuple[str, str]]:
        yield str(len(column.cat.categories)), "domains"
        yield f"{self.found.n_spots:,}", "spots"
        if self.found.slices:
            yield str(len(self.found.slice_sizes)), "slices"
        chosen = self.adata.var.get("highly_variable")
        used = self.found.n_genes if chosen is None else int(chosen.sum())
        yield f"{used:,}", f"genes used of {self.found.n_genes:,}"
        if confidence is not None:
            yield f"{confidence.mean():.2f}", "mean confidence"
        yield duration(self.seconds), "from input to output"

    def _domains(self, key: str, markers: pd.DataFrame) -> list[dict[str, Any]]:
        column, sure = self.adata.obs[key], self.adata.obs.get(keys.confidence_of(key))
        sizes = column.value_counts(sort=False)
        return [
            {
                "name": str(name),
                "color": color,
                "n_spots": sizes[name],
                "share": sizes[name] / len(column),
                "width": f"{100 * sizes[name] / sizes.max():.0f}",
                "confidence": None if sure is None else sure[column == name].mean(),
                "genes": markers.loc[markers["group"] == str(name), "gene"].head(_N_CHIPS).tolist(),
            }
            for name, color in zip(column.cat.categories, self.adata.uns[f"{key}_colors"], strict=True)
        ]

    def _slices(self, column: pd.Series) -> list[dict[str, Any]]:
        if self.found.slices is None:
            return []
        shares = pd.crosstab(self.adata.obs[self.found.slices], column, normalize="index")
        sizes = self.found.slice_sizes
        return [{"name": name, "n_spots": sizes[str(name)], "shares": list(own)} for name, own in shares.iterrows()]

    def _markers(self, key: str) -> pd.DataFrame:
        """Genes that are higher in a domain than elsewhere, best first; none if they were not looked for."""
        import spotscape

        if keys.MARKERS not in self.adata.uns:
            return pd.DataFrame(columns=["group", "gene"])
        symbols = column_of_symbols(self.adata.var)
        table = spotscape.get.markers_df(self.adata, gene_symbols=symbols)
        if symbols is not None:
            # The names that a reader knows.
            table = table.assign(gene=table["symbol"])
        colors = dict(zip(map(str, self.adata.obs[key].cat.categories), self.adata.uns[f"{key}_colors"], strict=True))
        table = table[(table["score"] > 0) & (table["log2_fold_change"] > 0)]
        table = table.assign(group=table["group"].astype(str), color=table["group"].astype(str).map(colors))
        # Nothing is written as -0.00.
        return table.assign(moran_i=table["moran_i"].round(2) + 0.0) if "moran_i" in table else table

    def _settings(self) -> list[tuple[str, str]]:
        times = ", ".join(f"{step.name} {duration(step.seconds)}" for step in self.steps if step.seconds >= 1)
        versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        return [
            ("seed", str(self.options.seed)),
            ("time", times or "less than a second a step"),
            ("versions", f"Python {platform.python_version()}, {versions}"),
            ("system", f"{platform.system()} {platform.machine()}"),
        ]

    def _pictures(self, key: str) -> dict[str, str]:
        """All figures, as addresses that hold them."""
        from spotscape import pl
        from spotscape.pl._colors import READABLE

        tissue: dict[str, Any] = {
            "library_key": self.found.slices,
            "spatial_key": keys.SPATIAL_ALIGNED if self.options.register else self.options.spatial_key,
            # Images lie where the slices were before they were moved.
            "img": not self.options.register,
            "return_fig": True,
            "ncols": 4 if len(self.found.slice_sizes) <= 8 else 6,
            "title": None if self.found.slices else "",
            **({} if self.tissue.table is None else {"table_key": self.tissue.table}),
        }
        # The table is the legend, as long as colours do without names on the tissue.
        few = len(self.adata.obs[key].cat.categories) <= READABLE
        legend: dict[str, Any] = {"legend_loc": None} if few else {}
        pictures = {"tissue": _address(pl.domains(self.tissue.data, color=key, **legend, **tissue))}
        sure = keys.confidence_of(key)
        if sure in self.adata.obs:
            pictures["confidence"] = _address(pl.domains(self.tissue.data, color=sure, vmin=0, vmax=1, **tissue))
        if keys.N_DOMAINS in self.adata.uns:
            pictures["number"] = _address(pl.n_domains(self.adata, return_fig=True), "svg")
        if self.options.register:
            figure = pl.registration(self.adata, library_key=self.found.slices, return_fig=True)
            pictures["registration"] = _address(figure)
        if "history" in self.adata.uns.get(self.options.method, {}):
            pictures["training"] = _address(pl.history(self.adata, key=self.options.method, return_fig=True), "svg")
        return pictures


def _address(figure: Figure | Any, form: str = "png") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=130, bbox_inches="tight", facecolor="white")
    kind = {"png": "png", "svg": "svg+xml"}[form]
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
