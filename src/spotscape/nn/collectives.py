"""Sums over the processes of a group, differentiably; with a single process everything stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed

from spotscape.nn.tiles import Region

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from spotscape.nn.graph import SpotGraph


@dataclass(frozen=True, eq=False)
class Part:
    """What one of several processes holds of a tissue, and how it hears of the others.

    Attributes
    ----------
    region
        The spots of this process, with the halo that they depend on.
    n_spots
        Spots of the whole tissue; each is in one process.
    total
        Sums a tensor over processes, and its gradient too: see :func:`summed`.
    """

    region: Region
    n_spots: int
    total: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, graph: SpotGraph, inside: Tensor, n_hops: int, total: Callable[[Tensor], Tensor]) -> Self:
        """The part with the spots ``inside``, int64, and as many rings around them as there are graph convolutions."""
        return cls(Region.around(graph, inside, n_hops), graph.n_spots, total)

    def gathered(self, values: Tensor) -> Tensor:
        """What all processes know of their own spots, ``(N, d)``; given are the spots of the region, or those inside.

        Every number is added to zeros only, so all processes get the same bits.
        """
        inside = self.region.inside
        everywhere = values.new_zeros(self.n_spots, values.shape[1])
        return self.total(everywhere.index_copy(0, inside, values[: len(inside)]))


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
