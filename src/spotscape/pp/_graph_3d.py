"""Spatial graphs over a stack of registered slices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from spotscape._core.arguments import public
from spotscape._core.edges import nearest_edges
from spotscape._core.logging import logger, warn
from spotscape._core.neighbors import edges_between_adjacent, union
from spotscape._core.validation import require_choice, require_positive_int
from spotscape.pp import _graph_checks as checks
from spotscape.pp._graph import SpatialGraph
from spotscape.pp._graph_build import build, n_threads, store
from spotscape.pp._stack import Stack, warn_of_unregistered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_BETWEEN = 2
_MOST_CROSSING = 0.5


@public
def spatial_neighbors_3d(
    adata: AnnData,
    *,
    library_key: str,
    spatial_key: str = "spatial_aligned",
    z_key: str | None = None,
    slice_gap: float | Sequence[float] | None = None,
    library_order: Sequence[str] | None = None,
    n_neighs: int = 6,
    n_neighs_between: int | None = None,
    method: Literal["separate", "euclidean"] = "separate",
    key_added: str = "spatial_3d",
    n_jobs: int | None = None,
    copy: bool = False,
) -> SpatialGraph | None:
    """Build a graph in 3-D: connect every spot with its nearest spots in its own slice and in adjacent slices.

    Slices often lie much closer together or much farther apart than their spots. By distance alone, nearly all
    neighbours would then be in other slices, or none. The two numbers of neighbours are therefore set separately, and
    the share of edges between slices is logged and stored.

    Parameters
    ----------
    adata
        Spots of all slices, registered to one coordinate system. Expression is not used.
    library_key
        Column of ``adata.obs`` with the slice of every spot.
    spatial_key
        Registered coordinates in ``adata.obsm``: shape ``(n_obs, 2)``, or ``(n_obs, 3)`` with z, any unit. Give
        ``"spatial"`` if the slices lie over each other as they are.
    z_key
        Column of ``adata.obs`` with the z of every spot, in the unit of the coordinates. It may vary within a slice.
    slice_gap
        Instead of ``z_key``: distance from one slice to the next, in the unit of the coordinates; or one distance for
        each step, as in ``[10, 300, 10]``.
    library_order
        Slices from bottom to top, for ``slice_gap``. ``None`` takes the order of the categories.
    n_neighs
        Neighbours of every spot in its own slice, itself not counted; 6 is the first ring of a Visium slide. With
        ``method="euclidean"``, its neighbours in all.
    n_neighs_between
        Neighbours of every spot in *each* adjacent slice. ``None`` means 2, so that most neighbours are in the spot's
        own slice.
    method
        ``"separate"``, or ``"euclidean"``: the ``n_neighs`` nearest in 3-D whatever their slice, as SpaCross does (with
        8 to 12).
    key_added
        Prefix of the keys that are written.
    n_jobs
        Threads, -1 for all cores; ``None`` means :attr:`spotscape.settings.n_jobs`. The graph does not depend on it.
    copy
        Return the graph instead of writing it.

    Returns
    -------
    If ``copy=True``, a :class:`SpatialGraph` with fields ``connectivities`` and ``distances``.

    Otherwise ``None``, and these are written (squidpy's layout):

    ``adata.obsm["spatial_3d" | key_added]`` : array float64, shape ``(n_obs, 3)``
        Coordinates with z; with ``slice_gap``, the lowest slice has z 0.
    ``adata.obsp["spatial_3d_connectivities"]`` : csr_matrix float32, shape ``(n_obs, n_obs)``
        1.0 per edge, zero diagonal; row ``i`` holds the neighbours of spot ``i``.
    ``adata.obsp["spatial_3d_distances"]`` : csr_matrix float64, shape ``(n_obs, n_obs)``
        Edge lengths in 3-D, same sparsity, explicit zeros between spots at the same place.
    ``adata.uns["spatial_3d_neighbors"]`` : dict
        ``connectivities_key``, ``distances_key`` and ``params``; among them ``library_order`` (bottom to top) and
        ``cross_slice_fraction``, the share of edges between slices.

    Raises
    ------
    KeyError
        If there are no such coordinates (slices that are not registered yet), or no such column.
    ValueError
        If neither z nor a gap is given, or both; if z is the same for all spots or not finite, or two slices lie at the
        same; if there is a single slice; if ``library_order`` does
        not name every slice once.
    TypeError
        If ``library_key`` holds measurements instead of names, ``z_key`` is not numeric, or a number is no number.

    Warns
    -----
    UserWarning
        If slices seem to be in different units, z in another one than the coordinates, or slices not registered; and
        with ``method="euclidean"`` if more than half of the edges cross slices, or none does.

    See Also
    --------
    spatial_neighbors_knn : The same within slices only.
    spotscape.tl.spacross : The encoder that takes it: ``neighbors_key="spatial_3d_neighbors"``.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    >>> adata = AnnData(np.ones((300, 1)), obsm={"spatial": np.tile(grid, (3, 1))})
    >>> adata.obs["slice"] = pd.Categorical(np.repeat(["a", "b", "c"], 100))
    >>> sp.pp.spatial_neighbors_3d(
    ...     adata, library_key="slice", spatial_key="spatial", slice_gap=0.5, n_neighs=4, n_neighs_between=1
    ... )
    >>> adata.obsp["spatial_3d_connectivities"].nnz
    1600
    >>> adata.uns["spatial_3d_neighbors"]["params"]["cross_slice_fraction"]
    0.25

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, for ``method="euclidean"``.
    """
    require_choice(method, "method", ("separate", "euclidean"))
    n_neighs = require_positive_int(n_neighs, "n_neighs")
    between = _number_between(n_neighs_between, method)
    stack = Stack.read(
        adata,
        library_key=library_key,
        spatial_key=spatial_key,
        z_key=z_key,
        slice_gap=slice_gap,
        library_order=library_order,
    )
    _refuse_overwriting(adata, spatial_key, key_added)
    graph = _euclidean(stack, n_neighs, n_jobs) if between is None else _separate(stack, n_neighs, between, n_jobs)
    share = _report(stack, graph, method)
    if copy:
        return graph
    params = {
        "mode": "knn_3d",
        "n_neighbors": n_neighs,
        "method": method,
        "n_neighs_between": between,
        "z_key": z_key,
        "slice_gap": slice_gap,
        "library_order": stack.names,
        "cross_slice_fraction": share,
    }
    store(adata, stack.tissue, *graph, params=params, key_added=key_added, coords=stack.coordinates)
    return None


def _number_between(given: int | None, method: str) -> int | None:
    if method == "separate":
        return _BETWEEN if given is None else require_positive_int(given, "n_neighs_between")
    if given is not None:
        msg = (
            f"n_neighs_between={given} goes with method='separate'; with method='euclidean' distance alone decides how "
            f"many of the n_neighs are in other slices."
        )
        raise ValueError(msg)
    return None


def _refuse_overwriting(adata: AnnData, spatial_key: str, key_added: str) -> None:
    if key_added == spatial_key and np.shape(adata.obsm[spatial_key])[1] == 2:
        msg = (
            f"key_added={key_added!r} would overwrite adata.obsm[{spatial_key!r}], from which the graph is built; "
            f"choose another name."
        )
        raise ValueError(msg)


def _separate(stack: Stack, n_neighs: int, between: int, n_jobs: int | None) -> SpatialGraph:
    tissue = stack.tissue
    checks.warn_of_small_slices(tissue, max(n_neighs + 1, between))
    stack.require_distinct_levels()
    _, within = build(tissue, partial(nearest_edges, n_neighs=n_neighs), n_jobs=n_jobs)
    slices, rows = ([parts[index] for index in stack.order] for parts in (tissue.slices, tissue.rows))
    across = edges_between_adjacent(slices, rows, between, workers=n_threads(n_jobs))
    checks.warn_of_strays(tissue, within)
    warn_of_unregistered(stack, across.row, across.col)
    return SpatialGraph(*union(within, across))


def _euclidean(stack: Stack, n_neighs: int, n_jobs: int | None) -> SpatialGraph:
    return SpatialGraph(*build(stack.whole(), partial(nearest_edges, n_neighs=n_neighs), n_jobs=n_jobs))


def _report(stack: Stack, graph: SpatialGraph, method: str) -> float:
    """Log the graph and the share of its edges that cross slices, which is returned; warn if it is extreme."""
    checks.report(stack.tissue, graph.connectivities, graph.distances)
    codes, edges = stack.codes, graph.connectivities.tocoo()
    crossing = int(np.count_nonzero(codes[edges.row] != codes[edges.col]))
    share = float(crossing / edges.nnz)
    logger.info("%s of %s edges join different slices (%.1f %%).", f"{crossing:,}", f"{edges.nnz:,}", 100 * share)
    remedy = "method='separate' sets the neighbours within and between slices apart"
    if method == "euclidean" and share > _MOST_CROSSING:
        warn(f"{share:.0%} of the edges join different slices: they lie closer than the spots of a slice; {remedy}.")
    elif crossing == 0:
        warn(f"no edge joins different slices: they lie farther apart than n_neighs reaches. Raise it, or: {remedy}.")
    return share
