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
    return cast("Tensor", _MeanSquaredError.apply(features, weight, bias, *views))  # type: ignore[no-untyped-call]


class _MeanSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: FeatureMatrix, weight: Tensor, bias: Tensor, *views: Tensor) -> Tensor:
        n_spots, n_genes = features.shape
        rows = torch.stack([hidden.mean(0) for hidden in views])
        centred = [hidden - row for hidden, row in zip(views, rows, strict=True)]
        covariance = torch.stack([hidden.T @ hidden for hidden in centred]).sum(0)
        sums = torch.stack([hidden.sum(0) for hidden in centred]).double()
        # All views share the data and the weights, so their sum does with one product what each would do alone.
        cross = features.transposed_matmul(functools.reduce(torch.add, centred)).T
        means, weight64 = features.column_means(), weight.double()
        offsets = means - rows.double() @ weight64 - bias.double()
        cross = cross.double() - sums.sum(0)[:, None] * means
        explained = 2 * (cross * weight64).sum() - (covariance * (weight @ weight.T)).double().sum()
        shifts = n_spots * offsets.square().sum() - 2 * ((sums @ weight64) * offsets).sum()
        squared_error = len(views) * features.squared_norm() - explained + shifts
        ctx.features, ctx.n_values = features, len(views) * n_spots * n_genes
        ctx.save_for_backward(weight, rows, sums, offsets, covariance, cross, *views)
        value: Tensor = (squared_error / ctx.n_values).to(weight.dtype)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, rows, sums, offsets, covariance, cross, *views = ctx.saved_tensors
        factor = 2 * gradient.double() / ctx.n_values
        weight64 = weight.double()
        # Sums of the residual over spots, one row for each view.
        residuals = ctx.features.shape[0] * offsets - sums @ weight64
        per_weight = covariance.double() @ weight64 - cross - sums.T @ offsets - rows.double().T @ residuals
        per_bias = -residuals.sum(0)
        scaled = (factor * weight64).to(weight.dtype)
        # What the data ask for is the same in all views.
        wanted = ctx.features.matmul(-scaled.T)
        shifts = ((ctx.features.column_means() - offsets) @ (factor * weight64).T).to(weight.dtype)
        square = scaled @ weight.T
        per_view = [
            torch.addmm(wanted, hidden - row, square).add_(shift)
            for hidden, row, shift in zip(views, rows, shifts, strict=True)
        ]
        return None, (factor * per_weight).to(weight.dtype), (factor * per_bias).to(weight.dtype), *per_view
