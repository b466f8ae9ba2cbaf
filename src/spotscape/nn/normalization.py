r"""Batch normalisation over the spots of a tissue, for several encoders at once, with statistics over all processes.

Variances are divided by the number of spots, so that evaluation with the stored statistics gives the same bits. Before
a wide layer the normalisation is *folded* into its weights: mean and variance of each column :math:`w` of a product
:math:`Y W` follow from the mean :math:`\bar y` and the covariance :math:`C` of the narrow :math:`Y`,

.. math:: \operatorname{mean}(Y w) = \bar y^\top w, \qquad \operatorname{var}(Y w) = w^\top C\,w ,

which costs the square of the narrow width and avoids several passes over the wide matrix.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spotscape.nn.batches import Reduce

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

    In training mode, statistics are those of the batch. In evaluation mode, they are those that :func:`keeping` stored,
    one set for each encoder.

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
        self.keeps = False

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        if self.keeps:
            self.get_buffer("mean").copy_(mean[0])
            self.get_buffer("variance").copy_(variance[0])

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


@contextmanager
def keeping(module: nn.Module) -> Iterator[None]:
    """Within the context, store the statistics of each pass for evaluation mode; then switch to this mode.

    One pass over the whole, full tissue sets them. Running averages over views would describe graphs with fewer edges.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, SpotNorm)]
    module.train()
    try:
        for layer in norms:
            layer.keeps = True
        yield
    finally:
        for layer in norms:
            layer.keeps = False
        module.eval()
