"""To be filled."""

from __future__ import annotations

from spotscape.tl._domains import domains

__all__ = ["domains"]
