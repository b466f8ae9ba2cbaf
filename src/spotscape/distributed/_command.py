"""The command that every process of a group runs."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from torch import distributed

from spotscape._core import keys
from spotscape._core.device import resolve_device
from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape.models._spacross import SpaCrossPreset
from spotscape.models._spotscape import SpotscapePreset
from spotscape.nn.batches import in_group, join_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_EXAMPLE = "torchrun --nproc-per-node=2 -m spotscape.distributed tissue.h5ad --out embedded.h5ad"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and embed in every process of a group; the first of them writes the result.

    Parameters
    ----------
    arguments
        Of the command line; ``None`` takes those that Python was started with.

    Returns
    -------
    The exit status: 0, or 1 if there is no group. If the group breaks, this is said with what to do, and the process
    ends with 1.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.method == keys.SPOTSCAPE and options.preset not in get_args(SpotscapePreset):
        parser.error(f"--method spotscape has the presets {', '.join(get_args(SpotscapePreset))}")
    if "RANK" not in os.environ:
        logger.error("No group of processes; start it with torchrun: %s", _EXAMPLE)
        return 1
    if int(os.environ["RANK"]) != 0:
        settings.verbosity, settings.progress_bar = "error", False
    try:
        return _run(options)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        logger.error("Process %s stops: %s", os.environ["RANK"], _explain(error, options.checkpoint))
        _end(1)


def _run(options: argparse.Namespace) -> int:
    import anndata

    from spotscape import tl

    _end_with_parent()
    join_group(resolve_device(options.device), minutes=options.timeout)
    if not options.out.parent.is_dir() or options.out.is_dir():
        msg = f"--out {options.out} is no file in a folder that exists."
        raise ValueError(msg)
    try:
        adata = anndata.read_h5ad(options.tissue, backed="r")
        names = ("library_key", "neighbors_key", "preset", "max_epochs", "random_state", "device", "checkpoint")
        arguments = {name: getattr(options, name) for name in names}
        if options.key_added is not None:
            arguments["key_added"] = options.key_added
        tool = tl.spacross if options.method == keys.SPACROSS else tl.spotscape
        tool(adata, **arguments)
        if not in_group() or distributed.get_rank() == 0:
            _write(adata, options.out)
        if in_group():
            distributed.barrier()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def _end_with_parent() -> None:
    """Let the system end this process when the one that started it is gone, as a killed torchrun is."""
    if sys.platform == "linux":
        request_signal, terminate = 1, 15
        ctypes.CDLL(None).prctl(request_signal, terminate)


def _end(status: int) -> NoReturn:
    """End the process as it is.

    To take a broken group apart may take forever: it waits for a thread of gloo's while it holds the interpreter, which
    that thread waits for to let go of its tensors.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _write(adata: AnnData, out: Path) -> None:
    """Write under another name first, so that what has the name is whole."""
    partial = out.with_name(out.name + ".partial")
    adata.write_h5ad(partial)
    partial.replace(out)
    logger.info("Written to %s.", out)


def _explain(error: Exception, checkpoint: Path | None) -> str:
    if not _is_lost(error):
        return str(error)
    found = "another process of the group has ended or cannot be reached"
    if checkpoint is None:
        return f"{found}. Nothing was written. With --checkpoint FILE the same command would go on where it stopped."
    return f"{found}. Nothing was written; start the same command again to go on from {checkpoint}."


def _is_lost(error: Exception) -> bool:
    signs = ("connection", "gloo", "nccl", "peer", "timed out", "socket", "store")
    return isinstance(error, distributed.DistError) or any(sign in str(error).lower() for sign in signs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spotscape.distributed", description=main.__doc__, epilog=_EXAMPLE)
    parser.add_argument("tissue", type=Path, help="h5ad with log-normalised expression and a spatial graph")
    parser.add_argument("--method", default=keys.SPOTSCAPE, choices=keys.ENCODERS, help="which encoder to train")
    parser.add_argument("--out", type=Path, required=True, help="h5ad to write: the tissue with its embedding")
    parser.add_argument("--checkpoint", type=Path, help="file to save the training in, and to resume it from")
    parser.add_argument("--library-key", help="column of obs with the slice of each spot")
    parser.add_argument("--neighbors-key", default="spatial_neighbors", help="record of the graph in uns")
    parser.add_argument("--key-added", help="name of the embedding in obsm; X_ and the method by default")
    parser.add_argument("--preset", default="default", choices=get_args(SpaCrossPreset))
    parser.add_argument("--max-epochs", type=int, help="epochs of each encoder")
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--timeout", type=float, default=30.0, help="minutes to wait for a process that hangs")
    return parser
