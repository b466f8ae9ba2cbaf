"""Neighbours, PAGA and diffusion components through scanpy, on an AnnData of their own: the user's stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from spotscape._core import keys
from spotscape.nn.pseudotime import diffusion_pseudotime, reached_from, resolved, root_spot

if TYPE_CHECKING:
    from spotscape.nn.pseudotime import Start


@dataclass(frozen=True)
class Pseudotime:
    """Pseudotime of every spot (NaN where the root does not reach), the root, and how many parts the graph has."""

    time: np.ndarray
    root: int
    n_components: int


def embed_neighbors(embedding: np.ndarray, n_neighbors: int, seed: int) -> AnnData:
    """The neighbour graph of an embedding, in an AnnData that holds nothing else."""
    if find_spec("igraph") is None:
        msg = 'sp.tl.trajectory needs igraph, for PAGA; install it by: pip install "spotscape[leiden]".'
        raise ImportError(msg)
    import scanpy as sc

    graph = AnnData(np.asarray(embedding, dtype=np.float32))
    sc.pp.neighbors(graph, n_neighbors=min(n_neighbors, graph.n_obs - 1), use_rep="X", random_state=seed)
    return graph


def connect_groups(graph: AnnData, groups: pd.Categorical) -> tuple[np.ndarray, np.ndarray]:
    """PAGA's connectivities of the groups and those of its spanning tree, symmetric, ``(n_groups, n_groups)``."""
    import scanpy as sc

    labelled = np.flatnonzero(groups.codes >= 0)
    part = graph[labelled].copy()
    part.obs["group"] = pd.Categorical(groups[labelled], categories=groups.categories)
    sc.tl.paga(part, groups="group")
    found = [_dense(part.uns["paga"][name]) for name in ("connectivities", "connectivities_tree")]
    return found[0], np.maximum(found[1], found[1].T)


def diffuse(graph: AnnData, in_root: np.ndarray, *, start: Start, n_dcs: int, seed: int) -> Pseudotime:
    """Diffusion pseudotime from a spot of the root, in the part of the graph that holds most of it."""
    import scanpy as sc

    reached, n_components = reached_from(graph.obsp["connectivities"], in_root)
    rows = np.flatnonzero(reached)
    part = graph[rows].copy()
    # The first component is the same everywhere; it does not count as one of n_dcs.
    sc.tl.diffmap(part, n_comps=min(n_dcs + 1, len(rows) - 1), random_state=seed)
    eigenvalues = np.asarray(part.uns["diffmap_evals"], dtype=np.float64)
    # The first component is the stationary one.
    kept = np.flatnonzero(resolved(eigenvalues) & (np.arange(len(eigenvalues)) > 0))
    components, eigenvalues = np.asarray(part.obsm["X_diffmap"], dtype=np.float64)[:, kept], eigenvalues[kept]
    local = root_spot(components, in_root[rows], start)
    values = np.full(graph.n_obs, np.nan)
    values[rows] = diffusion_pseudotime(components, eigenvalues, local)
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


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)
