"""One logger, quiet as soon as the application configures logging itself."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

logger = logging.getLogger("spotscape")

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[1])


class _StderrUnlessConfigured(logging.Handler):
    """Print to stderr, like Python's handler of last resort but from INFO on, only while logging is not set up."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            sys.stderr.write(self.format(record) + "\n")


_handler = _StderrUnlessConfigured()
_handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
logger.addHandler(_handler)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the user's own line as the place, however deep in the package the call stands."""
    frame = sys._getframe(1)
    level = 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE_ROOT):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
