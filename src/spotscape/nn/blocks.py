"""Weights of several encoders side by side. Each encoder has a random generator of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Rows that wide layers see at a time where no gradient is needed.
_ROWS_AT_A_TIME = 65_536


class WeightSource:
    """Draws the weights of B encoders on the CPU, each from its own seed; the device ``"meta"`` draws nothing."""

    def __init__(self, seeds: Sequence[int], *, device: str = "cpu") -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device

    def __len__(self) -> int:
        return len(self.generators)

    def uniform(self, *shape: int, bound: float) -> nn.Parameter:
        """Uniform between minus and plus ``bound``, ``(B, *shape)``."""
        if self.device == "meta":
            return self.constant(0.0, *shape)
        drawn = [torch.empty(shape).uniform_(-bound, bound, generator=own) for own in self.generators]
        return nn.Parameter(torch.stack(drawn))

    def glorot(self, n_in: int, n_out: int) -> nn.Parameter:
        """Weights ``(B, n_in, n_out)`` in the range of Glorot & Bengio (2010)."""
        return self.uniform(n_in, n_out, bound=(6 / (n_in + n_out)) ** 0.5)

    def linear(self, n_in: int, n_out: int) -> nn.Parameter:
        """Weights ``(B, n_in, n_out)``, drawn like those of torch's linear layers."""
        return self.uniform(n_in, n_out, bound=n_in**-0.5)

    def constant(self, value: float, *shape: int) -> nn.Parameter:
        """The same value everywhere, ``(B, *shape)``."""
        return nn.Parameter(torch.full((len(self), *shape), value, device=self.device))


def product(
    rows: Tensor, weight: Tensor, shift: Tensor | None = None, activate_: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Batched ``rows @ weight + shift``: ``(V, B | 1, n, p)`` and ``(V | 1, B, p, d)`` to ``(V, B, n, d)``.

    ``activate_`` works in place, before the result becomes a view, because autograd copies views that are changed.
    """
    if torch.is_autocast_enabled(rows.device.type):
        dtype = torch.get_autocast_dtype(rows.device.type)
        rows, weight, shift = rows.to(dtype), weight.to(dtype), None if shift is None else shift.to(dtype)
    sizes = (max(rows.shape[0], weight.shape[0]), max(rows.shape[1], weight.shape[1]))
    left, right = (part.expand(*sizes, *part.shape[2:]).flatten(0, 1) for part in (rows, weight))
    shape = (*sizes, rows.shape[2], weight.shape[3])
    if shift is None:
        result = torch.bmm(left, right)
    else:
        result = torch.baddbmm(shift.expand(*sizes, *shift.shape[2:]).flatten(0, 1), left, right)
    return (result if activate_ is None else activate_(result)).view(shape)


def in_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of single rows to ``(V, B, n, d)``. Without gradients, parts of the rows take turns."""
    if torch.is_grad_enabled() or rows.shape[2] <= _ROWS_AT_A_TIME:
        return function(rows)
    return torch.cat([function(part) for part in rows.split(_ROWS_AT_A_TIME, dim=2)], dim=2)


def drop_out(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the entries of ``(V, B, n, d)`` to zero, the same in all encoders, and scale up the others.

    Without a generator, nothing is changed. torch's own dropout would draw from the user's global generator.
    """
    if generator is None or rate == 0:
        return x
    n_rows, size = x.shape[-2:]
    # Eight entries from each number that is drawn; the share is a multiple of 1 in 256.
    n_dropped = min(max(round(rate * 256), 1), 255)
    bits = torch.empty(-(-n_rows * size // 8), dtype=torch.int64, device=x.device)
    bits.random_(-(2**63), None, generator=generator)
    kept = bits.view(torch.int8)[: n_rows * size] >= n_dropped - 128
    return x * kept.view(n_rows, size).to(x.dtype).mul_(256 / (256 - n_dropped))


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradients of each encoder down to the norm ``most``; parameters have the shape ``(B, ...)``."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    together = torch.cat([gradient.flatten(1) if gradient.ndim > 1 else gradient[:, None] for gradient in gradients], 1)
    # Row by row: a sum over the rows of one encoder is rounded in another order than over those of several.
    squares = torch.stack([row.square().sum() for row in together])
    factor = (most / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    r"""Move every parameter of ``target`` towards that of ``online`` (exponential moving average).

    .. math:: \theta_{target} \leftarrow m\,\theta_{target} + (1 - m)\,\theta_{online}

    Parameters
    ----------
    target
        The module that follows; changed in place.
    online
        The module that is trained, of the same structure.
    momentum
        Share :math:`m` of its old values that the target keeps, in [0, 1]. With 0 the target becomes an exact copy.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import ema_update
    >>> target, online = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    >>> _ = torch.nn.init.constant_(target.weight, 1.0), torch.nn.init.constant_(online.weight, 3.0)
    >>> ema_update(target, online, 0.75)
    >>> target.weight.item()
    1.5
    """
    for mine, theirs in zip(target.parameters(), online.parameters(), strict=True):
        if momentum == 0:
            mine.copy_(theirs)
        else:
            # Not fused: see Adam.
            mine.mul_(momentum).add_(theirs * (1 - momentum))
