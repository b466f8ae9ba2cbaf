"""From an AnnData to slices of coordinates, through squidpy's builders, and back."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import geometry, keys
from spotscape._core.anndata_io import write
from spotscape._core.coordinates import coordinates
from spotscape._core.settings import settings
from spotscape._core.validation import require_data, slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from scipy.sparse import csr_matrix

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
        require_data(adata, genes=False, unique=False)
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

    def called(self, name: str | None) -> str:
        """How a message calls a slice."""
        return "adata" if name is None else f"slice {name!r}"


def squidpy_builders() -> Any:
    """Import squidpy's graph builders without the warnings its own dependencies raise on import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from squidpy.gr import neighbors
    return neighbors


def build(
    tissue: Tissue,
    build_slice: Callable[[np.ndarray], Matrices],
    combine: Callable[[Sequence[Matrices], Sequence[int]], Matrices],
    *,
    n_jobs: int | None,
) -> Matrices:
    """Build every slice's graph and put them into one that has no edge between slices."""
    threads = min(n_threads(n_jobs), len(tissue.slices))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            graphs = list(pool.map(build_slice, tissue.slices))
    else:
        graphs = [build_slice(coords) for coords in tissue.slices]
    together = graphs[0] if tissue.library_key is None else combine(graphs, np.concatenate(tissue.rows).tolist())
    connectivities, distances = together
    return connectivities, geometry.with_zero_distances(connectivities, distances)


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
        "params": {**params, "spatial_key": tissue.spatial_key, "library_key": tissue.library_key},
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
