"""Agreement of found domains with known ones, whole and at borders; unlabelled spots are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from sklearn.metrics.cluster import contingency_matrix

from spotscape._core.arguments import public
from spotscape.metrics._arrays import encode, encode_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@public
def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute the adjusted Rand index (ARI): agreement of two partitions, corrected for chance.

    Returns
    -------
    At most 1 (the same partition). Random labels have an expected value of 0.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.ari(["L1", "L1", "L2", None], ["b", "b", "a", "a"])
    1.0

    References
    ----------
    Hubert & Arabie, *Comparing partitions*, Journal of Classification 1985.
    """
    return float(metrics.adjusted_rand_score(*encode_pair(labels_true, labels_pred)))


@public
def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute the normalised mutual information (NMI), over the arithmetic mean of the entropies.

    Returns
    -------
    Between 0 (independent) and 1 (the same partition); not corrected for chance.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.nmi([0, 0, 1, 1], [1, 0, 1, 0])
    0.0
    """
    return float(metrics.normalized_mutual_info_score(*encode_pair(labels_true, labels_pred)))


@public
def homogeneity(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute homogeneity: whether each found domain has spots of only one known domain.

    Returns
    -------
    Between 0 and 1. It is also 1 if known domains are split, so use it together with :func:`completeness`.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.homogeneity([0, 0, 1, 1], [0, 1, 2, 2]), 6)
    1.0

    References
    ----------
    Rosenberg & Hirschberg, *V-Measure*, EMNLP-CoNLL 2007.
    """
    return float(metrics.homogeneity_score(*encode_pair(labels_true, labels_pred)))


@public
def completeness(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute completeness: whether all spots of each known domain are in one found domain.

    Returns
    -------
    Between 0 and 1. It is also 1 if known domains are merged, so use it together with :func:`homogeneity`.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.completeness([0, 1, 2, 2], [0, 0, 1, 1]), 6)
    1.0

    References
    ----------
    Rosenberg & Hirschberg, *V-Measure*, EMNLP-CoNLL 2007.
    """
    return float(metrics.completeness_score(*encode_pair(labels_true, labels_pred)))


@public
def clustering_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute the share of spots that agree after the best one-to-one matching of found to known domains.

    Spots of a found domain that has no partner (there are more found than known domains) count as wrong.

    Returns
    -------
    Above 0 and at most 1 (the same partition).

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.clustering_accuracy([0, 0, 1, 1], ["b", "b", "a", "b"])
    0.75
    """
    true, found = matched(labels_true, labels_pred)
    return float(np.mean(true == found))


@public
def f1_macro(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute the macro F1 score: the mean over known domains, each matched to a found domain.

    Found domains are matched one-to-one to known ones as in :func:`clustering_accuracy`; among matchings with equally
    many agreeing spots the one with the highest mean F1 is taken. A known domain without a partner scores 0, and every
    known domain counts the same whatever its size.

    Returns
    -------
    Above 0 and at most 1 (the same partition).

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.f1_macro([0, 0, 0, 1], ["a", "a", "a", "a"]) == (6 / 7 + 0) / 2
    True
    """
    true, found = matched(labels_true, labels_pred)
    known = np.unique(true)
    return float(metrics.f1_score(true, found, labels=known, average="macro", zero_division=0))


@public
def f1_micro(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Compute the micro F1 score over all spots, after the matching of :func:`f1_macro`.

    Each spot has one known and one found domain, and spots of a found domain without a partner count as wrong. The
    score therefore equals :func:`clustering_accuracy`. It is included because published tables list it.

    Returns
    -------
    Above 0 and at most 1 (the same partition).

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.f1_micro([0, 0, 1, 1], ["b", "b", "a", "b"])
    0.75
    """
    return float(metrics.f1_score(*matched(labels_true, labels_pred), average="micro"))


@public
def boundary_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> float:
    """Compute the accuracy at borders: the share of agreeing spots among those that touch another known domain.

    Found domains are matched to known ones over *all* spots, as in :func:`clustering_accuracy`, and then the
    spots at boundaries are scored. Use it together with :func:`interior_accuracy`, because smoothing can lose accuracy
    at boundaries while it gains accuracy away from them.

    Parameters
    ----------
    labels_true
        Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` are left out; a
        neighbour without a known domain makes no boundary.
    graph
        Spatial graph, array or sparse matrix ``(n_spots, n_spots)``: an entry other than zero joins two spots, in
        either direction; for example ``adata.obsp["spatial_connectivities"]``.

    Returns
    -------
    Between 0 and 1; NaN if no spot touches another domain.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> chain = np.eye(6, k=1)  # each spot touches the next one
    >>> sp.metrics.boundary_accuracy([0, 0, 0, 1, 1, 1], ["a", "a", "a", "a", "b", "b"], chain)
    0.5
    """
    return _accuracy(labels_true, labels_pred, graph, at_boundary=True)


@public
def interior_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> float:
    """Compute the accuracy away from borders; see :func:`boundary_accuracy`.

    Parameters
    ----------
    graph
        Spatial graph, array or sparse matrix ``(n_spots, n_spots)``.

    Returns
    -------
    Between 0 and 1; NaN if every spot touches another domain.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> chain = np.eye(6, k=1)
    >>> sp.metrics.interior_accuracy([0, 0, 0, 1, 1, 1], ["a", "a", "a", "a", "b", "b"], chain)
    1.0
    """
    return _accuracy(labels_true, labels_pred, graph, at_boundary=False)


@public
def domain_scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> pd.DataFrame:
    """Compute precision, recall and F1 score of each known domain, for example to find a layer that was lost.

    Found domains are matched one-to-one to known ones as in :func:`f1_macro`, which is the mean of the column ``f1``.

    Returns
    -------
    A row for each known domain, in order of appearance, with the columns ``precision``, ``recall``, ``f1`` (0 for a
    domain without a partner) and ``n_spots``.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.domain_scores(["L1", "L1", "L2", "L2"], ["b", "b", "a", "b"])["recall"].to_dict()
    {'L1': 1.0, 'L2': 0.5}
    """
    known, found = matched(labels_true, labels_pred)
    codes, names = pd.factorize(np.asarray(labels_true, dtype=object))
    # In the order of the codes of all spots, of which the first of a domain may lack a found one.
    names = names[np.unique(codes[(codes >= 0) & _labelled(labels_pred)])]
    scores = metrics.precision_recall_fscore_support(known, found, labels=np.arange(len(names)), zero_division=0)
    columns = ("precision", "recall", "f1", "n_spots")
    return pd.DataFrame(dict(zip(columns, scores, strict=True)), index=pd.Index(names, name="domain"))


def _accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any, *, at_boundary: bool) -> float:
    """The share of agreeing spots among those that touch another known domain, or do not."""
    known, found = matched(labels_true, labels_pred)
    kept = _labelled(labels_true) & _labelled(labels_pred)
    codes, edges = encode(labels_true), sparse.coo_matrix(graph)
    if edges.shape != (len(codes), len(codes)):
        msg = f"graph has shape {edges.shape}; expected a row and a column for each of the {len(codes)} spots."
        raise ValueError(msg)
    start, end = codes[edges.row], codes[edges.col]
    crosses = (edges.data != 0) & (start != end) & (start >= 0) & (end >= 0)
    touching = np.zeros(len(codes), dtype=bool)
    touching[edges.row[crosses]] = touching[edges.col[crosses]] = True
    agrees = (known == found)[touching[kept] == at_boundary]
    return float(agrees.mean()) if len(agrees) else float("nan")


def _labelled(labels: ArrayLike) -> np.ndarray:
    return encode(labels) >= 0


def matched(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Known codes, and found codes renamed to the known code they are matched to (``-1`` without a partner)."""
    true, pred = encode_pair(labels_true, labels_pred)
    known, true = np.unique(true, return_inverse=True)
    found, pred = np.unique(pred, return_inverse=True)
    agreement = contingency_matrix(true, pred).astype(np.float64)
    dice = 2 * agreement / (agreement.sum(axis=1, keepdims=True) + agreement.sum(axis=0))
    # Agreements are whole numbers and the scaled F1 scores add up to less than one: they only decide ties.
    rows, columns = linear_sum_assignment(agreement + dice / (1 + len(known)), maximize=True)
    partner = np.full(len(found), -1)
    partner[columns] = rows
    return true, partner[pred]
