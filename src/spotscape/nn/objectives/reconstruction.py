r"""Reconstruction: the mean squared error of a decoder whose last layer is linear, without building its output.

With hidden activations :math:`H` (N×h), weights :math:`W` (h×G) and bias :math:`b`, the decoded expression
:math:`H W + \mathbf 1 b^\top` is as large as the data. Take off a row :math:`c` near the column means of :math:`H`,
:math:`H' = H - \mathbf 1 c^\top`, and the column means :math:`\mu` of the data, :math:`X_c = X - \mathbf 1\mu^\top`.
With :math:`s = H'^\top \mathbf 1` and :math:`e = \mu - W^\top c - b` the residual is
:math:`R = X_c - H' W + \mathbf 1 e^\top`, and

.. math:: \lVert R \rVert_F^2 = \lVert X_c \rVert_F^2 - 2\,\langle H'^\top X_c, W \rangle
          + \langle H'^\top H',\; W W^\top \rangle + N\,\lVert e \rVert^2 - 2\,\langle W^\top s, e \rangle .

Only :math:`H'^\top X` touches the data, so sparse expression stays sparse. It holds for any :math:`c`; near the means
the terms are small, without them the constant part of the expression would cost digits. The gradients are written out
below, since they need one product of that size for each view, and no copy in double precision.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spotscape.nn.features import FeatureMatrix


def reconstruction_loss(features: FeatureMatrix, views: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    r"""Mean over views of the mean squared error between X and ``hidden @ weight + bias``.

    Parameters
    ----------
    features
        The expression X that is to be reconstructed, ``(N, G)``, unmasked.
    views
        Hidden activations of each view, ``(N, h)``.
    weight, bias
        Last layer of the decoder, ``(h, G)`` and ``(G,)``.

    Returns
    -------
    A scalar.
    """
    # Differences of sums over all spots: lower precision would leave little of them.
    with torch.autocast(weight.device.type, enabled=False):
        return cast("Tensor", _MeanSquaredError.apply(features, weight, bias, *views))  # type: ignore[no-untyped-call]


class _MeanSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: FeatureMatrix, weight: Tensor, bias: Tensor, *views: Tensor) -> Tensor:
        n_spots, n_genes = features.shape
        rows = torch.stack([hidden.mean(0) for hidden in views])
        centred = [hidden - row for hidden, row in zip(views, rows, strict=True)]
        covariance = torch.stack([hidden.T @ hidden for hidden in centred]).sum(0)
        sums = torch.stack([hidden.sum(0) for hidden in centred])
        # All views share the data and the weights, so their sum does with one product what each would do alone.
        cross = features.transposed_matmul(functools.reduce(torch.add, centred)).T
        means = features.column_means()
        # These carry most of the size of the data, and they are small: double precision costs little here.
        levels, drifts = (torch.cat([rows, sums]).double() @ weight.double()).chunk(2)
        offsets = means - levels - bias.double()
        square = weight @ weight.T
        explained = 2 * (_inner(cross, weight) - (drifts @ means).sum()) - _inner(covariance, square)
        shifts = n_spots * offsets.square().sum() - 2 * (drifts * offsets).sum()
        squared_error = len(views) * features.squared_norm() - explained + shifts
        ctx.features, ctx.n_values = features, len(views) * n_spots * n_genes
        # Sums of the residual over spots, a row for each view.
        residuals = n_spots * offsets - drifts
        ctx.save_for_backward(weight, rows, sums, offsets, residuals, covariance, cross, square, *views)
        value: Tensor = (squared_error / ctx.n_values).to(weight.dtype)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, rows, sums, offsets, residuals, covariance, cross, square, *views = ctx.saved_tensors
        dtype, means = weight.dtype, ctx.features.column_means()
        factor = (2 * gradient.double() / ctx.n_values).to(dtype)
        away = (means - offsets).to(dtype)
        # Sums and means of the hidden layer with what they meet: a product of a few rows.
        left, right = torch.cat([sums, rows]), torch.cat([away, -residuals.to(dtype)])
        per_weight = torch.addmm(torch.addmm(cross, covariance, weight, beta=-1), left.T, right).mul_(factor)
        per_bias = -residuals.sum(0).to(dtype) * factor
        scaled = weight * factor
        # What the data ask for is the same in all views.
        wanted, square = ctx.features.matmul(-scaled.T), square * factor
        per_view = [
            torch.addmm(wanted, hidden - row, square).add_(shift)
            for hidden, row, shift in zip(views, rows, away @ scaled.T, strict=True)
        ]
        return None, per_weight, per_bias, *per_view


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """The sum of products, by rows in the precision at hand."""
    return (left * right).sum(1).double().sum()
