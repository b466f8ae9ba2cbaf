"""Transferred labels and imputed genes, compared with the measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata
from sklearn.metrics import adjusted_rand_score

from spotscape._core.arguments import public
from spotscape.metrics._arrays import encode, require_same_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


@public
def label_transfer_accuracy(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool = False
) -> float:
    """Compute the share of spots that got their known label.

    Parameters
    ----------
    labels_true
        Known label of each query spot; unlabelled (NaN or None) spots are left out.
    count_unmatched
        Count spots without a match as wrong. By default they are left out, so a strict filter of matches gives a high
        score. Report the share of matched spots as well.

    Returns
    -------
    Between 0 and 1.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.label_transfer_accuracy(["L1", "L1", "L2", "L2"], ["L1", "L2", "L2", None])
    0.6666666666666666
    >>> sp.metrics.label_transfer_accuracy(["L1", "L1", "L2", "L2"], ["L1", "L2", "L2", None], count_unmatched=True)
    0.5
    """
    true, transferred = _scored(labels_true, labels_transferred, count_unmatched=count_unmatched)
    return float(np.mean(true == transferred))


@public
def label_transfer_ari(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool = False
) -> float:
    """Compute the adjusted Rand index between transferred and known labels.

    Parameters
    ----------
    labels_true
        Known label of each query spot; unlabelled (NaN or None) spots are left out.
    count_unmatched
        Count spots without a match, as a separate group. By default they are left out.

    Returns
    -------
    At most 1; random labels have an expected value of 0. Unlike :func:`label_transfer_accuracy`, it does not rise if
    most spots have the same label.

    Examples
    --------
    >>> import spotscape as sp
    >>> sp.metrics.label_transfer_ari(["L1", "L1", "L2", "L2"], ["L1", "L1", "L2", None])
    1.0

    References
    ----------
    Hubert & Arabie, *Comparing partitions*, Journal of Classification 1985.
    """
    return float(adjusted_rand_score(*_scored(labels_true, labels_transferred, count_unmatched=count_unmatched)))


def _scored(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of both, equal where the labels are; ``-1`` for spots without a match."""
    n_true = len(encode(labels_true))
    require_same_length(encode(labels_transferred), n_true, "labels_transferred", "labels_true")
    both = np.concatenate([np.asarray(pd.Series(labels), dtype=object) for labels in (labels_true, labels_transferred)])
    codes, names = pd.factorize(both)
    true, transferred = codes[:n_true], codes[n_true:]
    kept = (true >= 0) & (count_unmatched | (transferred >= 0))
    if not (kept & (transferred >= 0)).any():
        msg = (
            f"no spot has both a known and a transferred label ({np.count_nonzero(true >= 0)} of {n_true} are known, "
            f"{np.count_nonzero(transferred >= 0)} transferred)."
        )
        raise ValueError(msg)
    if not np.isin(transferred[transferred >= 0], true).any():
        first, second = names[true[true >= 0][0]], names[transferred[transferred >= 0][0]]
        msg = f"labels_true (for example {first!r}) and labels_transferred ({second!r}) have no label in common."
        raise ValueError(msg)
    return true[kept], transferred[kept]


@public
def imputation_scores(
    truth: ArrayLike | sparse.spmatrix | sparse.sparray,
    imputed: ArrayLike | sparse.spmatrix | sparse.sparray,
    mask: ArrayLike | None = None,
    *,
    genes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute errors and rank correlation of imputed expression for each gene.

    The function reports three numbers, because a poor imputation can do well on each of them alone. RMSE is lowest for
    the expected value. L1 is lowest for the median, so in sparse expression a prediction of zero everywhere is hard to
    beat. Spearman depends only on the order of the spots, not on the scale. Compare with the mean of each gene, with
    zero, and with a mean over neighbours.

    Parameters
    ----------
    truth
        Expression that the imputation has not seen, ``(n_spots, n_genes)``, dense or sparse; one gene may be a vector.
    imputed
        Imputed expression of the same shape, in the same unit.
    mask
        Which entries were held out, bool ``(n_spots, n_genes)``, or ``(n_spots,)`` for whole spots. ``None``: all.
    genes
        Names of the genes, for the index; numbers by default.

    Returns
    -------
    Frame with a row for each gene and the columns ``n`` (scored entries), ``rmse`` and ``l1`` (in the unit of the
    expression) and ``spearman``: 0 where the imputed values are all the same, NaN where the truth is. All three are NaN
    for a gene without scored entries.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> truth = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    >>> scores = sp.metrics.imputation_scores(truth, truth + [0.0, 1.0], genes=["a", "b"])
    >>> scores["rmse"].tolist(), scores["spearman"].round(6).tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    true, found = _dense(truth), _dense(imputed)
    if true.shape != found.shape:
        msg = f"truth has shape {true.shape} and imputed {found.shape}; give the same spots and genes."
        raise ValueError(msg)
    names = range(true.shape[1]) if genes is None else list(genes)
    if len(names) != true.shape[1]:
        msg = f"{len(names)} names in genes for {true.shape[1]} genes."
        raise ValueError(msg)
    scored = np.ones(true.shape, dtype=bool)
    if mask is not None:
        chosen = np.asarray(mask)
        if chosen.dtype != bool or chosen.shape not in (true.shape, true.shape[:1]):
            msg = f"mask is {chosen.dtype} {chosen.shape}; expected bool {true.shape} or {true.shape[:1]}."
            raise ValueError(msg)
        scored &= chosen if chosen.shape == true.shape else chosen[:, None]
    if not (np.isfinite(true[scored]).all() and np.isfinite(found[scored]).all()):
        msg = "entries to be scored are NaN or infinite; leave them out by mask, or impute them."
        raise ValueError(msg)
    rows = [_score(true[kept, gene], found[kept, gene]) for gene, kept in enumerate(scored.T)]
    return pd.DataFrame(rows, index=pd.Index(names, name="gene"), columns=["n", "rmse", "l1", "spearman"])


def _dense(values: Any) -> np.ndarray:
    dense = np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
    return dense[:, None] if dense.ndim == 1 else dense


def _score(true: np.ndarray, found: np.ndarray) -> tuple[int, float, float, float]:
    if not len(true):
        return 0, np.nan, np.nan, np.nan
    missed = true - found
    spearman = np.nan if np.ptp(true) == 0 else 0.0
    if np.ptp(true) > 0 and np.ptp(found) > 0:
        spearman = float(np.corrcoef(rankdata(true), rankdata(found))[0, 1])
    return len(true), float(np.sqrt(np.mean(missed**2))), float(np.abs(missed).mean()), spearman
