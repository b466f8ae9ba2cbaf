"""What one argument may be: names, numbers, paths and choices; each rule reads a value and returns what is meant."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.arguments import Hint
from spotscape._core.randomness import seed_of
from spotscape._core.rows import ChunkedMatrix
from spotscape._core.settings import require_threads, resolve_device
from spotscape._core.validation import (
    as_numbers,
    described,
    require_choice,
    require_in_range,
    require_names,
    require_positive_int,
    require_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from spotscape._core.arguments import Rule

# Squares of longer distances are no finite numbers.
_FAR = 1e150
# One value of several.
ONE = Hint(nullable=False, choices=(), classes=("str",), several=False, length=None)
_SPOTS_BY_SPOTS = "a row and a column for each spot"
# Names that h5ad or zarr give a meaning of their own.
_TAKEN_BY_FILES = {"_index", ".", "..", "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}


def not_a(value: Any, name: str, expected: str) -> TypeError:
    """The error for a value of another kind."""
    return TypeError(f"{name} must be {expected}, not {described(value)}.")


def is_list(value: Any) -> TypeGuard[Iterable[Any]]:
    is_one = isinstance(value, (str, bytes, Mapping)) or inspect.isclass(value) or getattr(value, "ndim", 1) == 0
    return isinstance(value, Iterable) and not is_one


def listed(rule: Rule) -> Rule:
    """The same rule, which reads several values one by one where the signature allows several."""

    @functools.wraps(rule)
    def each(value: Any, name: str, hint: Hint) -> Any:
        if hint.several and is_list(value):
            of_one = replace(hint, several=False)
            return [rule(one, f"{name}[{index}]", of_one) for index, one in enumerate(value)]
        return rule(value, name, hint)

    return each


def key_name(value: Any, name: str, hint: Hint) -> str:
    """The name of a result: a text that h5ad and zarr can hold as a key."""
    if not isinstance(value, str):
        raise not_a(value, name, "a text")
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


@listed
def text(value: Any, name: str, hint: Hint) -> Any:
    """A text, the name of something that exists; or several, where the signature says so."""
    if isinstance(value, str) and not value:
        msg = f"{name} is empty; give a name, or leave it out."
        raise ValueError(msg)
    if isinstance(value, str):
        return str(value)
    if "np.ndarray" in hint.classes and hasattr(value, "__array__"):
        return value
    raise not_a(value, name, "a text or a list of texts" if hint.several else "a text")


@listed
def label(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, domain or group; compared as text, so that 1 means "1"."""
    is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return str(int(value)) if is_number else text(value, name, hint)


def list_of(rule: Rule) -> Rule:
    """A list of names; a single text is not taken for its letters."""

    def several(value: Any, name: str, hint: Hint) -> Any:
        if not is_list(value):
            example = f": {name}=[{value!r}]" if isinstance(value, str) else ""
            raise not_a(value, name, f"a list of names{example}")
        return rule(value, name, hint)

    return several


def integer(minimum: int = 1) -> Rule:
    """A whole number from ``minimum`` on, or one of the texts of the signature."""
    return _numbers("int", lambda value, name: require_positive_int(value, name, minimum=minimum))


def number(low: float = -np.inf, high: float = np.inf, *, above_low: bool = False, below_high: bool = False) -> Rule:
    """A finite number in an interval, or one of the texts of the signature."""
    ends = {"above_low": above_low or low == -np.inf, "below_high": below_high or high == np.inf}
    return _numbers("float", lambda value, name: require_in_range(value, name, low=low, high=high, **ends))


def _numbers(kind: str, one: Callable[[Any, str], Any]) -> Rule:
    def rule(value: Any, name: str, hint: Hint) -> Any:
        if isinstance(value, str) and value in hint.choices:
            return value
        if hint.several and is_list(value):
            several = tuple(one(entry, f"{name}[{index}]") for index, entry in enumerate(value))
            if hint.length not in {None, len(several)}:
                msg = f"{name} must be {hint.length} numbers, not {described(value)}."
                raise ValueError(msg)
            return list(several) if hint.length is None else several
        if hint.several and kind not in hint.classes:
            raise not_a(value, name, f"{hint.length or 'several'} numbers")
        return one(value, name)

    return rule


def radius(value: Any, name: str, hint: Hint) -> Any:
    """A distance, or the smallest and the largest one."""
    pair = tuple(value) if hint.several and is_list(value) else (0.0, value)
    or_pair = " or (smallest, largest)" if hint.several else ""
    if any(isinstance(one, (bool, str)) or not isinstance(one, (int, float, np.integer, np.floating)) for one in pair):
        raise not_a(value, name, f"a number{or_pair}")
    low, high = sorted(pair) if len(pair) == 2 else (0.0, 0.0)
    if not 0 <= low < high < _FAR:
        msg = f"{name}={value!r} must be a positive number{or_pair} in the unit of the coordinates."
        raise ValueError(msg)
    return (float(low), float(high)) if isinstance(value, Iterable) else float(high)


def threads(value: Any, name: str, hint: Hint) -> int:
    """A number of threads, or -1 for all cores."""
    return require_threads(require_positive_int(value, name, minimum=-(2**31)), name)


def choice(value: Any, name: str, hint: Hint) -> str:
    """One of the texts of the ``Literal`` in the signature."""
    return require_choice(value, name, hint.choices)


def seed(value: Any, name: str, hint: Hint) -> int | None:
    """A seed, or what one can be drawn from."""
    return seed_of(value, name)


def device(value: Any, name: str, hint: Hint) -> Any:
    """A device that torch can use here."""
    resolve_device(value)
    return value


def path(value: Any, name: str, hint: Hint) -> Path:
    """A path, as text or as an object."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise not_a(value, name, "a path")
    if not os.fspath(value).strip() or "\0" in str(value):
        msg = f"{name}={value!r} is no path."
        raise ValueError(msg)
    return Path(value)


def paths(value: Any, name: str, hint: Hint) -> Path | list[Path] | dict[str, Path]:
    """A path, several, or several by name."""
    if isinstance(value, Mapping):
        found: list[Path] | dict[str, Path] = {str(key): path(one, name, hint) for key, one in value.items()}
    elif isinstance(value, (list, tuple)):
        found = [path(one, name, hint) for one in value]
    else:
        return path(value, name, hint)
    if not found:
        msg = f"{name} is empty; name at least one file or folder."
        raise ValueError(msg)
    return found


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
    expected = " or ".join(f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}" for kind in sorted(wanted))
    raise not_a(value, name, expected)


def anndata(value: Any, name: str, hint: Hint) -> Any:
    """The AnnData to work on; where the signature allows it, what stands for one."""
    if "AnnData" in hint.classes and not inspect.isclass(value) and hasattr(value, "obsm"):
        from anndata import AnnData

        if isinstance(value, AnnData):
            require_tables(value, name)
            return value
    if hint.classes == ("AnnData",):
        wrong = not_a(value, name, "an AnnData")
        modalities = getattr(value, "mod", None)
        if isinstance(modalities, Mapping) and modalities:
            wrong = TypeError(f"{wrong} Give the modality with expression, such as mdata[{next(iter(modalities))!r}].")
        raise wrong
    return instance(value, name, hint) if "Mapping" in hint.classes else label(value, name, hint)


def anything(value: Any, name: str, hint: Hint) -> Any:
    """What the function looks at itself, because only it knows what fits."""
    return value


def array(value: Any, name: str, hint: Hint) -> np.ndarray:
    """Numbers in any container, as a dense array; what they mean is looked at by who reads them."""
    if not sparse.issparse(value) and not _is_ordered(value):
        raise not_a(value, name, "an array")
    return as_numbers(value, name)


def _shaped(found: Any, name: str, expected: str, *, fits: bool) -> Any:
    if not fits:
        msg = f"{name} has shape {found.shape}; expected {expected}."
        raise ValueError(msg)
    return found


def points(value: Any, name: str, hint: Hint) -> np.ndarray:
    """A point for each spot, as a dense array."""
    found = array(value, name, hint)
    fits = found.ndim == 2 and found.shape[1] > 0
    return np.asarray(_shaped(found, name, "one row per spot, shape (n_spots, n_dims)", fits=fits))


def graph(value: Any, name: str, hint: Hint) -> Any:
    """A graph as a sparse or dense matrix."""
    found = value if _is_sparse(value) else array(value, name, hint)
    return _shaped(found, name, _SPOTS_BY_SPOTS, fits=found.ndim == 2)


def adjacency(value: Any, name: str, hint: Hint) -> Any:
    """A spatial graph, sparse, with finite weights."""
    if not _is_sparse(value):
        raise not_a(value, name, "a sparse matrix of numbers, spots by spots")
    _shaped(value, name, _SPOTS_BY_SPOTS, fits=value.ndim == 2 and value.shape[0] == value.shape[1])
    if not np.isfinite(value.tocsr().data).all():
        msg = f"{name} has NaN or infinite weights; build the graph again."
        raise ValueError(msg)
    return value


def expression(value: Any, name: str, hint: Hint) -> Any:
    """Spots by genes, some of each, in floats if it is in memory."""
    matrix = value if isinstance(value, ChunkedMatrix) or _is_sparse(value) else array(value, name, hint)
    _shaped(matrix, name, "spots by genes, some of each", fits=len(matrix.shape) == 2 and 0 not in matrix.shape)
    # NumPy takes functions of small integers and bools in half precision.
    is_whole = not isinstance(matrix, ChunkedMatrix) and matrix.dtype.kind in "iub"
    return matrix.astype(np.float32) if is_whole else matrix


def labels_of_spots(value: Any, name: str, hint: Hint) -> Any:
    """One label for each spot, in any container; NaN and ``None`` stand for none."""
    if not _is_ordered(value) or getattr(value, "ndim", 1) != 1:
        msg = f"{name} must have one label for each spot, shape (n_spots,), not {described(value)}."
        raise (ValueError if hasattr(value, "shape") else TypeError)(msg)
    require_names(value, name)
    return value


def slices(value: Any, name: str, hint: Hint) -> np.ndarray:
    """The slice of each spot, none missing; names of different types as text."""
    found = np.asarray(labels_of_spots(value, name, hint))
    if pd.isna(found).any():
        msg = f"{name} is missing for {pd.isna(found).sum()} of {len(found)} spots; every spot needs its slice."
        raise ValueError(msg)
    return found if found.dtype.kind in "iubUS" else found.astype(str)


def library(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, or the slice of each spot."""
    return labels_of_spots(value, name, hint) if "ArrayLike" in hint.classes else label(value, name, hint)


def _is_sparse(value: Any) -> bool:
    return bool(sparse.issparse(value) and value.dtype.kind in "fiub")


def _is_ordered(value: Any) -> bool:
    is_array = hasattr(value, "__array__") and not inspect.isclass(value) and getattr(value, "ndim", 1) > 0
    return is_array or isinstance(value, (list, tuple, range))


def flag(value: Any, name: str, hint: Hint) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        raise not_a(value, name, "True or False")
    return bool(value)


def colormap(value: Any, name: str, hint: Hint) -> Any:
    """A colormap of matplotlib, by name or as an object."""
    from matplotlib import colormaps
    from matplotlib.colors import Colormap

    if isinstance(value, Colormap) or (isinstance(value, str) and value in colormaps):
        return value
    msg = f"{name}={described(value)} is not a colormap of matplotlib."
    raise ValueError(msg) if isinstance(value, str) else TypeError(msg)


def palette(value: Any, name: str, hint: Hint) -> Any:
    """Colours of categories, which are looked at where these are known; a Cycler, which scanpy takes, gives dicts."""
    from matplotlib.colors import Colormap

    if isinstance(value, (str, Mapping, Colormap)):
        return value
    if is_list(value):
        return [entry.get("color", entry) if isinstance(entry, Mapping) else entry for entry in value]
    raise not_a(value, name, "the name of a colormap, a list of colours or a dict")


def color(value: Any, name: str, hint: Hint) -> Any:
    """A colour of matplotlib."""
    from matplotlib.colors import is_color_like

    if not is_color_like(value):
        msg = f"{name}={described(value)} is not a colour of matplotlib."
        raise ValueError(msg)
    return value


def shown(value: Any, name: str, hint: Hint) -> Any:
    """What colours show: columns or genes; ``None`` stands for a panel without."""
    if hint.several and is_list(value):
        several = [None if one is None else text(one, f"{name}[{at}]", ONE) for at, one in enumerate(value)]
        if not several:
            msg = f"{name} is empty; name at least one column of adata.obs or gene."
            raise ValueError(msg)
        return several
    return text(value, name, hint)


def scalebar(value: Any, name: str, hint: Hint) -> Any:
    """A length in micrometres, or ``False`` for none."""
    return value if value is False else number(0, above_low=True)(value, name, hint)


def bound(value: Any, name: str, hint: Hint) -> Any:
    """An end of a scale: a number, or a percentile as text."""
    return value if isinstance(value, str) else number()(value, name, hint)


@listed
def title(value: Any, name: str, hint: Hint) -> Any:
    """Text to be shown, or several; an empty one is a title too."""
    return value if isinstance(value, str) else text(value, name, hint)
