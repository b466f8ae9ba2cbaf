"""All scores that the given arrays allow, in one table row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core.arguments import public
from spotscape.metrics import _agreement, _lisi, _mixing, _spatial
from spotscape.metrics._arrays import MAX_SPOTS, UndefinedScoreError, encode, encode_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from spotscape._core.randomness import Seed

_AGREEMENT = ("ari", "nmi", "homogeneity", "completeness", "clustering_accuracy", "f1_macro", "f1_micro")


@public
def evaluate(
    labels_true: ArrayLike | None,
    labels_pred: ArrayLike,
    *,
    coordinates: ArrayLike | None = None,
    embedding: ArrayLike | None = None,
    library: ArrayLike | None = None,
    max_spots: int = MAX_SPOTS,
    random_state: Seed = 0,
) -> pd.Series:
    """Compute every score that the given arrays allow.

    A score that has no value is NaN, such as the silhouette of a single domain, or the batch ASW if no domain is in two
    slices.

    Parameters
    ----------
    labels_true
        Known domain of each spot, unlabelled spots NaN or None. ``None`` if no domains are known.
    coordinates
        Coordinates of each spot, for CHAOS, PAS and spatial ASW of the found domains.
    embedding
        Embedding of each spot, for the silhouette of the found domains, and with several slices for their mixing.
    library
        Slice of each spot, for the spatial scores and those of mixing. Default: one slice.
    max_spots
        Above this number of spots silhouettes are taken on a seeded sample. Default: 5,000.
    random_state
        Seed of that sample.

    Returns
    -------
    Scores by name: ``ari``, ``nmi``, ``homogeneity``, ``completeness``, ``clustering_accuracy``, ``f1_macro`` and
    ``f1_micro`` with ``labels_true``; ``chaos``, ``pas`` and ``spatial_asw`` with ``coordinates``; ``silhouette`` with
    ``embedding``. With ``embedding`` and more than one slice in ``library`` also ``ilisi``, ``kbet`` and
    ``js_divergence``; and if ``labels_true`` is given, too, ``clisi``, ``f1_lisi``, ``label_asw``, ``batch_asw`` and
    ``graph_connectivity`` of the known domains. Scores against ``labels_true`` and, if it is given, all
    scores of mixing use the spots labelled there. The other scores use all spots.

    Examples
    --------
    >>> import spotscape as sp
    >>> scores = sp.metrics.evaluate([0, 0, 1, 1], ["b", "b", "a", "b"], coordinates=[[0, 0], [0, 1], [0, 2], [0, 3]])
    >>> float(scores["clustering_accuracy"])
    0.75
    """
    if labels_true is None and coordinates is None and embedding is None:
        msg = "nothing to score labels_pred against; give labels_true, coordinates or embedding."
        raise ValueError(msg)
    scores: dict[str, float] = {}
    sampling: dict[str, Any] = {"max_spots": max_spots, "random_state": random_state}
    if labels_true is not None:
        scores |= {name: getattr(_agreement, name)(labels_true, labels_pred) for name in _AGREEMENT}
    if coordinates is not None:
        scores["chaos"] = _spatial.chaos(labels_pred, coordinates, library=library)
        scores["pas"] = _spatial.pas(labels_pred, coordinates, library=library)
        scores["spatial_asw"] = _if_defined(_spatial.spatial_asw, labels_pred, coordinates, library=library, **sampling)
    if embedding is not None:
        scores["silhouette"] = _if_defined(_spatial.silhouette, labels_pred, embedding, **sampling)
    if embedding is None or library is None:
        return pd.Series(scores, dtype="float64")
    # Scores of mixing, all from one search of neighbours; none for a single slice.
    labels = np.zeros(len(encode(library))) if labels_true is None else labels_true
    codes, points, slices = encode_points(labels, embedding, "embedding", library)
    if len(np.unique(slices)) > 1:
        distances, indices = _lisi.lisi_neighbours(points, _lisi.PERPLEXITY)
        tested, joined = indices[:, : _mixing.N_TESTED], indices[:, : _mixing.N_JOINED]
        scores["ilisi"] = _lisi.ilisi_of(slices, distances, indices, _lisi.PERPLEXITY)
        scores["kbet"] = _mixing.kbet_of(slices, tested)
        scores["js_divergence"] = _mixing.js_divergence_of(slices, tested)
        if labels_true is not None:
            several = len(np.unique(codes)) > 1
            scores["clisi"] = _lisi.clisi_of(codes, distances, indices, _lisi.PERPLEXITY) if several else np.nan
            scores["f1_lisi"] = _lisi.harmonic(scores["ilisi"], scores["clisi"]) if several else np.nan
            scores["label_asw"] = _if_defined(_mixing.label_asw, codes, points, **sampling)
            scores["batch_asw"] = _if_defined(_mixing.batch_asw_of, codes, slices, points, **sampling)
            scores["graph_connectivity"] = _mixing.graph_connectivity_of(codes, joined)
    return pd.Series(scores, dtype="float64")


def _if_defined(score: Callable[..., float], *arrays: ArrayLike, **options: Any) -> float:
    try:
        return score(*arrays, **options)
    except UndefinedScoreError:
        return np.nan
