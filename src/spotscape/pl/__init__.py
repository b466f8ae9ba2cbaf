"""Plotting: tissue, training, matches and trajectories, as figures that stand on a slide as they are."""

from __future__ import annotations

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
]
