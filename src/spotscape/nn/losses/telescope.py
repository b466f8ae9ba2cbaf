r"""Similarity telescope: every spot-to-spot similarity should be the same, whichever view either spot is seen in.

With row-normalised embeddings :math:`A, B` (N×d) of two views, the loss compares all :math:`N^2` cross-view cosines:

.. math:: L = \frac{1}{N^2}\,\lVert A B^\top - B A^\top \rVert_F^2 .

Write :math:`M = A - B` and :math:`P = A + B`. Then :math:`A B^\top - B A^\top = \tfrac12 (M P^\top - P M^\top)`,
and the squared norm of that needs three d×d Gram matrices and nothing of size N×N:

.. math:: L = \frac{\operatorname{tr}(M^\top M\,P^\top P) - \operatorname{tr}(P^\top M\,P^\top M)}{2 N^2}.

Gram matrices of parts of a tissue add up to those of the whole, so the loss stays exact over chunks and machines.
:math:`M` is formed before it is multiplied: late in training the views nearly agree, and a difference of large
products would lose half of the digits. All three are blocks of one product, :math:`[M\,P]^\top [M\,P]`; what is
combined of them is in float64, which d columns make nearly free.

Source: the objective is from Oh et al., ICML 2025 (arXiv 2506.15698); the closed form is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spotscape.nn.losses.cosine import l2_normalize

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape.nn.batches import Batch, Reduce


def telescope_loss(first: Tensor, second: Tensor) -> Tensor:
    """Compute the similarity telescope loss of two views of a whole tissue, in O(N d²) time and O(N d) memory.

    Parameters
    ----------
    first, second
        Embeddings of the same spots in two views, each ``(N, d)``, or ``(B, N, d)`` of several encoders; rows of any
        length.

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
    """The telescope of all spots of the tissue, ``(B,)``, from unit rows ``(B, n, d)`` of a batch."""
    inside = slice(batch.n_inside)
    grams = telescope_grams(first[:, inside], second[:, inside])
    whole = reduce.complete("telescope", grams, batch)
    return telescope_value(whole, batch.n_total).to(first.dtype)


def telescope_grams(first: Tensor, second: Tensor) -> Tensor:
    """Gram matrix of differences and sums side by side, float64 ``(..., 2d, 2d)``, of unit rows ``(..., n, d)``."""
    both = torch.cat([first - second, first + second], dim=-1)
    return (both.mT @ both).double()


def telescope_value(grams: Tensor, n_spots: int) -> Tensor:
    """The telescope of all spots that went into the Gram matrices, ``(...)``."""
    size = grams.shape[-1] // 2
    mm, pp, pm = grams[..., :size, :size], grams[..., size:, size:], grams[..., size:, :size]
    return ((mm * pp).sum((-2, -1)) - (pm * pm.mT).sum((-2, -1))) / (2 * n_spots**2)
