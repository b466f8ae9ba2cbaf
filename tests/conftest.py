"""What all tests share: quiet settings, fixed threads, devices, real tissue, and a guard of the global random state."""

from __future__ import annotations

import os
import random
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    # Before anything imports Triton: kernels are compiled or interpreted as this says when it is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# No test fails because a machine is busy.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that are slow or need the network run on request."""
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow")
    parser.addoption("--run-internet", action="store_true", help="run the tests marked internet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what was not asked for."""
    for marker in ("slow", "internet"):
        if config.getoption(f"--run-{marker}"):
            continue
        for item in items:
            if marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"runs with --run-{marker} only"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Sums then have one order, whatever machine the tests run on and however many run side by side.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path) -> Iterator[None]:
    """Every test starts from the same settings, without progress bars, and cannot change them for the next one."""
    quiet = {"verbosity": "info", "progress_bar": False, "device": "cpu", "n_jobs": 1, "datasetdir": tmp_path / "cache"}
    with sp.settings.override(**quiet):
        yield


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def _few_starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cluster and integrate from fewer starts, which find the same on simple tissue in a fraction of the time."""
    if request.node.get_closest_marker("all_starts") is None:
        monkeypatch.setattr("spotscape.nn.clustering._kmeans._MOST_STARTS", 10)
        monkeypatch.setattr("spotscape.nn.clustering._mixture._MOST_REPEATS", 1)
        monkeypatch.setattr("spotscape.nn.clustering._mixture._SEARCH", ((4, 4), (2, 2), (2, 2), (2, 2)))
        monkeypatch.setattr("spotscape.nn.clustering._stability._FEWEST_ROUNDS", 1)
        monkeypatch.setattr("spotscape.nn.clustering._stability._MOST_ROUNDS", 1)
        monkeypatch.setattr("spotscape.nn.clustering._agreement._N_SAMPLES", 2)
        monkeypatch.setattr("spotscape.nn.clustering._agreement._RUNS", 2)
        monkeypatch.setattr("spotscape.nn.clustering._agreement._MORE_RUNS", 0)
        monkeypatch.setattr("spotscape.nn.integration._STARTS", ((True, 1, False),))
        monkeypatch.setattr("spotscape.nn.integration._LAST_STEPS", 15)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and CUDA where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no usable GPU")
    return torch.device(request.param)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Return the path of a file of real tissue by its name; skip the test where it is not at hand."""

    def path_of(name: str) -> Path:
        folder = os.environ.get("SPOTSCAPE_DATA")
        if not folder:
            pytest.skip("SPOTSCAPE_DATA is not set: it names the folder with real tissue")
        path = Path(folder) / name
        if not path.is_file():
            pytest.skip(f"there is no {name} in the folder that SPOTSCAPE_DATA names")
        return path

    return path_of


@pytest.fixture
def global_state_untouched() -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager that fails if its block changes global random state or global torch switches.

    ``with global_state_untouched(): sp.tl.spotscape(adata)``
    """
    return _global_state_untouched


@contextmanager
def _global_state_untouched() -> Iterator[None]:
    before = _global_state()
    yield
    after = _global_state()
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        pytest.fail(f"global state was changed: {changed}")


def _global_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "random": random.getstate(),
        "numpy.random": (name, keys.tobytes(), *rest),
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "torch threads": torch.get_num_threads(),
        "torch default dtype": torch.get_default_dtype(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled),
        "gradients": torch.is_grad_enabled(),
    }
