"""The few things a user sets once for a whole session, among them the device; and what runs on one thread."""

from __future__ import annotations

import functools
import importlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotscape._core.logging import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import torch
    from threadpoolctl import ThreadpoolController

_NAMES = ("verbosity", "progress_bar", "device", "n_jobs", "datasetdir")
_VERBOSITIES = ("error", "warning", "info", "debug")
# What scanpy calls hints is part of the debug level here.
_SCANPY = {"0": "error", "1": "warning", "2": "info", "3": "debug", "4": "debug", "hint": "debug"}
_TRUE = {"1", "true", "yes", "on"}


def require_threads(number: int, name: str) -> int:
    """Refuse what is no number of threads, nor -1 for all cores."""
    if number == 0 or number < -1:
        msg = f"{name}={number} is neither a positive number of threads nor -1 (all cores)."
        raise ValueError(msg)
    return number


class Settings:
    """Session-wide defaults, each also readable from an environment variable ``SPOTSCAPE_<NAME>``.

    Attributes
    ----------
    verbosity
        ``"error"``, ``"warning"``, ``"info"`` (default) or ``"debug"``: what the logger ``spotscape`` lets through.
        Scanpy's numbers 0 to 4 and its ``"hint"`` are taken, too.
    progress_bar
        Whether training and downloads show a progress bar. Default: ``True``.
    device
        Where ``device=None`` runs: ``"auto"`` (default; CUDA if usable, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    n_jobs
        Threads for work that is split by slice; ``-1`` means all cores. Default: 1.
    datasetdir
        Folder where downloaded data sets are kept. Default: ``~/.cache/spotscape``.

    Examples
    --------
    >>> import spotscape as sp
    >>> with sp.settings.override(verbosity="warning", progress_bar=False):
    ...     sp.settings.verbosity
    'warning'
    """

    def __init__(self) -> None:
        env = {name: os.environ.get(f"SPOTSCAPE_{name.upper()}") for name in _NAMES}
        self.verbosity = env["verbosity"] or "info"
        self.progress_bar = (env["progress_bar"] or "true").lower() in _TRUE
        self.device = env["device"] or "auto"
        self.n_jobs = int(env["n_jobs"] or 1)
        self.datasetdir = env["datasetdir"] or Path("~/.cache/spotscape")

    @property
    def verbosity(self) -> str:
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: str | int) -> None:
        value = _SCANPY.get(str(value), str(value))
        if value not in _VERBOSITIES:
            msg = f"verbosity={value!r} is not one of {sorted(_VERBOSITIES)}, nor a number from 0 to 4."
            raise ValueError(msg)
        self._verbosity = value
        logger.setLevel(value.upper())

    @property
    def n_jobs(self) -> int:
        return self._n_jobs

    @n_jobs.setter
    def n_jobs(self, value: int) -> None:
        self._n_jobs = require_threads(value, "n_jobs")

    @property
    def datasetdir(self) -> Path:
        return self._datasetdir

    @datasetdir.setter
    def datasetdir(self, value: str | Path) -> None:
        self._datasetdir = Path(value).expanduser()

    @contextmanager
    def override(self, **values: Any) -> Iterator[Settings]:
        """Set some of the settings inside a ``with`` block and put the old ones back after it."""
        unknown = sorted(set(values) - set(_NAMES))
        if unknown:
            msg = f"unknown settings {unknown}; there are {list(_NAMES)}."
            raise AttributeError(msg)
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def __repr__(self) -> str:
        return "Settings(" + ", ".join(f"{name}={getattr(self, name)!r}" for name in _NAMES) + ")"


settings = Settings()


# Others of torch, such as mps, lack operations that the encoders need.
_TYPES = ("cpu", "cuda")


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch device into a usable :class:`torch.device`."""
    import torch

    from spotscape._core.validation import described

    wanted: object = settings.device if device is None else device
    if not isinstance(wanted, (str, torch.device)):
        msg = f"device must be a text or a torch.device, not {described(wanted)}."
        raise TypeError(msg)
    n_found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = str(wanted) if str(wanted) != "auto" else "cuda" if n_found else "cpu"
    kind, _, index = name.partition(":")
    if kind not in _TYPES or not (index.isdecimal() or name == kind):
        msg = f"device={name!r} is not a device; use 'auto', 'cpu', 'cuda' or 'cuda:<number>'."
        raise ValueError(msg)
    if kind == "cuda" and not n_found:
        msg = f"device={name!r} was asked for, but torch finds no usable GPU; use device='auto' or 'cpu'."
        raise ValueError(msg)
    if kind == "cuda" and int(index or 0) >= n_found:
        msg = f"device={name!r} does not exist; torch sees {n_found} GPU(s), numbered from 0."
        raise ValueError(msg)
    chosen = torch.device(name)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    logger.debug("Running on %s (%s).", chosen, name)
    return chosen


@functools.cache
def threaded_libraries() -> ThreadpoolController:
    """The libraries of this process that compute on several threads.

    Looking for them takes as long as k-means on a small tissue, so it is done once. Those that are loaded later would
    not be found.
    """
    from threadpoolctl import ThreadpoolController

    for name in ("scipy.linalg", "sklearn.cluster"):
        importlib.import_module(name)
    return ThreadpoolController()


def one_thread(user_api: str | None = None) -> AbstractContextManager[object]:
    """Compute on one thread inside a ``with`` block: each number of threads rounds sums differently."""
    limited: AbstractContextManager[object] = threaded_libraries().limit(limits=1, user_api=user_api)
    return limited
