"""Matching of spots between two slices: cosine neighbours, the offset between slices, and transfer of labels.

A batch effect between two slices is, to first order, one vector. It is estimated as the mean difference over mutual
neighbours, which belong to regions that both slices have, and it is subtracted before cosines are computed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize

from spotscape._core.validation import require_choice, require_in_range, require_positive_int
from spotscape.nn.similarity import most_similar

Offset = Literal["mutual", "mean", "none"]

# Neighbours among which mutual ones are sought for the offset, rounds at most, and spots of each
# set that are looked at: a mean over thousands of pairs gains nothing from more.
_OFFSET_NEIGHBORS = 10
_OFFSET_ROUNDS = 5
_OFFSET_SAMPLE = 2_000
# Numbers in the gathered candidates of one tile (64 MB in float32).
_TILE_NUMBERS = 2**24


class Matches(NamedTuple):
    """Matches of each query, best first.

    Attributes
    ----------
    indices
        Rows of the reference, int64 ``(Q, k)``; -1 if a query has fewer than ``k`` matches.
    similarities
        Cosines, ``(Q, k)``; in a search within a radius, minus ``(distance / radius)²``. NaN where there is no match.
    """

    indices: Tensor
    similarities: Tensor


class Votes(NamedTuple):
    """Labels that the matches of each query vote for, with confidences.

    Attributes
    ----------
    labels
        Winning label, int64 ``(Q,)``; -1 where no match has a label.
    confidence
        Its share of the vote, between 0 and 1; NaN where there is none.
    """

    labels: Tensor
    confidence: Tensor


@torch.no_grad()
def match(
    queries: Tensor,
    references: Tensor,
    n_matches: int,
    *,
    offset: Offset = "mutual",
    mutual: bool = False,
    positions: tuple[np.ndarray, np.ndarray] | None = None,
    radius: float | None = None,
) -> Matches:
    """Find for each query the most similar references.

    Parameters
    ----------
    queries
        Embedding ``(Q, d)``.
    references
        Embedding ``(M, d)``, of the same type and on the same device.
    n_matches
        Number of matches of each query; fewer are returned if there are fewer references.
    offset
        Offset that is subtracted before cosines are computed: ``"mutual"``, see :func:`batch_offset`; ``"mean"``, the
        mean of each set; or ``"none"``.
    mutual
        Keep a match only if the query is also among the ``n_matches`` best queries of that reference.
    positions
        Coordinates of queries and references in a common frame. Matches then lie within ``radius`` of the query, and
        the cosine is lowered by ``(distance / radius)²``.
    radius
        Radius for ``positions``, in their unit.

    Returns
    -------
    The matches.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn.matching import match
    >>> references = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> match(references[[2, 0]], references, 1, offset="none").indices.flatten().tolist()
    [2, 0]
    """
    require_positive_int(n_matches, "n_matches")
    require_choice(offset, "offset", get_args(Offset))
    if offset == "mutual":
        queries, references = _about_joint_mean(queries + batch_offset(queries, references), references)
    else:
        if offset == "mean":
            queries, references = queries - queries.mean(0), references - references.mean(0)
        queries, references = normalize(queries, dim=1), normalize(references, dim=1)
    found = _search(queries, references, n_matches, positions, radius)
    if not mutual:
        return found
    swapped = None if positions is None else (positions[1], positions[0])
    back = _search(references, queries, n_matches, swapped, radius)
    kept = are_mutual(found.indices, back.indices)
    # Those that stay move to the front, in their order.
    order = kept.to(torch.int8).sort(dim=1, descending=True, stable=True).indices
    kept = kept.gather(1, order)
    return Matches(
        found.indices.gather(1, order).masked_fill(~kept, -1),
        found.similarities.gather(1, order).masked_fill(~kept, torch.nan),
    )


@torch.no_grad()
def batch_offset(queries: Tensor, references: Tensor, *, n_neighs: int = _OFFSET_NEIGHBORS) -> Tensor:
    """Estimate the vector from ``queries`` to ``references`` over mutual neighbours.

    The first estimate is the difference of the means. It is wrong if one set has regions that the other lacks. Pairs of
    spots that are each among the ``n_neighs`` nearest of the other (by cosine about the joint mean) come from regions
    that both sets have. The mean difference over these pairs replaces the estimate, until the pairs stay the same.

    Parameters
    ----------
    queries
        ``(Q, d)``.
    references
        ``(M, d)``.
    n_neighs
        Number of neighbours.

    Returns
    -------
    Tensor ``(d,)``, to be added to the queries. At most 2,000 rows of each set are used, evenly spaced.
    """
    queries, references = (rows[:: -(-len(rows) // _OFFSET_SAMPLE)] for rows in (queries, references))
    offset = references.mean(0) - queries.mean(0)
    before: Tensor | None = None
    for _ in range(_OFFSET_ROUNDS):
        left, right = _about_joint_mean(queries + offset, references)
        forth, back = most_similar(left, right, n_neighs).indices, most_similar(right, left, n_neighs).indices
        kept = are_mutual(forth, back)
        pairs = torch.stack([kept.nonzero()[:, 0], forth[kept]])
        if len(pairs[0]) == 0 or (before is not None and torch.equal(pairs, before)):
            break
        offset = references[pairs[1]].mean(0) - queries[pairs[0]].mean(0)
        before = pairs
    return offset


def are_mutual(forth: Tensor, back: Tensor) -> Tensor:
    """Which entries of ``forth`` ``(Q, k)``, nearest rows or -1 for none, are also found in ``back`` ``(M, l)``."""
    n_queries, n_references = len(forth), len(back)
    ours = torch.arange(n_queries, device=forth.device)[:, None] * n_references + forth
    theirs = back * n_references + torch.arange(n_references, device=back.device)[:, None]
    return torch.isin(ours, theirs[back >= 0]) & (forth >= 0)


def mutual_share(embedding: np.ndarray, slices: np.ndarray, *, k: int = 20, n_spots: int = 2_000) -> float:
    """Share of about ``n_spots`` spots whose nearest spot in another slice has them among its own ``k`` nearest."""
    rows = some_of_each(slices, max(n_spots // len(np.unique(slices)), 20))
    points = torch.from_numpy(embedding[rows] - embedding[rows].mean(0)).float()
    codes = torch.from_numpy(np.unique(slices[rows], return_inverse=True)[1])
    # Of all candidates v, the nearest to u has the largest u v - |v|^2 / 2.
    queries = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    candidates = torch.cat([points, -points.square().sum(1, keepdim=True) / 2], dim=1)
    nearest = most_similar(queries, candidates, k, between=(codes, codes)).indices
    return float((nearest[nearest[:, 0]] == torch.arange(len(points))[:, None]).any(1).float().mean())


def some_of_each(slices: np.ndarray, most: int) -> np.ndarray:
    """Rows of at most ``most`` spots of each slice, evenly spaced."""
    groups = (np.flatnonzero(slices == name) for name in np.unique(slices))
    return np.concatenate([own[:: -(-len(own) // most)] for own in groups])


def vote(matches: Matches, labels: Tensor, n_labels: int) -> Votes:
    """Transfer labels: each match votes with its similarity; references without a label do not vote.

    Parameters
    ----------
    matches
        Matches of the queries.
    labels
        Label of every reference, int64 ``(M,)``; -1 for none.
    n_labels
        Number of labels.

    Returns
    -------
    Winning label (the first of equals) and its share of the vote. Negative similarities count as 0. If no labelled
    match of a query has a similarity above 0, all of them count the same.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn.matching import Matches, vote
    >>> matches = Matches(torch.tensor([[0, 1, 2]]), torch.tensor([[0.9, 0.5, 0.6]]))
    >>> found = vote(matches, torch.tensor([0, 1, 1]), 2)
    >>> found.labels.tolist(), round(found.confidence.item(), 2)
    ([1], 0.55)
    """
    chosen = labels[matches.indices.clamp(min=0)]
    counted = (matches.indices >= 0) & (chosen >= 0)
    weights = torch.where(counted, matches.similarities.nan_to_num(0).clamp(min=0), 0.0)
    silent = weights.sum(1, keepdim=True) <= 0
    weights = torch.where(silent, counted.to(weights.dtype), weights)
    shares = weights.new_zeros(len(weights), n_labels).scatter_add_(1, chosen.clamp(min=0), weights)
    total = weights.sum(1)
    best = shares.max(1)
    nobody = total <= 0
    return Votes(best.indices.masked_fill(nobody, -1), (best.values / total).masked_fill(nobody, torch.nan))


def _about_joint_mean(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Directions from the midpoint of the two means, which does not depend on the sizes of the sets."""
    middle = (queries.mean(0) + references.mean(0)) / 2
    return normalize(queries - middle, dim=1), normalize(references - middle, dim=1)


def _search(
    queries: Tensor,
    references: Tensor,
    k: int,
    positions: tuple[np.ndarray, np.ndarray] | None,
    radius: float | None,
) -> Matches:
    if positions is None:
        return Matches(*most_similar(queries, references, k))
    radius = require_in_range(radius, "radius", low=0, above_low=True)
    tree = cKDTree(positions[1])
    most = int(tree.query_ball_point(positions[0], radius, return_length=True).max(initial=0))
    k = min(k, len(references))
    width = max(most, k)
    rows = max(1, _TILE_NUMBERS // (width * queries.shape[1]))
    tiles = []
    for start in range(0, max(len(queries), 1), rows):
        where, tile = positions[0][start : start + rows], queries[start : start + rows]
        candidates = np.full((len(tile), width), -1, dtype=np.int64)
        for row, near in enumerate(tree.query_ball_point(where, radius)):
            candidates[row, : len(near)] = near
        gaps = np.linalg.norm(where[:, None] - positions[1][candidates], axis=2)
        indices = torch.from_numpy(candidates).to(tile.device)
        cosines = torch.einsum("qd,qcd->qc", tile, references[indices])
        scores = cosines - torch.from_numpy((gaps / radius) ** 2).to(cosines)
        best = scores.masked_fill(indices < 0, -torch.inf).topk(k, dim=1)
        none = best.values == -torch.inf
        tiles.append((indices.gather(1, best.indices).masked_fill(none, -1), best.values.masked_fill(none, torch.nan)))
    return Matches(*(torch.cat(parts) for parts in zip(*tiles, strict=True)))


def nearest(queries: np.ndarray, references: np.ndarray, n_neighbors: int) -> Matches:
    """Find for each query the nearest references by Euclidean distance.

    Parameters
    ----------
    queries
        Embedding ``(Q, d)``.
    references
        Embedding ``(M, d)``.
    n_neighbors
        Number of references to each query; fewer come back if there are fewer references.

    Returns
    -------
    The matches, nearest first, all of the same weight 1, as :func:`vote` takes them.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import nearest
    >>> nearest(np.array([[1.0]]), np.array([[0.0], [1.2], [5.0]]), 2).indices.tolist()
    [[1, 0]]
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(require_positive_int(n_neighbors, "n_neighbors"), len(references))
    found = NearestNeighbors(n_neighbors=k).fit(references).kneighbors(queries, return_distance=False)
    return Matches(torch.from_numpy(found.astype(np.int64)), torch.ones(found.shape))
