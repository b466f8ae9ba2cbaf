"""Parts of the encoders: graph, features, batches, losses, training. They take tensors and arrays, never an AnnData."""

from __future__ import annotations

from spotscape._core.lazy import lazy

# Clustering or smoothing need not wait for what they do not use.
__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "._stats.components": "PrincipalComponents smooth",
        "batches": "Batch Reduce",
        "blocks": "SpotNorm ema_update",
        "clustering._consensus": "consensus_clusterings",
        "features": "Features",
        "graph": "SpotGraph propagate",
        "hybrid": "Neighborhoods hybrid_neighborhoods",
        "imputation": "SpotRegression",
        "integration": "integrate place",
        "losses": "PrototypeBank consistency_loss contrast_loss cosine_reconstruction_loss draw_masked draw_masking"
        " draw_meetings l2_normalize prototype_loss reconstruction_errors sample_negatives scaling_loss telescope_loss",
        "matching": "Matches Votes batch_offset match nearest vote",
        "pca": "PCA",
        "similarity": "MostSimilar most_similar",
        "tiles": "graph_tiles",
        "trainer": "LossOutput Trainer TrainingPlan",
    },
)
