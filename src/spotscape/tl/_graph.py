"""The spatial graph that a tool works on: the stored one, or the default one, said aloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scipy import sparse

from spotscape._core import keys
from spotscape._core.coordinates import coordinates
from spotscape._core.logging import logger, warn
from spotscape._core.reading import crosses_on_purpose, read_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

_DEFAULT, _CONNECTIVITIES, _DISTANCES = keys.graph_keys(keys.SPATIAL)


def graph_or_default(
    adata: AnnData, neighbors_key: str, library_key: str | None, *, across_slices: bool = False
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """Connectivities of the named graph, and what to write if the default graph had to be built (else nothing).

    ``across_slices`` lets a stored graph join slices; the default graph never does.
    """
    graph = read_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    if graph is not None:
        if library_key is None and crosses_on_purpose(adata.uns[neighbors_key]):
            warn(
                f"the graph {neighbors_key!r} joins slices, but library_key is None: all spots are taken to be of one "
                "slice. Name the column with the slice of each spot: library_key=..."
            )
        return graph, {}
    if neighbors_key != _DEFAULT:
        known = [key for key in adata.uns if key.endswith("neighbors")]
        build = "spatial_neighbors_knn(adata"
        if across_slices and library_key is not None:
            build = f"spatial_neighbors_3d(adata, library_key={library_key!r}, slice_gap=..."
        msg = (
            f"{neighbors_key!r} not found in adata.uns, which has the graphs: {known}. Build it with "
            f"sp.pp.{build}, key_added={neighbors_key.removesuffix('_neighbors')!r})."
        )
        raise KeyError(msg)
    across = [key for key, entry in adata.uns.items() if crosses_on_purpose(entry)] if across_slices else []
    if across:
        warn(f"the graph across slices is not used; to use it, name it: neighbors_key={across[0]!r}.")
    return _build_default(adata, library_key)


def _build_default(adata: AnnData, library_key: str | None) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    from spotscape.pp import spatial_neighbors_knn
    from spotscape.pp._scale import stored_or_chosen_scale

    n_neighs, chosen = stored_or_chosen_scale(adata, spatial_key=keys.SPATIAL, library_key=library_key)
    logger.info("No spatial graph yet: building the default, the %d nearest neighbours of each spot.", n_neighs)
    graph, built = build_aside(adata, spatial_neighbors_knn, library_key=library_key, n_neighs=n_neighs)
    built["uns"] |= chosen
    return graph, built


def build_aside(
    adata: AnnData, builder: Callable[..., Any], *, spatial_key: str = keys.SPATIAL, **arguments: Any
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """Connectivities by one of ``pp.spatial_neighbors_*``, and what to write later, under the default names."""
    from anndata import AnnData as NewAnnData

    coords = coordinates(adata, spatial_key)
    # On a stand-in without expression, so that the user's AnnData stays as it is until everything has succeeded.
    scratch = NewAnnData(obs=adata.obs, obsm={spatial_key: coords})
    builder(scratch, spatial_key=spatial_key, **arguments)
    built = {
        "obsp": {_CONNECTIVITIES: scratch.obsp[_CONNECTIVITIES], _DISTANCES: scratch.obsp[_DISTANCES]},
        "uns": {_DEFAULT: scratch.uns[_DEFAULT]},
    }
    return sparse.csr_array(scratch.obsp[_CONNECTIVITIES]), built
