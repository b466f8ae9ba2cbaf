"""Building blocks: graph, features, batches, losses, trainer. Tensors and arrays only, no AnnData."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotscape._stats.components import PrincipalComponents, smooth
    from spotscape._stats.prediction import SpotRegression
    from spotscape.nn.batches import Batch, Reduce
    from spotscape.nn.blocks import ema_update
    from spotscape.nn.clustering import consensus_clusterings
    from spotscape.nn.features import Features
    from spotscape.nn.graph import SpotGraph, propagate
    from spotscape.nn.hybrid import Neighborhoods, hybrid_neighborhoods
    from spotscape.nn.integration import integrate, place
    from spotscape.nn.losses import (
        PrototypeBank,
        consistency_loss,
        contrast_loss,
        cosine_reconstruction_loss,
        draw_masked,
        draw_masking,
        draw_meetings,
        l2_normalize,
        prototype_loss,
        reconstruction_errors,
        sample_negatives,
        scaling_loss,
        telescope_loss,
    )
    from spotscape.nn.matching import Matches, Votes, batch_offset, match, nearest, vote
    from spotscape.nn.normalization import SpotNorm
    from spotscape.nn.pca import PCA
    from spotscape.nn.similarity import MostSimilar, most_similar
    from spotscape.nn.tiles import graph_tiles
    from spotscape.nn.trainer import LossOutput, Trainer, TrainingPlan

# Lazily, so that clustering or smoothing need not wait for what they do not use.
_HOME = {
    "Batch": ".batches",
    "Features": ".features",
    "LossOutput": ".trainer",
    "Matches": ".matching",
    "MostSimilar": ".similarity",
    "Neighborhoods": ".hybrid",
    "PCA": ".pca",
    "PrincipalComponents": ".._stats.components",
    "PrototypeBank": ".losses",
    "Reduce": ".batches",
    "SpotGraph": ".graph",
    "SpotNorm": ".normalization",
    "SpotRegression": ".._stats.prediction",
    "Trainer": ".trainer",
    "TrainingPlan": ".trainer",
    "Votes": ".matching",
    "batch_offset": ".matching",
    "consensus_clusterings": ".clustering",
    "consistency_loss": ".losses",
    "contrast_loss": ".losses",
    "cosine_reconstruction_loss": ".losses",
    "draw_masked": ".losses",
    "draw_masking": ".losses",
    "draw_meetings": ".losses",
    "ema_update": ".blocks",
    "graph_tiles": ".tiles",
    "hybrid_neighborhoods": ".hybrid",
    "integrate": ".integration",
    "l2_normalize": ".losses",
    "match": ".matching",
    "most_similar": ".similarity",
    "nearest": ".matching",
    "place": ".integration",
    "propagate": ".graph",
    "prototype_loss": ".losses",
    "reconstruction_errors": ".losses",
    "sample_negatives": ".losses",
    "scaling_loss": ".losses",
    "smooth": ".._stats.components",
    "telescope_loss": ".losses",
    "vote": ".matching",
}

__all__ = [
    "PCA",
    "Batch",
    "Features",
    "LossOutput",
    "Matches",
    "MostSimilar",
    "Neighborhoods",
    "PrincipalComponents",
    "PrototypeBank",
    "Reduce",
    "SpotGraph",
    "SpotNorm",
    "SpotRegression",
    "Trainer",
    "TrainingPlan",
    "Votes",
    "batch_offset",
    "consensus_clusterings",
    "consistency_loss",
    "contrast_loss",
    "cosine_reconstruction_loss",
    "draw_masked",
    "draw_masking",
    "draw_meetings",
    "ema_update",
    "graph_tiles",
    "hybrid_neighborhoods",
    "integrate",
    "l2_normalize",
    "match",
    "most_similar",
    "nearest",
    "place",
    "propagate",
    "prototype_loss",
    "reconstruction_errors",
    "sample_negatives",
    "scaling_loss",
    "smooth",
    "telescope_loss",
    "vote",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name], "spotscape.nn"), name)
    msg = f"module 'spotscape.nn' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
