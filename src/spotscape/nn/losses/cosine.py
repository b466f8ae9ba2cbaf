r"""Cosine reconstruction: a masked spot's profile should be decoded in the right direction, whatever its length.

With the decoded row :math:`\hat x` and the true row :math:`x`, and their closeness :math:`s = (1 + \cos(\hat x, x))/2`,
which runs from 0 (opposite) to 1 (aligned), the mean over rows of

.. math:: \ell = -\log s^2 ,

0 where they are aligned, :math:`2 \ln 2` at right angles. Towards :math:`s = 0`, where the logarithm is infinite, it
goes on as its own tangent,

.. math:: \log_\varepsilon s = \begin{cases}\log s & s \ge \varepsilon \\
          \log\varepsilon + (s - \varepsilon)/\varepsilon & s < \varepsilon .\end{cases}

Value and gradient are finite and continuous, untouched from :math:`\varepsilon` on, and the gradient never vanishes:
a clamp would leave the worst spots without one. Rounding may carry a closeness below 0; the tangent goes there too.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5), which calls it scaled
cosine error; it is not the :math:`(1 - \cos)^\gamma` of GraphMAE that goes by the same name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from torch import Tensor

# A closeness of 1e-6 is an angle within 0.12 degrees of the end, and about where float32 cosines lose their digits.
EPS = 1e-6


def cosine_reconstruction_loss(decoded: Tensor, target: Tensor, *, eps: float = EPS) -> Tensor:
    """Compute the cosine reconstruction loss of decoded rows.

    Parameters
    ----------
    decoded, target
        Decoded and true features of the masked spots, each ``(..., M, G)``; rows of any length. A zero row counts as
        at right angles to everything.
    eps
        Value of ``(1 + cos) / 2`` below which the logarithm goes on as its tangent.

    Returns
    -------
    The loss of each row, ``(..., M)``; the objective is its mean.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import cosine_reconstruction_loss
    >>> spot = torch.tensor([[1.0, 0.0]])
    >>> cosine_reconstruction_loss(torch.tensor([[0.0, 5.0]]), spot).item()
    1.386...
    """
    return -2 * guarded_log((1 + cosine(l2_normalize(decoded), l2_normalize(target))) / 2, eps)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Inner products of unit rows ``(..., d)``, row with row: ``(...)``."""
    return (first * second).sum(-1)


def l2_normalize(rows: Tensor) -> Tensor:
    """Scale rows to length one, in float32 at least.

    Parameters
    ----------
    rows
        Shape ``(..., d)``.

    Returns
    -------
    The same shape. A zero row has no direction: it stays zero, at right angles to everything, and its gradient stays
    moderate.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import l2_normalize
    >>> l2_normalize(torch.tensor([[0.0, 5.0]])).tolist()
    [[0.0, 1.0]]
    """
    rows = at_least_float32(rows)
    # A direction does not depend on this factor, so it needs no gradient; the squares of the norm cannot overflow then.
    largest = rows.detach().abs().amax(dim=-1, keepdim=True)
    scaled = rows / torch.where(largest > torch.finfo(rows.dtype).tiny ** 0.5, largest, 1.0)
    # Lengths are at least one now, except those of zero rows.
    return normalize(scaled, dim=-1, eps=0.5)


def at_least_float32(x: Tensor) -> Tensor:
    """The same values in float32, or in float64 if they are: what autocast has rounded goes back."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def guarded_log(x: Tensor, eps: float) -> Tensor:
    """``log(x)``, continued below ``eps`` by its tangent there; of any shape."""
    # Clamped, because an infinite derivative in the branch not taken would still make NaN.
    return torch.where(x >= eps, x.clamp(min=eps).log(), math.log(eps) + (x - eps) / eps)
