"""How good are domains and embeddings? Pure functions on arrays: agreement, coherence, mixing of slices, matches."""

from __future__ import annotations

from spotscape._core.lazy import lazy

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "_agreement": "ari clustering_accuracy completeness f1_macro f1_micro homogeneity nmi",
        "_evaluate": "evaluate",
        "_lisi": "clisi f1_lisi ilisi lisi",
        "_mixing": "graph_connectivity js_divergence kbet",
        "_silhouettes": "batch_asw label_asw",
        "_spatial": "boundary_accuracy chaos domain_scores interior_accuracy pas silhouette spatial_asw",
        "_transfer": "imputation_scores label_transfer_accuracy label_transfer_ari",
    },
)
