"""Records of what a result was made from, so that outdated results are recognised.

A record holds a digest of each array that went into a result (``made_from``), or that is the result (``written``). A
digest is the same for every dtype and container, and follows the spots when they are sorted differently or renamed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.logging import warn
from spotscape._core.randomness import hash_names, mix_bits
from spotscape._core.validation import params_of

if TYPE_CHECKING:
    from anndata import AnnData

_LIKE_SLICES = re.compile("slice|batch|sample|librar|section|donor|patient|dataset|puck|replicate")
_BLOCK = 65_536
# Spots whose values a digest keeps one by one, so that they can be looked up in a subset.
_WITNESSES = 64
_MISSING = np.uint64(0x9E3779B97F4A7C15)


def digest(values: Any, names: pd.Index) -> str:
    """A short digest of one value, or row of values, for each of the spots ``names``.

    It has two halves, one that depends on the order of the spots and one that depends on their names instead. After
    them come some spots, chosen by their names, each with its value, for :func:`kept`.
    """
    rows, named = _hash_rows(values), hash_names(names)
    places = mix_bits(np.arange(len(rows), dtype=np.uint64))
    halves = [int(mix_bits(rows ^ salt).sum(dtype=np.uint64)) for salt in (places, named)]
    _, where, counts = np.unique(named, return_index=True, return_counts=True)
    few = where[counts == 1][:_WITNESSES]
    return "".join(f"{part:016x}" for part in (*halves, *np.stack([named[few], mix_bits(rows[few])], axis=1).ravel()))


def same(one: str, other: str) -> bool:
    """Whether two digests are of the same values of the same spots, in their order or by their names."""
    return one[:16] == other[:16] or one[16:32] == other[16:32]


def kept(known: str, values: Any, names: pd.Index) -> bool:
    """Whether those of the spots that a digest keeps one by one, as far as they are here, have their values still."""
    value_of, named = _witnesses(known), hash_names(names)
    # Sorted: numpy 2.0 overflows where it makes a table of large unsigned numbers.
    rows = np.flatnonzero(np.isin(named, np.array(list(value_of), dtype=np.uint64), kind="sort"))
    found = zip(named[rows].tolist(), mix_bits(_hash_rows(values)[rows]).tolist(), strict=True)
    return all(value == value_of[name] for name, value in found)


def _witnesses(known: str) -> dict[int, int]:
    """Hashed values of the spots that a digest keeps one by one, by their hashed names."""
    parts = [int(known[at : at + 16], 16) for at in range(32, len(known), 16)]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def made_from(adata: AnnData, *, obs: Sequence[str | None] = (), obsm: Sequence[str | None] = ()) -> dict[str, Any]:
    """An entry for a record: which arrays of ``adata`` a result is made from. ``None`` among the keys is left out."""
    wanted = [(slot, key) for slot, names in (("obs", obs), ("obsm", obsm)) for key in names if key is not None]
    return signature(adata.obs_names, {place: getattr(adata, place[0])[place[1]] for place in wanted})


def signature(names: pd.Index, arrays: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """The same for arrays that are not in an AnnData yet, each under its slot and key."""
    digests = [np.frombuffer(bytes.fromhex(digest(values, names)), dtype=np.uint8) for values in arrays.values()]
    return {
        "n_obs": len(names),
        "slot": [slot for slot, _ in arrays],
        "key": [key for _, key in arrays],
        "digest": np.array(digests, dtype=np.uint8),
    }


def changed(
    adata: AnnData, record: Any, entry: str = "made_from", *, digests: dict[tuple[str, str], str] | None = None
) -> list[str]:
    """Which arrays, written as code, are no longer those of the record; ``digests`` keeps theirs for further records.

    Arrays that no longer exist, and records without this entry, do not count. Of a subset only some spots are compared.
    """
    found = record.get(entry) if isinstance(record, Mapping) else None
    if not isinstance(found, Mapping):
        return []
    names, fewer = adata.obs_names, adata.n_obs < int(found["n_obs"])
    stale = []
    for (slot, key), known in _digests(found).items():
        values = getattr(adata, slot).get(key)
        if values is None or (fewer and kept(known, values, names)):
            continue
        if not fewer:
            digests = {} if digests is None else digests
            digests[slot, key] = digests.get((slot, key)) or digest(values, names)
            if same(known, digests[slot, key]):
                continue
        if entry != "made_from" or slot != "obs" or not _renamed(adata, record, key, known):
            stale.append(f"adata.{slot}[{key!r}]")
    return stale


def new_names(adata: AnnData, record: Mapping[str, Any]) -> dict[str, str]:
    """What the groups of a record are called today, after ``cat.rename_categories``, by their old names."""
    key, names = str(record["params"]["key"]), [str(name) for name in record["groups"]]
    known = _digests(record.get("made_from", {"slot": (), "key": (), "digest": ()})).get(("obs", key))
    renamed = {} if known is None or key not in adata.obs else _renamed(adata, record, key, known)
    return dict(zip(names, names, strict=True)) | renamed


def _renamed(adata: AnnData, record: Mapping[str, Any], key: str, known: str) -> dict[str, str]:
    """New names of the groups by their old ones, if nothing but names has changed in the column; else nothing."""
    names, params = [str(name) for name in record.get("groups", ())], record.get("params", {})
    if params.get("key") != key or adata.n_obs != int(record["made_from"]["n_obs"]):
        return {}
    try:
        labels = pd.Categorical(pd.Series(adata.obs[key]).astype(object).map(str, na_action="ignore"))
    except TypeError:
        return {}
    # Spots whose old labels are kept one by one tell which group has which name now.
    before = dict(zip(mix_bits(_hash_rows(pd.Categorical(names))).tolist(), names, strict=True))
    row_of = {int(name): row for row, name in enumerate(hash_names(adata.obs_names))}
    found = {
        before[value]: str(labels[row_of[name]])
        for name, value in _witnesses(known).items()
        if name in row_of and value in before
    }
    # A last one can be told although none of its spots was kept.
    rest = set(names) - set(found), set(labels.categories) - set(found.values())
    found |= dict(zip(*rest, strict=True)) if len(rest[0]) == len(rest[1]) == 1 else {}
    back = {new: old for old, new in found.items()}
    if not len(found) == len(back) == len(names) or set(back) != set(labels.categories):
        return {}
    return found if same(known, digest(labels.rename_categories(back), adata.obs_names)) else {}


def _digests(found: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    digests = (one if isinstance(one, str) else bytes(one).hex() for one in found["digest"])
    return dict(zip(zip(map(str, found["slot"]), map(str, found["key"]), strict=True), digests, strict=True))


def left_behind(adata: AnnData, written: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Results made from what was ``written`` over since, by their places, and from which of these arrays."""
    sources = {(slot, key) for slot in ("obs", "obsm") for key in written.get(slot, ())}
    found: dict[str, list[str]] = {}
    digests: dict[tuple[str, str], str] = {}
    for name, entry in adata.uns.items() if sources else ():
        made = entry.get("made_from") if isinstance(entry, Mapping) else None
        if name in written.get("uns", ()) or not isinstance(made, Mapping) or sources.isdisjoint(_digests(made)):
            continue
        stale = set(changed(adata, entry, digests=digests)) & {f"adata.{slot}[{key!r}]" for slot, key in sources}
        if stale:
            slot = next((slot for slot in ("obs", "layers", "obsm") if name in getattr(adata, slot)), "uns")
            found[f"adata.{slot}[{name!r}]"] = sorted(stale)
    return found


def results_with(adata: AnnData, name: str, value: str) -> list[str]:
    """Places of the results in ``obs``, ``obsm`` and ``layers`` whose records give ``value`` for a parameter."""
    found = []
    for key, entry in adata.uns.items():
        given = params_of(entry).get(name)
        if isinstance(given, str) and given == value:
            written = (
                _digests(entry["written"]) if "written" in entry else [(s, key) for s in ("obs", "obsm", "layers")]
            )
            found += [f"adata.{slot}[{place!r}]" for slot, place in written if place in getattr(adata, slot)]
    return found


def require_unchanged(adata: AnnData, record: Any, what: str, mend: str, *, groups: str) -> None:
    """Refuse a result whose ``groups`` have changed since; warn if anything else has; ``mend`` makes it again."""
    if f"adata.obs[{groups!r}]" in changed(adata, record):
        msg = f"adata.obs[{groups!r}] changed after {what} was made; make it again: {mend}."
        raise ValueError(msg)
    warn_if_changed(adata, record, what, mend)


def warn_if_changed(adata: AnnData, record: Any, what: str, mend: str) -> None:
    """Warn where a result is still of use although its source has changed since."""
    stale = changed(adata, record)
    if stale:
        warn(f"{' and '.join(stale)} changed after {what} was made; to make it again: {mend}.")


def warn_of_old_labels(adata: AnnData, key: str) -> None:
    """Warn of groups in ``obs`` that were made from other groups, as by smoothing them, which have changed since."""
    stale = [place for place in changed(adata, adata.uns.get(key)) if place.startswith("adata.obs[")]
    if stale:
        warn(f"{' and '.join(stale)} changed after adata.obs[{key!r}] was made from it; make it again.")


def warn_if_foreign(adata: AnnData, key: str, library_key: str | None = None) -> None:
    """Warn of an embedding in ``obsm`` that is not the one of its record, as of slices that were embedded apart."""
    # The record of a restart is that of the first training.
    names = (key.removeprefix("X_"), key.removeprefix("X_").rpartition("_")[0])
    name = next((name for name in names if isinstance(adata.uns.get(name), Mapping)), None)
    joint = "embed all slices together, such as by sp.tl.spotscape(adata, library_key=...)"
    column = None
    if name is None and key in (*keys.X_ENCODERS, keys.X_SMOOTHED_PCA):
        column = _concatenated_by(adata) if library_key is None else library_key
    if column is not None:
        warn(
            f"adata.uns has no record of adata.obsm[{key!r}], as after anndata.concat. If the groups of "
            f"adata.obs[{column!r}] were embedded apart, their embeddings cannot be compared; {joint}."
        )
    if name is None or f"adata.obsm[{key!r}]" not in changed(adata, adata.uns[name], "written"):
        return
    n_obs = int(adata.uns[name]["written"]["n_obs"])
    if adata.n_obs > n_obs:
        warn(
            f"the record of adata.obsm[{key!r}] is of {n_obs} spots, adata has {adata.n_obs}. Embeddings that "
            f"were trained apart cannot be compared; {joint}."
        )
    else:
        warn(f"the record adata.uns[{name!r}] describes another embedding than adata.obsm[{key!r}].")


def joint_embedding(adata: AnnData) -> str | None:
    """The embedding of an encoder, or else of smoothed PCA, that its record says was made of these very spots."""
    for key in (*keys.X_ENCODERS, keys.X_SMOOTHED_PCA):
        record = adata.uns.get(key.removeprefix("X_"))
        has_record = isinstance(record, Mapping) and "written" in record
        if key in adata.obsm and has_record and f"adata.obsm[{key!r}]" not in changed(adata, record, "written"):
            return key
    return None


def _concatenated_by(adata: AnnData) -> str | None:
    """A column named like one of slices, whose groups lie one after the other, as concatenation puts them."""
    for index, column in enumerate(map(str, adata.obs.columns)):
        values = adata.obs.iloc[:, index]
        if _LIKE_SLICES.search(column.lower()) and not pd.api.types.is_float_dtype(values.dtype):
            codes = pd.factorize(values)[0]
            n_groups = len(np.unique(codes))
            if 1 < n_groups < len(codes) / 2 and np.count_nonzero(np.diff(codes)) == n_groups - 1:
                return column
    return None


def _hash_rows(values: Any) -> np.ndarray:
    """One uint64 for each row, the same whatever the dtype: labels as text, all else as float32."""
    if sparse.issparse(values):
        values = values.toarray()
    if np.ndim(values) == 1 and getattr(getattr(values, "dtype", None), "kind", "O") != "f":
        # A column of objects may hold what cannot be a category, such as lists.
        texts = pd.api.types.is_object_dtype(values)
        labels = pd.Categorical(pd.Series(values).map(str, na_action="ignore") if texts else values)
        known = hash_names(labels.categories)
        return np.asarray(np.append(known, _MISSING)[labels.codes])
    if getattr(values, "dtype", np.dtype("O")).kind not in "fiub":
        values = pd.DataFrame(values).apply(pd.to_numeric, errors="coerce")
    numbers = np.asarray(values, dtype=np.float32).reshape(len(values), -1)
    weights = np.random.default_rng(0).integers(1, 2**63, numbers.shape[1], dtype=np.uint64) | np.uint64(1)
    rows = np.empty(len(numbers), dtype=np.uint64)
    for start in range(0, len(numbers), _BLOCK):
        block = numbers[start : start + _BLOCK] + np.float32(0)
        # Zero has two signs, and NaN many forms.
        block[np.isnan(block)] = np.nan
        bits = np.ascontiguousarray(block).view(np.uint32).astype(np.uint64)
        rows[start : start + _BLOCK] = mix_bits((bits * weights).sum(axis=1, dtype=np.uint64))
    return rows
