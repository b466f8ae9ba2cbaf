r"""Telescope, scaling and prototypes, of Spotscape; its fourth part is the reconstruction of expression.

*Similarity telescope*, the main objective. Two views of the tissue each lack random edges and genes. The similarity of
two spots, near or far, should be the same whichever of them is taken from the first view and whichever from the second.
For embeddings :math:`A` and :math:`B` (N×d) of the two views, their difference :math:`M = A - B` and their sum
:math:`P = A + B`, :math:`A B^\top - B A^\top = \tfrac12 (M P^\top - P M^\top)`, whose squared norm needs only three d×d
matrices:

.. math:: L = \frac{\operatorname{tr}(M^\top M\,P^\top P) - \operatorname{tr}(P^\top M\,P^\top M)}{2 N^2}.

They are sums over spots, so those of parts of a tissue add up to those of the whole. All three are blocks of
:math:`[M\,P]^\top [M\,P]`. The traces are computed in float64, because late in training the two views nearly agree.
This closed form is ours.

*Similarity scaling*, for several slices. A spot should be as similar to its best matches in another slice as to its
best matches in its own slice. If slice :math:`j` lacks the region of a spot, the formula pulls the spot onto another
region. With ``mutual``, a spot has a term only if the most similar spot of slice :math:`j` has :math:`u` among its
:math:`m` most similar spots of slice :math:`i` (Haghverdi et al., Nature Biotechnology 2018). The mean is still over
all spots. Matches are searched without gradients; the mean of :math:`k` products is one product with the mean of
:math:`k` rows. Both means are estimated from a sample (:func:`draw_meetings`): each slice is compared with one other
slice in a step, for some of its spots, among 20,000 spots at most. The expected value is the same. The formula is that
of the paper's text. The released code differs: its mask is wrong for three slices or more, it sums over pairs instead
of averaging, and it counts a spot as its own neighbour.

*Prototypical contrast*, for several slices. Spots are grouped around prototypes that all slices share. A spot in the
first view should be closest to the prototype to which it belongs in the second view. The paper runs k-means from
scratch in every step; here a step is one iteration (Lloyd) from the previous centres.

Source: Oh et al., ICML 2025 (arXiv 2506.15698).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, normalize, one_hot

from spotscape.nn.clustering._kmeans import lloyd_step, seeded_centres
from spotscape.nn.losses.reconstruction import l2_normalize
from spotscape.nn.similarity import most_similar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from spotscape.nn.batches import Batch, Known, Reduce


def telescope_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Compute the similarity telescope loss of two views of a whole tissue, in O(N d²) time and O(N d) memory.

    .. math:: L = \frac{1}{N^2}\,\lVert A B^\top - B A^\top \rVert_F^2 ,

    with the rows of A and B, the embeddings in the two views, scaled to length 1.

    Parameters
    ----------
    first, second
        Embeddings of the same N spots in two views, each ``(N, d)``, or ``(B, N, d)`` of B encoders. The rows may have
        any length.

    Returns
    -------
    A scalar, or one value for each encoder, ``(B,)``.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import telescope_loss
    >>> first, second = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> telescope_loss(first, second).item()
    0.5
    """
    grams = telescope_grams(l2_normalize(first), l2_normalize(second))
    return telescope_value(grams, first.shape[-2]).to(first.dtype)


def telescope_of_batch(first: Tensor, second: Tensor, batch: Batch, reduce: Reduce) -> Tensor:
    """The telescope loss over all spots of the tissue, ``(B,)``, from the unit rows ``(B, n, d)`` of a batch."""
    inside = slice(batch.n_inside)
    grams = telescope_grams(first[:, inside], second[:, inside])
    whole = reduce.complete("telescope", grams, batch)
    return telescope_value(whole, batch.n_total).to(first.dtype)


def telescope_grams(first: Tensor, second: Tensor) -> Tensor:
    """Gram matrix of differences and sums of unit rows ``(..., n, d)`` side by side, float64 ``(..., 2d, 2d)``."""
    both = torch.cat([first - second, first + second], dim=-1)
    return (both.mT @ both).double()


def telescope_value(grams: Tensor, n_spots: int) -> Tensor:
    """The telescope loss over all spots that the Gram matrices are sums of, ``(...)``."""
    size = grams.shape[-1] // 2
    mm, pp, pm = grams[..., :size, :size], grams[..., size:, size:], grams[..., size:, :size]
    return ((mm * pp).sum((-2, -1)) - (pm * pm.mT).sum((-2, -1))) / (2 * n_spots**2)


# Most slices that are compared in a step, and most spots of all slices together among which matches are searched.
# They limit the time of a step.
_MOST_MEETINGS, _MOST_CANDIDATES = 16, 20_000


class Meeting(NamedTuple):
    """A slice that is compared with another one."""

    own: Tensor  # Rows among which matches are searched
    other: Tensor
    places: Tensor  # Places in ``own`` of the spots over which the mean is taken


def draw_meetings(
    slices: Sequence[Tensor], n_spots: int | None, seed: int, *, inside: Tensor | None = None
) -> list[Meeting]:
    """Draw which slices are compared in a step, and for which of their spots.

    Parameters
    ----------
    slices
        Rows of the spots of each slice, at least 2 slices of at least 2 spots, int64 ``(n_i,)``.
    n_spots
        Total number of spots u. They are drawn with replacement, the same number from each slice. ``None`` takes all
        ordered pairs of slices with all spots, as the paper does.
    seed
        Seed of the draw.
    inside
        Spots that may be drawn as u, bool ``(N,)``, such as those of a batch. ``None`` allows all spots.
    """
    n_slices, device = len(slices), slices[0].device
    if n_spots is None:
        return [
            Meeting(own, other, _allowed(own, inside))
            for i, own in enumerate(slices)
            for j, other in enumerate(slices)
            if i != j
        ]
    # The slices are drawn on the host, which then need not wait for the device.
    chooser = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(seed)
    asked = chooser.permutation(n_slices)[:_MOST_MEETINGS].tolist()
    steps = chooser.integers(1, n_slices, len(asked)).tolist()
    most, share = max(_MOST_CANDIDATES // n_slices, 2), -(-n_spots // len(asked))
    meetings = []
    for one, step in zip(asked, steps, strict=True):
        # At most so many rows of each; the cost of the search is proportional to their number.
        pair = (slices[number % n_slices] for number in (one, one + step))
        own, other = (
            rows if len(rows) <= most else rows[torch.randperm(len(rows), generator=generator, device=device)[:most]]
            for rows in pair
        )
        places = _allowed(own, inside)
        if len(places):
            drawn = torch.randint(len(places), (min(share, len(places)),), generator=generator, device=device)
            meetings.append(Meeting(own, other, places[drawn]))
    return meetings


def _allowed(rows: Tensor, inside: Tensor | None) -> Tensor:
    return torch.arange(len(rows), device=rows.device) if inside is None else inside[rows].nonzero()[:, 0]


def scaling_loss(
    first: Known, second: Known, meetings: Sequence[Meeting], *, n_neighbors: int = 5, mutual: int | None = None
) -> Tensor:
    r"""Compute the loss of similarity scaling of two views over several slices.

    .. math:: L = \operatorname*{mean}_{i \ne j}\,\operatorname*{mean}_{u \in i}\,(s_{in}(u) - s_{out}(u, j))^2 ,

    with :math:`s_{in}(u)` the mean similarity of spot u, as the first view has it, with the k most similar spots of its
    own slice i, without itself, as the second view has them, and :math:`s_{out}(u, j)` that with those of slice j.

    Parameters
    ----------
    first, second
        Embeddings of the spots in two views by B encoders, rows of length 1.
    meetings
        The pairs of slices that are compared: see :func:`draw_meetings`.
    n_neighbors
        The k of the formula. If a slice has fewer spots, all of them are used.
    mutual
        Number m of best matches among which a match must be mutual for a spot to have a term; see the text of the
        module. ``None`` gives all spots a term, as in the paper.

    Returns
    -------
    The mean over meetings of the mean over their spots, ``(B,)``.
    """
    total = first.rows.new_zeros(len(first.rows))
    for own, other, places in meetings:
        if not len(places):
            continue
        known, around, across = first.take(own), second.take(own), second.take(other)
        terms = []
        for rows, v, w in zip(known, around, across, strict=True):
            u = rows[places]
            within = most_similar(u, v, n_neighbors, exclude=places).indices
            between = most_similar(u, w, n_neighbors).indices
            errors = (_mean_similarity(u, v, within) - _mean_similarity(u, w, between)).square()
            if mutual is not None:
                back = most_similar(w[between[:, 0]], rows, mutual).indices
                errors = errors * (back == places[:, None]).any(1)
            terms.append(errors.mean())
        total = total + torch.stack(terms)
    return total / max(len(meetings), 1)


def _mean_similarity(anchors: Tensor, candidates: Tensor, best: Tensor) -> Tensor:
    """Mean product of each anchor ``(Q, d)`` with its candidates ``best`` ``(Q, k)``: shape ``(Q,)``."""
    means: Tensor = embedding_bag(best, candidates, mode="mean")
    return (anchors * means).sum(1)


_FIRST_STEPS = 10


def prototype_loss(
    rows: Tensor, prototypes: Iterable[Tensor], labels: Iterable[Tensor], *, temperature: float = 0.75
) -> Tensor:
    r"""Compute the prototypical contrast of embeddings with prototypes of one or several granularities.

    .. math:: L = -\operatorname*{mean}_K \operatorname*{mean}_u
              \log \frac{\exp(a_u \cdot c_{y(u)} / \tau)}{\sum_{m=1}^K \exp(a_u \cdot c_m / \tau)} ,

    with :math:`a_u` the embedding of spot u, :math:`c_m` the K prototypes of a granularity, and :math:`y(u)` the
    prototype of the spot.

    Parameters
    ----------
    rows
        Embeddings of n spots in the first view by B encoders, ``(B, n, d)``, rows of length 1.
    prototypes
        Prototypes of each granularity, ``(B, K, d)``, rows of length 1.
    labels
        Prototype of each spot at each granularity, int64 ``(B, n)``.
    temperature
        The τ of the formula; 0.75 in the paper.

    Returns
    -------
    The sum over spots, averaged over granularities, ``(B,)``.
    """
    terms = []
    for centres, own in zip(prototypes, labels, strict=True):
        logits = rows @ centres.mT / temperature
        terms.append(cross_entropy(logits.flatten(0, 1), own.flatten(), reduction="none").view(own.shape).sum(1))
    return torch.stack(terms).mean(0)


class PrototypeBank(nn.Module):
    """Prototypes at several granularities that follow the embedding. They are buffers, so a checkpoint includes them.

    Parameters
    ----------
    granularities
        Number of prototypes K at each granularity.
    n_encoders, size
        Number of encoders B, and size d of their embeddings.
    """

    def __init__(self, granularities: Sequence[int], n_encoders: int, size: int) -> None:
        super().__init__()
        self.granularities = tuple(granularities)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        for number, k in enumerate(self.granularities):
            self.register_buffer(f"centres_{number}", torch.zeros(n_encoders, k, size))

    @property
    def centres(self) -> list[Tensor]:
        """The prototypes of each granularity, ``(B, K, d)``, rows of length 1; zero before the first :meth:`update`."""
        return [self.get_buffer(f"centres_{number}") for number in range(len(self.granularities))]

    @torch.no_grad()
    def update(self, rows: Tensor, batch: Batch, reduce: Reduce, seed: int) -> list[Tensor]:
        """Move the prototypes towards unit rows ``(B, n, d)``. Return the labels of each granularity, int64 ``(B, n)``.

        The first call searches the prototypes among the spots of the step, by k-means++ with the given ``seed``.
        """
        if not self.get_buffer("started"):
            known = reduce.share("prototypes", rows, batch).rows
            for centres in self.centres:
                for own, seen in zip(centres, known, strict=True):
                    found = seeded_centres(seen, len(own), torch.Generator(rows.device).manual_seed(seed))
                    for _ in range(_FIRST_STEPS):
                        found = lloyd_step(seen, found)
                    own.copy_(found)
            self.get_buffer("started").fill_(True)  # noqa: FBT003
        inside = rows[:, : batch.n_inside]
        for centres in self.centres:
            # A product with indicators instead of a scattered sum: the order of additions is fixed, also on CUDA.
            indicators = one_hot((inside @ centres.mT).argmax(2), centres.shape[1]).to(inside.dtype)
            total = reduce.total(indicators.mT @ inside)
            # A centre without spots stays.
            centres.copy_(torch.where(total.any(2, keepdim=True), normalize(total, dim=2), centres))
        return [(inside @ centres.mT).argmax(2) for centres in self.centres]
