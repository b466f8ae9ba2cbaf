"""The report: one page of HTML that holds everything that it shows."""

from __future__ import annotations

import base64
import io
import platform
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape.cli._inspect import domain_key, duration, rows_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

    from spotscape.cli._inspect import Description, Step
    from spotscape.cli._read import Input

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
        """Write the page, with pictures inside."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """The page as text."""
        template = Template(files("spotscape.cli").joinpath("report.html").read_text(encoding="utf-8"))
        now = datetime.now().astimezone()
        sections = (self._domains(), self._confidence(), self._number(), self._slices(), self._markers())
        read = [("file", ", ".join(map(str, self.options.inputs))), ("read as", self.tissue.kind), *rows_of(self.found)]
        about = (self._training(), _section("Input", "", _definitions(read)), self._log(), self._settings())
        inputs, method = self.options.inputs, self.options.method
        paper = f" ({escape(_PAPERS[method])})" if method in _PAPERS else ""
        names = [path.absolute().parent.name if path.name in ("", "outs") else path.name for path in inputs]
        title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        return template.substitute(
            version=escape(version("spotscape")),
            title=escape(title),
            subtitle=escape(f"{self.found.platform} · {now:%d %B %Y}"),
            lead=self._lead(),
            tiles="".join(
                f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in self._tiles()
            ),
            sections="\n".join(section for section in (*sections, *about) if section),
            methods=(
                f"For a methods section: domains were found with {_NAMES[method]}{paper}, as implemented in spotscape "
                f"{escape(version('spotscape'))}, from raw counts of {self.found.n_spots:,} spots with the settings "
                "above."
            ),
            date=f"{now:%Y-%m-%d %H:%M %Z}",
        )

    @property
    def _key(self) -> str:
        return domain_key(self.options)

    @property
    def _column(self) -> pd.Series:
        column: pd.Series = self.adata.obs[self._key]
        return column

    @property
    def _sureness(self) -> np.ndarray | None:
        name = keys.confidence_of(self._key)
        return self.adata.obs[name].to_numpy() if name in self.adata.obs else None

    def _library(self) -> dict[str, Any]:
        place = "spatial_aligned" if self.options.register else self.options.spatial_key
        # Images lie where the slices were before they were moved.
        images = not self.options.register
        return {
            "library_key": self.found.slices,
            "spatial_key": place,
            "img": images,
            "return_fig": True,
            "ncols": 4 if len(self.found.slice_sizes or ()) <= 8 else 6,
            **({} if self.tissue.table is None else {"table_key": self.tissue.table}),
        }

    def _lead(self) -> str:
        n_domains = len(self._column.cat.categories)
        slices = f" in {len(self.found.slice_sizes)} slices" if self.found.slices else ""
        method = _NAMES[self.options.method]
        text = f"{method} found <b>{n_domains} domains</b> among {self.found.n_spots:,} spots{slices}."
        record = self.adata.uns.get("n_domains")
        if self.options.n_domains:
            chosen = "The number was given."
        elif record is None:
            chosen = "The spots are too few to choose a number by."
        else:
            unclear = "" if record.get("clear", True) else ", in which no number is clear"
            chosen = f"Their number was chosen from the data{unclear}."
        if self._sureness is None:
            return f"{text} {chosen}"
        unsure = float((self._sureness < _UNSURE).mean())
        share = "No spot has" if unsure == 0 else f"{max(unsure, 0.001):.1%} of the spots have"
        return f"{text} {chosen} {share} a confidence below {_UNSURE:g}."

    def _tiles(self) -> Iterable[tuple[str, str]]:
        yield str(len(self._column.cat.categories)), "domains"
        yield f"{self.found.n_spots:,}", "spots"
        if self.found.slices:
            yield str(len(self.found.slice_sizes)), "slices"
        chosen = self.adata.var.get("highly_variable")
        used = self.found.n_genes if chosen is None else int(chosen.sum())
        yield f"{used:,}", f"genes used of {self.found.n_genes:,}"
        if self._sureness is not None:
            yield f"{self._sureness.mean():.2f}", "mean confidence"
        yield duration(self.seconds), "from input to output"

    def _domains(self) -> str:
        import spotscape
        from spotscape.pl._colors import READABLE

        # The table is the legend, as long as colours do without names on the tissue.
        few = len(self._column.cat.categories) <= READABLE
        legend: Any = {"legend_loc": None} if few else {}
        figure = spotscape.pl.domains(
            self.tissue.data, color=self._key, title=self._titles(), **legend, **self._library()
        )
        colours = self.adata.uns[f"{self._key}_colors"]
        genes: dict[str, list[str]] = {}
        if keys.MARKERS in self.adata.uns:
            found = self._marker_table().groupby("group", observed=True)
            genes = {str(name): part["gene"].head(_N_CHIPS).tolist() for name, part in found}
        sizes = self._column.value_counts(sort=False)
        rows, largest = [], sizes.max() / len(self._column)
        for name, colour in zip(self._column.cat.categories, colours, strict=True):
            share = sizes[name] / len(self._column)
            sure = None if self._sureness is None else self._sureness[(self._column == name).to_numpy()].mean()
            chips = "".join(f'<span class="gene">{escape(gene)}</span>' for gene in genes.get(str(name), ()))
            rows.append(
                f'<tr><td class="name"><i class="swatch" style="background:{colour}"></i>{escape(str(name))}</td>'
                f'<td class="num less">{sizes[name]:,}</td>'
                f'<td class="num">{share:.1%}<span class="bar less">'
                f'<i style="width:{100 * share / largest:.0f}%"></i></span></td>'
                + ("" if sure is None else f'<td class="num less">{sure:.2f}</td>')
                + (f'<td class="genes">{chips or "–"}</td>' if genes else "")
                + "</tr>"
            )
        heads = ["domain", "#spots.less", "#share", *(["#confidence.less"] if self._sureness is not None else [])]
        heads += ["genes higher than elsewhere"] if genes else []
        body = self._tissue(figure, "The domains on the tissue") + _table(heads, rows)
        return _section("Domains", "", body if self.found.slices else f'<div class="pair">{body}</div>')

    def _tissue(self, figure: Figure | Any, text: str) -> str:
        """A picture of the tissue: a single slice fits on a screen, many may be as long as they are."""
        return _picture(figure, text, kind="slices" if self.found.slices else "slice")

    def _titles(self) -> str | None:
        return None if self.found.slices else ""

    def _marker_table(self) -> pd.DataFrame:
        import spotscape

        table = spotscape.get.markers_df(self.adata)
        return table[(table["score"] > 0) & (table["log2_fold_change"] > 0)]

    def _confidence(self) -> str:
        if self._sureness is None:
            return ""
        import spotscape

        name = keys.confidence_of(self._key)
        figure = spotscape.pl.domains(
            self.tissue.data, color=name, vmin=0, vmax=1, title=self._titles(), **self._library()
        )
        if self._key == keys.CONSENSUS:
            text = "The share of trainings and clusterers that agree on the domain of a spot."
        else:
            text = "How clearly a spot belongs to its domain rather than to the next one, as the clusterer sees it."
            if self.options.method != "smoothed-pca":
                text += " How another training would have cut the tissue is said by <code>--restarts 5</code>."
        return _section("Confidence", text, self._tissue(figure, "Confidence on the tissue"))

    def _number(self) -> str:
        if keys.N_DOMAINS not in self.adata.uns:
            number = len(self._column.cat.categories)
            text = f"The number, {number}, was given. Without <code>--n-domains</code> it is chosen."
            return _section("Number of domains", text, "")
        import spotscape

        text = (
            "Samples of the spots are clustered into each number of domains. The largest number at which the domains "
            "of different samples agree about as well as they ever do, with regard to how well they describe the "
            "data, is chosen. Other peaks are other levels of detail."
        )
        figure = spotscape.pl.n_domains(self.adata, return_fig=True)
        return _section("Number of domains", text, _picture(figure, "Stability", svg=True))

    def _slices(self) -> str:
        if self.found.slices is None:
            return ""
        import pandas as pd

        import spotscape

        counts = pd.crosstab(self.adata.obs[self.found.slices], self._column, normalize="index")
        colours = self.adata.uns[f"{self._key}_colors"]
        rows = []
        for name, shares in counts.iterrows():
            pieces = "".join(
                f'<i style="width:{100 * share:.2f}%;background:{colour}" '
                f'title="{escape(str(domain))}: {share:.1%}"></i>'
                for (domain, share), colour in zip(shares.items(), colours, strict=True)
            )
            rows.append(
                f'<tr><td class="name">{escape(str(name))}</td>'
                f'<td class="num">{self.found.slice_sizes[str(name)]:,}</td>'
                f'<td style="width:70%"><div class="stack">{pieces}</div></td></tr>'
            )
        body = _table(["slice", "#spots", "share of each domain"], rows)
        if self.options.register:
            figure = spotscape.pl.registration(self.adata, library_key=self.found.slices, return_fig=True)
            body += "<h3>Registration</h3>" + _picture(figure, "The slices laid on each other")
        return _section("Slices", "The same domain has the same colour in all slices.", body)

    def _markers(self) -> str:
        if keys.MARKERS not in self.adata.uns:
            return ""
        table = self._marker_table().groupby("group", observed=True).head(_N_MARKERS)
        has_moran = "moran_i" in table
        rows = []
        colours = dict(zip(self._column.cat.categories, self.adata.uns[f"{self._key}_colors"], strict=True))
        names = table["group"].astype(str).to_numpy()
        for row, first in zip(table.to_dict("records"), np.r_[True, names[1:] != names[:-1]], strict=True):
            name = str(row["group"])
            domain = f'<i class="swatch" style="background:{colours[name]}"></i>{escape(name)}' if first else ""
            moran = f'<td class="num less">{round(row["moran_i"], 2) + 0.0:.2f}</td>' if has_moran else ""
            rows.append(
                f'<tr{" class=first" if first else ""}><td class="name">{domain}</td>'
                f"<td><i>{escape(row['gene'])}</i></td>"
                f'<td class="num">{row["log2_fold_change"]:+.2f}</td><td class="num">{row["share"]:.0%}</td>'
                f'<td class="num">{row["share_rest"]:.0%}</td><td class="num less">{row["score"]:.1f}</td>{moran}</tr>'
            )
        heads = ["domain", "gene", "#log2 fold", "#here", "#rest", "#score.less"]
        heads += ["#Moran's I.less"] if has_moran else []
        text = (
            f"The {_N_MARKERS} genes with the highest score for each domain against all others. <i>Here</i> and "
            "<i>rest</i> are shares of the spots in which the gene is seen. The domains were found from the same "
            "genes, so this is a ranking, and p-values would mean nothing."
        )
        return _section("Markers", text, _table(heads, rows, dense=True))

    def _training(self) -> str:
        record = self.adata.uns.get(self.options.method, {})
        if "history" not in record:
            return ""
        import spotscape

        figure = spotscape.pl.history(self.adata, key=self.options.method, return_fig=True)
        text = "The losses of the training by epoch. They should have flattened at the end."
        return _section("Training", text, _picture(figure, "Losses", svg=True))

    def _log(self) -> str:
        lines = [*(("INFO", f"{note}.") for note in self.found.notes), *self.notes]
        lines = [(level, line) for level, line in lines if not re.match(r"(Adding|Removing) `adata", line)]
        # What stands between backticks is code.
        items = "".join(
            f'<li class="{"warning" if level != "INFO" else "info"}">'
            + re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line))
            + "</li>"
            for level, line in dict.fromkeys(lines)
        )
        text = "What was taken for granted, left out or found odd, as the log has it. Warnings are marked."
        return _section("What was assumed", text, f'<ul class="log">{items}</ul>') if items else ""

    def _settings(self) -> str:
        command = shlex.join(["spotscape", *self.options.words])
        python = ["import spotscape as sp", "", *(str(step) for step in self.steps)]
        times = ", ".join(f"{step.name} {duration(step.seconds)}" for step in self.steps if step.seconds >= 1)
        versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        rows = [
            ("seed", str(self.options.seed)),
            ("time", times or "less than a second a step"),
            ("versions", f"Python {platform.python_version()}, {versions}"),
            ("system", f"{platform.system()} {platform.machine()}"),
        ]
        body = f"<pre>{escape(command)}</pre><h3>The same in Python</h3><pre>{escape(chr(10).join(python))}</pre>"
        return _section("Settings and versions", "", body + _definitions(rows))


def _section(title: str, text: str, body: str) -> str:
    paragraph = f"<p>{text}</p>" if text else ""
    return f"<section><h2>{title}</h2>{paragraph}{body}</section>"


def _table(heads: Sequence[str], rows: Sequence[str], *, dense: bool = False) -> str:
    """A table; a head that begins with # is of numbers, one that ends with .less is left out on a phone."""
    cells = []
    for head in heads:
        name, _, less = head.lstrip("#").partition(".less") if head.endswith(".less") else (head.lstrip("#"), "", None)
        classes = " ".join(["num"] * head.startswith("#") + ["less"] * (less is not None))
        cells.append(f'<th class="{classes}">{escape(name)}</th>')
    style = " class=dense" if dense else ""
    head = f"<thead><tr>{''.join(cells)}</tr></thead>"
    return f'<div class="wide"><table{style}>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _definitions(rows: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows) + "</dl>"


def _picture(figure: Figure | Any, text: str, *, svg: bool = False, kind: str = "") -> str:
    classes = f' class="{kind or "wide chart"}"' if kind or svg else ""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg" if svg else "png", dpi=130, bbox_inches="tight", facecolor="white")
    form = "svg+xml" if svg else "png"
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure{classes}><img src="data:image/{form};base64,{data}" alt="{escape(text)}"></figure>'
