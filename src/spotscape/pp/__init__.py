"""Prepare counts, build spatial graphs and register slices."""

from __future__ import annotations

from spotscape._core.lazy import lazy

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "_graph": "spatial_neighbors_delaunay spatial_neighbors_knn spatial_neighbors_radius",
        "_graph_build": "SpatialGraph",
        "_graph_3d": "spatial_neighbors_3d",
        "_prepare": "prepare",
        "_register": "apply_registration register_slices",
        "_scale": "choose_scale",
    },
)
