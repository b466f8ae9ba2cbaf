"""Smoother domains by a majority vote of neighbours."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.graphs import library_of_graph, read_graph, within_groups
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import made_from
from spotscape._core.reading import domain_column
from spotscape._core.validation import read_groups, require_data, require_key, slice_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@public
def refine_domains(
    adata: AnnData,
    *,
    key: str | None = None,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    n_passes: int = 1,
    across_slices: bool = False,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Smooth domains by a majority vote of spatial neighbours.

    A spot takes the domain of more than half of its neighbours. If there is no such majority, it keeps its own. All
    spots vote at the same time. This removes single spots and ragged edges, but also structures that are one or two
    spots wide, and more so with each pass.

    Parameters
    ----------
    adata
        Annotated data with domains in ``obs`` and a spatial graph.
    key
        Column of ``obs`` with the domains, by names or whole numbers. Spots without one neither vote nor get one.
        Default: the only domains that :func:`spotscape.tl.domains` or :func:`spotscape.tl.consensus_domains` has found,
        those of an encoder before those of smoothed PCA; if there are several, name one.
    neighbors_key
        Record of the spatial graph in ``uns``. Every edge is one vote, whatever its weight.
    library_key
        Column of ``obs`` with the slice of each spot. Default: the one that the graph was built with.
    n_passes
        Largest number of votes. Voting ends earlier if nothing changes any more. Default: 1, because each pass shrinks
        thin domains a little more.
    across_slices
        Whether neighbours in other slices vote too, if the graph connects slices.
    key_added
        Name of the new column in ``obs`` and of the record in ``uns``. Default: ``f"{key}_refined"``. The column
        ``key`` stays as it is.

    Returns
    -------
    - ``obs[key_added]`` : category, shape ``(n_obs,)``, with the categories of ``obs[key]``, without any that no spot
      is left in, which a warning names.
    - ``uns[key_added]`` : dict with ``params``, ``version``, ``n_changed`` (spots that differ from ``obs[key]``) and
      ``n_changed_by_pass`` (int64).

    Raises
    ------
    ValueError
        If ``n_passes`` is below 1, ``key_added`` is ``key``, or the graph has no edges or another size.

    See Also
    --------
    spotscape.tl.domains : Domains.
    spotscape.tl.consensus_domains : Domains on which several trainings agree.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=50, n_domains=3)
    >>> sp.pp.spatial_neighbors_knn(adata)
    >>> adata.obs.loc[adata.obs_names[:3], "domain"] = adata.obs["domain"].cat.categories[-1]
    >>> sp.tl.refine_domains(adata, key="domain")
    >>> adata.uns["domain_refined"]["n_changed"] > 0
    True
    """
    require_data(adata, genes=False)
    key = domain_column(adata, key, "key")
    labels = read_groups(adata, key, argument="key", hint="Make domains first: sp.tl.domains(adata, n_domains=...)")
    name = f"{key}_refined" if key_added is None else key_added
    if name == key:
        msg = f"key_added={name!r} would overwrite the domains that are refined; choose another name."
        raise ValueError(msg)
    hint = "Build the graph first: sp.pp.spatial_neighbors_knn(adata)"
    require_key(adata.uns, neighbors_key, "adata.uns", hint=hint)
    library = library_of_graph(adata, neighbors_key, library_key, across_slices=True)
    slices, graph = slice_labels(adata, library), read_graph(adata, neighbors_key)
    if slices is not None and not across_slices:
        graph = within_groups(graph, slices.codes)
    codes = np.asarray(labels.codes)
    passes = [codes, *majority_passes(codes, graph, n_passes)]
    changes = np.array([np.count_nonzero(old != new) for old, new in pairwise(passes)])
    refined = pd.Categorical.from_codes(passes[-1], dtype=labels.dtype).remove_unused_categories()
    n_changed = int(np.count_nonzero(passes[-1] != codes))
    params = {"key": key, "neighbors_key": neighbors_key, "library_key": library, "n_passes": n_passes}
    params["across_slices"] = across_slices
    logger.info("Refinement changes %s of %s spots.", f"{n_changed:,}", f"{len(labels):,}")
    lost = [str(name) for name in labels.unique().dropna() if name not in refined.categories]
    if lost:
        warn(f"no spot is left in: {', '.join(lost)}. Refinement removes thin domains; do not use it here.")
    summary = record(params, n_changed=n_changed, n_changed_by_pass=changes, made_from=made_from(adata, obs=[key]))
    return write(adata, {"obs": {name: refined}, "uns": {name: summary}}, copy=copy)


def majority_passes(labels: np.ndarray, adjacency: Any, n_passes: int) -> Iterator[np.ndarray]:
    """Let neighbours vote, all spots at once, pass by pass, and yield the labels after each.

    A spot takes the label that more than half of its labelled neighbours have; without such a label it keeps its own.
    ``labels`` are integers from 0, -1 for spots that neither vote nor get one; the diagonal of ``adjacency`` is
    ignored.
    """
    current = np.asarray(labels)
    labelled, edges = current >= 0, sparse.coo_array(adjacency)
    row, col = edges.coords
    # One vote for each edge from a labelled spot to another labelled one.
    kept = (edges.data != 0) & (row != col) & labelled[row] & labelled[col]
    ones = np.ones(int(kept.sum()), dtype=np.int32)
    neighbors = sparse.csr_array((ones, (row[kept], col[kept])), shape=edges.shape)
    neighbors.data[:] = 1
    voters = np.flatnonzero(labelled)
    for _ in range(n_passes):
        places = (np.ones(len(voters), dtype=np.int32), (voters, current[voters]))
        members = sparse.csr_array(places, shape=(len(current), current.max(initial=0) + 1))
        votes = (neighbors @ members).tocoo()
        spot, label = votes.coords
        majority = 2 * votes.data > np.diff(neighbors.indptr)[spot]
        previous, current = current, current.copy()
        current[spot[majority]] = label[majority]
        yield current
        if np.array_equal(previous, current):
            return
