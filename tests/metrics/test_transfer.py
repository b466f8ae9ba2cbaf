"""Label transfer: by hand, unmatched spots, names, errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

import spotscape as sp

BOTH = [sp.metrics.label_transfer_accuracy, sp.metrics.label_transfer_ari]
TRUE = ["L1", "L1", "L2", "L2", "L3", None]
GIVEN = ["L1", "L2", "L2", None, "L3", "L1"]


def test_accuracy_by_hand() -> None:
    # The last spot has no known label and never counts; the fourth has no match: 3 of 4, or 3 of 5.
    assert sp.metrics.label_transfer_accuracy(TRUE, GIVEN) == 3 / 4
    assert sp.metrics.label_transfer_accuracy(TRUE, GIVEN, count_unmatched=True) == 3 / 5
    # Names count, unlike in a clustering.
    assert sp.metrics.label_transfer_accuracy(["a", "b"], ["b", "a"]) == 0
    assert sp.metrics.label_transfer_ari(["a", "b"], ["b", "a"]) == 1


def test_ari_by_hand() -> None:
    assert sp.metrics.label_transfer_ari(TRUE, GIVEN) == adjusted_rand_score([1, 1, 2, 3], [1, 2, 2, 3])
    counted = sp.metrics.label_transfer_ari(TRUE, GIVEN, count_unmatched=True)
    assert counted == adjusted_rand_score([1, 1, 2, 2, 3], [1, 2, 2, 0, 3])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*"abc", None])), min_size=3), st.randoms())
def test_order_and_names_do_not_matter(pairs: list[tuple[str, str | None]], random: object) -> None:
    pairs = [("a", "a"), *pairs]
    shuffled = pairs.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    names = {"a": 3, "b": 1, "c": 2, None: None}
    for metric in BOTH:
        for count in (False, True):
            first = metric(*zip(*pairs, strict=True), count_unmatched=count)
            renamed = [[names[label] for label in labels] for labels in zip(*shuffled, strict=True)]
            assert metric(*renamed, count_unmatched=count) == pytest.approx(first)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize(
    "container", [np.array, pd.Series, lambda labels: pd.Categorical(labels, categories=["L3", "L2", "L1"])]
)
def test_containers(metric: object, container: object) -> None:
    given = [np.nan if label is None else label for label in GIVEN]
    holder = container if container is not np.array else lambda labels: np.array(labels, dtype=object)
    assert metric(holder(TRUE), pd.Categorical(given)) == metric(TRUE, GIVEN)  # type: ignore[operator]


@pytest.mark.parametrize("metric", BOTH)
def test_errors(metric: object) -> None:
    with pytest.raises(ValueError, match="labels_transferred has 3 spots and labels_true has 2"):
        metric(["a", "b"], ["a", "b", "a"])  # type: ignore[operator]
    for count in (False, True):
        with pytest.raises(ValueError, match=r"no spot has both a known .* \(1 of 2 are known, 1 transferred\)"):
            metric(["a", None], [None, "a"], count_unmatched=count)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"\(for example 1\) and labels_transferred \('1'\) have no label in common"):
        metric([1, 2], ["1", "2"])  # type: ignore[operator]
    with pytest.raises(TypeError, match="labels_true holds"):
        metric([["a"], ["b"]], ["a", "b"])  # type: ignore[operator]
