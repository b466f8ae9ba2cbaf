"""Preprocessing: counts to input, coordinates to graphs."""

from __future__ import annotations

from spotscape.pp._graph import (
    SpatialGraph,
    spatial_neighbors_delaunay,
    spatial_neighbors_knn,
    spatial_neighbors_radius,
)
from spotscape.pp._graph_3d import spatial_neighbors_3d
from spotscape.pp._prepare import prepare

__all__ = [
    "SpatialGraph",
    "prepare",
    "spatial_neighbors_3d",
    "spatial_neighbors_delaunay",
    "spatial_neighbors_knn",
    "spatial_neighbors_radius",
]
