"""Several encoders as one: distances between spots averaged over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor


@dataclass(frozen=True)
class LeadingAxes:
    r"""Embeddings of :math:`m` encoders side by side, rotated onto their leading principal axes.

    Side by side and divided by :math:`\sqrt m`, squared distances between spots are the mean of those in the single
    embeddings. The latent axes of one encoder mean nothing to another, so the embeddings themselves cannot be averaged.

    Attributes
    ----------
    mean
        Of the spots it was fitted to, float64 ``(m d,)``.
    axes
        Orthonormal columns, float64 ``(m d, n_axes)``, largest variance first; the sign makes the largest entry of
        each positive.
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, embeddings: Sequence[Tensor], n_axes: int) -> Self:
        """Fit to ``m`` embeddings of the same spots, each ``(N, d)``."""
        joined = _side_by_side(embeddings)
        mean = joined.mean(0)
        centered = joined - mean
        _, vectors = torch.linalg.eigh(centered.T @ centered)
        axes = vectors.flip(1)[:, :n_axes]
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        return cls(mean, axes * largest.sign())

    def project(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Rotate ``m`` embeddings of the same spots, each ``(N, d)``, to one, float32 ``(N, n_axes)``."""
        rotated: Tensor = (_side_by_side(embeddings) - self.mean) @ self.axes
        return rotated.float()


def _side_by_side(embeddings: Sequence[Tensor]) -> Tensor:
    joined = torch.cat([embedding.double() for embedding in embeddings], dim=1)
    scaled: Tensor = joined / len(embeddings) ** 0.5
    return scaled
