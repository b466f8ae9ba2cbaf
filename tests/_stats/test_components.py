"""Principal components against scikit-learn's, the way back, and what sparse input must not cost."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from spotscape.nn import PrincipalComponents, smooth

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def expression(n_spots: int = 120, n_genes: int = 40, *, rank: int = 5, noise: float = 0.3, seed: int = 0) -> Any:
    """Counts-like values with zeros, a few strong directions, and genes of very different size."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_spots, rank)) * np.arange(rank + 1, 1, -1) @ rng.normal(size=(rank, n_genes))
    values = (signal + noise * rng.normal(size=(n_spots, n_genes)) + 2) * rng.lognormal(sigma=1.5, size=n_genes)
    return np.where(rng.random(values.shape) < 0.1, 0, values).astype(np.float32)


def reference(matrix: np.ndarray, n_comps: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and loadings by scikit-learn in float64."""
    standard = StandardScaler().fit_transform(matrix.astype(np.float64))
    model = PCA(n_comps, svd_solver="full").fit(standard)
    return model.transform(standard), model.components_.T


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
    def test_exact_where_the_search_spans_all_genes(self, storage: Callable[[np.ndarray], Any]) -> None:
        matrix = expression()
        scores, loadings = reference(matrix, 35)
        found = PrincipalComponents.fit(storage(matrix), 35)
        signs = np.sign((found.loadings * loadings).sum(0))
        np.testing.assert_allclose(found.loadings * signs, loadings, atol=2e-4)
        np.testing.assert_allclose(found.project(storage(matrix)) * signs, scores, atol=2e-3)

    def test_leading_ones_of_many_genes(self) -> None:
        """The search is random here, and what stands out of the noise is found whatever the seed."""
        matrix = expression(400, 300, noise=1.0)
        scores, _ = reference(matrix, 5)
        for seed in range(3):
            found = PrincipalComponents.fit(matrix, 5, seed=seed).project(matrix)
            correlation = np.corrcoef(found.T, scores.T)[:5, 5:]
            np.testing.assert_allclose(np.abs(np.diag(correlation)), 1, atol=1e-3)

    def test_pure_noise_loses_little_variance(self) -> None:
        matrix = np.random.default_rng(0).random((500, 200), dtype=np.float32)
        scores, _ = reference(matrix, 30)
        assert PrincipalComponents.fit(matrix, 30).project(matrix).var(0).sum() > 0.97 * scores.var(0).sum()

    @pytest.mark.parametrize("offset", [0.0, 100.0, -30_000.0])
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_moments_of_values_far_from_zero(self, storage: Callable[[np.ndarray], Any], offset: float) -> None:
        """The variance is summed about the mean: squares of the values themselves would have no digits left."""
        rng = np.random.default_rng(0)
        matrix = (rng.normal(size=(5000, 6)) * np.array([0.1, 1, 1, 5, 20, 300]) + offset).astype(np.float32)
        matrix[:, 1] *= rng.random(5000) < 0.5
        found, exact = PrincipalComponents.fit(storage(matrix), 2), matrix.astype(np.float64)
        np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found.scale, exact.std(0), rtol=1e-6)

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_a_deviation_of_rounding_counts_as_none(self, storage: Callable[[np.ndarray], Any]) -> None:
        """Below a millionth of the mean, float32 data hold nothing but rounding; above, the digits are there."""
        noise = 10 * np.random.default_rng(0).normal(size=(1000, 3))
        np.testing.assert_array_equal(PrincipalComponents.fit(storage(1e9 + noise), 1).scale, 1)
        above = PrincipalComponents.fit(storage(1e6 + noise), 1).scale
        np.testing.assert_allclose(above, noise.std(0), rtol=1e-6)


class TestStructure:
    @given(n_spots=st.integers(2, 40), n_genes=st.integers(1, 30), n_comps=st.integers(1, 50), seed=st.integers(0, 99))
    @settings(max_examples=40)
    def test_shapes_order_and_signs(self, n_spots: int, n_genes: int, n_comps: int, seed: int) -> None:
        matrix = expression(n_spots, n_genes, seed=seed)
        found = PrincipalComponents.fit(matrix, n_comps, seed=seed)
        n_found = min(n_comps, n_spots, n_genes)
        scores = found.project(matrix)
        assert found.loadings.shape == (n_genes, n_found)
        assert scores.shape == (n_spots, n_found)
        assert {array.dtype for array in (found.mean, found.scale, found.loadings, scores)} == {np.dtype(np.float32)}
        np.testing.assert_allclose(found.loadings.T @ found.loadings, np.eye(n_found), atol=1e-4)
        variances = scores.var(0, dtype=np.float64)
        assert (np.diff(variances) <= 1e-3 * variances.max() + 1e-6).all()
        assert (found.loadings.max(0) >= np.abs(found.loadings).max(0) - 1e-4).all()
        np.testing.assert_allclose(scores.mean(0), 0, atol=1e-3)

    @pytest.mark.parametrize("shape", [(60, 25), (20, 45)])
    def test_the_way_back_is_whole_at_full_rank(self, shape: tuple[int, int]) -> None:
        matrix = expression(*shape)
        found = PrincipalComponents.fit(matrix, min(shape))
        restored = found.restore(found.project(matrix))
        assert restored.dtype == np.float32
        np.testing.assert_allclose(restored, matrix, atol=1e-4 * np.abs(matrix).max())
        assert found.restore(np.zeros((2, min(shape)))).dtype == np.float32

    def test_the_way_back_is_the_best_approximation(self) -> None:
        """What a few components restore misses, in standardised genes, as much as the other components hold."""
        matrix = expression()
        found = PrincipalComponents.fit(matrix, 5)
        missed = np.square((found.restore(found.project(matrix)) - matrix) / found.scale).sum()
        every, _ = reference(matrix, 40)
        assert missed == pytest.approx(np.square(every[:, 5:]).sum(), rel=0.01)

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_constant_genes_have_no_influence(self, storage: Callable[[np.ndarray], Any]) -> None:
        matrix = expression()
        constant = matrix.copy()
        constant[:, [3, 7]] = 0, 4.3
        found = PrincipalComponents.fit(storage(constant), 5)
        np.testing.assert_array_equal(found.scale[[3, 7]], 1)
        np.testing.assert_allclose(found.loadings[[3, 7]], 0, atol=1e-6)
        without = PrincipalComponents.fit(np.delete(matrix, [3, 7], axis=1), 5).project(np.delete(matrix, [3, 7], 1))
        scores = found.project(storage(constant))
        np.testing.assert_allclose(np.abs(scores), np.abs(without), atol=0.02)
        np.testing.assert_allclose(found.restore(scores)[:, [3, 7]], constant[:, [3, 7]], rtol=1e-6, atol=1e-6)

    def test_new_spots_are_projected_with_the_old_moments(self) -> None:
        matrix, other = expression(), expression(seed=1) * 3 + 1
        found = PrincipalComponents.fit(matrix, 4)
        by_hand = ((other - matrix.mean(0)) / matrix.std(0)) @ found.loadings
        np.testing.assert_allclose(found.project(other), by_hand, rtol=1e-4, atol=2e-3)
        np.testing.assert_allclose(found.project(other[:1]), by_hand[:1], rtol=1e-4, atol=2e-3)
        np.testing.assert_allclose(found.project(sparse.csr_array(other)), by_hand, rtol=1e-4, atol=2e-3)

    def test_seeds(self, global_state_untouched: Callable[[], AbstractContextManager[None]]) -> None:
        matrix = np.random.default_rng(0).random((200, 150), dtype=np.float32)
        before = matrix.copy()
        with global_state_untouched():
            first, again, other = (PrincipalComponents.fit(matrix, 5, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(matrix, before)
        assert first.loadings.tobytes() == again.loadings.tobytes()
        assert first.loadings.tobytes() != other.loadings.tobytes()

    def test_whole_numbers(self) -> None:
        counts = np.random.default_rng(0).poisson(2, (50, 8))
        floats = PrincipalComponents.fit(counts.astype(np.float32), 3).project(counts.astype(np.float32))
        for matrix in (counts, sparse.csr_array(counts)):
            np.testing.assert_allclose(PrincipalComponents.fit(matrix, 3).project(matrix), floats, atol=1e-4)


@pytest.mark.slow
def test_sparse_expression_is_never_dense() -> None:
    """20,000 spots by 30,000 genes would be 2.4 GB; the 600,000 entries take a few times their size."""
    rng = np.random.default_rng(0)
    n_spots, n_genes, n_entries = 20_000, 30_000, 600_000
    places = rng.integers(n_spots, size=n_entries), rng.integers(n_genes, size=n_entries)
    matrix = sparse.csr_array(
        sparse.coo_array((rng.random(n_entries, dtype=np.float32), places), shape=(n_spots, n_genes))
    )
    tracemalloc.start()
    found = PrincipalComponents.fit(matrix, 10)
    scores = found.project(matrix)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.shape == (n_spots, 10)
    assert peak < 200e6


class TestRefusals:
    @pytest.mark.parametrize(
        ("n_comps", "error", "message"),
        [
            (0, ValueError, "n_comps=0 must be at least 1"),
            (2.5, TypeError, "n_comps must be an integer, not 2.5"),
        ],
    )
    def test_number_of_components(self, n_comps: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            PrincipalComponents.fit(expression(), n_comps)

    def test_other_genes(self) -> None:
        found = PrincipalComponents.fit(expression(), 3)
        with pytest.raises(ValueError, match="matrix has 39 genes; the components were found on 40"):
            found.project(expression()[:, :-1])


class TestClip:
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_equals_cutting_off_first(self, storage: Callable[[np.ndarray], Any]) -> None:
        """Values three deviations above the mean of their gene; the components are those of what is left."""
        rng = np.random.default_rng(3)
        matrix = rng.poisson(0.4, (200, 12)).astype(np.float32) * rng.lognormal(sigma=1.5, size=(200, 12))
        matrix = matrix.astype(np.float32)
        lowered = np.minimum(matrix, matrix.mean(0) + 3 * matrix.std(0))
        assert (lowered < matrix).any(axis=0).all()
        found = PrincipalComponents.fit(storage(matrix), 4, clip=3)
        expected = PrincipalComponents.fit(lowered, 4)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-5)
        np.testing.assert_allclose(found.project(storage(matrix)), expected.project(lowered), atol=1e-3)

    def test_new_spots_are_cut_off_where_the_old_ones_were(self) -> None:
        matrix = np.random.default_rng(0).random((50, 5), dtype=np.float32)
        components = PrincipalComponents.fit(matrix, 2, clip=1.0)
        high, higher = np.full((1, 5), 10, dtype=np.float32), np.full((1, 5), 1000, dtype=np.float32)
        np.testing.assert_array_equal(components.project(high), components.project(higher))
        assert high.max() == 10

    def test_none_leaves_all(self) -> None:
        matrix = np.random.default_rng(0).random((50, 5), dtype=np.float32)
        assert PrincipalComponents.fit(matrix, 2).ceiling is None
        given = sparse.csr_array(matrix)
        PrincipalComponents.fit(given, 2, clip=1.0)
        np.testing.assert_array_equal(given.toarray(), matrix)


class TestWithoutScaling:
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_equals_a_pca_of_centred_genes(self, storage: Callable[[np.ndarray], Any]) -> None:
        matrix = expression()
        expected = PCA(6, svd_solver="full").fit_transform(matrix.astype(np.float64))
        found = PrincipalComponents.fit(storage(matrix), 6, scale=False)
        np.testing.assert_array_equal(found.scale, 1)
        np.testing.assert_allclose(np.abs(found.project(storage(matrix))), np.abs(expected), rtol=2e-3, atol=2e-2)
        centred = matrix - matrix.mean(0)
        np.testing.assert_allclose(
            found.restore(found.project(matrix)) - matrix.mean(0),
            centred @ found.loadings @ found.loadings.T,
            atol=1e-3 * np.abs(matrix).max(),
        )

    def test_clip(self) -> None:
        matrix = np.random.default_rng(3).lognormal(size=(200, 12)).astype(np.float32)
        lowered = np.minimum(matrix, matrix.mean(0) + 2 * matrix.std(0))
        found = PrincipalComponents.fit(matrix, 3, scale=False, clip=2.0)
        expected = PrincipalComponents.fit(lowered, 3, scale=False)
        np.testing.assert_allclose(found.project(matrix), expected.project(lowered), atol=1e-3)


def test_many_spots_are_begun_with_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands out is the same, to three digits, as from all spots from the start."""
    matrix = sparse.csr_array(expression(3000, 200))
    exact = PrincipalComponents.fit(matrix, 5).project(matrix)
    monkeypatch.setattr("spotscape._stats.components._MANY", 1000)
    rough = PrincipalComponents.fit(matrix, 5)
    found = rough.project(matrix)
    assert rough.loadings.tobytes() == PrincipalComponents.fit(matrix, 5).loadings.tobytes()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(exact, axis=1), rtol=1e-3, atol=1e-3)


def grid(side: int) -> sparse.csr_array:
    """Four neighbours of each spot of a square, fewer at its border."""
    place = np.arange(side * side)
    x, y = np.divmod(place, side)
    return sparse.csr_array((np.abs(x[:, None] - x) + np.abs(y[:, None] - y) == 1).astype(float))


class TestWhatNeighboursShare:
    """Components of means over neighbours, by eigenvectors of a dense covariance."""

    graph = grid(12)

    def reference(self, matrix: np.ndarray, n_comps: int, *, scale: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the spots themselves, and loadings, in float64."""
        standard = matrix.astype(np.float64) - matrix.mean(0, dtype=np.float64)
        if scale:
            standard /= matrix.std(0, dtype=np.float64)
        joined = self.graph.toarray() + np.eye(len(matrix))
        smoothed = joined / joined.sum(1, keepdims=True) @ standard
        loadings = np.linalg.eigh(np.cov(smoothed, rowvar=False))[1][:, ::-1][:, :n_comps]
        return standard @ loadings, loadings

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, sparse.csc_matrix])
    @pytest.mark.parametrize("rows", [31, 8192])
    @pytest.mark.parametrize("scale", [True, False])
    def test_against_a_dense_covariance(
        self, storage: Callable[[np.ndarray], Any], rows: int, scale: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("spotscape._stats.covariance._ROWS", rows)
        matrix = expression(144)
        scores, loadings = self.reference(matrix, 20, scale=scale)
        found = PrincipalComponents.fit(storage(matrix), 20, graph=self.graph, scale=scale)
        signs = np.sign((found.loadings * loadings).sum(0))
        np.testing.assert_allclose(found.loadings * signs, loadings, atol=2e-3)
        largest = np.abs(scores).max()
        np.testing.assert_allclose(found.project(storage(matrix)) * signs, scores, atol=2e-3 * largest)

    def test_the_kind_of_graph_does_not_matter(self) -> None:
        """Weights, self-loops and stored zeros say nothing; only who is a neighbour does."""
        matrix = expression(144)
        expected = PrincipalComponents.fit(matrix, 5, graph=self.graph).loadings
        weighted = self.graph * 3 + sparse.eye_array(144)
        stored = sparse.coo_array(self.graph)
        zeros = sparse.csr_array(
            sparse.coo_array((np.r_[stored.data, 0], (np.r_[stored.row, 0], np.r_[stored.col, 100])), shape=(144, 144))
        )
        backwards = sparse.csr_array(self.graph, copy=True)
        for first, last in pairwise(backwards.indptr):
            backwards.indices[first:last] = backwards.indices[first:last][::-1].copy()
        backwards.has_sorted_indices = False
        for graph in (weighted, sparse.csr_matrix(self.graph), zeros, self.graph.astype(bool), backwards):
            before = graph.copy()
            found = PrincipalComponents.fit(matrix, 5, graph=graph).loadings
            np.testing.assert_array_equal(found, expected)
            assert (graph != before).nnz == 0
        empty = PrincipalComponents.fit(matrix, 5, graph=sparse.csr_array((144, 144))).loadings
        np.testing.assert_allclose(np.abs(empty), np.abs(PrincipalComponents.fit(matrix, 5).loadings), atol=1e-3)

    def test_they_leave_out_what_neighbours_do_not_share(self) -> None:
        """A pattern of the tissue, weaker than a component of single spots, comes first."""
        rng = np.random.default_rng(0)
        pattern, alone = np.sin(np.arange(144) // 12 / 3), rng.normal(size=144)
        matrix = np.outer(pattern, np.arange(20) < 6) + 0.6 * np.outer(alone, np.arange(20) >= 6)
        matrix += 0.3 * rng.normal(size=matrix.shape)
        plain, spatial = (
            PrincipalComponents.fit(matrix, 1, graph=graph, scale=False).project(matrix)[:, 0]
            for graph in (None, self.graph)
        )
        assert abs(np.corrcoef(plain, alone)[0, 1]) > 0.95
        assert abs(np.corrcoef(spatial, pattern)[0, 1]) > 0.8
        assert abs(np.corrcoef(spatial, alone)[0, 1]) < 0.6

    def test_they_hold_the_most_variance_of_means_over_neighbours(self) -> None:
        matrix = expression(144, rank=3, noise=4)
        held = []
        for graph in (None, self.graph):
            scores = PrincipalComponents.fit(matrix, 6, graph=graph).project(matrix)
            held.append((smooth(scores, self.graph, 1).var(0).sum(), scores.var(0).sum()))
        (smooth_plain, plain), (smooth_spatial, spatial) = held
        assert smooth_spatial > smooth_plain * 1.01
        assert spatial < plain

    def test_many_spots_are_begun_with_a_part_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        graph = grid(40)
        matrix = expression(1600, 120)
        matrix = sparse.csr_array(matrix)
        exact = PrincipalComponents.fit(matrix, 5, graph=graph).project(matrix)
        monkeypatch.setattr("spotscape._stats.components._MANY", 600)
        found = PrincipalComponents.fit(matrix, 5, graph=graph).project(matrix)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(exact, axis=1), rtol=5e-3, atol=5e-3)

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_constant_genes_have_no_influence(self, storage: Callable[[np.ndarray], Any]) -> None:
        matrix = expression(144)
        matrix[:, [3, 7]] = 0, 4.3
        found = PrincipalComponents.fit(storage(matrix), 5, graph=self.graph)
        np.testing.assert_allclose(found.loadings[[3, 7]], 0, atol=1e-6)
        assert np.isfinite(found.project(storage(matrix))).all()


def test_nothing_varies() -> None:
    for value, power in ((0, 0.5), (2.5, 0.5), (2.5, 0.0)):
        matrix = np.full((9, 6), value, dtype=np.float32)
        found = PrincipalComponents.fit(matrix, 3, graph=grid(3), dispersion=power, clip=5.0)
        # Sums in another order leave what rounds in float32; which order is taken depends on the processor.
        np.testing.assert_allclose(found.project(matrix), 0, atol=1e-6)
        np.testing.assert_allclose(found.restore(np.zeros((2, 3))), matrix[:2], rtol=1e-6)


class TestDispersion:
    @staticmethod
    def counts(n_genes: int = 15) -> np.ndarray:
        """Overdispersed: gene by gene of another mean, and of another variance for its mean."""
        rng = np.random.default_rng(0)
        shape = rng.uniform(0.3, 4, n_genes)
        return rng.poisson(rng.gamma(shape, rng.lognormal(sigma=1, size=n_genes), (300, n_genes))).astype(np.float32)

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    @pytest.mark.parametrize("power", [0.5, 1.0, 1.7])
    def test_variance_of_a_scaled_gene(self, storage: Callable[[np.ndarray], Any], power: float) -> None:
        """(Variance over mean)^power, up to one constant that makes the mean variance 1."""
        matrix = self.counts()
        found = PrincipalComponents.fit(storage(matrix), 3, dispersion=power)
        scaled = ((matrix - found.mean) / found.scale).var(0, dtype=np.float64)
        ratio = matrix.var(0, dtype=np.float64) / matrix.mean(0, dtype=np.float64)
        np.testing.assert_allclose(scaled, ratio**power / (ratio**power).mean(), rtol=1e-4)
        assert scaled.mean() == pytest.approx(1, rel=1e-5)
        assert np.ptp(ratio) > 1

    def test_by_hand(self) -> None:
        """Means 1 and 2, variances 1 and 1: ratios 1 and 1/2, whose mean is 3/4."""
        matrix = np.array([[0.0, 1.0], [2.0, 3.0]])
        found = PrincipalComponents.fit(matrix, 1, dispersion=1.0)
        np.testing.assert_allclose(found.scale, [np.sqrt(3) / 2, np.sqrt(6) / 2], rtol=1e-6)
        np.testing.assert_array_equal(PrincipalComponents.fit(matrix, 1, dispersion=0.0).scale, 1)

    def test_a_power_of_one_divides_by_the_root_of_the_mean(self) -> None:
        """As Pearson residuals of a Poisson model do."""
        matrix = self.counts()
        found = PrincipalComponents.fit(matrix, 4, dispersion=1.0)
        ratio = found.scale / np.sqrt(matrix.mean(0))
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)
        expected = PrincipalComponents.fit(matrix / np.sqrt(matrix.mean(0)), 4, scale=False)
        scores, reference = found.project(matrix), expected.project(matrix / np.sqrt(matrix.mean(0)))
        np.testing.assert_allclose(np.abs(scores) * ratio.mean(), np.abs(reference), rtol=1e-2, atol=2e-2)

    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_constant_genes_do_not_count(self, storage: Callable[[np.ndarray], Any]) -> None:
        matrix = self.counts()
        constant = np.c_[matrix, np.zeros(300), np.full(300, 3)].astype(np.float32)
        found = PrincipalComponents.fit(storage(constant), 3, dispersion=0.5)
        expected = PrincipalComponents.fit(storage(matrix), 3, dispersion=0.5)
        np.testing.assert_allclose(found.scale[:15], expected.scale, rtol=1e-6)
        np.testing.assert_array_equal(found.scale[15:], 1)
        np.testing.assert_allclose(found.loadings[15:], 0, atol=1e-6)

    def test_after_clipping(self) -> None:
        matrix = self.counts()
        found = PrincipalComponents.fit(matrix, 3, dispersion=0.5, clip=2.0)
        lowered = np.minimum(matrix, matrix.mean(0) + 2 * matrix.std(0))
        expected = PrincipalComponents.fit(lowered, 3, dispersion=0.5)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-4)

    def test_the_way_back(self) -> None:
        matrix = self.counts()
        found = PrincipalComponents.fit(matrix, 15, dispersion=0.5)
        np.testing.assert_allclose(found.restore(found.project(matrix)), matrix, atol=1e-3)

    @pytest.mark.parametrize("power", [-0.5, np.nan])
    def test_powers_that_make_no_sense(self, power: float) -> None:
        with pytest.raises(ValueError, match=rf"dispersion={power}"):
            PrincipalComponents.fit(self.counts(), 3, dispersion=power)

    def test_centred_genes_have_no_dispersion(self) -> None:
        matrix = self.counts()
        matrix[:, 4] -= 2 * matrix[:, 4].mean()
        with pytest.raises(ValueError, match="variance of counts with their mean, and a gene has a mean below 0"):
            PrincipalComponents.fit(matrix, 3, dispersion=0.5)
        assert np.isfinite(PrincipalComponents.fit(matrix, 3).project(matrix)).all()
