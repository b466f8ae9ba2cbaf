"""Spatial graphs over a stack of registered slices: the z of each, and its neighbours above and below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.geometry import layout_of
from spotscape._core.graphs import Edges, edges_between_adjacent, join_edges, nearest_edges, within_groups
from spotscape._core.logging import logger, warn
from spotscape._core.validation import require_data, require_key, slices_in_order
from spotscape.pp._graph_build import (
    SlicePositions,
    SpatialGraph,
    edges_of,
    n_threads,
    report_graph,
    store,
    warn_of_lost_places,
    warn_of_numbers,
    warn_of_small_slices,
    warn_of_strays,
)
from spotscape.pp._scale import stored_or_chosen_scale

if TYPE_CHECKING:
    from anndata import AnnData

_BETWEEN = 2
_MOST_CROSSING = 0.5
# The surroundings of a spot are its six nearest; an edge between slices is at most three times as long as these reach.
_AROUND, _LONGEST_BETWEEN = 6, 3.0
_UNREGISTERED_IN_SPACINGS = 3.0
# A gap is believed between a hundredth of the spot spacing and the diameter of the largest slice.
_LEAST_GAP_IN_SPACINGS = 0.01
# Cells of one tissue differ in density by less; pixels and micrometres, or two platforms, by more.
_SPACING_RATIO = 3.0


@public
def spatial_neighbors_3d(
    adata: AnnData,
    *,
    library_key: str | None = None,
    spatial_key: str | None = None,
    z_key: str | None = None,
    slice_gap: float | Sequence[float] | None = None,
    library_order: Sequence[str] | None = None,
    n_neighs: int | None = None,
    n_neighs_between: int | None = None,
    method: Literal["separate", "euclidean"] = "separate",
    key_added: str = keys.SPATIAL_3D,
    n_jobs: int | None = None,
    copy: bool = False,
) -> SpatialGraph | None:
    """Build a graph in 3-D: of a stack of slices, or of one thick block whose cells have three coordinates.

    In a stack, every spot is connected with its nearest spots in its own slice and in adjacent slices. Slices often lie
    much closer together or much farther apart than their spots. By distance alone, either nearly all neighbours would
    then be in other slices, or none would. The two numbers of neighbours are therefore set separately, and the share of
    edges between slices is logged and stored.

    In a block, every cell is connected with the ``n_neighs`` nearest in space.

    Parameters
    ----------
    adata
        Spots of all slices, registered to one coordinate system, or cells of a block. Expression is used only to choose
        ``n_neighs``.
    library_key
        Column of ``adata.obs`` with the slice of every spot. ``None`` means one block.
    spatial_key
        Registered coordinates in ``adata.obsm``: shape ``(n_obs, 2)``, or ``(n_obs, 3)`` with z, any unit. ``None``
        means ``"spatial_aligned"``, and ``"spatial"`` for a block. Give ``"spatial"`` if the slices are already
        aligned.
    z_key
        Column of ``adata.obs`` with the z of every spot, in the unit of the coordinates. It may vary within a slice.
    slice_gap
        Distance from one slice to the next, in the unit of the coordinates, to use instead of ``z_key``. A list such as
        ``[10, 300, 10]`` gives one distance for each step.
    library_order
        Slices from bottom to top, for ``slice_gap``. ``None`` takes the order of the categories.
    n_neighs
        Neighbours of every spot in its own slice, itself not counted. With ``method="euclidean"``, the total number of
        neighbours of every spot. ``None`` (default) chooses it as :func:`spatial_neighbors_knn` does, from the spots of
        each slice: about 6 on the hexagonal grid of Visium, 8 on a square grid and 12 for single cells.
    n_neighs_between
        Neighbours of every spot in *each* adjacent slice. ``None`` means 2, so that most neighbours are in the spot's
        own slice. If an adjacent slice has no tissue at the place of a spot, the spot gets no neighbours in it. This is
        assumed if its nearest spots there are, in the plane, more than three times as far away as its six nearest spots
        in its own slice, and than the six nearest of a spot in the other slice (median). The log counts these spots.
    method
        ``"separate"``, or ``"euclidean"``: the ``n_neighs`` nearest spots in 3-D, whatever their slice, as in SpaCross
        (with 8 to 12).

    Returns
    -------
    {graph}
        Among ``params``: ``library_order`` (bottom to top) and ``cross_slice_fraction``, the share of edges between
        slices.
    ``adata.obsm["spatial_3d"]`` (or ``key_added``) : array float64, shape ``(n_obs, 3)``
        Coordinates with z; with ``slice_gap``, the lowest slice has z 0.
    ``adata.uns["scale"]`` : dict
        How ``n_neighs`` was chosen, only if it was chosen here.

    Raises
    ------
    KeyError
        If there are no such coordinates (slices that are not registered yet), or no such column.
    ValueError
        If neither z nor a gap is given, or both; if z is the same for all spots or not finite, or two slices lie at the
        same; if there is a single slice and no z; if ``library_order`` does not name every slice once.
    TypeError
        If ``library_key`` holds measurements instead of names, ``z_key`` is not numeric, or an argument
        has the wrong type.

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

    A block of 10 by 10 by 3 cells:

    >>> block = AnnData(
    ...     np.ones((300, 1)), obsm={"spatial": np.column_stack([np.tile(grid, (3, 1)), np.arange(300) // 100])}
    ... )
    >>> sp.pp.spatial_neighbors_3d(block, n_neighs=6)
    >>> block.obsp["spatial_3d_connectivities"].nnz
    1800

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, for ``method="euclidean"``.
    """
    spatial_key = spatial_key or (keys.SPATIAL if library_key is None else keys.SPATIAL_ALIGNED)
    tissue = _read_stack(adata, library_key, spatial_key, z_key, slice_gap, library_order=library_order)
    if key_added == spatial_key and np.shape(adata.obsm[spatial_key])[1] == 2:
        msg = f"key_added={key_added!r} would overwrite adata.obsm[{spatial_key!r}], the input; choose another name."
        raise ValueError(msg)
    is_block = len(tissue.slices) == 1
    by_distance = is_block or method == "euclidean"
    if by_distance and n_neighs_between is not None:
        msg = (
            f"n_neighs_between={n_neighs_between} goes with several slices and method='separate'; in a block, or with "
            f"method='euclidean', distance alone decides which spots are the n_neighs nearest."
        )
        raise ValueError(msg)
    between = None if by_distance else n_neighs_between or _BETWEEN
    chosen: dict[str, Any] = {}
    if n_neighs is None:
        n_neighs, chosen = stored_or_chosen_scale(adata, tissue if is_block else tissue.in_plane())
    coords = tissue.coordinates
    if between is None:
        graph = SpatialGraph.of(nearest_edges(coords, n_neighs))
    else:
        graph = _separate(tissue, n_neighs, between, n_jobs)
    report_graph(tissue, graph)
    share = 0.0 if is_block else _report_crossing(tissue, graph, method)
    if copy:
        return graph
    params = {
        "mode": "knn_3d", "n_neighbors": n_neighs, "method": method, "n_neighs_between": between, "z_key": z_key,
        "slice_gap": slice_gap, "library_order": [] if is_block else list(tissue.names), "cross_slice_fraction": share,
        "layout": layout_of(tissue.slices, adata).as_params(),
    }  # fmt: skip
    store(adata, tissue, graph, params=params, key_added=key_added, coords=coords, chosen=chosen)
    return None


def _separate(tissue: SlicePositions, n_neighs: int, between: int, n_jobs: int | None) -> SpatialGraph:
    """Neighbours in the own slice and in adjacent ones, of a stack from bottom to top."""
    warn_of_small_slices(tissue, max(n_neighs + 1, between))
    warn_of_lost_places(tissue.in_plane())
    warn_of_numbers(tissue.in_plane())
    levels = ((name, coords[:, 2].mean()) for name, coords in zip(tissue.names, tissue.slices, strict=True))
    for (first, low), (second, high) in pairwise(levels):
        if np.isclose(low, high, rtol=1e-12, atol=0):
            msg = (
                f"slices {first!r} and {second!r} lie at the same z={low:g}, so it is not clear which slices are "
                f"adjacent; give each slice its own z, or use method='euclidean'."
            )
            raise ValueError(msg)
    within = edges_of(tissue, partial(nearest_edges, n_neighs=n_neighs), n_jobs=n_jobs)
    across = edges_between_adjacent(tissue.slices, tissue.rows, between, workers=n_threads(n_jobs))
    warn_of_strays(tissue, within)
    plane, spacing = tissue.coordinates[:, :2], _widest_spacing(tissue)
    distances = [np.median(np.linalg.norm(plane[starts] - plane[ends], axis=1)) for _, starts, ends in across]
    # Both ways, as a small slice lies on a large one of which it covers little.
    by_pair = np.reshape(distances, (-1, 2)).min(axis=1)
    lower = int(by_pair.argmax())
    if by_pair[lower] > _UNREGISTERED_IN_SPACINGS * spacing:
        warn(
            f"the nearest spots of slices {tissue.names[lower]!r} and {tissue.names[lower + 1]!r} lie "
            f"{by_pair[lower]:.4g} apart in the plane (median), but spots of a slice only {spacing:.4g}: these slices "
            f"do not overlap in adata.obsm[{tissue.spatial_key!r}]. Register them first: "
            f"sp.pp.register_slices(adata, library_key={tissue.library_key!r})."
        )
    own = within.tocoo()
    across = _over_tissue(tissue, across, max(_AROUND, between))
    return SpatialGraph.of(join_edges([(own.data, own.row, own.col), *across], tissue.n_spots))


def _over_tissue(tissue: SlicePositions, across: list[Edges], n_around: int) -> list[Edges]:
    """Leave out edges to spots that are the nearest only because the adjacent slice has no tissue at this place."""
    plane, own, usual = tissue.coordinates[:, :2], *np.full((2, tissue.n_spots), np.inf)
    for rows in tissue.rows:
        if len(rows) > n_around:
            own[rows] = cKDTree(plane[rows]).query(plane[rows], k=[n_around + 1])[0].ravel()
            usual[rows] = np.median(own[rows])
    kept, without = [], [np.empty(0, dtype=np.intp)]
    for lengths, starts, ends in across:
        apart = np.linalg.norm(plane[starts] - plane[ends], axis=1)
        near = apart <= _LONGEST_BETWEEN * np.maximum(own[starts], usual[ends])
        without.append(np.setdiff1d(starts, starts[near]))
        kept.append((lengths[near], starts[near], ends[near]))
    n_without = len(np.unique(np.concatenate(without)))
    if n_without:
        logger.info(
            "%s spots lie where an adjacent slice has no tissue, and get no neighbours in it.", f"{n_without:,}"
        )
    return kept


def _report_crossing(tissue: SlicePositions, graph: SpatialGraph, method: str) -> float:
    """Log the share of edges that cross slices, which is returned; warn if it is extreme."""
    codes, n_edges = np.empty(tissue.n_spots, dtype=np.intp), graph.connectivities.nnz
    codes[np.concatenate(tissue.rows)] = np.repeat(np.arange(len(tissue.rows)), list(map(len, tissue.rows)))
    crossing = n_edges - within_groups(graph.connectivities, codes).nnz
    share = float(crossing / n_edges)
    logger.info("%s of %s edges join different slices (%.1f %%).", f"{crossing:,}", f"{n_edges:,}", 100 * share)
    remedy = "method='separate' chooses neighbours within and between slices separately"
    if method == "euclidean" and share > _MOST_CROSSING:
        warn(f"{share:.0%} of the edges join different slices: they lie closer than the spots of a slice; {remedy}.")
    elif method == "euclidean" and crossing == 0:
        warn(f"no edge joins different slices: they lie farther apart than n_neighs reaches. Raise it, or: {remedy}.")
    return share


def _read_stack(
    adata: AnnData,
    library_key: str | None,
    spatial_key: str,
    z_key: str | None,
    slice_gap: float | Sequence[float] | None,
    *,
    library_order: Sequence[str] | None,
) -> SlicePositions:
    """Slices in three dimensions from bottom to top, or a single one with a z for every spot."""
    require_data(adata, genes=False)
    hint = ""
    if "spatial" in adata.obsm:
        hint = (
            "Register the slices first: sp.pp.register_slices(adata, library_key=...); or, if they are "
            "aligned already, pass spatial_key='spatial'"
        )
    require_key(adata.obsm, spatial_key, "adata.obsm", hint=hint)
    plane = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    if len(plane.slices) < 2 and z_key is None and plane.slices[0].shape[1] == 2:
        found = "no library_key is given" if library_key is None else f"adata.obs[{library_key!r}] holds one slice"
        msg = (
            f"{found}, and adata.obsm[{spatial_key!r}] has two coordinates. A graph in 3-D joins several slices "
            f"(library_key=...), or cells with three coordinates or a z_key. Use sp.pp.spatial_neighbors_knn for a "
            f"single slice."
        )
        raise ValueError(msg)
    given = {"slice_gap": slice_gap, "z_key": z_key}
    said = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    said += [f"the third coordinate of {spatial_key!r}"] * (plane.slices[0].shape[1] == 3)
    if len(said) > 1:
        msg = f"{said[0]} and {said[1]} both say where the slices lie; give one of them."
        raise ValueError(msg)
    if not said:
        msg = (
            f"neither slice_gap nor z_key is given, and without them all slices would lie on one plane. Give "
            f"slice_gap=..., the distance from one slice to the next in the unit of adata.obsm[{spatial_key!r}] "
            f"(where spots lie {_widest_spacing(plane):.4g} apart), or z_key=..., a column of adata.obs with the z of "
            f"each spot."
        )
        raise ValueError(msg)
    if slice_gap is None and library_order is not None:
        msg = "library_order goes with slice_gap only; where z is given, the slices are in the order of their z."
        raise ValueError(msg)
    if slice_gap is None:
        heights = _given_heights(adata, plane, z_key)
    else:
        heights = _stacked_heights(plane, slice_gap, library_order)
    levels = np.array([z.mean() for z in heights])
    order = np.argsort(levels, kind="stable").tolist()
    slices = tuple(np.column_stack([xy[:, :2], z]) for xy, z in zip(plane.slices, heights, strict=True))
    stack = replace(plane, slices=slices).take(order)
    if len(order) > 1:
        _warn_of_units(plane, np.diff(levels[order]))
        logger.info("Slices from the lowest z up: %s.", ", ".join(map(str, stack.names)))
    return stack


def _given_heights(adata: AnnData, plane: SlicePositions, z_key: str | None) -> list[np.ndarray]:
    """Heights from a column of ``obs`` or from the third coordinate."""
    if z_key is None:
        heights = [xyz[:, 2] for xyz in plane.slices]
    else:
        require_key(adata.obs, z_key, "adata.obs", hint="z_key names the column with the z of each spot")
        column = adata.obs[z_key]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            msg = f"adata.obs[{z_key!r}] has dtype {column.dtype}, expected numbers; convert it by .astype(float)."
            raise TypeError(msg)
        z: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(z).all():
            msg = (
                f"adata.obs[{z_key!r}] is NaN or infinite for {np.count_nonzero(~np.isfinite(z))} of {len(z)} spots; "
                f"give every spot its z, or remove those spots."
            )
            raise ValueError(msg)
        heights = [z[rows] for rows in plane.rows]
    low, high = min(part.min() for part in heights), max(part.max() for part in heights)
    if low == high:
        where = f"adata.obsm[{plane.spatial_key!r}][:, 2]" if z_key is None else f"adata.obs[{z_key!r}]"
        msg = f"{where} is {low:g} for all spots, so all slices lie on one plane; give each its z, or slice_gap=..."
        raise ValueError(msg)
    return heights


def _stacked_heights(
    plane: SlicePositions, slice_gap: float | Sequence[float], library_order: Sequence[str] | None
) -> list[np.ndarray]:
    """One height per slice, the lowest at zero."""
    names = [str(name) for name in plane.names]
    order = [names.index(name) for name in slices_in_order(names, library_order, plane.library_key)]
    expected = len(names) - 1
    gaps = list(slice_gap) if isinstance(slice_gap, Sequence) else [slice_gap] * expected
    if len(gaps) != expected:
        msg = f"slice_gap has {len(gaps)} values for {len(names)} slices; give one number, or {expected} gaps."
        raise ValueError(msg)
    levels = np.zeros(len(order))
    levels[order] = np.concatenate([[0.0], np.cumsum(gaps)])
    return [np.full(len(xy), level) for xy, level in zip(plane.slices, levels, strict=True)]


def _warn_of_units(plane: SlicePositions, gaps: np.ndarray) -> None:
    """Warn if spots of one slice lie much farther apart than those of another, or z seems to have another unit."""
    where, spacings = f"adata.obsm[{plane.spatial_key!r}]", geometry.spacing_by_slice(plane.in_plane().slices)
    known = np.flatnonzero(np.isfinite(spacings) & (spacings > 0))
    low, high = known[[spacings[known].argmin(), spacings[known].argmax()]] if len(known) else (0, 0)
    if spacings[high] > _SPACING_RATIO * spacings[low]:
        warn(
            f"the spots of {plane.called(plane.names[high])} lie {spacings[high]:.4g} apart and those of "
            f"{plane.called(plane.names[low])} {spacings[low]:.4g}; unless the platforms differ, {where} holds "
            f"different units (pixels and micrometres?). Bring all slices to one unit."
        )
    across, spacing = max(np.linalg.norm(np.ptp(xy[:, :2], axis=0)) for xy in plane.slices), _widest_spacing(plane)
    if gaps.max() > across:
        compared = f"up to {gaps.max():.4g} apart in z, but the largest is only {across:.4g} across"
        warn(f"the slices lie {compared}; is z in the unit of {where}?")
    elif gaps.max() < _LEAST_GAP_IN_SPACINGS * spacing:
        compared = f"at most {gaps.max():.4g} apart in z, but spots of a slice {spacing:.4g} apart"
        warn(f"the slices lie {compared}; is z in the unit of {where}?")


def _widest_spacing(plane: SlicePositions) -> float:
    spacings = geometry.spacing_by_slice(plane.in_plane().slices)
    return float(np.max(spacings[np.isfinite(spacings)], initial=0.0))
