r"""Reconstruction: the mean squared error of a decoder whose last layer is linear, without building its output.

With hidden activations :math:`H` (N×h), weights :math:`W` (h×G) and bias :math:`b`, the decoded expression
:math:`\hat X = H W + \mathbf 1 b^\top` is as large as the data. Centre the columns of both sides,
:math:`X_c = X - \mathbf 1\mu^\top` and :math:`H_c = H - \mathbf 1\bar h^\top`. Centred columns are orthogonal to
:math:`\mathbf 1`, so the error falls apart:

.. math:: \lVert X - \hat X \rVert_F^2 = \lVert X_c \rVert_F^2 - 2\,\langle H_c^\top X, W \rangle
          + \langle H_c^\top H_c,\; W W^\top \rangle + N\,\lVert W^\top \bar h + b - \mu \rVert^2 .

Only :math:`H_c^\top X` touches the data, so sparse expression stays sparse. Centring keeps the terms small: without it
the constant part of the expression would cost digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

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
    n_spots, n_genes = features.shape
    means = [hidden.mean(0, dtype=torch.float64) for hidden in views]
    centered = [hidden - mean.to(hidden.dtype) for hidden, mean in zip(views, means, strict=True)]
    covariance = torch.stack([hidden.T @ hidden for hidden in centered]).sum(0)
    # All views share the data and the weights, so their sum does with one product what each would do alone.
    cross = features.transposed_matmul(torch.stack(centered).sum(0)).T
    # The means carry most of the size of the data, and they are small: double precision costs nothing here.
    errors = [mean @ weight.double() + bias.double() - features.column_means() for mean in means]
    offset = torch.stack([error.square().sum() for error in errors]).sum()
    explained = 2 * _inner(cross, weight) - _inner(covariance, weight @ weight.T)
    squared_error = len(views) * features.squared_norm() - explained + n_spots * offset
    return (squared_error / (len(views) * n_spots * n_genes)).to(weight.dtype)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).double().sum()
