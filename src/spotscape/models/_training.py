"""A method, which is a network of encoders and an objective, and its training: data, steps, and the file to resume."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, distributed, nn

from spotscape._core.logging import logger
from spotscape._core.rows import ChunkedMatrix
from spotscape._core.settings import settings
from spotscape._core.validation import require_finite
from spotscape.nn.batches import AllReduce, Batch, Reduce, RunningMean, in_group
from spotscape.nn.blocks import WeightSource
from spotscape.nn.tiles import TilePlan, choose_batch_size, tiles_of_process
from spotscape.nn.trainer import Checkpoint, Trainer, TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path

    from spotscape._core.randomness import RandomSource
    from spotscape.models._base import GraphEncoder
    from spotscape.models._reduction import Reduction
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

    def __init__(
        self, network: Any, tissue: Tissue, config: Any, *, reduce: Reduce, source: RandomSource, max_epochs: int
    ) -> None:
        super().__init__()
        self.network, self.tissue, self.config = network, tissue, config
        self.reduce, self.source, self.max_epochs = reduce, source, max_epochs

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


def slice_rows(slices: np.ndarray | None, device: torch.device) -> tuple[Tensor, ...]:
    """Rows of each slice; empty for a single slice."""
    if slices is None:
        return ()
    names, codes, sizes = np.unique(np.asarray(slices), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return ()
    if sizes.min() < 2:
        msg = f"slice {str(names[sizes.argmin()])!r} has a single spot; remove it, or leave slices out."
        raise ValueError(msg)
    return tuple(torch.from_numpy(np.flatnonzero(codes == code)).to(device) for code in range(len(names)))


def check_input(expression: Any, adjacency: Any, slices: np.ndarray | None) -> None:
    """Refuse a graph or slices with another number of spots, and expression that is not finite."""
    n_spots = expression.shape[0]
    if adjacency.shape != (n_spots, n_spots):
        msg = f"the graph is {adjacency.shape}, the expression has {n_spots} spots; build the graph again."
        raise ValueError(msg)
    if slices is not None and np.shape(slices) != (n_spots,):
        msg = f"slices has shape {np.shape(slices)}; expected one label for each of the {n_spots} spots."
        raise ValueError(msg)
    require_finite(expression, "expression")


def digest_of(expression: Any, adjacency: Any, slices: np.ndarray | None, batch_size: int | None) -> str:
    """A hash of all data that a training depends on."""
    digest = hashlib.sha256(repr((expression.shape, batch_size)).encode())
    blocks = expression.blocks() if isinstance(expression, ChunkedMatrix) else (expression,)
    matrices = (*blocks, adjacency, np.empty(0) if slices is None else np.unique(slices, return_inverse=True)[1])
    for matrix in matrices:
        csr = matrix.tocsr() if sparse.issparse(matrix) else None
        for part in (matrix,) if csr is None else (csr.indptr, csr.indices, csr.data):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Draw:
    """Random numbers of one step. They depend only on the seed and the number of the step."""

    common: torch.Generator  # Gives the same numbers in all processes of a group
    own: torch.Generator  # For the spots of this process
    seed: int  # For functions with generators of their own, the same in all processes


class Steps:
    """Batches and random numbers of a training: of all spots, of some tiles, or of the part of this process.

    ``n_hops`` is the number of graph convolutions on which the decoded features of a spot depend; ``slices`` ``(N,)``
    numbers the slice of each spot.
    """

    def __init__(
        self,
        whole: Batch,
        adjacency: Any,
        source: RandomSource,
        *,
        n_hops: int,
        batch_size: int | None,
        slices: Tensor,
    ) -> None:
        self.whole, self.source, self.n_hops = whole, source, n_hops
        self.rank = distributed.get_rank() if in_group() else 0
        self.plan: TilePlan | None = None
        self.reduce: Reduce = Reduce()
        self._batch = whole
        if in_group():
            if batch_size is not None:
                logger.info("Several processes train: every step sees all spots, each process holds a part.")
            own = tiles_of_process(adjacency, self.rank, distributed.get_world_size())
            self._batch = Batch.around(whole.features, whole.graph, own, n_hops)
            self.reduce = AllReduce()
        elif batch_size is not None:
            codes = slices.cpu().numpy()
            self.plan = TilePlan.of(adjacency, batch_size, slices=codes, seed=source.integer("tiles"))
            self.reduce = RunningMean()

    @property
    def per_epoch(self) -> int:
        """Number of steps in which every spot is seen once."""
        return 1 if self.plan is None else self.plan.n_batches

    def n_epochs(self, max_epochs: int, n_encoders: int) -> int:
        """Number of times that each encoder sees the spots."""
        return max_epochs if self.plan is None else self.plan.n_sweeps(max_epochs, n_encoders)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        if self.plan is None:
            return self._batch
        return Batch.around(self.whole.features, self.whole.graph, self.plan.batch(step), self.n_hops)

    def draw(self, step: int) -> Draw:
        """The random numbers of a step."""
        device, seed = self.whole.features.device, self.source.integer(f"step {step}")
        own = self.source.integer(f"step {step} of process {self.rank}")
        return Draw(torch.Generator(device).manual_seed(seed), torch.Generator(device).manual_seed(own), seed)


def train(
    model: GraphEncoder[Any],
    tissue: Tissue,
    adjacency: Any,
    batch_size: int | None,
    checkpoint: Checkpoint | None,
    *,
    progress_bar: bool | None,
) -> tuple[Network, dict[str, np.ndarray]]:
    """The networks of a model after their training, and the losses and learning rate of each epoch."""
    config, whole = model.config, tissue.whole
    seeds = [model.random_source.integer(f"weights {number}") for number in range(config.n_encoders)]
    network = model._network_type(whole.features.shape[1], config, WeightSource(seeds)).to(whole.features.device)
    n_spots = choose_batch_size(batch_size, whole.n_total, config.n_encoders * model._bytes_per_spot())
    steps = Steps(whole, adjacency, model.random_source, n_hops=network.n_hops, batch_size=n_spots, slices=tissue.codes)
    n_epochs = steps.n_epochs(config.max_epochs, config.n_encoders)
    how: Any = {"reduce": steps.reduce, "source": model.random_source, "max_epochs": n_epochs}
    objective = model._objective_type(network, tissue, config, **how).to(whole.features.device)
    logger.info(
        "Training %s on %s spots%s and %s genes: %d encoder(s), %d epochs, on %s.",
        model.name,
        f"{whole.n_total:,}",
        f" in {len(tissue.slices)} slices" if tissue.slices else "",
        f"{tissue.n_genes:,}",
        config.n_encoders,
        config.max_epochs,
        whole.features.device,
    )

    def loss(step: int) -> LossOutput:
        batch = steps.batch(step)
        output: LossOutput = objective(batch, objective.draw(batch, steps.draw(step)), step / steps.per_epoch)
        return output

    plan = TrainingPlan.of(config, steps.per_epoch, n_epochs)
    shown = settings.progress_bar if progress_bar is None else progress_bar
    trainer = Trainer(plan, progress_bar=shown, checkpoint=checkpoint, description=f"Training {model.name}")
    return network, trainer.fit(objective, loss)


def checkpoint_of(model: GraphEncoder[Any], file: str | Path, digest: str) -> Checkpoint:
    """The checkpoint of a training, identified by everything that the result depends on; ``digest`` is of the data.

    The number of epochs counts only if the schedule depends on it.
    """
    told = asdict(model.config)
    if model.config.schedule == "constant":
        del told["max_epochs"]
    n_processes = distributed.get_world_size() if in_group() else 1
    parts = (model.name, told, model.random_source.seed, n_processes, digest)
    identity = hashlib.sha256(repr(parts).encode()).hexdigest()
    return Checkpoint(file, identity, writes=not in_group() or distributed.get_rank() == 0)
