r"""Similarity scaling: a spot should be as similar to its best matches in another slice as to those in its own.

Nothing in the telescope compares slices, so each may end with similarities of its own scale, and spots keep closest
to their own slice. For spot :math:`u` of slice :math:`i`, with row-normalised embeddings :math:`\hat a, \hat b` of
two views,

.. math:: s_{in}(u) = \frac1k \sum_{v \in \mathrm{top}_k(i \setminus u)} \hat a_u \cdot \hat b_v, \qquad
          s_{out}(u, j) = \frac1k \sum_{v \in \mathrm{top}_k(j)} \hat a_u \cdot \hat b_v, \qquad
          L = \operatorname*{mean}_{i \ne j}\;\operatorname*{mean}_{u \in i}\;\bigl(s_{in}(u) - s_{out}(u, j)\bigr)^2 .

Only the selected pairs carry a gradient. *Which* they are is found without one, by a streaming search; the mean of
products is then one product with the mean of the selected rows. Value and gradient are those of the dense formula,
and memory is linear. The mean over :math:`u` may be taken over some spots of each slice, drawn anew in each step: the
expectation is the same, and a step costs :math:`O(QNd)` for :math:`Q` spots instead of :math:`O(N^2d)`.

Source: Oh et al., ICML 2025 (arXiv 2506.15698). The released code masks wrongly from three slices on, adds pairs up
instead of averaging, and counts a spot among its own neighbours; this is the formula of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import embedding_bag, normalize

from spotscape.nn.similarity import most_similar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def scaling_loss(
    first: Tensor,
    second: Tensor,
    slices: Sequence[Tensor],
    *,
    n_neighbors: int = 5,
    queries: Sequence[Tensor] | None = None,
) -> Tensor:
    """Similarity scaling loss of two views over several slices.

    Parameters
    ----------
    first, second
        Embeddings of the same spots in two views, each ``(N, d)``; rows of any length.
    slices
        Rows of the spots of each slice, at least 2 slices of at least 2 spots, int64 ``(n_i,)``.
    n_neighbors
        The k of the formula; slices with fewer spots give what they have.
    queries
        For each slice the positions in it, int64, of the spots u to average over. ``None`` takes all.

    Returns
    -------
    A scalar.
    """
    a, b = normalize(first, dim=1), normalize(second, dim=1)
    chosen = [torch.arange(len(rows), device=rows.device) for rows in slices] if queries is None else queries
    anchors = [a[rows[own]] for rows, own in zip(slices, chosen, strict=True)]
    return anchored_scaling_loss(anchors, chosen, [b[rows] for rows in slices], n_neighbors=n_neighbors)


def anchored_scaling_loss(
    anchors: Sequence[Tensor], places: Sequence[Tensor], candidates: Sequence[Tensor], *, n_neighbors: int = 5
) -> Tensor:
    """Similarity scaling of some spots u, with the spots v of each slice given apart from them.

    Parameters
    ----------
    anchors
        For each slice the spots u in one view, ``(Q_i, d)``, rows of length 1; there may be none in some slices.
    places
        Rows of ``candidates`` that are these spots, and so not their own neighbours, int64 ``(Q_i,)``.
    candidates
        For each slice the spots v in the other view, ``(M_i, d)``, rows of length 1.
    n_neighbors
        The k of the formula.

    Returns
    -------
    A scalar.
    """
    terms = []
    for i, (spots, own) in enumerate(zip(anchors, places, strict=True)):
        if not len(spots):
            continue
        inside = _mean_similarity(spots, candidates[i], n_neighbors, exclude=own)
        terms += [
            (inside - _mean_similarity(spots, other, n_neighbors)).square().mean()
            for j, other in enumerate(candidates)
            if j != i
        ]
    return torch.stack(terms).mean()


def _mean_similarity(anchors: Tensor, candidates: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
    """Mean product of each anchor ``(Q, d)`` with its k best candidates ``(M, d)``: shape ``(Q,)``."""
    best = most_similar(anchors, candidates, k, exclude=exclude).indices
    means: Tensor = embedding_bag(best, candidates, mode="mean")
    return (anchors * means).sum(1)
