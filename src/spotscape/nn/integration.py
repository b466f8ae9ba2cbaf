r"""Integration of slices: what differs between mutual neighbours in latent space is technical, and is taken off.

As iterated closest points do in the tissue, two steps alternate in the embedding:

1. *Correspondence.* Spots of two slices that are among each other's k most similar are taken to be the same place.
   A region that only one slice has finds few such partners. Slices that an offset keeps apart meet in a few spots
   at their edges only; where directions around each slice's own mean find far more partners, those are taken.
2. *Field.* The offset of slice :math:`i` is a smooth function of the place in latent space,
   :math:`b_i(u) = \sum_p r_{up}\,\beta_{ip}`, with :math:`r_{up}` the soft membership of spot :math:`u` in prototype
   :math:`p`. All offsets of all slices are found at once by ridge regression over the corresponding pairs,

   .. math:: \min_\beta \sum_{(u,v)} \bigl\lVert (z_u - b_{i(u)}(u)) - (z_v - b_{i(v)}(v)) \bigr\rVert^2
             + \lambda \lVert \beta \rVert^2 ,

   and subtracted. Where there are no pairs the ridge leaves spots where they are.

A last step uses that slices are repeated measurements: partners share their place, not their noise, so every spot that
has partners becomes the mean over slices, each counted once, of itself and of its partners there.

No slice is the reference, and the order of slices does not matter. Mutual neighbours are from Haghverdi et al. (Nat.
Biotechnol. 2018), the membership-weighted linear field is in the spirit of Harmony (Korsunsky et al., Nat. Methods
2019); their combination in one regression over all slices is ours.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import normalize

from spotscape.nn.clustering._spherical import lloyd_step, seeded_centres
from spotscape.nn.matching import are_mutual
from spotscape.nn.similarity import most_similar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Softness of memberships in cosine units: as in Harmony, neighbouring prototypes share a spot.
_SOFTNESS = 0.1
_LLOYD_STEPS = 20
# Prototypes times slices: the normal equations are a matrix of that size.
_MOST_UNKNOWNS = 4_000
_SPOTS_PER_PROTOTYPE = 30
# Slices of other composition have other means, so directions around these must find far more partners to be preferred.
_MANY_MORE = 5


def integrate(
    embedding: np.ndarray,
    slices: np.ndarray,
    *,
    n_neighbors: int = 10,
    n_prototypes: int = 100,
    n_rounds: int = 2,
    ridge: float = 1.0,
    average: bool = True,
    max_anchors: int = 20_000,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Take slice-specific offsets off an embedding, and average spots over slices.

    Parameters
    ----------
    embedding
        Shape ``(N, d)``, finite.
    slices
        Slice of each spot, any labels, ``(N,)``.
    n_neighbors
        Spots are partners if each is among this many most similar (by cosine around the mean) of the other's slice.
    n_prototypes
        Resolution of the offset fields; fewer where there are fewer than 30 spots to each, or very many slices.
    n_rounds
        Rounds of correspondence and field.
    ridge
        Penalty on offsets, in units of the pairs of one spot: larger leaves more of the slices' differences.
    average
        Whether spots are averaged with their partners at the end.
    max_anchors
        Slices with more spots look for partners among this many, drawn at random; the field applies to all.
    seed
        Seed of prototypes and draws.
    device
        Where to search.

    Returns
    -------
    The integrated embedding, of the shape of ``embedding`` and of its type, if that is a floating one.
    """
    # A copy: an array of that type would be written to otherwise.
    values = torch.tensor(np.asarray(embedding), dtype=torch.float64, device=device)
    rows = [torch.from_numpy(np.flatnonzero(slices == name)).to(device) for name in np.unique(slices)]
    generator = torch.Generator(device).manual_seed(seed)
    wanted = min(n_prototypes, _MOST_UNKNOWNS // len(rows), len(values) // _SPOTS_PER_PROTOTYPE)
    anchors = [_draw(own, max_anchors, generator) for own in rows]
    mean = values.mean(0)
    if len(rows) < 2:
        return np.array(embedding)
    for _ in range(n_rounds):
        directions = normalize((values - mean).float(), dim=1)
        memberships = _memberships(directions, max(wanted, 1), generator)
        pairs = _mutual_pairs(directions, anchors, n_neighbors)
        needed = _MANY_MORE * _share_of_partners(pairs, anchors)
        if needed < 1:
            around_own = _mutual_pairs(_around_slices(values, rows), anchors, n_neighbors)
            pairs = around_own if _share_of_partners(around_own, anchors) > needed else pairs
        offsets = _solve(values, memberships, pairs, ridge * n_neighbors)
        for own, offset in zip(rows, offsets, strict=True):
            values[own] -= memberships[own] @ offset
    if average:
        directions = normalize((values - mean).float(), dim=1)
        values = _average(values, _mutual_pairs(directions, anchors, n_neighbors))
    return values.cpu().numpy().astype(np.result_type(embedding, np.float32))


def _draw(rows: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= at_most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:at_most].sort().values]


def _memberships(directions: Tensor, n_prototypes: int, generator: torch.Generator) -> Tensor:
    """Soft memberships in prototypes of all slices together, float64 ``(N, K)``, rows adding to 1."""
    centres = seeded_centres(directions, n_prototypes, generator)
    for _ in range(_LLOYD_STEPS):
        centres = lloyd_step(directions, centres)
    return (2 * (directions @ centres.T) / _SOFTNESS).softmax(1).double()


def _mutual_pairs(directions: Tensor, rows: Sequence[Tensor], k: int) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """For each two slices the rows of spots that are among each other's ``k`` most similar."""
    found = {}
    for i, j in combinations(range(len(rows)), 2):
        here, there = directions[rows[i]], directions[rows[j]]
        forth, back = most_similar(here, there, k).indices, most_similar(there, here, k).indices
        kept = are_mutual(forth, back)
        found[i, j] = (rows[i][kept.nonzero()[:, 0]], rows[j][forth[kept]])
    return found


def _share_of_partners(pairs: dict[tuple[int, int], tuple[Tensor, Tensor]], rows: Sequence[Tensor]) -> float:
    """Share of spots that have a partner, in the smaller of two slices, on average over pairs of slices."""
    shares = [
        min(len(first.unique()), len(second.unique())) / min(len(rows[i]), len(rows[j]))
        for (i, j), (first, second) in pairs.items()
    ]
    return sum(shares) / len(shares)


def _around_slices(values: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """Directions of spots around the mean of their own slice, float32 ``(N, d)``."""
    centred = torch.empty_like(values)
    for own in rows:
        centred[own] = values[own] - values[own].mean(0)
    return normalize(centred.float(), dim=1)


def _solve(
    values: Tensor, memberships: Tensor, pairs: dict[tuple[int, int], tuple[Tensor, Tensor]], penalty: float
) -> list[Tensor]:
    """The offsets of each slice at each prototype, ``(K, d)``, from the normal equations of the ridge regression."""
    k, n_slices = memberships.shape[1], 1 + max(j for _, j in pairs)
    gram = torch.eye(n_slices * k, dtype=torch.float64, device=values.device) * penalty
    target = values.new_zeros(n_slices * k, values.shape[1])
    for (i, j), (first, second) in pairs.items():
        left, right, difference = memberships[first], memberships[second], values[first] - values[second]
        own, other = slice(i * k, (i + 1) * k), slice(j * k, (j + 1) * k)
        gram[own, own] += left.T @ left
        gram[other, other] += right.T @ right
        gram[own, other] -= left.T @ right
        gram[other, own] -= right.T @ left
        target[own] += left.T @ difference
        target[other] -= right.T @ difference
    return list(torch.linalg.solve(gram, target).split(k))


def _average(values: Tensor, pairs: dict[tuple[int, int], tuple[Tensor, Tensor]]) -> Tensor:
    """The mean over slices of each spot and its partners; spots without partners stay."""
    points = values.cpu().numpy()
    total, n_slices = points.copy(), np.ones((len(points), 1))
    for first, second in pairs.values():
        for spots, partners in ((first, second), (second, first)):
            edges = (np.ones(len(spots)), (spots.cpu().numpy(), partners.cpu().numpy()))
            means, found = _row_means(sparse.csr_array(edges, shape=(len(points), len(points))), points)
            total += means
            n_slices += found
    return torch.from_numpy(total / n_slices).to(values)


def _row_means(edges: sparse.csr_array, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    degree = np.diff(edges.indptr)[:, None]
    return (edges @ points) / np.maximum(degree, 1), degree > 0
