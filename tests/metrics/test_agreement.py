"""Agreement metrics: hand-worked values, scikit-learn as oracle, invariances, unlabelled spots, errors."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import spotscape as sp

ALL = [
    sp.metrics.ari,
    sp.metrics.nmi,
    sp.metrics.homogeneity,
    sp.metrics.completeness,
    sp.metrics.clustering_accuracy,
    sp.metrics.f1_macro,
    sp.metrics.f1_micro,
]
LABELLINGS = st.integers(2, 40).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2))


def test_values_worked_by_hand() -> None:
    true, pred = ["a", "a", "a", "b", "b", "c"], [1, 1, 2, 2, 2, 2]
    # Pairs together in both: 1 (a-a in 1) + 1 (b-b in 2) = 2; in truth 3 + 1 = 4; in pred 1 + 6 = 7; all 15.
    expected = 4 * 7 / 15
    assert sp.metrics.ari(true, pred) == pytest.approx((2 - expected) / ((4 + 7) / 2 - expected))
    # a-1 and b-2 agree on 2 + 2 spots.
    assert sp.metrics.clustering_accuracy(true, pred) == pytest.approx(4 / 6)
    assert sp.metrics.f1_micro(true, pred) == pytest.approx(4 / 6)
    assert sp.metrics.f1_macro(true, pred) == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)


def test_entropy_scores_worked_by_hand() -> None:
    true, pred = [0, 0, 1, 1], [0, 0, 0, 0]
    assert sp.metrics.homogeneity(true, pred) == 0
    assert sp.metrics.completeness(true, pred) == 1
    true, pred = [0, 0, 1, 1], [0, 1, 2, 2]
    # I = ln 2, H(true) = ln 2, H(pred) = 1.5 ln 2.
    assert sp.metrics.nmi(true, pred) == pytest.approx(1 / 1.25)
    assert sp.metrics.completeness(true, pred) == pytest.approx(1 / 1.5)


def test_a_found_domain_without_partner_is_wrong() -> None:
    true, pred = ["a"] * 4, [0, 0, 0, 1]
    assert sp.metrics.clustering_accuracy(true, pred) == 0.75
    assert sp.metrics.f1_macro(true, pred) == pytest.approx(2 * 3 / (4 + 3))


@pytest.mark.slow
@given(LABELLINGS)
@settings(max_examples=8)
def test_accuracy_and_f1_equal_the_best_of_all_matchings(pair: tuple[list[int], list[int]]) -> None:
    true, pred = map(np.asarray, pair)
    known = np.unique(true)
    best = (0.0, 0.0)
    for names in permutations(range(5)):
        renamed = np.asarray(names)[pred]
        macro = sk.f1_score(true, renamed, labels=known, average="macro", zero_division=0)
        best = max(best, (float(np.mean(true == renamed)), float(macro)))
    assert sp.metrics.clustering_accuracy(true, pred) == pytest.approx(best[0])
    assert sp.metrics.f1_macro(true, pred) == pytest.approx(best[1])
    assert sp.metrics.f1_micro(true, pred) == pytest.approx(best[0])


@given(LABELLINGS, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_names_and_order_of_spots_do_not_matter(pair: tuple[list[int], list[int]], random: object) -> None:
    true, pred = map(np.asarray, pair)
    names, order = list("vwxyz"), list(range(len(true)))
    random.shuffle(names)  # type: ignore[attr-defined]
    random.shuffle(order)  # type: ignore[attr-defined]
    for metric in ALL:
        assert metric(true[order], np.asarray(names)[pred][order]) == pytest.approx(metric(true, pred), abs=1e-12)


@given(LABELLINGS)
@settings(max_examples=20)
def test_scikit_learn_agrees(pair: tuple[list[int], list[int]]) -> None:
    assert sp.metrics.ari(*pair) == pytest.approx(sk.adjusted_rand_score(*pair), abs=1e-12)
    assert sp.metrics.nmi(*pair) == pytest.approx(sk.normalized_mutual_info_score(*pair), abs=1e-12)
    assert sp.metrics.homogeneity(*pair) == pytest.approx(sk.homogeneity_score(*pair), abs=1e-12)
    assert sp.metrics.completeness(*pair) == pytest.approx(sk.completeness_score(*pair), abs=1e-12)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    "container",
    [list, lambda x: np.asarray(x, dtype=object), pd.Series, pd.Categorical, lambda x: pd.Series(x, dtype="category")],
)
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_unlabelled_spots_are_left_out(metric: object, container: object, missing: object) -> None:
    true = ["L1", "L1", missing, "L2", "L2", "L3"]
    pred = ["0", "1", "0", "1", "1", missing]
    assert metric(container(true), container(pred)) == metric(["L1", "L1", "L2", "L2"], [0, 1, 1, 1])  # type: ignore[operator]


@pytest.mark.parametrize("metric", ALL)
def test_errors(metric: object) -> None:
    with pytest.raises(ValueError, match="labels_true has 2 spots and labels_pred has 3"):
        metric([0, 1], [0, 1, 1])  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"no spot has a label in both labels_true \(1 of 2 labelled\)"):
        metric(["a", None], [None, "b"])  # type: ignore[operator]
    with pytest.raises(ValueError, match="labels_pred must have one label for each spot"):
        metric([0, 1], np.zeros((2, 1)))  # type: ignore[operator]


def test_evaluate_gives_what_the_arrays_allow() -> None:
    true, pred = [0, 0, 1, None], ["b", "b", "a", "a"]
    points = np.array([[0.0, 0], [0, 1], [5, 0], [5, 1]])
    scores = sp.metrics.evaluate(true, pred, coordinates=points, embedding=points, library=["s"] * 4)
    assert [*scores.index[:7]] == [metric.__name__ for metric in ALL]
    for metric in ALL:
        assert scores[metric.__name__] == metric(true, pred)
    assert scores["chaos"] == sp.metrics.chaos(pred, points)
    assert scores["pas"] == sp.metrics.pas(pred, points)
    assert scores["spatial_asw"] == scores["silhouette"] == sp.metrics.silhouette(pred, points)
    assert [*sp.metrics.evaluate(None, pred, embedding=points).index] == ["silhouette"]
    with pytest.raises(ValueError, match="nothing to score labels_pred against"):
        sp.metrics.evaluate(None, pred)


def test_evaluate_on_two_slices_and_two_domains_is_every_score_by_itself() -> None:
    rng = np.random.default_rng(0)
    slices, domains = np.tile([0, 1], 60), np.repeat([0, 1], 60)
    embedding = rng.normal(size=(120, 3)) + domains[:, None]
    found = sp.metrics.evaluate(domains, domains, embedding=embedding, library=slices)
    assert found["ilisi"] == pytest.approx(sp.metrics.ilisi(slices, embedding))
    assert found["clisi"] == pytest.approx(sp.metrics.clisi(domains, embedding))
    assert found["f1_lisi"] == pytest.approx(sp.metrics.f1_lisi(domains, slices, embedding))
    assert found["graph_connectivity"] == pytest.approx(sp.metrics.graph_connectivity(domains, embedding))
    assert found["batch_asw"] == pytest.approx(sp.metrics.batch_asw(domains, slices, embedding))
    alone = sp.metrics.evaluate(None, domains, embedding=embedding, library=np.zeros(120))
    assert not {"ilisi", "kbet", "clisi"} & set(alone)


@pytest.mark.parametrize(
    ("true", "pred", "library", "undefined"),
    [
        ("aaaabbbb", "xxxxxxxx", "stststst", {"spatial_asw", "silhouette"}),
        ("aaaabbbb", "pqrsuvwx", "stststst", {"spatial_asw", "silhouette"}),
        ("aaaaaaaa", "xxxxyyyy", "stststst", {"clisi", "f1_lisi", "label_asw"}),
        ("abcdefgh", "xxxxyyyy", "stststst", {"label_asw", "batch_asw"}),
        ("aaaabbbb", "xxxxyyyy", "sssstttt", {"batch_asw", "spatial_asw"}),
    ],
)
def test_a_score_without_a_value_costs_no_other(true: str, pred: str, library: str, undefined: set[str]) -> None:
    """A method that fails is a row of the table as well: one domain, each spot its own, domains that are slices."""
    points = [[x, y] for x in range(4) for y in range(2)]
    scores = sp.metrics.evaluate(list(true), list(pred), coordinates=points, embedding=points, library=list(library))
    assert set(scores.index[scores.isna()]) == undefined
    assert len(scores) == 19
