"""Choice of the device, logged once; an explicit choice is never silently ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape._core.validation import described

if TYPE_CHECKING:
    import torch

# Others of torch, such as mps, lack operations that the encoders need.
_TYPES = ("cpu", "cuda")


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch device into a usable :class:`torch.device`.

    Raises
    ------
    ValueError
        If the device is unknown, or CUDA is asked for by name and cannot be used.
    """
    import torch

    wanted: object = settings.device if device is None else device
    if str(wanted) == "auto":
        chosen = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    elif not isinstance(wanted, (str, torch.device)):
        msg = f"device must be a text or a torch.device, not {described(wanted)}."
        raise TypeError(msg)
    else:
        unknown = f"device={str(wanted)!r} is not a device; use 'auto', 'cpu', 'cuda' or 'cuda:<number>'."
        try:
            chosen = torch.device(wanted)
        except RuntimeError as error:
            raise ValueError(unknown) from error
        if chosen.type not in _TYPES:
            raise ValueError(unknown)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            msg = f"device={str(chosen)!r} was asked for, but torch finds no usable GPU; use device='auto' or 'cpu'."
            raise ValueError(msg)
        index: int | None = chosen.index
        n_found = torch.cuda.device_count()
        if chosen.type == "cuda" and index is not None and index >= n_found:
            msg = f"device={str(chosen)!r} does not exist; torch sees {n_found} GPU(s), numbered from 0."
            raise ValueError(msg)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    logger.debug("Running on %s (%s).", chosen, name)
    return chosen
