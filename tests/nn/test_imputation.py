"""The regression of genes on features against scikit-learn and refits; folds, neighbours, blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from spotscape.nn import SpotRegression
from spotscape.nn.imputation import GeneFolds, neighbor_means, neighbor_operator, predict_genes, shifted


def data(n: int = 60, d: int = 4, g: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    return features, features @ rng.normal(size=(d, g)) + rng.normal(size=(n, g))


def one_penalty(monkeypatch: pytest.MonkeyPatch, features: np.ndarray, penalty: float) -> None:
    variances = np.linalg.eigvalsh((features - features.mean(0)).T @ (features - features.mean(0)))
    monkeypatch.setattr("spotscape.nn.imputation._PENALTIES", np.array([penalty / variances.mean()]))


class TestRegression:
    def test_is_ridge(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features, genes = data()
        one_penalty(monkeypatch, features, 7.0)
        expected = Ridge(alpha=7.0).fit(features, genes).predict(features)
        np.testing.assert_allclose(SpotRegression.on(features).predict(genes).values, expected)

    def test_left_out_is_what_a_fit_without_the_spot_predicts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features, genes = data(30)
        one_penalty(monkeypatch, features, 5.0)
        found = SpotRegression.on(features).predict(genes).left_out
        for spot in (0, 11):
            others = np.arange(30) != spot
            expected = Ridge(alpha=5.0).fit(features[others], genes[others]).predict(features[[spot]])[0]
            np.testing.assert_allclose(found[spot], expected)

    def test_noise_is_shrunk_and_signal_is_kept(self) -> None:
        rng = np.random.default_rng(1)
        features = rng.normal(size=(500, 3))
        noise, signal = rng.normal(size=(500, 100)), features[:, :1]
        found = SpotRegression.on(features).predict(np.hstack([noise, signal])).values
        # Least squares would explain 3 / 500 of the variance of noise.
        unpenalised = Ridge(alpha=0).fit(features, noise).predict(features)
        assert found[:, :100].var(0).mean() < 0.8 * unpenalised.var(0).mean()
        np.testing.assert_allclose(found[:, 100:], signal, atol=0.01)

    def test_constant_gene_and_constant_features(self) -> None:
        features, _ = data()
        np.testing.assert_allclose(SpotRegression.on(features).predict(np.full((60, 1), 2.0)).values, 2)
        genes = np.arange(60.0)[:, None]
        np.testing.assert_allclose(SpotRegression.on(np.ones((60, 2))).predict(genes).values, 29.5)

    def test_rows_that_are_not_fitted_are_not_looked_at(self) -> None:
        features, genes = data()
        regression = SpotRegression.on(features, fitted=np.arange(40))
        spoilt = genes.copy()
        spoilt[40:] = np.nan
        found = regression.predict(spoilt)
        np.testing.assert_array_equal(found.values, regression.predict(genes).values)
        assert np.isnan(found.left_out[40:]).all()
        assert np.isfinite(found.left_out[:40]).all()

    def test_slices_keep_their_means_and_offsets_between_them_say_nothing(self) -> None:
        features, genes = data()
        slices = np.arange(60) % 3
        plain = SpotRegression.on(features, slices=slices).predict(genes).values
        moved = genes + np.array([0.0, 5.0, -3.0])[slices][:, None]
        shifted_features = features + np.eye(3, 4)[slices] * 10
        found = SpotRegression.on(shifted_features, slices=slices).predict(moved).values
        np.testing.assert_allclose(found - (moved - genes), plain)
        for number in range(3):
            np.testing.assert_allclose(found[slices == number].mean(0), moved[slices == number].mean(0))

    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_another_slice_has_the_mean_of_the_intercepts(self, missing: int) -> None:
        rng = np.random.default_rng(0)
        slices = np.repeat([0, 1, 2], 40)
        features = rng.normal(size=(120, 1))
        genes = 2 * features + np.array([1.0, 3.0, 8.0])[slices][:, None]
        found = SpotRegression.on(features, slices=slices, fitted=np.flatnonzero(slices != missing)).predict(genes)
        intercept = np.delete([1.0, 3.0, 8.0], missing).mean()
        np.testing.assert_allclose(
            found.values[slices == missing], 2 * features[slices == missing] + intercept, atol=0.05
        )

    def test_turning_the_features_changes_nothing(self) -> None:
        features, genes = data()
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
        np.testing.assert_allclose(
            SpotRegression.on(features @ turn).predict(genes).values, SpotRegression.on(features).predict(genes).values
        )

    def test_sparse_is_dense(self) -> None:
        features, genes = data()
        np.testing.assert_array_equal(
            SpotRegression.on(features).predict(sparse.csr_array(genes)).values,
            SpotRegression.on(features).predict(genes).values,
        )

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="measured in 2 spots"):
            SpotRegression.on(np.zeros((5, 2)), fitted=np.arange(2))
        with pytest.raises(ValueError, match="features has 1 NaN"):
            SpotRegression.on(np.array([[0.0], [np.nan], [1.0]]))


class TestFolds:
    def test_a_gene_has_no_part_in_its_own_features(self) -> None:
        rng = np.random.default_rng(0)
        expression = rng.poisson(2, size=(80, 12)).astype(float)
        folds = GeneFolds.of(expression, None, n_comps=3)
        assert len(folds.features) == 4
        other = expression.copy()
        other[:, 5] = rng.permutation(other[:, 5])
        changed = GeneFolds.of(other, None, n_comps=3)
        for number in range(3):
            same = np.allclose(np.abs(folds.features[number]), np.abs(changed.features[number]))
            assert same == (number == folds.fold[5])

    def test_components_and_embedding_weigh_the_same(self) -> None:
        rng = np.random.default_rng(0)
        folds = GeneFolds.of(rng.poisson(2, size=(80, 12)).astype(float), rng.normal(size=(80, 2)) * 100, n_comps=3)
        for block in folds.features:
            np.testing.assert_allclose([block[:, :3].var(0).sum(), block[:, 3:].var(0).sum()], 1)

    def test_one_gene(self) -> None:
        folds = GeneFolds.of(np.arange(10.0)[:, None], np.arange(10.0)[:, None])
        assert folds.fold.tolist() == [0]
        assert np.isfinite(folds.features[0]).all()


def test_the_offset_between_slices_is_taken_off() -> None:
    rng = np.random.default_rng(0)
    values = np.eye(4)[rng.integers(0, 4, 200)] * 5 + rng.normal(size=(200, 4)) * 0.1
    slices = np.arange(200) % 2
    moved = values + np.outer(slices, [3.0, 0.0, 0.0, 1.0])
    found = shifted(moved, slices, np.array([0]))
    np.testing.assert_array_equal(found[slices == 0], values[slices == 0])
    np.testing.assert_allclose(found, values, atol=0.15)


class TestNeighbors:
    def test_are_those_of_the_full_matrix_without_oneself(self) -> None:
        points = np.random.default_rng(0).normal(size=(30, 3))
        centred = (points - points.mean(0)) / np.linalg.norm(points - points.mean(0), axis=1, keepdims=True)
        similarity = centred @ centred.T
        np.fill_diagonal(similarity, -np.inf)
        everyone = np.arange(30)
        found = neighbor_operator(points, everyone, everyone, 4).toarray()
        np.testing.assert_allclose(found.sum(1), 1)
        expected = np.argsort(-similarity, axis=1)[:, :4]
        np.testing.assert_array_equal(np.sort(expected, axis=1), np.nonzero(found)[1].reshape(30, 4))

    def test_never_oneself_where_spots_coincide(self) -> None:
        points = np.repeat(np.eye(3), 10, axis=0)
        assert not neighbor_operator(points, np.arange(30), np.arange(30), 4).diagonal().any()

    def test_other_slices_get_the_mean_over_what_is_fitted(self) -> None:
        labels = np.arange(60) % 3
        slices = np.repeat([0, 1], 30)
        points = np.eye(4)[labels] + 0.01 * np.random.default_rng(0).normal(size=(60, 4))
        found = neighbor_means(points, slices, 5, 0, np.flatnonzero(slices == 0))(labels[:, None] * 1.0)
        np.testing.assert_allclose(found.values[:, 0], labels)
        assert np.isnan(found.left_out[30:]).all()


class TestGenes:
    def test_blocks_and_storage_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features, genes = data(g=7)
        slices = np.repeat([0, 1], 30)
        known = np.ones((2, 7), dtype=bool)
        known[1, 2:4] = False
        folds = GeneFolds.of(np.abs(genes), features, n_comps=2, slices=slices)
        arguments = (known, slices, folds.fold)
        whole = predict_genes(folds.regression, genes, *arguments, n_kept=60)
        monkeypatch.setattr("spotscape.nn.imputation._BLOCK_ENTRIES", 1)
        parted = predict_genes(folds.regression, sparse.csr_array(genes), *arguments, n_kept=40)
        np.testing.assert_allclose(parted[0], whole[0][:40])
        for name, score in whole[1].items():
            np.testing.assert_allclose(parted[1][name], score, err_msg=name)
        assert whole[1]["n_fitted"].tolist() == [60, 60, 30, 30, 60, 60, 60]
        assert (np.isfinite(whole[1]["spearman_carried"]) == ~known[1]).all()
        assert whole[0].min() >= 0

    def test_scores_by_hand(self) -> None:
        features, genes = data()
        slices = np.repeat([0, 1], 30)
        known = np.array([[True] * 5, [False] * 5])
        regression = SpotRegression.on(features, slices=slices, fitted=np.arange(30))
        _, scores = predict_genes(
            lambda _fold, _rows: regression.predict, genes, known, slices, np.zeros(5, int), n_kept=60
        )
        found = regression.predict(genes)
        missed = genes[:30] - found.left_out[:30]
        of_others = np.array([np.delete(genes[:30], i, 0).mean(0) for i in range(30)])
        np.testing.assert_allclose(scores["r2"], 1 - (missed**2).sum(0) / np.square(genes[:30] - of_others).sum(0))
        added = found.left_out[:30] - of_others
        np.testing.assert_allclose(scores["spearman"][2], spearmanr(genes[:30, 2], added[:, 2]).statistic)
        np.testing.assert_allclose(
            scores["spearman_carried"][2], spearmanr(genes[30:, 2], found.values[30:, 2]).statistic
        )

    @pytest.mark.parametrize("levels", [[0.0], [0.0, 2.0, 5.0]], ids=["one slice", "levels of slices"])
    def test_noise_scores_nothing(self, levels: list[float]) -> None:
        # Leaving a spot out lowers the mean if its value is high, and slices differ in level: neither is a prediction.
        rng = np.random.default_rng(0)
        slices = np.repeat(np.arange(len(levels)), 200)
        features, genes = (rng.normal(size=(len(slices), n)) for n in (5, 200))
        regression = SpotRegression.on(features, slices=slices)
        _, scores = predict_genes(
            lambda _fold, _rows: regression.predict,
            genes + np.array(levels)[slices, None],
            np.ones((len(levels), 200), dtype=bool),
            slices,
            np.zeros(200, int),
            n_kept=1,
        )
        assert abs(scores["spearman"].mean()) < 0.05
        assert abs(scores["r2"].mean()) < 0.01

    def test_a_gene_at_its_mean_scores_zero(self) -> None:
        genes = np.random.default_rng(0).normal(size=(60, 3))
        regression = SpotRegression.on(np.zeros((60, 1)))
        _, scores = predict_genes(
            lambda _fold, _rows: regression.predict,
            genes,
            np.ones((1, 3), dtype=bool),
            np.zeros(60, int),
            np.zeros(3),
            n_kept=1,
        )
        np.testing.assert_allclose([scores["spearman"], scores["r2"]], 0, atol=1e-12)

    def test_constant_genes_have_no_score(self) -> None:
        features, _ = data()
        regression = SpotRegression.on(features)
        constant = np.ones((60, 1))
        one = np.ones((1, 1), dtype=bool)
        _, scores = predict_genes(
            lambda _fold, _rows: regression.predict, constant, one, np.zeros(60, int), np.zeros(1, int), n_kept=60
        )
        assert np.isnan(scores["spearman"]).all()
        assert np.isnan(scores["r2"]).all()
