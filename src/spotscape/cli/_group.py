"""Under ``torchrun``: the first process reads, prepares, clusters and writes; all of them train."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from spotscape.cli._read import Input

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from spotscape.cli._plan import Step

# Signs in the messages of gloo and NCCL that another process is gone.
_LOST = ("connection", "gloo", "nccl", "peer", "timed out", "socket", "store")


def size() -> int:
    """Number of processes that torchrun has started for this analysis."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1


def is_first() -> bool:
    """Whether this process is the one that reads and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(options: argparse.Namespace) -> Iterator[None]:
    """Be part of the group, if there is one, for as long as this lasts."""
    if size() == 1:
        yield
        return
    from torch import distributed

    from spotscape._core.device import resolve_device
    from spotscape.nn.batches import join_group

    if sys.platform == "linux":
        # The system ends this process when the one that started it is gone, as a killed torchrun is.
        request_signal, terminate = 1, 15
        ctypes.CDLL(None).prctl(request_signal, terminate)
    join_group(resolve_device(options.device), minutes=options.timeout)
    try:
        yield
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def lead(step: Step, tissue: Input, options: argparse.Namespace) -> None:
    """In the first process: train together with the others, on a file of the prepared tissue that all can read."""
    from torch import distributed

    path = options.output.with_name(f".{options.output.name}.prepared.h5ad")
    path.parent.mkdir(parents=True, exist_ok=True)
    tissue.adata.write_h5ad(path)
    distributed.broadcast_object_list([path, step])
    try:
        stored = _train(path, step)
        step.seconds = stored[1]
        for slot in ("obsm", "uns"):
            getattr(tissue.adata, slot).update(getattr(stored[0], slot))
        distributed.barrier()
    finally:
        path.unlink()


def follow() -> None:
    """In the other processes: train as the first one says."""
    from torch import distributed

    said: list[Any] = [None, None]
    distributed.broadcast_object_list(said)
    path, step = said
    _train(path, step)
    distributed.barrier()


def _train(path: Path, step: Step) -> tuple[Any, float]:
    import anndata

    # The table of a SpatialData is an AnnData here.
    mine = replace(step, arguments={name: value for name, value in step.arguments.items() if name != "table_key"})
    adata = anndata.read_h5ad(path, backed="r")
    mine.do(Input(adata, "h5ad"))
    return adata, mine.seconds


def explain(error: Exception, message: str, checkpoint: Path | None) -> str:
    """What an error in a group means for the user."""
    from torch import distributed

    lost = isinstance(error, distributed.DistError) or any(sign in str(error).lower() for sign in _LOST)
    if not (isinstance(error, RuntimeError) and lost):
        return f"process {os.environ['RANK']} stops: {message}"
    found = "another process of the group has ended or cannot be reached"
    if checkpoint is None:
        return f"{found}. Nothing was written. With --checkpoint FILE the same command would go on where it stopped"
    return f"{found}. Nothing was written; start the same command again to go on from {checkpoint}"


def end(status: int) -> NoReturn:
    """End the process as it is.

    To take a broken group apart may take forever: it waits for a thread of gloo's while it holds the interpreter, which
    that thread waits for to let go of its tensors.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
