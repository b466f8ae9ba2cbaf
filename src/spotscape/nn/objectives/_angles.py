r"""Angles between embeddings as losses see them: directions, closeness, and a logarithm that stays finite.

The losses are logarithms of the closeness :math:`s = (1 + \cos)/2`, which runs from 0 (opposite) to 1 (aligned). At
the end of the range the logarithm is infinite, so below :math:`\varepsilon` it goes on as its own tangent,

.. math:: \log_\varepsilon x = \begin{cases}\log x & x \ge \varepsilon \\
          \log\varepsilon + (x - \varepsilon)/\varepsilon & x < \varepsilon .\end{cases}

Value and gradient are finite and continuous, untouched from :math:`\varepsilon` on, and the gradient never vanishes:
a clamp would leave the worst spots without one. Rounding may carry a closeness below 0; the tangent goes there too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from spotscape.nn.precision import at_least_float32

# A closeness of 1e-6 is an angle within 0.12 degrees of the end, and about where float32 cosines lose their digits.
EPS = 1e-6


def directions(rows: Tensor) -> Tensor:
    """Rows ``(M, d)`` of any length, scaled to length one, in float32 at least.

    A zero row has no direction: it stays zero, at right angles to everything, and its gradient stays moderate.
    """
    rows = at_least_float32(rows)
    # A direction does not depend on this factor, so it needs no gradient; the squares of the norm cannot overflow then.
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > torch.finfo(rows.dtype).tiny ** 0.5, largest, 1.0)
    # Lengths are at least one now, except those of zero rows.
    return normalize(scaled, dim=1, eps=0.5)


def closeness(first: Tensor, second: Tensor) -> Tensor:
    """``(1 + cos) / 2`` of unit rows ``(..., d)``, row with row: ``(...)``."""
    return (1 + (first * second).sum(-1)) / 2


def guarded_log(x: Tensor, eps: float) -> Tensor:
    """``log(x)``, continued below ``eps`` by its tangent there; of any shape."""
    # Clamped, because an infinite derivative in the branch not taken would still make NaN.
    return torch.where(x >= eps, x.clamp(min=eps).log(), math.log(eps) + (x - eps) / eps)
