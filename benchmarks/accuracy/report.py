"""What the study found, as tables and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from accuracy.settings import SETTINGS
from accuracy.tissues import is_several

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ["tissue", "method", "seed", "annotation", "clusterer"]


def current(results: Path) -> pd.DataFrame:
    """The rows that were measured with the settings of today, each run once."""
    rows = pd.read_csv(results, dtype={"settings": str, "f1_thin_each": str})
    pairs = rows[["tissue", "method"]].drop_duplicates()
    today = {
        (tissue, method): SETTINGS[method].fingerprint(several=is_several(tissue))
        for tissue, method in pairs.itertuples(index=False)
        if method in SETTINGS
    }
    kept = [today.get(key) == found for key, found in zip(pairs_of(rows), rows["settings"], strict=True)]
    return rows[kept].drop_duplicates(KEYS)


def pairs_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Tissue and method of each row."""
    return list(rows[["tissue", "method"]].itertuples(index=False, name=None))


def write(results: Path, docs: Path) -> None:
    """Print the mean agreement of what was measured."""
    rows = current(results)
    scored = rows[rows["clusterer"] != "none"]
    print(scored.pivot_table("ari", ["tissue", "annotation", "clusterer"], "method").round(3).to_string())
