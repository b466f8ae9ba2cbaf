r"""Cross-masked latent consistency, an objective of SpaCross.

*Idea.* The online encoder cannot see a masked spot :math:`u`, but it can predict the spot from its neighbours: this is
the projection :math:`p_u`. The target encoder sees the spot and embeds it as :math:`z'_u`. The two should agree, and
:math:`p_u` should differ from the target embeddings :math:`z'_v` of a few other masked spots :math:`v`.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotscape.nn.losses.cosine import EPS, cosine, guarded_log, l2_normalize

if TYPE_CHECKING:
    from torch import Tensor


def consistency_loss(online: Tensor, target: Tensor, negatives: Tensor, *, eps: float = EPS) -> Tensor:
    r"""Compute the cross-masked latent consistency loss, in O(M d) time and memory.

    .. math:: L = \tfrac12 \operatorname*{mean}_u\bigl(-\log s(p_u, z'_u)^2\bigr)
                + \tfrac12 \operatorname*{mean}_{u,v}\bigl(-\log(1 - s(p_u, z'_v)^2)\bigr) ,

    with projections :math:`p_u`, target embeddings :math:`z'_u`, other spots v, and :math:`s = (1 + \cos) / 2`.

    Parameters
    ----------
    online
        Projections :math:`p_u` of the M masked spots, ``(..., M, d)``. The rows may have any length.
    target
        Embeddings :math:`z'_u` of the same spots by the target encoder, ``(..., M, d)``. No gradient flows into them.
    negatives
        For each masked spot the rows of ``target`` that hold its K other spots, int64 ``(M, K)``: see
        :func:`sample_negatives`. A row has distinct entries, never the spot itself. The paper takes K = 2. With K = 0
        there is no second term.
    eps
        The :math:`\varepsilon` below which a logarithm is replaced by its tangent. The arguments are
        ``(1 + cos) / 2`` in the first term and ``1 - ((1 + cos) / 2)²`` in the second.

    Returns
    -------
    The loss of each row, ``(..., M)``. The objective is its mean.

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
