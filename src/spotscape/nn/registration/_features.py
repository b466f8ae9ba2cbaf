"""Features that guide a registration, made comparable between slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_FEATURES = 8


def guiding_features(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The leading common directions of the slices' features, without each slice's mean, on a common scale.

    The mean goes because it is where batch effects are largest. The scale stays common to all directions, so that those
    with more variation count for more.

    Parameters
    ----------
    values
        For every slice an array ``(n_spots, n_features)``.

    Returns
    -------
    For every slice an array ``(n_spots, at most 8)``.
    """
    centred = [np.asarray(v, dtype=np.float64) - np.mean(v, axis=0, dtype=np.float64) for v in values]
    # Every slice has one voice, whatever its number of spots.
    gram = np.sum([v.T @ v / len(v) for v in centred], axis=0)
    strengths, directions = np.linalg.eigh(gram)
    kept = directions[:, ::-1][:, :_MOST_FEATURES]
    size = np.sqrt(max(float(strengths[-1]) / len(centred), 1e-24))
    return [v @ kept / size for v in centred]


def one_hot(codes: np.ndarray, n_categories: int) -> np.ndarray:
    """Indicators ``(n, n_categories)`` of category codes; -1, unlabelled, is the share of each category."""
    indicators = np.zeros((len(codes), n_categories))
    known = codes >= 0
    indicators[np.flatnonzero(known), codes[known]] = 1.0
    if known.any():
        indicators[~known] = indicators[known].mean(axis=0)
    return indicators
