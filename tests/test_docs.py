"""What the documentation says about defaults is what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from spotscape.models import SpotscapeConfig

PAGE = Path(__file__).parents[1] / "docs" / "how_it_works" / "spotscape.md"
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)` \|", flags=re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def changed_fields() -> set[str]:
    ours, theirs = SpotscapeConfig(), SpotscapeConfig.paper()
    return {name for name in vars(ours) if getattr(ours, name) != getattr(theirs, name)}


@pytest.mark.parametrize(("field", "paper", "here"), ROWS)
def test_a_default_is_as_documented(field: str, paper: str, here: str) -> None:
    assert getattr(SpotscapeConfig.paper(), field) == ast.literal_eval(paper)
    assert getattr(SpotscapeConfig(), field) == ast.literal_eval(here)


def test_every_changed_default_is_documented() -> None:
    assert {field for field, _, _ in ROWS} == changed_fields()
