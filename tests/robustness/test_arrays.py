"""Broken arrays through every metric and model, which know no AnnData."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp
from spotscape._core.arguments import annotations_of

if TYPE_CHECKING:
    from collections.abc import Callable

N = 40
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N, 3))
LABELS = np.repeat(["a", "b", "c", "d"], N // 4)
EXPRESSION = RNG.random((N, 12)).astype(np.float32)
RING = sparse.csr_array(sparse.eye_array(N, k=1) + sparse.eye_array(N, k=-1))
GOOD: dict[str, Any] = {
    "labels": LABELS,
    "labels_true": LABELS,
    "labels_pred": np.roll(LABELS, 2),
    "labels_transferred": np.roll(LABELS, 2),
    "library": np.tile(["s", "t"], N // 2),
    "slices": np.tile(["s", "t"], N // 2),
    "coordinates": POINTS[:, :2],
    "embedding": POINTS,
    "graph": RING,
    "adjacency": RING,
    "truth": EXPRESSION,
    "imputed": EXPRESSION + 0.1,
    "expression": EXPRESSION,
}
# A model would train for as long as these say, and a folder be made.
LEFT = {"checkpoint", "directory", "overwrite", "device", "progress_bar"}


def metrics() -> dict[str, Callable[..., Any]]:
    return {f"metrics.{name}": getattr(sp.metrics, name) for name in sp.metrics.__all__}


def on_model(kind: type[Any], method: str) -> Callable[..., Any]:
    """Return a call of a method of a trained model, or of ``fit`` of a new one."""
    sizes = {"hidden_size": 8, "latent_size": 4, "n_encoders": 1, "n_comps": 4, "n_axes": 3, "max_epochs": 1}

    def call(**kwargs: Any) -> Any:
        model = kind(
            sp.models.SpotscapeConfig(**sizes) if kind is sp.models.Spotscape else sp.models.SpaCrossConfig(**sizes)
        )
        if method != "fit":
            model.fit(EXPRESSION, RING)
        result = getattr(model, method)(**kwargs)
        return result if method != "fit" else model.embed(kwargs["expression"], kwargs["adjacency"])

    return call


MODELS = {
    f"models.{kind.__name__}.{method}": (on_model(kind, method), getattr(kind, method))
    for kind in (sp.models.Spotscape, sp.models.SpaCross)
    for method in ("fit", "embed", "reconstruct")
}
CALLS = {name: (function, function) for name, function in metrics().items()} | MODELS

BROKEN: dict[str, Callable[[Any], Any]] = {
    "None": lambda v: None,
    "text": lambda v: "nope",
    "number": lambda v: 3,
    "class": lambda v: np.ndarray,
    "dict": lambda v: {"a": v},
    "set": lambda v: {1, 2},
    "generator": lambda v: (one for one in dense(v)),
    "empty list": lambda v: [],
    "list": lambda v: dense(v).tolist(),
    "tuple": lambda v: tuple(dense(v).tolist()),
    "ragged list": lambda v: [[1, 2], *dense(v).tolist()[1:]],
    "list of None": lambda v: [None] * len(dense(v)),
    "mixed list": lambda v: [1, "a"] * (len(dense(v)) // 2),
    "one short": lambda v: dense(v)[:-1],
    "one row": lambda v: dense(v)[:1],
    "no rows": lambda v: dense(v)[:0],
    "zero-dimensional": lambda v: np.array(3),
    "one axis": lambda v: dense(v).ravel()[: len(dense(v))],
    "three axes": lambda v: np.stack([dense(v), dense(v)], axis=-1),
    "one column": lambda v: dense(v).reshape(len(dense(v)), -1)[:, :1],
    "no column": lambda v: np.empty((len(dense(v)), 0)),
    "words": lambda v: np.full(dense(v).shape, "a"),
    "objects": lambda v: dense(v).astype(object),
    "objects with None": lambda v: first(dense(v).astype(object), None),
    "objects with NA": lambda v: first(dense(v).astype(object), pd.NA),
    "objects with lists": lambda v: first(dense(v).astype(object), [1]),
    "dates": lambda v: np.full(dense(v).shape, np.datetime64("2025-01-01")),
    "complex": lambda v: np.full(dense(v).shape, 1j),
    "bool": lambda v: np.resize([True, False], dense(v).shape),
    "integers": lambda v: np.resize(np.arange(7), dense(v).shape),
    "NaN": lambda v: np.full(dense(v).shape, np.nan),
    "one NaN": lambda v: first(np.resize(np.arange(7.0), dense(v).shape), np.nan),
    "inf": lambda v: first(np.resize(np.arange(7.0), dense(v).shape), np.inf),
    "constant": lambda v: np.ones(dense(v).shape),
    "zeros": lambda v: np.zeros(dense(v).shape),
    "negative": lambda v: np.resize(-np.arange(7.0), dense(v).shape),
    "huge": lambda v: np.resize(np.arange(7.0) * 1e300, dense(v).shape),
    "beyond single precision": lambda v: np.resize(np.arange(7.0) * 1e38, dense(v).shape),
    "tiny": lambda v: np.resize(np.arange(7.0) * 1e-300, dense(v).shape),
    "all different": lambda v: np.arange(dense(v).size).reshape(dense(v).shape),
    "two values": lambda v: first(np.zeros(dense(v).shape), 1),
    "series": lambda v: pd.Series(dense(v).ravel()[: len(dense(v))]),
    "frame": lambda v: pd.DataFrame(dense(v)),
    "categorical": lambda v: pd.Categorical(dense(v).ravel()[: len(dense(v))].astype(str)),
    "masked": lambda v: np.ma.masked_equal(np.resize(np.arange(7), dense(v).shape), 3),
    "sparse": lambda v: sparse.csr_matrix(np.resize(np.arange(7.0), (len(dense(v)), 3))),
    "sparse graph of NaN": lambda v: sparse.csr_array(first(np.eye(len(dense(v))), np.nan)),
    "sparse graph of text": lambda v: sparse.coo_array((N, N), dtype=bool),
    "empty graph": lambda v: sparse.csr_array((N, N)),
    "negative graph": lambda v: RING * -1.0,
    "dense graph": lambda v: RING.toarray(),
    "complex graph": lambda v: RING.astype(complex),
    "wide graph": lambda v: sparse.csr_array((N, N + 1)),
    "matrix": lambda v: np.asmatrix(np.resize(np.arange(7.0), (len(dense(v)), 3))),
}


def dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def first(values: np.ndarray, value: Any) -> np.ndarray:
    values.ravel()[:1] = [value] if not isinstance(value, list) else 0
    if isinstance(value, list):
        values.reshape(-1)[0] = value
    return values


def base(name: str) -> dict[str, Any]:
    wanted = annotations_of(CALLS[name][1])
    return {key: GOOD[key] for key in wanted if key in GOOD and not (key == "slices" and name.endswith("fit"))}


def cases(name: str) -> list[tuple[str, str]]:
    return [(key, what) for key in annotations_of(CALLS[name][1]) if key in GOOD for what in BROKEN]


def tried(name: str, chosen: list[tuple[str, str]], attempts: Any) -> None:
    for key, what in chosen:
        kwargs = base(name) | {key: BROKEN[what](GOOD[key])}
        attempts.try_(f"sp.{name}({key}={what})", CALLS[name][0], None, kwargs)
    attempts.conclude()


def test_every_parameter_is_tried_or_left_on_purpose() -> None:
    options = {key for _, function in MODELS.values() for key in annotations_of(function)}
    assert options - GOOD.keys() - LEFT == {"batch_size", "align"}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_itself_succeeds(name: str, attempts: Any) -> None:
    attempts.try_(name, CALLS[name][0], None, base(name))
    attempts.conclude()
    assert attempts.results == 1


@pytest.mark.parametrize("name", CALLS)
def test_some_broken_arrays(name: str, attempts: Any) -> None:
    possible = cases(name)
    tried(name, random.Random(name).sample(possible, min(20, len(possible))), attempts)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_all_broken_arrays(name: str, attempts: Any) -> None:
    tried(name, cases(name), attempts)
