"""Which genes the methods look at: of those seen often enough, the most variable ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from spotscape._core.counts import n_detected, n_varying
from spotscape._core.logging import logger, warn
from spotscape._core.threads import torch_threads_kept
from spotscape._core.validation import require_choice, require_positive_int

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
    default = _RECIPES[require_choice(recipe, "recipe", _RECIPES)]
    if n_top_genes == "recipe":
        n_top_genes = default.n_top_genes
    elif n_top_genes is not None:
        require_positive_int(n_top_genes, "n_top_genes")
    if min_cells is None:
        min_cells = min(default.min_cells, max(1, n_obs // _SPOTS_PER_REQUIRED_CELL))
        if min_cells < default.min_cells:
            lowered = "min_cells is lowered from %s to %s, one twentieth of the %s spots."
            logger.info(lowered, default.min_cells, min_cells, f"{n_obs:,}")
    return GeneSelection(
        n_top_genes,
        require_positive_int(min_cells, "min_cells", minimum=0),
        require_positive_int(default.min_counts if min_counts is None else min_counts, "min_counts", minimum=0),
    )


def candidate_genes(counts: Any, selection: GeneSelection) -> np.ndarray:
    """Find the genes within the limits, bool ``(n_vars,)``; refuse limits that leave nothing to compare."""
    if selection.min_cells == selection.min_counts == 0:
        return np.ones(counts.shape[1], dtype=bool)
    n_cells, n_counts = n_detected(counts), np.asarray(counts.sum(axis=0)).ravel()
    within = (n_cells >= selection.min_cells) & (n_counts >= selection.min_counts)
    if within.all():
        return within
    n_within = np.count_nonzero(within)
    found = (
        f"seen in at least {selection.min_cells:,} of {counts.shape[0]:,} spots with at least "
        f"{selection.min_counts:,} counts in all: {n_within:,} of {len(within):,}"
    )
    if n_within < min(2, len(within)):
        msg = (
            f"too few genes are {found} (at most, a gene is seen in {n_cells.max():,} and has {n_counts.max():,.0f}); "
            f"lower min_cells={selection.min_cells} and min_counts={selection.min_counts}."
        )
        raise ValueError(msg)
    say = warn if n_within < min(_FEW_GENES, len(within) / 2) else logger.info
    say(f"Genes {found}; the others are not marked.")
    return within


def select_genes(
    adata: AnnData,
    counts: Any,
    normalised: Any,
    selection: GeneSelection,
    *,
    labels: pd.Categorical | None,
    is_logarithm: bool,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rank the candidates; return what was measured, one row for each gene of ``adata``, and how it was ranked."""
    candidates = candidate_genes(counts, selection)
    n_candidates = int(np.count_nonzero(candidates))
    if selection.n_top_genes is None or selection.n_top_genes >= n_candidates:
        everything = pd.DataFrame({"highly_variable": candidates}, index=adata.var_names)
        return everything, {"flavor": None, "span": None, "n_candidates": n_candidates}
    scratch = _scratch(adata, counts, normalised, candidates)
    if labels is not None:
        scratch.obs["slice"] = labels
    batch_key = None if labels is None else "slice"
    ranking, method = _rank_genes(scratch, selection.n_top_genes, batch_key=batch_key, is_logarithm=is_logarithm)
    if n_candidates < adata.n_vars:
        ranking = ranking.reindex(adata.var_names)
        ranking["highly_variable"] = ranking["highly_variable"].eq(True)  # noqa: FBT003
    return ranking, {**method, "n_candidates": n_candidates}


def _scratch(adata: AnnData, counts: Any, normalised: Any, candidates: np.ndarray) -> AnnData:
    matrix = sparse.csr_matrix(counts) if sparse.issparse(counts) else counts
    if not candidates.all():
        matrix, normalised = matrix[:, candidates], normalised[:, candidates]
    return AnnData(
        matrix,
        obs=pd.DataFrame(index=adata.obs_names),
        var=pd.DataFrame(index=adata.var_names[candidates]),
        layers={"normalised": normalised},
    )


@torch_threads_kept()
def _rank_genes(
    scratch: AnnData, n_top_genes: int, *, batch_key: str | None, is_logarithm: bool
) -> tuple[pd.DataFrame, dict[str, Any]]:
    import scanpy as sc

    common = {"n_top_genes": n_top_genes, "batch_key": batch_key, "inplace": False}
    codes = scratch.obs[batch_key].cat.codes.to_numpy() if batch_key else np.zeros(scratch.n_obs)
    fewest = min(n_varying(scratch.X[codes == code]) for code in np.unique(codes))
    for span in _SPANS:
        if span * fewest < _FEWEST_GENES_IN_SPAN:
            continue
        try:
            ranking = sc.pp.highly_variable_genes(scratch, flavor="seurat_v3", span=span, check_values=False, **common)
        except ValueError as error:
            logger.debug("The loess fit of gene variances failed with span=%s: %s", span, error)
            continue
        return ranking, {"flavor": "seurat_v3", "span": span}
    warn(
        f"The variance of the genes could not be fitted on the counts (too few spots, genes or counts for any loess "
        f"span of {list(_SPANS)}); the n_top_genes={n_top_genes} are ranked by dispersion (flavor='seurat') instead."
    )
    if not is_logarithm:
        scratch.layers["normalised"] = sc.pp.log1p(scratch.layers["normalised"], copy=True)
    return _rank_by_dispersion(scratch, common), {"flavor": "seurat", "span": None}


def _rank_by_dispersion(scratch: AnnData, common: dict[str, Any]) -> pd.DataFrame:
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty bins of the mean are expected on what brought us here
        measured = sc.pp.highly_variable_genes(scratch, flavor="seurat", layer="normalised", **common)
    ranking: pd.DataFrame = measured.reindex(scratch.var_names)
    # Ties at the cut-off would let scanpy mark more genes than asked for.
    ordered = ranking.sort_values(["dispersions_norm", "dispersions"], ascending=False, kind="stable").index
    return ranking.assign(highly_variable=ranking.index.isin(ordered[: common["n_top_genes"]]))
