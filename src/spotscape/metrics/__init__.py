"""How good are domains and embeddings? Pure functions on arrays: agreement, coherence, mixing of slices, matches."""

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
from spotscape.metrics._evaluate import evaluate
from spotscape.metrics._lisi import clisi, f1_lisi, ilisi, lisi
from spotscape.metrics._mixing import graph_connectivity, js_divergence, kbet
from spotscape.metrics._silhouettes import batch_asw, label_asw
from spotscape.metrics._spatial import (
    boundary_accuracy,
    chaos,
    domain_scores,
    interior_accuracy,
    pas,
    silhouette,
    spatial_asw,
)
from spotscape.metrics._transfer import imputation_scores, label_transfer_accuracy, label_transfer_ari

__all__ = [
    "ari",
    "batch_asw",
    "boundary_accuracy",
    "chaos",
    "clisi",
    "clustering_accuracy",
    "completeness",
    "domain_scores",
    "evaluate",
    "f1_lisi",
    "f1_macro",
    "f1_micro",
    "graph_connectivity",
    "homogeneity",
    "ilisi",
    "imputation_scores",
    "interior_accuracy",
    "js_divergence",
    "kbet",
    "label_asw",
    "label_transfer_accuracy",
    "label_transfer_ari",
    "lisi",
    "nmi",
    "pas",
    "silhouette",
    "spatial_asw",
]


def __dir__() -> list[str]:
    return sorted(__all__)
