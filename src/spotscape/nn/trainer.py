"""One loop for all models: steps, schedule, history, early stopping, progress and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from spotscape._core.logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# How often the host looks at the loss: rarely enough that a GPU never waits for it.
_CHECK_EVERY = 10

Schedule = Literal["one_cycle", "constant"]


@dataclass(frozen=True)
class LossOutput:
    """What an objective returns: the scalar to minimise and its named, unweighted parts."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def weighted(cls, parts: Mapping[str, tuple[float, Tensor]]) -> Self:
        """The sum of named parts, each given with its weight."""
        total = torch.stack([weight * part for weight, part in parts.values()]).sum()
        return cls(total, {name: part for name, (_, part) in parts.items()})


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes
    ----------
    max_epochs
        Number of steps; each sees the whole tissue.
    lr
        Learning rate of Adam, the peak of the schedule.
    weight_decay
        L2 penalty in Adam.
    schedule
        ``"one_cycle"`` warms up over 30 % of the epochs and anneals to zero; ``"constant"`` keeps the rate.
    max_grad_norm
        Gradients are scaled down to this norm; ``None`` leaves them.
    patience
        Stop once the loss, averaged over 10 epochs, has not improved by ``min_delta`` (relative) for this many epochs;
        ``None`` trains all of them.
    min_delta
        Smallest relative improvement that counts.
    precision
        ``"float32"``, or ``"bfloat16"`` for the dense layers.
    """

    max_epochs: int
    lr: float
    weight_decay: float = 1e-4
    schedule: Schedule = "one_cycle"
    max_grad_norm: float | None = None
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"

    @classmethod
    def of(cls, config: object) -> Self:
        """The plan in a model's configuration, whose fields have the same names."""
        return cls(**{item.name: getattr(config, item.name) for item in fields(cls)})


class Trainer:
    """Minimise a loss over a module's parameters.

    Parameters
    ----------
    plan
        How long and how fast.
    progress_bar
        Show epochs, loss and remaining time.
    checkpoint
        File that is rewritten every ``checkpoint_every`` epochs. If it exists, training resumes from it and ends with
        the same numbers as if it had never stopped.
    checkpoint_every
        Epochs between two checkpoints.
    description
        What the progress bar says.
    identity
        What the training belongs to; a checkpoint of anything else is refused. Parameters of the same shapes do not
        tell: they fit any tissue that is reduced to as many components.
    writes
        Whether the checkpoint is written, which one of several processes does; all read it.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        progress_bar: bool = True,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 25,
        description: str = "training",
        identity: str = "",
        writes: bool = True,
    ) -> None:
        self.plan = plan
        self.progress_bar = progress_bar
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_every = checkpoint_every
        self.description = description
        self.identity = identity
        self.writes = writes

    def fit(
        self, module: nn.Module, loss: Callable[[int], LossOutput], *, generator: torch.Generator
    ) -> dict[str, np.ndarray]:
        """Train ``module`` in place and return the history.

        Parameters
        ----------
        module
            What is trained.
        loss
            One evaluation of the objective in the epoch of that number; draws its randomness from ``generator``.
        generator
            Source of randomness whose state belongs into a checkpoint.

        Returns
        -------
        One float64 array per part of the loss, and ``"loss"`` and ``"lr"``, each of length of the epochs trained.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite.
        ValueError
            If the checkpoint belongs to another training.
        """
        optimizer, scheduler = self._optimizer(module)
        state = _State(module, optimizer, scheduler, generator, self.identity)
        history = state.load(self.checkpoint) if self.checkpoint and self.checkpoint.exists() else []
        epochs = range(len(history), self.plan.max_epochs)
        device = next(module.parameters()).device
        module.train()
        with tqdm(epochs, desc=self.description, unit="epoch", disable=not self.progress_bar) as bar:
            for epoch in bar:
                rate = optimizer.param_groups[0]["lr"]
                with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.precision == "bfloat16"):
                    output = loss(epoch)
                self._step(module, optimizer, scheduler, output.total)
                parts = {"loss": output.total, **output.parts}
                history.append({**{name: part.detach() for name, part in parts.items()}, "lr": rate})
                last = epoch + 1 == self.plan.max_epochs
                if last or (epoch + 1) % _CHECK_EVERY == 0:
                    _require_finite(history, epoch)
                    bar.set_postfix(loss=f"{float(history[-1]['loss']):.3g}")
                if self.checkpoint and self.writes and (last or (epoch + 1) % self.checkpoint_every == 0):
                    state.save(self.checkpoint, history)
                if self._has_converged(history):
                    logger.info("Stopped after %d epochs: the loss no longer improves.", epoch + 1)
                    break
        module.eval()
        return {name: np.array([float(entry[name]) for entry in history]) for name in history[0]}

    def _optimizer(self, module: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        plan = self.plan
        optimizer = torch.optim.Adam(module.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=True)
        if plan.schedule == "constant":
            return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(
            optimizer, plan.lr, total_steps=max(plan.max_epochs, 2), cycle_momentum=False
        )

    def _step(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        total: Tensor,
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.plan.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.plan.max_grad_norm)
        optimizer.step()
        scheduler.step()

    def _has_converged(self, history: list[dict[str, Any]]) -> bool:
        patience = self.plan.patience
        if patience is None or len(history) % _CHECK_EVERY or len(history) <= patience + _CHECK_EVERY:
            return False
        losses = np.array([float(entry["loss"]) for entry in history])
        smooth = np.convolve(losses, np.full(_CHECK_EVERY, 1 / _CHECK_EVERY), mode="valid")
        return bool(smooth[-patience:].min() > (1 - self.plan.min_delta) * smooth[:-patience].min())


@dataclass(frozen=True)
class _State:
    """All that a resumed run needs to go on with the same numbers."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    identity: str

    def save(self, path: Path, history: list[dict[str, Any]]) -> None:
        content = {
            "identity": self.identity,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "generator": self.generator.get_state(),
            "history": [{name: float(value) for name, value in entry.items()} for entry in history],
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(content, partial)
        partial.replace(path)

    def load(self, path: Path) -> list[dict[str, Any]]:
        device = next(self.module.parameters()).device
        content = torch.load(path, weights_only=True, map_location=device)
        msg = (
            f"the checkpoint {path} belongs to another model or data set, or to another configuration or seed; remove "
            "it or name another file."
        )
        if content.get("identity") != self.identity:
            raise ValueError(msg)
        try:
            self.module.load_state_dict(content["module"])
        except RuntimeError as error:
            raise ValueError(msg) from error
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        self.generator.set_state(content["generator"].cpu())
        history: list[dict[str, Any]] = content["history"]
        logger.info("Resuming from %s after %d epochs.", path, len(history))
        return history


def _require_finite(history: list[dict[str, Any]], epoch: int) -> None:
    if not np.isfinite(float(history[-1]["loss"])):
        msg = f"the loss is not finite after {epoch + 1} epochs; check the input for extreme values or lower lr."
        raise FloatingPointError(msg)
