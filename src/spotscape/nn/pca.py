"""Principal components of the embeddings of several encoders side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

# Below this share of the largest spread an axis is what float32 leaves of zero.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class PCA:
    r"""Embeddings of :math:`m` encoders side by side, rotated onto their leading principal axes.

    The embeddings are put side by side and divided by :math:`\sqrt m`. The squared distance between two spots is then
    the mean of their squared distances in the single embeddings. The embeddings themselves cannot be averaged, because
    the latent axes of different encoders are unrelated.

    A few axes hold nearly all of the variance and would dominate a clusterer that uses distances. Each axis :math:`k`
    is therefore divided by the power :math:`w` of its standard deviation :math:`\sigma_k` (``whitening``), which leaves
    the standard deviation :math:`\sigma_k^{1-w}`. With 0, distances stay as they are, and with 1, all axes have the
    same variance. The total variance stays the same.

    Attributes
    ----------
    mean
        Mean of the spots that it was fitted to, float64 ``(m d,)``.
    axes
        Orthonormal columns, float64 ``(m d, n_axes)``, largest variance first. The largest entry of each is positive.
    scale
        Factor of each axis, float64 ``(n_axes,)``.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor

    @classmethod
    def of(cls, embeddings: Sequence[Tensor] | Tensor, n_axes: int, *, whitening: float = 0.0) -> Self:
        """Fit to ``m`` embeddings of the same spots, each ``(N, d)``; there are at most ``m d`` axes."""
        joined = _side_by_side(embeddings)
        mean = joined.mean(0)
        centered = joined - mean
        products = centered.T @ centered
        if not products.isfinite().all():
            msg = "the embeddings are not finite, or too large to be squared; if a training diverged, lower its lr."
            raise ValueError(msg)
        squares, vectors = torch.linalg.eigh(products)
        axes = vectors.flip(1)[:, :n_axes]
        spread = squares.flip(0)[:n_axes].clamp(min=0).sqrt()
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        # Each spread to the power of one minus the whitening; 0 for axes that are mere rounding.
        alive = spread > _ROUNDING * spread.max()
        scales = torch.where(alive, torch.where(alive, spread, 1.0) ** -whitening, 0.0)
        left = (spread * scales).square().sum().clamp(min=torch.finfo(spread.dtype).tiny)
        return cls(mean, axes * largest.sign(), scales * (spread.square().sum() / left).sqrt())

    def project(self, embeddings: Sequence[Tensor] | Tensor) -> Tensor:
        """Rotate ``m`` embeddings of the same spots, each ``(N, d)``, to one, float32 ``(N, n_axes)``."""
        rotated: Tensor = (_side_by_side(embeddings) - self.mean) @ self.axes * self.scale
        return rotated.float()


def _side_by_side(embeddings: Sequence[Tensor] | Tensor) -> Tensor:
    joined = torch.cat([embedding.double() for embedding in embeddings], dim=1)
    scaled: Tensor = joined / len(embeddings) ** 0.5
    return scaled
