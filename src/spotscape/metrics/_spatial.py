"""How coherent domains are in space and in an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree
from sklearn import config_context
from sklearn.metrics import silhouette_samples

from spotscape._core.arguments import public
from spotscape._core.randomness import RandomSource, Seed
from spotscape.metrics._arrays import (
    MAX_SPOTS,
    UndefinedScoreError,
    encode_points,
    require_shared_labels,
    require_two_labels,
    rows_by,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Neighbours looked at beyond n_neighs, so that a whole shell of equally distant ones is seen.
_SHELL = 14
_TIE = 1e-6
# Megabytes of distances that scikit-learn holds at a time.
_WORKING_MEMORY = 32


@public
def silhouette(labels: ArrayLike, embedding: ArrayLike, *, max_spots: int = MAX_SPOTS, random_state: Seed = 0) -> float:
    """Compute the mean silhouette width of domains in an embedding, by Euclidean distance.

    Parameters
    ----------
    max_spots
        Above this number of spots, a seeded sample of about this size is taken from all domains (small ones get more
        than their share, and are weighted accordingly), because all pairwise distances are needed. Default: 5,000.

    Returns
    -------
    Between -1 and 1; the higher, the more compact and the better separated the domains.

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
    library
        Slice of each spot. Each slice is scored on its own and the slices are averaged by their numbers of spots;
        slices with a single domain are left out. Default: one slice.
    max_spots
        Above this number of spots in a slice, a seeded sample of about this size is taken as in :func:`silhouette`.
        Default: 5,000.

    Returns
    -------
    Between -1 and 1; the higher, the more compact the domains.

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
        raise UndefinedScoreError(msg)
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
    library
        Slice of each spot; coordinates are standardised and neighbours looked for within a slice. Default: one slice.

    Returns
    -------
    Zero or more. It falls with the number of spots, so compare it on one tissue only.

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
    n_neighs
        Number of nearest spots, the spot itself excluded. Default: 10, as published. A slice with fewer other spots
        uses all of them.
    library
        Slice of each spot; neighbours never cross slices. Default: one slice.

    Returns
    -------
    Between 0 (smooth domains) and 1.

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
    n_abnormal = 0
    for rows in rows_by(slices):
        own, most = codes[rows], min(n_neighs, len(rows) - 1)
        if most == 0:
            continue
        n_seen = min(most + _SHELL, len(rows) - 1)
        distances, neighbours = map(np.asarray, KDTree(points[rows]).query(points[rows], k=n_seen + 1))
        distances[neighbours == np.arange(len(rows))[:, None]] = np.inf
        differs = own[neighbours] != own[:, None]
        reach = np.partition(distances, most - 1, axis=1)[:, most - 1 : most]
        inside = distances < reach * (1 - _TIE)
        tied = (distances <= reach * (1 + _TIE)) & ~inside
        places = (most - inside.sum(axis=1)) / tied.sum(axis=1)
        n_different = (differs & inside).sum(axis=1) + places * (differs & tied).sum(axis=1)
        n_abnormal += int(np.count_nonzero(n_different > most / 2 + _TIE))
    return n_abnormal / len(codes)


def silhouette_widths(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Silhouette width of each point among clusters ``codes``, by Euclidean distance; shape ``(n_points,)``.

    Points that are a cluster of their own have width 0.
    """
    # Far from the origin distances would lose digits.
    with config_context(working_memory=_WORKING_MEMORY):
        return np.asarray(silhouette_samples(points - points.mean(axis=0), codes))


def sampled_widths(
    codes: np.ndarray, points: np.ndarray, max_spots: int | None, random_state: Seed
) -> tuple[np.ndarray, np.ndarray]:
    """Silhouette widths of a sample stratified by domain, and weights by which each spot counts the same."""
    if max_spots is None or len(codes) <= max_spots:
        return silhouette_widths(points, codes), np.ones(len(codes))
    generator = RandomSource(random_state).numpy("silhouette")
    share = max_spots / len(codes)
    strata = list(rows_by(codes))
    # A domain seen through a handful of spots would have a noisy distance, and often be the nearest by chance.
    fewest = max(2, max_spots // (2 * len(strata)))
    sizes = [min(len(rows), max(fewest, round(share * len(rows)))) for rows in strata]
    drawn = [generator.choice(rows, size, replace=False) for rows, size in zip(strata, sizes, strict=True)]
    sample = np.concatenate(drawn)
    weights = np.repeat([len(rows) / size for rows, size in zip(strata, sizes, strict=True)], sizes)
    return silhouette_widths(points[sample], codes[sample]), weights


def mean_width(codes: np.ndarray, points: np.ndarray, max_spots: int | None, random_state: Seed) -> float:
    """Mean silhouette width over all spots, or its estimate from a sample."""
    widths, weights = sampled_widths(codes, points, max_spots, random_state)
    return float(np.average(widths, weights=weights))
