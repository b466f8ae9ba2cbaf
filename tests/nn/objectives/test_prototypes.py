"""Prototypical contrast against the formula, and prototypes that follow an embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import normalize

from spotscape.nn import PrototypeBank, prototype_loss
from spotscape.nn.clustering._spherical import lloyd_step, seeded_centres


def blobs(n_blobs: int = 4, n_each: int = 30, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.eye(8)[:n_blobs]
    truth = torch.repeat_interleave(torch.arange(n_blobs), n_each)
    points = directions[truth] + 0.05 * torch.randn(len(truth), 8, generator=generator)
    return points, truth.numpy()


def dense_prototypes(
    embeddings: torch.Tensor, prototypes: list[torch.Tensor], labels: list[torch.Tensor], temperature: float
) -> torch.Tensor:
    """The formula as printed, spot by spot."""
    terms = []
    for centres, own in zip(prototypes, labels, strict=True):
        for u in range(len(embeddings)):
            cosines = torch.stack([embeddings[u] @ c / (embeddings[u].norm() * c.norm()) for c in centres])
            weights = (cosines / temperature).exp()
            terms.append(-(weights[own[u]] / weights.sum()).log())
    return torch.stack(terms).mean()


def test_equals_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(25, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    prototypes = [normalize(torch.randn(k, 5, generator=generator, dtype=torch.float64), dim=1) for k in (3, 5, 6)]
    labels = [torch.randint(len(centres), (25,), generator=generator) for centres in prototypes]
    found = prototype_loss(embeddings, prototypes, labels, temperature=0.4)
    expected = dense_prototypes(embeddings, prototypes, labels, 0.4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(value, embeddings)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_by_hand() -> None:
    """Two prototypes at right angles, a spot on its own one: log(1 + e^(-1/τ))."""
    loss = prototype_loss(torch.tensor([[2.0, 0.0]]), [torch.eye(2)], [torch.tensor([0])], temperature=0.75)
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1 / 0.75)), rel=1e-6)


def test_the_bank_finds_the_groups_and_keeps_them_as_they_move() -> None:
    points, truth = blobs()
    bank = PrototypeBank((4, 6), 8)
    generator = torch.Generator().manual_seed(0)
    labels = bank.update(points, generator)
    assert adjusted_rand_score(truth, labels[0]) == 1
    assert [len(centres) for centres in bank.centres] == [4, 6]
    torch.testing.assert_close(bank.centres[0].norm(dim=1), torch.ones(4))
    state = generator.get_state()
    moved = bank.update(points + 0.2 * torch.ones(8), generator)
    assert torch.equal(moved[0], labels[0])
    assert torch.equal(generator.get_state(), state), "a warm start draws nothing"


def test_the_bank_is_part_of_a_checkpoint() -> None:
    points, _ = blobs()
    bank, other = PrototypeBank((3,), 8), PrototypeBank((3,), 8)
    bank.update(points, torch.Generator().manual_seed(0))
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.update(points, torch.Generator())[0], bank.update(points, torch.Generator())[0])


def test_lloyd_is_k_means_on_the_sphere() -> None:
    """Euclidean k-means of unit vectors, its centres put back onto the sphere after each step."""
    points, _ = blobs(seed=1)
    unit = normalize(points, dim=1)
    start = seeded_centres(unit, 4, torch.Generator().manual_seed(1))
    one = KMeans(4, init=start.numpy(), n_init=1, max_iter=1).fit(unit.numpy())
    torch.testing.assert_close(lloyd_step(unit, start), normalize(torch.from_numpy(one.cluster_centers_), dim=1))


def test_a_prototype_without_spots_moves_to_the_worst_represented_one() -> None:
    points = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    moved = lloyd_step(points, centres)
    torch.testing.assert_close(moved[1], torch.tensor([0.0, 1.0]))


def test_more_prototypes_than_spots_stay_finite() -> None:
    points, _ = blobs(n_blobs=1, n_each=3)
    bank = PrototypeBank((5,), 8)
    bank.update(points, torch.Generator().manual_seed(0))
    assert torch.isfinite(bank.centres[0]).all()


def test_starting_centres_are_distinct_points() -> None:
    points = normalize(torch.tensor([[1.0, 0.0]] * 50 + [[0.0, 1.0], [-1.0, 0.0]]), dim=1)
    for seed in range(20):
        centres = seeded_centres(points, 3, torch.Generator().manual_seed(seed))
        assert len(torch.unique(centres, dim=0)) == 3
