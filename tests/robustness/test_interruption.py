"""Kills, Ctrl-C and full disks: the same result in the end, or a clear message, and nothing half written."""

from __future__ import annotations

import os
import random
import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import spotscape as sp
from spotscape._core import anndata_io

from .conftest import differences, small, snapshot  # noqa: TID252 - the folder is no package with a name
from .test_arguments import FUNCTIONS  # noqa: TID252

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata as ad

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX systems"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ENCODERS = {"spotscape": sp.models.SpotscapeConfig, "spacross": sp.models.SpaCrossConfig}
READ_ONLY = {"get.markers_df", "get.matches_df", "pp.apply_registration"}
WRITING = [name for name in FUNCTIONS if not name.startswith("pl.") and name not in READ_ONLY]


@contextmanager
def disk_of(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, which the system tells as it tells a full disk: writing fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def killed_after(seconds: float, adata: ad.AnnData, tool: str, arguments: dict[str, Any], result: Path) -> bool:
    """Whether the training was killed after so many seconds of the processor, in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Nobody handles this signal: the process ends wherever it is, as with SIGKILL.
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            getattr(sp.tl, tool)(adata, **arguments)
            signal.setitimer(signal.ITIMER_PROF, 0)
            np.save(result, adata.obsm[f"X_{tool}"])
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGPROF}, "the training failed"
    return status != 0


@pytest.mark.parametrize(
    ("tool", "n_trainings"),
    [
        ("spotscape", 1),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("spacross", 1), ("spotscape", 10), ("spacross", 10))
        ),
    ],
)
def test_trainings_killed_at_random_moments_resume_to_the_same_bits(
    tool: str, n_trainings: int, good: ad.AnnData, tmp_path: Path
) -> None:
    """Each is killed once or twice before it may finish."""
    from dataclasses import replace

    config = replace(small(ENCODERS[tool]), max_epochs=60)
    arguments = {"config": config, "library_key": "slice"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not killed_after(1e3, good.copy(), tool, arguments, tmp_path / "expected.npy")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    drawn = random.Random(0)
    for number in range(n_trainings):
        checkpoint, result = tmp_path / f"{number}.ckpt", tmp_path / f"{number}.npy"
        arguments["checkpoint"] = checkpoint
        # A training that ended before its moment came, as the first one was slow, is no trial.
        while not killed_after(drawn.uniform(0, seconds), good.copy(), tool, arguments, result):
            checkpoint.unlink(missing_ok=True)
        result.unlink(missing_ok=True)
        killed_after(drawn.uniform(0, seconds), good.copy(), tool, arguments, result)
        assert not killed_after(1e3, good.copy(), tool, arguments, result)
        assert result.read_bytes() == (tmp_path / "expected.npy").read_bytes()


@pytest.mark.parametrize("name", WRITING)
def test_ctrl_c_between_two_keys_takes_all_back(
    name: str, good: ad.AnnData, calls: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every function that writes, interrupted before its second and before its last key."""
    put, seen, stop = anndata_io._put, [], [0]

    def counting(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == stop[0]:
            raise KeyboardInterrupt
        put(*arguments)

    monkeypatch.setattr(anndata_io, "_put", counting)
    adata = good.copy()
    FUNCTIONS[name](adata, **calls[name])
    n_keys = len(seen)
    assert n_keys > 0
    for stop[0] in {min(2, n_keys), n_keys}:
        adata = good.copy()
        before = snapshot(adata)
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            FUNCTIONS[name](adata, **calls[name])
        assert not differences(before, snapshot(adata))


@pytest.mark.parametrize("n_bytes", [0, 1_000, 8_000])
@pytest.mark.parametrize("tool", ENCODERS)
def test_a_full_disk_while_a_checkpoint_is_saved(tool: str, n_bytes: int, good: ad.AnnData, tmp_path: Path) -> None:
    adata = good.copy()
    before = snapshot(adata)
    arguments = {"config": small(ENCODERS[tool]), "library_key": "slice", "checkpoint": tmp_path / "a.ckpt"}
    with disk_of(n_bytes), pytest.raises(OSError, match=r"a.ckpt could not be written .*is the disk full\?"):
        getattr(sp.tl, tool)(adata, **arguments)
    assert not list(tmp_path.iterdir())
    assert not differences(before, snapshot(adata))
    getattr(sp.tl, tool)(adata, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("n_bytes", [0, 1_500])
def test_a_full_disk_while_a_model_is_saved(n_bytes: int, model: sp.models.Spotscape, tmp_path: Path) -> None:
    model.save(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    for name in ("old", "new"):
        with disk_of(n_bytes), pytest.raises(OSError, match=rf"{name} could not be written .*is the disk full\?"):
            model.save(tmp_path / name, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
