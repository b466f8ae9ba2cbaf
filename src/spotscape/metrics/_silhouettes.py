"""Silhouette widths: exact in linear memory, or of a seeded sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.randomness import RandomSource, Seed

if TYPE_CHECKING:
    from collections.abc import Iterator

# Distances held at a time (32 MB).
_BLOCK = 4_000_000


def rows_by(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of each code in turn."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def silhouette_widths(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Silhouette width of each point among clusters ``codes``, by Euclidean distance; shape ``(n_points,)``.

    All pairs are looked at, a block of rows at a time. Points that are a cluster of their own have width 0.
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.unique(codes, return_counts=True)[1]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sorted_points = (points - points.mean(axis=0))[order]
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    squares = np.einsum("ij,ij->i", sorted_points, sorted_points)
    widths = np.empty(len(points))
    step = max(1, _BLOCK // len(points))
    for first in range(0, len(points), step):
        block = slice(first, first + step)
        sums = np.add.reduceat(_distances(sorted_points, squares, block), starts, axis=1)
        widths[order[block]] = _widths(sums, cluster[block], sizes)
    return widths


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


def _distances(points: np.ndarray, squares: np.ndarray, block: slice) -> np.ndarray:
    products: np.ndarray = points[block] @ points.T
    products *= -2
    products += squares
    products += squares[block, None]
    np.maximum(products, 0, out=products)
    rows = np.arange(len(products))
    products[rows, block.start + rows] = 0
    np.sqrt(products, out=products)
    return products


def _widths(sums: np.ndarray, own: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Widths from the sums of distances to each cluster ``(n_rows, n_clusters)``."""
    rows = np.arange(len(sums))
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    defined = (sizes[own] > 1) & (larger > 0)
    widths: np.ndarray = np.divide(nearest - within, larger, out=np.zeros(len(sums)), where=defined)
    return widths
