"""Integration of slices: known offsets taken off, private regions left apart, no slice preferred."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spotscape.nn import integrate
from spotscape.nn.integration import _around_slices, _average, _mutual_pairs, _share_of_partners, _solve


def places(n: int, seed: int, kinds: tuple[int, ...] = (0, 1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """Points around the corners of a simplex in 6 dimensions, and their corners."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(kinds, n)
    return 4 * np.eye(6)[kind] + 0.3 * rng.standard_normal((n, 6)), kind


def two_slices(*, offset: float = 1.0, seed: int = 0, private: bool = False) -> tuple[np.ndarray, ...]:
    first, kind_first = places(300, seed)
    second, kind_second = places(240, seed + 1, (0, 1, 2, 3) if private else (0, 1, 2))
    shift = offset * np.random.default_rng(seed + 2).standard_normal(6)
    embedding = np.vstack([first, second + shift]).astype(np.float32)
    return embedding, np.repeat([0, 1], [300, 240]), np.concatenate([kind_first, kind_second])


def gap(embedding: np.ndarray, slices: np.ndarray, kind: np.ndarray, shared: tuple[int, ...] = (0, 1, 2)) -> float:
    """Mean distance between the centres of a kind in the two slices."""
    centres = [[embedding[(slices == name) & (kind == k)].mean(0) for k in shared] for name in (0, 1)]
    return float(np.linalg.norm(np.subtract(*centres), axis=1).mean())


@pytest.mark.parametrize("average", [True, False])
def test_takes_off_an_offset(average: bool) -> None:
    embedding, slices, kind = two_slices()
    found = integrate(embedding, slices, average=average)
    assert found.dtype == np.float32
    assert found.shape == embedding.shape
    assert gap(found, slices, kind) < 0.25 * gap(embedding, slices, kind)
    # What the ridge holds back in one round is there for the next.
    again = integrate(embedding, slices, average=average, n_rounds=6)
    assert gap(again, slices, kind) < 0.5 * gap(found, slices, kind)


@pytest.mark.parametrize("seed", range(3))
def test_an_offset_that_hides_partners(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than the tissue, it leaves few partners around the common mean; around each slice's own there are many."""
    embedding, slices, kind = two_slices(offset=3, seed=seed)
    values, rows = torch.from_numpy(embedding), [torch.from_numpy(np.flatnonzero(slices == name)) for name in (0, 1)]
    common = torch.nn.functional.normalize(values - values.mean(0), dim=1)
    shares = [
        _share_of_partners(_mutual_pairs(directions, rows, 10), rows)
        for directions in (common, _around_slices(values, rows))
    ]
    assert shares[0] < 0.2
    assert shares[1] > 0.9
    left = gap(integrate(embedding, slices), slices, kind)
    monkeypatch.setattr("spotscape.nn.integration._MANY_MORE", np.inf)
    around_the_common_mean = gap(integrate(embedding, slices), slices, kind)
    assert left < 0.03 * gap(embedding, slices, kind)
    assert left < around_the_common_mean / 2


def test_share_of_partners_by_hand() -> None:
    """Two of three spots here and one of two there: half of the smaller slice; no pair at all between the others."""
    rows = [torch.arange(3), torch.arange(3, 5), torch.arange(5, 9)]
    none = torch.empty(0, dtype=torch.int64)
    pairs = {(0, 1): (torch.tensor([0, 1, 1]), torch.tensor([3, 3, 3])), (0, 2): (none, none), (1, 2): (none, none)}
    assert _share_of_partners(pairs, rows) == pytest.approx(0.5 / 3)


def test_a_private_region_stays_apart() -> None:
    embedding, slices, kind = two_slices(private=True)
    found = integrate(embedding, slices)
    private = found[kind == 3].mean(0)
    nearest = min(np.linalg.norm(private - found[kind == k].mean(0)) for k in range(3))
    # Corners of the simplex lie 4 √2 apart.
    assert nearest > 0.7 * 4 * np.sqrt(2)
    assert gap(found, slices, kind) < 0.3 * gap(embedding, slices, kind)


def test_slices_without_an_offset_stay_where_they_are() -> None:
    embedding, slices, _ = two_slices(offset=0)
    found = integrate(embedding, slices, average=False)
    assert np.abs(found - embedding).max() < 0.35  # within the noise of 0.3 that a spot has


def test_one_slice_is_returned_as_it_is() -> None:
    embedding, _, _ = two_slices()
    found = integrate(embedding, np.zeros(len(embedding)))
    assert found.tobytes() == embedding.tobytes()
    assert not np.shares_memory(found, embedding)


def test_the_field_solves_the_regression() -> None:
    """The normal equations against a dense design matrix with one row for each pair."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    memberships = torch.rand(12, 2, generator=generator, dtype=torch.float64)
    pairs = {
        (0, 1): (torch.tensor([0, 1, 3]), torch.tensor([4, 4, 7])),
        (0, 2): (torch.tensor([2]), torch.tensor([9])),
        (1, 2): (torch.tensor([5, 6]), torch.tensor([8, 11])),
    }
    design, target = [], []
    for (i, j), (first, second) in pairs.items():
        for u, v in zip(first.tolist(), second.tolist(), strict=True):
            row = torch.zeros(3, 2, dtype=torch.float64)
            row[i] += memberships[u]
            row[j] -= memberships[v]
            design.append(row.flatten())
            target.append(values[u] - values[v])
    # A ridge is a least-squares problem with rows of the root of the penalty below.
    below = np.sqrt(0.7) * torch.eye(6, dtype=torch.float64)
    solution = torch.linalg.lstsq(
        torch.cat([torch.stack(design), below]),
        torch.cat([torch.stack(target), torch.zeros(6, 3, dtype=torch.float64)]),
    ).solution
    found = torch.cat(_solve(values, memberships, pairs, 0.7))
    torch.testing.assert_close(found, solution, rtol=1e-9, atol=1e-12)


def test_average_by_hand() -> None:
    """Spot 0 has partners 2 and 3 in slice one and 4 in slice two; spot 1 has none."""
    values = torch.tensor([[0.0], [5.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    pairs = {
        (0, 1): (torch.tensor([0, 0]), torch.tensor([2, 3])),
        (0, 2): (torch.tensor([0]), torch.tensor([4])),
        (1, 2): (torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long)),
    }
    expected = [[(0 + 2 + 7) / 3], [5.0], [(1 + 0) / 2], [(3 + 0) / 2], [(7 + 0) / 2]]
    assert _average(values, pairs).tolist() == expected


def test_pairs_are_mutual() -> None:
    embedding, slices, _ = two_slices(offset=0.2)
    directions = torch.nn.functional.normalize(torch.from_numpy(embedding), dim=1)
    rows = [torch.from_numpy(np.flatnonzero(slices == name)) for name in (0, 1)]
    (found,) = _mutual_pairs(directions, rows, 4).values()
    similarity = (directions[rows[0]] @ directions[rows[1]].T).numpy()
    forth = np.argsort(-similarity, axis=1)[:, :4]
    back = np.argsort(-similarity, axis=0)[:4].T
    expected = {(u, v + 300) for u in range(300) for v in forth[u] if u in back[v]}
    assert set(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_neither_the_names_nor_the_order_of_slices_matter(seed: int) -> None:
    embedding, slices, _ = two_slices(seed=seed)
    expected = integrate(embedding, slices)
    renamed = integrate(embedding, np.where(slices == 0, "z", "a"))
    np.testing.assert_allclose(renamed, expected, atol=1e-4)


def test_the_same_seed_gives_the_same_bits_and_large_slices_are_sampled() -> None:
    embedding, slices, kind = two_slices()
    assert integrate(embedding, slices).tobytes() == integrate(embedding, slices).tobytes()
    sampled = integrate(embedding, slices, max_anchors=100, average=False)
    assert gap(sampled, slices, kind) < 0.2 * gap(embedding, slices, kind)


def test_a_handful_of_spots_is_no_error() -> None:
    embedding, slices, _ = two_slices()
    few = np.r_[0:3, 300:302]
    assert np.isfinite(integrate(embedding[few], slices[few])).all()


@pytest.mark.parametrize(("given", "returned"), [("float64", "float64"), ("float32", "float32"), ("int64", "float64")])
def test_whole_numbers_are_not_cut_off(given: str, returned: str) -> None:
    embedding, slices, _ = two_slices()
    values = (10 * embedding).round().astype(given)
    found = integrate(values, slices)
    assert found.dtype == returned
    assert (found != found.round()).any()


def test_the_given_embedding_is_not_written_to() -> None:
    given = np.random.default_rng(0).normal(size=(120, 3))
    before = given.copy()
    integrate(given, np.repeat([0, 1], 60))
    np.testing.assert_array_equal(given, before)
