"""Score domains and embeddings, on arrays or on an AnnData: agreement, coherence, mixing of slices, matches."""

from __future__ import annotations

from spotscape._core.lazy import lazy

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "_agreement": "ari boundary_accuracy clustering_accuracy completeness domain_scores f1_macro f1_micro"
        " homogeneity interior_accuracy nmi",
        "_evaluate": "evaluate",
        "_lisi": "clisi f1_lisi ilisi lisi",
        "_mixing": "batch_asw graph_connectivity js_divergence kbet label_asw",
        "_spatial": "chaos pas silhouette spatial_asw",
        "_transfer": "imputation_scores label_transfer_accuracy label_transfer_ari",
    },
)
