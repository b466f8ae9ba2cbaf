r"""Cross-masked latent consistency: a spot that one encoder could not see should be found where the other saw it.

With closeness :math:`s = (1 + \cos)/2`, :math:`s^+` between the projected online embedding of a masked spot and the
target embedding of the same spot, :math:`s^-` between it and the target embeddings of other spots drawn at random,

.. math:: L = \tfrac12 \operatorname{mean}\bigl(-\log (s^+)^2\bigr)
            + \tfrac12 \operatorname{mean}\bigl(-\log(1 - (s^-)^2)\bigr) .

No gradient reaches the target. Both logarithms go on as their tangents where their argument falls below
:math:`\varepsilon`: a spot opposite to its own target, or aligned with another's.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotscape.nn.losses.cosine import EPS, cosine, guarded_log, l2_normalize

if TYPE_CHECKING:
    from torch import Tensor


def consistency_loss(online: Tensor, target: Tensor, negatives: Tensor, *, eps: float = EPS) -> Tensor:
    """Compute the cross-masked latent consistency loss, in O(M d) time and memory.

    Parameters
    ----------
    online
        Projected embeddings of the masked spots, ``(..., M, d)``; rows of any length.
    target
        Embeddings of the same spots by the target encoder, ``(..., M, d)``; no gradient flows into them.
    negatives
        Rows of ``target`` that hold other spots, int64 ``(M, K)``, in each row distinct and not the row itself: see
        :func:`sample_negatives`. The paper takes K = 2; with K = 0 there is no second term.
    eps
        Value of either logarithm's argument below which it goes on as its tangent: ``(1 + cos) / 2`` in the first
        term, ``1 - ((1 + cos) / 2)²`` in the second.

    Returns
    -------
    The loss of each row, ``(..., M)``; the objective is its mean.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import consistency_loss
    >>> spots = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> [round(value, 4) for value in consistency_loss(spots, spots, torch.tensor([[1], [0]])).tolist()]
    [0.1438, 0.1438]
    """
    online, target = l2_normalize(online), l2_normalize(target.detach())
    attraction = -2 * guarded_log((1 + cosine(online, target)) / 2, eps)
    if negatives.shape[1] == 0:
        return attraction / 2
    others = target.index_select(-2, negatives.flatten()).unflatten(-2, negatives.shape)
    closeness = (1 + cosine(online[..., :, None, :], others)) / 2
    # 1 - s² as a product keeps the digits where s is near 1.
    repulsion = -guarded_log((1 - closeness) * (1 + closeness), eps).mean(-1)
    return (attraction + repulsion) / 2
