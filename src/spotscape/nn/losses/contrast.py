"""Neighbourhood contrast, an objective of SpaCross.

*Idea.* The neighbourhood of a spot is summarised by one vector. A discriminator should recognise that the spot belongs
to this summary, and that another spot, drawn at random, does not.

*Difference from the released code.* The released code scores every anchor with every summary, once as correct and once
as wrong pairs. Each pair has both labels then, and nothing can be learned. ``pairing="all"`` does this, to reproduce
published numbers, in quadratic time and linear memory.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

from spotscape._core.validation import require_choice

if TYPE_CHECKING:
    from spotscape.nn.hybrid import Neighborhoods

Pairing = Literal["row", "all"]

# Scores in one tile of all pairs: 16 MB in float32.
_TILE_ENTRIES = 2**22


def contrast_loss(
    embeddings: Tensor,
    neighborhoods: Neighborhoods,
    negatives: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    pairing: Pairing = "row",
) -> Tensor:
    r"""Contrast spots with summaries of neighbourhoods by a bilinear discriminator.

    .. math:: L = \operatorname*{mean}_u \bigl[-\log \sigma(D(z_u, s_u))\bigr]
                + \operatorname*{mean}_u \bigl[-\log (1 - \sigma(D(z_{v(u)}, s_u)))\bigr] ,

    with :math:`z_u` the embedding of anchor u, :math:`v(u)` another spot, :math:`\sigma` the logistic function,
    :math:`D(z, s) = z^\top W s + b`, and :math:`s_u` the summary of the neighbourhood of u: :math:`\sigma` of its mean
    embedding.

    Parameters
    ----------
    embeddings
        Embeddings of all N spots, ``(N, d)``.
    neighborhoods
        The M anchors and the neighbourhood of each.
    negatives
        For each anchor the row of another spot, int64 ``(M,)``: see :func:`sample_negatives`. The released code takes
        the anchors themselves, shuffled.
    weight, bias
        W and b of the discriminator, ``(d, d)`` and a scalar.
    pairing
        ``"row"`` scores each anchor with its own summary. ``"all"`` scores each anchor with every summary, as the
        released code does, in quadratic time.

    Returns
    -------
    The loss of each anchor, ``(M,)``. The objective is its mean. With ``pairing="all"`` all entries are equal to this
    mean.
    """
    require_choice(pairing, "pairing", ("row", "all"))
    # h W s = h · (W s): all summaries are multiplied with the weights once.
    projected = summaries(embeddings, neighborhoods) @ weight.T
    anchors, others = (embeddings.index_select(0, rows) for rows in (neighborhoods.anchors, negatives))
    if pairing == "all" and len(anchors):
        level = _mean_over_pairs(anchors, projected, bias, -1) + _mean_over_pairs(others, projected, bias, 1)
        return level.expand(len(anchors))
    positive, negative = ((rows * projected).sum(1) + bias for rows in (anchors, others))
    return softplus(-positive) + softplus(negative)


def summaries(embeddings: Tensor, neighborhoods: Neighborhoods) -> Tensor:
    """The summary of each anchor, ``(M, d)``: the logistic function of the mean embedding of its neighbourhood."""
    structure = neighborhoods.structure
    share = structure.indptr.diff().to(embeddings.dtype).reciprocal()[structure.rows]
    means: Tensor = structure.product(share[None], embeddings[None, None])[0, 0]
    return means.sigmoid()


def _mean_over_pairs(rows: Tensor, projected: Tensor, bias: Tensor, sign: int) -> Tensor:
    """Mean of ``softplus(sign * score)`` over all pairs of a row ``(M, d)`` and a projected summary ``(M, d)``."""
    return cast("Tensor", _AllPairs.apply(rows, projected, bias, sign))  # type: ignore[no-untyped-call]


class _AllPairs(torch.autograd.Function):
    """The mean over all pairs and its gradients, computed together. Two tiles of memory serve all tiles of pairs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, projected: Tensor, bias: Tensor, sign: int) -> Tensor:
        n_rows, n_pairs = max(1, _TILE_ENTRIES // len(projected)), len(rows) * len(projected)
        scores, losses = (rows.new_empty(min(n_rows, len(rows)), len(projected)) for _ in range(2))
        gradients = torch.empty_like(rows), torch.zeros_like(projected), torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float64, device=rows.device)
        for start in range(0, len(rows), n_rows):
            tile = rows[start : start + n_rows]
            score, loss = scores[: len(tile)], losses[: len(tile)]
            torch.mm(tile, projected.T, out=score).add_(bias).mul_(sign)
            total += torch.logaddexp(score, score.new_zeros(()), out=loss).sum(dtype=torch.float64)
            slope = torch.sigmoid(score, out=score).mul_(sign / n_pairs)
            torch.mm(slope, projected, out=gradients[0][start : start + n_rows])
            gradients[1].addmm_(slope.T, tile)
            gradients[2].add_(slope.sum())
        ctx.save_for_backward(*gradients)
        return (total / n_pairs).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *(part * gradient for part in ctx.saved_tensors), None
