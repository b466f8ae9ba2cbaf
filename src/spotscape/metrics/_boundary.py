"""Agreement by place and by domain: at boundaries, away from them, and in each known domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import precision_recall_fscore_support

from spotscape._core.arguments import public
from spotscape.metrics._agreement import matched
from spotscape.metrics._arrays import encode

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@public
def boundary_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> float:
    """Share of agreeing spots among those that touch another known domain.

    Found domains are matched to known ones over *all* spots, as in :func:`clustering_accuracy`, and only then the spots
    at boundaries are looked at. Read it beside :func:`interior_accuracy`: smoothing costs at boundaries what it gains
    away from them.

    Parameters
    ----------
    labels_true
        Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` are left out; a
        neighbour without a known domain makes no boundary.
    labels_pred
        Found domain of each spot.
    graph
        Spatial graph, array or sparse matrix ``(n_spots, n_spots)``: entries other than zero join spots, whichever of
        the two they start from; for example ``adata.obsp["spatial_connectivities"]``.

    Returns
    -------
    Between 0 and 1; NaN if no spot touches another domain.

    Raises
    ------
    ValueError
        If the lengths differ, the graph has another shape, or no spot is labelled in both.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> chain = np.eye(6, k=1)  # each spot touches the next one
    >>> sp.metrics.boundary_accuracy([0, 0, 0, 1, 1, 1], ["a", "a", "a", "a", "b", "b"], chain)
    0.5
    """
    agrees, at_boundary = _agreement_and_place(labels_true, labels_pred, graph)
    return _mean(agrees[at_boundary])


@public
def interior_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> float:
    """Share of agreeing spots among those that touch no other known domain; see :func:`boundary_accuracy`.

    Parameters
    ----------
    labels_true
        Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` are left out.
    labels_pred
        Found domain of each spot.
    graph
        Spatial graph, array or sparse matrix ``(n_spots, n_spots)``.

    Returns
    -------
    Between 0 and 1; NaN if every spot touches another domain.

    Raises
    ------
    ValueError
        If the lengths differ, the graph has another shape, or no spot is labelled in both.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> chain = np.eye(6, k=1)
    >>> sp.metrics.interior_accuracy([0, 0, 0, 1, 1, 1], ["a", "a", "a", "a", "b", "b"], chain)
    1.0
    """
    agrees, at_boundary = _agreement_and_place(labels_true, labels_pred, graph)
    return _mean(agrees[~at_boundary])


@public
def domain_scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> pd.DataFrame:
    """Precision, recall and F1 score of each known domain; shows which one was lost, such as a thin layer.

    Found domains are matched one-to-one to known ones as in :func:`f1_macro`, which is the mean of the column ``f1``.

    Parameters
    ----------
    labels_true
        Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` are left out.
    labels_pred
        Found domain of each spot.

    Returns
    -------
    A row for each known domain, in order of appearance, with the columns ``precision``, ``recall``, ``f1`` (0 for a
    domain without a partner) and ``n_spots``.

    Raises
    ------
    ValueError
        If the lengths differ or no spot is labelled in both.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.domain_scores(["L1", "L1", "L2", "L2"], ["b", "b", "a", "b"])["recall"].to_dict()
    {'L1': 1.0, 'L2': 0.5}
    """
    known, found = matched(labels_true, labels_pred)
    kept = _labelled(labels_true) & _labelled(labels_pred)
    names = pd.factorize(np.asarray(labels_true, dtype=object)[kept])[1]
    scores = precision_recall_fscore_support(known, found, labels=np.arange(len(names)), zero_division=0)
    columns = ("precision", "recall", "f1", "n_spots")
    return pd.DataFrame(dict(zip(columns, scores, strict=True)), index=pd.Index(names, name="domain"))


def _agreement_and_place(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> tuple[np.ndarray, np.ndarray]:
    """Whether each spot agrees, and whether it touches another known domain; of the spots that both label."""
    known, found = matched(labels_true, labels_pred)
    kept = _labelled(labels_true) & _labelled(labels_pred)
    return known == found, _touching(encode(labels_true, "labels_true"), graph)[kept]


def _touching(codes: np.ndarray, graph: Any) -> np.ndarray:
    edges = sparse.coo_matrix(graph)
    if edges.shape != (len(codes), len(codes)):
        msg = f"graph has shape {edges.shape}; expected a row and a column for each of the {len(codes)} spots."
        raise ValueError(msg)
    start, end = codes[edges.row], codes[edges.col]
    crosses = (edges.data != 0) & (start != end) & (start >= 0) & (end >= 0)
    touching = np.zeros(len(codes), dtype=bool)
    touching[edges.row[crosses]] = touching[edges.col[crosses]] = True
    return touching


def _labelled(labels: ArrayLike) -> np.ndarray:
    return encode(labels, "labels") >= 0


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
