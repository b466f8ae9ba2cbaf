"""How well labels carried from a reference slice to a query agree with the known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from spotscape._core.arguments import public
from spotscape.metrics._arrays import encode, require_same_length

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@public
def label_transfer_accuracy(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool = False
) -> float:
    """Share of spots that were given their known label.

    Parameters
    ----------
    labels_true
        Known label of each query spot; unlabelled (NaN or None) spots are left out.
    labels_transferred
        Label that each spot got from its match, under the same names; NaN or None where it has no match.
    count_unmatched
        Count spots without a match as wrong. By default they are left out, so that a strict filter of matches scores
        high: report the share of matched spots beside it.

    Returns
    -------
    Between 0 and 1.

    Raises
    ------
    ValueError
        If the lengths differ, no spot is left to score, or the two have no label in common.

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
    """Adjusted Rand index of transferred labels with the known ones.

    Parameters
    ----------
    labels_true
        Known label of each query spot; unlabelled (NaN or None) spots are left out.
    labels_transferred
        Label that each spot got from its match, under the same names; NaN or None where it has no match.
    count_unmatched
        Count spots without a match, as one group of their own. By default they are left out.

    Returns
    -------
    At most 1; 0 is expected of labels dealt out at random. Unlike :func:`label_transfer_accuracy` it is not raised by
    one label that most spots have.

    Raises
    ------
    ValueError
        If the lengths differ, no spot is left to score, or the two have no label in common.

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
    n_true = len(encode(labels_true, "labels_true"))
    require_same_length(encode(labels_transferred, "labels_transferred"), n_true, "labels_transferred", "labels_true")
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
        msg = (
            f"labels_true (for example {first!r}) and labels_transferred ({second!r}) have no label in common; "
            f"give both the same names."
        )
        raise ValueError(msg)
    return true[kept], transferred[kept]
