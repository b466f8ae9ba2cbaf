"""Building a spatial graph: its input and its record."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from spotscape._core import keys
from spotscape._core.anndata_io import write
from spotscape._core.edges import join_edges
from spotscape._core.geometry import coordinates
from spotscape._core.settings import settings
from spotscape._core.validation import require_data, slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class SlicePositions:
    """Coordinates by slice, and the names under which the user knows them."""

    slices: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    names: tuple[str | None, ...]
    spatial_key: str
    library_key: str | None

    @classmethod
    def read(cls, adata: AnnData, *, spatial_key: str, library_key: str | None) -> SlicePositions:
        """Read and check the coordinates and the slice of every spot."""
        require_data(adata, genes=False)
        coords = coordinates(adata, spatial_key)
        labels = slice_labels(adata, library_key)
        if labels is None:
            return cls((coords,), (np.arange(len(coords)),), (None,), spatial_key, None)
        rows = tuple(np.flatnonzero(labels.codes == code) for code in range(len(labels.categories)))
        names = tuple(str(name) for name in labels.categories)
        return cls(tuple(coords[index] for index in rows), rows, names, spatial_key, library_key)

    @property
    def n_spots(self) -> int:
        """Number of spots over all slices."""
        return sum(len(coords) for coords in self.slices)

    @property
    def coordinates(self) -> np.ndarray:
        """Coordinates of all spots in the order of the AnnData, float64 ``(n_obs, 2)`` or ``(n_obs, 3)``."""
        coords = np.empty((self.n_spots, self.slices[0].shape[1]))
        for own, rows in zip(self.slices, self.rows, strict=True):
            coords[rows] = own
        return coords

    def in_plane(self) -> SlicePositions:
        """The same without z."""
        return replace(self, slices=tuple(coords[:, :2] for coords in self.slices))

    def take(self, indices: Sequence[int]) -> SlicePositions:
        """Some of the slices, or all in another order."""
        slices, rows = (tuple(parts[index] for index in indices) for parts in (self.slices, self.rows))
        return replace(self, slices=slices, rows=rows, names=tuple(self.names[index] for index in indices))

    def called(self, name: str | None) -> str:
        """How a message calls a slice."""
        return "adata" if name is None else f"slice {name!r}"


class SpatialGraph(NamedTuple):
    """A spatial graph, as the functions that build one return it with ``copy=True``.

    Attributes
    ----------
    connectivities
        CSR float32 ``(n_obs, n_obs)``, 1.0 per edge, zero diagonal; row ``i`` holds the neighbours of spot ``i``.
    distances
        CSR float64 of the same sparsity: lengths of the edges in the unit of the coordinates.
    """

    connectivities: csr_matrix
    distances: csr_matrix

    @classmethod
    def of(cls, lengths: csr_matrix) -> SpatialGraph:
        """The graph whose edges have these lengths."""
        ones = np.ones(lengths.nnz, dtype=np.float32)
        return cls(csr_matrix((ones, lengths.indices.copy(), lengths.indptr.copy()), shape=lengths.shape), lengths)


def edges_of(tissue: SlicePositions, of_slice: Callable[[np.ndarray], csr_matrix], *, n_jobs: int | None) -> csr_matrix:
    """Lengths of the edges of all slices, of which none joins two."""
    with ThreadPoolExecutor(min(n_threads(n_jobs), len(tissue.slices))) as pool:
        found = list(pool.map(of_slice, tissue.slices))
    if len(found) == 1:
        return found[0]
    edges = zip(tissue.rows, (lengths.tocoo() for lengths in found), strict=True)
    return join_edges([(own.data, rows[own.row], rows[own.col]) for rows, own in edges], tissue.n_spots)


def store(
    adata: AnnData,
    tissue: SlicePositions,
    graph: SpatialGraph,
    *,
    params: dict[str, Any],
    key_added: str,
    coords: np.ndarray | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> None:
    """Write a graph under squidpy's keys; where they are new, its coordinates and how its size was chosen."""
    record_key, connectivities_key, distances_key = keys.graph_keys(key_added)
    entry = {
        "connectivities_key": connectivities_key,
        "distances_key": distances_key,
        "params": {
            # What squidpy records beside.
            "coord_type": "generic",
            "transform": None,
            **params,
            "spatial_key": tissue.spatial_key,
            "library_key": tissue.library_key,
            "mean_degree": graph.connectivities.nnz / tissue.n_spots,
        },
    }
    obsp = {connectivities_key: graph.connectivities, distances_key: graph.distances}
    obsm = {} if coords is None else {key_added: coords}
    write(adata, {"obsm": obsm, "obsp": obsp, "uns": {record_key: entry, **(chosen or {})}})


def n_threads(n_jobs: int | None) -> int:
    """Threads that ``n_jobs`` asks for."""
    wanted = settings.n_jobs if n_jobs is None else n_jobs
    return (os.cpu_count() or 1) if wanted == -1 else wanted
