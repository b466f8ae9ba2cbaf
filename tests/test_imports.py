"""Importing is cheap: a heavy library is loaded by the function that needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import spotscape as sp

HEAVY = ("faiss", "matplotlib", "scanpy", "spatialdata", "squidpy", "torch_geometric", "igraph", "leidenalg")
ANNDATA_SIDE = ("anndata", "scanpy", "squidpy", "spatialdata")

# What one of several imports may not load, all of them together may not.
FORBIDDEN = {
    "import spotscape": (*HEAVY, "anndata", "pandas", "torch"),
    "import spotscape.metrics, spotscape.models, spotscape.nn": tuple({*HEAVY, *ANNDATA_SIDE}),
    "import spotscape.datasets, spotscape.get, spotscape.metrics, spotscape.pl, spotscape.pp, spotscape.tl": (
        *HEAVY,
        "torch",
    ),
    "import spotscape as sp; sp.tl.markers, sp.tl.refine_domains, sp.tl.spotscape, sp.tl.trajectory": (*HEAVY, "torch"),
    "import spotscape as sp; [getattr(sp.tl, name) for name in sp.tl.__all__]": HEAVY,
}


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh Python has loaded after ``statement``."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_import_does_not_load(statement: str) -> None:
    assert loaded_after(statement) & set(FORBIDDEN[statement]) == set()


def test_the_check_sees_a_loaded_module() -> None:
    assert "pandas" in loaded_after("import spotscape, pandas")


def test_namespaces_come_on_first_use() -> None:
    namespaces = ("datasets", "get", "metrics", "models", "nn", "pl", "pp", "tl")
    code = "import spotscape as sp; " + "; ".join(f"sp.{name}.__name__" for name in namespaces)
    assert "spotscape" in loaded_after(code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sp.nothing
    assert {"pp", "tl", "pl", "settings"} <= set(dir(sp))
