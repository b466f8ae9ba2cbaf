"""The command line: ``spotscape run`` and ``spotscape info``."""

from __future__ import annotations

from spotscape.cli._command import main

__all__ = ["main"]
