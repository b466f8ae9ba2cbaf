"""Results out of an AnnData, as tables."""

from __future__ import annotations

from spotscape.get._tables import markers_df, matches_df

__all__ = ["markers_df", "matches_df"]


def __dir__() -> list[str]:
    return sorted(__all__)
