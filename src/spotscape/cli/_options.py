"""What can be said on the command line or in a configuration file."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = ("spotscape", "spacross", "smoothed-pca")
# Functions whose further arguments a configuration file may set, each in a table of its own.
STEPS = {
    "pp": ("prepare", "register_slices", "spatial_neighbors_knn"),
    "tl": ("choose_n_domains", "consensus_domains", "domains", "markers", "smoothed_pca", "spacross", "spotscape"),
}
_READS = """IN is an .h5ad, .h5mu or .zarr file (AnnData or SpatialData), the output folder of Visium, Visium HD,
Xenium, MERSCOPE or CosMx, a GEM file of Stereo-seq, a table of ST, or a folder with two tables, of counts and of
places, as of Slide-seq. Several inputs are several slices of one analysis. Defaults are in parentheses."""
_WRITES = (
    ".h5ad (AnnData) or .zarr (SpatialData) to write; with one IN and --report, by default in the folder of the report"
)
_EXAMPLE = """examples:
  spotscape info outs/
  spotscape run outs/ tissue.h5ad --report report.html
  spotscape run a.h5ad b.h5ad both.h5ad --register --n-domains 7
  torchrun --nproc-per-node=4 -m spotscape run atlas.h5ad result.h5ad --slices section"""


class UsageError(ValueError):
    """What was asked for cannot be understood; the exit status is 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override] # the original ends the process
        msg = f"{message} (see {self.prog} --help)"
        raise UsageError(msg)


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line and, behind it, the configuration file that it names."""
    parser = _parser()
    options = _parse(parser, arguments)
    options.steps = {}
    if getattr(options, "config", None) is not None:
        from_file, steps = _read_config(options.config)
        # The file comes first, so that the command line has the last word.
        options = _parse(parser, [arguments[0], *from_file, *arguments[1:]])
        options.steps = steps
    options.words = list(arguments)
    if options.intensities and options.layer is not None:
        msg = "--intensities takes the values in X, and --layer those of a layer; give one of them"
        raise UsageError(msg)
    if options.command == "run" and options.output is None:
        if options.report is None:
            msg = "OUT is missing: name the .h5ad or .zarr to write, or ask for a page by --report FILE.html"
            raise UsageError(msg)
        options.beside_report = True
        options.output = options.report.with_name(f"{options.report.stem}_domains.h5ad")
    return options


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Options with ``output=None`` where OUT is not given.

    With ``nargs="?"``, Python before 3.13 does not take an OUT that comes after other options.
    """
    try:
        options = parser.parse_args(words)
    except UsageError as error:
        if "required: OUT" not in str(error):
            raise
        options = parser.parse_args([*words, "OUT"])
        options.output = None
    options.beside_report = False
    return options


def count_or_auto(text: str) -> int | None:
    """Read the number of domains; ``None`` stands for ``auto``."""
    if text == "auto":
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 2:
        msg = f"{text!r} is neither 'auto' nor a whole number of at least 2"
        raise argparse.ArgumentTypeError(msg)
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{text} must be at least 1"
        raise argparse.ArgumentTypeError(msg)
    return number


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    # Options are written out: an abbreviation in a script would change its meaning with the next option of that start.
    shared: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = _Parser(prog="spotscape", description="Find the domains of a tissue.", epilog=_EXAMPLE, **shared)
    parser.add_argument("--version", action="version", version=f"spotscape {version('spotscape')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared |= {"description": _READS, "parents": [_common()]}
    run = commands.add_parser("run", help="find domains and write them", **shared)
    run.add_argument("output", type=Path, metavar="OUT", help=_WRITES)
    info = commands.add_parser("info", help="describe a file and the steps of its analysis", **shared)
    info.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    add = run.add_argument_group("the results").add_argument
    add("--report", type=Path, metavar="FILE.html", help="write a page with the results")
    add("--log", type=Path, metavar="FILE", help="write the log to this file; by default in the folder of OUT")
    add("--checkpoint", type=Path, metavar="FILE", help="save the training in this file, and resume it")
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    add("--dry-run", action="store_true", help="read the data, print the steps, write nothing")
    return parser


_SLICES = """column of obs with the slice of each spot; 'none' for a single slice; by default one with a usual name, if
the coordinates of its slices overlap"""


_BINS = "side of the bins of Visium HD in µm (8), or of a GEM file in spots of 0.5 µm (50, or cells if it names them)"


def _common() -> argparse.ArgumentParser:
    """What both commands take."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="file or folder to read")
    add = common.add_argument_group("the data").add_argument
    add("--slices", default="auto", metavar="COLUMN", help=_SLICES)
    add("--table", metavar="NAME", help="table of a SpatialData, or modality of an .h5mu file")
    add("--layer", metavar="NAME", help="layer with the raw counts; X by default")
    add("--intensities", action="store_true", help="X holds intensities, as of proteins: use them as they are")
    add("--spatial-key", default="spatial", metavar="KEY", help="coordinates in obsm (%(default)s)")
    add("--bin-size", type=_positive, metavar="N", help=_BINS)
    add = common.add_argument_group("the analysis").add_argument
    add("--method", default="spotscape", choices=METHODS, help="method of the embedding (%(default)s)")
    add("--n-domains", type=count_or_auto, default=None, metavar="N|auto", help="number of domains (auto)")
    add("--register", action="store_true", help="also register the slices")
    add("--neighbors", type=_positive, metavar="N", help="neighbours of a spot; chosen from the data by default")
    add("--restarts", type=_positive, default=1, metavar="N", help="trainings that are combined (%(default)s)")
    add("--max-epochs", type=_positive, metavar="N", help="epochs of the training")
    add("--no-markers", action="store_true", help="do not search marker genes")
    add = common.add_argument_group("the process").add_argument
    add("--config", type=Path, metavar="FILE", help="read options from a .toml, .yaml or .json file")
    add("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1 (%(default)s)")
    add("--threads", type=_positive, metavar="N", help="threads of a process; all cores by default")
    waits = "under torchrun: longest wait for others (%(default)s)"
    add("--timeout", type=float, default=30.0, metavar="MINUTES", help=waits)
    add("--quiet", action="store_true", help="log only warnings and errors")
    add("--debug", action="store_true", help="log more, and show where an error comes from")
    return common


def _read_config(path: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The options of a file as words of a command line, and the arguments of single functions."""
    import inspect

    import spotscape

    content = _load(path)
    functions = {name: space for space, names in STEPS.items() for name in names}
    words: list[str] = []
    steps: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            if key not in functions:
                msg = f"{path}: there is no function {key!r} to set arguments of; there are {sorted(functions)}"
                raise UsageError(msg)
            space = functions[key]
            known = inspect.signature(getattr(getattr(spotscape, space), key)).parameters
            unknown = [name for name in value if name not in known or name in ("adata", "copy", "return_model")]
            if unknown:
                takes = f"takes no argument {unknown[0]!r}; it takes {sorted(set(known) - {'adata'})}"
                msg = f"{path}: {space}.{key} {takes}"
                raise UsageError(msg)
            steps[key] = value
        elif value is not False:
            words.append(f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}"))
    return words, steps


def _load(path: Path) -> dict[str, Any]:
    import yaml

    # Both parse errors of the standard library are ValueErrors.
    loaders: dict[str, Any] = {".toml": tomllib.loads, ".json": json.loads, ".yaml": yaml.safe_load}
    load = loaders.get(path.suffix.lower().replace(".yml", ".yaml"))
    if load is None:
        msg = f"{path}: a configuration file ends in .toml, .yaml, .yml or .json"
        raise UsageError(msg)
    try:
        content = load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        msg = f"{path} cannot be read: {' '.join(str(error).split())}"
        raise UsageError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds no names with values, such as: method = 'spotscape'"
        raise UsageError(msg)
    return content
