"""AnnData objects as nobody should make them, and as files bring them, through every public function."""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp

from .test_arguments import EXTRAS  # noqa: TID252

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Break = "Callable[[ad.AnnData], ad.AnnData | None]"
FUNCTIONS = {
    f"{space}.{name}": getattr(getattr(sp, space), name)
    for space in ("pp", "tl", "pl", "get")
    for name in import_module(f"spotscape.{space}").__all__
    if callable(getattr(getattr(sp, space), name)) and not name[0].isupper()
}


def entry(slot: str, key: str, make: Callable[[Any], Any]) -> Callable[[ad.AnnData], None]:
    """Break one entry; ``make`` gets it, or None where it is missing, and returns what to put there."""

    def broken(adata: ad.AnnData) -> None:
        getattr(adata, slot)[key] = make(getattr(adata, slot).get(key))

    return broken


def without(slot: str, key: str) -> Callable[[ad.AnnData], None]:
    def broken(adata: ad.AnnData) -> None:
        del getattr(adata, slot)[key]

    return broken


def expression(make: Callable[[np.ndarray], Any]) -> Callable[[ad.AnnData], None]:
    def broken(adata: ad.AnnData) -> None:
        adata.X = make(adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X))

    return broken


def at(value: Any, *where: Any) -> Callable[[Any], Any]:
    """Return a copy of an array, dense, with ``value`` at a place."""

    def change(values: Any) -> Any:
        values = np.array(values.toarray() if sparse.issparse(values) else values, dtype=float)
        values[where] = value
        return values

    return change


def numbers(make: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    return lambda values: make(np.array(values.toarray() if sparse.issparse(values) else values, dtype=float))


def as_objects(value: Any) -> Callable[[np.ndarray], Any]:
    def make(values: np.ndarray) -> Any:
        found = values.astype(object)
        found[0, 0] = value
        return found

    return make


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": at(np.nan, 0),
    "one NaN": at(np.nan, 3, 1),
    "inf": at(np.inf, 1, 0),
    "all NaN": lambda v: v * np.nan,
    "text": lambda v: v.astype(str),
    "words": lambda v: np.full(v.shape, "a"),
    "objects": as_objects(None),
    "objects with text": as_objects("a"),
    "objects with lists": as_objects([1]),
    "NA": as_objects(pd.NA),
    "complex": lambda v: v + 1j,
    "bool": lambda v: v > v.mean(),
    "integers": lambda v: v.astype(int),
    "int8": lambda v: v.astype(np.int8),
    "float16": lambda v: v.astype(np.float16),
    "one point": lambda v: v * 0 + 1,
    "two points": lambda v: (v > np.median(v)) * 1.0,
    "on a line": lambda v: v[:, :1] * np.ones(v.shape[1]),
    "far": lambda v: v * 1e200,
    "near": lambda v: v * 1e-200,
    "largest": lambda v: np.full(v.shape, 1e308),
    "beyond single precision": lambda v: v * 1e38,
    "far away": lambda v: v + 1e15,
    "one column": lambda v: v[:, :1],
    "no column": lambda v: v[:, :0],
    "many columns": lambda v: np.tile(v, 4),
    "three axes": lambda v: v[:, :, None],
    "sparse": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "frame": lambda v: pd.DataFrame(v, index=[str(i) for i in range(len(v))]),
    "dates": lambda v: v.astype("datetime64[s]"),
    "negative": lambda v: -np.abs(v),
    "zeros": lambda v: v * 0,
    "one outlier": at(1e30, 0, 0),
    "fortran": np.asfortranarray,
    "big-endian": lambda v: v.astype(">f8"),
    "NaN in the last column": at(np.nan, slice(None), -1),
}
COLUMNS: dict[str, Callable[[pd.Series], Any]] = {
    "missing in one": lambda c: pd.Categorical.from_codes([-1, *c.cat.codes[1:]], c.cat.categories),
    "missing in all": lambda c: pd.Categorical([None] * len(c), c.cat.categories),
    "text": lambda c: c.astype(str),
    "one": lambda c: pd.Categorical(["a"] * len(c)),
    "one spot of its own": lambda c: pd.Categorical(["b", *"a" * (len(c) - 1)]),
    "all different": lambda c: pd.Categorical([str(i) for i in range(len(c))]),
    "numbers as categories": lambda c: pd.Categorical(c.cat.codes),
    "numbers": lambda c: c.cat.codes.to_numpy(),
    "floats": lambda c: c.cat.codes.to_numpy() + 0.5,
    "NaN": lambda c: np.full(len(c), np.nan),
    "colliding names": lambda c: pd.Categorical([1, "1"] * (len(c) // 2), categories=[1, "1"]),
    "bool": lambda c: np.arange(len(c)) % 2 == 0,
    "unused": lambda c: c.cat.add_categories(["zz"]),
    "empty name": lambda c: c.cat.rename_categories(["", *c.cat.categories[1:]]),
    "slash": lambda c: c.cat.rename_categories(["a/b", *c.cat.categories[1:]]),
    "lists": lambda c: pd.Series([[i] for i in range(len(c))], c.index),
    "dates": lambda c: pd.date_range("2025", periods=len(c)),
    "mixed objects": lambda c: pd.Series([1, "a"] * (len(c) // 2), c.index, dtype=object),
    "NA in text": lambda c: pd.array([pd.NA, *c.astype(str)[1:]], dtype="string"),
    "intervals": lambda c: pd.Categorical(pd.cut(np.arange(len(c)), 3)),
}
MATRICES: dict[str, Callable[[np.ndarray], Any]] = {
    **{
        name: ARRAYS[name]
        for name in ("one NaN", "inf", "negative", "zeros", "complex", "csc", "sparse", "int8", "float16")
    },
    "counts": lambda v: np.round(v * 10),
    "dense uint8": lambda v: (v * 10).astype(np.uint8),
    "bool": lambda v: v > 0,
    "an empty spot": at(0.0, 0),
    "an empty gene": at(0.0, slice(None), 0),
    "constant": lambda v: v * 0 + 1,
    "beyond single precision": lambda v: v * 1e39,
    "one huge": at(3e38, 0, 0),
    "float64": lambda v: v.astype(float),
    "fractions of counts": lambda v: v / 1e6,
    "large": lambda v: v * 1e20,
    "stored zeros": lambda v: sparse.csr_matrix(
        (v.ravel(), np.tile(np.arange(v.shape[1]), len(v)), np.arange(len(v) + 1) * v.shape[1])
    ),
}
GRAPHS: dict[str, Callable[[Any], Any]] = {
    "no edges": lambda g: g * 0,
    "explicit zeros": lambda g: weights(g, 0.0),
    "NaN": lambda g: weights(g, np.nan),
    "negative": lambda g: weights(g, -1.0),
    "inf": lambda g: weights(g, np.inf),
    "loops": lambda g: sparse.identity(g.shape[0], format="csr"),
    "all edges": lambda g: sparse.csr_matrix(np.ones(g.shape)),
    "dense": lambda g: g.toarray(),
    "bool": lambda g: g.astype(bool),
    "csc": lambda g: g.tocsc(),
    "half of it": lambda g: g.multiply(np.arange(g.shape[0])[:, None] % 2 == 0).tocsr(),
    "text": lambda g: np.full(g.shape, "a"),
    "complex": lambda g: g.astype(complex),
}
RECORDS: dict[str, Any] = {
    "list": [1, 2],
    "text": "a",
    "array": np.arange(3),
    "None": None,
    "empty": {},
    "number": 3,
    "dict of text": {"params": "a"},
    "other dict": {"params": {"a": 1}},
    "parameters missing": {"params": {}},
    "frame": pd.DataFrame({"a": [1]}),
    "nested list": {"params": [{}]},
}
IMAGES: dict[str, Any] = {
    "single": {"is_single": True},
    "no images": {"slice_1": {}},
    "images None": {"slice_1": {"images": None}},
    "image of text": {"slice_1": {"images": {"hires": "a.png"}, "scalefactors": {"tissue_hires_scalef": 1.0}}},
    "image of one pixel": {
        "slice_1": {"images": {"hires": np.ones((1, 1, 3))}, "scalefactors": {"tissue_hires_scalef": 1.0}}
    },
    "flat image": {"slice_1": {"images": {"hires": np.ones(3)}, "scalefactors": {"tissue_hires_scalef": 1.0}}},
    "NaN scale": {
        "slice_1": {"images": {"hires": np.ones((9, 9, 3))}, "scalefactors": {"tissue_hires_scalef": np.nan}}
    },
    "text scale": {"slice_1": {"images": {"hires": np.ones((9, 9, 3))}, "scalefactors": {"tissue_hires_scalef": "1"}}},
    "no scale": {"slice_1": {"images": {"hires": np.ones((9, 9, 3))}}},
    "list": [1],
    "text": "a",
    "NaN image": {
        "slice_1": {"images": {"hires": np.full((9, 9, 3), np.nan)}, "scalefactors": {"tissue_hires_scalef": 1.0}}
    },
}


def weights(graph: Any, value: float) -> Any:
    changed = graph.copy()
    changed.data = np.full(len(changed.data), value)
    return changed


def twice(slot: str, key: str) -> Callable[[ad.AnnData], None]:
    def broken(adata: ad.AnnData) -> None:
        frame = getattr(adata, slot)
        setattr(adata, slot, pd.concat([frame, frame[[key]]], axis=1))

    return broken


def named_alike(slot: str) -> Callable[[ad.AnnData], None]:
    def broken(adata: ad.AnnData) -> None:
        setattr(adata, f"{slot}_names", [getattr(adata, f"{slot}_names")[1], *getattr(adata, f"{slot}_names")[1:]])

    return broken


def dask_expression(adata: ad.AnnData) -> None:
    import dask.array

    adata.X = dask.array.from_array(np.asarray(adata.X.toarray(), np.float32), chunks=(50, -1))


def lost_records(adata: ad.AnnData) -> None:
    adata.uns = {}


def named_index(adata: ad.AnnData) -> None:
    adata.obs_names.name = "domain"


def numbered_spots(adata: ad.AnnData) -> None:
    adata.obs.index = pd.RangeIndex(adata.n_obs)


def no_expression(adata: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(obs=adata.obs, var=adata.var, obsm=dict(adata.obsm), obsp=dict(adata.obsp), uns=adata.uns)


WHOLE: dict[str, Callable[[ad.AnnData], ad.AnnData | None]] = {
    "no spots": lambda a: a[:0].copy(),
    "no genes": lambda a: a[:, :0].copy(),
    "one spot": lambda a: a[:1].copy(),
    "two spots": lambda a: a[:2].copy(),
    "three spots": lambda a: a[60:63].copy(),
    "one gene": lambda a: a[:, :1].copy(),
    "two genes": lambda a: a[:, :2].copy(),
    "no expression": no_expression,
    "view": lambda a: a[:100],
    "every second spot": lambda a: a[::2].copy(),
    "view of one slice": lambda a: a[a.obs["slice"] == "slice_1"],
    "names of spots alike": named_alike("obs"),
    "names of genes alike": named_alike("var"),
    "dask": dask_expression,
    "no records": lost_records,
    "index named as a column": named_index,
    "numbered spots": numbered_spots,
    "concatenated with itself": lambda a: ad.concat([a, a], uns_merge="same"),
}


def all_broken() -> dict[str, Callable[[ad.AnnData], ad.AnnData | None]]:
    """Return every way to break an AnnData, by a name that says what is wrong."""
    found: dict[str, Callable[[ad.AnnData], ad.AnnData | None]] = dict(WHOLE)
    for key in ("spatial", "spatial_aligned", "X_spotscape"):
        found |= {f"obsm[{key}]: {name}": entry("obsm", key, numbers(make)) for name, make in ARRAYS.items()}
        found[f"obsm[{key}]: missing"] = without("obsm", key)
    for key in ("slice", "domain", "found"):
        found |= {f"obs[{key}]: {name}": entry("obs", key, make) for name, make in COLUMNS.items()}
        found[f"obs[{key}]: missing"] = without("obs", key)
        found[f"obs[{key}]: twice"] = twice("obs", key)
    found |= {f"X: {name}": expression(make) for name, make in MATRICES.items()}
    found |= {f"layers[counts]: {name}": entry("layers", "counts", numbers(make)) for name, make in MATRICES.items()}
    found["layers[counts]: missing"] = without("layers", "counts")
    found |= {f"obsp: {name}": entry("obsp", "spatial_connectivities", make) for name, make in GRAPHS.items()}
    found["obsp: missing"] = without("obsp", "spatial_connectivities")
    for key in (
        "spatial_neighbors",
        "spotscape",
        "prepare",
        "spatial_aligned",
        "spotscape_match",
        "spotscape_markers",
        "spotscape_pseudotime",
        "n_domains",
        "domain_colors",
    ):
        found |= {f"uns[{key}]: {name}": entry("uns", key, lambda _, v=value: v) for name, value in RECORDS.items()}
    found |= {f"uns[spatial]: {name}": entry("uns", "spatial", lambda _, v=value: v) for name, value in IMAGES.items()}
    for name, make in {
        "none": lambda m: m.to_numpy() & False,
        "missing": lambda m: np.where(m, 1.0, np.nan),
        "text": lambda m: m.astype(str),
        "numbers": lambda m: m.astype(int),
        "objects": lambda m: m.astype(object),
    }.items():
        found[f"var[highly_variable]: {name}"] = entry("var", "highly_variable", make)
    return found


BROKEN = all_broken()


def tried(name: str, chosen: list[str], good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    for what in chosen:
        adata = good.copy()
        try:
            adata = BROKEN[what](adata) or adata
        except (ValueError, TypeError, KeyError):
            # anndata itself refuses to hold it.
            continue
        attempts.try_(f"sp.{name} on {what}", FUNCTIONS[name], adata, calls[name])
    attempts.conclude()


def test_there_are_many() -> None:
    assert len(BROKEN) > 300


@pytest.mark.parametrize("name", FUNCTIONS)
def test_some_broken_data(name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    tried(name, random.Random(name).sample(list(BROKEN), 3), good, calls, attempts)


# Found when all were tried: errors of other libraries, each of another kind.
FOUND = [
    ("tl.smoothed_pca", "obsp: text"),
    ("tl.embed", "uns[prepare]: list"),
    ("tl.integrate_slices", "obsm[X_spotscape]: big-endian"),
    ("tl.integrate_slices", "obs[slice]: all different"),
    ("tl.transfer_domains", "uns[domain_colors]: number"),
    ("pl.disagreement", "obs[slice]: lists"),
    ("pl.embedding", "obsm[X_spotscape]: one point"),
    ("pl.embedding", "obsm[X_spotscape]: one column"),
    ("pl.explore", "obsm[spatial]: beyond single precision"),
    ("pl.history", "uns[spotscape]: number"),
    ("pl.markers", "two genes"),
    ("pl.markers", "obs[domain]: missing in all"),
    ("pl.markers", "obs[domain]: unused"),
    ("pl.markers", "index named as a column"),
    ("pl.registration", "obsm[spatial_aligned]: one point"),
    ("pl.registration", "obsm[spatial]: one outlier"),
    ("pl.similarity", "obsm[X_spotscape]: one point"),
]


@pytest.mark.parametrize("case", FOUND, ids=" on ".join)
def test_what_once_failed(
    case: tuple[str, str], good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any
) -> None:
    if case[0] in EXTRAS:
        pytest.importorskip(EXTRAS[case[0]])
    tried(case[0], [case[1]], good, calls, attempts)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_broken_data(name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    tried(name, list(BROKEN), good, calls, attempts)


@pytest.fixture(scope="module")
def file(good: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.h5ad"
    good.write_h5ad(path)
    return path


# Plots of a file read what the tools read.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith("pl.")) for name in FUNCTIONS]
)
def test_files(name: str, file: Path, calls: dict[str, dict[str, Any]], attempts: Any) -> None:
    before = file.read_bytes()
    backed = ad.read_h5ad(file, backed="r")
    for what, adata in {"a view of a file": backed[:100], "a file": backed}.items():
        attempts.try_(f"sp.{name} on {what}", FUNCTIONS[name], adata, calls[name])
    backed.file.close()
    attempts.conclude()
    assert file.read_bytes() == before
