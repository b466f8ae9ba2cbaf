r"""Prototypical contrast: a spot in one view should point to the prototype that its other view belongs to.

Prototypes :math:`c_1 \dots c_K` are centres of spherical k-means on the second view's embeddings, at several
granularities. With :math:`y(u)` the prototype of spot :math:`u` in the second view and temperature :math:`\tau`,

.. math:: L = -\operatorname*{mean}_K \operatorname*{mean}_u
          \log \frac{\exp(\hat a_u \cdot c_{y(u)} / \tau)}{\sum_{m=1}^K \exp(\hat a_u \cdot c_m / \tau)} .

Spots of all slices share the prototypes, so the same region is drawn to the same place. Each step moves the centres
by one Lloyd iteration from where they were, in :math:`O(NKd)`: they never go stale, and are never searched for anew.

Source: Oh et al., ICML 2025 (arXiv 2506.15698), which runs k-means from scratch in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from spotscape.nn.clustering._spherical import lloyd_step, seeded_centres
from spotscape.nn.precision import at_least_float32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FIRST_STEPS = 10


def prototype_loss(
    embeddings: Tensor, prototypes: Iterable[Tensor], labels: Iterable[Tensor], *, temperature: float = 0.75
) -> Tensor:
    """Prototypical contrast of embeddings with prototypes of one or several granularities.

    Parameters
    ----------
    embeddings
        Of the first view, ``(N, d)``; rows of any length.
    prototypes
        For each granularity the unit prototypes, ``(K, d)``.
    labels
        For each granularity the prototype of each spot, int64 ``(N,)``.
    temperature
        The τ of the formula; 0.75 in the paper.

    Returns
    -------
    A scalar.
    """
    directions = normalize(embeddings, dim=1)
    terms = [
        cross_entropy(directions @ centres.T / temperature, own)
        for centres, own in zip(prototypes, labels, strict=True)
    ]
    return torch.stack(terms).mean()


class PrototypeBank(nn.Module):
    """Prototypes at several granularities that follow the embedding; buffers, so that a checkpoint holds them.

    Parameters
    ----------
    granularities
        Number of prototypes at each granularity.
    size
        Width d of the embedding.
    """

    def __init__(self, granularities: Sequence[int], size: int) -> None:
        super().__init__()
        self.granularities = tuple(granularities)
        for number, k in enumerate(self.granularities):
            self.register_buffer(f"centres_{number}", torch.zeros(k, size))

    @property
    def centres(self) -> list[Tensor]:
        """The unit prototypes of each granularity, ``(K, d)``; zero before the first :meth:`update`."""
        return [self.get_buffer(f"centres_{number}") for number in range(len(self.granularities))]

    @torch.no_grad()
    def update(self, embeddings: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Move the prototypes towards the embeddings ``(N, d)``, and return each granularity's labels, ``(N,)``."""
        directions = normalize(at_least_float32(embeddings), dim=1)
        return [self._update_one(centres, directions, generator) for centres in self.centres]

    def _update_one(self, centres: Tensor, directions: Tensor, generator: torch.Generator) -> Tensor:
        started = bool(centres.any())
        if not started:
            centres.copy_(seeded_centres(directions, len(centres), generator))
        for _ in range(1 if started else _FIRST_STEPS):
            centres.copy_(lloyd_step(directions, centres))
        return (directions @ centres.T).argmax(1)
