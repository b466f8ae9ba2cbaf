"""One loop for all models: steps, schedule, history, early stopping, progress, and the file that it resumes from."""

from __future__ import annotations

import math
import os
import pickle
import secrets
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from spotscape._core.logging import logger
from spotscape.nn.batches import average_gradients, in_group
from spotscape.nn.blocks import clip_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_FORMAT = "spotscape-checkpoint-2"


class Checkpoint:
    """A file that holds the state of one training, in a folder that exists; of several processes one ``writes`` it.

    ``identity`` stands for the data, configuration and seed, and a file with another identity is refused.
    """

    def __init__(self, path: str | Path, identity: str, *, writes: bool = True) -> None:
        self.path, self.identity, self.writes = Path(path), identity, writes
        self._lock = self.path.with_name(f".{self.path.name}.lock")
        self._handle: Any = None

    def __enter__(self) -> Self:
        """Lock the file for this training. The lock ends with the process, however the process ends."""
        while self.writes and os.name == "posix" and self._handle is None:
            import fcntl

            handle = self._lock.open("w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                handle.close()
                msg = f"another training writes the checkpoint {self.path}; wait for it, or name another file."
                raise ValueError(msg) from error
            # The training before this one may have removed the file after we had opened it.
            if self._lock.exists() and os.path.samestat(self._lock.stat(), os.fstat(handle.fileno())):
                self._handle = handle
            else:
                handle.close()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Unlock the file."""
        if self._handle is not None:
            self._lock.unlink(missing_ok=True)
            self._handle.close()
            self._handle = None

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """The saved state, ``None`` if there is none yet; refuses a file that is damaged or of another training."""
        if not self.path.exists():
            return None
        mend = "remove it or name another file."
        try:
            content = torch.load(self.path, weights_only=True, map_location=device)
        except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            msg = f"{self.path} is damaged or is no checkpoint of spotscape; {mend}"
            raise ValueError(msg) from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            msg = f"{self.path} is no checkpoint of this version of spotscape; {mend}"
            raise ValueError(msg)
        if content["identity"] != self.identity:
            msg = f"the checkpoint {self.path} belongs to another model or data set, configuration or seed; {mend}"
            raise ValueError(msg)
        state: dict[str, Any] = content["state"]
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the saved state. If this fails, the old file stays as it was, and no other file remains."""
        if not self.writes:
            return
        partial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.partial")
        try:
            torch.save({"format": _FORMAT, "identity": self.identity, "state": state}, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            msg = f"the checkpoint {self.path} could not be written ({error}); is the disk full?"
            raise OSError(msg) from error
        finally:
            partial.unlink(missing_ok=True)
        logger.debug("Saved the training in %s.", self.path)


Schedule = Literal["one_cycle", "constant"]

_BETAS, _EPS = (0.9, 0.999), 1e-8
# Smith & Topin (2019): up over 30 % of the steps from a 25th, then down to nearly nothing.
_WARM_UP, _START, _END = 0.3, 1 / 25, 1 / (25 * 1e4)


def rate(schedule: Schedule, step: int, n_steps: int) -> float:
    """The share of the peak rate in a step: 1 for ``"constant"``; ``"one_cycle"`` rises and falls along cosines."""
    if schedule == "constant":
        return 1.0
    peak = _WARM_UP * n_steps - 1
    last = max(n_steps - 1, 1)
    if step <= peak:
        return _between(_START, 1.0, step / peak if peak > 0 else 1.0)
    return _between(1.0, _END, (step - peak) / max(last - peak, 1e-9))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


class Adam:
    """The Adam optimiser (Kingma & Ba 2015) with an L2 penalty. A parameter without a gradient is not changed.

    It computes one operation after the other: torch's fused operations round the last entries of a tensor differently,
    so the result of an encoder would depend on the number of encoders.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float) -> None:
        self.parameters, self.weight_decay, self.n_steps = list(parameters), weight_decay, 0
        self.means = [torch.zeros_like(one) for one in self.parameters]
        self.squares = [torch.zeros_like(one) for one in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step with the learning rate ``lr``. Gradients are deleted afterwards."""
        self.n_steps += 1
        first, second = (1 - beta**self.n_steps for beta in _BETAS)
        for one, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if one.grad is None:
                continue
            gradient = (one * self.weight_decay).add_(one.grad)
            mean.mul_(_BETAS[0]).add_(gradient * (1 - _BETAS[0]))
            square.mul_(_BETAS[1]).add_(gradient.square_().mul_(1 - _BETAS[1]))
            one.sub_((mean * (lr / first)).div_((square / second).sqrt_().add_(_EPS)))
            one.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint includes."""
        return {"n_steps": self.n_steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.n_steps = state["n_steps"]
        for mine, saved in zip(self.means + self.squares, state["means"] + state["squares"], strict=True):
            mine.copy_(saved)


# How often the host looks at the loss: rarely enough that a GPU never waits for it.
_CHECK_EVERY = 10


@dataclass(frozen=True)
class LossOutput:
    """The result of an objective: the loss of each encoder, ``(B,)``, and its parts by name, unweighted."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def weighted(cls, parts: Mapping[str, tuple[float, Tensor]]) -> Self:
        """The sum of named parts, each given with its weight."""
        total = torch.stack([weight * part for weight, part in parts.values()]).sum(0)
        return cls(total, {name: part for name, (_, part) in parts.items()})


@dataclass(frozen=True)
class TrainingPlan:
    """Length of a training, learning rate and precision.

    Attributes
    ----------
    max_epochs
        Number of epochs. Every spot is seen once in each.
    lr
        Learning rate of Adam, the peak of the schedule.
    weight_decay
        L2 penalty in Adam.
    schedule
        ``"one_cycle"`` raises the rate over the first 30 % of the steps and then lowers it to zero. ``"constant"``
        keeps it.
    max_grad_norm
        Gradients of an encoder are scaled down to this norm; ``None`` leaves them.
    patience
        Stop if the loss of the first encoder, averaged over 10 epochs, has not improved by ``min_delta`` (relative) for
        this many epochs. ``None`` trains for all epochs.
    min_delta
        Smallest relative improvement that counts.
    precision
        ``"float32"``, or ``"bfloat16"`` for the dense layers.
    steps_per_epoch
        Number of steps in which every spot is seen once.
    """

    max_epochs: int
    lr: float
    weight_decay: float = 1e-4
    schedule: Schedule = "one_cycle"
    max_grad_norm: float | None = None
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    steps_per_epoch: int = 1

    @classmethod
    def of(cls, config: object, steps_per_epoch: int = 1, max_epochs: int | None = None) -> Self:
        """The plan from the configuration of a model, whose fields have the same names."""
        named = {item.name: getattr(config, item.name) for item in fields(cls) if item.name != "steps_per_epoch"}
        named["max_epochs"] = named["max_epochs"] if max_epochs is None else max_epochs
        return cls(**named, steps_per_epoch=steps_per_epoch)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.max_epochs * self.steps_per_epoch


class Trainer:
    """Minimise a loss over the parameters of a module, which have the shape ``(B, ...)`` for B encoders.

    Parameters
    ----------
    plan
        Length of the training, learning rate and precision.
    progress_bar
        Show epochs, loss and remaining time.
    checkpoint
        File in which the state is saved regularly. If it exists, training resumes from it and ends with the same
        numbers as without the interruption.
    save_every
        Steps between two checkpoints.
    description
        Text of the progress bar.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        progress_bar: bool = True,
        checkpoint: Checkpoint | None = None,
        save_every: int = 25,
        description: str = "training",
    ) -> None:
        self.plan, self.progress_bar, self.description = plan, progress_bar, description
        self.checkpoint, self.save_every = checkpoint, save_every

    def fit(self, module: nn.Module, loss: Callable[[int], LossOutput]) -> dict[str, np.ndarray]:
        """Train ``module`` in place and return the history.

        Parameters
        ----------
        module
            The module to train. In a group of processes it is the same in all of them.
        loss
            The objective of a step, given the number of the step. Its random numbers depend on this number only.

        Returns
        -------
        One float64 array for each part of the loss, and ``"loss"`` and ``"lr"``, with one value per epoch, the mean
        over encoders and steps.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite.
        ValueError
            If the checkpoint belongs to another training.
        """
        plan, run = self.plan, _Run(module, self.plan)
        module.train()
        with self.checkpoint or nullcontext() as file:
            steps = range(0 if file is None else run.resume(file), plan.n_steps)
            bar = tqdm(steps, desc=self.description, unit="step", disable=not self.progress_bar)
            for step in bar:
                if converged := run.has_converged():
                    logger.info("Stopped after %d epochs: the loss no longer improves.", step // plan.steps_per_epoch)
                else:
                    run.step(loss, step)
                last = converged or step + 1 == plan.n_steps
                if last or (step + 1) % _CHECK_EVERY == 0:
                    bar.set_postfix(loss=f"{run.require_finite():.3g}")
                if file is not None and (last or (step + 1) % self.save_every == 0):
                    file.write(run.state())
                if converged:
                    break
        bar.close()
        module.eval()
        return run.history_by_epoch()


class _Run:
    """The state that a resumed run needs to continue with the same numbers."""

    def __init__(self, module: nn.Module, plan: TrainingPlan) -> None:
        self.module, self.plan = module, plan
        self.parameters = [one for one in module.parameters() if one.requires_grad]
        self.optimizer = Adam(self.parameters, plan.weight_decay)
        self.history: list[dict[str, Any]] = []

    def step(self, loss: Callable[[int], LossOutput], number: int) -> None:
        """One step of the optimiser."""
        lr = self.plan.lr * rate(self.plan.schedule, number, self.plan.n_steps)
        output = loss(number)
        # Encoders share no weight, so the gradient of the sum is that of each.
        output.total.sum().backward()
        if in_group():
            average_gradients(self.parameters)
        if self.plan.max_grad_norm is not None:
            clip_gradients(self.parameters, self.plan.max_grad_norm)
        self.optimizer.step(lr)
        losses = {"loss": output.total, **output.parts}
        self.history.append({**{name: loss.detach() for name, loss in losses.items()}, "lr": lr})

    def require_finite(self) -> float:
        """The loss of the last step, the mean over encoders."""
        value = float(self.history[-1]["loss"].mean())
        if not np.isfinite(value):
            n_steps = len(self.history)
            msg = f"the loss is not finite after {n_steps} steps; check the input for extreme values or lower lr."
            raise FloatingPointError(msg)
        return value

    def has_converged(self) -> bool:
        """Whether the loss of the first encoder has not improved for some time, whatever the other encoders do."""
        plan, unit = self.plan, self.plan.steps_per_epoch
        epochs, rest = divmod(len(self.history), unit)
        if plan.patience is None or rest or epochs % _CHECK_EVERY or epochs <= plan.patience + _CHECK_EVERY:
            return False
        losses = torch.stack([entry["loss"][0] for entry in self.history]).double().cpu().numpy()
        smooth = np.convolve(losses.reshape(-1, unit).mean(1), np.full(_CHECK_EVERY, 1 / _CHECK_EVERY), mode="valid")
        return bool(smooth[-plan.patience :].min() > (1 - plan.min_delta) * smooth[: -plan.patience].min())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        history = {name: self._stacked(name) for name in self.history[0]}
        return {"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict(), "history": history}

    def resume(self, file: Checkpoint) -> int:
        """Load the saved state, if there is one, and return the number of steps already taken."""
        state = file.read(self.parameters[0].device)
        if state is None:
            return 0
        n_steps = len(state["history"]["lr"])
        if n_steps > self.plan.n_steps:
            msg = (
                f"the checkpoint {file.path} has trained {n_steps // self.plan.steps_per_epoch} epochs, "
                f"more than max_epochs={self.plan.max_epochs}; raise that, remove the file or name another one."
            )
            raise ValueError(msg)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        values = {name: list(parts) for name, parts in state["history"].items()}
        self.history = [{name: parts[number] for name, parts in values.items()} for number in range(n_steps)]
        logger.info("Resuming from %s after %d steps.", file.path, n_steps)
        return n_steps

    def history_by_epoch(self) -> dict[str, np.ndarray]:
        """Mean over encoders and over the steps of each epoch."""
        unit = self.plan.steps_per_epoch
        found = {name: self._stacked(name).double().cpu().numpy() for name in self.history[0]}
        return {
            name: values.reshape(len(values), -1).mean(1).reshape(-1, unit).mean(1) for name, values in found.items()
        }

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([torch.as_tensor(entry[name]) for entry in self.history])
