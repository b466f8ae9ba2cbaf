"""A file with the state of a training. One training uses it at a time, and other trainings are refused."""

from __future__ import annotations

import os
import pickle
import secrets
from pathlib import Path
from typing import Any, Self

import torch

from spotscape._core.logging import logger

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
