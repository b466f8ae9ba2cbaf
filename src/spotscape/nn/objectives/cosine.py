r"""Cosine reconstruction: a masked spot's profile should be decoded in the right direction, whatever its length.

With the decoded row :math:`\hat x` and the true row :math:`x`, the mean over rows of

.. math:: \ell = -\log\left(\frac{1 + \cos(\hat x, x)}{2}\right)^2 ,

0 where they are aligned, :math:`2 \ln 2` at right angles. Towards :math:`\cos = -1`, where the logarithm is infinite,
it goes on as its tangent, so value and gradient are finite everywhere and unchanged from
:math:`(1 + \cos)/2 = \varepsilon` on.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5), which calls it scaled
cosine error; it is not the :math:`(1 - \cos)^\gamma` of GraphMAE that goes by the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotscape.nn.objectives._angles import EPS, closeness, directions, guarded_log

if TYPE_CHECKING:
    from torch import Tensor


def cosine_reconstruction_loss(decoded: Tensor, target: Tensor, *, eps: float = EPS) -> Tensor:
    """Cosine reconstruction loss of decoded rows.

    Parameters
    ----------
    decoded, target
        Decoded and true features of the masked spots, each ``(M, G)``; rows of any length. A zero row counts as at
        right angles to everything.
    eps
        Value of ``(1 + cos) / 2`` below which the logarithm goes on as its tangent.

    Returns
    -------
    A scalar.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import cosine_reconstruction_loss
    >>> spot = torch.tensor([[1.0, 0.0]])
    >>> cosine_reconstruction_loss(torch.tensor([[0.0, 5.0]]), spot).item()
    1.386...
    """
    if decoded.shape != target.shape:
        msg = f"decoded has shape {tuple(decoded.shape)} and target {tuple(target.shape)}; they hold the same spots."
        raise ValueError(msg)
    return -2 * guarded_log(closeness(directions(decoded), directions(target)), eps).mean()
