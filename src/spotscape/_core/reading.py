"""Expression and graphs out of an AnnData, checked, in memory, and never changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.genes import absent_genes, control_features, counts_elsewhere, kind_of, n_detected
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import warn_if_foreign, warn_of_old_labels
from spotscape._core.rows import LARGEST_LOGARITHM, ChunkedMatrix, Normalisation, expm1, is_stored
from spotscape._core.validation import (
    as_numbers,
    looks_like_counts,
    params_of,
    require_finite,
    require_key,
    stored,
    the_one_present,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

HIGHLY_VARIABLE = "highly_variable"
# Fewer genes than a targeted panel: domains may no longer be told apart.
_FEW_SHARED = 100
# Slices of one kind of tissue differ less than this in expression, once it is normalised.
ALIKE = 2.0
_EMBED = "Name the embedding by use_rep, or make one: sp.tl.spotscape(adata) or sp.tl.spacross(adata)"


@dataclass(frozen=True)
class Expression:
    """A matrix of spots by features, dense float32, sparse, or read by blocks, with where it came from.

    ``genes`` holds the columns of the AnnData that the features are, ``None`` for those of a representation.
    """

    matrix: np.ndarray | sparse.csr_array | ChunkedMatrix
    source: str
    genes: np.ndarray | None = None


def read_expression(
    adata: AnnData,
    *,
    layer: str | None,
    use_rep: str | None,
    mask_var: str | np.ndarray | None,
    slices: pd.Categorical | None = None,
    stream: bool = False,
) -> Expression:
    """What a method trains on: ``use_rep`` from ``obsm``, else ``layer`` or ``X`` with the genes of ``mask_var``.

    With slices, genes that one of them did not measure are left out. With ``stream``, what lies in a file stays there.
    """
    if use_rep is not None and use_rep != "X":
        if layer is not None:
            msg = f"use_rep={use_rep!r} and layer={layer!r} exclude each other; give one of them."
            raise ValueError(msg)
        require_key(adata.obsm, use_rep, "adata.obsm", hint="use_rep names a representation of the spots there")
        source, values = f"adata.obsm[{use_rep!r}]", adata.obsm[use_rep]
        matrix = in_memory(values if sparse.issparse(values) or is_stored(values) else as_numbers(values, source))
        require_finite(matrix, source)
        return Expression(matrix, source)
    source = keys.place_of(layer)
    mask = read_mask(adata, mask_var)
    genes = np.arange(adata.n_vars) if mask is None else np.flatnonzero(mask)
    matrix = checked_expression(adata, layer, columns=None if mask is None else genes, slices=slices, stream=stream)
    if looks_like_counts(matrix):
        msg = f"{source} looks like raw counts; call sp.pp.prepare(adata) first, which normalises and keeps the counts."
        if layer is None:
            raise ValueError(msg)
        warn(msg)
    if slices is not None:
        shared = find_shared(matrix, slices, source)
        if not shared.all():
            matrix, genes = _take_columns(matrix, shared), genes[shared]
            warn_of_totals(matrix, slices, source)
    filled = _report_empty(matrix, source)
    if not filled.all():
        matrix, genes = _take_columns(matrix, filled), genes[filled]
    _refuse_constant(matrix, source)
    return Expression(matrix, source, genes)


def checked_expression(adata: AnnData, layer: str | None, **how: Any) -> Any:
    """What :func:`expression_values` gives; refuses broken, scaled and corrected values, and says what to take."""
    matrix, source = expression_values(adata, layer, **how), keys.place_of(layer)
    require_finite(matrix, source)
    least = matrix.summary.least if isinstance(matrix, ChunkedMatrix) else stored(matrix).min(initial=0)
    if least < 0:
        mend = "name a layer with it (layer=...). For an embedding, principal components do as well (use_rep=...)."
        if adata.raw is not None:
            mend = "adata.raw may hold it: adata = adata.raw.to_adata()."
        mend = counts_elsewhere(adata, layer) or mend
        msg = (
            f"{source} has negative values (minimum {least:g}); expression cannot be negative. Expected is normalised "
            f"expression; {mend}"
        )
        raise ValueError(msg)
    return matrix


def expression_values(
    adata: AnnData,
    layer: str | None,
    *,
    columns: np.ndarray | None = None,
    slices: pd.Categorical | None = None,
    stream: bool = False,
    as_stored: bool = False,
) -> np.ndarray | sparse.csr_array | ChunkedMatrix:
    """``X`` or a layer in memory, or by blocks where it lies in a file or is a dask array and ``stream`` allows.

    Counts of a file that :func:`spotscape.pp.prepare` could not change are normalised, unless wanted ``as_stored``.
    """
    if layer is not None:
        require_key(adata.layers, layer, "adata.layers")
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        msg = "adata.X is None; put log-normalised expression there or name a layer."
        raise ValueError(msg)
    normalisation = None
    entry = adata.uns.get(keys.PREPARE) if layer is None and not as_stored else None
    if isinstance(entry, Mapping) and entry.get("on_reading", False):
        require_key(adata.obs, keys.FACTOR, "adata.obs", hint="Prepare the counts again: sp.pp.prepare(adata)")
        factors = adata.obs[keys.FACTOR].to_numpy(dtype=np.float64)
        normalisation = Normalisation(factors, bool(entry["params"]["log1p"]))
    if is_stored(values) and (stream or normalisation is not None or columns is not None):
        codes = None if slices is None else slices.codes
        source = ChunkedMatrix(values, columns=columns, groups=codes, normalisation=normalisation)
        return source if stream else source.in_memory()
    matrix = in_memory(values)
    matrix = matrix if normalisation is None else in_memory(normalisation.apply(matrix))
    return matrix if columns is None else matrix[:, columns]


def is_logarithm(adata: AnnData, layer: str | None) -> bool | None:
    """Whether expression is a logarithm, by the record of :func:`spotscape.pp.prepare` or scanpy's; else ``None``.

    ``prepare`` removes scanpy's record, so one beside its own is of a later call: of ``X``, or of a layer.
    """
    if layer is not None:
        return None
    params, theirs = params_of(adata.uns.get(keys.PREPARE)), adata.uns.get("log1p")
    ours = bool(params["log1p"]) if "log1p" in params else None
    if ours is False and theirs is not None:
        ours = kind_of(expression_values(adata, None, stream=True)) not in {"counts", "scaled"}
    base = theirs.get("base") if isinstance(theirs, Mapping) and ours is not True else None
    if base is not None:
        warn(
            f"adata.uns['log1p'] says that adata.X holds logarithms to base {base}, which are undone as if they were "
            f"natural ones. Make them so: adata.X = adata.X * np.log({base}); adata.uns['log1p'] = {{}}."
        )
    return True if ours is None and theirs is not None else ours


def domain_columns(adata: AnnData) -> list[str]:
    """Columns with domains: those of the usual names, else those with the record of a clustering or a consensus."""
    records = {key: entry for key, entry in adata.uns.items() if key in adata.obs and isinstance(entry, Mapping)}
    usual = [key for key in keys.DOMAINS if key in adata.obs]
    return usual or [key for key, entry in records.items() if "criterion" in entry or "run_agreement" in entry]


def domain_column(adata: AnnData, key: str | None, argument: str) -> str:
    """The column with the domains: the one named, else the only one that a function of this package has written.

    As of embeddings, those of an encoder come before those of the baseline.
    """
    if key is not None:
        warn_of_old_labels(adata, key)
        return key
    there = domain_columns(adata)
    if any(keys.domain_of(name) in there for name in keys.X_ENCODERS):
        there = [name for name in there if name != keys.domain_of(keys.X_SMOOTHED_PCA)]
    found = the_one_present(adata.obs, there or keys.DOMAINS, "adata.obs", argument)
    if found != keys.DOMAINS[0] or len(domain_columns(adata)) > 1:
        logger.info("Using `adata.obs['%s']`.", found)
    return found


def encoder_embedding(adata: AnnData, use_rep: str | None) -> str:
    """The key of an embedding: the one named, else that of the one encoder that was run, else the baseline's."""
    if use_rep is not None:
        return use_rep
    key = the_one_present(adata.obsm, keys.X_ENCODERS, "adata.obsm", "use_rep")
    if key not in adata.obsm and keys.X_SMOOTHED_PCA in adata.obsm:
        key = keys.X_SMOOTHED_PCA
    if key in adata.obsm:
        logger.info("Using `adata.obsm['%s']`.", key)
    return key


def read_embedding(adata: AnnData, key: str, *, hint: str = _EMBED, library_key: str | None = None) -> np.ndarray:
    """A dense embedding ``(n_obs, d)`` of finite numbers; ``hint`` says what to do where there is none.

    Warns of one that is not of its record, see :mod:`spotscape._core.provenance`.
    """
    require_key(adata.obsm, key, "adata.obsm", hint=hint)
    values = adata.obsm[key]
    embedding = as_numbers(values, f"adata.obsm[{key!r}]")
    if embedding.ndim != 2 or embedding.shape[1] == 0:
        msg = f"adata.obsm[{key!r}] has shape {embedding.shape}, dtype {embedding.dtype}; expected numbers (n_obs, d)."
        raise ValueError(msg)
    require_finite(embedding, f"adata.obsm[{key!r}]")
    warn_if_foreign(adata, key, library_key)
    return embedding


def read_mask(adata: AnnData, mask_var: str | np.ndarray | None) -> np.ndarray | None:
    """Which genes to use, bool ``(n_vars,)``; ``None`` for all. Only the default column may be missing."""
    if mask_var is None:
        return None
    if isinstance(mask_var, str):
        if mask_var == HIGHLY_VARIABLE and mask_var not in adata.var:
            controls = control_features(adata)
            others = f" but {controls.sum():,} control features" if controls.any() else ""
            logger.info("No `adata.var['highly_variable']`: using all %s genes%s.", f"{(~controls).sum():,}", others)
            return ~controls if controls.any() else None
        require_key(adata.var, mask_var, "adata.var", hint="mask_var names a boolean column, or is a boolean array")
        column = adata.var[mask_var]
        # Concatenation of slices with other genes leaves gaps in a boolean column: those genes were not chosen.
        gaps = column.dtype == "boolean" or (column.dtype == object and column.dropna().isin([True, False]).all())
        mask = np.asarray(column.isin([True]) if gaps else column)
    else:
        mask = np.asarray(mask_var)
    if mask.dtype != bool or mask.shape != (adata.n_vars,):
        msg = f"mask_var must be boolean, one value for each of {adata.n_vars} genes, not {mask.dtype} {mask.shape}."
        raise ValueError(msg)
    if not mask.any():
        msg = "mask_var selects no gene."
        raise ValueError(msg)
    return mask


def in_memory(matrix: Any) -> np.ndarray | sparse.csr_array:
    """Backed, dask, view and GPU arrays as an ordinary float array or CSR matrix."""
    for method in ("to_memory", "compute", "get"):
        if hasattr(matrix, method) and not sparse.issparse(matrix):
            matrix = getattr(matrix, method)()
    if sparse.issparse(matrix):
        return sparse.csr_array(matrix, dtype=np.float32)
    return np.asarray(matrix, dtype=np.float32)


def _take_columns(matrix: Any, kept: np.ndarray) -> np.ndarray | sparse.csr_array | ChunkedMatrix:
    return matrix.with_columns(kept) if isinstance(matrix, ChunkedMatrix) else matrix[:, kept]


def _report_empty(matrix: np.ndarray | sparse.csr_array | ChunkedMatrix, source: str) -> np.ndarray:
    """Which genes are anywhere above zero; says how many are not, and how many spots."""
    filled: np.ndarray = np.asarray(matrix.sum(axis=0)).ravel() > 0
    if not filled.any():
        msg = f"{source} is zero throughout the {len(filled)} genes that are used; name others by mask_var."
        raise ValueError(msg)
    empty = np.count_nonzero(np.asarray(matrix.sum(axis=1)).ravel() == 0)
    if not filled.all():
        logger.info("%s of %s genes are zero throughout and are not used.", np.count_nonzero(~filled), len(filled))
    if empty:
        logger.info(
            "%s of %s spots have none of the genes that are used; only their neighbours' expression is used for them.",
            f"{empty:,}",
            f"{matrix.shape[0]:,}",
        )
    return filled


def _refuse_constant(matrix: Any, source: str) -> None:
    varies: bool
    if isinstance(matrix, ChunkedMatrix):
        summary = matrix.summary
        varies = bool((len(summary.row_sums) * summary.squares.sum(axis=0) - summary.column_sums**2).max() > 0)
    elif sparse.issparse(matrix):
        detected = n_detected(matrix)
        # A gene that some spots lack varies; only where there is none must values be compared.
        varies = bool((detected < matrix.shape[0]).any()) or bool((matrix.toarray() != matrix[[0]].toarray()).any())
    else:
        varies = bool((matrix != matrix[0]).any())
    if not varies and matrix.shape[0] > 1:
        msg = f"all genes are constant in {source}: every spot has the same expression, so there is nothing to embed."
        raise ValueError(msg)


def find_absent(
    matrix: np.ndarray | sparse.csr_array | ChunkedMatrix, slices: pd.Categorical, source: str
) -> np.ndarray:
    """Which genes each slice has not measured, bool ``(n_slices, G)``; refuses slices that share none."""
    if isinstance(matrix, ChunkedMatrix):
        detected = matrix.summary.detected
    else:
        detected = np.stack([n_detected(matrix[slices == name]) for name in slices.categories])
    # A spot whose donor is not known is of no slice.
    absent: np.ndarray = absent_genes(detected, np.bincount(slices.codes[slices.codes >= 0]))
    if absent.any(axis=0).all():
        found = f"the slices share none of the {absent.shape[1]} genes of {source}"
        msg = f"{found} ({_panels(absent, slices)}); they cannot be compared."
        raise ValueError(msg)
    return absent


def find_shared(
    matrix: np.ndarray | sparse.csr_array | ChunkedMatrix, slices: pd.Categorical, source: str
) -> np.ndarray:
    """Which genes every slice has measured; says which slices lack how many."""
    absent = find_absent(matrix, slices, source)
    shared = np.asarray(~absent.any(axis=0))
    if not shared.all():
        say = warn if shared.sum() < min(_FEW_SHARED, len(shared) / 2) else logger.info
        found = f"Using the {shared.sum()} genes, of {len(shared)} in {source}, that all slices share"
        say(f"{found} ({_panels(absent, slices)}).")
    return shared


def _panels(absent: np.ndarray, slices: pd.Categorical) -> str:
    lacking = zip(slices.categories, absent.sum(axis=1), strict=True)
    return ", ".join(f"{name!r} lacks {count}" for name, count in lacking if count)


def warn_of_totals(matrix: Any, slices: pd.Categorical, source: str) -> None:
    """Warn where slices that lack genes were normalised over all of their own, which moves the genes of all."""
    linear = expm1(matrix) if matrix.max() <= LARGEST_LOGARITHM else matrix
    known, of_spot = slices.codes >= 0, np.asarray(linear.sum(axis=1)).ravel()
    totals = np.bincount(slices.codes[known], of_spot[known]) / np.bincount(slices.codes[known])
    low, high = int(totals.argmin()), int(totals.argmax())
    if totals[high] > ALIKE * totals[low]:
        warn(
            f"in the genes that all slices share, a spot of {slices.categories[high]!r} has "
            f"{totals[high] / max(totals[low], np.finfo(float).tiny):.2g} times as much expression in {source} as one "
            f"of {slices.categories[low]!r}, so domains may be those of slices. Normalise by the shared genes: "
            "sp.pp.prepare(adata, library_key=...)."
        )
