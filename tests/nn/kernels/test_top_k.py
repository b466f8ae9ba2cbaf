"""The Triton kernel against the full matrix of similarities: on a GPU where there is one, else in the interpreter."""

from __future__ import annotations

import pytest
import torch

from spotscape.nn import most_similar

pytest.importorskip("triton", reason="Triton is not installed; it exists for Linux only")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def points(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def full(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    return (queries.double() @ candidates.double().T).float()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter sorts element by element; small tissue still spans several blocks this way."""
    if DEVICE == "cpu":
        monkeypatch.setattr("spotscape.nn.kernel._QUERIES", 4)
        monkeypatch.setattr("spotscape.nn.kernel._CANDIDATES", 16)


@pytest.mark.parametrize(("n", "m", "d", "k"), [(1, 8, 1, 8), (5, 40, 33, 3), (9, 23, 4, 1), (4, 50, 70, 6)])
def test_equals_the_full_matrix(n: int, m: int, d: int, k: int) -> None:
    queries, candidates = points(n, d, seed=0), points(m, d, seed=1)
    found = most_similar(queries, candidates, k, backend="triton")
    products = full(queries, candidates)
    torch.testing.assert_close(found.similarities, products.topk(k, dim=1).values)
    torch.testing.assert_close(products.gather(1, found.indices), found.similarities)
    assert all(len(row.unique()) == k for row in found.indices)


def test_agrees_with_the_other_backends() -> None:
    rows = torch.nn.functional.normalize(points(40, 12, 0), dim=1)
    slices, itself = torch.arange(40, device=DEVICE) % 3, torch.arange(6, device=DEVICE)
    for between in (None, (slices[:6], slices)):
        found = most_similar(rows[:6], rows, 3, exclude=itself, between=between, backend="triton")
        expected = most_similar(rows[:6], rows, 3, exclude=itself, between=between)
        assert torch.equal(found.indices, expected.indices)
        torch.testing.assert_close(found.similarities, expected.similarities)


def test_of_equal_candidates_the_first() -> None:
    """Whole numbers have exact products, so that ties are ties; candidates repeat every seven rows."""
    kinds = torch.randint(-3, 4, (7, 5), generator=torch.Generator().manual_seed(1)).float().to(DEVICE)
    candidates, queries = kinds.repeat(9, 1), kinds[:4]
    found = most_similar(queries, candidates, 12, backend="triton")
    expected = (queries @ candidates.T).sort(dim=1, descending=True, stable=True)
    assert torch.equal(found.indices, expected.indices[:, :12])
    assert torch.equal(found.similarities, expected.values[:, :12])


def test_negative_similarities_and_both_zeros_are_in_order() -> None:
    candidates = torch.tensor([[-1.0], [0.0], [-0.0], [2.0], [-3.0]], device=DEVICE)
    found = most_similar(torch.ones(1, 1, device=DEVICE), candidates, 5, backend="triton")
    assert found.indices.tolist() == [[3, 1, 2, 0, 4]]
    assert found.similarities.tolist() == [[2.0, 0.0, 0.0, -1.0, -3.0]]


def test_more_than_a_block_of_candidates_can_be_asked_for() -> None:
    rows = points(40, 3, 5)
    found = most_similar(rows[:3], rows, 20, backend="triton")
    torch.testing.assert_close(found.similarities, full(rows[:3], rows).topk(20, dim=1).values)


def test_no_query_is_no_error() -> None:
    assert most_similar(points(0, 3, 0), points(9, 3, 1), 2, backend="triton").indices.shape == (0, 2)
