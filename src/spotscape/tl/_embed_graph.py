"""The spatial graph of new slices, made as the one that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.logging import logger, warn
from spotscape._core.reading import read_graph
from spotscape.tl._graph import build_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from scipy import sparse

    from spotscape.models import TrainingRecord

_DEFAULT = keys.graph_keys(keys.SPATIAL)[0]
_ALIKE = 2.0


def graph_as_trained(
    adata: AnnData, training: TrainingRecord, neighbors_key: str, library_key: str | None, *, across_slices: bool
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """The stored graph, or one built as at the training, with what is to be written of it."""
    graph = read_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    built: dict[str, dict[str, Any]] = {}
    if graph is None:
        if neighbors_key != _DEFAULT:
            known = [key for key in adata.uns if key.endswith("neighbors")]
            msg = (
                f"{neighbors_key!r} not found in adata.uns, which has the graphs: {known}; leave neighbors_key out to "
                "have it built as at the training."
            )
            raise KeyError(msg)
        graph, built = _build(adata, training.graph, library_key)
    degree = graph.nnz / graph.shape[0]
    if not 1 / _ALIKE <= degree / training.mean_degree <= _ALIKE:
        warn(
            f"spots have {degree:.1f} neighbours, at the training they had {training.mean_degree:.1f}; the model knows "
            "surroundings of that size. Remove the graph to have it built as then."
        )
    return graph, built


def _build(
    adata: AnnData, params: Mapping[str, Any], library_key: str | None
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    builder, arguments = _builder(params)
    said = ", ".join(f"{name}={value}" for name, value in arguments.items())
    logger.info("No spatial graph yet: building it as at the training, %s(%s).", builder.__name__, said)
    return build_aside(
        adata, builder, spatial_key=params.get("spatial_key") or keys.SPATIAL, library_key=library_key, **arguments
    )


def _builder(params: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    from spotscape.pp import spatial_neighbors_delaunay, spatial_neighbors_knn, spatial_neighbors_radius

    radius = params.get("radius")
    radius = tuple(map(float, radius)) if isinstance(radius, list | tuple | np.ndarray) else radius
    if params.get("mode") == "knn":
        return spatial_neighbors_knn, {"n_neighs": int(params["n_neighbors"])}
    if params.get("mode") == "radius":
        return spatial_neighbors_radius, {"radius": radius}
    if params.get("mode") == "delaunay":
        return spatial_neighbors_delaunay, {"radius": radius}
    if "mode" not in params and params.get("n_neighbors"):
        return spatial_neighbors_knn, {"n_neighs": int(params["n_neighbors"])}
    msg = (
        f"the graph of the training ({dict(params)}) cannot be built from the new slices alone; build one, within "
        "slices with sp.pp.spatial_neighbors_knn or across them with sp.pp.spatial_neighbors_3d, and name "
        "it by neighbors_key."
    )
    raise ValueError(msg)
