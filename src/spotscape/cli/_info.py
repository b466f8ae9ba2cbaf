"""``spotscape info``: what a file is, what is wrong with it, what would be done, and how long it would take."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np

from spotscape.cli._inspect import describe
from spotscape.cli._plan import plan
from spotscape.cli._read import read
from spotscape.cli._resources import duration, estimate

if TYPE_CHECKING:
    import argparse

    from spotscape.cli._inspect import Description
    from spotscape.cli._plan import Step
    from spotscape.cli._read import Tissue


def info(options: argparse.Namespace) -> int:
    """Print what the inputs are; the exit status is 1 if they could not be analysed."""
    tissue = read(options)
    found = describe(tissue, options)
    steps = plan(options, tissue, found)
    if options.json:
        seconds, gigabytes = estimate(found, options)
        content = found.as_dict() | {
            "input": [str(path) for path in options.inputs],
            "kind": tissue.kind,
            "steps": [str(step) for step in steps],
            "estimated_seconds": round(seconds),
            "estimated_gigabytes": round(gigabytes, 1),
        }
        sys.stdout.write(json.dumps(_without_nan(content), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(text_of(options, tissue, found, steps))
    return 1 if found.problems else 0


def text_of(options: argparse.Namespace, tissue: Tissue, found: Description, steps: list[Step]) -> str:
    """All of it as lines for people."""
    seconds, gigabytes = estimate(found, options)
    rows = [
        ("input", f"{', '.join(map(str, options.inputs))} ({tissue.kind})"),
        *rows_of(found),
        ("problems", "\n".join(found.problems) or "none"),
        ("notes", "\n".join(found.notes) or "none"),
        ("steps", "\n".join(map(str, steps))),
        ("takes", f"about {duration(seconds)} and {gigabytes:.1f} GB of memory; a rough guess for {_where(options)}"),
    ]
    lines = []
    for name, value in rows:
        first, *more = value.split("\n")
        lines += [f"{name:<12}{first}", *(f"{'':<12}{line}" for line in more)]
    return "\n".join(lines) + "\n"


def rows_of(found: Description) -> list[tuple[str, str]]:
    """Names and values of what was found, as ``info`` and the report show them."""
    sizes = ", ".join(f"{name} ({size:,})" for name, size in list(found.slice_sizes.items())[:12])
    more = "" if len(found.slice_sizes) <= 12 else f" and {len(found.slice_sizes) - 12} more"
    slices = "one" if found.slices is None else f"{len(found.slice_sizes)} in obs[{found.slices!r}]: {sizes}{more}"
    spacing = (
        "unknown" if np.isnan(found.spacing) else f"{found.arrangement}, spacing {found.spacing:.4g}; {found.unit}"
    )
    empty = f"{found.empty_genes:,} genes and {found.empty_spots:,} spots without counts"
    return [
        ("size", f"{found.n_spots:,} spots × {found.n_genes:,} genes"),
        ("platform", found.platform),
        ("coordinates", spacing),
        ("slices", slices),
        ("counts", f"{found.counts}; median {found.median_counts:,.0f} per spot; {empty}"),
    ]


def _where(options: argparse.Namespace) -> str:
    return "this machine's GPU" if options.device.startswith("cuda") else "2 cores without a GPU"


def _without_nan(content: dict[str, object]) -> dict[str, object]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in content.items()}
