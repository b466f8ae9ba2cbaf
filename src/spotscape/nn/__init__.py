"""Building blocks: graph, features, layers, objectives, trainer. Tensors and arrays only, no AnnData."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotscape.nn.augment import random_view
    from spotscape.nn.averaging import follow
    from spotscape.nn.clustering import consensus_clusterings
    from spotscape.nn.components import PrincipalComponents
    from spotscape.nn.ensemble import LeadingAxes
    from spotscape.nn.features import (
        DenseFeatures,
        FeatureMatrix,
        LowRankFeatures,
        MaskedFeatures,
        SparseFeatures,
        as_features,
    )
    from spotscape.nn.graph import SpotGraph
    from spotscape.nn.hybrid import hybrid_neighborhoods
    from spotscape.nn.imputation import SpotRegression
    from spotscape.nn.integration import integrate, place
    from spotscape.nn.layers import FeatureProjection, GraphBlock, GraphConvolution
    from spotscape.nn.matching import Matches, Votes, batch_offset, match, nearest, vote
    from spotscape.nn.neighborhoods import Neighborhoods
    from spotscape.nn.objectives import (
        MaskedSpots,
        MaskToken,
        NeighborhoodContrast,
        PrototypeBank,
        TelescopeGrams,
        consistency_loss,
        cosine_reconstruction_loss,
        draw_masked,
        draw_others,
        prototype_loss,
        reconstruction_loss,
        scaling_loss,
        telescope_loss,
    )
    from spotscape.nn.similarity import MostSimilar, most_similar
    from spotscape.nn.smoothing import smooth
    from spotscape.nn.tiles import Region, graph_tiles
    from spotscape.nn.trainer import LossOutput, Trainer, TrainingPlan

# Lazily, because layers bring torch_geometric, and clustering or smoothing should not have to wait for it.
_HOME = {
    "DenseFeatures": "features",
    "FeatureMatrix": "features",
    "FeatureProjection": "layers",
    "GraphBlock": "layers",
    "GraphConvolution": "layers",
    "LeadingAxes": "ensemble",
    "LossOutput": "trainer",
    "LowRankFeatures": "features",
    "MaskToken": "objectives",
    "MaskedFeatures": "features",
    "MaskedSpots": "objectives",
    "Matches": "matching",
    "MostSimilar": "similarity",
    "NeighborhoodContrast": "objectives",
    "Neighborhoods": "neighborhoods",
    "PrincipalComponents": "components",
    "PrototypeBank": "objectives",
    "Region": "tiles",
    "SparseFeatures": "features",
    "SpotGraph": "graph",
    "SpotRegression": "imputation",
    "TelescopeGrams": "objectives",
    "Trainer": "trainer",
    "TrainingPlan": "trainer",
    "Votes": "matching",
    "as_features": "features",
    "batch_offset": "matching",
    "consensus_clusterings": "clustering",
    "consistency_loss": "objectives",
    "cosine_reconstruction_loss": "objectives",
    "draw_masked": "objectives",
    "draw_others": "objectives",
    "follow": "averaging",
    "graph_tiles": "tiles",
    "hybrid_neighborhoods": "hybrid",
    "integrate": "integration",
    "match": "matching",
    "most_similar": "similarity",
    "nearest": "matching",
    "place": "integration",
    "prototype_loss": "objectives",
    "random_view": "augment",
    "reconstruction_loss": "objectives",
    "scaling_loss": "objectives",
    "smooth": "smoothing",
    "telescope_loss": "objectives",
    "vote": "matching",
}

__all__ = [
    "DenseFeatures",
    "FeatureMatrix",
    "FeatureProjection",
    "GraphBlock",
    "GraphConvolution",
    "LeadingAxes",
    "LossOutput",
    "LowRankFeatures",
    "MaskToken",
    "MaskedFeatures",
    "MaskedSpots",
    "Matches",
    "MostSimilar",
    "NeighborhoodContrast",
    "Neighborhoods",
    "PrincipalComponents",
    "PrototypeBank",
    "Region",
    "SparseFeatures",
    "SpotGraph",
    "SpotRegression",
    "TelescopeGrams",
    "Trainer",
    "TrainingPlan",
    "Votes",
    "as_features",
    "batch_offset",
    "consensus_clusterings",
    "consistency_loss",
    "cosine_reconstruction_loss",
    "draw_masked",
    "draw_others",
    "follow",
    "graph_tiles",
    "hybrid_neighborhoods",
    "integrate",
    "match",
    "most_similar",
    "nearest",
    "place",
    "prototype_loss",
    "random_view",
    "reconstruction_loss",
    "scaling_loss",
    "smooth",
    "telescope_loss",
    "vote",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"spotscape.nn.{_HOME[name]}"), name)
    msg = f"module 'spotscape.nn' has no attribute {name!r}"
    raise AttributeError(msg)
