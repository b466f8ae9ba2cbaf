"""Trajectories: the order of domains, and the position of each spot in this order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import domain_column, encoder_embedding, read_embedding
from spotscape._core.validation import read_groups, require_data, require_positive_int, slice_labels
from spotscape._stats.fuzzy_graph import fuzzy_weights
from spotscape._stats.pseudotime import (
    RESOLUTION,
    Start,
    crossing_fraction,
    diffusion_components,
    diffusion_pseudotime,
    group_connectivities,
    reached_from,
    root_spot,
    strongest_tree,
)

_HINT = "key names a column with the domain of each spot, such as that of sp.tl.domains(adata, ...)"
# Below this share of what chance would give, hardly any path leads from slice to slice.
_FEW_CROSSING = 0.1


@public
def trajectory(
    adata: AnnData,
    *,
    root: str | int,
    key: str | None = None,
    use_rep: str | None = None,
    n_neighbors: int = 30,
    n_dcs: int = 10,
    start: Start = "center",
    library_key: str | None = None,
    key_added: str = keys.PSEUDOTIME,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Order domains and spots along a trajectory: compute their distance from a root domain in an embedding.

    The neighbour graph of the embedding is built with scanpy. PAGA computes how domains are connected, and pseudotime
    is the distance from a spot of the root domain in diffusion components. A neighbour graph that exists already is not
    changed.

    The distance is that of :func:`scanpy.tl.dpt`, but with all components. scanpy drops components with an eigenvalue
    above 0.9994, which in an embedding of a spatial graph are the main gradients of the tissue.

    Pseudotime is a distance in the embedding, not time. It finds gradients, such as the layers of the cortex; whether
    cells move along them needs other evidence.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    root
        Domain to begin at, by name or number.
    key
        Column of ``adata.obs`` with the domain of each spot. Spots without one also get a pseudotime. Default: the
        only domains that :func:`spotscape.tl.domains` or :func:`spotscape.tl.consensus_domains` has found; if there are
        several, name one.
    n_neighbors
        Size of the neighbourhoods in the embedding, the spot itself counted. Default: 30, twice scanpy's default. In an
        embedding of a spatial graph, the nearest spots are often adjacent in the tissue, and a graph of only these
        spots is barely connected.
    n_dcs
        Number of diffusion components. Default: 10, as in scanpy.
    start
        Which spot of the root domain has pseudotime 0: ``"center"`` (default) is the spot nearest to the median of the
        domain in diffusion space. ``"tip"`` is the spot farthest out on the first diffusion component; with it, the
        spots of the root domain are ordered as well.
    library_key
        Column of ``adata.obs`` with the slice of each spot. All slices are ordered together. The means of each slice
        are stored, and a warning appears if the graph has few edges between slices.
    key_added
        Name of the results in ``obs``, ``uns`` and, with the endings of a graph, in ``obsp``.
    random_state
        Seed of the neighbour search, which above 100,000 spots is approximate, and of the eigensolver. ``None`` draws
        one and keeps it in the record.

    Returns
    -------
    - ``obs[key_added]`` : float64 ``(n_obs,)``, pseudotime from 0 at the root to 1; NaN for spots that no path in the
      graph joins to the root.
    - ``uns[key_added]`` : dict with ``params``, ``version``, ``groups`` (names), ``order`` (names by mean pseudotime;
      a domain that is not reached is left out), ``mean`` (of each group), ``connectivities`` and
      ``connectivities_tree`` (PAGA, float64 ``(n_groups, n_groups)``, in the order of ``groups``), ``root_spot``,
      ``n_components`` of the graph and, with ``library_key``, ``slices``, ``mean_by_slice`` ``(n_slices, n_groups)``
      and ``crossing`` (edges between slices, as a multiple of what chance would give).
    - ``uns[key_added + "_neighbors"]``, ``obsp[key_added + "_connectivities"]``, ``obsp[key_added + "_distances"]`` :
      the neighbour graph, which scanpy takes by ``neighbors_key``.

    Raises
    ------
    ValueError
        If ``root`` is not a domain, there are fewer than two domains, a number is out of its range, or the embedding
        holds NaN or infinite values.

    Warns
    -----
    UserWarning
        If the graph falls into parts, or has few edges between slices.

    See Also
    --------
    spotscape.pl.trajectory : Pseudotime and the graph of domains in the tissue.
    spotscape.tl.domains : Finds domains.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=400, n_genes=100, difficulty=0.3)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata)
    ...     sp.pp.spatial_neighbors_knn(adata)
    ...     sp.tl.smoothed_pca(adata, n_comps=10)
    ...     sp.tl.trajectory(adata, root="Layer_1", key="domain", use_rep="X_smoothed_pca")
    >>> list(adata.uns["spotscape_pseudotime"]["order"])
    ['Layer_1', 'Layer_2', 'Layer_3', 'Layer_4']

    References
    ----------
    Haghverdi et al., *Diffusion pseudotime robustly reconstructs lineage branching*, Nature Methods 2016; Wolf et al.,
    *PAGA*, Genome Biology 2019.
    """
    require_data(adata, genes=False)
    require_positive_int(n_neighbors, "n_neighbors", minimum=2)
    use_rep = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, use_rep)
    key = domain_column(adata, key, "key")
    root = str(root)
    domains = _domains(adata, key, root)
    slices = slice_labels(adata, library_key)
    source = RandomSource(random_state)
    graph = embed_neighbors(embedding, n_neighbors, source.integer("neighbors") % 2**31)
    seed = source.integer("diffusion") % 2**31
    time, root_row, n_parts = diffuse(graph, np.asarray(domains == root), start=start, n_dcs=n_dcs, seed=seed)
    between = group_connectivities(graph.obsp["distances"], np.asarray(domains.codes), len(domains.categories))
    _warn_of_parts(n_parts, time, root)
    means = _means(time, domains)
    order = means.dropna().sort_values(kind="stable").index.tolist()
    logger.info("Order of domains: %s.", " → ".join(order))
    params = {
        "root": root, "key": key, "use_rep": use_rep, "n_neighbors": n_neighbors, "n_dcs": n_dcs, "start": start,
        "library_key": library_key, "random_state": source.seed,
    }  # fmt: skip
    results = stored_graph(graph, key_added, use_rep)
    results["obs"] = {key_added: time}
    results["uns"][key_added] = record(
        params,
        groups=means.index.tolist(),
        order=order,
        mean=means.to_numpy(),
        root_spot=str(adata.obs_names[root_row]),
        n_components=n_parts,
        connectivities=between,
        connectivities_tree=strongest_tree(between),
        made_from=made_from(adata, obs=[key], obsm=[use_rep]),
        **_by_slice(time, graph, domains, slices),
    )
    return write(adata, results, copy=copy)


def _domains(adata: AnnData, key: str, root: str) -> pd.Categorical:
    domains = read_groups(adata, key, argument="key", hint=_HINT)
    names = list(domains.categories)
    if root not in names:
        msg = f"root={root!r} is no domain of adata.obs[{key!r}], which has {names}."
        raise ValueError(msg)
    if len(names) < 2:
        msg = f"adata.obs[{key!r}] has one domain; there is nothing to order. {_HINT}."
        raise ValueError(msg)
    return domains


def _warn_of_parts(n_parts: int, time: np.ndarray, root: str) -> None:
    if n_parts > 1:
        warn(
            f"the neighbour graph of the embedding falls into {n_parts} parts; "
            f"{np.count_nonzero(np.isnan(time))} of {len(time)} spots are not joined to the root {root!r}, and "
            "their pseudotime is NaN. A larger n_neighbors may join them; if they are a tissue of their own, there is "
            "no order between them and the rest."
        )


def _means(time: np.ndarray, domains: pd.Categorical) -> pd.Series:
    """Mean pseudotime of each domain; NaN for those that are not reached."""
    groups = pd.Series(domains)
    return pd.Series(time).groupby(groups, observed=False).mean().set_axis(domains.categories)


def _by_slice(
    time: np.ndarray, graph: AnnData, domains: pd.Categorical, slices: pd.Categorical | None
) -> dict[str, Any]:
    if slices is None:
        return {}
    codes = np.asarray(slices.codes)
    crossing = crossing_fraction(sparse.csr_array(graph.obsp["connectivities"]), codes)
    if crossing < _FEW_CROSSING:
        warn(
            f"slices are hardly connected: the neighbour graph has {crossing:.2g} of the edges between slices expected "
            "by chance. Pseudotime then compares slices, not domains; embed them together, sp.tl.spotscape(adata, "
            "library_key=...), or order each slice by itself."
        )
    return {
        "slices": [str(name) for name in slices.categories],
        "mean_by_slice": np.stack([_means(time[slices == one], domains[slices == one]) for one in slices.categories]),
        "crossing": crossing,
    }


# Up to here neighbours are exact: as quick as an approximation that has to be compiled first.
_EXACT = 100_000


def embed_neighbors(embedding: np.ndarray, n_neighbors: int, seed: int) -> AnnData:
    """The neighbour graph of the embedding, in a separate AnnData, so that the user's stays as it is.

    It is the graph of :func:`scanpy.pp.neighbors`, which is called for large tissue only, because it compiles first.
    """
    graph = AnnData(np.asarray(embedding, dtype=np.float32))
    n_neighbors = max(min(n_neighbors, graph.n_obs - 1), 2)
    if graph.n_obs > _EXACT:
        import scanpy as sc

        sc.pp.neighbors(graph, n_neighbors=n_neighbors, use_rep="X", transformer="pynndescent", random_state=seed)
        return graph
    # A point counts as its own first neighbour. Trees take longer than all pairs in more than a few dimensions.
    search = NearestNeighbors(n_neighbors=n_neighbors - 1, algorithm="brute")
    distances = search.fit(graph.X).kneighbors_graph(mode="distance")
    graph.obsp["distances"] = distances
    graph.obsp["connectivities"] = sparse.csr_matrix(fuzzy_weights(sparse.csr_array(distances)))
    graph.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": n_neighbors, "method": "umap", "metric": "euclidean", "random_state": seed},
    }
    return graph


def diffuse(graph: AnnData, in_root: np.ndarray, *, start: Start, n_dcs: int, seed: int) -> tuple[np.ndarray, int, int]:
    """Diffusion pseudotime (NaN where the root does not reach), the root spot, and the number of graph parts."""
    weights = sparse.csr_array(graph.obsp["connectivities"])
    reached, n_components = reached_from(weights, in_root)
    rows = np.flatnonzero(reached)
    # The stationary component does not count as one of n_dcs.
    components, eigenvalues = diffusion_components(weights[rows][:, rows], n_dcs + 1, seed)
    kept = np.flatnonzero((1 - eigenvalues > RESOLUTION) & (np.arange(len(eigenvalues)) > 0))
    local = root_spot(components[:, kept], in_root[rows], start)
    values = np.full(graph.n_obs, np.nan)
    values[rows] = diffusion_pseudotime(components[:, kept], eigenvalues[kept], local)
    return values, int(rows[local]), n_components


def stored_graph(graph: AnnData, key_added: str, use_rep: str) -> dict[str, dict[str, Any]]:
    """The entries from which scanpy reads the graph by ``neighbors_key``."""
    record, connectivities, distances = keys.graph_keys(key_added)
    params = {**graph.uns["neighbors"]["params"], "use_rep": use_rep}
    return {
        "uns": {record: {"connectivities_key": connectivities, "distances_key": distances, "params": params}},
        "obsp": {
            connectivities: sparse.csr_matrix(graph.obsp["connectivities"]),
            distances: sparse.csr_matrix(graph.obsp["distances"]),
        },
    }
