"""How coherent domains are in space, and how well their borders are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import KDTree
from sklearn.metrics import precision_recall_fscore_support

from spotscape._core.arguments import public
from spotscape.metrics._agreement import matched
from spotscape.metrics._arrays import MAX_SPOTS, encode, encode_points, require_shared_labels, require_two_labels
from spotscape.metrics._silhouettes import mean_width, rows_by

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from spotscape._core.randomness import Seed

# Neighbours looked at beyond n_neighs, so that a whole shell of equally distant ones is seen.
_SHELL = 14
_TIE = 1e-6


@public
def silhouette(labels: ArrayLike, embedding: ArrayLike, *, max_spots: int = MAX_SPOTS, random_state: Seed = 0) -> float:
    """Compute the mean silhouette width of domains in an embedding, by Euclidean distance.

    Parameters
    ----------
    labels
        Domain of each spot; unlabelled (NaN or None) spots are left out.
    embedding
        Position of each spot, shape ``(n_spots, n_dims)``.
    max_spots
        Above this number of spots, a seeded sample of about this size is taken from all domains (small ones get more
        than their share, and are weighted accordingly), because all pairwise distances are needed. Default: 5,000.
    random_state
        Seed of the sample.

    Returns
    -------
    Between -1 and 1; the higher, the more compact and the better separated the domains.

    Raises
    ------
    ValueError
        If the lengths differ, no spot is labelled, all have one label or each its own, or the embedding holds NaN.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.silhouette(["a", "a", "b", "b"], [[0.0], [1.0], [9.0], [10.0]]), 3)
    0.889

    References
    ----------
    Rousseeuw, *Silhouettes*, Journal of Computational and Applied Mathematics 1987.
    """
    codes, points, _ = encode_points(labels, embedding, "embedding")
    require_two_labels(codes, "silhouette")
    require_shared_labels(codes, "silhouette")
    return mean_width(codes, points, max_spots, random_state)


@public
def spatial_asw(
    labels: ArrayLike,
    coordinates: ArrayLike,
    *,
    library: ArrayLike | None = None,
    max_spots: int = MAX_SPOTS,
    random_state: Seed = 0,
) -> float:
    """Compute the spatial ASW: the silhouette width of domains in space.

    Layers that wrap around each other score low even if they are right. Use the score to compare methods on one tissue,
    not to compare tissues.

    Parameters
    ----------
    labels
        Domain of each spot; unlabelled (NaN or None) spots are left out.
    coordinates
        Coordinates in any unit (the value does not depend on it), shape ``(n_spots, 2 or 3)``.
    library
        Slice of each spot. Each slice is scored on its own and the slices are averaged by their numbers of spots;
        slices with a single domain are left out. Default: one slice.
    max_spots
        Above this number of spots in a slice, a seeded sample of about this size is taken as in :func:`silhouette`.
        Default: 5,000.
    random_state
        Seed of the sample.

    Returns
    -------
    Between -1 and 1; the higher, the more compact the domains.

    Raises
    ------
    ValueError
        If the lengths differ, no spot is labelled, no slice has two domains, or the coordinates hold NaN.

    Examples
    --------
    >>> import spotscape as sp
    >>> round(sp.metrics.spatial_asw(["a", "a", "b", "b"], [[0, 0], [0, 1], [0, 9], [0, 10]]), 3)
    0.889
    """
    codes, points, slices = encode_points(labels, coordinates, "coordinates", library)
    require_two_labels(codes, "spatial_asw")
    scored = [rows for rows in rows_by(slices) if 1 < len(np.unique(codes[rows])) < len(rows)]
    if not scored:
        msg = "spatial_asw needs a slice with at least two domains, one of them with at least two spots; there is none."
        raise ValueError(msg)
    widths = [mean_width(codes[rows], points[rows], max_spots, random_state) for rows in scored]
    return float(np.average(widths, weights=[len(rows) for rows in scored]))


@public
def chaos(labels: ArrayLike, coordinates: ArrayLike, *, library: ArrayLike | None = None) -> float:
    """Compute CHAOS: the distance to the nearest spot of the same domain, low if domains are contiguous.

    The distances are summed over all spots of all domains and divided by the number of labelled spots. As in the
    published implementation each axis is standardised to mean 0 and standard deviation 1, and domains of fewer than
    three spots add nothing to the sum. Their spots still count in the divisor.

    Parameters
    ----------
    labels
        Domain of each spot; unlabelled (NaN or None) spots are left out.
    coordinates
        Coordinates in any unit (the value does not depend on it), shape ``(n_spots, 2 or 3)``.
    library
        Slice of each spot; coordinates are standardised and neighbours looked for within a slice. Default: one slice.

    Returns
    -------
    Zero or more. It falls with the number of spots, so compare it on one tissue only.

    Raises
    ------
    ValueError
        If the lengths differ, no spot is labelled, or the coordinates hold NaN.

    Examples
    --------
    >>> import spotscape as sp
    >>> tissue = [[x, y] for x in range(6) for y in range(6)]
    >>> halves, stripes = [x < 3 for x, _ in tissue], [(x + y) % 2 for x, y in tissue]
    >>> sp.metrics.chaos(halves, tissue) < sp.metrics.chaos(stripes, tissue)
    True

    References
    ----------
    Shang & Zhou, *Spatially aware dimension reduction*, Nature Communications 2022;
    Yuan et al., *Benchmarking spatial clustering methods*, Nature Methods 2024.
    """
    codes, points, slices = encode_points(labels, coordinates, "coordinates", library)
    total = 0.0
    for rows in rows_by(slices):
        centred = points[rows] - points[rows].mean(axis=0)
        scale = centred.std(axis=0)
        standardised = centred / np.where(scale > 0, scale, 1.0)
        domains = [standardised[domain] for domain in rows_by(codes[rows]) if len(domain) > 2]
        total += sum(float(np.asarray(KDTree(own).query(own, k=2)[0])[:, 1].sum()) for own in domains)
    return float(total / len(codes))


@public
def pas(labels: ArrayLike, coordinates: ArrayLike, *, n_neighs: int = 10, library: ArrayLike | None = None) -> float:
    """Compute PAS: the share of spots of which more than half of the nearest spots belong to another domain.

    With the default, a spot is abnormal if at least 6 of its 10 nearest spots have another label. On a lattice, several
    spots are equally far (to 1e-6 relative), and often not all of them can be among the ``n_neighs``. They then share
    the remaining places, so that the value does not depend on the order of the spots. Up to 14 spots beyond
    ``n_neighs`` are considered.

    Parameters
    ----------
    labels
        Domain of each spot; unlabelled (NaN or None) spots are left out, also as neighbours.
    coordinates
        Coordinates in any unit (the value does not depend on it), shape ``(n_spots, 2 or 3)``.
    n_neighs
        Number of nearest spots, the spot itself excluded. Default: 10, as published. A slice with fewer other spots
        uses all of them.
    library
        Slice of each spot; neighbours never cross slices. Default: one slice.

    Returns
    -------
    Between 0 (smooth domains) and 1.

    Raises
    ------
    TypeError
        If ``n_neighs`` is not an integer.
    ValueError
        If the lengths differ, no spot is labelled, ``n_neighs`` is below 1, or the coordinates hold NaN.

    Examples
    --------
    >>> import spotscape as sp
    >>> tissue = [[x, y] for x in range(6) for y in range(6)]
    >>> sp.metrics.pas([x < 3 for x, _ in tissue], tissue)
    0.0

    References
    ----------
    Shang & Zhou, *Spatially aware dimension reduction*, Nature Communications 2022;
    Yuan et al., *Benchmarking spatial clustering methods*, Nature Methods 2024.
    """
    codes, points, slices = encode_points(labels, coordinates, "coordinates", library)
    abnormal = sum(_count_abnormal(codes[rows], points[rows], n_neighs) for rows in rows_by(slices) if len(rows) > 1)
    return float(abnormal / len(codes))


def _count_abnormal(codes: np.ndarray, points: np.ndarray, n_neighs: int) -> int:
    n_neighs = min(n_neighs, len(points) - 1)
    n_seen = min(n_neighs + _SHELL, len(points) - 1)
    distances, neighbours = map(np.asarray, KDTree(points).query(points, k=n_seen + 1))
    distances[neighbours == np.arange(len(points))[:, None]] = np.inf
    differs = codes[neighbours] != codes[:, None]
    reach = np.partition(distances, n_neighs - 1, axis=1)[:, n_neighs - 1 : n_neighs]
    inside = distances < reach * (1 - _TIE)
    tied = (distances <= reach * (1 + _TIE)) & ~inside
    places = (n_neighs - inside.sum(axis=1)) / tied.sum(axis=1)
    n_different = (differs & inside).sum(axis=1) + places * (differs & tied).sum(axis=1)
    return int(np.count_nonzero(n_different > n_neighs / 2 + _TIE))


@public
def boundary_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any) -> float:
    """Compute the accuracy at borders: the share of agreeing spots among those that touch another known domain.

    Found domains are matched to known ones over *all* spots, as in :func:`clustering_accuracy`, and only then are the
    spots at boundaries scored. Read it beside :func:`interior_accuracy`, because smoothing can lose accuracy at
    boundaries while it gains accuracy away from them.

    Parameters
    ----------
    labels_true
        Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` are left out; a
        neighbour without a known domain makes no boundary.
    labels_pred
        Found domain of each spot.
    graph
        Spatial graph, array or sparse matrix ``(n_spots, n_spots)``: an entry other than zero joins two spots, in
        either direction; for example ``adata.obsp["spatial_connectivities"]``.

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
    """Compute the accuracy away from borders; see :func:`boundary_accuracy`.

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
    """Compute precision, recall and F1 score of each known domain, for example to find a layer that was lost.

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
    codes, edges = encode(labels_true), sparse.coo_matrix(graph)
    if edges.shape != (len(codes), len(codes)):
        msg = f"graph has shape {edges.shape}; expected a row and a column for each of the {len(codes)} spots."
        raise ValueError(msg)
    start, end = codes[edges.row], codes[edges.col]
    crosses = (edges.data != 0) & (start != end) & (start >= 0) & (end >= 0)
    touching = np.zeros(len(codes), dtype=bool)
    touching[edges.row[crosses]] = touching[edges.col[crosses]] = True
    return known == found, touching[kept]


def _labelled(labels: ArrayLike) -> np.ndarray:
    return encode(labels) >= 0


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
