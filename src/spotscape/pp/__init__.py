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
from spotscape.pp._register import apply_registration, register_slices
from spotscape.pp._scale import choose_scale

__all__ = [
    "SpatialGraph",
    "apply_registration",
    "choose_scale",
    "prepare",
    "register_slices",
    "spatial_neighbors_3d",
    "spatial_neighbors_delaunay",
    "spatial_neighbors_knn",
    "spatial_neighbors_radius",
]


def __dir__() -> list[str]:
    return sorted(__all__)
