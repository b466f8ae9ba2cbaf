"""The table of arguments in the documentation, against the signatures that it compares."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import scanpy as sc
import squidpy as sq

import spotscape as sp

PAGE = Path(__file__).parents[2] / "docs" / "plots.md"
THEIRS = {"scanpy": (sc.pl.spatial, sc.pl.embedding), "squidpy": (sq.pl.spatial_scatter,)}


def arguments(*functions: object) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters}  # type: ignore[arg-type]


def rows(*, header: str) -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition(header)[2].partition("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def named(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


COMPARED, LEFT_OUT = rows(header="| remarks |\n"), rows(header="| argument | of | reason |\n")


@pytest.fixture(autouse=True)
def compared_versions() -> None:
    """The table is of certain versions; others may have other arguments."""
    said = dict(re.findall(r"\((scanpy|squidpy) (\d+\.\d+)\)", PAGE.read_text(encoding="utf-8")))
    assert set(said) == set(THEIRS)
    for package, release in said.items():
        if not version(package).startswith(f"{release}."):
            pytest.skip(f"the table is of {package} {release}; installed is {version(package)}")


def test_all_arguments_of_domains_are_there_and_no_others() -> None:
    assert {name for row in COMPARED for name in named(row[0])} == arguments(sp.pl.domains)


@pytest.mark.parametrize(("package", "column"), [("scanpy", 1), ("squidpy", 2)])
def test_every_argument_of_theirs_has_a_counterpart_or_a_reason(package: str, column: int) -> None:
    theirs = arguments(*THEIRS[package])
    compared = {name for row in COMPARED for name in named(row[0] if row[column] == "the same" else row[column])}
    left_out = {name for row in LEFT_OUT if row[1] in (package, "both") for name in named(row[0])}
    assert theirs - compared - left_out == set()
    assert compared - theirs == set()
    mine = {name for row in LEFT_OUT if row[1] == package for name in named(row[0])}
    assert mine - theirs == set()
    both = {name for row in LEFT_OUT if row[1] == "both" for name in named(row[0])}
    assert both - arguments(*THEIRS["scanpy"], *THEIRS["squidpy"]) == set()


def test_what_is_left_out_has_a_reason() -> None:
    assert [row for row in LEFT_OUT if len(row) != 3 or not row[2]] == []
