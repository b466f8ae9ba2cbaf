"""Search for the resolution at which a graph clustering finds a given number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_LOWEST, _HIGHEST = 1e-4, 1e3
_BISECTIONS = 20


def search_resolution(
    cluster: Callable[[float], np.ndarray], n_clusters: int, *, start: float = 1.0
) -> tuple[np.ndarray, float]:
    """Find labels with ``n_clusters`` clusters, or as near as bisection gets.

    From ``start`` the resolution is doubled or halved until the wanted number lies between two tries, and then
    bisected on a logarithmic scale.

    Parameters
    ----------
    cluster
        Labels at a resolution; more clusters at a higher one, though not strictly.
    n_clusters
        Number of clusters wanted.
    start
        First resolution tried.

    Returns
    -------
    The labels and their resolution. Where no try has ``n_clusters``: the one with the fewest clusters above it, or,
    if none is above, with the most below.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn.clustering import search_resolution
    >>> labels, resolution = search_resolution(lambda r: np.arange(100) % int(5 * r), 3)
    >>> len(np.unique(labels)), 0.6 <= resolution < 0.8
    (3, True)
    """
    tried: list[tuple[int, float, np.ndarray]] = []

    def count(resolution: float) -> int:
        labels = cluster(resolution)
        tried.append((len(np.unique(labels)), resolution, labels))
        return tried[-1][0]

    low, high = _bracket(count, n_clusters, start)
    for _ in range(_BISECTIONS):
        if tried[-1][0] == n_clusters or low >= high:
            break
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if count(middle) < n_clusters else (low, middle)
    _, resolution, labels = min(tried, key=lambda entry: _distance(entry[0], n_clusters))
    return labels, resolution


def _bracket(count: Callable[[float], int], n_clusters: int, start: float) -> tuple[float, float]:
    """Two resolutions with the wanted number between them; equal ones if it was met or cannot be reached."""
    resolution, found = start, count(start)
    factor = 2.0 if found < n_clusters else 0.5
    while found != n_clusters and _LOWEST <= resolution * factor <= _HIGHEST:
        previous, resolution = resolution, resolution * factor
        found = count(resolution)
        if (found < n_clusters) != (factor > 1):
            return min(previous, resolution), max(previous, resolution)
    return resolution, resolution


def _distance(found: int, wanted: int) -> tuple[bool, int]:
    return found < wanted, abs(found - wanted)
