"""Entry point: options, log, errors and exit status; and the other processes of ``torchrun``."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from logging.handlers import BufferingHandler
from typing import TYPE_CHECKING, Any

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape._core.spatial_data import to_spatialdata
from spotscape._core.validation import slice_labels
from spotscape.cli._inspect import describe, duration, info, read, text_of
from spotscape.cli._options import UsageError, read_options
from spotscape.cli._plan import plan
from spotscape.readers._read import Input

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

    from spotscape.cli._inspect import Description
    from spotscape.cli._plan import Step

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the words of the command line ask for; return the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in words
    options = None
    try:
        options = read_options(words)
        with _log(options) as notes:
            return info(options) if options.command == "info" else run(options, notes)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", INTERRUPTED)
    except UsageError as error:
        return _say(str(error), MISUSED)
    except Exception as error:
        if debug:
            raise
        message = _one_line(error)
        if _group_size() > 1:
            _say(_explain(error, message, getattr(options, "checkpoint", None)), FAILED)
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            # Taking a broken group apart may wait forever for a thread of gloo's, which waits for this one.
            os._exit(FAILED)
        return _say(message, FAILED)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"spotscape: {message.rstrip('.')}.\n")
    return status


def _one_line(error: Exception) -> str:
    """An error as a sentence; unexpected ones are named, with the way to see where they come from."""
    # str() of a KeyError is the repr of its message.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split())
    if isinstance(error, MemoryError):
        return f"out of memory. {text}".strip()
    if isinstance(error, (KeyError, ValueError, TypeError, OSError, ImportError, RuntimeError)) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"


@contextmanager
def _log(options: argparse.Namespace) -> Iterator[BufferingHandler]:
    """Log to stderr and to a file, warnings included; everything is as it was afterwards."""
    follows = not _is_first()
    level = "error" if follows else "debug" if options.debug else "warning" if options.quiet else "info"
    # What the report says; everything is kept.
    notes = BufferingHandler(sys.maxsize)
    notes.setLevel(logging.INFO)
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    screen.setLevel(level.upper())
    handlers: list[logging.Handler] = [notes, screen]
    path: Path | None = getattr(options, "log", None)
    if follows:
        path = None
    elif path is None and options.command == "run" and not options.dry_run:
        path = options.output.with_suffix(".log")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
        handlers.append(file)
    propagate = logger.propagate
    shown = sys.stderr.isatty() and not options.quiet and not follows
    own = logger.handlers[:]
    said = {"verbosity": "debug" if options.debug else "info", "progress_bar": shown, "n_jobs": settings.n_jobs}

    def as_line(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
        # Warnings of this package name the line that called it, which is none of a library or a `with` of one.
        of_others = "site-packages" in filename or filename.endswith("contextlib.py")
        logger.log(logging.DEBUG if of_others else logging.WARNING, "%s", " ".join(str(message).split()))

    with settings.override(**said), warnings.catch_warnings():
        # Those about the future of other libraries are not for users.
        warnings.simplefilter("ignore")
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = as_line
        logger.propagate, logger.handlers[:] = False, handlers
        try:
            yield notes
        finally:
            logger.propagate, logger.handlers[:] = propagate, own
            for handler in handlers:
                handler.close()


def run(options: argparse.Namespace, notes: BufferingHandler) -> int:
    """Read, analyse, write; or help the process that does."""
    if options.dry_run or options.method == "smoothed-pca":
        # Only training is shared.
        return _run(options, notes) if _is_first() else 0
    with _joined(options):
        if _is_first():
            return _run(options, notes)
        from torch import distributed

        _limit_threads(options.threads)
        said: list[Any] = [None, None]
        distributed.broadcast_object_list(said)
        _train(*said)
        distributed.barrier()
        return 0


def _run(options: argparse.Namespace, notes: BufferingHandler) -> int:
    _check_output(options)
    start = time.perf_counter()
    tissue = read(options)
    found = describe(tissue, options)
    steps = plan(options, tissue, found)
    if options.dry_run:
        sys.stdout.write(text_of(options, tissue, found, steps))
        return 1 if found.problems else 0
    if options.beside_report:
        logger.info("OUT is not given: the data are written to %s.", options.output)
    for note in found.notes:
        logger.info("%s.", note)
    if found.problems:
        raise ValueError("; ".join(found.problems))
    if options.register and found.slices is None:
        msg = "--register needs several slices; name their column by --slices"
        raise UsageError(msg)
    adata = _in_memory(tissue, found)
    _limit_threads(options.threads)
    logger.info("%s spots × %s genes, %s.", f"{found.n_spots:,}", f"{found.n_genes:,}", found.platform)
    for step in steps:
        if _group_size() > 1 and step.name == options.method:
            _lead(step, tissue, options)
            continue
        try:
            step.do(tissue)
        except ValueError as error:
            # Domains without markers are a result as well.
            if step.name != "markers":
                raise
            logger.warning("No marker genes: %s", error)
    _write(tissue, adata, options.output, found)
    seconds = time.perf_counter() - start
    if options.report is not None:
        from spotscape.cli._report import Report

        lines = [(record.levelname, record.getMessage()) for record in notes.buffer]
        Report(options, tissue, adata, found, steps, lines, seconds).write(options.report)
        logger.info("Report in %s.", options.report)
    logger.info("Written to %s in %s.", options.output, duration(seconds))
    return 0


def _check_output(options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.suffix not in (".h5ad", ".zarr"):
        msg = f"OUT is {output}; it has to end in .h5ad (AnnData) or .zarr (SpatialData)"
    elif any(output.absolute() == path.absolute() for path in options.inputs):
        msg = f"OUT is the input {output}; give another name"
    elif output.exists() and not options.overwrite and not options.dry_run:
        msg = f"{output} exists; --overwrite replaces it"
    elif options.report is not None and options.report.suffix not in (".html", ".htm"):
        msg = f"--report is {options.report}; it has to end in .html"
    else:
        return
    raise UsageError(msg)


def _limit_threads(number: int | None) -> None:
    """Limit what runs in this process from now on; ``None`` leaves it at all cores."""
    if number is None:
        return
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(number)
    threadpool_limits(number)
    settings.n_jobs = number


def _in_memory(tissue: Input, found: Description) -> AnnData:
    import h5py
    from anndata.io import write_elem

    adata = tissue.adata
    if not adata.var_names.is_unique:
        adata.var_names_make_unique()
        logger.info("Gene names that occur twice were numbered.")
    if not adata.obs_names.is_unique:
        adata.obs_names_make_unique()
        logger.info("Spot names that occur twice were numbered.")
    if found.slices is not None:
        adata.obs[found.slices] = slice_labels(adata, found.slices)
    # Find before the analysis, not after it, what no file can hold.
    tables = {"obs": adata.obs, "var": adata.var} | ({} if adata.raw is None else {"raw.var": adata.raw.var})
    for table in tables.values():
        # SeuratDisk leaves it in the tables that it converts: a copy of the names.
        table.drop(columns="_index", errors="ignore", inplace=True)  # the table belongs to adata
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        for name, content in {**tables, "uns": adata.uns}.items():
            try:
                write_elem(file, name, dict(content) if name == "uns" else content)
            except (TypeError, ValueError, NotImplementedError) as error:
                msg = f"adata.{name} cannot be written to a file: {error}"
                raise ValueError(msg) from error
    return adata


def _write(tissue: Input, adata: AnnData, output: Path, found: Description) -> None:
    """Write under another name first, so that what has the name is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial{output.suffix}")
    if output.suffix == ".h5ad":
        adata.write_h5ad(partial, compression="gzip")
        partial.replace(output)
        return
    container = tissue.container
    if container is None:
        container = to_spatialdata(adata, library_key=found.slices)
    else:
        container.tables[tissue.table] = adata
    if partial.exists():
        shutil.rmtree(partial)
    container.write(partial)
    if output.exists():
        shutil.rmtree(output)
    partial.rename(output)


# Signs in the messages of gloo and NCCL that another process is gone.
_LOST = ("connection", "gloo", "nccl", "peer", "timed out", "socket", "store")


def _group_size() -> int:
    """Number of processes that torchrun has started for this analysis."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1


def _is_first() -> bool:
    """Whether this process is the one that reads and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def _joined(options: argparse.Namespace) -> Iterator[None]:
    """Be part of the group, if there is one, for as long as this lasts."""
    if _group_size() == 1:
        yield
        return
    from torch import distributed

    from spotscape._core.settings import resolve_device
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


def _lead(step: Step, tissue: Input, options: argparse.Namespace) -> None:
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


def _train(path: Path, step: Step) -> tuple[Any, float]:
    import anndata

    # The table of a SpatialData is an AnnData here.
    mine = replace(step, arguments={name: value for name, value in step.arguments.items() if name != "table_key"})
    adata = anndata.read_h5ad(path, backed="r")
    mine.do(Input(adata, "h5ad"))
    return adata, mine.seconds


def _explain(error: Exception, message: str, checkpoint: Path | None) -> str:
    """What an error in a group means for the user."""
    from torch import distributed

    lost = isinstance(error, distributed.DistError) or any(sign in str(error).lower() for sign in _LOST)
    if not (isinstance(error, RuntimeError) and lost):
        return f"process {os.environ['RANK']} stops: {message}"
    found = "another process of the group has ended or cannot be reached"
    if checkpoint is None:
        return f"{found}. Nothing was written. With --checkpoint FILE the same command would go on where it stopped"
    return f"{found}. Nothing was written; start the same command again to go on from {checkpoint}"
