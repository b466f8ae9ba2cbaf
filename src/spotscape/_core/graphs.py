"""Spatial graphs out of an AnnData: their connectivities, whether slices are joined, and the column of slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.edges import within_groups
from spotscape._core.logging import logger, warn
from spotscape._core.validation import params_of, require_finite, require_key, slice_labels

if TYPE_CHECKING:
    from anndata import AnnData

# Cutting a region out of a slice takes a few edges at its border, thinning takes most.
_LOST = 0.9
# Share by which an edge has another length than before, and the share of such edges that no bending explains.
_OTHER_LENGTH, _MOVED = 0.1, 0.5
_SAMPLE = 100_000
_DEFAULT = keys.graph_keys(keys.SPATIAL)[0]
_REBUILD = "build it again: sp.pp.spatial_neighbors_knn(adata)"


def read_graph(
    adata: AnnData, neighbors_key: str, library_key: str | None = None, *, across_slices: bool = False
) -> sparse.csr_array | None:
    """Connectivities of a stored spatial graph; ``None`` if the default graph was never built.

    Refused are connectivities that are gone, as after :func:`anndata.concat`, a graph without edges or of another size,
    and, unless ``across_slices``, edges between slices of ``library_key``.
    """
    if neighbors_key not in adata.uns:
        if neighbors_key == _DEFAULT:
            return None
        raise _missing(adata, neighbors_key, library_key if across_slices else None)
    entry = adata.uns[neighbors_key]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("connectivities_key"), str):
        msg = f"adata.uns[{neighbors_key!r}] is no record of a spatial graph; {_REBUILD}."
        raise ValueError(msg)
    key = entry["connectivities_key"]
    require_key(adata.obsp, key, "adata.obsp", hint=f"The graph was lost, as concatenation does; {_REBUILD}")
    stored = adata.obsp[key]
    if stored.dtype.kind not in "fiubc":
        msg = f"adata.obsp[{key!r}] holds no numbers, but {stored.dtype}; {_REBUILD}."
        raise ValueError(msg)
    graph = sparse.csr_array(stored, copy=True)
    if graph.shape[0] != adata.n_obs:
        msg = f"adata.obsp[{key!r}] is {graph.shape} for {adata.n_obs} spots; {_REBUILD}."
        raise ValueError(msg)
    require_finite(graph, f"adata.obsp[{key!r}]")
    # A weight of zero is no edge, and every spot counts itself anyway.
    if graph.diagonal().any():
        graph = sparse.csr_array(sparse.tril(graph, -1) + sparse.triu(graph, 1))
    graph.eliminate_zeros()
    degree = np.diff(graph.indptr)
    if not degree.any():
        msg = f"adata.obsp[{key!r}] has no edges; {_REBUILD}."
        raise ValueError(msg)
    if (degree == 0).any():
        warn(
            f"{(degree == 0).sum()} of {adata.n_obs} spots have no neighbour in adata.obsp[{key!r}] and are embedded "
            f"from their own expression alone."
        )
    _warn_if_stale(graph, params_of(entry), key)
    _warn_if_moved(adata, entry, key)
    slices = slice_labels(adata, library_key)
    crossing = 0 if slices is None else graph.nnz - within_groups(graph, slices.codes).nnz
    found = f"{crossing} edges of adata.obsp[{key!r}] join different slices of adata.obs[{library_key!r}]"
    within = f"sp.pp.spatial_neighbors_knn(adata, library_key={library_key!r})"
    if crossing and not across_slices:
        msg = (
            f"{found}; a graph across slices is for sp.tl.spacross and sp.tl.smoothed_pca. Build one within slices, "
            f"{within}, and name it: neighbors_key='spatial_neighbors'."
        )
        raise ValueError(msg)
    if crossing and not crosses_on_purpose(adata.uns[neighbors_key]):
        warn(
            f"{found}, and are not of sp.pp.spatial_neighbors_3d. Unless the slices overlap in the "
            f"coordinates that it was built from, build a graph within slices: {within}."
        )
    return graph


def _missing(adata: AnnData, neighbors_key: str, stacked: str | None) -> KeyError:
    known = [key for key in adata.uns if key.endswith("neighbors")]
    build = "knn(adata" if stacked is None else f"3d(adata, library_key={stacked!r}, slice_gap=..."
    return KeyError(
        f"{neighbors_key!r} not found in adata.uns, which has the graphs: {known}. Build it with "
        f"sp.pp.spatial_neighbors_{build}, key_added={neighbors_key.removesuffix('_neighbors')!r}), or leave "
        "neighbors_key out."
    )


def crosses_on_purpose(entry: object) -> bool:
    """Whether this record in ``uns`` is of a graph of :func:`spotscape.pp.spatial_neighbors_3d` that joins slices."""
    return bool(params_of(entry).get("cross_slice_fraction", 0) > 0)


def library_of_graph(
    adata: AnnData, neighbors_key: str, library_key: str | None, *, across_slices: bool = False
) -> str | None:
    """The column of slices: the one that is named, else that of the graph, with a line in the log.

    A graph that joins slices has one for methods only whose neighbours may lie in another slice (``across_slices``).
    """
    entry = adata.uns.get(neighbors_key)
    known = params_of(entry).get("library_key")
    useless = not isinstance(known, str) or known not in adata.obs or (crosses_on_purpose(entry) and not across_slices)
    if library_key is not None or useless:
        return library_key
    logger.info("library_key='%s' is taken from the graph `adata.uns['%s']`.", known, neighbors_key)
    return known


def _warn_if_stale(graph: sparse.csr_array, params: Mapping[str, Any], key: str) -> None:
    """Warn of a graph that has lost edges since it was built, as by taking part of the spots."""
    n_spots, degree = graph.shape[0], graph.nnz / graph.shape[0]
    per_spot = params.get("n_neighbors") if params.get("mode", "knn") == "knn" else None
    built = params.get("mean_degree", per_spot)
    if isinstance(built, (int, float, np.number)) and degree < _LOST * built:
        warn(
            f"the {n_spots:,} spots have {degree:.1f} neighbours on average in adata.obsp[{key!r}], which was built "
            f"with {built:.1f}: part of the spots was taken since. {_REBUILD[0].upper() + _REBUILD[1:]}."
        )


def _warn_if_moved(adata: AnnData, entry: Mapping[str, Any], key: str) -> None:
    """Warn where the coordinates of a graph have changed since, by more than a rotation, a shift or another unit."""
    params, distances = params_of(entry), adata.obsp.get(str(entry.get("distances_key")))
    place, library = params.get("spatial_key"), params.get("library_key")
    if distances is None or not isinstance(place, str) or place not in adata.obsm:
        return
    coords, edges = np.asarray(adata.obsm[place]), sparse.coo_array(distances)
    if coords.ndim != 2 or coords.dtype.kind not in "fiu":
        return
    if params.get("z_key") in adata.obs:
        coords = np.column_stack([coords[:, :2], adata.obs[params["z_key"]]])
    codes = np.zeros(adata.n_obs, int) if library not in adata.obs else pd.factorize(adata.obs[library])[0]
    (starts, ends), lengths = edges.coords, edges.data
    kept = np.flatnonzero((lengths > 0) & (codes[starts] == codes[ends]))
    kept = kept[:: max(1, len(kept) // _SAMPLE)]
    starts, ends, coords = starts[kept], ends[kept], coords.astype(np.float64)
    ratio = pd.Series(np.linalg.norm(coords[starts] - coords[ends], axis=1) / lengths[kept])
    # Each slice may have got a unit of its own.
    ratio /= ratio.groupby(codes[starts]).transform("median").to_numpy()
    moved = (ratio.sub(1).abs() > _OTHER_LENGTH).groupby(codes[starts]).mean()
    if (moved > _MOVED).any():
        warn(
            f"adata.obsm[{place!r}] changed after the graph adata.obsp[{key!r}] was built from it, so that neighbours "
            f"lie elsewhere now. {_REBUILD[0].upper() + _REBUILD[1:]}."
        )
