"""The only place that writes to an AnnData: all of a result at once, in types that h5ad and zarr can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.colors import following_colors
from spotscape._core.logging import logger
from spotscape._core.provenance import left_behind
from spotscape._core.validation import params_of, require_writable

if TYPE_CHECKING:
    from anndata import AnnData

_ABSENT = object()
# Of a whole number in a file.
_BITS = 63
_BLOCK = 65_536
_SLOTS = ("X", "obs", "var", "obsm", "varm", "obsp", "layers", "uns")

_SILENT = ContextVar("spotscape_silent", default=False)


@contextmanager
def unsaid() -> Iterator[None]:
    """Keep what is written to a stand-in out of the log, where it is said when it reaches the user's AnnData."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def to_uns(value: Any) -> Any:
    """Turn tuples, paths, dtypes, NumPy scalars and dataclass-like values into what h5ad and zarr can store.

    Entries that are ``None`` are left out, because older versions of anndata cannot read a file with one.
    """
    if isinstance(value, Mapping):
        return {str(key): to_uns(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_uns(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, int) and value.bit_length() > _BITS:
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray, pd.DataFrame)):
        return value
    return str(value)


def record(params: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """The record a method leaves in ``uns``: its parameters, the package's version, and what else it measured."""
    entries = {"params": dict(params), "version": version("spotscape"), **extra}
    return {key: to_uns(value) for key, value in entries.items()}


def write(
    adata: AnnData,
    results: Mapping[str, Mapping[str, Any]],
    *,
    copy: bool = False,
    outdated: Iterable[tuple[str, str]] = (),
    log: bool = True,
) -> AnnData | None:
    """Write results, given as ``{"obsm": {"X_spotscape": array}, "uns": {...}}``, to ``adata`` or to a copy.

    All or nothing: values are checked before the first assignment, and whatever interrupts the writing, such as Ctrl-C,
    puts back what was there. ``{"X": {"": matrix}}`` stands for ``adata.X`` and belongs last, because the writes before
    it make a view an AnnData of its own. ``outdated`` names slots and keys of an earlier call that are removed.
    """
    adata = adata.copy() if copy else adata
    require_writable(adata)
    for slot, entries in results.items():
        if slot not in _SLOTS:
            msg = f"{slot!r} is not a slot of AnnData"
            raise AssertionError(msg)
        for key, value in entries.items():
            _check(adata, slot, key, value)
    new = [(slot, key, value) for slot, entries in results.items() for key, value in entries.items()]
    columns = {key: value for key, value in results.get("obs", {}).items() if isinstance(value, pd.Categorical)}
    colors = {f"{key}_colors": following_colors(adata, key, value) for key, value in columns.items()}
    new += [("uns", key, value) for key, value in colors.items() if value]
    outdated = [*outdated, *(("uns", key) for key, value in colors.items() if value == [])]
    gone = [(slot, key) for slot, key in outdated if key in getattr(adata, slot)]
    touched = [*((slot, key) for slot, key, _ in new), *gone]
    before = {(slot, key): adata.X if slot == "X" else getattr(adata, slot).get(key, _ABSENT) for slot, key in touched}
    try:
        for slot, key, value in new:
            _put(adata, slot, key, to_uns(value) if slot == "uns" else value)
        for slot, key in gone:
            del getattr(adata, slot)[key]
    except BaseException:
        for (slot, key), value in before.items():
            if value is not _ABSENT:
                _put(adata, slot, key, value)
            elif key in getattr(adata, slot):
                del getattr(adata, slot)[key]
        raise
    log = log and not _SILENT.get()
    for slot, key, _ in new if log else ():
        logger.info("Adding `adata.%s['%s']`.", slot, key)
    for slot, key in gone if log else ():
        logger.info("Removing `adata.%s['%s']` of an earlier call.", slot, key)
    # A column without the record that a result has beside it is the user's own.
    replaced = [key for slot, key in before if slot == "obs" and before[slot, key] is not _ABSENT]
    own = [key for key in replaced if key in results.get("uns", {}) and not params_of(before["uns", key])]
    for key in own if log else ():
        logger.warning("`adata.obs['%s']`, which has no record of an earlier call, is replaced.", key)
    stale = left_behind(adata, results) if log else {}
    say_outdated(dict.fromkeys(source for each in stale.values() for source in each), stale)
    return adata if copy else None


def say_outdated(sources: Iterable[str], places: Iterable[str]) -> None:
    """Log which results were made from what is no longer there, if there are any."""
    earlier, still = (", ".join(f"`{place}`" for place in each) for each in (sources, places))
    if still:
        logger.warning(
            "`adata` still holds results of an earlier %s: %s. Compute them again before you use them.", earlier, still
        )


def _put(adata: AnnData, slot: str, key: str, value: Any) -> None:
    if slot == "X":
        adata.X = value
    else:
        getattr(adata, slot)[key] = value


def _check(adata: AnnData, slot: str, key: str, value: Any) -> None:
    """Refuse a result of another length than its slot, infinite numbers, and NaN where none has a meaning."""
    if slot == "uns":
        return
    expected = adata.n_vars if slot.startswith("var") else adata.n_obs
    found = value.shape[0] if hasattr(value, "shape") else len(value)
    if found != expected:
        msg = f"result {slot}[{key!r}] has {found} rows for {expected}"
        raise AssertionError(msg)
    values = value.data if sparse.issparse(value) else value
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return
    # NaN stands for what was not measured in columns and layers; embeddings, coordinates and graphs have none.
    is_wrong = np.isinf if slot in {"obs", "var", "layers"} else lambda block: ~np.isfinite(block)
    if any(is_wrong(np.asarray(values[start : start + _BLOCK])).any() for start in range(0, len(values), _BLOCK)):
        msg = (
            f"the result for adata.{slot}[{key!r}] is not finite, so nothing was written: values or parameters are too "
            "large or too small to compute with. Look for extreme values in the input."
        )
        raise ValueError(msg)
