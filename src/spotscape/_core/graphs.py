"""Spatial graphs: edges between spots from their coordinates, and graphs out of an AnnData.

Edges are the same after any shift, rotation or rounding to float32. Distances that differ by less than a small part of
the spacing count as equal, and a fixed draw decides between them, which depends on nothing but the numbers of the two
spots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

from spotscape._core import keys
from spotscape._core.geometry import join_coincident, lattice
from spotscape._core.logging import logger, warn
from spotscape._core.randomness import mix_bits
from spotscape._core.validation import params_of, require_finite, require_key, slice_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData


# Lengths, and the rows of the spots from which and to which they go.
Edges = tuple[np.ndarray, np.ndarray, np.ndarray]
# Rings of neighbours on a grid differ by more, the spots of one ring by less, even where positions are whole pixels.
_TIE = 0.05
# Enough for every ring that few neighbours need; spots that share a place in thousands are not sorted out further.
_MOST_LOOKED_AT = 96


def tie_width(coords: np.ndarray) -> float:
    """Difference of distances below which they count as equal: a part of the spacing on a grid, else rounding."""
    grid = lattice(coords)
    return grid.spacing * (1e-9 if grid.kind == "irregular" else _TIE)


def nearest(
    queries: np.ndarray, points: np.ndarray, n_neighs: int, *, width: float, itself: bool, workers: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and row numbers ``(n_queries, n_neighs)`` of the nearest points; fewer columns if there are fewer.

    ``itself`` says that queries are the points, none of which is its own neighbour.
    """
    n_neighs = min(n_neighs, len(points) - itself)
    if n_neighs == 0:
        return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), dtype=np.intp)
    tree = cKDTree(points)
    lengths, found = np.empty((len(queries), n_neighs)), np.empty((len(queries), n_neighs), dtype=np.intp)
    left, looked_at = np.arange(len(queries)), min(n_neighs + itself + 7, len(points))
    while len(left):
        distances, indices = tree.query(queries[left], k=np.arange(1, looked_at + 1), workers=workers)
        if itself:
            distances[indices == left[:, None]] = np.inf
        last = np.partition(distances, n_neighs - 1, axis=1)[:, n_neighs - 1]
        # All that tie with the last neighbour have to be seen before one of them is chosen.
        reached = np.where(np.isfinite(distances), distances, -np.inf).max(axis=1)
        final = looked_at >= min(max(_MOST_LOOKED_AT, n_neighs + itself), len(points))
        done = (reached > last + width) | final
        beyond = distances[done] - last[done][:, None]
        # Those as near as the last one come in the order of the draw.
        # A number in [0, 1) for each pair of rows, whichever comes first.
        one, other = left[done][:, None].astype(np.uint64), indices[done].astype(np.uint64)
        low, high = np.minimum(one, other), np.maximum(one, other)
        draw = mix_bits(low * np.uint64(0x9E3779B97F4A7C15) + high + np.uint64(1)) / 2.0**64
        tied = np.where(beyond <= width, draw, 2.0)
        chosen = np.argsort(np.where(beyond < -width, -1.0, tied), axis=1, kind="stable")[:, :n_neighs]
        lengths[left[done]] = np.take_along_axis(distances[done], chosen, axis=1)
        found[left[done]] = np.take_along_axis(indices[done], chosen, axis=1)
        left, looked_at = left[~done], min(2 * looked_at, len(points))
    return lengths, found


def nearest_edges(coords: np.ndarray, n_neighs: int) -> sparse.csr_matrix:
    """Lengths of the edges from each spot to its nearest others; explicit zeros between spots at one place."""
    lengths, found = nearest(coords, coords, n_neighs, width=tie_width(coords), itself=True)
    starts = np.repeat(np.arange(len(coords)), found.shape[1])
    return join_edges([(lengths.ravel(), starts, found.ravel())], len(coords))


def edges_within(coords: np.ndarray, low: float, high: float) -> sparse.csr_matrix:
    """Lengths of the edges between spots from ``low`` to ``high`` apart; explicit zeros between spots at one place."""
    width = tie_width(coords)
    tree = cKDTree(coords)
    pairs = tree.sparse_distance_matrix(tree, high + width, output_type="ndarray")
    pairs = pairs[(pairs["i"] != pairs["j"]) & ((pairs["v"] >= low - width) | (low == 0))]
    return join_edges([(pairs["v"], pairs["i"], pairs["j"])], len(coords))


def triangulated_edges(coords: np.ndarray, low: float = 0.0, high: float = np.inf) -> sparse.csr_matrix:
    """Lengths of the edges of the Delaunay triangulation that are from ``low`` to ``high`` long.

    Spots at one place share all neighbours. On a grid, spots are neighbours that are so in any of its triangulations.
    """
    corners, corner_of = np.unique(coords, axis=0, return_inverse=True)
    if corners.shape[1] == 3 and np.ptp(corners[:, 2]) == 0:
        corners = corners[:, :2]
    if len(corners) == len(coords):
        corners, corner_of = coords[:, : corners.shape[1]], np.arange(len(coords))
    starts, ends = _triangulation(corners)
    lengths = np.linalg.norm(corners[starts] - corners[ends], axis=1)
    width = tie_width(corners)
    kept = (lengths >= low - width) & (lengths <= high + width)
    edges = join_edges([(lengths[kept], starts[kept], ends[kept])], len(corners))
    return edges if len(corners) == len(coords) else join_coincident(edges, corner_of.ravel())


def _triangulation(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both directions of all edges."""
    triangulation = Delaunay(corners - corners.mean(axis=0))
    simplices = triangulation.simplices
    grid = lattice(corners)
    pairs = [np.empty((0, 2), dtype=simplices.dtype)]
    if grid.kind != "irregular" and corners.shape[1] == 2:
        # Rounding makes flat triangles along the straight border of a grid: heights over the longest side tell.
        a, b, c = (corners[simplices[:, index]] for index in range(3))
        (bx, by), (cx, cy) = (b - a).T, (c - a).T
        longest = np.max([np.linalg.norm(side, axis=1) for side in (b - a, c - a, c - b)], axis=0)
        kept = np.abs(bx * cy - by * cx) / longest > _TIE * grid.spacing
        pairs.append(_further_diagonals(corners, triangulation, kept, _TIE * grid.spacing))
        simplices = simplices[kept]
    n = simplices.shape[1]
    pairs += [simplices[:, [one, other]] for one in range(n) for other in range(one)]
    both = np.concatenate(pairs)
    both = np.unique(np.concatenate([both, both[:, ::-1]]), axis=0)
    return both[:, 0], both[:, 1]


def _further_diagonals(corners: np.ndarray, triangulation: Delaunay, kept: np.ndarray, width: float) -> np.ndarray:
    """Pairs of corners on one empty circle that this triangulation happens not to join."""
    triangles, beside = triangulation.simplices, triangulation.neighbors
    first, side = np.nonzero((beside >= 0) & kept[:, None])
    second = beside[first, side]
    once = (first < second) & kept[second]
    first, second, side = first[once], second[once], side[once]
    own, opposite = triangles[first, side], triangles[second, np.argmax(beside[second] == first[:, None], axis=1)]
    # Either circle may be asked, and the answer must not depend on which triangle has the smaller number.
    off = np.minimum(_off_circle(corners, triangles[first], opposite), _off_circle(corners, triangles[second], own))
    first, second = first[off < width], second[off < width]
    joined = sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(len(triangles),) * 2)
    cell = connected_components(joined, directed=False)[1]
    # All corners of joined triangles lie on one circle: four, or more round a missing spot.
    members = np.union1d(first, second)
    ones, place = np.ones(3 * len(members)), (np.repeat(cell[members], 3), triangles[members].ravel())
    in_cell = sparse.csr_array((ones, place), shape=(len(triangles), len(corners)))
    pairs = np.column_stack((in_cell.T @ in_cell).nonzero())
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]])


def _off_circle(corners: np.ndarray, triangles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far corners lie from the circles through three others."""
    a = corners[triangles[:, 0]]
    (bx, by), (cx, cy) = (corners[triangles[:, 1]] - a).T, (corners[triangles[:, 2]] - a).T
    twice = 2 * (bx * cy - by * cx)
    b_squared, c_squared = bx**2 + by**2, cx**2 + cy**2
    centres = np.column_stack([cy * b_squared - by * c_squared, bx * c_squared - cx * b_squared]) / twice[:, None]
    distances = np.linalg.norm(corners[others] - a - centres, axis=1)
    return np.asarray(np.abs(distances - np.linalg.norm(centres, axis=1)))


def join_edges(parts: Iterable[Edges], n_spots: int) -> sparse.csr_matrix:
    """Lengths of edges in one matrix ``(n_spots, n_spots)``; those of zero stay stored."""
    lengths, starts, ends = (np.concatenate(part) for part in zip(*parts, strict=True))
    matrix: sparse.csr_matrix = sparse.csr_matrix((lengths, (starts, ends)), shape=(n_spots, n_spots))
    matrix.sort_indices()
    return matrix


def within_groups(graph: Any, codes: np.ndarray) -> sparse.csr_array:
    """The edges of a sparse graph that join spots of one group."""
    edges = sparse.coo_array(graph)
    row, col = edges.coords
    same = codes[row] == codes[col]
    return sparse.csr_array((edges.data[same], (row[same], col[same])), shape=edges.shape)


def nearest_others(points: np.ndarray, n_neighs: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and row numbers, both ``(n, n_neighs)``, of the nearest other points, nearest first.

    A point is no neighbour of itself, even where others share its place. Up to 15 dimensions by a tree; above, all
    pairs of distances are looked at, block by block.
    """
    from sklearn.neighbors import NearestNeighbors

    # Far from the origin the expansion |a|² - 2ab + |b|², which scikit-learn uses, loses digits.
    centred = points - points.mean(axis=0)
    distances, indices = NearestNeighbors(n_neighbors=n_neighs).fit(centred).kneighbors()
    return np.asarray(distances, dtype=np.float64), np.asarray(indices, dtype=np.intp)


def edges_between_adjacent(
    slices: Sequence[np.ndarray], rows: Sequence[np.ndarray], n_neighs: int, *, workers: int = 1
) -> list[Edges]:
    """The edges from each spot to its ``n_neighs`` nearest in the slice before and in the one after.

    ``slices`` holds the coordinates of each slice in the order of the stack, ``rows`` the row of each of their spots.
    """
    parts: list[Edges] = []
    # Where slices are flat the gap adds the same to all, and what ties in the plane has to tie whatever it is.
    flat = all(np.ptp(coords[:, 2]) == 0 for coords in slices)
    seen = [coords[:, :2] for coords in slices] if flat else slices
    widths = [tie_width(coords[:, :2]) if flat else 0.0 for coords in slices]
    for below in range(len(slices) - 1):
        for here, there in ((below, below + 1), (below + 1, below)):
            _, found = nearest(seen[here], seen[there], n_neighs, width=widths[there], itself=False, workers=workers)
            lengths = np.linalg.norm(slices[here][:, None] - slices[there][found], axis=2)
            parts.append((lengths.ravel(), np.repeat(rows[here], found.shape[1]), rows[there][found].ravel()))
    return parts


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
            f"{(degree == 0).sum()} of {adata.n_obs} spots have no neighbour in adata.obsp[{key!r}], so that nothing "
            f"but their own values is used for them."
        )
    _warn_if_stale(graph, params_of(entry), key)
    _warn_if_moved(adata, entry, key)
    slices = slice_labels(adata, library_key)
    crossing = 0 if slices is None else graph.nnz - within_groups(graph, slices.codes).nnz
    found = f"{crossing} edges of adata.obsp[{key!r}] join different slices of adata.obs[{library_key!r}]"
    within = f"sp.pp.spatial_neighbors_knn(adata, library_key={library_key!r})"
    if crossing and not across_slices:
        msg = (
            f"{found}. Build a graph within slices, {within}, and name it: neighbors_key='spatial_neighbors'. A graph "
            f"across slices is for sp.tl.spacross and sp.tl.smoothed_pca, and of sp.pp.spatial_neighbors_3d."
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
            f"with {built:.1f}: adata was subset since. {_REBUILD[0].upper() + _REBUILD[1:]}."
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
