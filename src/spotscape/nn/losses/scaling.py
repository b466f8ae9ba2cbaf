r"""Similarity scaling: a spot should be as similar to its best matches in another slice as to those in its own.

Nothing in the telescope compares slices, so each may end with similarities of its own scale, and spots keep closest
to their own slice. For spot :math:`u` of slice :math:`i`, with row-normalised embeddings :math:`\hat a, \hat b` of
two views,

.. math:: s_{in}(u) = \frac1k \sum_{v \in \mathrm{top}_k(i \setminus u)} \hat a_u \cdot \hat b_v, \qquad
          s_{out}(u, j) = \frac1k \sum_{v \in \mathrm{top}_k(j)} \hat a_u \cdot \hat b_v, \qquad
          L = \operatorname*{mean}_{i \ne j}\;\operatorname*{mean}_{u \in i}\;\bigl(s_{in}(u) - s_{out}(u, j)\bigr)^2 .

Only the selected pairs carry a gradient. *Which* they are is found without one, by a streaming search; the mean of
products is then one product with the mean of the selected rows. Value and gradient are those of the dense formula,
and memory is linear.

Both means may be taken over a sample, drawn anew in each step: each slice meets one other, at random, and is asked for
some of its spots (:func:`draw_meetings`). The expectation is the same, and a step costs :math:`O(QNd/S)` for
:math:`Q` spots of :math:`S` slices, instead of :math:`O(N^2 d)`. Of slices with more than 20,000 spots in all, matches
are sought among as many, drawn at random.

Source: Oh et al., ICML 2025 (arXiv 2506.15698). The released code masks wrongly from three slices on, adds pairs up
instead of averaging, and counts a spot among its own neighbours; this is the formula of the text.
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

# Slices that are asked in a step, and spots of all slices together among which matches are sought: the time of a step
# no longer grows from there.
_MOST_MEETINGS, _MOST_CANDIDATES = 16, 20_000


class Meeting(NamedTuple):
    """A slice that is compared with another.

    Attributes
    ----------
    own, other
        Rows of the spots of both among which matches are sought, int64.
    places
        Places in ``own`` of the spots u to average over, int64.
    """

    own: Tensor
    other: Tensor
    places: Tensor


def draw_meetings(
    slices: Sequence[Tensor], n_spots: int | None, seed: int, *, inside: Tensor | None = None
) -> list[Meeting]:
    """Draw which slices are compared in a step, and for which of their spots.

    Parameters
    ----------
    slices
        Rows of the spots of each slice, at least 2 slices of at least 2 spots, int64 ``(n_i,)``.
    n_spots
        Spots u in all, drawn with replacement, evenly from the slices. ``None`` takes all ordered pairs of slices with
        all spots, as the paper does.
    seed
        Of the draw.
    inside
        Which spots may be a u, those of a batch, bool ``(N,)``; ``None`` for any.
    """
    n_slices, device = len(slices), slices[0].device
    if n_spots is None:
        return [
            Meeting(own, other, _allowed(own, inside))
            for i, own in enumerate(slices)
            for j, other in enumerate(slices)
            if i != j
        ]
    # Which slices is decided on the host, so that it need not wait for a device to say.
    chooser = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(seed)
    asked = chooser.permutation(n_slices)[:_MOST_MEETINGS].tolist()
    steps = chooser.integers(1, n_slices, len(asked)).tolist()
    most, share = max(_MOST_CANDIDATES // n_slices, 2), -(-n_spots // len(asked))
    meetings = []
    for one, step in zip(asked, steps, strict=True):
        own, other = (_sampled(slices[number % n_slices], most, generator) for number in (one, one + step))
        places = _allowed(own, inside)
        if len(places):
            drawn = torch.randint(len(places), (min(share, len(places)),), generator=generator, device=device)
            meetings.append(Meeting(own, other, places[drawn]))
    return meetings


def _allowed(rows: Tensor, inside: Tensor | None) -> Tensor:
    return torch.arange(len(rows), device=rows.device) if inside is None else inside[rows].nonzero()[:, 0]


def _sampled(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """All rows of a slice, or as many at random; matches are sought among them, at a cost in proportion."""
    if len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:most]]


def scaling_loss(first: Known, second: Known, meetings: Sequence[Meeting], *, n_neighbors: int = 5) -> Tensor:
    """Compute the loss of similarity scaling of two views over several slices.

    Parameters
    ----------
    first, second
        Embeddings of the spots of a tissue in two views, of B encoders, rows of length 1.
    meetings
        What is compared: see :func:`draw_meetings`.
    n_neighbors
        The k of the formula; slices with fewer spots give what they have.

    Returns
    -------
    The mean over meetings of the mean over their spots, ``(B,)``.
    """
    total = first.rows.new_zeros(len(first.rows))
    for own, other, places in meetings:
        spots, around, across = first.take(own[places]), second.take(own), second.take(other)
        terms = [
            _mean_similarity(u, v, n_neighbors, exclude=places) - _mean_similarity(u, w, n_neighbors)
            for u, v, w in zip(spots, around, across, strict=True)
        ]
        total = total + torch.stack(terms).square().mean(1) if len(places) else total
    return total / max(len(meetings), 1)


def _mean_similarity(anchors: Tensor, candidates: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
    """Mean product of each anchor ``(Q, d)`` with its k best candidates ``(M, d)``: shape ``(Q,)``."""
    best = most_similar(anchors, candidates, k, exclude=exclude).indices
    means: Tensor = embedding_bag(best, candidates, mode="mean")
    return (anchors * means).sum(1)
