"""How good are domains? Pure functions on arrays: agreement with known labels, and coherence in space and embedding."""

from __future__ import annotations

from spotscape.metrics._agreement import (
    ari,
    clustering_accuracy,
    completeness,
    f1_macro,
    f1_micro,
    homogeneity,
    nmi,
)
from spotscape.metrics._coherence import chaos, pas, silhouette, spatial_asw
from spotscape.metrics._evaluate import evaluate

__all__ = [
    "ari",
    "chaos",
    "clustering_accuracy",
    "completeness",
    "evaluate",
    "f1_macro",
    "f1_micro",
    "homogeneity",
    "nmi",
    "pas",
    "silhouette",
    "spatial_asw",
]
