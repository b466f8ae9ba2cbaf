"""Choice of the device, logged once; an explicit choice is never silently ignored."""

from __future__ import annotations

import torch

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape._core.validation import described

# Others of torch, such as mps, lack operations that the encoders need.
_TYPES = ("cpu", "cuda")


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch device into a usable :class:`torch.device`.

    Raises
    ------
    ValueError
        If the device is unknown, or CUDA is asked for by name and cannot be used.
    """
    wanted = settings.device if device is None else device
    if str(wanted) == "auto":
        chosen = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        chosen = _parse(wanted)
        _check_cuda(chosen)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    logger.debug("Running on %s (%s).", chosen, name)
    return chosen


def _parse(wanted: object) -> torch.device:
    if not isinstance(wanted, (str, torch.device)):
        msg = f"device must be a text or a torch.device, not {described(wanted)}."
        raise TypeError(msg)
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in _TYPES:
        msg = f"device={str(wanted)!r} is not a device; use 'auto', 'cpu', 'cuda' or 'cuda:<number>'."
        raise ValueError(msg)
    return device


def _check_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        msg = f"device={str(device)!r} was asked for, but torch finds no usable GPU; use device='auto' or 'cpu'."
        raise ValueError(msg)
    index: int | None = device.index
    if index is not None and index >= torch.cuda.device_count():
        msg = f"device={str(device)!r} does not exist; torch sees {torch.cuda.device_count()} GPU(s), numbered from 0."
        raise ValueError(msg)
