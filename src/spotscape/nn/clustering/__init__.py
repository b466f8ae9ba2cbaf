"""Clustering of embeddings, with exactly the number of clusters that was asked for and no empty cluster."""

from __future__ import annotations

from spotscape.nn.clustering._agreement import CLEAR_AGREEMENT, clusterings, most_agreed
from spotscape.nn.clustering._consensus import Consensus, combine_clusterings, consensus_clusterings
from spotscape.nn.clustering._kmeans import (
    Clustering,
    by_size,
    check_points,
    kmeans,
    make_exactly,
    search_resolution,
    soft_assignment,
)
from spotscape.nn.clustering._mixture import gaussian_mixture
from spotscape.nn.clustering._stability import CLEAR, StabilityCurve, pick_number, stability_curve
from spotscape.nn.clustering._views import agreement_curve

__all__ = [
    "CLEAR",
    "CLEAR_AGREEMENT",
    "Clustering",
    "Consensus",
    "StabilityCurve",
    "agreement_curve",
    "by_size",
    "check_points",
    "clusterings",
    "combine_clusterings",
    "consensus_clusterings",
    "gaussian_mixture",
    "kmeans",
    "make_exactly",
    "most_agreed",
    "pick_number",
    "search_resolution",
    "soft_assignment",
    "stability_curve",
]
