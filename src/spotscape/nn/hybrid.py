r"""The adaptive hybrid neighbourhood of SpaCross: similar spots that are near in the tissue or of the same cluster.

*Formula.* Let :math:`T_k(u)` be the :math:`k` spots most similar to :math:`u` (cosine of embeddings, without :math:`u`
itself), :math:`S(u)` its neighbours in the spatial graph, and :math:`c_1, \dots, c_R` clusterings of the same
embedding. The neighbourhood of :math:`u` is

.. math:: P(u) = \underbrace{T_k(u) \cap S(u)}_{\text{local}} \;\cup\;
          \underbrace{T_k(u) \cap \Bigl\{v : \sum_{r=1}^R [c_r(u) = c_r(v)] \ge q\Bigr\}}_{\text{global}} .

With several slices, the most similar spots of the own slice, :math:`T_k^{in}(u)`, and of all other slices together,
:math:`T_k^{out}(u)`, are searched separately, and only mutual ones are kept:

.. math:: T_k(u) = \{v \in T_k^{in}(u) : u \in T_k^{in}(v)\} \cup \{v \in T_k^{out}(u) : u \in T_k^{out}(v)\} .

*Computation.* All steps work on :math:`Nk` pairs. A pair :math:`(u, v)` is stored as the number :math:`uN + v`, so a
binary search in sorted numbers tells whether it belongs to a set.

Source: Fang & Min, Communications Biology 2025 (doi 10.1038/s42003-025-08810-5). The released code accepts a pair that
shares its cluster in any run for a single slice (``quorum=1``), and ignores clusters for several (``quorum=0``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spotscape._core.validation import require_positive_int
from spotscape.nn.clustering._consensus import consensus_clusterings
from spotscape.nn.graph import Structure
from spotscape.nn.losses.cosine import l2_normalize
from spotscape.nn.similarity import most_similar

if TYPE_CHECKING:
    from spotscape.nn.batches import Batch, Known
    from spotscape.nn.graph import SpotGraph


@dataclass(frozen=True)
class Neighborhoods:
    """Neighbourhoods of all spots that have one, in compressed rows.

    Attributes
    ----------
    anchors
        Rows of the spots that have a neighbourhood, int64 ``(M,)``, ascending.
    indptr
        Begin and end of the neighbourhood of each anchor in ``indices``, int64 ``(M + 1,)``.
    indices
        Rows of the spots in each neighbourhood, int64 ``(P,)``, ascending within a neighbourhood.
    n_spots
        Number of spots N of the tissue.
    """

    anchors: Tensor
    indptr: Tensor
    indices: Tensor
    n_spots: int

    @property
    def n_anchors(self) -> int:
        """Number of spots M that have a neighbourhood."""
        return len(self.anchors)

    @cached_property
    def structure(self) -> Structure:
        """The neighbourhoods as a sparse matrix of anchors by spots. Its transpose is computed only once."""
        return Structure(self.indptr, self.indices, self.n_spots)


class HybridMemory(nn.Module):
    """The last neighbourhoods of each of B encoders. It is a module, so that a checkpoint includes them."""

    def __init__(self, n_encoders: int) -> None:
        super().__init__()
        none = torch.empty(0, dtype=torch.int64)
        self.current = [Neighborhoods(none, torch.zeros(1, dtype=torch.int64), none, 0)] * n_encoders
        self.n_searches = 0

    def is_due(self, epoch: float, every: float) -> bool:
        """Whether to search the neighbourhoods again. Call it once in each step."""
        is_due = epoch >= self.n_searches * every
        self.n_searches += is_due
        return is_due

    def search(
        self,
        embeddings: Tensor,
        graph: SpotGraph,
        *,
        seed: int,
        most: int | None,
        clusterings: tuple[int, int],
        **how: Any,
    ) -> None:
        """Search neighbourhoods of all spots, or of ``most`` drawn ones, in the embedding of each encoder."""
        self.current = []
        for embedding in embeddings:
            generator = torch.Generator(embedding.device).manual_seed(seed)
            queries = None
            if most is not None and most < len(embedding):
                queries = torch.randperm(len(embedding), generator=generator, device=embedding.device)[:most]
            found = consensus_clusterings(embedding, *clusterings, generator)
            self.current.append(hybrid_neighborhoods(embedding, graph, found, queries=queries, **how))

    def get_extra_state(self) -> dict[str, Any]:
        """The state that a checkpoint includes."""
        current = [{field.name: getattr(one, field.name) for field in fields(one)} for one in self.current]
        return {"n_searches": self.n_searches, "current": current}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.n_searches = state["n_searches"]
        self.current = [Neighborhoods(**one) for one in state["current"]]


def within_batch(whole: Neighborhoods, batch: Batch, known: Known) -> tuple[Tensor | None, Neighborhoods]:
    """The neighbourhoods of the anchors inside a batch, as positions among the rows that take part.

    First these rows, those inside the batch first; ``None`` if ``known`` holds current rows of all spots.
    """
    if known.memory is None:
        return None, whole
    inside = batch.inside
    chosen = torch.isin(whole.anchors, inside)
    counts = whole.indptr.diff()
    positives = whole.indices[torch.repeat_interleave(chosen, counts)]
    others = positives.unique()
    others = others[~torch.isin(others, inside)]
    rows = torch.cat([inside, others])
    order = rows.argsort()
    anchors, indices = (order[torch.searchsorted(rows[order], wanted)] for wanted in (whole.anchors[chosen], positives))
    indptr = torch.cat([counts.new_zeros(1), counts[chosen].cumsum(0)])
    return rows, Neighborhoods(anchors, indptr, indices, len(rows))


@torch.no_grad()
def hybrid_neighborhoods(
    embeddings: Tensor,
    graph: SpotGraph,
    clusterings: Tensor,
    *,
    n_similar: int = 20,
    quorum: int = 3,
    slices: Tensor | None = None,
    queries: Tensor | None = None,
) -> Neighborhoods:
    """Find the hybrid neighbourhood of each spot: similar spots that are spatial neighbours or in the same cluster.

    Parameters
    ----------
    embeddings
        Shape ``(N, d)``. The rows may have any length. All tensors are on one device.
    graph
        The spatial graph. Its self-loops are ignored. It may join slices.
    clusterings
        Cluster of each spot in R clusterings, int64 ``(R, N)``, from :func:`consensus_clusterings`.
    n_similar
        The k of the formula, 10 to 30 in the paper. If a slice has fewer spots, all of them are used.
    quorum
        The q of the formula: in how many of the R clusterings two spots must share a cluster, unless they are spatial
        neighbours. 1 means "in any", as in the released code for a single slice. 0 takes every similar spot, as in the
        released code for several slices.
    slices
        Slice of each spot, int64 ``(N,)``, any numbers. With two slices or more, similar spots within and between
        slices are searched separately and have to be mutual. A single slice gives the same result as ``None``.
    queries
        Spots whose neighbourhoods are searched, int64 ``(Q,)``, in any order; ``None`` means all. The search then costs
        :math:`O(QNd)` instead of :math:`O(N^2d)`. With several slices, a second search starts from the spots that pass
        both filters, at most :math:`2k` for each query, to find out which pairs are mutual.

    Returns
    -------
    Anchors and their neighbourhoods. Spots with an empty neighbourhood are left out. :func:`most_similar` decides which
    of equally similar spots are taken, the same ones each time. Nothing carries a gradient.

    Examples
    --------
    >>> import torch
    >>> from scipy import sparse
    >>> from spotscape.nn import SpotGraph, hybrid_neighborhoods
    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [0.0, 1.0]])
    >>> chain = SpotGraph.from_adjacency(sparse.eye_array(4, k=1) + sparse.eye_array(4, k=-1))
    >>> found = hybrid_neighborhoods(embeddings, chain, torch.tensor([[0, 1, 0, 0]]), n_similar=2, quorum=1)
    >>> [part.tolist() for part in found.indices.split(found.indptr.diff().tolist())]
    [[1, 2], [0, 2], [0, 1], [2]]
    """
    _check(embeddings, graph, clusterings, slices, queries)
    require_positive_int(n_similar, "n_similar")
    if require_positive_int(quorum, "quorum", minimum=0) > len(clusterings):
        msg = f"quorum={quorum} is more than the {len(clusterings)} clusterings; no two spots can agree that often."
        raise ValueError(msg)
    n_spots = graph.n_spots
    directions = l2_normalize(embeddings)
    if slices is None:
        slices = torch.zeros(n_spots, dtype=torch.int64, device=embeddings.device)
    spots = torch.arange(n_spots, device=embeddings.device) if queries is None else queries.unique()
    several = len(slices.unique()) > 1
    edges = (graph.structure.rows * n_spots + graph.structure.indices).sort().values
    kept = []
    for between in (False, True) if several else (False,):
        search = partial(_similar_pairs, directions, k=n_similar, slices=slices, between=between)
        similar = search(spots)
        votes = torch.zeros_like(similar)
        for labels in clusterings:
            votes += labels[similar // n_spots] == labels[similar % n_spots]
        pairs = similar[_contains(edges, similar) | (votes >= quorum)]
        if several:
            # A pair is kept if the search from its second spot finds the first.
            first, second = pairs // n_spots, pairs % n_spots
            others = second.unique()
            back = search(others[~_contains(spots, others)])
            found = torch.cat([similar, back]).sort().values
            pairs = pairs[_contains(found, second * n_spots + first)]
        kept.append(pairs)
    pairs = torch.cat(kept).sort().values
    anchors, counts = (pairs // n_spots).unique_consecutive(return_counts=True)
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Neighborhoods(anchors, indptr, pairs % n_spots, n_spots)


def _similar_pairs(directions: Tensor, spots: Tensor, *, k: int, slices: Tensor, between: bool) -> Tensor:
    """The ``k`` most similar spots of each of ``spots`` ``(Q,)``, in its own slice or in all others: pairs ``(P,)``."""
    found = [spots.new_empty(0)]
    for own in slices[spots].unique():
        sources = spots[slices[spots] == own]
        candidates = ((slices == own) != between).nonzero()[:, 0]
        if not between and len(candidates) == 1:
            continue
        itself = None if between else torch.searchsorted(candidates, sources)
        best = most_similar(directions[sources], directions[candidates], k, exclude=itself).indices
        found.append((sources[:, None] * len(slices) + candidates[best]).flatten())
    return torch.cat(found)


def _contains(ascending: Tensor, values: Tensor) -> Tensor:
    """Which ``values`` ``(P,)`` are among the ``ascending`` numbers ``(E,)``."""
    if len(ascending) == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    places = torch.searchsorted(ascending, values).clamp_max(len(ascending) - 1)
    return ascending[places] == values


def _check(
    embeddings: Tensor, graph: SpotGraph, clusterings: Tensor, slices: Tensor | None, queries: Tensor | None
) -> None:
    n_spots = graph.n_spots
    if embeddings.ndim != 2 or len(embeddings) != n_spots:
        msg = f"embeddings has shape {tuple(embeddings.shape)}; expected a row for each of the graph's {n_spots} spots."
        raise ValueError(msg)
    if clusterings.ndim != 2 or clusterings.shape[1] != n_spots:
        msg = f"clusterings has shape {tuple(clusterings.shape)}; expected (R, {n_spots}), one row per clustering."
        raise ValueError(msg)
    if slices is not None and slices.shape != (n_spots,):
        msg = f"slices has shape {tuple(slices.shape)}; expected one number for each of the {n_spots} spots."
        raise ValueError(msg)
    if queries is not None and queries.ndim != 1:
        msg = f"queries has shape {tuple(queries.shape)}; expected rows of spots, (Q,)."
        raise ValueError(msg)
    if queries is not None and len(queries) and not 0 <= int(queries.min()) <= int(queries.max()) < n_spots:
        msg = f"queries holds {int(queries.min())} to {int(queries.max())}; rows of spots are 0 to {n_spots - 1}."
        raise ValueError(msg)
