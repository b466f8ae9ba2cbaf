"""Scores of imputed expression: by hand, masks, sparse input, errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import spearmanr

import spotscape as sp

TRUTH = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 5.0], [6.0, 5.0]])
IMPUTED = np.array([[1.0, 3.0], [2.0, 3.0], [4.0, 3.0], [3.0, 3.0]])


def test_by_hand() -> None:
    scores = sp.metrics.imputation_scores(TRUTH, IMPUTED, genes=["a", "b"])
    assert scores.index.to_list() == ["a", "b"]
    assert scores.index.name == "gene"
    assert scores["n"].to_list() == [4, 4]
    np.testing.assert_allclose(scores["rmse"], [np.sqrt(10 / 4), 2])
    np.testing.assert_allclose(scores["l1"], [1, 2])
    # Ranks 1 2 3 4 against 1 2 4 3; the second gene is predicted as constant.
    np.testing.assert_allclose(scores["spearman"], [0.8, 0])


def test_only_masked_entries_count() -> None:
    mask = np.array([[True, False], [True, False], [True, False], [False, False]])
    scores = sp.metrics.imputation_scores(TRUTH, np.where(mask, IMPUTED, np.nan), mask)
    assert scores["n"].to_list() == [3, 0]
    np.testing.assert_allclose(scores.loc[0, ["rmse", "l1", "spearman"]].astype(float), [np.sqrt(1 / 3), 1 / 3, 1])
    assert scores.loc[1, ["rmse", "l1", "spearman"]].isna().all()


def test_a_mask_of_spots_is_one_of_their_entries() -> None:
    spots = np.array([True, False, True, True])
    by_spot = sp.metrics.imputation_scores(TRUTH, IMPUTED, spots)
    pd.testing.assert_frame_equal(
        by_spot, sp.metrics.imputation_scores(TRUTH, IMPUTED, np.repeat(spots[:, None], 2, axis=1))
    )
    pd.testing.assert_frame_equal(by_spot, sp.metrics.imputation_scores(TRUTH[spots], IMPUTED[spots]))


def test_storage_does_not_matter() -> None:
    dense = sp.metrics.imputation_scores(TRUTH, IMPUTED)
    pd.testing.assert_frame_equal(
        dense, sp.metrics.imputation_scores(sparse.csr_matrix(TRUTH), sparse.csc_array(IMPUTED))
    )
    pd.testing.assert_frame_equal(dense.iloc[:1], sp.metrics.imputation_scores(TRUTH[:, 0], IMPUTED[:, 0]))


def test_constant_truth_has_no_order() -> None:
    assert np.isnan(sp.metrics.imputation_scores(np.ones(3), np.arange(3.0)).loc[0, "spearman"])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3),
    st.integers(1, 10),
    st.integers(-5, 5),
)
def test_spearman_is_scipys_and_blind_to_scale(pairs: list[tuple[int, int]], slope: int, shift: int) -> None:
    true, found = np.array(pairs, dtype=float).T
    score = sp.metrics.imputation_scores(true, found).loc[0]
    rescaled = sp.metrics.imputation_scores(true, slope * found + shift).loc[0]
    np.testing.assert_allclose(score["spearman"], rescaled["spearman"])
    if np.ptp(true) and np.ptp(found):
        np.testing.assert_allclose(score["spearman"], spearmanr(true, found).statistic)
    assert score["l1"] <= score["rmse"] + 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TRUTH, IMPUTED[:3]), r"truth has shape \(4, 2\) and imputed \(3, 2\)"),
        ((TRUTH, IMPUTED, np.ones((4, 2))), r"mask is float64 \(4, 2\); expected bool"),
        ((TRUTH, IMPUTED, np.ones(3, dtype=bool)), r"mask is bool \(3,\)"),
        ((TRUTH, np.where(IMPUTED == 2, np.nan, IMPUTED)), "NaN or infinite"),
    ],
)
def test_errors(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sp.metrics.imputation_scores(*arguments)


def test_a_name_for_each_gene() -> None:
    with pytest.raises(ValueError, match="1 names in genes for 2 genes"):
        sp.metrics.imputation_scores(TRUTH, IMPUTED, genes=["a"])
