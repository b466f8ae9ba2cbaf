"""What type checkers and editors are told about results."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import spotscape as sp

PACKAGING = Path(__file__).parents[1] / "packaging"


@pytest.fixture(scope="module")
def stubs() -> dict[str, object]:
    path = list(sys.path)
    names = runpy.run_path(str(PACKAGING / "stubs.py"))
    sys.path[:] = path
    return names


@pytest.mark.parametrize("namespace", ["pp", "tl", "pl", "get", "metrics", "nn"])
def test_stubs_are_those_of_the_sources(stubs: dict[str, object], namespace: str) -> None:
    written = (PACKAGING.parent / "src" / "spotscape" / namespace / "__init__.pyi").read_text(encoding="utf-8")
    assert written == stubs["stub_of"](namespace), "run python packaging/stubs.py"  # type: ignore[operator]


def test_the_script_that_mypy_checks_runs() -> None:
    names = runpy.run_path(str(PACKAGING / "typed_script.py"))
    assert isinstance(names["model"], sp.models.Spotscape)
    assert names["share"] == names["same"]
    assert len(names["genes"]) == 9
    plt.close("all")
