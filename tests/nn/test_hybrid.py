"""The hybrid neighbourhood against its definition with sets in plain Python, and its invariances."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.utils._python_dispatch import TorchDispatchMode

from spotscape.nn import Neighborhoods, SpotGraph, consensus_clusterings, hybrid_neighborhoods, similarity

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

N_RUNS = 3
SIZES = [(17,), (14, 9), (1, 12), (11, 6, 8), (9, 4, 1, 12, 7)]
# Slices may have any numbers.
NAMES = (7, -3, 100, 0, 12)


class Problem:
    """Random spots, shuffled over slices; a random directed graph with some self-loops, also between slices."""

    def __init__(self, sizes: tuple[int, ...], seed: int, *, symmetric: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        codes = torch.repeat_interleave(torch.tensor(NAMES[: len(sizes)]), torch.tensor(sizes))
        n_spots = len(codes)
        self.slices = codes[torch.randperm(n_spots, generator=generator)]
        self.embeddings = torch.randn(n_spots, 3, generator=generator, dtype=torch.float64)
        self.clusterings = torch.randint(3, (N_RUNS, n_spots), generator=generator)
        adjacency = (torch.rand(n_spots, n_spots, generator=generator) < 0.2).numpy()
        self.adjacency = adjacency | adjacency.T if symmetric else adjacency
        self.queries = torch.randperm(n_spots, generator=generator)[: max(1, n_spots // 3)]

    @property
    def graph(self) -> SpotGraph:
        return SpotGraph.from_adjacency(sparse.csr_array(self.adjacency.astype(np.float32)))

    def find(self, **options: Any) -> Neighborhoods:
        return hybrid_neighborhoods(self.embeddings, self.graph, self.clusterings, **options)

    def moved(self, order: torch.Tensor) -> Problem:
        """The same spots in another order."""
        other = object.__new__(Problem)
        other.embeddings, other.slices = self.embeddings[order], self.slices[order]
        other.clusterings, other.adjacency = self.clusterings[:, order], self.adjacency[order][:, order]
        return other


def as_sets(found: Neighborhoods) -> dict[int, set[int]]:
    """Positives of each anchor, and a check of everything that the rows promise."""
    assert {found.anchors.dtype, found.indptr.dtype, found.indices.dtype} == {torch.int64}
    assert len(found.indptr) == found.n_anchors + 1
    assert found.indptr[0] == 0
    assert found.indptr[-1] == len(found.indices)
    rows = [part.tolist() for part in found.indices.split(found.indptr.diff().tolist())] if found.n_anchors else []
    anchors = found.anchors.tolist()
    assert anchors == sorted(set(anchors))
    assert all(row and row == sorted(set(row)) for row in rows)
    assert all(anchor not in row for anchor, row in zip(anchors, rows, strict=True))
    return {anchor: set(row) for anchor, row in zip(anchors, rows, strict=True)}


def by_sets(problem: Problem, k: int, quorum: int, *, with_slices: bool) -> dict[int, set[int]]:
    """The definition, spot by spot."""
    rows = problem.embeddings.tolist()
    lengths = [sum(x * x for x in row) ** 0.5 for row in rows]
    cosines = [[sum(map(float.__mul__, a, b)) / (p * q) for b, q in zip(rows, lengths)] for a, p in zip(rows, lengths)]  # noqa: B905
    runs, edges, spots = problem.clusterings.tolist(), problem.adjacency.tolist(), range(len(rows))
    slices = problem.slices.tolist() if with_slices else [0] * len(rows)

    def top(u: int, *, between: bool) -> set[int]:
        allowed = [v for v in spots if v != u and (slices[u] != slices[v]) == between]
        return set(sorted(allowed, key=lambda v: -cosines[u][v])[:k])

    inside, outside = [[top(u, between=between) for u in spots] for between in (False, True)]
    positives = {}
    for u in spots:
        similar = set(inside[u])
        if len(set(slices)) > 1:
            similar = {v for v in inside[u] if u in inside[v]} | {v for v in outside[u] if u in outside[v]}
        local = {v for v in similar if edges[u][v]}
        alike = {v for v in similar if sum(run[u] == run[v] for run in runs) >= quorum}
        positives[u] = local | alike
    return {u: found for u, found in positives.items() if found}


@settings(max_examples=60)
@given(
    sizes=st.sampled_from(SIZES),
    k=st.integers(1, 8),
    quorum=st.integers(0, N_RUNS),
    with_slices=st.booleans(),
    seed=st.integers(0, 999),
)
def test_equals_the_definition_with_sets(
    sizes: tuple[int, ...], k: int, quorum: int, with_slices: bool, seed: int
) -> None:
    problem = Problem(sizes, seed)
    expected = by_sets(problem, k, quorum, with_slices=with_slices)
    options: dict[str, Any] = {"n_similar": k, "quorum": quorum, "slices": problem.slices if with_slices else None}
    assert as_sets(problem.find(**options)) == expected
    drawn = problem.queries.tolist()
    some = as_sets(problem.find(**options, queries=problem.queries))
    assert some == {u: found for u, found in expected.items() if u in drawn}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("quorum", range(N_RUNS + 1))
def test_equals_the_definition_at_every_quorum(sizes: tuple[int, ...], quorum: int) -> None:
    problem = Problem(sizes, seed=quorum)
    found = problem.find(n_similar=5, quorum=quorum, slices=problem.slices)
    assert as_sets(found) == by_sets(problem, 5, quorum, with_slices=True)


def five_spots(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Directions at 0, 10, 25, 90 and 100 degrees; neighbours in space 0–1 and 2–3."""
    angles = torch.tensor([0.0, 10.0, 25.0, 90.0, 100.0]).deg2rad()
    edges = sparse.coo_array((np.ones(4), ([0, 1, 2, 3], [1, 0, 3, 2])), shape=(5, 5))
    return {
        "embeddings": torch.stack([angles.cos(), angles.sin()], 1).to(device),
        "graph": SpotGraph.from_adjacency(edges, device),
        "clusterings": torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], device=device),
    }


def test_by_hand() -> None:
    # The two most similar: 0: 1 2, 1: 0 2, 2: 1 0, 3: 4 2, 4: 3 2. Both clusterings agree on 3 and 4 alone.
    strict = hybrid_neighborhoods(**five_spots(), n_similar=2, quorum=2)
    assert strict.anchors.tolist() == [0, 1, 3, 4]
    assert strict.indptr.tolist() == [0, 1, 2, 4, 5]
    assert strict.indices.tolist() == [1, 0, 2, 4, 3]
    lenient = hybrid_neighborhoods(**five_spots(), n_similar=2, quorum=1)
    assert as_sets(lenient) == {0: {1}, 1: {0, 2}, 2: {1}, 3: {2, 4}, 4: {2, 3}}
    everything = hybrid_neighborhoods(**five_spots(), n_similar=2, quorum=0)
    assert as_sets(everything) == {0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {2, 4}, 4: {2, 3}}


def test_by_hand_with_two_slices(device: torch.device) -> None:
    slices = torch.tensor([0, 0, 0, 1, 1], device=device)
    # Within: 0→1, 1→0, 2→1, 3→4, 4→3. Between: 0→3, 1→3, 2→3, 3→2, 4→2.
    found = hybrid_neighborhoods(**five_spots(device), n_similar=1, quorum=0, slices=slices)
    assert as_sets(found) == {0: {1}, 1: {0}, 2: {3}, 3: {2, 4}, 4: {3}}
    found = hybrid_neighborhoods(**five_spots(device), n_similar=1, quorum=2, slices=slices)
    assert as_sets(found) == {0: {1}, 1: {0}, 2: {3}, 3: {2, 4}, 4: {3}}
    none_local = five_spots(device) | {"graph": SpotGraph.from_adjacency(sparse.csr_array((5, 5)), device)}
    assert as_sets(hybrid_neighborhoods(**none_local, n_similar=1, quorum=2, slices=slices)) == {3: {4}, 4: {3}}


@settings(max_examples=30)
@given(sizes=st.sampled_from(SIZES[1:]), quorum=st.integers(0, N_RUNS), seed=st.integers(0, 999))
def test_several_slices_on_a_symmetric_graph_give_symmetric_neighbourhoods(
    sizes: tuple[int, ...], quorum: int, seed: int
) -> None:
    problem = Problem(sizes, seed, symmetric=True)
    found = as_sets(problem.find(n_similar=4, quorum=quorum, slices=problem.slices))
    assert all(u in found[v] for u, positives in found.items() for v in positives)


@settings(max_examples=30)
@given(sizes=st.sampled_from(SIZES), quorum=st.integers(0, N_RUNS), seed=st.integers(0, 999))
def test_ignores_the_order_of_spots_and_the_lengths_of_rows(sizes: tuple[int, ...], quorum: int, seed: int) -> None:
    problem = Problem(sizes, seed)
    order = torch.randperm(len(problem.slices), generator=torch.Generator().manual_seed(seed))
    moved = problem.moved(order)
    moved.embeddings *= torch.rand(len(order), 1, generator=torch.Generator().manual_seed(seed + 1)) * 10 + 0.1
    options = {"n_similar": 4, "quorum": quorum}
    plain = as_sets(problem.find(**options, slices=problem.slices))
    again = as_sets(moved.find(**options, slices=moved.slices))
    was = order.tolist()
    assert {was[u]: {was[v] for v in positives} for u, positives in again.items()} == plain


def test_a_higher_quorum_never_adds_and_neighbours_in_space_always_stay() -> None:
    problem = Problem((40,), 0)
    found = [as_sets(problem.find(n_similar=10, quorum=quorum)) for quorum in range(N_RUNS + 1)]
    for more, fewer in pairwise(found):
        assert all(positives <= more[u] for u, positives in fewer.items())
    local = {u: {v for v in positives if problem.adjacency[u, v]} for u, positives in found[0].items()}
    assert all(positives <= found[-1].get(u, set()) for u, positives in local.items())
    assert any(local.values())


def test_one_slice_is_as_no_slices() -> None:
    problem = Problem((20,), 3)
    assert as_sets(problem.find(slices=problem.slices)) == as_sets(problem.find())


def test_a_copy_has_a_structure_of_its_own() -> None:
    found = Neighborhoods(torch.tensor([1, 2]), torch.tensor([0, 2, 3]), torch.tensor([0, 3, 1]), 5)
    assert found.structure is found.structure
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), dataclasses.replace(found, n_spots=6)):
        assert other.structure is not found.structure
        assert (other.structure.n_rows, other.structure.n_columns) == (2, other.n_spots)
        assert other.structure.transposed.indices.tolist() == [0, 1, 0]


def test_repeated_and_no_queries() -> None:
    problem = Problem((14, 9), 1)
    options: dict[str, Any] = {"n_similar": 4, "quorum": 1, "slices": problem.slices}
    twice = problem.find(**options, queries=torch.tensor([5, 2, 5]))
    assert as_sets(twice) == as_sets(problem.find(**options, queries=torch.tensor([2, 5])))
    nobody = problem.find(**options, queries=torch.empty(0, dtype=torch.int64))
    assert as_sets(nobody) == {}
    assert nobody.indptr.tolist() == [0]


@pytest.mark.parametrize("n_spots", [0, 1, 2])
def test_next_to_no_spots(n_spots: int) -> None:
    graph = SpotGraph.from_adjacency(sparse.csr_array((n_spots, n_spots)))
    runs = torch.zeros(2, n_spots, dtype=torch.int64)
    found = hybrid_neighborhoods(torch.ones(n_spots, 3), graph, runs, quorum=2)
    assert as_sets(found) == ({0: {1}, 1: {0}} if n_spots == 2 else {})
    apart = hybrid_neighborhoods(torch.ones(n_spots, 3), graph, runs, quorum=2, slices=torch.arange(n_spots))
    assert as_sets(apart) == as_sets(found)


def test_no_clusterings_need_no_quorum() -> None:
    problem = Problem((12,), 0)
    problem.clusterings = problem.clusterings[:0]
    assert all(len(positives) == 4 for positives in as_sets(problem.find(n_similar=4, quorum=0)).values())


def test_identical_spots_come_out_the_same_each_time() -> None:
    problem = Problem((30,), 0)
    problem.embeddings[:20] = problem.embeddings[0]
    first, second = (problem.find(n_similar=5, quorum=0) for _ in range(2))
    assert torch.equal(first.indices, second.indices)
    assert all(len(positives) == 5 for positives in as_sets(first).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_are_compared_in_single(dtype: torch.dtype) -> None:
    problem = Problem((25,), 0)
    problem.embeddings = problem.embeddings.to(dtype)
    half = problem.find(n_similar=4, quorum=1)
    problem.embeddings = problem.embeddings.float()
    assert as_sets(half) == as_sets(problem.find(n_similar=4, quorum=1))


def test_carries_no_gradient_and_leaves_its_input() -> None:
    problem = Problem((14, 9), 0)
    before = problem.embeddings.clone()
    problem.embeddings.requires_grad_()
    problem.find(slices=problem.slices, queries=problem.queries)
    assert torch.equal(problem.embeddings, before)
    assert problem.embeddings.grad is None


class _Sizes(TorchDispatchMode):
    """Numbers in the largest tensor that any operation makes, and in all matrix products together."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.products = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **kwargs or {})
        made = [part for part in (result if isinstance(result, (tuple, list)) else (result,)) if torch.is_tensor(part)]
        # An expanded tensor repeats what it has without holding it.
        sizes = [part.untyped_storage().nbytes() // part.element_size() for part in made]
        self.largest = max(self.largest, *sizes, 0)
        if function in {torch.ops.aten.mm.default, torch.ops.aten.mm.out}:
            self.products += result.numel()
        return result


@pytest.mark.slow
def test_no_object_has_an_entry_for_every_pair_of_spots() -> None:
    n_spots, generator = 30_000, torch.Generator().manual_seed(0)
    embeddings = torch.randn(n_spots, 4, generator=generator)
    graph = SpotGraph.from_adjacency(sparse.eye_array(n_spots, k=1) + sparse.eye_array(n_spots, k=-1))
    slices = torch.randint(2, (n_spots,), generator=generator)
    with _Sizes() as sizes:
        runs = consensus_clusterings(embeddings, 5, 3, generator)
        found = hybrid_neighborhoods(embeddings, graph, runs, n_similar=20, quorum=2, slices=slices)
    assert found.n_anchors > n_spots / 2
    # A tile of the search is the largest; N² would be two hundred of them.
    assert sizes.largest <= similarity._TILE_ENTRIES


def test_a_draw_of_spots_costs_what_the_draw_costs() -> None:
    n_spots, generator = 5_000, torch.Generator().manual_seed(0)
    embeddings = torch.randn(n_spots, 4, generator=generator)
    graph = SpotGraph.from_adjacency(sparse.eye_array(n_spots, k=1))
    queries = torch.arange(0, n_spots, 50)
    runs = torch.zeros(1, n_spots, dtype=torch.int64)
    with _Sizes() as one:
        hybrid_neighborhoods(embeddings, graph, runs, n_similar=5, quorum=1, queries=queries)
    assert one.products == len(queries) * n_spots
    with _Sizes() as two:
        slices = torch.arange(n_spots) % 2
        hybrid_neighborhoods(embeddings, graph, runs, n_similar=5, quorum=1, queries=queries, slices=slices)
    # Within and between are half of the spots each; the way back starts from at most five for each query and kind.
    assert len(queries) * n_spots < two.products <= 6 * len(queries) * n_spots
    with _Sizes() as filtered:
        apart = torch.arange(n_spots)[None]
        hybrid_neighborhoods(embeddings, graph, apart, n_similar=5, quorum=1, queries=queries, slices=slices)
    assert filtered.products < 1.2 * len(queries) * n_spots, "there is no way back from what the filters refuse"


def test_wrong_arguments() -> None:
    problem = five_spots()
    with pytest.raises(ValueError, match=r"embeddings has shape \(4, 2\); expected a row for each of the graph's 5"):
        hybrid_neighborhoods(**problem | {"embeddings": torch.ones(4, 2)})
    with pytest.raises(ValueError, match=r"clusterings has shape \(5,\); expected \(R, 5\)"):
        hybrid_neighborhoods(**problem | {"clusterings": torch.zeros(5, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"clusterings has shape \(5, 2\); expected \(R, 5\)"):
        hybrid_neighborhoods(**problem | {"clusterings": problem["clusterings"].T})
    with pytest.raises(ValueError, match=r"slices has shape \(4,\); expected one number for each of the 5"):
        hybrid_neighborhoods(**problem, quorum=1, slices=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"queries has shape \(1, 2\)"):
        hybrid_neighborhoods(**problem, quorum=1, queries=torch.tensor([[0, 1]]))
    for rows in ([0, 5], [-1, 2]):
        with pytest.raises(ValueError, match=rf"queries holds {rows[0]} to {rows[1]}; rows of spots are 0 to 4"):
            hybrid_neighborhoods(**problem, quorum=1, queries=torch.tensor(rows))
    with pytest.raises(ValueError, match="n_similar=0 must be at least 1"):
        hybrid_neighborhoods(**problem, quorum=1, n_similar=0)
    with pytest.raises(TypeError, match="n_similar must be an integer"):
        hybrid_neighborhoods(**problem, quorum=1, n_similar=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quorum=3 is more than the 2 clusterings"):
        hybrid_neighborhoods(**problem, quorum=3)
    with pytest.raises(ValueError, match="quorum=-1 must be at least 0"):
        hybrid_neighborhoods(**problem, quorum=-1)
    with pytest.raises(TypeError, match="quorum must be an integer"):
        hybrid_neighborhoods(**problem, quorum=0.5)  # type: ignore[arg-type]


def test_touches_no_global_state(global_state_untouched: Callable[[], AbstractContextManager[None]]) -> None:
    problem = Problem((14, 9), 0)
    with global_state_untouched():
        problem.find(slices=problem.slices)
