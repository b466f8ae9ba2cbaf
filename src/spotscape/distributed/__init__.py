"""Both encoders on several processes, one per GPU or machine: ``torchrun -m spotscape.distributed --help``."""

from spotscape.distributed._command import main
from spotscape.models._shared import SharedSpaCross, SharedSpotscape

__all__ = ["SharedSpaCross", "SharedSpotscape", "main"]
