"""One training: random weights, an objective, the steps, and the file from which it resumes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import distributed

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape.models._steps import Steps
from spotscape.nn.batches import in_group
from spotscape.nn.blocks import WeightSource
from spotscape.nn.checkpoint import Checkpoint
from spotscape.nn.tiles import choose_batch_size
from spotscape.nn.trainer import Trainer, TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from spotscape.models._base import GraphEncoder
    from spotscape.models._method import Network, Tissue
    from spotscape.nn.trainer import LossOutput


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
    network = model._network(whole.features.shape[1], WeightSource(seeds)).to(whole.features.device)
    n_spots = choose_batch_size(batch_size, whole.n_total, config.n_encoders * model._bytes_per_spot())
    steps = Steps(
        whole, adjacency, model.random_source, n_hops=network.n_hops, batch_size=n_spots, slices=tissue.slices
    )
    n_epochs = steps.n_epochs(config.max_epochs, config.n_encoders)
    objective = model._objective(network, tissue, steps.reduce, n_epochs).to(whole.features.device)
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
