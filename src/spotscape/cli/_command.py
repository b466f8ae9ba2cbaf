"""Entry point: options, log, errors and exit status."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spotscape._core.logging import logger
from spotscape._core.settings import settings
from spotscape.cli._options import UsageError, read_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


class Notes(logging.Handler):
    """Keeps the lines of the log for the report."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Parameters
    ----------
    arguments
        Words of the command line; ``None`` takes those that Python was started with.

    Returns
    -------
    The exit status: 0 if all went well, 1 if the data or the analysis failed, 2 if the command line was wrong, 130 if
    it was interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in words
    options = None
    try:
        options = read_options(words)
        with _log(options) as notes:
            return _dispatch(options, notes)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", INTERRUPTED)
    except UsageError as error:
        return _say(str(error), MISUSED)
    except Exception as error:
        if debug:
            raise
        return _fail(error, options)


def _fail(error: Exception, options: argparse.Namespace | None) -> int:
    from spotscape.cli import _group as group

    message = _one_line(error)
    if group.size() > 1:
        _say(group.explain(error, message, getattr(options, "checkpoint", None)), FAILED)
        group.end(FAILED)
    return _say(message, FAILED)


def _dispatch(options: argparse.Namespace, notes: Notes) -> int:
    if options.command == "info":
        from spotscape.cli._info import info

        return info(options)
    from spotscape.cli._run import run

    return run(options, notes)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"spotscape: {message.rstrip('.')}.\n")
    return status


def _one_line(error: Exception) -> str:
    """An error as a sentence; those that nobody foresaw are named, with the way to see where they come from."""
    # str() of a KeyError is the repr of its message.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split())
    if isinstance(error, MemoryError):
        return f"out of memory. {text}".strip()
    if isinstance(error, (KeyError, ValueError, TypeError, OSError, ImportError, RuntimeError)) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"


@contextmanager
def _log(options: argparse.Namespace) -> Iterator[Notes]:
    """Log to stderr and to a file, warnings included; everything is as it was afterwards."""
    follows = int(os.environ.get("RANK", "0")) > 0
    level = "error" if follows else "debug" if options.debug else "warning" if options.quiet else "info"
    notes = Notes()
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
    with settings.override(**said), _warnings_as_lines():
        logger.propagate, logger.handlers[:] = False, handlers
        try:
            yield notes
        finally:
            logger.propagate, logger.handlers[:] = propagate, own
            for handler in handlers:
                handler.close()


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Say warnings of this package in the log; those about the future of other libraries are not for users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("once", UserWarning)

        def show(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
            # Those of this package name the line that called it, which is none of a library or a `with` of one.
            of_others = "site-packages" in filename or filename.endswith("contextlib.py")
            level = logging.DEBUG if of_others else logging.WARNING
            logger.log(level, "%s", " ".join(str(message).split()))

        warnings.showwarning = show
        yield
