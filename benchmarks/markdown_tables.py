"""Tables for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a table as markdown, its index first."""
    header = [table.index.name or "", *map(str, table.columns)]
    rows = [header, ["---"] * len(header), *([str(index), *map(str, row)] for index, *row in table.itertuples())]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("| " + " | ".join(row) + " |\n" for row in rows))
