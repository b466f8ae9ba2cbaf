"""Agreement at boundaries and by domain: hand-worked tissue, direction of edges, unlabelled spots, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PLACES = [sp.metrics.boundary_accuracy, sp.metrics.interior_accuracy]
# Six spots in a row, each joined to the next one only.
CHAIN = np.eye(6, k=1)
TRUE = ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("pred", "boundary", "interior"),
    [
        ([7, 7, 7, 8, 8, 8], 1.0, 1.0),
        ([7, 7, 7, 7, 8, 8], 0.5, 1.0),
        ([8, 7, 7, 8, 8, 8], 1.0, 0.75),
        # The matching is that of all spots, although at the boundary alone the other one were better.
        ([7, 7, 8, 7, 8, 8], 0.0, 1.0),
    ],
)
def test_values_worked_by_hand(pred: list[int], boundary: float, interior: float) -> None:
    assert sp.metrics.boundary_accuracy(TRUE, pred, CHAIN) == boundary
    assert sp.metrics.interior_accuracy(TRUE, pred, CHAIN) == interior


def test_unlabelled_spots_make_no_boundary_and_are_not_counted() -> None:
    true = ["a", "a", None, "b", "b", "b"]
    assert np.isnan(sp.metrics.boundary_accuracy(true, [7, 7, 8, 8, 8, 8], CHAIN))
    assert sp.metrics.interior_accuracy(true, [7, 7, 8, 8, 8, 8], CHAIN) == 1
    # A spot that was not clustered still is a neighbour with a known domain: spot 3 touches it.
    assert sp.metrics.boundary_accuracy(TRUE, [7, 7, None, 8, 8, 8], CHAIN) == 1
    assert sp.metrics.boundary_accuracy(TRUE, [7, 7, None, 7, 8, 8], CHAIN) == 0


def test_tissue_all_of_boundaries_has_no_interior() -> None:
    assert np.isnan(sp.metrics.interior_accuracy([0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1], CHAIN))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=20), st.randoms())
@settings(max_examples=25)
def test_both_together_are_the_accuracy_over_all_spots(pairs: list[tuple[int, int]], random: object) -> None:
    true, pred = np.array(pairs).T
    n = len(true)
    graph = np.array([[random.random() < 0.15 for _ in range(n)] for _ in range(n)])  # type: ignore[attr-defined]
    linked = graph | graph.T
    touching = np.array([any(linked[i, j] and true[i] != true[j] for j in range(n)) for i in range(n)])
    boundary, interior = (metric(true, pred, sparse.csr_matrix(graph)) for metric in PLACES)
    total = np.nansum([boundary * touching.sum(), interior * (~touching).sum()])
    assert total / n == pytest.approx(sp.metrics.clustering_accuracy(true, pred))
    for metric, value in zip(PLACES, (boundary, interior), strict=True):
        assert metric(true, pred, linked.astype(float)) == pytest.approx(value, nan_ok=True)
    assert np.isnan(boundary) == (not touching.any())


def test_stored_zeros_join_nothing() -> None:
    graph = sparse.csr_matrix(CHAIN)
    graph.data[2] = 0
    assert np.isnan(sp.metrics.boundary_accuracy(TRUE, TRUE, graph))


@pytest.mark.parametrize("metric", PLACES)
def test_errors(metric: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match=r"graph has shape \(5, 5\); expected a row and a column for each of the 6"):
        metric(TRUE, TRUE, CHAIN[:5, :5])
    with pytest.raises(ValueError, match="labels_true has 6 spots and labels_pred has 5"):
        metric(TRUE, TRUE[:5], CHAIN)
    with pytest.raises(ValueError, match="no spot has a label in both"):
        metric([None] * 6, TRUE, CHAIN)


def test_scores_of_domains_worked_by_hand() -> None:
    scores = sp.metrics.domain_scores(["L2", "L2", "L2", "L1", "L1", None, "WM"], [1, 1, 0, 0, 0, 0, None])
    assert scores.index.to_list() == ["L2", "L1"]
    assert scores.columns.to_list() == ["precision", "recall", "f1", "n_spots"]
    assert scores.loc["L2"].to_list() == pytest.approx([1, 2 / 3, 4 / 5, 3])
    assert scores.loc["L1"].to_list() == pytest.approx([2 / 3, 1, 4 / 5, 2])


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pd.Categorical])
def test_scores_have_the_name_of_their_domain_where_its_first_spot_lacks_a_found_one(container: Any) -> None:
    true, pred = ["B", None, "A", "A", "A", "B", "C"], [None, "x", "a", "a", "b", "b", None]
    scores = sp.metrics.domain_scores(container(np.array(true, dtype=object)), pred)
    assert scores["n_spots"].to_dict() == {"B": 1, "A": 3}
    assert scores["recall"].to_dict() == {"B": 1.0, "A": 2 / 3}


def test_a_lost_domain_scores_0_and_the_mean_is_f1_macro() -> None:
    true = pd.Series(["a", "a", "a", "b", "c", "c"], dtype="category")
    scores = sp.metrics.domain_scores(true, [0, 0, 0, 0, 1, 1])
    assert scores.loc["b", ["precision", "recall", "f1"]].to_list() == [0, 0, 0]
    assert scores["f1"].mean() == pytest.approx(sp.metrics.f1_macro(true, [0, 0, 0, 0, 1, 1]))


def test_scores_of_domains_refuse_what_agreement_refuses() -> None:
    with pytest.raises(ValueError, match="labels_true has 2 spots and labels_pred has 3"):
        sp.metrics.domain_scores([0, 1], [0, 1, 1])
