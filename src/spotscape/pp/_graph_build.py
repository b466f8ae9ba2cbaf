"""What spatial graphs are built from, by which mistakes are seen in them, and how they are stored."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from spotscape._core import geometry, keys
from spotscape._core.anndata_io import say_outdated, write
from spotscape._core.graphs import join_edges
from spotscape._core.logging import logger, warn
from spotscape._core.places import are_numbers_of_hexagons, coordinates
from spotscape._core.provenance import results_with
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
    before = adata.obsp.get(connectivities_key)
    write(adata, {"obsm": obsm, "obsp": obsp, "uns": {record_key: entry, **(chosen or {})}})
    if before is not None and (csr_array(before) != csr_array(graph.connectivities)).nnz:
        say_outdated([f"adata.uns[{record_key!r}]"], results_with(adata, "neighbors_key", record_key))


def n_threads(n_jobs: int | None) -> int:
    """Threads that ``n_jobs`` asks for."""
    wanted = settings.n_jobs if n_jobs is None else n_jobs
    return (os.cpu_count() or 1) if wanted == -1 else wanted


# On real tissue (Visium, ST, STARmap, seqFISH) the farthest spot lies 8 spacings from its neighbour.
_STRAY = 20
_RADIUS_IN_SPACINGS = (1.0, 20.0)
_MEAN_DEGREE = (3, 50)
_MAX_EDGES = 300_000_000


def warn_of_small_slices(tissue: SlicePositions, minimum: int) -> None:
    """Warn of slices with fewer than ``minimum`` spots, whose spots all become neighbours of each other."""
    sizes = [len(coords) for coords in tissue.slices]
    small = [index for index, size in enumerate(sizes) if size < minimum]
    if small:
        others = f" ({len(small) - 1} other slices have too few as well)" if len(small) > 1 else ""
        warn(
            f"{tissue.called(tissue.names[small[0]])} has {sizes[small[0]]} spots, too few for n_neighs={minimum - 1}: "
            f"all of them become neighbours of each other{others}."
        )


def require_feasible_radius(tissue: SlicePositions, radius: float) -> None:
    """Refuse a radius whose graph would not fit into memory, before it is tried."""
    edges = sum(len(coords) * geometry.expected_degree(coords, radius) for coords in tissue.slices)
    if edges > _MAX_EDGES:
        msg = (
            f"radius={radius:g} would join every spot to about {edges / tissue.n_spots:,.0f} others ({edges:.1e} edges "
            f"in all); {_spacing_of(tissue)}. {_advice(tissue)}"
        )
        raise ValueError(msg)


def check_radius(tissue: SlicePositions, graph: SpatialGraph, radius: float, *, pruned: bool = False) -> None:
    """Raise if ``radius`` leaves no edge; warn if it looks wrong for the spacing, or leaves spots alone.

    ``pruned`` says that it has taken edges out of a triangulation.
    """
    n_edges, spacings = graph.connectivities.nnz, [geometry.spot_spacing(coords) for coords in tissue.slices]
    if n_edges == 0:
        does = "removes every edge of the triangulation" if pruned else "joins no spots at all"
        msg = f"radius={radius:g} {does}: {_spacing_of(tissue)}. {_advice(tissue)}"
        raise ValueError(msg)
    low, high = _RADIUS_IN_SPACINGS
    in_other_unit = [
        index for index, spacing in enumerate(spacings) if np.isfinite(spacing) and not low <= radius / spacing <= high
    ]
    fewest, most = _MEAN_DEGREE
    if in_other_unit and not pruned:
        index = in_other_unit[0]
        warn(
            f"radius={radius:g} is {radius / spacings[index]:.2g} times the spacing of the spots; is it in another "
            f"unit than adata.obsm[{tissue.spatial_key!r}]? There {_spacing_of(tissue, index)}. "
            f"{_advice(tissue, index)}"
        )
    elif not fewest <= n_edges / tissue.n_spots <= most:
        warn(
            f"radius={radius:g} gives {n_edges / tissue.n_spots:.1f} neighbours per spot on average. {_advice(tissue)}"
        )
    isolated = np.diff(graph.connectivities.indptr) == 0
    if isolated.any():
        in_slice = [np.count_nonzero(isolated[rows]) for rows in tissue.rows]
        worst = int(np.argmax(in_slice))
        where = f" (most in {tissue.called(tissue.names[worst])}: {in_slice[worst]})" if tissue.library_key else ""
        warn(
            f"{isolated.sum()} of {tissue.n_spots} spots have no neighbour within radius={radius:g}{where} and are "
            f"embedded from their own expression alone. Raise radius, or remove those spots."
        )


def warn_of_strays(tissue: SlicePositions, distances: csr_matrix) -> None:
    """Warn of spots whose nearest neighbour is very far, compared with all others."""
    filled = np.flatnonzero(np.diff(distances.indptr))
    nearest = np.minimum.reduceat(distances.data, distances.indptr[filled])
    typical = float(np.median(nearest))
    far = np.count_nonzero(nearest > _STRAY * typical) if typical > 0 else 0
    if far:
        warn(
            f"{far} of {tissue.n_spots} spots lie more than {_STRAY} times the usual {typical:g} from their nearest "
            f"neighbour (farthest: {nearest.max():g}); they get n_neighs neighbours as well. Remove them if they are "
            f"debris, or use sp.pp.spatial_neighbors_radius."
        )


def warn_of_lost_places(tissue: SlicePositions) -> None:
    """Warn of slices whose spots all lie at one place, as where coordinates of a slice were filled with zeros."""
    pairs = zip(tissue.names, tissue.slices, strict=True)
    lost = [tissue.called(name) for name, own in pairs if len(own) > 1 and not np.ptp(own, axis=0).any()]
    if lost:
        warn(
            f"all spots of {', '.join(lost)} lie at one place, so that their neighbours are drawn at random. Are their "
            f"coordinates missing in adata.obsm[{tissue.spatial_key!r}]?"
        )


def warn_of_numbers(tissue: SlicePositions) -> None:
    """Warn of numbers of columns and rows of a hexagonal grid, which as coordinates make it a square one."""
    coords = tissue.slices[0]
    if are_numbers_of_hexagons(coords):
        # The slides of Visium have about five columns for three rows.
        factors = "[1, 3**0.5]" if np.ptp(coords[:, 0]) >= np.ptp(coords[:, 1]) else "[3**0.5, 1]"
        where = f"adata.obsm[{tissue.spatial_key!r}]"
        warn(
            f"{where} holds numbers of columns and rows of a hexagonal grid, as array_col and array_row of Visium. "
            f"Rows lie further apart than columns, so as they are, the nearest spots are not the six adjacent ones. "
            f"Stretch the axis of the rows: {where} = {where} * {factors}."
        )


def report_graph(tissue: SlicePositions, graph: SpatialGraph) -> None:
    """Log the degree and the edge lengths of a graph in one line."""
    connectivities, distances = graph
    if not distances.nnz:
        msg = "no spot has a neighbour: every slice has a single spot, or is one by mistake of library_key."
        raise ValueError(msg)
    degree = np.diff(connectivities.indptr)
    slices = "" if tissue.library_key is None else f" in {len(tissue.slices)} slices"
    shared = n_sharing_position(distances)
    logger.info(
        "%s spots%s, %s edges: %.1f neighbours per spot (%d to %d), %d isolated; "
        "edge length median %.4g, longest %.4g.%s",
        f"{tissue.n_spots:,}",
        slices,
        f"{connectivities.nnz:,}",
        degree.mean(),
        degree.min(),
        degree.max(),
        np.count_nonzero(degree == 0),
        np.median(distances.data),
        distances.data.max(),
        f" {shared} spots share their position with another." if shared else "",
    )


def _spacing_of(tissue: SlicePositions, index: int = 0) -> str:
    spacing = geometry.spot_spacing(tissue.slices[index])
    whose = "" if tissue.library_key is None else f" of {tissue.called(tissue.names[index])}"
    return f"the spots{whose} lie {spacing:.4g} apart (median distance to the nearest)"


def _advice(tissue: SlicePositions, index: int = 0) -> str:
    return f"For about 6 neighbours take radius={geometry.radius_for(tissue.slices[index]):.4g}."


def n_sharing_position(distances: csr_matrix) -> int:
    zero = np.flatnonzero(distances.data == 0)
    return len(np.unique(np.searchsorted(distances.indptr, zero, side="right")))
