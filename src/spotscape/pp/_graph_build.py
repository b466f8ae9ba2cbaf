"""From an AnnData to slices of coordinates, and from their graphs back to it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from spotscape._core import geometry, keys
from spotscape._core.anndata_io import write
from spotscape._core.coordinates import coordinates
from spotscape._core.settings import settings
from spotscape._core.validation import require_data, slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


Matrices = tuple[csr_matrix, csr_matrix]


@dataclass(frozen=True)
class Tissue:
    """Coordinates by slice, and the names under which the user knows them."""

    slices: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    names: tuple[str | None, ...]
    spatial_key: str
    library_key: str | None

    @classmethod
    def read(cls, adata: AnnData, *, spatial_key: str, library_key: str | None) -> Tissue:
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

    def layout(self, adata: AnnData) -> geometry.Layout:
        """How the spots of the slices are arranged."""
        return geometry.layout_of(self.slices, adata)

    def called(self, name: str | None) -> str:
        """How a message calls a slice."""
        return "adata" if name is None else f"slice {name!r}"


def build(tissue: Tissue, build_slice: Callable[[np.ndarray], csr_matrix], *, n_jobs: int | None) -> Matrices:
    """Connectivities and lengths of the edges of all slices, of which none joins two."""
    threads = min(n_threads(n_jobs), len(tissue.slices))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            graphs = list(pool.map(build_slice, tissue.slices))
    else:
        graphs = [build_slice(coords) for coords in tissue.slices]
    if len(graphs) == 1:
        lengths = graphs[0]
    else:
        edges = [graph.tocoo() for graph in graphs]
        starts, ends = (
            np.concatenate([rows[getattr(part, axis)] for rows, part in zip(tissue.rows, edges, strict=True)])
            for axis in ("row", "col")
        )
        data = np.concatenate([part.data for part in edges])
        lengths = csr_matrix((data, (starts, ends)), shape=(tissue.n_spots, tissue.n_spots))
        lengths.sort_indices()
    ones = np.ones(lengths.nnz, dtype=np.float32)
    return csr_matrix((ones, lengths.indices.copy(), lengths.indptr.copy()), shape=lengths.shape), lengths


def store(
    adata: AnnData,
    tissue: Tissue,
    connectivities: csr_matrix,
    distances: csr_matrix,
    *,
    params: dict[str, Any],
    key_added: str,
    coords: np.ndarray | None = None,
) -> None:
    """Write a graph under squidpy's keys, and the coordinates it was built on where they are new."""
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
            "mean_degree": connectivities.nnz / tissue.n_spots,
            "layout": tissue.layout(adata).as_params(),
        },
    }
    obsp = {connectivities_key: connectivities, distances_key: distances}
    obsm = {} if coords is None else {key_added: coords}
    write(adata, {"obsm": obsm, "obsp": obsp, "uns": {record_key: entry}})


def n_threads(n_jobs: int | None) -> int:
    """Threads that ``n_jobs`` asks for."""
    wanted = settings.n_jobs if n_jobs is None else n_jobs
    if wanted == 0 or wanted < -1:
        msg = f"n_jobs={wanted} is neither a positive number of threads nor -1 (all cores)."
        raise ValueError(msg)
    return (os.cpu_count() or 1) if wanted == -1 else wanted
