"""Write the page of the documentation: tables and plots of what has been run, between the prose of `page.md`.

In the template a line `@table name` or `@figure name: what it shows` stands for a table or a plot; with `{clusterer}`
in the name it stands for one in each of two tabs. What nothing has been measured for is left out, and so is a section
that had nothing else.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_tables import write_table

from accuracy import plots, summary
from accuracy.changes import SPACROSS, SPOTSCAPE, Change
from accuracy.plots import CLUSTERER_NAMES, NAMES, PURPOSE
from accuracy.settings import DEFAULTS, FLOORS, LINEAR, SETTINGS, Setting
from accuracy.summary import CLUSTERERS, PLACE, PLAIN, SHOWN
from accuracy.tissues import ROLES, SIMULATED, is_several

TEMPLATE = Path(__file__).parent / "page.md"
# A spread over fewer says little.
FEWEST_SEEDS = 5
DIRECTIVE = re.compile(r"^@(table|figure) (\S+?)(?:: (.*))?$", flags=re.MULTILINE)
GENERATED = "% Written by `python benchmarks/accuracy --report`; the text is that of benchmarks/accuracy/page.md.\n\n"


def write(results: Path, docs: Path) -> None:
    """Write tables, plots and the page; what an earlier report wrote is replaced."""
    rows = summary.current(results) if results.exists() else pd.DataFrame()
    folder = docs / "_static" / "accuracy"
    shutil.rmtree(folder, ignore_errors=True)
    for old in (docs / "_tables").glob("study_*.md"):
        old.unlink()
    figures = plots.draw_all(rows, folder) if len(rows) else set()
    tables = {name: table for name, table in all_tables(rows).items() if len(table)}
    for name, table in tables.items():
        write_table(docs / "_tables" / f"study_{name}.md", table)
    page = fill(TEMPLATE.read_text(encoding="utf-8"), set(tables), figures)
    (docs / "accuracy_study.md").write_text(GENERATED + page, encoding="utf-8")


def fill(template: str, tables: set[str], figures: set[str]) -> str:
    """Put tables and figures into the template and leave out sections without any."""
    head, *sections = re.split(r"^(?=## )", template, flags=re.MULTILINE)
    there = {"table": tables, "figure": figures}
    kept = [head]
    for section in sections:
        wanted = [(kind, name) for kind, pattern, _ in DIRECTIVE.findall(section) for name in _each(pattern)]
        if not wanted or any(name in there[kind] for kind, name in wanted):
            kept.append(DIRECTIVE.sub(lambda match: _block(*match.groups(), there), section))
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).rstrip() + "\n"


def _block(kind: str, pattern: str, text: str | None, there: dict[str, set[str]]) -> str:
    shown = [name for name in _each(pattern) if name in there[kind]]
    blocks = {name: _include(kind, name, text) for name in shown}
    if "{clusterer}" not in pattern:
        return "\n".join(blocks.values())
    if not blocks:
        return ""
    titles = [CLUSTERER_NAMES[name.rpartition("_")[2]] for name in blocks]
    tabs = [f":::{{tab-item}} {title}\n{one}:::\n" for title, one in zip(titles, blocks.values(), strict=True)]
    return "\n".join(["::::{tab-set}\n", *tabs, "::::\n"])


def _include(kind: str, name: str, text: str | None) -> str:
    if kind == "table":
        return f"```{{include}} _tables/study_{name}.md\n```\n"
    return f"```{{image}} _static/accuracy/{name}.svg\n:alt: {text}\n```\n"


def _each(pattern: str) -> list[str]:
    return [pattern.format(clusterer=one) for one in CLUSTERERS] if "{" in pattern else [pattern]


def all_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every table by its name; those without rows are empty."""
    tables = {"simulated": simulated()}
    if rows.empty:
        return tables
    scored = summary.labelled(rows)
    tables |= {"verdicts": verdicts(rows), "tried": tried(rows), "separation": separation(rows)}
    for clusterer in CLUSTERERS:
        one = scored[scored["clusterer"] == clusterer]
        tables[f"agreement_{clusterer}"] = agreement(rows, clusterer)
        tables[f"places_{clusterer}"] = places(one)
        tables[f"thin_{clusterer}"] = thin(one)
    tables["encoders"], tables["clusterers"] = encoders(scored), clusterers(scored)
    tables |= {"changes_spotscape": changes(rows, SPOTSCAPE), "changes_spacross": changes(rows, SPACROSS)}
    return tables | {f"robustness_{base}": robustness(rows, base) for base in DEFAULTS}


def simulated() -> pd.DataFrame:
    """What the simulated tissues are made of."""
    table = pd.DataFrame.from_dict(SIMULATED, orient="index").rename_axis("tissue")
    table.insert(0, "for", [ROLES[name] for name in table.index])
    table["dropout"] = table["dropout"].fillna(0.1)
    names = {"n_domains": "domains", "n_spots": "spots", "n_genes": "genes", "library_size": "counts"}
    return table.rename(columns=names)


def agreement(rows: pd.DataFrame, clusterer: str) -> pd.DataFrame:
    """Mean ± SD of ARI, and differences to the best floor under any clusterer."""
    means = summary.beside_floor(summary.labelled(rows))
    means = means[means["clusterer"] == clusterer]
    means["text"] = [_with_spread(*one) for one in means[["mean", "sd", "seeds"]].itertuples(index=False)]
    hops = (" `" + means["method"] + "`").where(means["shown"] == "floor", "")
    shown = (means.assign(text=means["text"] + hops)).pivot_table("text", PLACE, "shown", aggfunc="first")
    shown = shown.reindex(columns=list(SHOWN)).rename(columns=NAMES)
    found = summary.differences(rows)
    found = found[found["clusterer"] == clusterer].pivot_table("difference", PLACE, "shown")
    if len(found):
        text = found.reindex(columns=list(SHOWN[1:])).map(lambda value: "–" if np.isnan(value) else f"{value:+.3f}")
        shown["minus floor"] = text.agg(" / ".join, axis=1)
    return _by_tissue(shown)


def clusterers(scored: pd.DataFrame) -> pd.DataFrame:
    """Mean ARI of each method under each clusterer, over the runs that all clusterers have."""
    runs = scored[scored["method"].isin([*LINEAR, *DEFAULTS])]
    wide = runs.pivot_table("ari", [*PLACE, "method", "seed"], "clusterer").reindex(columns=list(CLUSTERERS)).dropna()
    if wide.empty:
        return pd.DataFrame()
    means = wide.groupby([*PLACE, "method"]).mean()
    text = means.map("{:.3f}".format).agg(" / ".join, axis=1)
    often = wide.groupby([*PLACE, "method"]).size()
    text += np.where(often > 1, " (" + often.astype(str) + ")", "")
    shown = text.rename("text").reset_index().pivot_table("text", PLACE, "method", aggfunc="first")
    return _by_tissue(shown.reindex(columns=[*LINEAR, *DEFAULTS]).rename(columns=NAMES).fillna("–"))


def encoders(scored: pd.DataFrame) -> pd.DataFrame:
    """Mean ± SD of one encoder and of the default's number of them, where both were run often."""
    found = [_encoders(scored, base) for base in DEFAULTS]
    return pd.concat([one for one in found if len(one)]) if any(map(len, found)) else pd.DataFrame()


def _encoders(scored: pd.DataFrame, base: str) -> pd.DataFrame:
    names = {"one": "one encoder", base: "four encoders"}
    # On several slices the single encoder is the default of before, which was trained for longer.
    single = {f"{base}_one": False, f"{base}_one_300": True}
    is_one = scored["method"].map(single) == scored["tissue"].map(is_several)
    runs = scored.assign(method=scored["method"].mask(is_one, "one"))
    runs = runs[runs["method"].isin(names)]
    groups = runs.groupby([*PLACE, "clusterer", "method"])["ari"].agg(["mean", "std", "count"]).reset_index()
    often = groups[groups["count"] >= FEWEST_SEEDS]
    often = often.assign(text=[_with_spread(*one) for one in often[["mean", "std", "count"]].itertuples(index=False)])
    columns = {
        (one, clusterer): f"{name}, {CLUSTERER_NAMES[clusterer]}" for clusterer in PLAIN for one, name in names.items()
    }
    shown = often.pivot_table("text", PLACE, ["method", "clusterer"], aggfunc="first")
    shown = shown.reindex(columns=list(columns)).dropna()
    if shown.empty:
        return pd.DataFrame()
    table = _by_tissue(shown.set_axis(list(columns.values()), axis=1))
    table.insert(0, "method", NAMES[base])
    return table


def places(scored: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at boundaries and elsewhere: best floor / smoothed PCA / Spotscape / SpaCross."""
    columns = {"accuracy_boundary": "at boundaries", "accuracy_interior": "elsewhere"}
    texts = {title: _triples(summary.beside_floor(scored, score)) for score, title in columns.items()}
    return _by_tissue(pd.DataFrame(texts)) if len(scored) else pd.DataFrame()


def thin(scored: pd.DataFrame) -> pd.DataFrame:
    """F1 score of each thin layer, mean over seeds: best floor / smoothed PCA / Spotscape / SpaCross."""
    each = scored.dropna(subset=["f1_thin_each"])
    if each.empty:
        return pd.DataFrame()
    pairs = each["f1_thin_each"].str.split().explode().str.split("=", expand=True)
    each = each.join(pairs.set_axis(["layer", "f1"], axis=1)).astype({"f1": float})
    each["annotation"] = each["layer"]
    means = summary.beside_floor(each, "f1")
    return _by_tissue(pd.DataFrame({"F1": _triples(means)}), always=True)


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Number of annotations on which what is asked holds, out of those on which both methods were measured."""
    found = summary.verdicts(rows)
    if found.empty:
        return found
    names = {
        "better": ("of", "better method ≥ floor + .03"),
        "worse": ("of", "both ≥ floor less .02"),
        "steady": ("repeated", "both SD ≤ .03"),
    }
    texts = {
        title: [f"{n} of {whole}" if whole else "–" for n, whole in found[[key, of]].to_numpy()]
        for key, (of, title) in names.items()
    }
    shown = pd.DataFrame(texts)
    index = [f"{kind}, {PURPOSE[role]}" for _, role, kind in found.index]
    shown.insert(0, "clusterer", [CLUSTERER_NAMES[clusterer] for clusterer, *_ in found.index])
    return shown.set_axis(pd.Index(index, name="tissues"))


def robustness(rows: pd.DataFrame, base: str) -> pd.DataFrame:
    """Mean change over tissues and, in parentheses, its range; a row for each field and direction."""
    found = summary.robustness(rows)
    found = found[found["base"] == base]
    if found.empty:
        return found
    groups = found.groupby(["field", "value", "clusterer"], sort=False)["change"]
    stats = groups.agg(["mean", "min", "max"])
    text = [f"{one['mean']:+.3f} ({one['min']:+.3f} to {one['max']:+.3f})" for _, one in stats.iterrows()]
    shown = stats.assign(text=text).pivot_table("text", ["field", "value"], "clusterer", aggfunc="first")
    shown = shown.reindex(columns=list(CLUSTERERS))
    order = found[["field", "value"]].drop_duplicates().itertuples(index=False, name=None)
    shown = shown.loc[list(order)].fillna("–").rename(columns=CLUSTERER_NAMES).reset_index("value")
    counts = found.groupby(["field", "value"], sort=False)["tissue"].nunique()
    shown["tissues"] = counts.loc[[*zip(shown.index, shown["value"], strict=True)]].to_numpy()
    shown = shown.rename(columns={"value": "change"})
    return shown.set_axis([f"`{field}`" for field in shown.index]).rename_axis("field")


def tried(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean change of ARI and, in parentheses, that on the tissue where it is lowest; a row for each setting."""
    found = summary.tried(rows)
    if found.empty:
        return found
    found["text"] = [f"{one.change:+.3f} ({one.lowest:+.3f})" for one in found.itertuples()]
    shown = found.pivot_table("text", "method", "clusterer", aggfunc="first").reindex(columns=list(CLUSTERERS))
    first = found.drop_duplicates("method").set_index("method")
    shown = shown.loc[[name for name in SETTINGS if name in shown.index]].fillna("–").rename(columns=CLUSTERER_NAMES)
    shown.insert(0, "what is changed", [told(SETTINGS[name]) for name in shown.index])
    shown.insert(1, "against", [f"`{first.loc[name, 'base']}`" for name in shown.index])
    shown["tissues, seeds"] = [f"{first.loc[name, 'tissues']}, {first.loc[name, 'seeds']}" for name in shown.index]
    return shown.set_axis([f"`{name}`" for name in shown.index]).rename_axis("setting")


def changes(rows: pd.DataFrame, told_of: tuple[Change, ...]) -> pd.DataFrame:
    """What ARI changes by when a change is taken back: k-means and mixture, on each tissue it was measured on."""
    found = summary.tried_by_tissue(rows)
    lines = []
    for change in told_of:
        one = found[found["method"] == change.without]
        if one.empty:
            continue
        wide = one.pivot_table("mean", PLACE, "clusterer").reindex(columns=list(PLAIN))
        wide = wide.loc[sorted(wide.index, key=lambda place: (*summary.rank(place[0]), place[1]))]
        several = wide.groupby("tissue").size() > 1
        line = {"change": change.what, "why": change.why, "without": f"`{change.without}`"}
        for (tissue, annotation), values in wide.iterrows():
            line[_named(tissue, annotation, several=several[tissue])] = " / ".join(f"{value:+.3f}" for value in values)
        lines.append({**line, "seeds": one["count"].min()})
    return pd.DataFrame(lines).fillna("–").set_index("change") if lines else pd.DataFrame()


def told(setting: Setting) -> str:
    """A setting in words."""
    changes = {**setting.changes, **setting.call, **({"n_neighs": setting.n_neighs} if setting.n_neighs != 6 else {})}
    words = [f"`{name}={value!r}`" for name, value in changes.items()]
    words += [setting.after.__name__.replace("_", " ")] if setting.after else []
    return ", ".join([*([f"`{setting.preset}()`"] if setting.preset != "default" else []), *words])


def separation(rows: pd.DataFrame) -> pd.DataFrame:
    """How far annotated categories lie apart in the embedding, and how slices mix; without any clustering."""
    rows = rows[(rows["clusterer"] == "none") & rows["method"].isin([*FLOORS, *LINEAR, *DEFAULTS])]
    if rows.empty:
        return rows
    names = {"clisi": "cLISI", "label_asw": "label ASW", "ilisi": "iLISI of slices"}
    groups = rows.groupby(["tissue", "annotation", "method"])[list(names)].mean()
    order = [key for key in ROLES if key in groups.index.get_level_values("tissue")]
    groups = groups.loc[order].rename(columns=names)
    text = groups.map(lambda value: "–" if np.isnan(value) else f"{value:.3f}").reset_index()
    text = text.sort_values("method", key=lambda column: column.map([*SETTINGS].index), kind="stable")
    text = text.sort_values("tissue", key=lambda column: column.map(order.index), kind="stable")
    text["tissue"] = text["tissue"] + " `" + text.pop("annotation") + "`"
    return text.set_index("tissue")


def _triples(means: pd.DataFrame) -> pd.Series:
    """Means of what is compared behind each other."""
    wide = means.pivot_table("mean", PLACE, "shown").reindex(columns=list(SHOWN))
    return wide.map(lambda value: "–" if np.isnan(value) else f"{value:.2f}").agg(" / ".join, axis=1)


def _by_tissue(table: pd.DataFrame, *, always: bool = False) -> pd.DataFrame:
    """Rows in the order of the split, named by tissue and, where there are several, annotation."""
    table = table.fillna("–").loc[sorted(table.index, key=lambda place: (*summary.rank(place[0]), place[1]))]
    several = table.groupby("tissue").size() > 1
    names = [_named(*place, several=always or several[place[0]]) for place in table.index]
    table = table.set_axis(pd.Index(names, name="tissue"))
    table.insert(0, "for", [ROLES[name.partition(" ")[0]] for name in names])
    return table


def _named(tissue: str, annotation: str, *, several: bool) -> str:
    return f"{tissue} `{annotation}`" if several else tissue


def _with_spread(mean: float, sd: float, seeds: int) -> str:
    return f"{mean:.3f} ± {sd:.3f} ({seeds})" if seeds > 1 else f"{mean:.3f} (1)"
