r"""Which of several partitions of the same spots tells more about their genes.

A clusterer of embeddings cuts across the directions in which spots lie apart, or across those in which they vary, and
the embedding does not say which of the two are domains. The genes do: domains differ in what they express. Of the
table of domains by genes, summed counts :math:`n_{kg}`, correspondence analysis takes the inertia

.. math:: \frac1n \sum_{kg} \frac{(n_{kg} - e_{kg})^2}{e_{kg}}, \qquad e_{kg} = \frac{n_{k\cdot}\, n_{\cdot g}}{n} ,

which is the chi-squared statistic of independence, for each count. It is zero if all domains have the same composition.
Over several slices the tables are those of each slice, so that what tells slices apart does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.rows import RowSource
from spotscape.nn.differential import sum_by_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from scipy import sparse


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
    for block in _blocks(expression):
        stop = start + block.shape[0]
        for number, (code, size) in enumerate(zip(codes, sizes, strict=True)):
            tables[number] += sum_by_group(block, code[start:stop], size)
        start = stop
    return np.array([_inertia(table.reshape(n_slices, -1, table.shape[1])) for table in tables])


def _blocks(expression: Any) -> Iterator[Any]:
    if isinstance(expression, RowSource):
        yield from expression.blocks()
    else:
        yield expression


def _inertia(tables: np.ndarray) -> float:
    """The chi-squared statistics of the tables ``(n_tables, n_domains, n_genes)``, for each count."""
    of_domain, of_gene = tables.sum(axis=2, keepdims=True), tables.sum(axis=1, keepdims=True)
    total = tables.sum(axis=(1, 2), keepdims=True)
    expected = np.divide(of_domain * of_gene, total, out=np.zeros_like(tables), where=total > 0)
    squared = (tables - expected) ** 2
    return float(np.divide(squared, expected, out=np.zeros_like(tables), where=expected > 0).sum() / total.sum())
