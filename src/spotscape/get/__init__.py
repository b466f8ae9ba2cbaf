"""Results out of an AnnData, as tables."""

from __future__ import annotations

from spotscape.get._markers import markers_df
from spotscape.get._matches import matches_df

__all__ = ["markers_df", "matches_df"]
