"""Batch normalisation over spots, of which some rows only may be counted, or those of all processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Part = TypeVar("Part")


class SpotNorm(nn.BatchNorm1d):
    """Batch normalisation, which within :func:`counting` takes its statistics from the inside of a region only.

    Elsewhere it is torch's layer, to the bit, and its state has the same names.
    """

    n_counted: int | None = None
    reduce: Callable[[Tensor], Tensor] | None = None
    collected: list[tuple[int, Tensor, Tensor]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(n, d)``."""
        if self.collected is not None:
            self._collect(x[: self.n_counted])
        if self.n_counted is None or not self.training:
            return super().forward(x)
        x = x.to(torch.promote_types(x.dtype, self.weight.dtype))
        counted = _Counted(self.n_counted, self.eps, self.reduce or _itself)
        return cast("Tensor", _CountedNorm.apply(x, self.weight, self.bias, counted))  # type: ignore[no-untyped-call]

    def _collect(self, inside: Tensor) -> None:
        values = inside.double()
        mean = values.mean(0)
        if self.collected is not None:
            self.collected.append((len(values), mean, (values - mean).square().sum(0)))
        raise _ReachedError

    def settle(self) -> float:
        """Set the running statistics from what was collected; the variance is that of the spots, as in training.

        Returns
        -------
        What the variance has to be multiplied with in the end, where it estimates that of further spots.
        """
        parts, self.collected = self.collected or [], None
        counts = torch.tensor([count for count, _, _ in parts], dtype=torch.float64)
        means = torch.stack([mean for _, mean, _ in parts])
        weight = (counts / counts.sum()).to(means.device)[:, None]
        mean = (weight * means).sum(0)
        between = (weight * (means - mean).square()).sum(0)
        squares = torch.stack([within for _, _, within in parts]).sum(0)
        variance = squares / counts.sum().to(means.device) + between
        for buffer, value in ((self.running_mean, mean), (self.running_var, variance)):
            if buffer is not None:
                buffer.copy_(value)
        n_spots = float(counts.sum())
        return n_spots / max(n_spots - 1, 1)


class _Counted(NamedTuple):
    """How many of the first rows count, what keeps the variance off zero, and the sum over processes."""

    n_rows: int
    eps: float
    total: Callable[[Tensor], Tensor]


class _CountedNorm(torch.autograd.Function):
    """All rows, normalised by the statistics of the first ones; the gradient of the statistics goes to those.

    Written out because autograd through them holds several matrices of double precision.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, counted: _Counted) -> Tensor:
        n_rows, eps, total = counted
        inside = x[:n_rows]
        near = inside.mean(0)
        centred = inside - near
        # Over all processes, from sums around the mean of each.
        shift, near64 = centred.sum(0).double(), near.double()
        count = total(torch.tensor(float(len(inside)), dtype=torch.float64, device=x.device))
        mean = total(near64 * len(inside) + shift) / count
        away = near64 - mean
        squares = centred.square_().sum(0).double() + 2 * away * shift + len(inside) * away.square()
        variance = (total(squares) / count).to(x.dtype)
        mean = mean.to(x.dtype)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.counted, ctx.count = counted, count
        return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        n_rows, eps, total = ctx.counted
        inverse = (variance + eps).rsqrt()
        training = False
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, mean, variance, mean, inverse, training, eps, [True, True, True]
        )
        along, level = (total(part.double()) / ctx.count for part in (of_weight, of_bias))
        slope = (along * weight * inverse.square()).to(x.dtype)
        row = (level * weight * inverse).to(x.dtype) - mean * slope
        of_x[:n_rows].addcmul_(x[:n_rows], slope, value=-1).sub_(row)
        return of_x, of_weight, of_bias, None


@contextmanager
def counting(module: nn.Module, n_counted: int, reduce: Callable[[Tensor], Tensor] | None = None) -> Iterator[None]:
    """Within, statistics in training are of the first ``n_counted`` rows; running ones stay as they are.

    Parameters
    ----------
    module
        The network.
    n_counted
        Rows that count: the inside of a region.
    reduce
        Sums a tensor over processes, differentiably; ``None`` for a single one.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, SpotNorm)]
    try:
        for layer in norms:
            layer.n_counted, layer.reduce = n_counted, reduce
        yield
    finally:
        for layer in norms:
            layer.n_counted, layer.reduce = None, None


@torch.no_grad()
def calibrate_in_parts(
    module: nn.Module, forward: Callable[[Part], Any], parts: Sequence[Part], size: Callable[[Part], int]
) -> None:
    """Set running statistics to those of one forward pass over all parts together, without holding it.

    The statistics of a layer depend on those of the layers before it, so there is one pass for each layer; counts,
    means and squares around the mean are added up in float64, which is exact up to rounding.

    Parameters
    ----------
    module
        The network; put into evaluation mode.
    forward
        Runs the network on a part.
    parts
        What the whole consists of, such as regions.
    size
        How many rows of a part count.
    """
    module.eval()
    pending = {layer for layer in module.modules() if isinstance(layer, SpotNorm)}
    corrections: dict[SpotNorm, float] = {}
    while pending:
        for layer in pending:
            layer.collected = []
        for part in parts:
            with counting(module, size(part)):
                try:
                    forward(part)
                except _ReachedError:
                    continue
                break
        reached = {layer for layer in pending if layer.collected}
        corrections |= {layer: layer.settle() for layer in reached}
        for layer in pending - reached:
            layer.collected = None
        if not reached:
            break
        pending -= reached
    for layer, correction in corrections.items():
        if layer.running_var is not None:
            layer.running_var *= correction


class _ReachedError(Exception):
    """A layer whose statistics are being collected was reached; what lies behind it has to wait."""


def _itself(tensor: Tensor) -> Tensor:
    return tensor
