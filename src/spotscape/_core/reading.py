"""Expression and graphs out of an AnnData, checked, in memory, and never changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.counts import n_detected
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import warn_if_foreign
from spotscape._core.rows import RowSource, is_stored
from spotscape._core.validation import (
    as_numbers,
    looks_like_counts,
    require_finite,
    require_key,
    require_nonnegative,
    slice_labels,
    the_one_present,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

HIGHLY_VARIABLE = "highly_variable"
# Zero spots where five were expected happens to one gene in 150 by chance, and losing that one does no harm.
_EXPECTED_SPOTS = 5
# Fewer genes than a targeted panel: domains may no longer be told apart.
_FEW_SHARED = 100
_REBUILD = "build it anew: sp.pp.spatial_neighbors_knn(adata)"


@dataclass(frozen=True)
class Expression:
    """A matrix of spots by features, dense float32, sparse, or read by blocks, with where it came from.

    ``genes`` holds the columns of the AnnData that the features are, ``None`` for those of a representation.
    """

    matrix: np.ndarray | sparse.csr_array | RowSource
    source: str
    genes: np.ndarray | None = None


def read_expression(
    adata: AnnData,
    *,
    layer: str | None,
    use_rep: str | None,
    mask_var: str | np.ndarray | None,
    library_key: str | None = None,
    stream: bool = False,
) -> Expression:
    """What a method trains on: ``use_rep`` from ``obsm``, else ``layer`` or ``X`` with the genes of ``mask_var``.

    With slices, genes that one of them did not measure are left out. With ``stream``, expression that lies in a file or
    is a dask array stays there, and is read by blocks of rows.
    """
    if use_rep is not None and use_rep != "X":
        if layer is not None:
            msg = f"use_rep={use_rep!r} and layer={layer!r} exclude each other; give one of them."
            raise ValueError(msg)
        return _read_representation(adata, use_rep)
    source = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    if layer is not None:
        require_key(adata.layers, layer, "adata.layers")
    if adata.X is None and layer is None:
        msg = "adata.X is None; put log-normalised expression there or name a layer."
        raise ValueError(msg)
    mask = read_mask(adata, mask_var)
    genes = np.arange(adata.n_vars) if mask is None else np.flatnonzero(mask)
    values = adata.X if layer is None else adata.layers[layer]
    slices = slice_labels(adata, library_key)
    matrix: np.ndarray | sparse.csr_array | RowSource
    if stream and is_stored(values):
        matrix = RowSource(
            values, columns=None if mask is None else genes, groups=None if slices is None else slices.codes
        )
    else:
        matrix = in_memory(values)
        matrix = matrix if mask is None else matrix[:, mask]
    require_finite(matrix, source)
    require_nonnegative(matrix, source, hint="Expected is normalised expression; name scaled data by use_rep")
    _refuse_counts(matrix, source, explicit=layer is not None)
    if slices is not None:
        shared = _find_shared(matrix, slices, source)
        if not shared.all():
            matrix, genes = _take_columns(matrix, shared), genes[shared]
    _refuse_empty(adata, matrix, source)
    return Expression(matrix, source, genes)


def domain_column(adata: AnnData, key: str | None, argument: str) -> str:
    """The column with the domains: the one named, else the only one that a function of this package has written."""
    if key is not None:
        return key
    found = the_one_present(adata.obs, keys.DOMAINS, "adata.obs", argument)
    if found != keys.DOMAINS[0]:
        logger.info("Using `adata.obs['%s']`.", found)
    return found


def encoder_embedding(adata: AnnData, use_rep: str | None) -> str:
    """The key of an embedding: the one named, else that of the one encoder that was run."""
    if use_rep is not None:
        return use_rep
    key = the_one_present(adata.obsm, keys.X_ENCODERS, "adata.obsm", "use_rep")
    logger.info("Using `adata.obsm['%s']`.", key)
    return key


def read_embedding(adata: AnnData, key: str, *, hint: str, library_key: str | None = None) -> np.ndarray:
    """A dense embedding ``(n_obs, d)`` of finite numbers; ``hint`` says what to do where there is none.

    Warns of one that is not of its record, see :mod:`spotscape._core.provenance`.
    """
    require_key(adata.obsm, key, "adata.obsm", hint=hint)
    values = adata.obsm[key]
    embedding = as_numbers(values, f"adata.obsm[{key!r}]")
    if embedding.ndim != 2 or embedding.shape[1] == 0:
        msg = (
            f"adata.obsm[{key!r}] has shape {embedding.shape} and dtype {embedding.dtype}; expected numbers (n_obs, d)."
        )
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
            logger.info("No `adata.var['highly_variable']`: using all %s genes.", f"{adata.n_vars:,}")
            return None
        require_key(adata.var, mask_var, "adata.var", hint="mask_var names a boolean column, or is a boolean array")
        mask = np.asarray(adata.var[mask_var])
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


def read_graph(
    adata: AnnData, neighbors_key: str, library_key: str | None = None, *, across_slices: bool = False
) -> sparse.csr_array | None:
    """Connectivities of a stored spatial graph; ``None`` if the graph of that name was never built.

    ``across_slices`` is for methods whose neighbours may lie in another slice of ``library_key``.

    Raises
    ------
    KeyError
        If the record in ``uns`` names connectivities that are gone, as after :func:`anndata.concat`.
    ValueError
        If the graph has no edges, another size than the data, or, unless allowed, edges between slices.
    """
    if neighbors_key not in adata.uns:
        return None
    key = adata.uns[neighbors_key].get("connectivities_key", "spatial_connectivities")
    require_key(adata.obsp, key, "adata.obsp", hint=f"The graph was lost, as concatenation does; {_REBUILD}")
    graph = sparse.csr_array(adata.obsp[key])
    if graph.shape[0] != adata.n_obs:
        msg = f"adata.obsp[{key!r}] is {graph.shape} for {adata.n_obs} spots; {_REBUILD}."
        raise ValueError(msg)
    degree = np.diff(graph.indptr)
    if not degree.any():
        msg = f"adata.obsp[{key!r}] has no edges; {_REBUILD}."
        raise ValueError(msg)
    if (degree == 0).any():
        warn(
            f"{(degree == 0).sum()} of {adata.n_obs} spots have no neighbour in adata.obsp[{key!r}], perhaps because "
            f"the data were subset after the graph was built; {_REBUILD}."
        )
    crossing = _count_crossing(graph, adata, library_key)
    found = f"{crossing} edges of adata.obsp[{key!r}] join different slices of adata.obs[{library_key!r}]"
    within = f"sp.pp.spatial_neighbors_knn(adata, library_key={library_key!r})"
    if crossing and not across_slices:
        msg = (
            f"{found}; a graph across slices is for sp.tl.spacross. Build one within slices, {within}, and name it: "
            "neighbors_key='spatial_neighbors'."
        )
        raise ValueError(msg)
    if crossing and not crosses_on_purpose(adata.uns[neighbors_key]):
        warn(
            f"{found}, and are not of sp.pp.spatial_neighbors_3d. Unless the slices lie over each other in the "
            f"coordinates that it was built from, build a graph within slices: {within}."
        )
    return graph


def crosses_on_purpose(entry: object) -> bool:
    """Whether this record in ``uns`` is of a graph of :func:`spotscape.pp.spatial_neighbors_3d` that joins slices."""
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return isinstance(params, Mapping) and params.get("cross_slice_fraction", 0) > 0


def _read_representation(adata: AnnData, use_rep: str) -> Expression:
    require_key(adata.obsm, use_rep, "adata.obsm", hint="use_rep names a representation of the spots there")
    source = f"adata.obsm[{use_rep!r}]"
    values = adata.obsm[use_rep]
    matrix = in_memory(values if sparse.issparse(values) or is_stored(values) else as_numbers(values, source))
    require_finite(matrix, source)
    return Expression(matrix, source)


def _take_columns(matrix: Any, kept: np.ndarray) -> np.ndarray | sparse.csr_array | RowSource:
    return matrix.with_columns(kept) if isinstance(matrix, RowSource) else matrix[:, kept]


def _refuse_counts(matrix: np.ndarray | sparse.csr_array | RowSource, source: str, *, explicit: bool) -> None:
    if not looks_like_counts(matrix):
        return
    msg = f"{source} looks like raw counts; call sp.pp.prepare(adata) first, which normalises and keeps the counts."
    if not explicit:
        raise ValueError(msg)
    warn(msg)


def _refuse_empty(adata: AnnData, matrix: np.ndarray | sparse.csr_array | RowSource, source: str) -> None:
    for axis, what, mend in ((1, "spots", "filter_cells"), (0, "genes", "filter_genes")):
        filled = np.asarray(matrix.sum(axis=axis)).ravel() > 0
        if not filled.all():
            names = adata.obs_names[~filled] if axis == 1 and len(filled) == adata.n_obs else None
            example = "" if names is None else f" (for example {names[0]!r})"
            msg = (
                f"{np.count_nonzero(~filled)} of {len(filled)} {what}{example} are zero throughout {source}, in the "
                f"genes that are used; remove them with sc.pp.{mend}(adata, min_counts=1), or more strictly, before "
                "sp.pp.prepare(adata)."
            )
            raise ValueError(msg)


def _find_shared(matrix: np.ndarray | sparse.csr_array | RowSource, slices: pd.Categorical, source: str) -> np.ndarray:
    """Which genes are not zero throughout a slice although the other slices let expect them there.

    That is how a gene looks that is not in a slice's panel, once slices are concatenated with ``join="outer"``.
    """
    if isinstance(matrix, RowSource):
        detected = matrix.summary.detected
    else:
        detected = np.stack([n_detected(matrix[slices == name]) for name in slices.categories])
    sizes = np.bincount(slices.codes)[:, None]
    elsewhere = (detected.sum(axis=0) - detected) / np.maximum(len(slices) - sizes, 1)
    absent = (detected == 0) & (elsewhere * sizes >= _EXPECTED_SPOTS)
    shared: np.ndarray = ~absent.any(axis=0)
    if shared.all():
        return shared
    panels = ", ".join(
        f"{name!r} lacks {count}" for name, count in zip(slices.categories, absent.sum(axis=1), strict=True) if count
    )
    if not shared.any():
        msg = f"the slices share none of the {len(shared)} genes of {source} ({panels}); they cannot be compared."
        raise ValueError(msg)
    say = warn if shared.sum() < min(_FEW_SHARED, len(shared) / 2) else logger.info
    say(f"Using the {shared.sum()} genes, of {len(shared)} in {source}, that all slices share ({panels}).")
    return shared


def _count_crossing(graph: sparse.csr_array, adata: AnnData, library_key: str | None) -> int:
    slices = slice_labels(adata, library_key)
    if slices is None:
        return 0
    codes = np.asarray(slices.codes)
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    return int(np.count_nonzero(codes[rows] != codes[graph.indices]))
