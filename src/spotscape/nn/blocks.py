r"""Layers of several encoders side by side: their weights, products, dropout and batch normalisation.

Each encoder has a random generator of its own. Batch normalisation is over the spots of a tissue, with statistics over
all processes. Variances are divided by the number of spots, so that evaluation with the stored statistics gives the
same bits. Before a wide layer the normalisation is *folded* into its weights: mean and variance of each column
:math:`w` of a product :math:`Y W` follow from the mean :math:`\bar y` and the covariance :math:`C` of the narrow
:math:`Y`,

.. math:: \operatorname{mean}(Y w) = \bar y^\top w, \qquad \operatorname{var}(Y w) = w^\top C\,w ,

which costs the square of the narrow width and avoids several passes over the wide matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spotscape.nn.batches import Reduce


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


EPS = 1e-5


def moments(rows: Tensor, n_inside: int, reduce: Reduce) -> tuple[Tensor, Tensor]:
    """Mean ``(..., 1, d)`` and covariance ``(..., d, d)`` of the first rows of ``(..., n, d)``, over all processes."""
    inside = rows[..., :n_inside, :]
    count = reduce.total(torch.full((), float(n_inside), dtype=torch.float64, device=rows.device))
    mean = (reduce.total(inside.sum(-2, keepdim=True).double()) / count).to(rows.dtype)
    centred = inside - mean
    squares = cast("Tensor", _Gram.apply(centred)).double()  # type: ignore[no-untyped-call]
    return mean, (reduce.total(squares) / count).to(rows.dtype)


class _Gram(torch.autograd.Function):
    """Products of the columns of ``(..., n, d)``, whose gradient is one product; autograd would make two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows.mT @ rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        product: Tensor = rows @ (gradient + gradient.mT)
        return product


class SpotNorm(nn.Module):
    """Batch normalisation of ``(V, B, n, d)``, each view and encoder by itself.

    In training mode, statistics are those of the batch. In evaluation mode, they are those of the last pass in training
    mode, of its first view. One pass over the whole, full tissue sets them after the training: running averages over
    views would describe graphs with fewer edges.

    Parameters
    ----------
    n_encoders, size
        Number of encoders B and width d.
    """

    def __init__(self, n_encoders: int, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_encoders, 1, size))
        self.shift = nn.Parameter(torch.zeros(n_encoders, 1, size))
        self.register_buffer("mean", torch.zeros(n_encoders, 1, size))
        self.register_buffer("variance", torch.ones(n_encoders, 1, size))

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        self.get_buffer("mean").copy_(mean[0].detach())
        self.get_buffer("variance").copy_(variance[0].detach())

    def folded(self, weight: Tensor, rows: Tensor, n_inside: int, reduce: Reduce) -> tuple[Tensor, Tensor]:
        """Weights and shift that make ``rows @ weight`` normalised.

        Parameters
        ----------
        weight
            Weights of each view and encoder, ``(V | 1, B, p, d)``.
        rows
            The narrow Y, ``(V, B | 1, n, p)``.
        n_inside, reduce
            Number of rows that count (the first ones), and how sums over processes are computed.

        Returns
        -------
        Weights ``(V, B, p, d)`` and shift ``(V, B, 1, d)``.
        """
        if self.training:
            # Small products, of which a scale of everything follows: autocast would round them.
            with torch.autocast(rows.device.type, enabled=False):
                centre, covariance = moments(rows.to(weight.dtype), n_inside, reduce)
                mean = centre @ weight
                variance = (weight * (covariance @ weight)).sum(-2, keepdim=True)
            self._keep(mean, variance)
        else:
            mean, variance = self.get_buffer("mean")[None], self.get_buffer("variance")[None]
        scale = self.gain * (variance + EPS).rsqrt()
        return weight * scale, self.shift - mean * scale

    def forward(self, x: Tensor, n_inside: int, reduce: Reduce) -> Tensor:
        """Normalise ``(V, B, n, d)``. Statistics are those of the first ``n_inside`` rows."""
        x = x.to(torch.promote_types(x.dtype, self.gain.dtype))
        if not self.training:
            scale = self.gain * (self.get_buffer("variance") + EPS).rsqrt()
            return torch.addcmul(self.shift, x - self.get_buffer("mean"), scale)
        normalised, mean, variance = _Normalized.apply(x, self.gain, self.shift, n_inside, reduce)  # type: ignore[no-untyped-call]
        self._keep(mean, variance)
        return cast("Tensor", normalised)


class _Normalized(torch.autograd.Function):
    """All rows, normalised by the statistics of the first ones. Autograd would store several such matrices."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd gives them by place
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, n_inside: int, reduce: Reduce
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = reduce.total(torch.full((), float(n_inside), dtype=torch.float64, device=x.device))
        mean = (reduce.total(x[..., :n_inside, :].sum(-2, keepdim=True).double()) / count).to(x.dtype)
        centred = x - mean
        inside = centred[..., :n_inside, :]
        squares = inside.square().sum(-2, keepdim=True).double()
        variance = (reduce.total(squares) / count).to(x.dtype)
        scale = gain * (variance + EPS).rsqrt()
        ctx.save_for_backward(centred, variance, gain)
        ctx.n_inside, ctx.reduce, ctx.count = n_inside, reduce, count
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(shift, centred, scale), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_others: Tensor) -> tuple[Tensor | None, ...]:
        centred, variance, gain = ctx.saved_tensors
        inverse = (variance + EPS).rsqrt()
        level = gradient.sum(-2, keepdim=True)
        along = (gradient * centred).sum(-2, keepdim=True) * inverse
        level_all, along_all = (
            (ctx.reduce.total(part.double()) / ctx.count).to(gradient.dtype) for part in (level, along)
        )
        per_x = gradient.clone()
        inside = slice(ctx.n_inside)
        per_x[..., inside, :] -= level_all
        per_x[..., inside, :].addcmul_(centred[..., inside, :], along_all * inverse, value=-1)
        return per_x.mul_(gain * inverse), along.sum(0), level.sum(0), None, None
