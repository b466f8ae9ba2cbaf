"""Results row by row: each is written at once, with what it was measured with."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tissues import hardware

if TYPE_CHECKING:
    from collections.abc import Sequence


def append(out: Path, *rows: dict[str, Any]) -> None:
    """Add rows, all with the same columns, to a file of results, which may be new.

    What they were measured with is added unless a row brings it, as one does that is copied.
    They are written by one call in append mode, so that several processes may share a file.
    """
    measured = [{**row, **hardware(), **row} for row in rows]
    if not out.exists():
        _create(out, list(measured[0]))
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, _columns(out))
    writer.writerows(measured)
    with out.open("ab", buffering=0) as file:
        file.write(lines.getvalue().encode())


def _create(out: Path, columns: Sequence[str]) -> None:
    """Make a file with its header, unless another process has just done so; none ever sees it without."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent)
    with os.fdopen(handle, "w", newline="") as file:
        csv.writer(file).writerow(columns)
    Path(name).chmod(0o644)
    try:
        os.link(name, out)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()


def _columns(out: Path) -> list[str]:
    with out.open(newline="") as file:
        return next(csv.reader(file))
