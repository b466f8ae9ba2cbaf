r"""Similarity telescope, the main objective of Spotscape.

*Idea.* Two views of the tissue each lack random edges and genes. The similarity of two spots, near or far, should be
the same whichever of them is taken from the first view and whichever from the second.

*Computation.* For embeddings :math:`A` and :math:`B` (N×d) of the two views, their difference :math:`M = A - B` and
their sum :math:`P = A + B`, :math:`A B^\top - B A^\top = \tfrac12 (M P^\top - P M^\top)`, whose squared norm needs
only three d×d matrices:

.. math:: L = \frac{\operatorname{tr}(M^\top M\,P^\top P) - \operatorname{tr}(P^\top M\,P^\top M)}{2 N^2}.

They are sums over spots, so those of parts of a tissue add up to those of the whole. All three are blocks of
:math:`[M\,P]^\top [M\,P]`. The traces are computed in float64, because late in training the two views nearly agree.

Source: the objective is from Oh et al., ICML 2025 (arXiv 2506.15698). The closed form is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spotscape.nn.losses.cosine import l2_normalize

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape.nn.batches import Batch, Reduce


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
