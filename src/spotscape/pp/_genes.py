"""The counts that preprocessing begins with, and the genes that it marks: the most variable of those seen often."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.genes import counts_elsewhere, layer_names, looks_of
from spotscape._core.logging import logger, warn
from spotscape._core.rows import ChunkedMatrix, blocks_of, is_stored
from spotscape._core.validation import mend_of_missing, require_key

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.rows import Normalisation, Summary

# What to do where there are no counts.
_WITHOUT_COUNTS = {
    "logarithm": " If there are none, leave sp.pp.prepare out: the methods take logarithms as they are.",
    "fractions": " Intensities, as of proteins, need no sp.pp.prepare: the methods take them as they are.",
    "negative": (
        " If there are none, leave sp.pp.prepare out, and name principal components: sc.pp.pca(adata), then "
        "sp.tl.spotscape(adata, use_rep='X_pca')."
    ),
}


@dataclass(frozen=True)
class Counts:
    """Where the counts are: ``matrix`` is in memory or read by blocks, ``layer`` its layer, ``None`` for ``X``."""

    matrix: Any
    stored: Any
    layer: str | None

    @property
    def where(self) -> str:
        """The place as code."""
        return keys.place_of(self.layer)

    @property
    def in_file(self) -> bool:
        """Whether ``X`` lies in a file that is read by blocks, so that nothing can be written there."""
        return self.layer is None and isinstance(self.matrix, ChunkedMatrix) and not hasattr(self.stored, "rechunk")

    @classmethod
    def find(cls, adata: AnnData, layer: str | None) -> Counts:
        """The layer that is named, else ``X``; the counts that an earlier call kept, or the one layer that is there."""
        if layer is not None:
            require_key(adata.layers, layer, "adata.layers", hint="layer names the layer with the raw counts")
        elif adata.X is None and (len(names := layer_names(adata)) == 1 or keys.COUNTS in names):
            layer = names[0] if len(names) == 1 else keys.COUNTS
            logger.info("`adata.X` is None: the counts are taken from `adata.layers['%s']`.", layer)
        elif keys.PREPARE in adata.uns and keys.COUNTS in adata.layers:
            layer = keys.COUNTS
            logger.info("`adata.X` was prepared before: the counts are taken from `adata.layers['counts']`.")
        values = adata.X if layer is None else adata.layers[layer]
        found = cls(None, values, layer)
        if values is None:
            msg = f"{found.where} is None; put the counts there, or name the layer that has them: layer=..."
            raise ValueError(msg)
        if values.dtype.kind not in "buif":
            msg = f"{found.where} has dtype {values.dtype}; expected whole numbers."
            raise TypeError(msg)
        matrix = values
        if is_stored(values):
            matrix = ChunkedMatrix(values)
        elif not sparse.issparse(values):
            matrix = values.to_memory() if hasattr(values, "to_memory") else np.asarray(values)
            # scipy has no sparse matrix of half precision.
            matrix = matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix
        elif values.format != "csr":
            matrix = values.tocsr()
        return cls(matrix, values, layer)

    def check(self, adata: AnnData, summary: Summary, *, assume: bool) -> None:
        """Refuse values that cannot be normalised; warn of values that are accepted although they are no counts."""
        if summary.n_broken:
            mend = mend_of_missing(self.matrix, self.where)
            msg = f"{self.where} has {summary.n_broken} NaN or infinite values; {mend}"
            raise ValueError(msg)
        if summary.largest == summary.least == 0:
            msg = f"{self.where} holds nothing but zeros; there is no count to work on."
            raise ValueError(msg)
        if not summary.whole or summary.least < 0:
            self._accept_fractions(adata, summary, assume=assume)
        if keys.COUNTS in adata.layers and self.layer != keys.COUNTS and not adata.isbacked:
            kept = adata.layers[keys.COUNTS]
            pairs = zip(blocks_of(kept), blocks_of(self.matrix), strict=False)
            comparable = not is_stored(kept) and not isinstance(self.matrix, ChunkedMatrix)
            if not comparable or any((sparse.csr_array(a) != sparse.csr_array(b)).nnz for a, b in pairs):
                msg = (
                    f"adata.layers[{keys.COUNTS!r}] exists and is not what {self.where} holds; take it with "
                    f"layer={keys.COUNTS!r}, or make room first: del adata.layers[{keys.COUNTS!r}]."
                )
                raise ValueError(msg)

    def _accept_fractions(self, adata: AnnData, summary: Summary, *, assume: bool) -> None:
        """Refuse what is no multiple of counts, unless it is to be taken for counts; say where counts are."""
        kind, looks = looks_of(self.matrix, summary)
        elsewhere = counts_elsewhere(adata, self.layer)
        if kind == "negative" or not (assume or (kind == "scaled" and elsewhere is None)):
            mend = elsewhere or "put the counts in X, or name the layer that has them: sp.pp.prepare(adata, layer=...)."
            force = "" if kind == "negative" else " To take it as counts nevertheless: counts='assume'."
            other = _WITHOUT_COUNTS.get(kind, "") if elsewhere is None else ""
            if kind == "negative" and elsewhere is None and adata.raw is not None:
                other = (
                    " adata.raw may hold logarithms, which the methods take as they are: adata = adata.raw.to_adata()."
                )
            msg = f"{self.where} is not raw counts: it holds {looks}; {mend}{other}{force}"
            raise ValueError(msg)
        same = (
            "; after normalisation to one total that is the same" if kind == "scaled" else ", as counts='assume' says"
        )
        warn(f"{self.where} holds {looks}, and is taken as counts{same}.")

    def normalised(self, normalisation: Normalisation) -> Any:
        """Expression in memory, or a dask array that is computed as it is read."""
        if not isinstance(self.matrix, ChunkedMatrix):
            return normalisation.apply(self.matrix)
        if not hasattr(self.stored, "rechunk"):
            return normalisation.apply(self.matrix.in_memory())
        stored = self.stored.rechunk({1: -1})
        stored = stored if stored.dtype == np.float64 else stored.astype(np.float32)

        def change(block: Any, block_info: Any) -> Any:
            return normalisation.apply(block, block_info[0]["array-location"][0][0])

        return stored.map_blocks(change, dtype=stored.dtype, meta=stored._meta)


Recipe = Literal["spotscape", "spacross"]

# The first is the default of Seurat and scanpy; wider windows give up detail where small slices leave too few genes.
_SPANS = (0.3, 0.5, 0.7, 1.0)
# A window of fewer genes does not determine the local parabola, and scikit-misc then kills the process.
_FEWEST_GENES_IN_SPAN = 10
# Below 1,000 spots, 50 would be more of the tissue than a small domain covers.
_SPOTS_PER_REQUIRED_CELL = 20
# Fewer genes than a targeted panel: domains may no longer be told apart.
_FEW_GENES = 100


@dataclass(frozen=True)
class GeneSelection:
    """How many genes to mark (``None``: all) of those in ``min_cells`` spots and with ``min_counts`` counts."""

    n_top_genes: int | None
    min_cells: int
    min_counts: int


_RECIPES: dict[str, GeneSelection] = {
    "spotscape": GeneSelection(n_top_genes=5000, min_cells=0, min_counts=0),
    "spacross": GeneSelection(n_top_genes=2000, min_cells=50, min_counts=10),
}


def selection_of(
    recipe: Recipe,
    n_obs: int,
    *,
    n_top_genes: int | Literal["recipe"] | None,
    min_cells: int | None,
    min_counts: int | None,
) -> GeneSelection:
    """What was asked for, and the recipe's where nothing was; its ``min_cells`` gives way to a small tissue."""
    default = _RECIPES[recipe]
    if min_cells is None:
        min_cells = min(default.min_cells, max(1, n_obs // _SPOTS_PER_REQUIRED_CELL))
        if min_cells < default.min_cells:
            lowered = "min_cells is lowered from %s to %s, one twentieth of the %s spots."
            logger.info(lowered, default.min_cells, min_cells, f"{n_obs:,}")
    return GeneSelection(
        default.n_top_genes if n_top_genes == "recipe" else n_top_genes,
        min_cells,
        default.min_counts if min_counts is None else min_counts,
    )


def candidate_genes(summary: Summary, selection: GeneSelection, genes: np.ndarray) -> np.ndarray:
    """Those of ``genes`` that are within the limits, bool ``(n_vars,)``; refuses limits that leave nothing."""
    n_cells: np.ndarray = summary.detected.sum(axis=0)
    n_counts = summary.column_sums
    seen: np.ndarray = genes & (n_cells > 0)
    within: np.ndarray = seen & (n_cells >= selection.min_cells) & (n_counts >= selection.min_counts)
    n_within, n_seen, n_spots = (int(part.sum()) for part in (within, seen, summary.sizes))
    if n_within == n_seen:
        return within
    found = (
        f"seen in at least {selection.min_cells:,} of {n_spots:,} spots with at least "
        f"{selection.min_counts:,} counts in all: {n_within:,} of {n_seen:,}"
    )
    if n_within < min(2, n_seen):
        msg = (
            f"too few genes are {found} (at most, a gene is seen in {n_cells[seen].max():,} and has "
            f"{n_counts[seen].max():,.0f}); lower min_cells={selection.min_cells} and min_counts="
            f"{selection.min_counts}."
        )
        raise ValueError(msg)
    say = warn if n_within < min(_FEW_GENES, n_seen / 2) else logger.info
    say(f"Genes {found}; the others are not marked.")
    return within


def select_genes(
    counts: Any,
    summary: Summary,
    candidates: np.ndarray,
    n_top_genes: int | None,
    *,
    labels: pd.Categorical | None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rank the candidates; return what was measured, one value for each gene, and how it was ranked."""
    n_candidates = int(np.count_nonzero(candidates))
    method: dict[str, Any] = {"flavor": None, "span": None, "n_candidates": n_candidates}
    if n_top_genes is None or n_top_genes >= n_candidates:
        return {"highly_variable": candidates}, method
    sizes, sums, squares = summary.sizes[:, None], summary.sums[:, candidates], summary.squares[:, candidates]
    mean, variance = _moments(sizes, sums, squares)
    fits = [_fit(*of_slice) for of_slice in zip(mean, variance, strict=True)]
    usable = np.array([fit is not None for fit in fits])
    if usable.any():
        if labels is not None and not usable.all():
            names = ", ".join(map(repr, labels.categories[~usable]))
            warn(f"The slices {names} have too few spots or counts to rank genes in them; the other slices decide.")
        number = np.where(usable, np.cumsum(usable) - 1, -1)
        codes = number[np.zeros(counts.shape[0], int) if labels is None else labels.codes]
        expected = np.stack([fit[0] for fit in fits if fit is not None])
        score = _standardised_variance(counts, codes, candidates, sizes[usable], mean[usable], expected)
        method |= {"flavor": "seurat_v3", "span": max(fit[1] for fit in fits if fit is not None)}
    else:
        warn(
            f"The variance of the genes could not be fitted on the counts (too few spots, genes or counts for any "
            f"loess span of {list(_SPANS)}); the n_top_genes={n_top_genes} are ranked by variance over mean instead."
        )
        score = np.divide(variance, mean, out=np.zeros_like(mean), where=mean > 0)
        method |= {"flavor": "dispersion", "span": None}
    pooled = _moments(*(part.sum(axis=0, keepdims=True) for part in (sizes, sums, squares)))
    ranking = _rank(score, n_top_genes) | {"means": pooled[0][0], "variances": pooled[1][0]}
    if labels is None:
        del ranking["highly_variable_nbatches"]
    return {name: _spread(values, candidates) for name, values in ranking.items()}, method


def _standardised_variance(  # noqa: PLR0917
    counts: Any, codes: np.ndarray, candidates: np.ndarray, sizes: np.ndarray, mean: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Variance in units of the expected one by slice and gene, of counts cut off at the root of the number of spots."""
    ceiling, n_genes = (expected * np.sqrt(sizes) + mean).ravel(), mean.shape[1]
    columns = np.full(len(candidates), -1)
    columns[candidates] = np.arange(n_genes)
    sums, squares, start = np.zeros(ceiling.size), np.zeros(ceiling.size), 0
    for given in blocks_of(counts):
        block = sparse.csr_array(given)
        slices = np.repeat(codes[start : start + block.shape[0]], np.diff(block.indptr))
        start += block.shape[0]
        genes = columns[block.indices]
        counted = (genes >= 0) & (slices >= 0)
        cells = slices[counted] * n_genes + genes[counted]
        values = np.minimum(block.data[counted].astype(np.float64), ceiling[cells])
        sums += np.bincount(cells, values, ceiling.size)
        squares += np.bincount(cells, values**2, ceiling.size)
    about_mean = sizes * mean**2 + squares.reshape(mean.shape) - 2 * sums.reshape(mean.shape) * mean
    return np.asarray(about_mean / ((sizes - 1) * expected**2))


def _moments(sizes: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances by slice and gene."""
    mean = sums / np.maximum(sizes, 1)
    # Of whole numbers the bracket is exact, so a constant gene has no variance at all.
    spread = np.maximum(sizes * squares - sums**2, 0)
    spread[spread < 1e-12 * sizes * squares] = 0
    return mean, spread / np.maximum(sizes * (sizes - 1), 1)


def _fit(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Standard deviation expected from the mean in a slice, and the span of the fit; ``None`` if there is none."""
    from skmisc.loess import loess

    varies = variance > 0
    for span in _SPANS:
        if span * np.count_nonzero(varies) < _FEWEST_GENES_IN_SPAN:
            continue
        try:
            model = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
            model.fit()
        except ValueError as error:
            logger.debug("The loess fit of gene variances failed with span=%s: %s", span, error)
            continue
        expected = np.ones_like(mean)
        expected[varies] = np.sqrt(10 ** np.asarray(model.outputs.fitted_values))
        return expected, span
    return None


def _rank(score: np.ndarray, n_top_genes: int) -> dict[str, np.ndarray]:
    """Genes by the median of their ranks in the slices in which they are among the first, as in Seurat."""
    ranks = np.argsort(np.argsort(-score, axis=1), axis=1).astype(np.float32)
    ranks[ranks >= n_top_genes] = np.nan
    n_slices = np.count_nonzero(~np.isnan(ranks), axis=0)
    with warnings.catch_warnings():
        # Genes that are among the first nowhere have no rank.
        warnings.simplefilter("ignore", RuntimeWarning)
        median = np.nanmedian(ranks, axis=0)
    table = pd.DataFrame({"highly_variable_rank": median, "highly_variable_nbatches": n_slices})
    by = ["highly_variable_rank", "highly_variable_nbatches"]
    order = table.sort_values(by, ascending=[True, False], na_position="last").index[:n_top_genes]
    chosen = np.isin(table.index, order)
    measured = {name: table[name].to_numpy() for name in by}
    return {"highly_variable": chosen, **measured, "variances_norm": score.mean(axis=0)}


def _spread(values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """One value for each gene; those that are no candidates are not marked, and else NaN."""
    if candidates.all():
        return values
    full = np.zeros(len(candidates), bool) if values.dtype == bool else np.full(len(candidates), np.nan)
    full[candidates] = values
    return full
