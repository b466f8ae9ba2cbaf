r"""Similarity scaling, an objective of Spotscape for several slices.

*Idea.* A spot should be as similar to its best matches in another slice as to its best matches in its own slice.

*Mutual matches.* If slice :math:`j` lacks the region of a spot, the formula pulls the spot onto another region. With
``mutual``, a spot has a term only if the most similar spot of slice :math:`j` has :math:`u` among its :math:`m` most
similar spots of slice :math:`i` (Haghverdi et al., Nature Biotechnology 2018). The mean is still over all spots.

*Computation.* Matches are searched without gradients; the mean of :math:`k` products is one product with the mean of
:math:`k` rows. Both means are estimated from a sample (:func:`draw_meetings`): each slice is compared with one other
slice in a step, for some of its spots, among 20,000 spots at most. The expected value is the same.

Source: Oh et al., ICML 2025 (arXiv 2506.15698), formula of the text. The released code differs: its mask is wrong for
three slices or more, it sums over pairs instead of averaging, and it counts a spot as its own neighbour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from spotscape.nn.similarity import most_similar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from spotscape.nn.batches import Known

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
