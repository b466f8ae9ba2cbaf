"""Rows of results to the numbers that tables and plots show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from accuracy.settings import (
    ABLATIONS_SPACROSS,
    ABLATIONS_SPOTSCAPE,
    DEFAULTS,
    FLOORS,
    LINEAR,
    PRESETS,
    PUBLISHED,
    ROBUSTNESS,
    SEARCH_SPACROSS,
    SETTINGS,
)
from accuracy.tissues import ROLES, SIMULATED, is_several, parts

if TYPE_CHECKING:
    from pathlib import Path

CLUSTERERS = ("auto", "kmeans", "gmm")
# The plain ones; ablations, which came before the first, are scored with these.
PLAIN = CLUSTERERS[1:]
PLACE = ["tissue", "annotation"]
KEYS = ["tissue", "method", "seed", "annotation", "clusterer"]
SCORES = ["ari", "accuracy_boundary", "accuracy_interior", "recall_thin", "f1_thin"]
SHOWN = ("floor", *LINEAR, *DEFAULTS)


def current(results: Path) -> pd.DataFrame:
    """The rows that were measured with the settings of today, each run once."""
    rows = pd.read_csv(results, dtype={"settings": str, "f1_thin_each": str})
    pairs = list(rows[["tissue", "method"]].itertuples(index=False, name=None))
    today = {
        (tissue, method): SETTINGS[method].fingerprint(several=is_several(tissue))
        for tissue, method in set(pairs)
        if method in SETTINGS
    }
    kept = [today.get(pair) == found for pair, found in zip(pairs, rows["settings"], strict=True)]
    return rows[kept].drop_duplicates(KEYS)


def rank(tissue: str) -> tuple[bool, bool, int]:
    """Where a tissue stands in tables and plots: those to choose by first, and real ones first among them."""
    return ROLES[tissue] != "choose", tissue in SIMULATED, list(ROLES).index(tissue)


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of domains on tissues as they are."""
    return rows[rows["tissue"].isin(ROLES) & rows["clusterer"].isin(CLUSTERERS)]


def beside_floor(rows: pd.DataFrame, score: str = "ari") -> pd.DataFrame:
    """Mean, SD and number of seeds of the floor that is best in ARI and of what is compared with it.

    A row for each tissue, annotation, clusterer and `shown`; the column `method` tells which floor it is.
    """
    keys = [*PLACE, "clusterer", "method"]
    chosen = rows[rows["method"].isin([*FLOORS, *LINEAR, *DEFAULTS])].dropna(subset=[score])
    stats = chosen.groupby(keys)[score].agg(mean="mean", sd="std", seeds="count").reset_index()
    stats["ari"] = stats[keys].merge(chosen.groupby(keys)["ari"].mean().reset_index(), on=keys)["ari"]
    stats["shown"] = stats["method"].where(~stats["method"].isin(FLOORS), "floor")
    best = stats.sort_values("ari", ascending=False).drop_duplicates([*PLACE, "clusterer", "shown"])
    return best.sort_values([*PLACE, "clusterer", "shown"]).reset_index(drop=True)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean ARI of everything else minus that of the best floor under whichever clusterer is better for it."""
    means = beside_floor(labelled(rows))
    floor = means[means["shown"] == "floor"].groupby(PLACE)["mean"].max().rename("floor")
    ours = means[means["shown"] != "floor"].join(floor, on=PLACE).dropna(subset=["floor"])
    return ours.assign(difference=ours["mean"] - ours["floor"])


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """On how many tissues the defaults keep what is asked of them; by clusterer, purpose and kind of tissue.

    Counted are annotations on which both defaults were measured; for the spread, from more than one seed (`repeated`).
    """
    found = differences(rows)
    found = found[found["shown"].isin(DEFAULTS)]
    if found.empty:
        return found
    wide = found.pivot_table(["difference", "sd"], ["clusterer", *PLACE], "shown", dropna=False)
    wide = wide[wide["difference"].reindex(columns=list(DEFAULTS)).notna().all(axis=1)]
    if wide.empty:
        return pd.DataFrame()
    kept = pd.DataFrame(
        {
            "better": wide["difference"].max(axis=1) >= 0.03,
            "worse": wide["difference"].min(axis=1) >= -0.02,
            "steady": wide["sd"].max(axis=1, skipna=False) <= 0.03,
            "repeated": wide["sd"].notna().all(axis=1),
        }
    ).reset_index()
    kept["role"] = kept["tissue"].map(ROLES)
    kept["kind"] = np.where(kept["tissue"].isin(SIMULATED), "simulated", "real")
    groups = kept.groupby(["clusterer", "role", "kind"])[["better", "worse", "steady", "repeated"]]
    return groups.sum().astype(int).join(groups.size().rename("of"))


def robustness(rows: pd.DataFrame) -> pd.DataFrame:
    """Change of mean ARI when a field is halved or doubled, over the seeds that the change and the default share."""
    changes = moved_fields()
    rows = labelled(rows)
    defaults = rows[rows["method"].isin(DEFAULTS)].rename(columns={"method": "base", "ari": "default"})
    moved = rows[rows["method"].isin(changes.index)].join(changes, on="method")
    keys = [*PLACE, "clusterer", "seed"]
    paired = moved.merge(defaults[["base", "default", *keys]], on=["base", *keys])
    paired["change"] = paired["ari"] - paired["default"]
    groups = paired.groupby(["base", "field", "direction", "value", *PLACE, "clusterer"])["change"]
    found = groups.agg(change="mean", seeds="count").reset_index()
    order = changes.reset_index(drop=True).reset_index(names="order")
    return found.merge(order, on=["base", "field", "direction", "value"]).sort_values("order").drop(columns="order")


def moved_fields() -> pd.DataFrame:
    """What each method of the group `robustness` does: `base`, `field`, `direction` and `value`."""
    found = {}
    for name, setting in ROBUSTNESS.items():
        base, field = re.match(r"(\w+)\*(\w+)", name).groups()
        value = getattr(setting.config(several=False), field)
        default = getattr(PRESETS[base, "default"][False](), field)
        found[name] = {
            "base": base,
            "field": field,
            "direction": "halved" if value < default else "doubled",
            "value": f"{default:g} → {value:g}",
        }
    return pd.DataFrame.from_dict(found, orient="index")


def degradation(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD of ARI by what was taken away and the share that is left; at each share the floor's best."""
    rows = rows[rows["clusterer"].isin(CLUSTERERS)]
    named = [parts(name) for name in rows["tissue"]]
    rows = rows.assign(base=[p[0] for p in named], kind=[p[1] for p in named], share=[p[2] for p in named])
    degraded = rows[rows["kind"] != ""]
    if degraded.empty:
        return pd.DataFrame()
    whole = rows[rows["kind"] == ""].drop(columns="kind")
    # The whole tissue begins the curve of whatever was taken away from it.
    every = pd.concat([degraded, whole.merge(degraded[["base", "kind"]].drop_duplicates(), on="base")])
    means = beside_floor(every.assign(tissue=every["base"] + "|" + every["kind"] + "|" + every["share"].astype(str)))
    means[["base", "kind", "share"]] = means["tissue"].str.split("|", expand=True)
    return means.assign(share=means["share"].astype(float))


def tried(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over tissues and annotations of what `tried_by_tissue` tells, and the lowest."""
    groups = tried_by_tissue(rows).groupby(["method", "base", "clusterer"])
    return groups.agg(
        change=("mean", "mean"), lowest=("mean", "min"), tissues=("tissue", "nunique"), seeds=("count", "min")
    ).reset_index()


def tried_by_tissue(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean change of ARI against the default, on tissues to choose by, of all other settings.

    Means are over the seeds that a setting and the default share; ablations
    have one encoder and are compared with `spotscape_one` or `spacross_one`.
    """
    rows = labelled(rows)
    rows = rows[rows["tissue"].map(ROLES) == "choose"]
    bases = {
        **dict.fromkeys(ABLATIONS_SPOTSCAPE, "spotscape_one"),
        **dict.fromkeys(ABLATIONS_SPACROSS, "spacross_one"),
        **{name: SETTINGS[name].method for name in (*PUBLISHED, *SEARCH_SPACROSS)},
        "spotscape_one": "spotscape",
        "spacross_one": "spacross",
    }
    keys = [*PLACE, "clusterer", "seed"]
    changed = rows[rows["method"].isin(bases)].assign(base=lambda found: found["method"].map(bases))
    against = rows.rename(columns={"method": "base", "ari": "default"})[["base", "default", *keys]]
    paired = changed.merge(against, on=["base", *keys])
    paired["change"] = paired["ari"] - paired["default"]
    groups = paired.groupby(["method", "base", "clusterer", *PLACE])["change"]
    return groups.agg(["mean", "count"]).reset_index()
