"""Spatial graphs within slices, under squidpy's keys, the same whatever the frame, checked for usual mistakes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.arguments import public
from spotscape._core.geometry import layout_of
from spotscape._core.graphs import edges_within, nearest_edges, triangulated_edges
from spotscape._core.logging import logger
from spotscape.pp._graph_build import (
    SlicePositions,
    SpatialGraph,
    check_radius,
    edges_of,
    report_graph,
    require_feasible_radius,
    store,
    warn_of_lost_places,
    warn_of_numbers,
    warn_of_small_slices,
    warn_of_strays,
)
from spotscape.pp._overlaid import warn_of_overlaid_slices
from spotscape.pp._scale import stored_or_chosen_scale

if TYPE_CHECKING:
    from anndata import AnnData

_RINGS_OF_SQUARES = {4, 8, 12, 20, 24}


@public
def spatial_neighbors_knn(
    adata: AnnData,
    *,
    n_neighs: int | None = None,
    library_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = "spatial",
    n_jobs: int | None = None,
    copy: bool = False,
) -> SpatialGraph | None:
    """Build a spatial graph: connect every spot with its nearest spots of the same slice.

    Use this graph unless you have a reason for another. It does not depend on the unit of the coordinates, and every
    spot has the same number of neighbours. It is directed: spot A can be a neighbour of B without B being a neighbour
    of A.

    Parameters
    ----------
    adata
        Spots with coordinates. Expression is used only to choose ``n_neighs``.
    n_neighs
        Number of neighbours of every spot, without the spot itself. ``None`` (default) takes the number in
        ``adata.uns["scale"]``, or calls :func:`spotscape.pp.choose_scale`. This gives about 6 on the hexagonal grid of
        Visium, 8 on a square grid and 12 for single cells, and more or fewer if expression suggests it.

    Returns
    -------
    {graph}
    ``adata.uns["scale"]`` : dict
        How ``n_neighs`` was chosen, only if it was chosen here.

    Raises
    ------
    ValueError
        If coordinates are NaN or infinite.

    Warns
    -----
    UserWarning
        If spots lie far from all others; if a slice has too few spots, which then all become neighbours; if slices,
        fields or samples seem to overlap and ``library_key`` is not given.

    Notes
    -----
    On a grid, many spots have the same distance. Ties are broken by a draw that depends only on the numbers of the
    spots, so a shift, a rotation or float32 coordinates do not change the graph. Distances that differ by less than a
    twentieth of the spacing count as equal. On a square grid, 4 or 8 neighbours are complete rings.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    >>> adata = AnnData(np.ones((100, 1)), obsm={"spatial": grid})
    >>> sp.pp.spatial_neighbors_knn(adata, n_neighs=4)
    >>> adata.obsp["spatial_connectivities"].nnz
    400
    """
    tissue = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    chosen: dict[str, Any] = {}
    if n_neighs is None:
        n_neighs, chosen = stored_or_chosen_scale(adata, tissue)
    warn_of_small_slices(tissue, n_neighs + 1)
    graph = SpatialGraph.of(edges_of(tissue, partial(nearest_edges, n_neighs=n_neighs), n_jobs=n_jobs))
    warn_of_strays(tissue, graph.distances)
    params = {"mode": "knn", "n_neighbors": n_neighs}
    return _finish(adata, tissue, graph, params=params, key_added=key_added, copy=copy, chosen=chosen)


@public
def spatial_neighbors_radius(
    adata: AnnData,
    *,
    radius: float | tuple[float, float],
    library_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = "spatial",
    n_jobs: int | None = None,
    copy: bool = False,
) -> SpatialGraph | None:
    """Build a spatial graph: connect every spot with all spots of the same slice within a distance.

    Parameters
    ----------
    adata
        Spots with coordinates. Expression is not used.
    radius
        Largest length of an edge, in the unit of the coordinates. A pair ``(smallest, largest)`` keeps only edges whose
        length lies between the two.

    Returns
    -------
    {graph}

    Raises
    ------
    ValueError
        If ``radius`` is not positive, joins no spots at all, or joins so many that memory would run out; or if
        coordinates are NaN or infinite.

    Warns
    -----
    UserWarning
        If ``radius`` looks to be in another unit than the coordinates, gives fewer than 3 or more than 50 neighbours on
        average, or leaves spots without any; or if slices seem to overlap and ``library_key`` is not given.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    >>> adata = AnnData(np.ones((100, 1)), obsm={"spatial": grid})
    >>> sp.pp.spatial_neighbors_radius(adata, radius=1.5, copy=True).connectivities.nnz
    684
    """
    interval = radius if isinstance(radius, tuple) else (0.0, radius)
    tissue = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    require_feasible_radius(tissue, interval[1])
    low, high = interval
    graph = SpatialGraph.of(edges_of(tissue, partial(edges_within, low=low, high=high), n_jobs=n_jobs))
    check_radius(tissue, graph, high)
    params: dict[str, object] = {"mode": "radius", "radius": high if low == 0 else list(interval)}
    return _finish(adata, tissue, graph, params=params, key_added=key_added, copy=copy)


@public
def spatial_neighbors_delaunay(
    adata: AnnData,
    *,
    radius: float | tuple[float, float] | None = None,
    library_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = "spatial",
    n_jobs: int | None = None,
    copy: bool = False,
) -> SpatialGraph | None:
    """Build a spatial graph: connect spots of the same slice that are adjacent in the Delaunay triangulation.

    Each spot gets about six neighbours, whatever the local density. Long edges occur along the outline of the tissue;
    ``radius`` removes them. Spots at the same place count as one corner of the triangulation. They are neighbours of
    each other and share all their other neighbours. (In squidpy, all but one of them have no neighbours.)

    Parameters
    ----------
    adata
        Spots with coordinates. Expression is not used.
    radius
        Largest length of an edge that is kept, in the unit of the coordinates; a pair ``(smallest, largest)`` sets both
        bounds. ``None`` keeps all.

    Returns
    -------
    {graph}

    Raises
    ------
    ValueError
        If the spots of a slice lie on one line or are too few to be triangulated, if ``radius`` is not positive or
        removes every edge, or if coordinates are NaN or infinite.

    Warns
    -----
    UserWarning
        If ``radius`` leaves spots without neighbours or fewer than 3 on average, or if slices seem to
        overlap and ``library_key`` is not given.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> cells = np.random.default_rng(0).random((200, 2))
    >>> adata = AnnData(np.ones((200, 1)), obsm={"spatial": cells})
    >>> graph = sp.pp.spatial_neighbors_delaunay(adata, copy=True)
    >>> round(graph.connectivities.nnz / adata.n_obs)
    6
    """
    interval = (0.0, radius) if isinstance(radius, float) else radius
    tissue = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    for name, coords in zip(tissue.names, tissue.slices, strict=True):
        centred = coords - coords.mean(axis=0)
        rank = np.linalg.matrix_rank(centred / max(np.abs(centred).max(initial=0.0), np.finfo(float).tiny))
        if rank < min(coords.shape[1], 2):
            msg = (
                f"{tissue.called(name)} has {len(coords)} spots that lie on one line (or plane, or point), so there is "
                f"no triangulation; use sp.pp.spatial_neighbors_knn."
            )
            raise ValueError(msg)
    low, high = (0.0, np.inf) if interval is None else interval
    graph = SpatialGraph.of(edges_of(tissue, partial(triangulated_edges, low=low, high=high), n_jobs=n_jobs))
    if interval is not None:
        check_radius(tissue, graph, high, pruned=True)
    params: dict[str, object] = {"mode": "delaunay", "radius": None if interval is None else list(interval)}
    return _finish(adata, tissue, graph, params=params, key_added=key_added, copy=copy)


def _finish(
    adata: AnnData,
    tissue: SlicePositions,
    graph: SpatialGraph,
    *,
    params: dict[str, object],
    key_added: str,
    copy: bool,
    chosen: dict[str, Any] | None = None,
) -> SpatialGraph | None:
    warn_of_lost_places(tissue)
    warn_of_numbers(tissue)
    warn_of_overlaid_slices(adata, tissue, graph)
    report_graph(tissue, graph)
    layout = layout_of(tissue.slices, adata)
    logger.info("The spots lie in %s.", layout)
    if layout.kind == "square" and params["mode"] == "knn" and params["n_neighbors"] not in _RINGS_OF_SQUARES:
        logger.info(
            "On a square grid, the nearest 4, 8 and 12 spots are whole rings. Of %d neighbours, those of the last ring "
            "are drawn at random, with a fixed seed. n_neighs=4 or 8 takes whole rings.",
            params["n_neighbors"],
        )
    if copy:
        return graph
    params |= {"layout": layout.as_params()}
    store(adata, tissue, graph, params=params, key_added=key_added, chosen=chosen)
    return None
