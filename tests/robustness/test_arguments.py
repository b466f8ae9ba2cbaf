"""Wrong values of every parameter of every public function."""

from __future__ import annotations

import datetime as dt
import inspect
import random
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spotscape._core.arguments import annotations_of

if TYPE_CHECKING:
    import anndata as ad

ON_ANNDATA = ("pp", "tl", "pl", "get")

# What people hand in by mistake, and what a program hands in that was never meant to.
WRONG: dict[str, Any] = {
    "None": None,
    "empty text": "",
    "blank": " ",
    "text": "nope",
    "text of a flag": "False",
    "text of a number": "7",
    "slash": "a/b",
    "index": "_index",
    "root of a file": "/",
    "dot": ".",
    "null byte": "a\0b",
    "umlaut": "Größe 🙂",
    "bytes": b"x",
    "spatial": "spatial",
    "counts": "counts",
    "slice": "slice",
    "X": "X",
    "domain": "domain",
    "X_spotscape": "X_spotscape",
    "spotscape": "spotscape",
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "seven": 7,
    "many": 10**6,
    "too many bits": 2**70,
    "half": 0.5,
    "whole float": 2.0,
    "tiny": 1e-300,
    "huge": 1e300,
    "minus huge": -1e300,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": -float("inf"),
    "complex": 1j,
    "True": True,
    "False": False,
    "numpy bool": np.True_,
    "int64": np.int64(3),
    "uint8": np.uint8(2),
    "float32": np.float32(0.5),
    "numpy nan": np.float64("nan"),
    "numpy complex": np.complex64(1),
    "fraction": Fraction(1),
    "masked": np.ma.masked,
    "zero-dimensional": np.array(3),
    "NA": pd.NA,
    "NaT": pd.NaT,
    "empty list": [],
    "list of text": ["a"],
    "list of numbers": [1, 2],
    "pair": (1.0, 2.0),
    "pair the other way": (2, 1),
    "list of NaN": [float("nan")],
    "mixed list": [1, "a", None],
    "nested list": [[1], [1, 2]],
    "empty tuple": (),
    "set": {"a"},
    "dict": {},
    "dict of text": {"a": "b"},
    "range": range(3),
    "generator": (i for i in range(3)),
    "array": np.arange(3),
    "array of NaN": np.full(3, np.nan),
    "array of text": np.array(["a", "b"]),
    "array of objects": np.array([None, {}], dtype=object),
    "matrix": np.ones((3, 3)),
    "empty array": np.empty(0),
    "sparse": sparse.eye_array(3, format="csr"),
    "series": pd.Series([1, 2]),
    "frame": pd.DataFrame({"a": [1]}),
    "index of text": pd.Index(["a"]),
    "categorical": pd.Categorical(["a"]),
    "class": int,
    "function": len,
    "object": object(),
    "module": inspect,
    "date": dt.date(2025, 1, 1),
    "random state": np.random.RandomState(0),
    "random generator": np.random.default_rng(0),
    "ellipsis": ...,
}
# They would fetch data, or train for as long as they say.
LONG = ("tl.spotscape", "tl.spacross", "tl.choose_n_domains")
NOT_TRIED = {("datasets.dlpfc", "sample"), *((name, "many") for name in LONG)}
# Found when all were tried: errors of other libraries, each of another kind.
FOUND = [
    ("pp.spatial_neighbors_radius", "radius", "too many bits"),
    ("tl.smoothed_pca", "dispersion", "many"),
    ("tl.spotscape", "lr", "too many bits"),
    ("pl.composition", "palette", "array of objects"),
    ("pl.confidence", "legend_fontsize", "many"),
    ("pl.embedding", "color", "empty list"),
    ("pl.history", "adata", "dict of text"),
    ("pl.markers", "layer", "text"),
    ("pl.markers", "figsize", "pair"),
    ("pl.similarity", "anchors", "None"),
    ("pl.similarity", "anchors", "empty list"),
    ("pl.similarity", "vmin", "seven"),
    ("pl.stack_3d", "groups", "empty list"),
]


def public_functions() -> dict[str, Any]:
    """Return the public functions by the names that users write."""
    return {
        f"{space}.{name}": getattr(import_module(f"spotscape.{space}"), name)
        for space in ON_ANNDATA
        for name in import_module(f"spotscape.{space}").__all__
        if inspect.isfunction(getattr(import_module(f"spotscape.{space}"), name))
    }


FUNCTIONS = public_functions()


def cases(name: str) -> list[tuple[str, str]]:
    """Return the parameters of a function, each with every wrong value that is tried for it."""
    parameters = list(annotations_of(FUNCTIONS[name]))
    return [
        (parameter, wrong)
        for parameter in parameters
        for wrong in WRONG
        if not {(name, parameter), (name, wrong)} & NOT_TRIED
    ]


def tried(
    name: str, chosen: list[tuple[str, str]], good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any
) -> None:
    for parameter, wrong in chosen:
        adata = good.copy()
        kwargs = dict(calls[name])
        if parameter == "adata":
            adata = None
            kwargs["adata"] = WRONG[wrong]
        else:
            kwargs[parameter] = WRONG[wrong]
        attempts.try_(f"sp.{name}({parameter}={wrong})", FUNCTIONS[name], adata, kwargs)
    attempts.conclude()


# Functions that are an extra, and what that installs.
EXTRAS = {"pl.explore": "jscatter", "pl.volume": "pyvista"}


def test_every_function_has_a_call(calls: dict[str, dict[str, Any]]) -> None:
    assert set(calls) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_call_itself_succeeds(name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    attempts.try_(f"sp.{name}", FUNCTIONS[name], good.copy(), calls[name])
    attempts.conclude()
    assert attempts.results == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_some_wrong_values(name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    drawn = random.Random(name).sample(cases(name), 25)
    tried(name, drawn, good, calls, attempts)


@pytest.mark.parametrize("case", FOUND, ids="-".join)
def test_what_once_failed(
    case: tuple[str, str, str], good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any
) -> None:
    name, *chosen = case
    tried(name, [tuple(chosen)], good, calls, attempts)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_wrong_values(name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    tried(name, cases(name), good, calls, attempts)
