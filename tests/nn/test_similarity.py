"""The streaming search against the full matrix of similarities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spotscape.nn import most_similar, similarity


def points(n: int, seed: int, d: int = 4) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(n=st.integers(2, 40), m=st.integers(3, 40), k=st.integers(1, 6), seed=st.integers(0, 99))
def test_equals_the_full_matrix(n: int, m: int, k: int, seed: int) -> None:
    queries, candidates = points(n, seed), points(m, seed + 100)
    expected = (queries @ candidates.T).sort(dim=1, descending=True)
    found = most_similar(queries, candidates, k)
    wanted = min(k, m)
    torch.testing.assert_close(found.similarities, expected.values[:, :wanted])
    assert torch.equal(found.indices, expected.indices[:, :wanted])


@given(
    n=st.integers(1, 20), m=st.integers(10, 300), k=st.integers(1, 6), block=st.integers(1, 9), seed=st.integers(0, 99)
)
def test_blocks_do_not_change_the_result(n: int, m: int, k: int, block: int, seed: int) -> None:
    candidates = points(m, seed)
    rows = torch.arange(min(n, m))
    expected = candidates @ candidates.T
    expected.fill_diagonal_(-torch.inf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_BLOCK", block)
        found = most_similar(candidates[rows], candidates, k, exclude=rows)
    assert torch.equal(found.indices, expected[rows].topk(k, dim=1).indices)
    torch.testing.assert_close(found.similarities, expected[rows].topk(k, dim=1).values)


def test_equal_candidates_are_found_once_each() -> None:
    same = torch.ones(3000, 4)
    found = most_similar(same[:3], same, 5, exclude=torch.arange(3))
    assert found.similarities.unique().tolist() == [4.0]
    assert all(len(row.unique()) == 5 and number not in row for number, row in enumerate(found.indices))


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_leaves_out_the_query_itself(backend: similarity.Backend) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss", reason="the extra faiss is not installed")
    rows = torch.nn.functional.normalize(points(30, 0), dim=1).float()
    full = rows @ rows.T
    full.fill_diagonal_(-torch.inf)
    found = most_similar(rows, rows, 3, exclude=torch.arange(30), backend=backend)
    assert torch.equal(found.indices, full.topk(3, dim=1).indices)
    torch.testing.assert_close(found.similarities, full.topk(3, dim=1).values)


def test_faiss_drops_the_last_where_the_excluded_one_is_far_away() -> None:
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    queries, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.0], [-1.0, 0.0]])
    found = most_similar(queries, candidates, 2, exclude=torch.tensor([2]), backend="faiss")
    assert found.indices.tolist() == [[0, 1]]


@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize("without_itself", [True, False])
def test_between_slices(backend: similarity.Backend, without_itself: bool) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss", reason="the extra faiss is not installed")
    rows, slices = points(40, 3).float(), torch.arange(40) % 3
    itself = torch.arange(40) if without_itself else None
    full = (rows @ rows.T).masked_fill(slices[:, None] == slices, -torch.inf)
    found = most_similar(rows, rows, 4, exclude=itself, between=(slices, slices), backend=backend)
    assert torch.equal(found.indices, full.topk(4, dim=1).indices)
    torch.testing.assert_close(found.similarities, full.topk(4, dim=1).values)


def test_all_have_as_many_as_the_one_with_the_fewest() -> None:
    """Slice 0 has five spots, so that a spot of slice 1 has five candidates; one less if it leaves one of them out."""
    rows, slices = points(20, 3), (torch.arange(20) >= 5).long()
    assert most_similar(rows, rows, 9, between=(slices, slices)).indices.shape == (20, 5)
    left_out = torch.zeros(20, dtype=torch.int64)
    assert most_similar(rows, rows, 9, exclude=left_out, between=(slices, slices)).indices.shape == (20, 4)
    with pytest.raises(ValueError, match="none is left"):
        most_similar(rows, rows, 1, between=(slices * 0, slices * 0))


def test_tiles_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = points(50, 1)
    whole = most_similar(rows, rows, 5, exclude=torch.arange(50))
    monkeypatch.setattr(similarity, "_TILE_ENTRIES", 120)
    tiled = most_similar(rows, rows, 5, exclude=torch.arange(50))
    assert torch.equal(whole.indices, tiled.indices)
    torch.testing.assert_close(whole.similarities, tiled.similarities)


def test_returns_fewer_where_there_are_fewer_and_no_query_is_no_error() -> None:
    assert most_similar(points(5, 0), points(2, 1), 4).indices.shape == (5, 2)
    assert most_similar(points(0, 0), points(3, 1), 2).indices.shape == (0, 2)


def test_carries_no_gradient() -> None:
    rows = points(5, 0).requires_grad_()
    assert not most_similar(rows, rows, 2).similarities.requires_grad


def test_wrong_arguments() -> None:
    rows = points(3, 0)
    with pytest.raises(ValueError, match="none is left"):
        most_similar(rows[:1], rows[:1], 1, exclude=torch.tensor([0]))
    with pytest.raises(ValueError, match="k=0"):
        most_similar(rows, rows, 0)
    with pytest.raises(ValueError, match="backend"):
        most_similar(rows, rows, 1, backend="annoy")  # type: ignore[arg-type]
