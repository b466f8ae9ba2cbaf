"""k-means runs from several starts: that they are k-means, that they differ, and that they may stop early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import normalize

from spotscape.nn import consensus_clusterings, most_similar
from spotscape.nn.clustering import _consensus

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.all_starts


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(n_spots: int, n_groups: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Groups around random directions in eight dimensions, rows of different lengths; and the group of each."""
    generator = seeded(seed)
    centres = normalize(torch.randn(n_groups, 8, generator=generator), dim=1)
    truth = torch.arange(n_spots) % n_groups
    points = centres[truth] + spread * torch.randn(n_spots, 8, generator=generator)
    return points * (0.5 + torch.rand(n_spots, 1, generator=generator)), truth


def test_every_run_finds_groups_that_are_far_apart(device: torch.device) -> None:
    truth = torch.arange(200) % 4
    points = torch.eye(8)[truth] + 0.05 * torch.randn(200, 8, generator=seeded(0))
    runs = consensus_clusterings(points.to(device), 4, 5, torch.Generator(device).manual_seed(0)).cpu()
    assert runs.shape == (5, 200)
    assert runs.dtype == torch.int64
    assert [adjusted_rand_score(truth, labels) for labels in runs] == [1.0] * 5


def test_runs_differ_and_repeat_with_the_seed() -> None:
    points, _ = mixture(400, 12, 0.4)
    runs = consensus_clusterings(points, 12, 4, seeded(0))
    agreements = [adjusted_rand_score(runs[0], other) for other in runs[1:]]
    assert 0.2 < min(agreements) <= max(agreements) < 0.99
    assert torch.equal(consensus_clusterings(points, 12, 4, seeded(0)), runs)
    assert not torch.equal(consensus_clusterings(points, 12, 4, seeded(1)), runs)


def test_spots_are_with_the_closest_centre() -> None:
    """The direction of its own cluster's mean is, for nearly all spots, the closest of all: k-means has settled."""
    points, _ = mixture(600, 6, 0.3)
    directions = normalize(points, dim=1)
    for labels in consensus_clusterings(points, 6, 3, seeded(0)):
        centres = normalize(torch.stack([directions[labels == number].mean(0) for number in range(6)]), dim=1)
        assert float(((directions @ centres.T).argmax(1) == labels).float().mean()) > 0.95


def kept_pairs(points: torch.Tensor, n_clusters: int, seed: int) -> torch.Tensor:
    """Which of each spot's 20 most similar ones three of five runs put into its cluster, bool ``(N, 20)``."""
    directions = normalize(points, dim=1)
    similar = most_similar(directions, directions, 20, exclude=torch.arange(len(points))).indices
    runs = consensus_clusterings(points, n_clusters, 5, seeded(seed))
    return (runs[:, :, None] == runs[:, similar]).sum(0) >= 3


def overlap(first: torch.Tensor, second: torch.Tensor) -> float:
    return int((first & second).sum()) / int((first | second).sum())


@pytest.mark.parametrize(
    ("n_clusters", "spread"),
    [(6, 0.5), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((12, 0.3), (12, 0.5), (20, 0.4)))],
)
def test_stopping_early_changes_less_than_other_starts_do(
    n_clusters: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, _ = mixture(1500, 12, spread)
    early = [kept_pairs(points, n_clusters, seed) for seed in range(4)]
    monkeypatch.setattr(_consensus, "_STEPS", 300)
    converged = [kept_pairs(points, n_clusters, seed) for seed in range(4)]
    by_stopping = [overlap(mine, theirs) for mine, theirs in zip(early, converged, strict=True)]
    by_starts = [overlap(converged[number - 1], converged[number]) for number in range(4)]
    assert sum(by_stopping) > sum(by_starts)


def test_identical_spots_share_a_cluster() -> None:
    for n_spots in (1, 2, 7, 33, 500):
        same = torch.randn(1, 5, generator=seeded(n_spots)).expand(n_spots, 5)
        runs = consensus_clusterings(same, 4, 3, seeded(0))
        assert all(len(labels.unique()) == 1 for labels in runs)


def test_fewer_spots_than_clusters() -> None:
    points = torch.eye(5)[:3]
    runs = consensus_clusterings(points, 7, 4, seeded(0))
    assert all(len(labels.unique()) == 3 for labels in runs)
    assert runs.min() >= 0
    assert runs.max() < 7


def test_ignores_the_lengths_of_rows_and_takes_half_precision() -> None:
    points, _ = mixture(100, 4, 0.1)
    runs = consensus_clusterings(points, 4, 3, seeded(0))
    assert torch.equal(consensus_clusterings(4 * points, 4, 3, seeded(0)), runs)
    half = consensus_clusterings(points.bfloat16(), 4, 3, seeded(0))
    assert torch.equal(half, consensus_clusterings(points.bfloat16().float(), 4, 3, seeded(0)))


def test_spots_of_length_zero_are_no_trouble() -> None:
    points, _ = mixture(50, 3, 0.1)
    points[:5] = 0
    runs = consensus_clusterings(points, 3, 2, seeded(0))
    assert all(len(labels[:5].unique()) == 1 for labels in runs)


def test_wrong_arguments() -> None:
    points, _ = mixture(10, 2, 0.1)
    with pytest.raises(ValueError, match="n_clusters=0 must be at least 1"):
        consensus_clusterings(points, 0, 2, seeded(0))
    with pytest.raises(ValueError, match="n_runs=0 must be at least 1"):
        consensus_clusterings(points, 2, 0, seeded(0))
    with pytest.raises(ValueError, match=r"embeddings has shape \(0, 3\)"):
        consensus_clusterings(torch.empty(0, 3), 2, 1, seeded(0))


def test_touches_no_global_state(global_state_untouched: Callable[[], AbstractContextManager[None]]) -> None:
    points, _ = mixture(30, 3, 0.1)
    with global_state_untouched():
        consensus_clusterings(points, 3, 2, seeded(0))
