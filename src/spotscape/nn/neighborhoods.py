"""Neighbourhoods of chosen spots, in compressed rows: what a contrast between spots and their surroundings needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Neighborhoods:
    """The positives of every spot that has any, in compressed rows.

    Attributes
    ----------
    anchors
        Rows of the spots that have positives, int64 ``(M,)``, ascending.
    indptr
        Where the positives of each anchor begin and end in ``indices``, int64 ``(M + 1,)``.
    indices
        Rows of the positives of each anchor, int64 ``(P,)``, ascending within an anchor.
    """

    anchors: Tensor
    indptr: Tensor
    indices: Tensor

    @property
    def n_anchors(self) -> int:
        """Number of spots M that have positives."""
        return len(self.anchors)
