"""Spherical k-means in torch: for training, where the points move and stay on their device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def seeded_centres(points: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw starting centres among unit points ``(N, d)`` by k-means++ (Arthur & Vassilvitskii 2007): ``(K, d)``."""
    draws = torch.rand(n_clusters, generator=generator, device=points.device)
    nearest = torch.ones(len(points), device=points.device)
    chosen = []
    for draw in draws:
        # In double precision, because the sum of a million small terms is compared with one draw.
        cumulated = nearest.double().cumsum(0)
        row = torch.searchsorted(cumulated, draw.double() * cumulated[-1]).clamp_max(len(points) - 1)
        chosen.append(points[row])
        # For unit vectors 1 - cos is half the squared distance.
        nearest = torch.minimum(nearest, (1 - points @ points[row]).clamp_min(0))
    return torch.stack(chosen)


def lloyd_step(points: Tensor, centres: Tensor) -> Tensor:
    """One iteration: unit points ``(N, d)`` go to the closest centre ``(K, d)``, which moves to their direction.

    A centre without points moves to a point that is worst represented, so that no prototype dies.
    """
    closeness, labels = (points @ centres.T).max(1)
    # A product with indicators instead of a scattered sum: the order of additions is fixed, also on CUDA.
    indicators = one_hot(labels, len(centres)).to(points.dtype)
    moved = normalize(indicators.T @ points, dim=1)
    empty = indicators.sum(0) == 0
    n_empty = min(int(empty.sum()), len(points))
    if n_empty:
        moved[empty.nonzero()[:n_empty, 0]] = points[closeness.topk(n_empty, largest=False).indices]
    return moved
