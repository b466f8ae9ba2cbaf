"""The only place that writes to an AnnData: all of a result at once, in types that h5ad and zarr can hold."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core.colors import following_colors
from spotscape._core.logging import logger

if TYPE_CHECKING:
    from anndata import AnnData

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


def write(adata: AnnData, results: Mapping[str, Mapping[str, Any]], *, log: bool = True) -> None:
    """Write results, given as ``{"obsm": {"X_spotscape": array}, "uns": {...}}``, and say so in the log.

    Shapes are checked before the first assignment, so that an AnnData never holds half a result. ``log=False`` leaves
    the saying to a caller that sums up many keys in one line. Colours of categories that are written anew follow them.
    """
    for slot, entries in results.items():
        if slot not in _SLOTS:
            msg = f"{slot!r} is not a slot of AnnData"
            raise AssertionError(msg)
        for key, value in entries.items():
            _check_length(adata, slot, key, value)
    new = {key: value for key, value in results.get("obs", {}).items() if isinstance(value, pd.Categorical)}
    for key, colors in {key: following_colors(adata, key, value) for key, value in new.items()}.items():
        if colors:
            adata.uns[f"{key}_colors"] = colors
        elif colors is not None:
            del adata.uns[f"{key}_colors"]
    for slot, entries in results.items():
        for key, value in entries.items():
            getattr(adata, slot)[key] = to_uns(value) if slot == "uns" else value
            if log:
                logger.info("Adding `adata.%s['%s']`.", slot, key)


def remove(adata: AnnData, slot: str, key: str) -> None:
    """Take out what an earlier call wrote and this one did not, lest it be read as belonging to the new result."""
    entries = getattr(adata, slot)
    if key in entries:
        del entries[key]
        logger.info("Removing `adata.%s['%s']` of an earlier call.", slot, key)


def _check_length(adata: AnnData, slot: str, key: str, value: Any) -> None:
    if slot == "uns":
        return
    expected = adata.n_vars if slot.startswith("var") else adata.n_obs
    found = value.shape[0] if hasattr(value, "shape") else len(value)
    if found != expected:
        msg = f"result {slot}[{key!r}] has {found} rows for {expected}"
        raise AssertionError(msg)
