r"""Several k-means runs of the same points: what most runs put together belongs together.

One k-means run ends in the local optimum that its start leads to, and cuts groups that belong together where another
run does not. Two spots that share a cluster in :math:`q` of :math:`R` runs are alike whatever the start.

The runs are spherical: on row-normalised embeddings, from different k-means++ starts, each of a fixed number of Lloyd
iterations, so :math:`O(RNKd)` in all, with nothing to wait for on a GPU but empty clusters. They need not converge:
iterations move borders between clusters ever less, and a quorum passes over what single runs say near a border.
After twenty, the pairs that three of five runs put together differ less from those of converged runs than two sets of
converged runs from other starts differ from each other. So more iterations would buy nothing that the choice of starts
does not lose, and another run says more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from spotscape._core.validation import require_positive_int
from spotscape.nn.clustering._spherical import lloyd_step, seeded_centres

_STEPS = 20


@torch.no_grad()
def consensus_clusterings(embeddings: Tensor, n_clusters: int, n_runs: int, generator: torch.Generator) -> Tensor:
    """Cluster the same embeddings several times by k-means, each time from another start, where they are.

    Parameters
    ----------
    embeddings
        Shape ``(N, d)``; rows of any length.
    n_clusters
        Clusters of each run. With fewer distinct directions than that, some clusters stay empty.
    n_runs
        Number of runs R.
    generator
        Of the starts; on the device of the embeddings.

    Returns
    -------
    The cluster of every spot in each run, int64 ``(R, N)``. Numbers of different runs have nothing to do with each
    other.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import consensus_clusterings
    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> runs = consensus_clusterings(points, 2, 5, torch.Generator().manual_seed(0))
    >>> (runs[:, 0] == runs[:, 1]).tolist(), (runs[:, 0] == runs[:, 2]).tolist()
    ([True, True, True, True, True], [False, False, False, False, False])
    """
    require_positive_int(n_clusters, "n_clusters")
    require_positive_int(n_runs, "n_runs")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        msg = f"embeddings has shape {tuple(embeddings.shape)}; expected (N, d) with one spot or more."
        raise ValueError(msg)
    directions = normalize(embeddings.float(), dim=1)
    return torch.stack([_run(directions, n_clusters, generator) for _ in range(n_runs)])


def _run(directions: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    centres = seeded_centres(directions, n_clusters, generator)
    for _ in range(_STEPS):
        centres = lloyd_step(directions, centres)
    return (directions @ centres.T).argmax(1)
