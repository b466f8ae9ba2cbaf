"""Files and folders of instruments to AnnData or SpatialData: ``spotscape.read``."""

from __future__ import annotations

from spotscape.readers._read import read

__all__ = ["read"]
