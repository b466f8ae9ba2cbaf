"""The training loop: schedule, history, stopping, checkpoints."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from spotscape.nn import LossOutput, Trainer, TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path


class Problem:
    """Least squares with noise drawn from a generator whose state must survive a checkpoint."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        data = torch.Generator().manual_seed(99)
        self.module = nn.Linear(3, 1)
        with torch.no_grad():
            self.module.weight.copy_(torch.tensor([[1.0, -1.0, 0.5]]))
            self.module.bias.zero_()
        self.x = torch.randn(50, 3, generator=data)
        self.y = self.x @ torch.tensor([[2.0], [0.0], [-1.0]]) + 3
        self.fail_at: int | None = None
        self.calls = 0
        self.epochs: list[int] = []

    def __call__(self, epoch: int) -> LossOutput:
        self.epochs.append(epoch)
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        noise = 0.1 * torch.randn(50, 1, generator=self.generator)
        error = (self.module(self.x) - self.y + noise).square().mean()
        return LossOutput(error, {"error": error})

    def fit(self, **plan: object) -> dict[str, np.ndarray]:
        trainer = {name: plan.pop(name) for name in ("checkpoint", "checkpoint_every", "identity") if name in plan}
        settings = TrainingPlan(**{"max_epochs": 60, "lr": 0.1, "weight_decay": 0.0, **plan})
        return Trainer(settings, progress_bar=False, **trainer).fit(self.module, self, generator=self.generator)


@dataclasses.dataclass(frozen=True)
class Hyper:
    """A configuration with every field of a plan, none at its default, and others beside."""

    latent_size: int = 3
    max_epochs: int = 7
    lr: float = 0.25
    weight_decay: float = 0.5
    schedule: str = "constant"
    max_grad_norm: float = 2.0
    patience: int = 11
    min_delta: float = 0.125
    precision: str = "bfloat16"


def test_a_plan_is_read_from_a_configuration() -> None:
    plan = TrainingPlan.of(Hyper())
    assert dataclasses.asdict(plan) == {k: v for k, v in dataclasses.asdict(Hyper()).items() if k != "latent_size"}
    defaults = TrainingPlan(max_epochs=1, lr=1)
    assert not any(getattr(plan, field.name) == getattr(defaults, field.name) for field in dataclasses.fields(plan))
    assert TrainingPlan.of(plan) == plan


def test_a_configuration_without_a_field_of_the_plan() -> None:
    with pytest.raises(AttributeError, match="lr"):
        TrainingPlan.of(object.__new__(type("Config", (), {"max_epochs": 3})))


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_it_learns(schedule: str) -> None:
    problem = Problem()
    history = problem.fit(schedule=schedule, max_epochs=300)
    torch.testing.assert_close(problem.module.weight.detach(), torch.tensor([[2.0, 0.0, -1.0]]), atol=0.05, rtol=0)
    assert set(history) == {"loss", "error", "lr"}
    assert all(values.shape == (300,) and values.dtype == np.float64 for values in history.values())
    assert not problem.module.training


def test_one_cycle_warms_up_and_anneals() -> None:
    rates = Problem().fit(max_epochs=100)["lr"]
    assert rates.argmax() == pytest.approx(29, abs=1)
    assert rates.max() == pytest.approx(0.1)
    assert rates[0] < 0.01
    assert rates[-1] < 1e-4
    np.testing.assert_allclose(Problem().fit(schedule="constant")["lr"], 0.1)


def test_early_stopping() -> None:
    stopped = Problem().fit(schedule="constant", max_epochs=2000, patience=50)["loss"]
    assert 60 < len(stopped) < 1000
    assert len(Problem().fit(max_epochs=100)["loss"]) == 100


def test_gradient_norm_is_bounded() -> None:
    problem = Problem()
    problem.fit(max_epochs=1, max_grad_norm=1e-3)
    norm = torch.cat([parameter.grad.ravel() for parameter in problem.module.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_an_interrupted_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = Problem()
    expected = whole.fit()
    file = tmp_path / "training.ckpt"
    first = Problem()
    first.fail_at = 38
    with pytest.raises(KeyboardInterrupt):
        first.fit(checkpoint=file, checkpoint_every=10)
    assert [path.name for path in tmp_path.iterdir()] == ["training.ckpt"]
    second = Problem(seed=5)
    found = second.fit(checkpoint=file, checkpoint_every=10)
    assert second.epochs == list(range(30, 60))
    assert torch.equal(second.module.weight, whole.module.weight)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "training.ckpt"
    expected = Problem().fit(checkpoint=file)
    again = Problem()
    found = again.fit(checkpoint=file)
    assert again.calls == 0
    np.testing.assert_array_equal(found["loss"], expected["loss"])


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "training.ckpt"
    Problem().fit(checkpoint=file)
    other = Problem()
    other.module = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="belongs to another model or data set"):
        other.fit(checkpoint=file)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Although all shapes fit, as those of two tissues do that are reduced to as many components."""
    file = tmp_path / "training.ckpt"
    Problem().fit(checkpoint=file, identity="one")
    again = Problem()
    again.fit(checkpoint=file, identity="one")
    assert again.calls == 0
    with pytest.raises(ValueError, match="another model or data set, or to another configuration or seed; remove it"):
        Problem().fit(checkpoint=file, identity="two")


def test_divergence_is_an_error() -> None:
    problem = Problem()
    problem.x = problem.x * float("inf")
    with pytest.raises(FloatingPointError, match="not finite after 10 epochs"):
        problem.fit()
