"""What goes wrong with spatial graphs in practice, in words that name the parameter to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core import geometry
from spotscape._core.logging import logger, warn

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from spotscape.pp._graph_build import Tissue

# Columns that, by the habits of the field, hold the slice of a spot.
_SLICE_COLUMNS = (
    "slice",
    "slice_name",
    "slice_id",
    "library_id",
    "section",
    "slide",
    "sample",
    "sample_id",
    "batch_name",
)
# On real tissue (Visium, ST, STARmap, seqFISH) the farthest spot lies 8 spacings from its neighbour.
_STRAY = 20
_RADIUS_IN_SPACINGS = (1.0, 20.0)
_MEAN_DEGREE = (3, 50)
_MAX_EDGES = 300_000_000
_MIXED_EDGES = 0.01
_SHARED_POSITIONS = 0.05


def require_enough_spots(tissue: Tissue, minimum: int, reason: str) -> None:
    """Refuse slices with fewer than ``minimum`` spots."""
    for name, coords in zip(tissue.names, tissue.slices, strict=True):
        if len(coords) < minimum:
            msg = f"{tissue.called(name)} has {len(coords)} spots, but {reason}."
            raise ValueError(msg)


def require_triangulable(tissue: Tissue) -> None:
    """Refuse slices whose spots do not span a plane (or space)."""
    for name, coords in zip(tissue.names, tissue.slices, strict=True):
        centred = coords - coords.mean(axis=0)
        if np.linalg.matrix_rank(centred) < coords.shape[1]:
            msg = (
                f"{tissue.called(name)} has {len(coords)} spots that lie on one line (or plane, or point), so there is no "
                f"triangulation; use sp.pp.spatial_neighbors_knn."
            )
            raise ValueError(msg)


def require_radius(radius: float | tuple[float, float]) -> tuple[float, float]:
    """Return ``(smallest, largest)`` edge length; ValueError unless ``0 <= smallest < largest < inf``."""
    pair = radius if isinstance(radius, (tuple, list)) else (0.0, radius)
    numeric = len(pair) == 2 and all(isinstance(r, (int, float, np.number)) and np.isfinite(r) for r in pair)
    if not numeric or min(pair) < 0 or min(pair) == max(pair):
        msg = f"radius={radius!r} must be a positive number in the unit of the coordinates, or (smallest, largest) of a ring."
        raise ValueError(msg)
    return float(min(pair)), float(max(pair))


def require_feasible_radius(tissue: Tissue, radius: float) -> None:
    """Refuse a radius whose graph would not fit into memory, before it is tried."""
    edges = sum(len(coords) * geometry.expected_degree(coords, radius) for coords in tissue.slices)
    if edges > _MAX_EDGES:
        msg = (
            f"radius={radius:g} would join every spot to about {edges / tissue.n_spots:,.0f} others ({edges:.1e} edges in "
            f"all); {_spacing_of(tissue)}. {_advice(tissue)}"
        )
        raise ValueError(msg)


def check_radius(tissue: Tissue, connectivities: csr_matrix, *, radius: float) -> None:
    """Raise if ``radius`` joins nothing; warn if it looks wrong for the spacing, or leaves spots alone."""
    if connectivities.nnz == 0:
        msg = f"radius={radius:g} joins no spots at all: {_spacing_of(tissue)}. {_advice(tissue)}"
        raise ValueError(msg)
    low, high = _RADIUS_IN_SPACINGS
    spacings = [geometry.spot_spacing(coords) for coords in tissue.slices]
    other_unit = [
        index for index, spacing in enumerate(spacings) if np.isfinite(spacing) and not low <= radius / spacing <= high
    ]
    if other_unit:
        times = radius / spacings[other_unit[0]]
        warn(
            f"radius={radius:g} is {times:.2g} times the spacing of the spots; is it in another unit than "
            f"adata.obsm[{tissue.spatial_key!r}]? There {_spacing_of(tissue, other_unit[0])}. "
            f"{_advice(tissue, other_unit[0])}"
        )
    else:
        _warn_of_degree(tissue, connectivities, radius)
    _warn_of_isolated(tissue, connectivities, radius)


def check_pruning(tissue: Tissue, connectivities: csr_matrix, *, radius: float) -> None:
    """Raise if ``radius`` removed every edge of a triangulation; warn if it removed too many."""
    if connectivities.nnz == 0:
        msg = f"radius={radius:g} removes every edge of the triangulation: {_spacing_of(tissue)}. {_advice(tissue)}"
        raise ValueError(msg)
    _warn_of_degree(tissue, connectivities, radius)
    _warn_of_isolated(tissue, connectivities, radius)


def warn_of_strays(tissue: Tissue, distances: csr_matrix) -> None:
    """Warn of spots whose nearest neighbour is very far, compared with all others."""
    filled = np.flatnonzero(np.diff(distances.indptr))
    nearest = np.minimum.reduceat(distances.data, distances.indptr[filled])
    typical = float(np.median(nearest))
    far = np.count_nonzero(nearest > _STRAY * typical) if typical > 0 else 0
    if far:
        warn(
            f"{far} of {tissue.n_spots} spots lie more than {_STRAY} times the usual {typical:g} from their nearest "
            f"neighbour (farthest: {nearest.max():g}); n_neighs joins them all the same. Remove them if they are debris, "
            f"or use sp.pp.spatial_neighbors_radius."
        )


def warn_of_overlaid_slices(adata: AnnData, tissue: Tissue, connectivities: csr_matrix, distances: csr_matrix) -> None:
    """Warn if several slices seem to lie in one frame of coordinates and ``library_key`` was not given."""
    if tissue.library_key is not None:
        return
    for column in _SLICE_COLUMNS:
        mixed = _share_of_mixed_edges(adata, column, connectivities)
        if mixed > _MIXED_EDGES:
            warn(
                f"{mixed:.0%} of the edges join spots with different adata.obs[{column!r}]; if that column holds the "
                f"slices, keep them apart with library_key={column!r}."
            )
            return
    shared = _n_sharing_position(distances)
    if shared > _SHARED_POSITIONS * tissue.n_spots:
        warn(
            f"{shared} of {tissue.n_spots} spots share their position with another one; if several slices lie over each "
            f"other, name the column that tells them apart: library_key=..."
        )


def report(tissue: Tissue, connectivities: csr_matrix, distances: csr_matrix) -> None:
    """Log the degree and the edge lengths of a graph in one line."""
    degree = np.diff(connectivities.indptr)
    slices = "" if tissue.library_key is None else f" in {len(tissue.slices)} slices"
    shared = _n_sharing_position(distances)
    logger.info(
        "%s spots%s, %s edges: %.1f neighbours per spot (%d to %d), %d isolated; edge length median %.4g, longest %.4g.%s",
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


def _warn_of_degree(tissue: Tissue, connectivities: csr_matrix, radius: float) -> None:
    mean = connectivities.nnz / tissue.n_spots
    fewest, most = _MEAN_DEGREE
    if not fewest <= mean <= most:
        warn(f"radius={radius:g} gives {mean:.1f} neighbours per spot on average. {_advice(tissue)}")


def _warn_of_isolated(tissue: Tissue, connectivities: csr_matrix, radius: float) -> None:
    isolated = np.diff(connectivities.indptr) == 0
    if not isolated.any():
        return
    per_slice = [np.count_nonzero(isolated[rows]) for rows in tissue.rows]
    worst = int(np.argmax(per_slice))
    where = "" if tissue.library_key is None else f" (most in {tissue.called(tissue.names[worst])}: {per_slice[worst]})"
    warn(
        f"{isolated.sum()} of {tissue.n_spots} spots have no neighbour within radius={radius:g}{where}; they learn from "
        f"nothing but themselves. Raise radius, or remove those spots."
    )


def _spacing_of(tissue: Tissue, index: int = 0) -> str:
    spacing = geometry.spot_spacing(tissue.slices[index])
    whose = "" if tissue.library_key is None else f" of {tissue.called(tissue.names[index])}"
    return f"the spots{whose} lie {spacing:.4g} apart (median distance to the nearest)"


def _advice(tissue: Tissue, index: int = 0) -> str:
    return f"For about 6 neighbours take radius={geometry.radius_for(tissue.slices[index]):.4g}."


def _share_of_mixed_edges(adata: AnnData, column: str, connectivities: csr_matrix) -> float:
    if column not in adata.obs or connectivities.nnz == 0:
        return 0.0
    codes = pd.factorize(adata.obs[column])[0]
    rows = np.repeat(np.arange(len(codes)), np.diff(connectivities.indptr))
    return float(np.mean(codes[rows] != codes[connectivities.indices]))


def _n_sharing_position(distances: csr_matrix) -> int:
    zero = np.flatnonzero(distances.data == 0)
    return len(np.unique(np.searchsorted(distances.indptr, zero, side="right")))
