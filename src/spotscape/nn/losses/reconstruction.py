r"""Reconstruction, an objective of Spotscape: the mean squared error of the decoder, over genes.

*Formula.* With the decoded expression :math:`\hat X` of N spots and G genes, :math:`L = \lVert X - \hat X \rVert_F^2 /
(N G)`.

*Computation in components.* With scores :math:`S` and orthonormal loadings :math:`V`, the decoder predicts components
:math:`\hat S`, whose error equals that of the genes, :math:`\lVert S V^\top - \hat S V^\top\rVert^2 = \lVert S - \hat
S\rVert^2`.

*Computation in all genes.* The last layer of the decoder is linear, :math:`\hat X = H W + \mathbf 1 b^\top` with hidden
activations :math:`H` (N×h). It is as large as the data and never computed. Let :math:`\mu` be the column means of
:math:`X`, and :math:`c` a row close to those of :math:`H`. With :math:`X_c = X - \mathbf 1\mu^\top`, :math:`H' = H -
\mathbf 1 c^\top`, :math:`s = H'^\top \mathbf 1` and :math:`e = \mu - W^\top c - b`,

.. math:: \lVert X - \hat X \rVert_F^2 = \lVert X_c \rVert_F^2 - 2\,\langle H'^\top X_c, W \rangle
          + \langle H'^\top H',\; W W^\top \rangle + N\,\lVert e \rVert^2 - 2\,\langle W^\top s, e \rangle .

Only :math:`H'^\top X` uses the data, so sparse expression stays sparse. Close to the means all terms are small, which
avoids a loss of digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spotscape.nn.blocks import product

if TYPE_CHECKING:
    from spotscape.nn.features import Features


def reconstruction_errors(features: Features, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""Compute the squared error between features and ``hidden @ weight + bias``, summed over spots, divided by genes.

    .. math:: L = \frac{1}{G}\,\lVert X - H W - \mathbf 1 b^\top \rVert_F^2 ,

    with features X, hidden activations H, weights W, bias b, and G genes.

    Parameters
    ----------
    features
        Features to be predicted, ``(N, p)``, without masks.
    hidden
        Hidden activations of each of V views and B encoders, ``(V, B, N, h)``.
    weight, bias
        Last layer of each decoder, ``(B, h, p)`` and ``(B, 1, p)``.

    Returns
    -------
    The mean over views, ``(B,)``. Divided by the number of spots, it is the mean squared error of the genes.
    """
    if features.structure is None and features.shape[1] <= max(2 * hidden.shape[-1], 64):
        residual = (
            product(hidden.to(weight.dtype), weight[None], bias[None]).to(features.values.dtype) - features.values
        )
        errors: Tensor = torch.linalg.vector_norm(residual, dim=(2, 3)).square().mean(0)
        return errors * (features.unit**2 / features.n_genes)
    # Differences of sums over all spots: lower precision would leave little of them.
    with torch.autocast(weight.device.type, enabled=False):
        rows = hidden.to(weight.dtype)
        sums: list[Tensor] = [
            _SquaredError.apply(features, weight[own], bias[own, 0], rows[:, own])  # type: ignore[no-untyped-call]
            for own in range(len(weight))
        ]
    return torch.stack(sums) * (features.unit**2 / features.n_genes)


class _SquaredError(torch.autograd.Function):
    """Mean over views ``(V, N, h)``; the gradients need one product of the size of the data for all of them."""

    @staticmethod
    def forward(ctx: Any, features: Features, weight: Tensor, bias: Tensor, views: Tensor) -> Tensor:
        n_spots = len(views[0])
        rows = views.mean(1)
        centred = views - rows[:, None]
        covariance = (centred.mT @ centred).sum(0)
        sums = centred.sum(1)
        # All views share the data and the weights, so one product with their sum replaces a product for each view.
        cross = features.multiply_transposed(centred.sum(0)).T
        means = features.column_means
        # These terms are large, as mean expression is. They have few entries, so float64 costs little.
        levels, drifts = (torch.cat([rows, sums]).double() @ weight.double()).chunk(2)
        offsets = means - levels - bias.double()
        square = weight @ weight.T
        explained = 2 * (_inner(cross, weight) - (drifts @ means).sum()) - _inner(covariance, square)
        shifts = n_spots * offsets.square().sum() - 2 * (drifts * offsets).sum()
        ctx.features, ctx.means = features, means
        # Sums of the residual over spots, a row for each view.
        residuals = n_spots * offsets - drifts
        ctx.save_for_backward(weight, rows, sums, offsets, residuals, covariance, cross, square, views)
        value: Tensor = (features.spread + (shifts - explained) / len(views)).to(weight.dtype)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, rows, sums, offsets, residuals, covariance, cross, square, views = ctx.saved_tensors
        dtype = weight.dtype
        factor = (2 * gradient.double() / len(views)).to(dtype)
        away = (ctx.means - offsets).to(dtype)
        # Sums and means of the hidden layer with their factors: a product of a few rows.
        left, right = torch.cat([sums, rows]), torch.cat([away, -residuals.to(dtype)])
        per_weight = torch.addmm(torch.addmm(cross, covariance, weight, beta=-1), left.T, right).mul_(factor)
        per_bias = -residuals.sum(0).to(dtype) * factor
        scaled = weight * factor
        # The contribution of the data is the same in all views.
        wanted = ctx.features.multiply(-scaled.T[None, None])[0, 0]
        per_view = torch.stack(
            [
                torch.addmm(wanted, hidden - row, square * factor).add_(shift)
                for hidden, row, shift in zip(views, rows, away @ scaled.T, strict=True)
            ]
        )
        return None, per_weight, per_bias, per_view


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """The sum of products, by rows in the precision at hand."""
    return (left * right).sum(1).double().sum()
