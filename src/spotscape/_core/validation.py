"""Checks of what a user hands in. Messages say what was found, what was expected, and the call that mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.logging import logger
from spotscape._core.rows import ChunkedMatrix

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

# Enough entries to recognise counts or a broken value without a second pass over a large matrix.
_SAMPLE = 1_000_000
# Longer values are not repeated in a message.
_LONG = 80
_LARGEST = 2**63 - 1
# Beyond it single precision, in which most is computed, has no numbers.
_LARGEST_NUMBER = float(np.finfo(np.float32).max)
# Sums of squares of larger values leave single precision, those of smaller ones are lost in double precision.
_ENORMOUS, _TINY = 1e15, 1e-100
# What missing values become as text.
_MISSING_AS_TEXT = {"nan", "None", "<NA>", "NaT"}
# Share of the rows in which the genes that a slice lacks are missing, at the least.
_MISSING_GENE = 0.02
# Different numbers in a column that are too many for slices if they are more than half of the spots as well.
_MANY_SLICES = 20
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def require_key(container: Mapping[str, Any] | pd.DataFrame, key: str, where: str, *, hint: str = "") -> None:
    """Raise a KeyError that lists the existing keys if ``key`` is not in ``container`` (named ``where``)."""
    if key not in container:
        existing = ", ".join(repr(str(name)) for name in container if name is not None) or "nothing"
        raise KeyError(f"{key!r} not found in {where}, which has: {existing}.{_sentence(hint)}")  # noqa: EM102


def require_record(adata: AnnData, key: str, entries: Sequence[str], hint: str) -> Mapping[str, Any]:
    """The record ``key`` in ``uns``; refuses what is none, or has not all of these entries."""
    require_key(adata.uns, key, "adata.uns", hint=hint)
    found = adata.uns[key]
    missing = [name for name in entries if not isinstance(found, Mapping) or name not in found]
    if missing or not isinstance(found, Mapping):
        lacks = f"a dict without {missing[0]!r}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        msg = f"adata.uns[{key!r}] is not a record of that kind, but {lacks}.{_sentence(hint)}"
        raise ValueError(msg)
    return found


def params_of(record: object) -> Mapping[str, Any]:
    """The parameters of a record in ``uns``; nothing, if it is none."""
    params = record.get("params") if isinstance(record, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def require_tables(adata: AnnData, name: str) -> None:
    """Refuse an AnnData whose tables lie in a file, or have two columns of one name."""
    if not isinstance(adata.obs, pd.DataFrame):
        load = f"{name}.obs, {name}.var = {name}.obs.to_memory(), {name}.var.to_memory()"
        msg = f"{name} was read lazily, and its tables lie in the file; load them: {load}."
        raise TypeError(msg)
    for table, columns in ((f"{name}.obs", adata.obs.columns), (f"{name}.var", adata.var.columns)):
        if not columns.is_unique:
            twice = columns[columns.duplicated()][0]
            mend = f"{table} = {table}.loc[:, ~{table}.columns.duplicated()]"
            msg = f"{table} has two columns called {twice!r}; keep one of them: {mend}."
            raise ValueError(msg)


def require_names(values: Any, where: str) -> None:
    """Refuse lists, dicts and arrays where each value should be a name."""
    known = hasattr(values, "dtype") and not pd.api.types.is_object_dtype(values)
    found = () if known else (one for one in values if isinstance(one, (list, dict, set, tuple, np.ndarray)))
    wrong = next(iter(found), None)
    if wrong is not None:
        msg = f"{where} holds {described(wrong)} where a name is expected."
        raise TypeError(msg)


def as_numbers(values: Any, where: str) -> np.ndarray:
    """Numbers in any container as a dense array, of floats unless they are numbers already."""
    dense = values.toarray() if sparse.issparse(values) else values
    try:
        array = np.asarray(dense.filled(np.nan) if isinstance(dense, np.ma.MaskedArray) else dense)
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError):
        # Lists of different lengths, or text among numbers.
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "fiub":
        msg = f"{where} must hold numbers, all rows of one length, not {described(values)}."
        raise TypeError(msg)
    return array


def the_one_present(container: Mapping[str, Any], choices: Sequence[str], where: str, argument: str) -> str:
    """The one of ``choices`` that is in ``container``, by default the first; a ValueError if there are several."""
    present = [key for key in choices if key in container]
    if len(present) > 1:
        msg = f"{where} has {' and '.join(map(repr, present))}; name one: {argument}={present[0]!r}."
        raise ValueError(msg)
    return present[0] if present else choices[0]


def described(value: Any) -> str:
    """A value and its type, short enough for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value) if isinstance(value, (str, bytes, bool, int, float, complex, type(None), list, tuple)) else ""
    kind = "" if value is None else type(value).__name__
    if not text or len(text) > _LONG:
        return f"{kind} of shape {value.shape}" if isinstance(getattr(value, "shape", None), tuple) else kind
    return f"{text} ({kind})" if kind else text


def require_positive_int(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return ``value`` as an int; TypeError if it is not a whole number, ValueError if it is below ``minimum``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        msg = f"{name} must be an integer, not {described(value)}."
        raise TypeError(msg)
    if value < minimum:
        msg = f"{name}={value} must be at least {minimum}."
        raise ValueError(msg)
    if value > _LARGEST:
        msg = f"{name} is larger than {_LARGEST}, the largest integer that a file can hold."
        raise ValueError(msg)
    return int(value)


def require_choice(value: Any, name: str, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise a ValueError that lists them."""
    if not isinstance(value, str):
        msg = f"{name} must be one of {sorted(choices)}, not {described(value)}."
        raise TypeError(msg)
    if value not in choices:
        msg = f"{name}={value!r} is not one of {sorted(choices)}."
        raise ValueError(msg)
    return str(value)


def require_in_range(
    value: Any,
    name: str,
    *,
    low: float,
    high: float = np.inf,
    above_low: bool = False,
    below_high: bool = False,
) -> float:
    """Return ``value`` as a float; TypeError if it is not a number, ValueError if it lies outside or is infinite."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        msg = f"{name} must be a number, not {described(value)}."
        raise TypeError(msg)
    inside = (low < value if above_low else low <= value) and (value < high if below_high else value <= high)
    if not inside or not -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER:
        opening, closing = "(" if above_low or low == -np.inf else "[", ")" if below_high or high == np.inf else "]"
        msg = f"{name}={value} lies outside {opening}{low:g}, {high:g}{closing}."
        raise ValueError(msg)
    return float(value)


def require_data(adata: AnnData, *, genes: bool = True, unique: Sequence[Literal["obs", "var"]] = ()) -> None:
    """Refuse an AnnData that holds nothing, and names that do not tell spots or genes apart where they have to.

    ``genes=False`` is for work on coordinates alone, which an AnnData without genes can do. ``unique`` says what is
    looked up by its name: ``"obs"`` for spots, ``"var"`` for genes.
    """
    if adata.n_obs == 0 or (genes and adata.n_vars == 0):
        msg = f"adata has {adata.n_obs} spots and {adata.n_vars} genes; there is nothing to work on."
        raise ValueError(msg)
    for axis in unique:
        names = getattr(adata, f"{axis}_names")
        if not names.is_unique:
            first = names[names.duplicated()][0]
            msg = f"adata.{axis}_names are not unique (for example {first!r}); call adata.{axis}_names_make_unique()."
            raise ValueError(msg)


def require_writable(adata: AnnData, *, copy: bool = False) -> None:
    """Refuse an AnnData that could not take the results, or not be copied."""
    if not adata.isbacked or not (copy or adata.is_view):
        return
    what = "is a view of" if adata.is_view else "is backed by"
    cannot = "cannot be copied in memory as it is" if copy else "cannot take results"
    msg = f"adata {what} the file {str(adata.filename)!r} and {cannot}; load it first: adata = adata.to_memory()."
    raise ValueError(msg)


def slice_labels(adata: AnnData, library_key: str | None) -> pd.Categorical | None:
    """The slice of every spot, as text and without unused categories; ``None`` stands for a single slice.

    Text, numbers and bools are taken as well, in their natural order: 1, 2, 10.
    """
    if library_key is None:
        return None
    hint = "library_key names the column with the slice of each spot"
    require_key(adata.obs, library_key, "adata.obs", hint=hint)
    column = adata.obs[library_key]
    if column.isna().any():
        first = adata.obs_names[column.isna().to_numpy().argmax()]
        msg = (
            f"adata.obs[{library_key!r}] is missing for {column.isna().sum()} of {len(column)} spots (first: "
            f"{first!r}); every spot needs its slice. Leave those spots out: "
            f"adata = adata[adata.obs[{library_key!r}].notna()].copy()."
        )
        raise ValueError(msg)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        levels, is_whole = np.unique(column), not (column % 1 != 0).any()
        if len(levels) > (max(_MANY_SLICES, len(column) // 2) if is_whole else len(column) // _MANY_SLICES):
            msg = (
                f"adata.obs[{library_key!r}] holds {len(levels)} different numbers; expected the name of a slice. If "
                f"they are: adata.obs[{library_key!r}] = adata.obs[{library_key!r}].astype(str)."
            )
            raise TypeError(msg)
        # Sections may be called by their height, with its rounding: -28.999999999999996.
        names = [f"{level:.6g}" for level in levels]
        names = names if len(set(names)) == len(levels) else list(map(str, levels))
        fractions = pd.CategoricalDtype(names)
        named = dict(zip(levels, names, strict=True))
        column = column.astype("Int64") if is_whole else column.map(named).astype(fractions)
    found = as_groups(column, f"adata.obs[{library_key!r}]")
    names = list(found.categories)
    given = adata.obs[library_key]
    if not isinstance(given.dtype, pd.CategoricalDtype):
        if not set(names) <= set(map(str, given.unique())):
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            logger.info("`adata.obs['%s']` (%s) is read as the slices %s.", library_key, given.dtype, shown)
    elif names == sorted(names):
        # Any other order somebody has chosen; pandas sorts as text.
        found = found.reorder_categories(natural_order(names))
    return found


def natural_order(names: Sequence[str]) -> list[str]:
    """Names sorted as people do, numbers by their value.

    >>> natural_order(["s10", "s9", "s1"]), natural_order(["0.05", "-0.2", "0.1", "-0.29"])
    (['s1', 's9', 's10'], ['-0.29', '-0.2', '0.05', '0.1'])
    >>> natural_order(["1.10", "1.9"])  # Sections of a block, because no fraction ends in zero
    ['1.9', '1.10']
    """
    if all(map(_NUMBER.fullmatch, names)):
        fractions = [name.partition(".")[2] for name in names]
        if len({*map(len, fractions)}) == 1 or not any(part[1:].endswith("0") for part in fractions):
            return sorted(names, key=float)
    return sorted(
        names,
        key=lambda name: [
            (part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"([0-9]+)", name)
        ],
    )


def several_slices(adata: AnnData, library_key: str) -> pd.Categorical:
    """The slice of every spot where at least two are needed."""
    slices = slice_labels(adata, library_key)
    if slices is None or len(slices.categories) < 2:
        found = "library_key=None" if slices is None else f"adata.obs[{library_key!r}] holds one slice"
        msg = f"{found}; two slices or more are needed. Put them into one AnnData with anndata.concat."
        raise ValueError(msg)
    return slices


def slices_in_order(names: Sequence[str], library_order: Sequence[str] | None, library_key: str | None) -> list[str]:
    """The slices in the order asked for, or as they are; refuses an order that does not name each of them once."""
    if library_order is None:
        return list(names)
    wanted = [str(name) for name in library_order]
    if sorted(wanted) != sorted(names):
        msg = f"library_order={wanted} must name every slice once; adata.obs[{library_key!r}] has {list(names)}."
        raise ValueError(msg)
    return wanted


def require_finite(values: Any, where: str) -> None:
    """Refuse NaN, infinite, enormous and only tiny values in a dense or sparse matrix named ``where``."""
    if isinstance(values, ChunkedMatrix):
        least, largest, n_broken = values.summary.least, values.summary.largest, values.summary.n_broken
    else:
        data = stored(values)
        if data.dtype.kind != "f" or not data.size:
            return
        least, largest, n_broken = float(data.min()), float(data.max()), 0
        if not np.isfinite(least) or not np.isfinite(largest):
            n_broken = int(np.count_nonzero(~np.isfinite(data)))
    if n_broken:
        msg = f"{where} has {n_broken} NaN or infinite values; {mend_of_missing(values, where)}"
        raise ValueError(msg)
    if not (_TINY < max(-least, largest) <= _ENORMOUS or least == largest == 0):
        msg = f"{where} has values between {least:.3g} and {largest:.3g}, whose squares are out of range; rescale it."
        raise ValueError(msg)


def mend_of_missing(values: Any, where: str) -> str:
    """What to do about missing values; of a dense matrix, whether they are those of some genes."""
    if not isinstance(values, np.ndarray) or values.ndim != 2:
        return "remove or replace them."
    # Columns that are NaN in many rows are those of genes that a slice has not measured.
    missing = np.isnan(values).mean(axis=0)
    if not (missing > 0).any() or np.median(missing[missing > 0]) < _MISSING_GENE:
        return "remove or replace them."
    return (
        f"remove or replace them. They are in {np.count_nonzero(missing)} of {len(missing)} columns. If some spots "
        f"have not measured these genes, leave them out: adata = adata[:, ~np.isnan({where}).any(axis=0)].copy(). "
        "anndata.concat(join='outer') leaves NaN in a dense matrix for genes that a slice has not measured; with "
        "fill_value=0 such genes are recognised and left out."
    )


def looks_like_counts(values: Any) -> bool:
    """Whether a matrix holds whole, non-negative numbers with some above one, as raw counts do."""
    if isinstance(values, ChunkedMatrix):
        return values.summary.whole and values.summary.least >= 0 and values.summary.largest > 1
    data = stored(values).ravel()
    sample = data[:: max(1, data.size // _SAMPLE)]
    return bool(sample.size and sample.min() >= 0 and sample.max() > 1 and np.array_equal(sample, np.floor(sample)))


def stored(values: Any) -> np.ndarray:
    """The numbers of a matrix; of a sparse one those that it stores."""
    is_sparse: bool = sparse.issparse(values)
    return np.asarray(values.data if is_sparse else values)


def _sentence(text: str) -> str:
    return f" {text.rstrip('.')}." if text else ""


def read_groups(adata: AnnData, key: str, *, argument: str, hint: str = "") -> pd.Categorical:
    """A column of ``obs`` as :func:`as_groups` makes it; refuses one without any value."""
    require_key(adata.obs, key, "adata.obs", hint=hint)
    found = as_groups(adata.obs[key], f"{argument}={key!r}")
    if not len(found.categories):
        msg = f"adata.obs[{key!r}] is missing for all spots."
        raise ValueError(msg)
    return found


def as_groups(column: pd.Series, where: str, *, unused: bool = False) -> pd.Categorical:
    """A column as categories that are texts, in the given or natural order; missing values stay missing.

    Whole numbers and bools are names too; fractions, and what cannot be a category, are refused.
    """
    given = isinstance(column.dtype, pd.CategoricalDtype)
    values = column if given else column.astype(object).where(column.notna(), None)
    require_names(values, where)
    if not given and any(isinstance(value, float) for value in values):
        msg = f"{where} names numbers ({column.dtype}), expected groups; call .astype('category') if it is."
        raise TypeError(msg)
    found = pd.Categorical(values if given else values.map(_name, na_action="ignore"))
    found = found if unused else found.remove_unused_categories()
    names = [_name(name) for name in found.categories]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{where} has two groups that are both written {twice!r}; give them different names."
        raise ValueError(msg)
    absent = [name for name in names if name in _MISSING_AS_TEXT]
    if absent and not unused:
        logger.warning(
            "%s has a group %r, which missing values become by astype(str), and it is used like any other. To leave "
            "its spots out, put missing values back: .replace(%r, float('nan')).", where, absent[0], absent[0],
        )  # fmt: skip
    renamed = found.rename_categories(dict(zip(found.categories, names, strict=True)))
    return renamed.reorder_categories(names if given else natural_order(names))


def _name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
