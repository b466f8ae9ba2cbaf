"""The command that every process of a group runs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import torch
from torch import distributed

from spotscape._core import keys
from spotscape._core.logging import logger
from spotscape._core.reading import HIGHLY_VARIABLE
from spotscape._core.settings import settings
from spotscape._core.validation import slice_labels
from spotscape.models._spacross_config import SpaCrossPreset
from spotscape.models._spotscape_config import SpotscapePreset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.models._shared import SharedSpaCross, SharedSpotscape

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
    except RuntimeError as error:
        logger.error("Process %s stops: %s", os.environ["RANK"], _explain(error, options.checkpoint))
        _end(1)


def _run(options: argparse.Namespace) -> int:
    device = _device(options.device)
    # A process that is gone is noticed at once; the limit is for one that hangs.
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(minutes=options.timeout))
    try:
        adata = _embed(options, device)
        if distributed.get_rank() == 0:
            _write(adata, options.out)
        distributed.barrier()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def _embed(options: argparse.Namespace, device: str) -> AnnData:
    import anndata

    from spotscape.tl._embedding import fit_and_write, read_input

    adata = anndata.read_h5ad(options.tissue, backed="r")
    slices = slice_labels(adata, options.library_key)
    several = slices is not None and len(slices.categories) > 1
    model, named = _model(options, n_spots=adata.n_obs, several_slices=several)
    tissue = read_input(
        adata,
        neighbors_key=options.neighbors_key,
        library_key=options.library_key,
        layer=None,
        use_rep=None,
        mask_var=HIGHLY_VARIABLE,
        across_slices=options.method == keys.SPACROSS,
    )
    fit_and_write(
        model,
        adata,
        tissue,
        None if slices is None else slices.codes,
        preset=named,
        key_added=options.key_added or f"X_{options.method}",
        decoded_layer=None,
        copy=False,
        device=device,
        checkpoint=options.checkpoint,
    )
    return adata


def _model(
    options: argparse.Namespace, *, n_spots: int, several_slices: bool
) -> tuple[SharedSpotscape | SharedSpaCross, str | None]:
    """The model that the options ask for, and the name of its preset."""
    from spotscape.models import SpaCrossConfig, SpotscapeConfig
    from spotscape.models._shared import SharedSpaCross, SharedSpotscape
    from spotscape.tl._embedding import choose_config

    choice: dict[str, Any] = {"n_spots": n_spots, "several_slices": several_slices, "use_rep": None}
    choice["max_epochs"] = options.max_epochs
    if options.method == keys.SPACROSS:
        for_spacross, named = choose_config(SpaCrossConfig, None, options.preset, **choice)
        return SharedSpaCross(for_spacross, random_state=options.random_state), named
    config, named = choose_config(SpotscapeConfig, None, options.preset, **choice)
    return SharedSpotscape(config, random_state=options.random_state), named


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


def _device(wanted: str) -> str:
    """The device of this process: its own GPU where there are any."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    torch.cuda.set_device(device)
    return device


def _explain(error: RuntimeError, checkpoint: Path | None) -> str:
    if not _is_lost(error):
        return str(error)
    found = "another process of the group has ended or cannot be reached"
    if checkpoint is None:
        return f"{found}. Nothing was written. With --checkpoint FILE the same command would go on where it stopped."
    return f"{found}. Nothing was written; start the same command again to go on from {checkpoint}."


def _is_lost(error: RuntimeError) -> bool:
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
