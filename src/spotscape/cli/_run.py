"""``spotscape run``: from a file or folder to domains."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape._core.spatial_data import to_spatialdata
from spotscape.cli import _group as group
from spotscape.cli._info import text_of
from spotscape.cli._inspect import describe
from spotscape.cli._options import UsageError
from spotscape.cli._plan import plan
from spotscape.cli._read import Tissue, read
from spotscape.cli._resources import duration

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from anndata import AnnData

    from spotscape.cli._command import Notes
    from spotscape.cli._inspect import Description
    from spotscape.cli._plan import Step


def run(options: argparse.Namespace, notes: Notes) -> int:
    """Read, analyse, write; or help the process that does."""
    if options.dry_run or options.method == "smoothed-pca":
        # Only training is shared.
        return _run(options, notes) if group.is_first() else 0
    with group.joined(options):
        if group.is_first():
            return _run(options, notes)
        _limit_threads(options.threads)
        group.follow()
        return 0


def _run(options: argparse.Namespace, notes: Notes) -> int:
    _check_output(options)
    start = time.perf_counter()
    tissue = read(options)
    found = describe(tissue, options)
    steps = plan(options, tissue, found)
    if options.dry_run:
        sys.stdout.write(text_of(options, tissue, found, steps))
        return 1 if found.problems else 0
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
        if group.size() > 1 and step.name == options.method:
            group.lead(step, tissue, options)
        elif step.name == "markers":
            _find_markers(step, tissue)
        else:
            step.do(tissue)
    _write(tissue, adata, options.output, found)
    seconds = time.perf_counter() - start
    if options.report is not None:
        from spotscape.cli._report import Report

        Report(options, tissue, adata, found, steps, notes.lines, seconds).write(options.report)
        logger.info("Report in %s.", options.report)
    logger.info("Written to %s in %s.", options.output, duration(seconds))
    return 0


def _find_markers(step: Step, tissue: Tissue) -> None:
    """Find markers where the domains allow it: those without are a result as well."""
    try:
        step.do(tissue)
    except ValueError as error:
        logger.warning("No marker genes: %s", error)


def _check_output(options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.suffix not in (".h5ad", ".zarr"):
        msg = f"OUT is {output}; it has to end in .h5ad (AnnData) or .zarr (SpatialData)"
        raise UsageError(msg)
    if any(output.absolute() == path.absolute() for path in options.inputs):
        msg = f"OUT is the input {output}; give another name"
        raise UsageError(msg)
    if output.exists() and not options.overwrite and not options.dry_run:
        msg = f"{output} exists; --overwrite replaces it"
        raise UsageError(msg)
    if options.report is not None and options.report.suffix not in (".html", ".htm"):
        msg = f"--report is {options.report}; it has to end in .html"
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


def _in_memory(tissue: Tissue, found: Description) -> AnnData:
    adata = tissue.adata
    if not adata.var_names.is_unique:
        adata.var_names_make_unique()
        logger.info("Gene names that occur twice were numbered.")
    if not adata.obs_names.is_unique:
        adata.obs_names_make_unique()
        logger.info("Spot names that occur twice were numbered.")
    if found.slices is not None and adata.obs[found.slices].dtype != "category":
        adata.obs[found.slices] = adata.obs[found.slices].astype(str).astype("category")
    return adata


def _write(tissue: Tissue, adata: AnnData, output: Path, found: Description) -> None:
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
