r"""Cosine reconstruction, an objective of SpaCross.

*Idea.* The decoded profile of a masked spot should have the same direction as the true one. Its length is free.

*Computation.* Below :math:`\varepsilon` the logarithm is replaced by its tangent,

.. math:: \log_\varepsilon s = \begin{cases}\log s & s \ge \varepsilon \\
          \log\varepsilon + (s - \varepsilon)/\varepsilon & s < \varepsilon .\end{cases}

Value and gradient are finite and continuous. After a clamp, the spots that are decoded worst would have no gradient.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5), which calls this loss scaled
cosine error. GraphMAE uses the same name for another formula, :math:`(1 - \cos)^\gamma`.
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
    r"""Compute the cosine reconstruction loss of decoded rows.

    .. math:: \ell = -\log s^2, \qquad s = \tfrac12 (1 + \cos(\hat x, x)) ,

    for each decoded row :math:`\hat x` and true row :math:`x`.

    Parameters
    ----------
    decoded, target
        Decoded and true features of the M masked spots, each ``(..., M, G)``. The rows may have any length. The cosine
        of a zero row with any other row counts as 0.
    eps
        Value of ``(1 + cos) / 2`` below which the logarithm is replaced by its tangent.

    Returns
    -------
    The loss of each row, ``(..., M)``. The objective is its mean.

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
    """Cosine of each pair of rows, given rows of length 1, ``(..., d)``: ``(...)``."""
    return (first * second).sum(-1)


def l2_normalize(rows: Tensor) -> Tensor:
    """Scale rows to length 1, in float32 or float64.

    Parameters
    ----------
    rows
        Shape ``(..., d)``.

    Returns
    -------
    The same shape. A zero row stays zero, because it has no direction. Its cosine with every row is 0, and its gradient
    is bounded.

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
    """The same values in float32, or in float64 if they are float64. This converts the 16-bit values of autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def guarded_log(x: Tensor, eps: float) -> Tensor:
    """``log(x)`` of any shape, replaced below ``eps`` by its tangent at ``eps``."""
    # Clamped, because an infinite derivative in the branch not taken would still make NaN.
    return torch.where(x >= eps, x.clamp(min=eps).log(), math.log(eps) + (x - eps) / eps)
