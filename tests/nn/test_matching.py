"""Matching against the full matrix of similarities, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from spotscape.nn import Matches, batch_offset, match, matching, vote
from spotscape.nn.matching import are_mutual, mutual_share


def points(n: int, seed: int, d: int = 4) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2)) * 10


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T


@given(n=st.integers(1, 30), m=st.integers(1, 30), k=st.integers(1, 6), seed=st.integers(0, 50))
def test_equals_the_full_matrix(n: int, m: int, k: int, seed: int) -> None:
    queries, references = points(n, seed), points(m, seed + 100)
    for offset, full in (
        ("none", cosines(queries, references)),
        ("mean", cosines(queries - queries.mean(0), references - references.mean(0)).nan_to_num(0)),
    ):
        found = match(queries, references, k, offset=offset)
        expected = full.topk(min(k, m), dim=1).values
        torch.testing.assert_close(found.similarities, expected)
        torch.testing.assert_close(full.gather(1, found.indices), expected)


@given(n=st.integers(1, 30), m=st.integers(1, 30), k=st.integers(1, 6), seed=st.integers(0, 50))
def test_within_a_radius_equals_the_full_matrix(n: int, m: int, k: int, seed: int) -> None:
    queries, references = points(n, seed), points(m, seed + 100)
    where = places(n, seed), places(m, seed + 1)
    gaps = torch.from_numpy(np.linalg.norm(where[0][:, None] - where[1][None], axis=2))
    full = (cosines(queries, references) - (gaps / 3) ** 2).masked_fill(gaps > 3, -torch.inf)
    expected = full.topk(min(k, m), dim=1)
    found = match(queries, references, k, offset="none", positions=where, radius=3.0)
    none = expected.values == -torch.inf
    assert torch.equal(found.indices, expected.indices.masked_fill(none, -1))
    torch.testing.assert_close(found.similarities, expected.values.masked_fill(none, torch.nan), equal_nan=True)


def test_tiles_do_not_change_a_search_within_a_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references, where = points(40, 0), points(50, 1), (places(40, 2), places(50, 3))
    whole = match(queries, references, 3, positions=where, radius=4.0)
    monkeypatch.setattr(matching, "_TILE_NUMBERS", 200)
    tiled = match(queries, references, 3, positions=where, radius=4.0)
    assert torch.equal(whole.indices, tiled.indices)


@pytest.mark.parametrize("offset", ["mutual", "mean", "none"])
@pytest.mark.parametrize("mutual", [True, False])
def test_a_permuted_copy_is_matched_with_itself(offset: matching.Offset, mutual: bool) -> None:
    references = points(60, 0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    found = match(references[order], references, 1, offset=offset, mutual=mutual)
    assert torch.equal(found.indices[:, 0], order)
    torch.testing.assert_close(found.similarities, torch.ones_like(found.similarities))


@pytest.mark.parametrize("offset", ["mutual", "mean", "none"])
def test_does_not_depend_on_the_axes_of_the_embedding(offset: matching.Offset) -> None:
    queries, references = points(40, 0), points(50, 1)
    turn = torch.from_numpy(special_ortho_group.rvs(4, random_state=0))
    plain, turned = (
        match(queries, references, 4, offset=offset),
        match(queries @ turn, references @ turn, 4, offset=offset),
    )
    assert torch.equal(plain.indices, turned.indices)
    torch.testing.assert_close(plain.similarities, turned.similarities)


@pytest.mark.parametrize("radius", [None, 5.0])
def test_mutual_matches_are_the_same_from_both_sides(radius: float | None) -> None:
    a, b = points(40, 0), points(30, 1)
    where = None if radius is None else (places(40, 0), places(30, 1))
    back_where = None if where is None else where[::-1]

    def pairs(found: Matches) -> set[tuple[int, int]]:
        rows, ranks = torch.nonzero(found.indices >= 0, as_tuple=True)
        return set(zip(rows.tolist(), found.indices[rows, ranks].tolist(), strict=True))

    forth = match(a, b, 3, offset="mean", mutual=True, positions=where, radius=radius)
    back = match(b, a, 3, offset="mean", mutual=True, positions=back_where, radius=radius)
    assert pairs(forth) == {(i, j) for j, i in pairs(back)}
    assert 0 < len(pairs(forth)) < 40 * 3
    # The best comes first, and what is missing last.
    filled = forth.indices >= 0
    assert (filled[:, 1:] <= filled[:, :-1]).all()
    assert torch.equal(filled, forth.similarities.isfinite())


def test_are_mutual_by_hand() -> None:
    forth = torch.tensor([[0, 1], [1, -1]])
    back = torch.tensor([[1, -1], [0, 1]])
    assert are_mutual(forth, back).tolist() == [[False, True], [True, False]]


class TestOffset:
    groups = torch.eye(4, dtype=torch.float64)[:3] * 8
    batch = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    def cells(self, sizes: tuple[int, int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
        return self.groups[labels] + 0.5 * points(len(labels), seed), labels

    def test_is_found_though_the_shares_differ(self) -> None:
        queries, _ = self.cells((200, 50, 0), 0)
        references, _ = self.cells((50, 100, 200), 1)
        found = batch_offset(queries + self.batch, references)
        means = references.mean(0) - (queries + self.batch).mean(0)
        assert (found + self.batch).norm() < 0.5
        assert (means + self.batch).norm() > 5

    def test_a_region_that_only_one_slice_has_leaves_the_others_alone(self) -> None:
        queries, truth = self.cells((100, 100, 0), 0)
        references, labels = self.cells((60, 60, 200), 1)
        votes = vote(match(queries + self.batch, references, 5), labels, 3)
        assert (votes.labels == truth).double().mean() > 0.99

    def test_a_sample_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queries, references = self.cells((200, 50, 0), 0)[0], self.cells((50, 100, 200), 1)[0]
        whole = batch_offset(queries, references)
        monkeypatch.setattr(matching, "_OFFSET_SAMPLE", 60)
        assert (batch_offset(queries, references) - whole).norm() < 1

    def test_one_spot_each(self) -> None:
        a, b = points(1, 0), points(1, 1)
        torch.testing.assert_close(batch_offset(a, b), (b - a)[0])


class TestVote:
    def test_by_hand(self) -> None:
        indices = torch.tensor([[0, 1, 2], [3, 0, -1], [3, -1, -1], [-1, -1, -1], [0, 1, -1]])
        similarities = torch.tensor([
            [0.9, 0.5, 0.6], [0.9, 0.3, torch.nan], [0.8, torch.nan, torch.nan], [torch.nan] * 3,
            [-0.2, -0.1, torch.nan],
        ])  # fmt: skip
        found = vote(Matches(indices, similarities), torch.tensor([0, 1, 1, -1]), 2)
        assert found.labels.tolist() == [1, 0, -1, -1, 0]
        expected = torch.tensor([1.1 / 2.0, 1.0, torch.nan, torch.nan, 0.5])
        torch.testing.assert_close(found.confidence, expected, equal_nan=True)

    @given(seed=st.integers(0, 50), k=st.integers(1, 6))
    def test_equals_a_loop(self, seed: int, k: int) -> None:
        rng = np.random.default_rng(seed)
        indices, similarities = rng.integers(0, 20, (15, k)), rng.random((15, k)) + 0.01
        labels = rng.integers(0, 4, 20)
        found = vote(Matches(torch.from_numpy(indices), torch.from_numpy(similarities)), torch.from_numpy(labels), 4)
        for row in range(15):
            shares = [similarities[row][labels[indices[row]] == label].sum() for label in range(4)]
            assert found.labels[row] == np.argmax(shares)
            assert found.confidence[row] == pytest.approx(max(shares) / sum(shares))


def test_wrong_arguments() -> None:
    rows = points(3, 0)
    with pytest.raises(ValueError, match="n_matches=0"):
        match(rows, rows, 0)
    with pytest.raises(ValueError, match="offset='median'"):
        match(rows, rows, 1, offset="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="radius=0 lies outside"):
        match(rows, rows, 1, positions=(places(3, 0), places(3, 0)), radius=0)
    with pytest.raises(TypeError, match="radius must be a number"):
        match(rows, rows, 1, positions=(places(3, 0), places(3, 0)))


def test_an_offset_lowers_the_share_of_mutual_matches() -> None:
    spots, slices = np.random.default_rng(0).normal(size=(400, 2)), np.repeat([0, 1], 200)
    spots[200:] = spots[:200]
    assert mutual_share(spots, slices, k=1) == 1.0
    assert mutual_share(spots + 9.0 * slices[:, None], slices, k=1) < 0.1
