"""The loop: Adam and schedules as in torch, resuming to the same bits, early stopping, checkpoints that are whole."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from spotscape.nn import LossOutput, Trainer, TrainingPlan, ema_update
from spotscape.nn.blocks import WeightSource, clip_gradients, drop_out
from spotscape.nn.trainer import Adam, Checkpoint, rate

if TYPE_CHECKING:
    from pathlib import Path

PLAN = TrainingPlan(max_epochs=60, lr=0.1)


class Bowl(nn.Module):
    """A noisy bowl for each encoder; what is random depends on the step only."""

    def __init__(self, n_encoders: int = 2) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones(n_encoders, 3))

    def loss(self, step: int) -> LossOutput:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(step))
        return LossOutput.weighted({"bowl": (2.0, (self.x - 0.1 * noise).square().sum(1))})


def fit(plan: TrainingPlan = PLAN, checkpoint: Checkpoint | None = None, n_encoders: int = 2) -> tuple[Bowl, dict]:
    module = Bowl(n_encoders)
    return module, Trainer(plan, progress_bar=False, checkpoint=checkpoint, save_every=5).fit(module, module.loss)


@pytest.mark.parametrize("n_steps", [2, 7, 60])
def test_steps_and_rates_are_those_of_torch(n_steps: int) -> None:
    mine, theirs = (nn.Parameter(torch.linspace(-1, 2, 12).view(3, 4)) for _ in range(2))
    other = torch.optim.Adam([theirs], lr=0.05, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(other, 0.05, total_steps=n_steps, cycle_momentum=False)
    adam = Adam([mine], 0.01)
    for step in range(n_steps):
        lr = 0.05 * rate("one_cycle", step, n_steps)
        assert lr == pytest.approx(other.param_groups[0]["lr"], rel=1e-9)
        for one in (mine, theirs):
            one.grad = None
            (one**4).sum().backward()
        adam.step(lr)
        other.step()
        if step + 1 < n_steps:
            schedule.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert rate("constant", 3, 10) == 1


def test_history_has_a_mean_for_each_epoch() -> None:
    plan = TrainingPlan(max_epochs=6, lr=0.1, schedule="constant", steps_per_epoch=4)
    module, history = fit(plan)
    assert {name: values.shape for name, values in history.items()} == dict.fromkeys(("loss", "bowl", "lr"), (6,))
    np.testing.assert_allclose(history["loss"], 2 * history["bowl"])
    assert history["loss"][-1] < history["loss"][0]
    assert not module.training


def test_an_encoder_does_not_know_its_companions() -> None:
    plan = TrainingPlan(max_epochs=60, lr=0.1, max_grad_norm=0.5)
    alone, together = (fit(plan, n_encoders=n)[0].x for n in (1, 3))
    assert torch.equal(alone[0], together[0])
    drawn = [WeightSource([5, 6][:n]).uniform(4, 3, bound=1.0) for n in (1, 2)]
    assert torch.equal(drawn[0][0], drawn[1][0])


def test_gradients_are_clipped_encoder_by_encoder() -> None:
    one, other = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2))
    one.grad, other.grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]]), torch.tensor([4.0, 0.1])
    clip_gradients([one, other], 1.0)
    torch.testing.assert_close(one.grad, torch.tensor([[0.6, 0, 0], [0.1, 0, 0]]))
    torch.testing.assert_close(other.grad, torch.tensor([0.8, 0.1]))


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_it_resumes_to_the_same_bits(schedule: str, tmp_path: Path) -> None:
    plan = TrainingPlan(max_epochs=60, lr=0.1, schedule=schedule)
    expected, history = fit(plan)
    for stop_at in (7, 23, 59):
        module = Bowl()

        def loss(step: int, module: Bowl = module, stop_at: int = stop_at) -> LossOutput:
            if step == stop_at:
                raise KeyboardInterrupt
            return module.loss(step)

        file = tmp_path / f"{stop_at}.pt"
        with pytest.raises(KeyboardInterrupt):
            Trainer(plan, progress_bar=False, checkpoint=Checkpoint(file, "same"), save_every=5).fit(module, loss)
        assert [path.name for path in tmp_path.glob(f"*{stop_at}.pt*")] == [file.name]
        found, again = fit(plan, Checkpoint(file, "same"))
        assert torch.equal(found.x, expected.x)
        assert {name: values.tolist() for name, values in again.items()} == {
            name: values.tolist() for name, values in history.items()
        }


def test_patience_counts_epochs_and_a_resumed_run_stays_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = TrainingPlan(max_epochs=400, lr=0.05, schedule="constant", patience=20, min_delta=0.01, steps_per_epoch=3)
    module, history = fit(plan, Checkpoint(tmp_path / "a.pt", "same"))
    n_epochs = len(history["loss"])
    assert 30 < n_epochs < 400
    assert n_epochs % 10 == 0
    assert f"Stopped after {n_epochs} epochs" in caplog.text
    again, other = fit(plan, Checkpoint(tmp_path / "a.pt", "same"))
    assert len(other["loss"]) == n_epochs
    assert torch.equal(again.x, module.x)


def test_fewer_epochs_than_were_trained_are_refused(tmp_path: Path) -> None:
    constant = TrainingPlan(max_epochs=30, lr=0.1, schedule="constant")
    fit(constant, Checkpoint(tmp_path / "a.pt", "same"))
    with pytest.raises(ValueError, match="has trained 30 epochs, more than max_epochs=20"):
        fit(TrainingPlan(max_epochs=20, lr=0.1, schedule="constant"), Checkpoint(tmp_path / "a.pt", "same"))
    _, longer = fit(TrainingPlan(max_epochs=50, lr=0.1, schedule="constant"), Checkpoint(tmp_path / "a.pt", "same"))
    assert len(longer["loss"]) == 50


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "pickle", "foreign", "other"])
def test_a_checkpoint_that_is_none_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    fit(checkpoint=Checkpoint(file, "same"))
    content = file.read_bytes()
    if damage == "foreign":
        torch.save({"x": torch.ones(2)}, file)
    elif damage != "other":
        changed = {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "garbage": b"?" * 500,
            "pickle": b"cos\nsystem\n.",
        }
        file.write_bytes(changed[damage])
    before = file.read_bytes()
    with pytest.raises(ValueError, match="remove it or name another file") as raised:
        fit(checkpoint=Checkpoint(file, "other" if damage == "other" else "same"))
    assert "weights_only" not in str(raised.value)
    assert file.read_bytes() == before


def test_a_full_disk_is_an_error_of_the_system_and_leaves_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "a.pt", "same")
    fit(checkpoint=checkpoint)
    before = (tmp_path / "a.pt").read_bytes()

    def full(_content: object, path: Path) -> None:
        path.write_bytes(b"half")
        message = "PytorchStreamWriter failed writing file data/0: file write failed"
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="is the disk full"):
        checkpoint.write({})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX systems")
def test_two_trainings_do_not_write_one_file(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "a.pt", "same"):
        code = "import sys; from spotscape.nn.trainer import Checkpoint\nwith Checkpoint(sys.argv[1], 'same'): pass"
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.pt")], capture_output=True, text=True, check=False
        )
        assert "another training writes the checkpoint" in other.stderr
        with pytest.raises(ValueError, match="another training"), Checkpoint(tmp_path / "a.pt", "same"):
            pass
    with Checkpoint(tmp_path / "a.pt", "same"):
        pass


def test_a_loss_that_is_not_finite_is_said() -> None:
    module = Bowl()
    with pytest.raises(FloatingPointError, match="not finite after 10 steps"):
        Trainer(PLAN, progress_bar=False).fit(module, lambda step: LossOutput(module.loss(step).total * torch.nan))


def test_drop_out_is_shared_by_encoders_and_keeps_the_mean() -> None:
    x = torch.ones(1, 2, 500, 7, requires_grad=True)
    found = drop_out(x, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(found[0, 0], found[0, 1])
    assert found.unique().tolist() == [0.0, pytest.approx(256 / 205)]
    assert abs(float(found.detach().mean()) - 1) < 5 * (51 / 205 / 3500) ** 0.5
    assert drop_out(x, 0.2, None) is x


def test_a_target_follows() -> None:
    target, online = (nn.Linear(2, 2) for _ in range(2))
    start = target.weight.clone()
    ema_update(target, online, 0.75)
    torch.testing.assert_close(target.weight, 0.75 * start + 0.25 * online.weight)
    ema_update(target, online, 0.0)
    assert torch.equal(target.weight, online.weight)
