"""What one argument may be: names, numbers, paths and choices; each rule reads a value and returns what is meant."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import Hint
from spotscape._core.randomness import seed_of
from spotscape._core.validation import described, require_choice, require_in_range, require_positive_int

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.arguments import Rule

# Squares of longer distances are no finite numbers.
_FAR = 1e150
# One value of several.
ONE = Hint(nullable=False, choices=(), classes=("str",), several=False, length=None)
# Names that h5ad or zarr give a meaning of their own.
_TAKEN_BY_FILES = {"_index", ".", "..", "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}


def key_name(value: Any, name: str, hint: Hint) -> str:
    """The name of a result: a text that h5ad and zarr can hold as a key."""
    if not isinstance(value, str):
        msg = f"{name} must be a text, not {described(value)}."
        raise TypeError(msg)
    if not value.strip() or "/" in value or "\0" in value or value in _TAKEN_BY_FILES:
        msg = f"{name}={value!r} cannot be a key of an h5ad file or zarr store: no slash, not empty, not '_index'."
        raise ValueError(msg)
    return str(value)


def layer_to_write(value: Any, name: str, hint: Hint) -> str:
    """The name of a layer of results, which is not that of the counts."""
    if key_name(value, name, hint) == keys.COUNTS:
        msg = f"{name}={value!r} would overwrite measured expression; choose another name."
        raise ValueError(msg)
    return str(value)


def text(value: Any, name: str, hint: Hint) -> Any:
    """A text, the name of something that exists; or several, where the signature says so."""
    if isinstance(value, str):
        if not value:
            msg = f"{name} is empty; give a name, or leave it out."
            raise ValueError(msg)
        return str(value)
    if hint.several and is_list(value):
        return [text(one, f"{name}[{index}]", ONE) for index, one in enumerate(value)]
    if "np.ndarray" in hint.classes and hasattr(value, "__array__"):
        return value
    expected = "a text or a list of texts" if hint.several else "a text"
    msg = f"{name} must be {expected}, not {described(value)}."
    raise TypeError(msg)


def texts(value: Any, name: str, hint: Hint) -> list[str]:
    """A list of texts; a single one is not taken for its letters."""
    if isinstance(value, str):
        msg = f"{name}={value!r} must be a list of names: {name}=[{value!r}]."
        raise TypeError(msg)
    several: list[str] = text(value, name, hint)
    return several


def label(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, domain or group; compared as text, so that 1 means "1"."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if hint.several and is_list(value):
        return [label(one, f"{name}[{index}]", ONE) for index, one in enumerate(value)]
    return text(value, name, hint)


def labels(value: Any, name: str, hint: Hint) -> list[str]:
    """A list of names of slices, domains or groups."""
    if isinstance(value, str) or not is_list(value):
        msg = f"{name} must be a list of names, not {described(value)}."
        raise TypeError(msg)
    several: list[str] = label(value, name, hint)
    return several


def integer(minimum: int = 1) -> Rule:
    """A whole number from ``minimum`` on, or one of the texts of the signature."""

    def rule(value: Any, name: str, hint: Hint) -> Any:
        if isinstance(value, str) and value in hint.choices:
            return value
        if hint.several and is_list(value):
            _require_length(value, name, hint)
            return [require_positive_int(one, f"{name}[{i}]", minimum=minimum) for i, one in enumerate(value)]
        if hint.several and "int" not in hint.classes:
            msg = f"{name} must be {hint.length or 'several'} numbers, not {described(value)}."
            raise TypeError(msg)
        return require_positive_int(value, name, minimum=minimum)

    return rule


def number(low: float = -np.inf, high: float = np.inf, *, above_low: bool = False, below_high: bool = False) -> Rule:
    """A finite number in an interval, or one of the texts of the signature."""
    above_low, below_high = above_low or low == -np.inf, below_high or high == np.inf

    def one(value: Any, name: str) -> float:
        return require_in_range(value, name, low=low, high=high, above_low=above_low, below_high=below_high)

    def rule(value: Any, name: str, hint: Hint) -> Any:
        if isinstance(value, str) and value in hint.choices:
            return value
        if hint.several and is_list(value):
            _require_length(value, name, hint)
            several = [one(entry, f"{name}[{index}]") for index, entry in enumerate(value)]
            return tuple(several) if hint.length is not None else several
        if hint.several and "float" not in hint.classes:
            msg = f"{name} must be {hint.length or 'several'} numbers, not {described(value)}."
            raise TypeError(msg)
        return one(value, name)

    return rule


def radius(value: Any, name: str, hint: Hint) -> Any:
    """A distance, or the smallest and the largest one."""
    pair = tuple(value) if hint.several and is_list(value) else (0.0, value)
    if any(isinstance(one, (bool, str)) or not isinstance(one, (int, float, np.integer, np.floating)) for one in pair):
        msg = f"{name} must be a number{' or (smallest, largest)' if hint.several else ''}, not {described(value)}."
        raise TypeError(msg)
    if len(pair) != 2 or not 0 <= min(pair) < max(pair) < _FAR or not np.isfinite(pair).all():
        or_pair = ", or (smallest, largest)" if hint.several else ""
        msg = f"{name}={value!r} must be a positive number in the unit of the coordinates{or_pair}."
        raise ValueError(msg)
    return (float(min(pair)), float(max(pair))) if isinstance(value, Iterable) else float(value)


def flag(value: Any, name: str, hint: Hint) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name} must be True or False, not {described(value)}."
        raise TypeError(msg)
    return bool(value)


def choice(value: Any, name: str, hint: Hint) -> str:
    """One of the texts of the ``Literal`` in the signature."""
    return require_choice(value, name, hint.choices)


def seed(value: Any, name: str, hint: Hint) -> int | None:
    """A seed, or what one can be drawn from."""
    return seed_of(value, name)


def device(value: Any, name: str, hint: Hint) -> Any:
    """A device that torch can use here."""
    from spotscape._core.device import resolve_device

    resolve_device(value)
    return value


def threads(value: Any, name: str, hint: Hint) -> int:
    """A number of threads, or -1 for all cores."""
    return require_n_jobs(value, name)


def require_n_jobs(value: Any, name: str = "n_jobs") -> int:
    """Return a number of threads as an int; TypeError or ValueError if it is none."""
    found = require_positive_int(value, name, minimum=-(2**31))
    if found == 0 or found < -1:
        msg = f"{name}={found} is neither a positive number of threads nor -1 (all cores)."
        raise ValueError(msg)
    return found


def path(value: Any, name: str, hint: Hint) -> Path:
    """A path, as text or as an object."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        msg = f"{name} must be a path, not {described(value)}."
        raise TypeError(msg)
    if not os.fspath(value) or "\0" in str(value):
        msg = f"{name}={value!r} is no path."
        raise ValueError(msg)
    return Path(value)


def file_to_write(value: Any, name: str, hint: Hint) -> Path:
    """A path at which a file can be written."""
    file = path(value, name, hint)
    if file.is_dir():
        msg = f"{name}={str(file)!r} is a folder; name a file in it: {str(file / 'training.pt')!r}."
        raise ValueError(msg)
    if not file.absolute().parent.is_dir():
        msg = f"{name}={str(file)!r} lies in a folder that does not exist; make it first."
        raise ValueError(msg)
    return file


def instance(value: Any, name: str, hint: Hint) -> Any:
    """An object of one of the classes that the signature names."""
    wanted = {kind.rpartition(".")[2] for kind in hint.classes}
    if not inspect.isclass(value) and {kind.__name__ for kind in type(value).__mro__} & wanted:
        return value
    if isinstance(value, Mapping) and "Mapping" in wanted:
        return value
    msg = f"{name} must be {' or '.join(_with_article(kind) for kind in sorted(wanted))}, not {described(value)}."
    raise TypeError(msg)


def anndata(value: Any, name: str, hint: Hint) -> Any:
    """The AnnData to work on; where the signature allows it, what stands for one."""
    if "AnnData" in hint.classes and not inspect.isclass(value) and hasattr(value, "obsm"):
        from anndata import AnnData

        if isinstance(value, AnnData):
            _require_one_of_each(value, name)
            return value
    if hint.classes == ("AnnData",):
        msg = f"{name} must be an AnnData, not {described(value)}."
        raise TypeError(msg)
    return instance(value, name, hint) if "Mapping" in hint.classes else label(value, name, hint)


def _require_one_of_each(adata: AnnData, name: str) -> None:
    for slot, columns in (("obs", adata.obs.columns), ("var", adata.var.columns)):
        if not columns.is_unique:
            twice = columns[columns.duplicated()][0]
            mend = f"{name}.{slot} = {name}.{slot}.loc[:, ~{name}.{slot}.columns.duplicated()]"
            msg = f"{name}.{slot} has two columns called {twice!r}; keep one of them: {mend}."
            raise ValueError(msg)


def anything(value: Any, name: str, hint: Hint) -> Any:
    """What the function looks at itself, because only it knows what fits."""
    return value


def is_list(value: Any) -> bool:
    is_one = isinstance(value, (str, bytes, Mapping)) or inspect.isclass(value) or getattr(value, "ndim", 1) == 0
    return isinstance(value, Iterable) and not is_one


def _require_length(value: Any, name: str, hint: Hint) -> None:
    if hint.length is not None and len(list(value)) != hint.length:
        msg = f"{name} must be {hint.length} numbers, not {described(value)}."
        raise ValueError(msg)


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
