r"""Which of several partitions of the same spots tells more about their genes.

A clusterer of embeddings cuts across the directions in which spots lie apart, or across those in which they vary, and
the embedding does not say which of the two are domains. The genes do: domains differ in what they express. Of the
table of domains by genes, summed counts :math:`n_{kg}`, correspondence analysis takes the inertia

.. math:: \frac1n \sum_{kg} \frac{(n_{kg} - e_{kg})^2}{e_{kg}}, \qquad e_{kg} = \frac{n_{k\cdot}\, n_{\cdot g}}{n} ,

which is the chi-squared statistic of independence, for each count. It is zero if all domains have the same composition.
Over several slices the tables are those of each slice, so that what tells slices apart does not count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2_contingency

from spotscape._core.rows import RowSource
from spotscape.nn.clustering._mixture import gaussian_mixture
from spotscape.nn.differential import sum_by_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from spotscape.nn.clustering._partition import Clustering

# Shrinkage of the mixtures, nearly any covariance, half of one, and a sphere, and how much better than k-means each has
# to be. Smaller differences go either way; the last is k-means but for soft clusters of unequal size, and moves most.
BARS = {0.05: 1.01, 0.5: 1.01, 1.0: 1.03}


def composition_inertia(
    expression: np.ndarray | sparse.csr_array | RowSource,
    partitions: Sequence[np.ndarray],
    *,
    slices: np.ndarray | None = None,
) -> np.ndarray:
    """How far the domains of each partition differ in gene composition.

    Parameters
    ----------
    expression
        Counts, or expression on a linear scale, ``(N, G)``, none negative; read once, by blocks of rows.
    partitions
        Labels of the spots, each int64 ``(N,)`` from 0.
    slices
        Codes of the slices, ``(N,)``; ``None`` for a single one.

    Returns
    -------
    Float64, one for each partition.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn.clustering import composition_inertia
    >>> counts = np.array([[3.0, 1.0], [6.0, 2.0], [1.0, 3.0]])
    >>> composition_inertia(counts, [np.array([0, 0, 1]), np.array([0, 1, 0])]).round(3).tolist()
    [0.2, 0.067]

    References
    ----------
    Greenacre, *Correspondence Analysis in Practice*, 2017.
    """
    slices = np.zeros(expression.shape[0], np.int64) if slices is None else slices
    n_slices = int(slices.max(initial=0)) + 1
    codes = [slices * (int(labels.max()) + 1) + labels for labels in partitions]
    sizes = [n_slices * (int(labels.max()) + 1) for labels in partitions]
    tables = [np.zeros((size, expression.shape[1])) for size in sizes]
    start = 0
    for block in expression.blocks() if isinstance(expression, RowSource) else (expression,):
        stop = start + block.shape[0]
        for number, (code, size) in enumerate(zip(codes, sizes, strict=True)):
            tables[number] += sum_by_group(block, code[start:stop], size)
        start = stop
    return np.array([sum(map(_chi_squared, np.split(table, n_slices))) / table.sum() for table in tables])


def prefer_by_composition(
    plain: Clustering,
    points: np.ndarray,
    expression: np.ndarray | sparse.csr_array | RowSource,
    *,
    slices: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Clustering, str, dict[str, float]]:
    """Clusters as they are, or those of a mixture of as many if they differ clearly more in gene composition.

    Parameters
    ----------
    plain
        Clusters by :func:`kmeans`, which a mixture has to beat.
    points
        What they are clusters of, ``(N, d)``.
    expression, slices
        As for :func:`composition_inertia`.
    seed
        Seed of the mixtures, which are tied and drawn toward a sphere by .05, .5 and 1.

    Returns
    -------
    The clusters, with their inertia as ``value``; what they are of, ``"kmeans"`` or ``"mixture_0.05"`` and so on; and
    the inertia of each.
    """
    fits = [plain, *(gaussian_mixture(points, plain.n_clusters, shrinkage=each, seed=seed) for each in BARS)]
    names = ["kmeans", *(f"mixture_{each:g}" for each in BARS)]
    inertia = composition_inertia(expression, [fit.labels for fit in fits], slices=slices)
    best = clearly_best(inertia, np.array([*BARS.values()]))
    chosen = replace(fits[best], criterion="composition_inertia", value=float(inertia[best]))
    return chosen, names[best], dict(zip(names, inertia.tolist(), strict=True))


def clearly_best(inertia: np.ndarray, bars: np.ndarray) -> int:
    """The largest of those that exceed the first by the factors in ``bars``; 0 if none does.

    >>> clearly_best(np.array([1.0, 1.02, 1.025]), np.array([1.01, 1.03]))
    1
    """
    clear = np.where(inertia[1:] > bars * inertia[0], inertia[1:], -np.inf)
    return int(clear.argmax()) + 1 if np.isfinite(clear).any() else 0


def _chi_squared(table: np.ndarray) -> float:
    """The statistic of independence of a table, whose empty rows and columns say nothing."""
    filled = table[table.any(axis=1)][:, table.any(axis=0)]
    return float(chi2_contingency(filled, correction=False).statistic) if filled.size else 0.0
