"""Plotting: tissue, training, matches and trajectories, as figures that stand on a slide as they are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotscape.pl._colors import match_colors
    from spotscape.pl._composition import composition, crosstab
    from spotscape.pl._confidence import confidence, disagreement
    from spotscape.pl._curves import history, n_domains, scale
    from spotscape.pl._domains import domains, similarity
    from spotscape.pl._embedding import embedding, explore
    from spotscape.pl._markers import markers
    from spotscape.pl._matching import matching
    from spotscape.pl._registration import registration
    from spotscape.pl._stack_3d import stack_3d
    from spotscape.pl._trajectory import trajectory
    from spotscape.pl._volume import volume

# Lazily, so that matplotlib is loaded by the first plot.
_HOME = {
    "composition": "_composition",
    "confidence": "_confidence",
    "crosstab": "_composition",
    "disagreement": "_confidence",
    "domains": "_domains",
    "embedding": "_embedding",
    "explore": "_embedding",
    "history": "_curves",
    "markers": "_markers",
    "match_colors": "_colors",
    "matching": "_matching",
    "n_domains": "_curves",
    "registration": "_registration",
    "scale": "_curves",
    "similarity": "_domains",
    "stack_3d": "_stack_3d",
    "trajectory": "_trajectory",
    "volume": "_volume",
}

__all__ = [
    "composition",
    "confidence",
    "crosstab",
    "disagreement",
    "domains",
    "embedding",
    "explore",
    "history",
    "markers",
    "match_colors",
    "matching",
    "n_domains",
    "registration",
    "scale",
    "similarity",
    "stack_3d",
    "trajectory",
    "volume",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"spotscape.pl.{_HOME[name]}"), name)
    msg = f"module 'spotscape.pl' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
