"""Prototypical contrast, an objective of Spotscape for several slices.

*Idea.* Spots are grouped around prototypes that all slices share. A spot in the first view should be closest to the
prototype to which it belongs in the second view.

The paper runs k-means from scratch in every step; here a step is one iteration (Lloyd) from the previous centres.

Source: Oh et al., ICML 2025 (arXiv 2506.15698).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from spotscape.nn.clustering._kmeans import lloyd_step, seeded_centres

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spotscape.nn.batches import Batch, Reduce

_FIRST_STEPS = 10


def prototype_loss(
    rows: Tensor, prototypes: Iterable[Tensor], labels: Iterable[Tensor], *, temperature: float = 0.75
) -> Tensor:
    r"""Compute the prototypical contrast of embeddings with prototypes of one or several granularities.

    .. math:: L = -\operatorname*{mean}_K \operatorname*{mean}_u
              \log \frac{\exp(a_u \cdot c_{y(u)} / \tau)}{\sum_{m=1}^K \exp(a_u \cdot c_m / \tau)} ,

    with :math:`a_u` the embedding of spot u, :math:`c_m` the K prototypes of a granularity, and :math:`y(u)` the
    prototype of the spot.

    Parameters
    ----------
    rows
        Embeddings of n spots in the first view by B encoders, ``(B, n, d)``, rows of length 1.
    prototypes
        Prototypes of each granularity, ``(B, K, d)``, rows of length 1.
    labels
        Prototype of each spot at each granularity, int64 ``(B, n)``.
    temperature
        The τ of the formula; 0.75 in the paper.

    Returns
    -------
    The sum over spots, averaged over granularities, ``(B,)``.
    """
    terms = []
    for centres, own in zip(prototypes, labels, strict=True):
        logits = rows @ centres.mT / temperature
        terms.append(cross_entropy(logits.flatten(0, 1), own.flatten(), reduction="none").view(own.shape).sum(1))
    return torch.stack(terms).mean(0)


class PrototypeBank(nn.Module):
    """Prototypes at several granularities that follow the embedding. They are buffers, so a checkpoint includes them.

    Parameters
    ----------
    granularities
        Number of prototypes K at each granularity.
    n_encoders, size
        Number of encoders B, and size d of their embeddings.
    """

    def __init__(self, granularities: Sequence[int], n_encoders: int, size: int) -> None:
        super().__init__()
        self.granularities = tuple(granularities)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        for number, k in enumerate(self.granularities):
            self.register_buffer(f"centres_{number}", torch.zeros(n_encoders, k, size))

    @property
    def centres(self) -> list[Tensor]:
        """The prototypes of each granularity, ``(B, K, d)``, rows of length 1; zero before the first :meth:`update`."""
        return [self.get_buffer(f"centres_{number}") for number in range(len(self.granularities))]

    @torch.no_grad()
    def update(self, rows: Tensor, batch: Batch, reduce: Reduce, seed: int) -> list[Tensor]:
        """Move the prototypes towards unit rows ``(B, n, d)``. Return the labels of each granularity, int64 ``(B, n)``.

        The first call searches the prototypes among the spots of the step, by k-means++ with the given ``seed``.
        """
        if not self.get_buffer("started"):
            known = reduce.share("prototypes", rows, batch).rows
            for centres in self.centres:
                for own, seen in zip(centres, known, strict=True):
                    found = seeded_centres(seen, len(own), torch.Generator(rows.device).manual_seed(seed))
                    for _ in range(_FIRST_STEPS):
                        found = lloyd_step(seen, found)
                    own.copy_(found)
            self.get_buffer("started").fill_(True)  # noqa: FBT003
        inside = rows[:, : batch.n_inside]
        for centres in self.centres:
            # A product with indicators instead of a scattered sum: the order of additions is fixed, also on CUDA.
            indicators = one_hot((inside @ centres.mT).argmax(2), centres.shape[1]).to(inside.dtype)
            total = reduce.total(indicators.mT @ inside)
            # A centre without spots stays.
            centres.copy_(torch.where(total.any(2, keepdim=True), normalize(total, dim=2), centres))
        return [(inside @ centres.mT).argmax(2) for centres in self.centres]
