"""Sums over the processes of a group, differentiably; with a single process everything stays as it is."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes.

    The gradient is summed as well: every process computes the same loss from the sum, so what reaches a process are
    the gradients of all losses, as many times that of one as there are processes. Their mean over processes, which
    DistributedDataParallel takes, is the gradient of the loss.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return tensor
    return cast("Tensor", _Summed.apply(tensor))  # type: ignore[no-untyped-call]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
