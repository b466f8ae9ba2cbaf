"""Spotscape on several processes, one per GPU or machine: ``torchrun -m spotscape.distributed --help``."""

from spotscape.distributed._command import main
from spotscape.models._shared import SharedSpotscape

__all__ = ["SharedSpotscape", "main"]
