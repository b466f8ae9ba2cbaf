"""Neighbours in an embedding through scanpy, and diffusion on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from spotscape._core import keys
from spotscape.nn.pseudotime import diffusion_components, diffusion_pseudotime, reached_from, resolved, root_spot

if TYPE_CHECKING:
    from spotscape.nn.pseudotime import Start

# Up to here neighbours are exact: as quick as an approximation that has to be compiled first.
_EXACT = 100_000


@dataclass(frozen=True)
class Pseudotime:
    """Pseudotime of every spot (NaN where the root does not reach), the root, and how many parts the graph has."""

    time: np.ndarray
    root: int
    n_components: int


def embed_neighbors(embedding: np.ndarray, n_neighbors: int, seed: int) -> AnnData:
    """The neighbour graph of an embedding, in an AnnData that holds nothing else: the user's stays as it is."""
    import scanpy as sc

    graph = AnnData(np.asarray(embedding, dtype=np.float32))
    sc.pp.neighbors(
        graph,
        n_neighbors=min(n_neighbors, graph.n_obs - 1),
        use_rep="X",
        transformer="sklearn" if graph.n_obs <= _EXACT else "pynndescent",
        random_state=seed,
    )
    return graph


def diffuse(graph: AnnData, in_root: np.ndarray, *, start: Start, n_dcs: int, seed: int) -> Pseudotime:
    """Diffusion pseudotime from a spot of the root, in the part of the graph that holds most of it."""
    weights = sparse.csr_array(graph.obsp["connectivities"])
    reached, n_components = reached_from(weights, in_root)
    rows = np.flatnonzero(reached)
    # The stationary component does not count as one of n_dcs.
    components, eigenvalues = diffusion_components(weights[rows][:, rows], n_dcs + 1, seed)
    kept = np.flatnonzero(resolved(eigenvalues) & (np.arange(len(eigenvalues)) > 0))
    local = root_spot(components[:, kept], in_root[rows], start)
    values = np.full(graph.n_obs, np.nan)
    values[rows] = diffusion_pseudotime(components[:, kept], eigenvalues[kept], local)
    return Pseudotime(values, int(rows[local]), n_components)


def stored_graph(graph: AnnData, key_added: str, use_rep: str) -> dict[str, dict[str, Any]]:
    """What to write so that scanpy finds the graph by ``neighbors_key``."""
    record, connectivities, distances = keys.graph_keys(key_added)
    params = {**graph.uns["neighbors"]["params"], "use_rep": use_rep}
    return {
        "uns": {record: {"connectivities_key": connectivities, "distances_key": distances, "params": params}},
        "obsp": {
            connectivities: sparse.csr_matrix(graph.obsp["connectivities"]),
            distances: sparse.csr_matrix(graph.obsp["distances"]),
        },
    }
