"""Plotting: tissue, training, matches and trajectories, as figures that stand on a slide as they are."""

from __future__ import annotations

from spotscape.pl._domains import domains
from spotscape.pl._history import history
from spotscape.pl._match_colors import match_colors
from spotscape.pl._matching import matching
from spotscape.pl._n_domains import n_domains
from spotscape.pl._registration import registration
from spotscape.pl._scale import scale
from spotscape.pl._trajectory import trajectory

__all__ = ["domains", "history", "match_colors", "matching", "n_domains", "registration", "scale", "trajectory"]
