r"""Masking, consistency and contrast, of SpaCross; its fourth part is the reconstruction by cosine.

*Masking.* In each step a random share of the spots is masked in the online view, and all others in the target view. The
encoder has to predict whole spots from their neighbours.

*Cross-masked latent consistency.* The online encoder cannot see a masked spot :math:`u`, but it can predict the spot
from its neighbours: this is the projection :math:`p_u`. The target encoder sees the spot and embeds it as :math:`z'_u`.
The two should agree, and :math:`p_u` should differ from the target embeddings :math:`z'_v` of a few other masked spots
:math:`v`.

*Neighbourhood contrast.* The neighbourhood of a spot is summarised by one vector. A discriminator should recognise that
the spot belongs to this summary, and that another spot, drawn at random, does not. The released code scores every
anchor with every summary, once as correct and once as wrong pairs. Each pair has both labels then, and nothing can be
learned. ``pairing="all"`` does this, to reproduce published numbers, in quadratic time and linear memory.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

from spotscape._core.validation import require_choice, require_in_range, require_positive_int
from spotscape.nn.losses.reconstruction import EPS, cosine, guarded_log, l2_normalize

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape.nn.hybrid import Neighborhoods


class Masking(NamedTuple):
    """Which spots a view masks, and what replaces their features."""

    masked: Tensor  # Which of the N spots are masked, bool (N,)
    rows: Tensor  # Rows of the M masked spots, int64 (M,), ascending
    replaced: Tensor  # Rows of those that take the features of another spot instead of the token, int64 (R,)
    donors: Tensor  # Rows of these other spots, int64 (R,)

    def apply(self, features: Tensor) -> Tensor:
        """Features ``(N, p)``, zero where the token stands, and a column that is 1 there: ``(N, p + 1)``.

        It is the same for all encoders; a row ``token @ W`` below the weights W adds the token of each.
        """
        takes_token = self.masked.index_fill(0, self.replaced, value=False)[:, None]
        shown = features.index_copy(0, self.replaced, features.index_select(0, self.donors))
        return torch.cat([shown.masked_fill(takes_token, 0), takes_token.to(features.dtype)], dim=1)


def draw_masking(masked: Tensor, n_masked: int, replace_rate: float, generator: torch.Generator) -> Masking:
    """Draw which masked spots get the features of another spot, and of which one.

    Parameters
    ----------
    masked
        Which spots are masked, bool ``(N,)``: see :func:`draw_masked`.
    n_masked
        Number of masked spots.
    replace_rate
        Share of the masked spots that get the features of another spot, 0.05 in the paper. Because of these spots, the
        encoder cannot rely on the features of a spot alone.
    generator
        Source of randomness, on the device of ``masked``.
    """
    # Masked spots first, each kind in its order. The shape is known in advance, so the device is not waited for.
    rows = (~masked).to(torch.uint8).argsort(stable=True)[:n_masked]
    order = torch.randperm(n_masked, generator=generator, device=masked.device)
    replaced = rows[order[: round(replace_rate * n_masked)]]
    donors = sample_negatives(len(masked), 1, generator, rows=replaced)[:, 0]
    return Masking(masked, rows, replaced, donors)


def draw_masked(n_spots: int, rate: float, generator: torch.Generator) -> tuple[Tensor, int]:
    """Choose the spots to mask: ``round(rate * n_spots)`` of them, at least one, and never all.

    Parameters
    ----------
    n_spots
        Number of spots N, at least 2, so that neither this view nor its complement ``~masked`` is empty.
    rate
        Share of the spots that is masked, between 0 and 1, both excluded.
    generator
        Source of randomness.

    Returns
    -------
    Which spots are masked, bool ``(N,)``, and how many.

    Raises
    ------
    ValueError
        If there are fewer than two spots, or the rate lies outside (0, 1).

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import draw_masked
    >>> masked, n_masked = draw_masked(10, 0.3, torch.Generator())
    >>> int(masked.sum()), n_masked
    (3, 3)
    """
    require_in_range(rate, "rate", low=0, high=1, above_low=True, below_high=True)
    if n_spots < 2:
        msg = f"n_spots={n_spots}; masking needs at least 2 spots, one masked and one not."
        raise ValueError(msg)
    n_masked = min(max(round(rate * n_spots), 1), n_spots - 1)
    order = torch.randperm(n_spots, generator=generator, device=generator.device)
    masked = torch.zeros(n_spots, dtype=torch.bool, device=generator.device)
    masked[order[:n_masked]] = True
    return masked, n_masked


def sample_negatives(n: int, n_others: int, generator: torch.Generator, *, rows: Tensor | None = None) -> Tensor:
    """Draw other spots for each spot, uniformly and without replacement.

    Parameters
    ----------
    n
        Number of spots.
    n_others
        How many others each spot gets.
    generator
        Source of randomness.
    rows
        The spots to draw for, int64 ``(R,)``. ``None`` means all spots in order, R = ``n``.

    Returns
    -------
    Rows of the others, int64 ``(R, n_others)``, in random order. If there are fewer than ``n_others`` other spots, each
    spot gets all of them.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import sample_negatives
    >>> sample_negatives(3, 2, torch.Generator()).sort().values.tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    n_others = min(require_positive_int(n_others, "n_others"), max(n - 1, 0))
    taken = torch.arange(n, device=generator.device) if rows is None else rows
    taken, drawn = taken[:, None], []
    for count in range(1, n_others + 1):
        # The rank of the new spot among those not yet taken. Each taken spot with a lower or equal row adds one to it.
        spot = torch.randint(n - count, (len(taken),), generator=generator, device=generator.device)
        for earlier in taken.sort(dim=1).values.unbind(1):
            spot += spot >= earlier
        drawn.append(spot)
        taken = torch.cat([taken, spot[:, None]], dim=1)
    return torch.stack(drawn, dim=1) if drawn else taken[:, :0]


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
