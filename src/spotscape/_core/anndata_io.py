"""The only place that writes to an AnnData: all of a result at once, in types that h5ad and zarr can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core.logging import logger

if TYPE_CHECKING:
    from anndata import AnnData

_ABSENT = object()
_SLOTS = ("obs", "var", "obsm", "varm", "obsp", "layers", "uns")


def to_uns(value: Any) -> Any:
    """Turn tuples, paths, dtypes, NumPy scalars and dataclass-like values into what h5ad and zarr can store."""
    if isinstance(value, Mapping):
        return {str(key): to_uns(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_uns(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray, pd.DataFrame)):
        return value
    if isinstance(value, (PurePath, np.dtype)):
        return str(value)
    return str(value)


def record(params: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """The record a method leaves in ``uns``: its parameters, the package's version, and what else it measured."""
    entries = {"params": dict(params), "version": version("spotscape"), **extra}
    return {key: to_uns(value) for key, value in entries.items()}


def params_of(adata: AnnData, key: str) -> Mapping[str, Any]:
    """The parameters of the record ``key`` in ``uns``; none if it is missing or no record of this package."""
    entry = adata.uns.get(key)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def write(
    adata: AnnData,
    results: Mapping[str, Mapping[str, Any]],
    *,
    outdated: Iterable[tuple[str, str]] = (),
    log: bool = True,
) -> None:
    """Write results, given as ``{"obsm": {"X_spotscape": array}, "uns": {...}}``, and say so in the log.

    All or nothing: shapes are checked before the first assignment, and whatever interrupts the writing, such as Ctrl-C,
    puts back what was there. ``outdated`` names slots and keys of an earlier call that are taken out, lest they be read
    as belonging to the new result. ``log=False`` leaves the saying to a caller that sums up many keys in one line.
    """
    for slot, entries in results.items():
        if slot not in _SLOTS:
            msg = f"{slot!r} is not a slot of AnnData"
            raise AssertionError(msg)
        for key, value in entries.items():
            _check_length(adata, slot, key, value)
    new = [(slot, key, value) for slot, entries in results.items() for key, value in entries.items()]
    gone = [(slot, key) for slot, key in outdated if key in getattr(adata, slot)]
    before = {place: _taken(adata, *place) for place in [*((slot, key) for slot, key, _ in new), *gone]}
    try:
        for slot, key, value in new:
            getattr(adata, slot)[key] = to_uns(value) if slot == "uns" else value
        for slot, key in gone:
            del getattr(adata, slot)[key]
    except BaseException:
        for place, value in before.items():
            _put_back(adata, *place, value)
        raise
    for slot, key, _ in new if log else ():
        logger.info("Adding `adata.%s['%s']`.", slot, key)
    for slot, key in gone:
        logger.info("Removing `adata.%s['%s']` of an earlier call.", slot, key)


def _taken(adata: AnnData, slot: str, key: str) -> Any:
    return getattr(adata, slot).get(key, _ABSENT)


def _put_back(adata: AnnData, slot: str, key: str, value: Any) -> None:
    entries = getattr(adata, slot)
    if value is not _ABSENT:
        entries[key] = value
    elif key in entries:
        del entries[key]


def _check_length(adata: AnnData, slot: str, key: str, value: Any) -> None:
    if slot == "uns":
        return
    expected = adata.n_vars if slot.startswith("var") else adata.n_obs
    found = value.shape[0] if hasattr(value, "shape") else len(value)
    if found != expected:
        msg = f"result {slot}[{key!r}] has {found} rows for {expected}"
        raise AssertionError(msg)
