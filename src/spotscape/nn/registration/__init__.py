"""Registration of slices: rigid motions found from the outline of the tissue, its interior, and features."""

from __future__ import annotations

from spotscape.nn.registration._align import Alignment, align
from spotscape.nn.registration._rigid import displacement, fit_rigid, motion, move

__all__ = ["Alignment", "align", "displacement", "fit_rigid", "motion", "move"]
