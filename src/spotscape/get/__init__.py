"""Results out of an AnnData, as tables."""

from __future__ import annotations

from spotscape.get._matches import matches_df

__all__ = ["matches_df"]
