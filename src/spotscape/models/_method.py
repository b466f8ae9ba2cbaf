"""What a method consists of: a network of encoders, and the objective that it is trained on, over a tissue."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from spotscape.models._reduction import Reduction
    from spotscape.models._steps import Draw
    from spotscape.nn.batches import Batch, Reduce
    from spotscape.nn.trainer import LossOutput


@dataclass(frozen=True, eq=False)
class Tissue:
    """What is trained on: all spots, the rows of each slice (none for a single one), and how expression was reduced."""

    whole: Batch
    slices: tuple[Tensor, ...]
    reduction: Reduction | None
    n_genes: int


class Network(nn.Module):
    """B encoders with their decoders; all parameters are ``(B, ...)``.

    A view of a batch has weights of its graph, ``(V, E)``, and a mask of its features; ``None`` stands for all genes.
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
        """Decoded features ``(V, B, n, p)`` of a full graph, in the unit of the features."""


class Objective(nn.Module):
    """The loss of a step; holds the network, and what only training needs.

    What is random is drawn apart from the loss, so that a loss is a function of a batch and a draw.
    """

    def __init__(self, network: Network, tissue: Tissue, reduce: Reduce) -> None:
        super().__init__()
        self.network, self.tissue, self.reduce = network, tissue, reduce

    @abstractmethod
    def draw(self, batch: Batch, draw: Draw) -> Any:
        """What is random in a step."""

    @abstractmethod
    def forward(self, batch: Batch, drawn: Any, epoch: float) -> LossOutput:
        """The loss of each encoder and its parts; ``epoch`` is the number of times that spots were seen."""

    def mean(self, sums: Tensor, count: int) -> Tensor:
        """The mean over spots of the step, in all processes, of what was summed over ``count`` of them here."""
        counted = torch.full((), float(count), dtype=torch.float64, device=sums.device)
        return self.reduce.total(sums) / self.reduce.total(counted).clamp(min=1).to(sums.dtype)
