"""What the documentation says about defaults is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from spotscape.models import SpaCrossConfig, SpotscapeConfig

PAGES = Path(__file__).parents[1] / "docs" / "how_it_works"
CONFIGS = {"spotscape": SpotscapeConfig, "spacross": SpaCrossConfig}
TABLE = re.compile(r"^\| field \| paper \| here \|.*\n\|[-|]+\n((?:\|.*\n)+)", flags=re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)` \|", flags=re.MULTILINE)


def documented_rows(page: str) -> set[str]:
    """The rows ``| field | paper | here |`` of the page, without what follows."""
    (table,) = TABLE.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    return {_row(*cells) for cells in ROW.findall(table)}


def expected_rows(config: Any) -> set[str]:
    """The rows that the page has to have: one for each field in which the defaults are not those of the paper."""
    ours, theirs = vars(config()), vars(config.paper())
    return {_row(name, _literal(theirs[name]), _literal(ours[name])) for name in ours if ours[name] != theirs[name]}


def _row(name: str, paper: str, here: str) -> str:
    return f"| `{name}` | `{paper}` | `{here}` |"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.mark.parametrize("page", CONFIGS)
def test_every_changed_default_is_documented_as_it_is(page: str) -> None:
    documented, expected = documented_rows(page), expected_rows(CONFIGS[page])
    missing, wrong = sorted(expected - documented), sorted(documented - expected)
    assert documented == expected, "\n".join(
        [f"docs/how_it_works/{page}.md lacks these rows:", *missing, "and has these, which are not so:", *wrong]
    )


def test_what_the_released_code_does_is_documented_as_it_is() -> None:
    text = (PAGES / "spacross.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| field \| paper \| released code \|\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    paper, released = vars(SpaCrossConfig.paper()), vars(SpaCrossConfig.released())
    expected = {
        _row(name, _literal(paper[name]), _literal(released[name])) for name in paper if paper[name] != released[name]
    }
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)`", table, flags=re.MULTILINE)
    assert {_row(*cells) for cells in rows} == expected


@pytest.mark.parametrize("page", CONFIGS)
def test_fields_that_a_page_names_exist(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert first_cells
    assert set(first_cells) <= set(vars(CONFIGS[page]()))
