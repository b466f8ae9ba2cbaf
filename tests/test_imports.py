"""Importing is cheap: a heavy library is loaded by the function that needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import spotscape as sp

HEAVY = ("faiss", "matplotlib", "scanpy", "spatialdata", "squidpy", "torch_geometric", "igraph", "leidenalg")
ANNDATA_SIDE = ("anndata", "scanpy", "squidpy", "spatialdata")

# Statements that one fresh Python runs in turn, and what none of them and none before may have loaded.
IN_TURN = {
    "import spotscape as sp": (*HEAVY, "anndata", "pandas", "torch"),
    "import spotscape.datasets, spotscape.get, spotscape.metrics, spotscape.pl, spotscape.pp, spotscape.tl": (
        *HEAVY,
        "torch",
    ),
    "sp.tl.markers, sp.tl.refine_domains, sp.tl.spotscape, sp.tl.trajectory": (*HEAVY, "torch"),
    "[getattr(sp.tl, name) for name in sp.tl.__all__]": HEAVY,
    "[getattr(sp, name).__name__ for name in ('get', 'metrics', 'models', 'nn', 'pl', 'pp', 'tl')]": HEAVY,
}


def loaded_after(*statements: str) -> list[set[str]]:
    """Return the top-level modules that a fresh Python has loaded after each of the statements."""
    listed = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    code = "\n".join(["import json, sys", *(line for one in statements for line in (one, listed))])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(json.loads(line)) for line in run.stdout.splitlines()]


def test_what_imports_and_first_uses_do_not_load() -> None:
    for (statement, forbidden), loaded in zip(IN_TURN.items(), loaded_after(*IN_TURN), strict=True):
        assert loaded & {*forbidden} == set(), statement


def test_what_takes_arrays_does_not_load_what_reads_tables() -> None:
    arrays, tables = loaded_after("import spotscape.metrics, spotscape.models, spotscape.nn", "import anndata")
    assert arrays & {*HEAVY, *ANNDATA_SIDE} == set()
    assert "anndata" in tables


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sp.nothing
    assert {"pp", "tl", "pl", "settings"} <= set(dir(sp))
