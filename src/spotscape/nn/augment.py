"""Random views of a tissue: some edges and some genes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spotscape.nn.features import MaskedFeatures

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape.nn.features import FeatureMatrix
    from spotscape.nn.graph import SpotGraph


def random_view(
    features: FeatureMatrix, graph: SpotGraph, *, edge_drop: float, feature_drop: float, generator: torch.Generator
) -> tuple[MaskedFeatures, Tensor]:
    """One augmented view: genes masked for all spots at once, directed edges dropped, degrees normalised anew.

    Parameters
    ----------
    features
        Expression, ``(N, G)``.
    graph
        The spot graph; its self-loops are never dropped.
    edge_drop, feature_drop
        Probabilities in [0, 1) that a directed edge, or a gene, is left out.
    generator
        Source of randomness, on the device of ``graph``.

    Returns
    -------
    The masked features and the normalised adjacency ``(N, N)``, sparse CSR.
    """
    device = graph.indices.device
    keep_feature = torch.rand(features.shape[1], generator=generator, device=device) >= feature_drop
    keep_edge = torch.rand(graph.n_edges, generator=generator, device=device) >= edge_drop
    return MaskedFeatures(features, keep_feature), graph.normalized(keep_edge)
