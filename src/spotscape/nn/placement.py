r"""New slices in the embedding of a training that is over: their offset is taken off, the training stays as it is.

What :func:`spotscape.nn.integrate` does for slices among each other, with one side fixed. Spots of the new slice and
reference spots that are among each other's k most similar are taken to be the same place; the offset of the slice is a
smooth function of the place in latent space, :math:`b(u) = \sum_p r_{up}\,\beta_p` with :math:`r_{up}` the soft
membership of spot :math:`u` in prototype :math:`p` of the reference, found by ridge regression over the pairs,

.. math:: \min_\beta \sum_{(u,v)} \bigl\lVert z_u - b(u) - z_v \bigr\rVert^2 + \lambda \lVert \beta \rVert^2 ,

and subtracted. In the end each spot becomes the mean, every slice counted once, of itself and its partners.

Each new slice is placed by itself, so where it comes to lie does not depend on which others are embedded with it.

That a reference is kept and new samples are moved onto it is from Symphony (Kang et al., Nature Communications 2021),
which does it for Harmony.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from spotscape._core.validation import require_positive_int
from spotscape.nn.clustering._spherical import lloyd_step, seeded_centres
from spotscape.nn.integration import _LLOYD_STEPS, _MANY_MORE, _SOFTNESS, _SPOTS_PER_PROTOTYPE
from spotscape.nn.matching import Matches, are_mutual
from spotscape.nn.similarity import most_similar

Pairs = list[tuple[Tensor, Tensor]]


def place(
    embedding: np.ndarray,
    reference: np.ndarray,
    *,
    slices: np.ndarray | None = None,
    reference_slices: np.ndarray | None = None,
    n_neighbors: int = 10,
    n_prototypes: int = 100,
    n_rounds: int = 2,
    ridge: float = 1.0,
    average: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Take the offsets of new slices to a reference off their embedding.

    Parameters
    ----------
    embedding
        New spots, ``(N, d)``, finite.
    reference
        Spots of the training, ``(R, d)``, finite; they stay where they are.
    slices
        Slice of each new spot, any labels, ``(N,)``; ``None`` for a single one.
    reference_slices
        Slice of each spot of the reference, ``(R,)``; ``None`` for a single one.
    n_neighbors
        Spots are partners if each is among this many most similar spots of the other's slice.
    n_prototypes
        Resolution of the offset fields; fewer where there are fewer than 30 spots of the reference to each.
    n_rounds
        Rounds of finding partners and subtracting.
    ridge
        Penalty on offsets, in units of the pairs of one spot: larger leaves more of the difference.
    average
        Whether spots are averaged with their partners at the end.
    seed
        Seed of the prototypes.
    device
        Where to search.

    Returns
    -------
    The new spots without their offsets, float32 ``(N, d)``.

    Raises
    ------
    ValueError
        If the two have not the same width.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import place
    >>> domains = np.repeat(6 * np.eye(3), 100, axis=0)
    >>> rng = np.random.default_rng(0)
    >>> reference, new = (domains + rng.normal(0, 0.5, (300, 3)) for _ in range(2))
    >>> shifted = new + [1.0, -1.0, 0.5]
    >>> found = (shifted, place(shifted, reference))
    >>> [round(float(np.linalg.norm(spots - domains, axis=1).mean()), 1) for spots in found]
    [1.6, 1.0]
    """
    require_positive_int(n_neighbors, "n_neighbors")
    require_positive_int(n_prototypes, "n_prototypes")
    # A copy: an array of that type would be written to otherwise.
    values = torch.tensor(np.asarray(embedding), dtype=torch.float64, device=device)
    fixed = torch.as_tensor(np.asarray(reference), dtype=torch.float64).to(device)
    if values.shape[1] != fixed.shape[1]:
        msg = f"the embedding has {values.shape[1]} axes, the reference {fixed.shape[1]}; both must be of one model."
        raise ValueError(msg)
    frame = _Frame(fixed, _rows(reference_slices, len(fixed), device), n_prototypes, seed, n_neighbors)
    for own in _rows(slices, len(values), device):
        values[own] = frame.place(values[own], n_rounds, ridge * n_neighbors, average=average)
    return values.float().cpu().numpy()


class _Frame:
    """The reference: its spots, slices and prototypes."""

    def __init__(self, points: Tensor, slices: list[Tensor], n_prototypes: int, seed: int, k: int) -> None:
        self.points, self.slices, self.k = points, slices, k
        self.mean = points.mean(0)
        directions = self._directions(points)
        wanted = max(1, min(n_prototypes, len(points) // _SPOTS_PER_PROTOTYPE))
        self.centres = seeded_centres(directions, wanted, torch.Generator(points.device).manual_seed(seed))
        for _ in range(_LLOYD_STEPS):
            self.centres = lloyd_step(directions, self.centres)

    def place(self, values: Tensor, n_rounds: int, penalty: float, *, average: bool) -> Tensor:
        """One new slice without its offset."""
        for _ in range(n_rounds):
            memberships = (2 * (self._directions(values) @ self.centres.T) / _SOFTNESS).softmax(1).double()
            values = values - memberships @ self._solve(values, memberships, self._partners(values), penalty)
        return self._average(values) if average else values

    def _directions(self, values: Tensor) -> Tensor:
        return normalize((values - self.mean).float(), dim=1)

    def _partners(self, values: Tensor) -> Pairs:
        """Pairs with each slice of the reference; an offset may keep the two apart but for a few spots at the edge."""
        pairs = self._mutual(self._directions(values), [self._directions(self.points[own]) for own in self.slices])
        needed = _MANY_MORE * self._share(pairs, len(values))
        if needed >= 1:
            return pairs
        centred = [self.points[own] - self.points[own].mean(0) for own in self.slices]
        around_own = self._mutual(
            normalize((values - values.mean(0)).float(), dim=1), [normalize(own.float(), dim=1) for own in centred]
        )
        return around_own if self._share(around_own, len(values)) > needed else pairs

    def _mutual(self, here: Tensor, there: list[Tensor]) -> Pairs:
        found = []
        for own, directions in zip(self.slices, there, strict=True):
            forth, back = (most_similar(*both, self.k).indices for both in ((here, directions), (directions, here)))
            kept = are_mutual(forth, back)
            found.append((kept.nonzero()[:, 0], own[forth[kept]]))
        return found

    def _share(self, pairs: Pairs, n_spots: int) -> float:
        shares = [
            min(len(spots.unique()), len(partners.unique())) / min(n_spots, len(own))
            for own, (spots, partners) in zip(self.slices, pairs, strict=True)
        ]
        return sum(shares) / len(shares)

    def _solve(self, values: Tensor, memberships: Tensor, pairs: Pairs, penalty: float) -> Tensor:
        spots, partners = (torch.cat(side) for side in zip(*pairs, strict=True))
        left = memberships[spots]
        gram = left.T @ left + penalty * torch.eye(left.shape[1], dtype=left.dtype, device=left.device)
        offsets: Tensor = torch.linalg.solve(gram, left.T @ (values[spots] - self.points[partners]))
        return offsets

    def _average(self, values: Tensor) -> Tensor:
        total, count = values.clone(), torch.ones(len(values), 1, dtype=values.dtype, device=values.device)
        for spots, partners in self._mutual(
            self._directions(values), [self._directions(self.points[own]) for own in self.slices]
        ):
            degree = torch.bincount(spots, minlength=len(values))[:, None]
            sums = torch.zeros_like(values).index_add_(0, spots, self.points[partners])
            total += sums / degree.clamp(min=1)
            count += degree > 0
        return total / count


def nearest(queries: np.ndarray, references: np.ndarray, n_neighbors: int) -> Matches:
    """Find for each query the nearest references by Euclidean distance, in which domains by k-means are compact.

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


def _rows(slices: np.ndarray | None, n_spots: int, device: torch.device | str) -> list[Tensor]:
    if slices is None:
        return [torch.arange(n_spots, device=device)]
    return [torch.from_numpy(np.flatnonzero(slices == name)).to(device) for name in np.unique(slices)]
