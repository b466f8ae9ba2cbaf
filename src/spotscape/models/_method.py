"""The parts of a method: a network of encoders and the objective of its training."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from spotscape.models._reduction import Reduction
    from spotscape.models._training import Draw
    from spotscape.nn.batches import Batch, Reduce
    from spotscape.nn.trainer import LossOutput


@dataclass(frozen=True, eq=False)
class Tissue:
    """Data of a training: all spots, the rows of each slice (none for one slice), and how expression was reduced."""

    whole: Batch
    slices: tuple[Tensor, ...]
    reduction: Reduction | None
    n_genes: int

    @property
    def codes(self) -> Tensor:
        """Number of the slice of each spot, int64 ``(N,)``."""
        codes = torch.zeros_like(self.whole.spots)
        for number, rows in enumerate(self.slices):
            codes[rows] = number
        return codes


class Network(nn.Module):
    """B encoders with their decoders. All parameters have the shape ``(B, ...)``.

    A view of a batch has weights of its graph, ``(V, E)``, and a mask of its features; ``None`` keeps all genes.
    """

    n_hops: int

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features

    @abstractmethod
    def encode(self, batch: Batch, weights: Tensor, mask: Tensor | None = None, reduce: Reduce | None = None) -> Tensor:
        """Embeddings of each view, ``(V, B, n, latent)``."""

    @abstractmethod
    def decode(self, embedding: Tensor, batch: Batch, reduce: Reduce | None = None) -> Tensor:
        """Decoded features ``(V, B, n, p)`` on the full graph, in the unit of the features."""


class Objective(nn.Module):
    """The loss of a step. It holds the network and whatever only the training needs.

    Random numbers are drawn before the loss is computed, so the loss is a function of a batch and a draw.
    """

    def __init__(self, network: Network, tissue: Tissue, reduce: Reduce) -> None:
        super().__init__()
        self.network, self.tissue, self.reduce = network, tissue, reduce

    @abstractmethod
    def draw(self, batch: Batch, draw: Draw) -> Any:
        """Draw the random numbers of a step."""

    @abstractmethod
    def forward(self, batch: Batch, drawn: Any, epoch: float) -> LossOutput:
        """The loss of each encoder and its parts. ``epoch`` is the number of times that the spots were seen."""

    def mean(self, sums: Tensor, count: int) -> Tensor:
        """The mean over the spots of the step in all processes, from a sum over ``count`` of them in this process."""
        counted = torch.full((), float(count), dtype=torch.float64, device=sums.device)
        return self.reduce.total(sums) / self.reduce.total(counted).clamp(min=1).to(sums.dtype)
