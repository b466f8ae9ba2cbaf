"""Precision: what is given in double stays in double, and what autocast has rounded goes back to float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """The same values in float32, or in float64 if they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
