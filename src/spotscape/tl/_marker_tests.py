"""Tests behind markers: of spots through scanpy, of slices on pseudo-bulk counts; and Moran's I through squidpy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.stats import false_discovery_control

from spotscape.nn.differential import Differences, log_cpm, paired_test, sum_by_group, two_sample_test

Matrix: TypeAlias = np.ndarray | sparse.csr_array
# With fewer counts in all that is compared, there is nothing to learn of a gene.
_MIN_COUNTS = 10


@dataclass(frozen=True)
class Contrast:
    """What is compared: a domain with the rest, or a condition with another within a domain."""

    group: str
    condition: str | None
    reference: str | None
    inside: np.ndarray
    outside: np.ndarray


@dataclass(frozen=True)
class PseudoBulk:
    """Sums of counts ``(n_slices, n_groups, n_genes)`` and numbers of spots ``(n_slices, n_groups)``."""

    counts: np.ndarray
    n_spots: np.ndarray

    @classmethod
    def of(cls, counts: Matrix, slices: pd.Categorical, domains: pd.Categorical) -> PseudoBulk:
        """Sum the counts of every domain in every slice."""
        shape = len(slices.categories), len(domains.categories)
        codes = np.where(domains.codes >= 0, slices.codes.astype(int) * shape[1] + domains.codes, -1)
        sums = sum_by_group(counts, codes, shape[0] * shape[1])
        numbers = np.bincount(codes[codes >= 0], minlength=shape[0] * shape[1])
        return cls(sums.reshape(*shape, -1), numbers.reshape(shape))


def compare_domain(bulk: PseudoBulk, group: int, min_spots: int) -> tuple[np.ndarray, Differences] | None:
    """A domain against the rest of the same slices; ``None`` if fewer than two slices have both. Genes come first."""
    rest_spots = bulk.n_spots.sum(axis=1) - bulk.n_spots[:, group]
    slices = np.flatnonzero((bulk.n_spots[:, group] >= min_spots) & (rest_spots >= min_spots))
    if len(slices) < 2:
        return None
    inside = bulk.counts[slices, group]
    outside = bulk.counts[slices].sum(axis=1) - inside
    genes, logs = _log_of_tested(np.concatenate([inside, outside]))
    return genes, paired_test(logs[: len(slices)], logs[len(slices) :])


def compare_conditions(
    bulk: PseudoBulk, group: int, one: np.ndarray, other: np.ndarray, min_spots: int
) -> tuple[np.ndarray, Differences] | None:
    """A domain in the slices ``one`` against that in ``other``; ``None`` if fewer than two of either have it."""
    parts = [slices[bulk.n_spots[slices, group] >= min_spots] for slices in (one, other)]
    if min(map(len, parts)) < 2:
        return None
    genes, logs = _log_of_tested(bulk.counts[np.concatenate(parts), group])
    return genes, two_sample_test(logs[: len(parts[0])], logs[len(parts[0]) :])


def frame_of(genes: pd.Index, tested: Differences) -> pd.DataFrame:
    """Make the table of one contrast, in no order yet."""
    return pd.DataFrame(
        {
            "gene": genes,
            "score": tested.score,
            "log2_fold_change": tested.log2_fold_change,
            "pvalue": tested.pvalue,
            "pvalue_adj": false_discovery_control(tested.pvalue),
        }
    )


def compare_spots(
    expression: Matrix, genes: pd.Index, labels: pd.Categorical, *, method: str, reference: str, base: float | None
) -> dict[str, pd.DataFrame]:
    """Scanpy's test of every label against ``reference``, or ``"rest"``, in the rows that have a label."""
    import scanpy as sc

    rows = np.flatnonzero(labels.codes >= 0)
    part = AnnData(sparse.csr_matrix(expression[rows]) if sparse.issparse(expression) else expression[rows])
    part.var_names = genes
    part.obs["label"] = pd.Categorical(labels[rows], categories=labels.categories)
    part.uns["log1p"] = {"base": base}
    with warnings.catch_warnings():
        # Its tables grow column by column; and a gene that is constant has no t.
        warnings.filterwarnings("ignore", category=pd.errors.PerformanceWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        sc.tl.rank_genes_groups(part, "label", method=method, reference=reference, use_raw=False)
    names = [str(name) for name in part.uns["rank_genes_groups"]["names"].dtype.names]
    columns = {"names": "gene", "scores": "score", "logfoldchanges": "log2_fold_change", "pvals": "pvalue"}
    columns["pvals_adj"] = "pvalue_adj"
    return {
        name: sc.get.rank_genes_groups_df(part, group=name).rename(columns=columns)[list(columns.values())]
        for name in names
    }


def detected_share(expression: Matrix, rows: np.ndarray) -> np.ndarray:
    """Share of the spots in which each gene is seen, float64 ``(n_genes,)``."""
    part = expression[np.flatnonzero(rows)]
    seen = part.astype(bool).sum(axis=0) if sparse.issparse(part) else np.count_nonzero(part, axis=0)
    shares: np.ndarray = np.asarray(seen, dtype=np.float64).ravel() / max(1, part.shape[0])
    return shares


def morans_i(
    expression: Matrix, genes: pd.Index, wanted: np.ndarray, graph: sparse.csr_array, slices: np.ndarray
) -> pd.Series:
    """Squidpy's Moran's I of genes, within slices, averaged over them by their numbers of spots; NaN if constant."""
    total, weight = np.zeros(len(wanted)), np.zeros(len(wanted))
    for code in np.unique(slices):
        rows = np.flatnonzero(slices == code)
        edges = graph[rows][:, rows]
        values = expression[rows][:, wanted]
        spread = _spread(values)
        varying = np.flatnonzero(spread > 0)
        if edges.nnz and varying.size:
            total[varying] += len(rows) * _moran(values[:, varying], edges)
            weight[varying] += len(rows)
    found = np.divide(total, weight, out=np.full(len(wanted), np.nan), where=weight > 0)
    return pd.Series(found, index=genes[wanted])


def _moran(values: Matrix, edges: sparse.csr_array) -> np.ndarray:
    import squidpy as sq

    matrix: Any = sparse.csr_matrix(values) if sparse.issparse(values) else values
    part = AnnData(matrix, obsp={"edges": sparse.csr_matrix(edges, dtype=np.float64)})
    names = list(part.var_names)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        table = sq.gr.spatial_autocorr(
            part, connectivity_key="edges", genes=names, mode="moran", copy=True, n_jobs=1, show_progress_bar=False
        )
    return np.asarray(table.loc[names, "I"], dtype=np.float64)


def _spread(values: Matrix) -> np.ndarray:
    lowest, highest = values.min(axis=0), values.max(axis=0)
    ends = [np.asarray(end.toarray() if sparse.issparse(end) else end).ravel() for end in (lowest, highest)]
    return np.asarray(ends[1] - ends[0])


def _log_of_tested(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    genes = np.flatnonzero(counts.sum(axis=0) >= _MIN_COUNTS)
    return genes, log_cpm(counts)[:, genes]
