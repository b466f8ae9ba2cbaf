"""Tests of markers: between spots through scanpy, between slices on pseudo-bulk counts; Moran's I through squidpy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.stats import false_discovery_control, norm

from spotscape._core import keys
from spotscape._core.genes import n_detected
from spotscape._core.logging import logger, warn
from spotscape._core.reading import expression_values, find_shared, warn_of_totals
from spotscape._core.validation import looks_like_counts
from spotscape._stats.differential import Differences, compare_counts, sum_by_group
from spotscape.tl._embedding import scale_of

Matrix: TypeAlias = np.ndarray | sparse.csr_array
# Scanpy's names and ours.
_COLUMNS = {
    "names": "gene", "scores": "score", "logfoldchanges": "log2_fold_change", "pvals": "pvalue",
    "pvals_adj": "pvalue_adj",
}  # fmt: skip


@dataclass(frozen=True)
class Contrast:
    """A comparison: a domain with the rest, or a condition with another one within a domain."""

    group: str
    condition: str | None
    reference: str | None
    inside: np.ndarray
    outside: np.ndarray

    @property
    def name(self) -> str:
        """The name of the comparison in scanpy's results."""
        return self.group if self.condition is None else f"{self.group} | {self.condition}"


@dataclass(frozen=True)
class Task:
    """The arguments of the call, read and checked."""

    adata: AnnData
    domains: pd.Categorical
    conditions: pd.Categorical | None
    slices: pd.Categorical | None
    donors: pd.Categorical | None
    reference: str | None
    layer: str | None
    expression: Matrix
    absent: np.ndarray | None  # Which genes each slice has not measured, ``(n_slices, n_vars)``
    min_spots: int


@dataclass(frozen=True)
class PseudoBulk:
    """Sums of counts over the spots of a domain in a sample: a slice, or all slices of a donor, of one condition."""

    counts: np.ndarray  # (n_samples, n_groups, n_genes)
    n_spots: np.ndarray  # (n_samples, n_groups)
    donors: np.ndarray  # (n_samples,): samples of one number are of one donor
    conditions: np.ndarray  # (n_samples,)
    absent: np.ndarray  # Genes that a slice of the sample has not measured, bool (n_samples, n_genes)

    @classmethod
    def of(cls, task: Task, counts: Matrix, slices: pd.Categorical, absent: np.ndarray) -> PseudoBulk:
        """Sum the counts of every domain in every sample."""
        domains, conditions = task.domains, task.conditions
        donors = slices if task.donors is None else task.donors
        parts = np.zeros(len(donors), int) if conditions is None else np.asarray(conditions.codes, int)
        known = (domains.codes >= 0) & (donors.codes >= 0) & (parts >= 0)
        pairs = np.stack([np.asarray(donors.codes, int), parts], axis=1)
        samples, of_spot = np.unique(pairs[known], axis=0, return_inverse=True)
        n_groups = len(domains.categories)
        codes = np.full(len(donors), -1)
        codes[known] = of_spot.ravel() * n_groups + domains.codes[known]
        sums = sum_by_group(counts, codes, len(samples) * n_groups)
        numbers = np.bincount(codes[known], minlength=len(samples) * n_groups)
        shape = len(samples), n_groups
        lacking = np.zeros((len(samples), absent.shape[1]), dtype=bool)
        for sample, code in np.unique(np.stack([of_spot.ravel(), slices.codes[known]]), axis=1).T:
            lacking[sample] |= absent[code]
        return cls(sums.reshape(*shape, -1), numbers.reshape(shape), samples[:, 0], samples[:, 1], lacking)

    def _compare(
        self, counts: np.ndarray, samples: np.ndarray, inside: np.ndarray, blocks: np.ndarray | None
    ) -> tuple[np.ndarray, Differences] | None:
        """The genes that all of these samples measured, by their rows of counts."""
        genes = np.flatnonzero(~self.absent[samples].any(axis=0))
        tested = compare_counts(counts[:, genes], inside, blocks)
        return None if tested is None else (genes[tested[0]], tested[1])

    def compare_domain(self, group: int, min_spots: int) -> tuple[np.ndarray, Differences] | None:
        """A domain against the rest of the same samples; ``None`` if fewer than two samples have both."""
        rest = self.n_spots.sum(axis=1) - self.n_spots[:, group]
        chosen = np.flatnonzero((self.n_spots[:, group] >= min_spots) & (rest >= min_spots))
        own = self.counts[chosen, group]
        both = np.concatenate([own, self.counts[chosen].sum(axis=1) - own])
        return self._compare(both, chosen, np.repeat([True, False], len(chosen)), np.tile(chosen, 2))

    def compare_conditions(
        self, group: int, one: int, other: int, min_spots: int
    ) -> tuple[np.ndarray, Differences] | None:
        """A domain under one condition against the same domain under another; ``None`` without two samples of each.

        If at least two donors have both conditions, these donors are compared, each with itself.
        """
        chosen = np.flatnonzero((self.n_spots[:, group] >= min_spots) & np.isin(self.conditions, (one, other)))
        inside, donors = self.conditions[chosen] == one, self.donors[chosen]
        paired = np.isin(donors, np.intersect1d(donors[inside], donors[~inside]))
        blocks = None
        if paired.sum() >= 4:
            chosen, inside, blocks = chosen[paired], inside[paired], donors[paired]
        elif min(inside.sum(), (~inside).sum()) < 2:
            return None
        return self._compare(self.counts[chosen, group], chosen, inside, blocks)


def compare_spots(
    expression: Matrix,
    genes: pd.Index,
    labels: pd.Categorical[Any],
    tested: list[str],
    *,
    method: str,
    reference: str,
    base: float | None,
) -> dict[str, pd.DataFrame]:
    """Scanpy's test of some labels against ``reference``, or ``"rest"``, in the rows that have a label.

    Genes that are zero in all of these rows are not tested, so that they do not count when p-values are adjusted.
    """
    import scanpy as sc

    rows = np.flatnonzero(labels.codes >= 0)
    values = expression[rows]
    seen = n_detected(values) > 0
    if not seen.all() and seen.any():
        values, genes = values[:, seen], genes[seen]
    part = AnnData(sparse.csr_matrix(values) if sparse.issparse(values) else values)
    part.var_names = genes
    part.obs["label"] = pd.Categorical(labels[rows], categories=labels.categories)
    part.uns["log1p"] = {"base": base}
    with warnings.catch_warnings():
        # Its tables grow column by column; and a gene that is constant has no t.
        warnings.filterwarnings("ignore", category=pd.errors.PerformanceWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        sc.tl.rank_genes_groups(part, "label", groups=tested, method=method, reference=reference, use_raw=False)
    frames = {
        name: sc.get.rank_genes_groups_df(part, group=name).rename(columns=_COLUMNS)[list(_COLUMNS.values())]
        for name in tested
    }
    return frames if method != "wilcoxon" else _corrected_for_ties(frames, part)


def _corrected_for_ties(frames: dict[str, pd.DataFrame], tested: AnnData) -> dict[str, pd.DataFrame]:
    """Scanpy's ``tie_correct=True``, which counts the ties for each group again and takes minutes.

    Most counts are zero. Without it, scores of genes that few spots express are several times too small.
    """
    values = sparse.csc_array(tested.X)
    values.eliminate_zeros()
    n, ties = values.shape[0], np.empty(values.shape[1])
    for gene, (start, stop) in enumerate(pairwise(values.indptr)):
        counts = np.append(np.unique(values.data[start:stop], return_counts=True)[1], n - (stop - start)).astype(float)
        ties[gene] = (counts**3 - counts).sum()
    left = np.maximum(1 - ties / (float(n) ** 3 - n), 0)
    factor = np.divide(1, np.sqrt(left), out=np.zeros_like(left), where=left > 1e-12)
    for name, frame in frames.items():
        score = frame["score"].fillna(0) * factor[tested.var_names.get_indexer(pd.Index(frame["gene"]))]
        pvalue = 2 * norm.sf(np.abs(score))
        frames[name] = frame.assign(score=score, pvalue=pvalue, pvalue_adj=false_discovery_control(pvalue))
    return frames


def run_tests(
    task: Task, contrasts: list[Contrast], method: str, condition: str | None
) -> tuple[str, list[pd.DataFrame | None]]:
    """The test that was used, and its table of each contrast. Pseudo-bulk needs replicates with a common domain."""
    lacking, need = None, "replicates"
    if method in {"auto", "pseudobulk"}:
        lacking = _lacks_replicates(task, condition)
        counts = task.expression if lacking is None else None
        if counts is not None and not looks_like_counts(counts):
            # Raw counts, of a file too, where X has them still and was normalised as it was read.
            layer = keys.COUNTS if keys.COUNTS in task.adata.layers else task.layer
            stored = expression_values(task.adata, layer, columns=np.arange(task.adata.n_vars), as_stored=True)
            counts = cast("Matrix", stored) if looks_like_counts(stored) else None
        if counts is not None:
            frames = _pseudobulk(task, contrasts, counts)
            if method == "pseudobulk" or any(frame is not None for frame in frames):
                return "pseudobulk", frames
            lacking = "no domain has spots enough in two samples on either side"
        elif lacking is None:
            lacking, need = "neither the expression nor adata.layers['counts'] holds any", "counts"
        if method == "pseudobulk":
            msg = f"method='pseudobulk' needs {need}: {lacking}. Spots are compared by method='wilcoxon'."
            raise ValueError(msg)
        method = "wilcoxon"
    if lacking is not None and condition is None:
        logger.info("Comparing spots by Wilcoxon's test, as there are no %s: %s.", need, lacking)
    elif lacking is not None:
        warn(
            f"conditions are compared without {need}: {lacking}. Spots of one slice are no independent samples, so "
            "p-values are far too small, and differences between slices look like effects of the condition."
        )
    return method, _spots(task, contrasts, method)


def _lacks_replicates(task: Task, condition: str | None) -> str | None:
    if task.slices is None:
        return "library_key names no slices"
    units, what = (task.slices, "slice") if task.donors is None else (task.donors, "donor")
    if task.conditions is None:
        return None if len(units.categories) > 1 else f"there is one {what}"
    pairs = pd.crosstab(np.asarray(task.slices), np.asarray(task.conditions)) > 0
    # Without slices there are donors alone, who may have several conditions.
    mixed = pairs.index[(pairs.sum(axis=1) > 1) & (task.slices is not task.donors)]
    if len(mixed):
        return f"slice {mixed[0]!r} has spots of several conditions of adata.obs[{condition!r}]"
    counts = (pd.crosstab(np.asarray(units), np.asarray(task.conditions)) > 0).sum(axis=0)
    few = counts.index[counts < 2]
    return f"condition {few[0]!r} has one {what}, and 2 are the least" if len(few) else None


def _pseudobulk(task: Task, contrasts: list[Contrast], counts: Matrix) -> list[pd.DataFrame | None]:
    if task.slices is None or task.absent is None:
        msg = "pseudo-bulk without slices"
        raise AssertionError(msg)
    bulk = PseudoBulk.of(task, counts, task.slices, task.absent)
    names = task.adata.var_names
    frames: list[pd.DataFrame | None] = []
    for contrast in contrasts:
        group = list(task.domains.categories).index(contrast.group)
        if task.conditions is None:
            tested = bulk.compare_domain(group, task.min_spots)
        else:
            one, other = (list(task.conditions.categories).index(c) for c in (contrast.condition, task.reference))
            tested = bulk.compare_conditions(group, one, other, task.min_spots)
        if tested is None:
            frames.append(None)
            continue
        genes, found = tested
        columns = {"score": found.score, "log2_fold_change": found.log2_fold_change, "pvalue": found.pvalue}
        frames.append(
            pd.DataFrame({"gene": names[genes], **columns, "pvalue_adj": false_discovery_control(found.pvalue)})
        )
    return frames


def _spots(task: Task, contrasts: list[Contrast], method: str) -> list[pd.DataFrame | None]:
    if looks_like_counts(task.expression):
        msg = (
            f"method={method!r} expects log-normalised expression, and {keys.place_of(task.layer)} looks like raw "
            "counts; call sp.pp.prepare(adata) first."
        )
        raise ValueError(msg)
    entry = task.adata.uns.get("log1p")
    base = entry.get("base") if isinstance(entry, dict) else None
    source, expression = keys.place_of(task.layer), cast("Any", task.expression)
    genes = task.adata.var_names
    if task.slices is not None and not (shared := find_shared(expression, task.slices, source)).all():
        expression, genes = expression[:, shared], genes[shared]
        warn_of_totals(expression, task.slices, source)
    if base is None and scale_of(expression, task.adata, source) == "linear":
        logger.info("`%s` holds no logarithms; log(1 + x) is compared.", source)
        expression = expression.log1p() if sparse.issparse(expression) else np.log1p(expression)
    how: dict[str, Any] = {"method": method, "base": base}
    large = [min(c.inside.sum(), c.outside.sum()) >= task.min_spots for c in contrasts]
    if task.conditions is None:
        names = [contrast.group for contrast, enough in zip(contrasts, large, strict=True) if enough]
        tested = compare_spots(expression, genes, task.domains, names, reference="rest", **how) if names else {}
        return [tested.get(contrast.group) for contrast in contrasts]
    frames: list[pd.DataFrame | None] = []
    for contrast, enough in zip(contrasts, large, strict=True):
        side = np.where(contrast.inside, 0, np.where(contrast.outside, 1, -1))
        labels = pd.Categorical.from_codes(side, pd.Index(["inside", "outside"]))
        tested = compare_spots(expression, genes, labels, ["inside"], reference="outside", **how) if enough else {}
        frames.append(tested.get("inside"))
    return frames


def for_scanpy(tables: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """The fields that scanpy's plots and :func:`scanpy.get.rank_genes_groups_df` read, a column for each contrast.

    All columns need the same length. If fewer genes were tested in a contrast, entries without name and score follow.
    """
    n = max(map(len, tables.values()))
    # Names of fields may not have it in zarr.
    tables = {name.replace(":", " "): table for name, table in tables.items()}
    found: dict[str, np.ndarray] = {}
    for field, column in _COLUMNS.items():
        filled = {name: table[column].reindex(range(n)) for name, table in tables.items()}
        if field == "names":
            filled = {name: column.fillna("").astype(str) for name, column in filled.items()}
        frame = pd.DataFrame(filled).astype(object if field == "names" else np.float64)
        found[field] = frame.to_records(index=False)
    return found


def morans_i(
    expression: Matrix, genes: pd.Index, wanted: np.ndarray, graph: sparse.csr_array, slices: np.ndarray
) -> pd.Series:
    """Squidpy's Moran's I of genes, within slices, averaged over them by their numbers of spots; NaN if constant."""
    total, weight = np.zeros(len(wanted)), np.zeros(len(wanted))
    for code in np.unique(slices):
        rows = np.flatnonzero(slices == code)
        edges = graph[rows][:, rows]
        values = expression[rows][:, wanted]
        ends = [values.min(axis=0), values.max(axis=0)]
        lowest, highest = (end.toarray() if sparse.issparse(end) else end for end in ends)
        varying = np.flatnonzero(highest > lowest)
        if edges.nnz and varying.size:
            total[varying] += len(rows) * _moran(values[:, varying], edges)
            weight[varying] += len(rows)
    found = np.divide(total, weight, out=np.full(len(wanted), np.nan), where=weight > 0)
    return pd.Series(found, index=genes[wanted])


def _moran(values: Matrix, edges: sparse.csr_array) -> np.ndarray:
    # One type of matrix, because scanpy compiles its product once for each type.
    part = AnnData(
        sparse.csr_matrix(values, dtype=np.float64), obsp={"edges": sparse.csr_matrix(edges, dtype=np.float64)}
    )
    names = list(part.var_names)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=SyntaxWarning)  # of squidpy's docstrings, at its first import
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        import squidpy as sq

        table = sq.gr.spatial_autocorr(
            part, connectivity_key="edges", genes=names, mode="moran", copy=True, n_jobs=1, show_progress_bar=False
        )
    return np.asarray(table.loc[names, "I"], dtype=np.float64)
