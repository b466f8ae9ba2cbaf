"""Neighbourhood contrast against loops over anchors and over all pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spotscape.nn import NeighborhoodContrast, Neighborhoods, draw_others
from spotscape.nn.objectives import contrast as contrast_file

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

CHANCE = 2 * math.log(2)


def compressed(positives: dict[int, list[int]]) -> Neighborhoods:
    anchors = sorted(positives)
    lengths = torch.tensor([0, *(len(positives[anchor]) for anchor in anchors)])
    indices = torch.tensor([spot for anchor in anchors for spot in sorted(positives[anchor])], dtype=torch.int64)
    return Neighborhoods(torch.tensor(anchors, dtype=torch.int64), lengths.cumsum(0), indices)


def problem(
    n: int = 20, d: int = 5, seed: int = 0
) -> tuple[NeighborhoodContrast, Tensor, dict[int, list[int]], Tensor]:
    """Every spot but each fifth is an anchor, with one to four positives."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(n, d, generator=generator, dtype=torch.float64).requires_grad_()
    others = draw_others(n, 4, generator)
    positives = {spot: others[spot, : 1 + spot % 4].tolist() for spot in range(n) if spot % 5}
    negatives = draw_others(n, 1, generator, rows=torch.tensor(sorted(positives)))[:, 0]
    module = NeighborhoodContrast(d).double()
    with torch.no_grad():
        module.weight.copy_(torch.randn(d, d, generator=generator, dtype=torch.float64))
        module.bias.fill_(0.3)
    return module, embeddings, positives, negatives


def loops(
    module: NeighborhoodContrast, z: Tensor, positives: dict[int, list[int]], negatives: Tensor, *, everyone: bool
) -> Tensor:
    """The formula, one pair at a time; with ``everyone`` each anchor against each summary."""
    anchors = sorted(positives)
    summary = {u: torch.sigmoid(sum(z[v] for v in positives[u]) / len(positives[u])) for u in anchors}

    def mean_cross_entropy(spots: list[int], label: float) -> Tensor:
        pairs = [(h, s) for h in spots for s in anchors] if everyone else list(zip(spots, anchors, strict=True))
        scores = [
            sum(z[h][i] * module.weight[i, j] * summary[s][j] for i in range(z.shape[1]) for j in range(z.shape[1]))
            + module.bias
            for h, s in pairs
        ]
        logits = torch.stack(scores)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    return mean_cross_entropy(anchors, 1.0) + mean_cross_entropy(negatives.tolist(), 0.0)


@pytest.mark.parametrize("tile_entries", [1, 40, 2**22])
@pytest.mark.parametrize("pairing", ["row", "all"])
def test_equals_the_loops(pairing: str, tile_entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast_file, "_TILE_ENTRIES", tile_entries)
    module, embeddings, positives, negatives = problem(n=12, d=3)
    found = module(embeddings, compressed(positives), negatives, pairing=pairing)
    expected = loops(module, embeddings, positives, negatives, everyone=pairing == "all")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    leaves = [embeddings, module.weight, module.bias]
    for mine, theirs in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-13)


def test_by_hand() -> None:
    """One dimension, W = 2, b = 1. Spot 0 (value 1) has positives 1 and 2 (values 0): its summary is 1/2.

    Score of the anchor 1·2·½ + 1 = 2; of the negative, spot 3 (value -4): -4·2·½ + 1 = -3.
    """
    module = NeighborhoodContrast(1)
    with torch.no_grad():
        module.weight.fill_(2)
        module.bias.fill_(1)
    embeddings = torch.tensor([[1.0], [0.0], [0.0], [-4.0]])
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(-3))
    for pairing in ("row", "all"):
        found = module(embeddings, compressed({0: [1, 2]}), torch.tensor([3]), pairing=pairing)
        assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pairing", ["row", "all"])
def test_a_discriminator_that_knows_nothing_is_at_chance(pairing: str) -> None:
    module, embeddings, positives, negatives = problem()
    with torch.no_grad():
        module.weight.zero_()
        module.bias.zero_()
    assert module(embeddings, compressed(positives), negatives, pairing=pairing).item() == pytest.approx(CHANCE)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_all_pairs_of_shuffled_anchors_never_beat_chance(seed: int) -> None:
    """Each pair has both labels, whichever way the anchors are shuffled."""
    module, embeddings, positives, _ = problem(seed=seed)
    neighborhoods = compressed(positives)
    generator = torch.Generator().manual_seed(seed)
    shuffles = [neighborhoods.anchors[torch.randperm(len(positives), generator=generator)] for _ in range(2)]
    first, second = (module(embeddings, neighborhoods, shuffled, pairing="all") for shuffled in shuffles)
    torch.testing.assert_close(first, second, rtol=1e-10, atol=0)
    assert first.item() > CHANCE


def two_halves(n: int = 60) -> tuple[Tensor, Neighborhoods, Tensor]:
    """Two kinds of spots; positives are of the own kind, negatives of the other."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(n) % 2
    embeddings = torch.randn(n, 4, generator=generator) + 2 * (2 * kind[:, None] - 1)
    positives = {spot: [v for v in range(n) if v != spot and kind[v] == kind[spot]][:6] for spot in range(n)}
    return embeddings, compressed(positives), (torch.arange(n) + 1) % n


def trained(pairing: str) -> float:
    embeddings, neighborhoods, negatives = two_halves()
    module = NeighborhoodContrast(4)
    torch.nn.init.xavier_uniform_(module.weight, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss = module(embeddings, neighborhoods, negatives, pairing=pairing)
        loss.backward()
        optimiser.step()
    return loss.item()


def test_rows_can_be_learned_and_all_pairs_cannot() -> None:
    assert trained("row") < 0.5 * CHANCE
    assert trained("all") == pytest.approx(CHANCE, abs=1e-2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), pairing=st.sampled_from(["row", "all"]))
def test_ignores_the_order_of_spots(seed: int, pairing: str) -> None:
    module, embeddings, positives, negatives = problem(seed=seed)
    expected = module(embeddings, compressed(positives), negatives, pairing=pairing)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    new_row = torch.empty_like(order)
    new_row[order] = torch.arange(20)
    negative_of = dict(zip(sorted(positives), negatives.tolist(), strict=True))
    moved = {int(new_row[u]): [int(new_row[v]) for v in spots] for u, spots in positives.items()}
    moved_negatives = torch.stack([new_row[negative_of[int(order[u])]] for u in sorted(moved)])
    found = module(embeddings[order], compressed(moved), moved_negatives, pairing=pairing)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("pairing", ["row", "all"])
def test_no_anchors_is_a_zero_with_a_graph(pairing: str) -> None:
    embeddings = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    none = Neighborhoods(torch.empty(0).long(), torch.zeros(1).long(), torch.empty(0).long())
    loss = NeighborhoodContrast(3)(embeddings, none, torch.empty(0).long(), pairing=pairing)
    loss.backward()
    assert none.n_anchors == 0
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros(7, 3))


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.entries = max([self.entries, *made])
        return result


def kept_and_largest(pairing: str) -> tuple[int, int, int]:
    """Anchors, entries kept for the backward pass, and entries of the largest tensor in either pass."""
    module, embeddings, positives, negatives = problem(n=500, d=3)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with Largest() as largest:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = module(embeddings, compressed(positives), negatives, pairing=pairing)
        loss.backward()
    return len(positives), sum(kept), largest.entries


@pytest.mark.parametrize("pairing", ["row", "all"])
def test_no_matrix_of_all_pairs_is_made_or_kept(pairing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast_file, "_TILE_ENTRIES", 20_000)
    n_anchors, kept, largest = kept_and_largest(pairing)
    assert n_anchors == 400
    assert largest <= 20_000
    assert kept < n_anchors**2 / 4


def test_in_one_tile_it_would_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(contrast_file, "_TILE_ENTRIES", 10**9)
    n_anchors, _, largest = kept_and_largest("all")
    assert largest >= n_anchors**2


def test_logits_far_out_stay_finite() -> None:
    module, embeddings, positives, negatives = problem()
    for pairing in ("row", "all"):
        loss = module(1e4 * embeddings, compressed(positives), negatives, pairing=pairing)
        gradient = torch.autograd.grad(loss, embeddings)[0]
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_global_randomness_is_left_alone(global_state_untouched: Any) -> None:
    module, embeddings, positives, negatives = problem()
    with global_state_untouched():
        module(embeddings, compressed(positives), negatives, pairing="all").backward()


def test_an_unknown_pairing() -> None:
    module, embeddings, positives, negatives = problem()
    with pytest.raises(ValueError, match=r"pairing='some' is not one of \['all', 'row'\]"):
        module(embeddings, compressed(positives), negatives, pairing="some")


def test_negatives_for_other_anchors() -> None:
    module, embeddings, positives, negatives = problem()
    with pytest.raises(ValueError, match=r"negatives has shape \(1,\); expected \(16,\), one per anchor"):
        module(embeddings, compressed(positives), negatives[:1])
