"""Raw counts to the input of the methods: gene selection, normalisation, logarithm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, say_outdated, write
from spotscape._core.arguments import public
from spotscape._core.genes import absent_genes, control_features
from spotscape._core.logging import logger, warn
from spotscape._core.places import off_tissue
from spotscape._core.provenance import results_with
from spotscape._core.rows import Normalisation, summarise
from spotscape._core.validation import params_of, require_data, slice_labels
from spotscape.pp._genes import Counts, Recipe, candidate_genes, select_genes, selection_of

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.rows import Summary

# Of scanpy's measurements those that h5ad and zarr can hold and that are not copies of var_names.
_MEASURED = (
    "highly_variable",
    "highly_variable_rank",
    "highly_variable_nbatches",
    "means",
    "variances",
    "variances_norm",
)
# Sections of one cohort differ in depth, but not by this, unless one of them has failed.
_SHALLOW = 10
# Slices of one platform hold nearly all of their counts in genes that all of them have; slices of two panels do not.
_SHARED = 0.95


@public
def prepare(
    adata: AnnData,
    *,
    recipe: Recipe = "spotscape",
    n_top_genes: int | Literal["recipe"] | None = "recipe",
    min_cells: int | None = None,
    min_counts: int | None = None,
    log1p: bool = True,
    library_key: str | None = None,
    layer: str | None = None,
    target_sum: float | None = 1e4,
    keep_controls: bool = False,
    counts: Literal["check", "assume"] = "check",
    copy: bool = False,
) -> AnnData | None:
    """Prepare raw counts: mark variable genes, normalise and log-transform.

    One call prepares the data for every method; no filtering is needed before. Genes are ranked on the *counts* by
    their standardised variance (``seurat_v3``), within each slice and then over the slices, so that differences between
    slices do not make a gene variable. Every spot is scaled to ``target_sum`` counts over all genes, and the result is
    ``log(1 + x)``.

    Nothing is removed. The chosen genes are marked in ``adata.var["highly_variable"]``, where
    :func:`spotscape.tl.spotscape`, :func:`spotscape.tl.spacross` and :func:`scanpy.pp.pca` look for them. Genes without
    a count, genes that one slice has not measured, and control probes are never chosen. Spots without a count stay; the
    encoders embed them from their neighbours. The log says how many there are.

    The counts are kept in ``adata.layers["counts"]``. A second call takes them from there, so you can change the recipe
    at any time.

    Parameters
    ----------
    adata
        Spots by genes, with raw counts in ``adata.X`` or in a layer: dense, CSR or CSC, any real type, a dask array, or
        a file opened with ``backed="r"`` (see Notes). If ``X`` is ``None``, the only layer is taken, or the one
        called ``"counts"``.
    recipe
        The paper whose choice of genes to follow. ``"spotscape"`` marks 5,000 of all genes; ``"spacross"`` marks 2,000
        of the genes that have counts in at least 50 spots and at least 10 counts in total. Both methods work well with
        either. The next three arguments override it.
    n_top_genes
        Number of genes to mark; ``"recipe"`` takes that of the recipe. ``None`` marks all genes within the limits of
        ``min_cells`` and ``min_counts``, without ranking. So does a number that is not smaller than the number of these
        genes.
    min_cells
        Mark only genes with a count in at least this many spots. ``None`` means the recipe's: 0 for Spotscape, 50 for
        SpaCross, but no more than one twentieth of the spots.
    min_counts
        Mark only genes with at least this many counts in total. ``None`` means the recipe's: 0 for Spotscape, 10 for
        SpaCross.
    log1p
        Whether to take ``log(1 + x)``. The released notebooks of SpaCross do not take it. The choice is stored in
        ``adata.uns``, where the methods read it.
    library_key
        Column of ``adata.obs`` with the slice of every spot: categories, text, whole numbers or booleans. ``None``
        means a single slice.
    layer
        Layer with the counts. ``None`` means ``adata.X``, or ``adata.layers["counts"]`` if ``adata`` was prepared
        before.
    target_sum
        Total of every spot after normalisation, over all genes, whether marked or not; ``None`` means the median total
        of the spots. Where slices of ``library_key`` have different genes (a slice has more than 5 % of its counts in
        genes that another has not measured), totals are over the genes that all of them have.
    keep_controls
        Whether control probes, blank barcodes, antibodies and guides count as genes. By default they are neither marked
        nor part of a spot's total. They are recognised by ``var["feature_types"]``, or by names such as
        ``NegControl...``, ``BLANK_...``, ``SystemControl...``.
    counts
        ``"check"`` refuses values that are not counts. Counts divided by one number for each spot, such as a cell's
        volume, are recognised and accepted with a warning, because normalisation cancels that number. ``"assume"`` also
        accepts any other positive values, such as counts minus the ambient RNA.

    Returns
    -------
    ``adata.X`` : float32 (float64 if the counts are), dense or ``csr_matrix``, or a dask array
        The normalised counts, with ``log1p`` applied if asked for.
    ``adata.layers["counts"]`` : as given
        The raw counts.
    ``adata.var["highly_variable"]`` : bool, shape ``(n_vars,)``
        Whether the gene is chosen. Next to it what the ranking measured, under scanpy's names:
        ``highly_variable_rank``, ``means``, ``variances``, ``variances_norm`` and, with several slices,
        ``highly_variable_nbatches``; NaN for genes that are not ranked.
    ``adata.uns["prepare"]`` : dict
        Parameters as they were used, version, the flavour of the ranking, its loess ``span``, and the number of genes
        within the limits, ``n_candidates``.
    ``adata.uns["log1p"]``, ``adata.uns["hvg"]`` : dict
        As scanpy writes them. Outdated entries are removed.
    ``adata.obs["prepare_factor"]`` : float64, shape ``(n_obs,)``
        Only for a backed file: the number by which the counts of each spot are multiplied when they are read.

    Raises
    ------
    ValueError
        If the matrix holds logarithms, negative, NaN or infinite values, or only zeros; the message says where counts
        were found. If ``layers["counts"]`` holds other counts; if fewer than two genes are within ``min_cells`` and
        ``min_counts``; if a backed file is combined with ``copy`` or ``layer``.
    TypeError
        If the matrix holds no numbers, or a number of genes, spots or counts is not an integer.

    Warns
    -----
    UserWarning
        If values are taken as counts although they are not; if a slice has so few counts that it may have failed, or
        too few to rank genes in it; if spots lie outside the tissue; if the limits leave few genes; if no curve fits
        the variances.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : The encoders.

    Notes
    -----
    A file opened with ``backed="r"`` keeps its counts in ``X``, since it cannot be changed. It is read twice, block by
    block, and never whole. The factors and the chosen genes are written beside it in memory, and the functions of
    ``sp.tl`` normalise the counts as they read them.

    The ranking fits a curve (loess) of variance over mean, which fails on slices with few spots or few counts. The fit
    is then repeated with wider windows (``span`` .3, .5, .7, 1). A slice in which all fail does not take part in the
    ranking; if that is every slice, genes are ranked by variance over mean.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> rng = np.random.default_rng(0)
    >>> adata = AnnData(rng.poisson(rng.gamma(2.0, 1.0, 300), size=(200, 300)))
    >>> sp.pp.prepare(adata, n_top_genes=100)
    >>> int(adata.var["highly_variable"].sum()), "counts" in adata.layers
    (100, True)

    References
    ----------
    Stuart et al., *Comprehensive integration of single-cell data*, Cell 2019, for the ranking.
    """
    require_data(adata)
    if adata.isbacked and layer is not None:
        # What is learned of the counts of a file is written beside them, in X.
        msg = f"layer={layer!r} does not go with an AnnData backed by a file; load it first: adata = adata.to_memory()."
        raise ValueError(msg)
    given = Counts.find(adata, layer)
    labels = slice_labels(adata, library_key)
    controls = np.zeros(adata.n_vars, bool) if keep_controls else control_features(adata)
    summary = summarise(given.matrix, groups=None if labels is None else labels.codes, counted=~controls)
    given.check(adata, summary, assume=counts == "assume")
    selection = selection_of(recipe, adata.n_obs, n_top_genes=n_top_genes, min_cells=min_cells, min_counts=min_counts)
    shared = ~absent_genes(summary.detected, summary.sizes).any(axis=0)
    genes = ~controls & shared if (~controls & shared).any() else ~controls
    totals = summary.row_sums
    if labels is not None and not (genes | controls).all():
        totals = _totals(given.matrix, summary, genes, labels)
    _report_data(adata, given, summary, totals, labels)
    candidates = candidate_genes(summary, selection, genes)
    ranking, method = select_genes(given.matrix, summary, candidates, selection.n_top_genes, labels=labels)
    target = float(np.median(totals[totals > 0])) if target_sum is None else target_sum
    factors: np.ndarray = np.divide(target, totals, out=np.zeros_like(totals), where=totals > 0)
    normalisation = Normalisation(factors, log1p)
    params = {
        "recipe": recipe,
        **dataclasses.asdict(selection),
        "log1p": log1p,
        "library_key": library_key,
        "layer": given.layer,
        "target_sum": target_sum,
        "keep_controls": keep_controls,
    }
    result = adata.copy() if copy else adata
    _write(result, given, normalisation, ranking, record(params, **method), copied=copy)
    silent = ~controls & (summary.column_sums == 0)
    out = {
        "control features": controls.sum(),
        "genes without a count": silent.sum(),
        "genes that a slice has not measured": (~controls & ~silent & ~genes).sum(),
    }
    _report(result, labels=labels, out=out)
    return result if copy else None


def _write(
    adata: AnnData,
    given: Counts,
    normalisation: Normalisation,
    ranking: dict[str, np.ndarray],
    summary: dict[str, Any],
    *,
    copied: bool,
) -> None:
    """Write all, ``X`` last, and remove what an earlier call left and this one makes untrue."""
    backed = adata.isbacked or given.in_file
    normalised = None if backed else given.normalised(normalisation)
    layers = {}
    if not backed and given.layer != keys.COUNTS:
        shared = hasattr(given.stored, "copy") and (given.layer is not None or copied or adata.is_view)
        layers = {keys.COUNTS: given.stored.copy() if shared else given.stored}
    obs = {keys.FACTOR: normalisation.factors} if backed else {}
    var = {name: ranking[name] for name in _MEASURED if name in ranking}
    uns: dict[str, Any] = {keys.PREPARE: {**summary, "on_reading": backed}}
    if normalisation.log1p and not backed:
        uns["log1p"] = {}
    if summary.get("flavor") is not None:
        uns["hvg"] = {"flavor": summary["flavor"]}
    outdated = [("uns", key) for key in ("log1p", "hvg") if key not in uns]
    if keys.PREPARE in adata.uns:
        outdated += [("var", key) for key in _MEASURED if key not in var]
    if not backed:
        outdated.append(("obs", keys.FACTOR))
    matrix = {} if normalised is None else {"X": {"": normalised}}
    known = {**params_of(adata.uns.get(keys.PREPARE)), "layer": None} == {**summary["params"], "layer": None}
    known = known and np.array_equal(adata.var.get("highly_variable"), var["highly_variable"])
    write(adata, {"obs": obs, "var": var, "layers": layers, "uns": uns, **matrix}, outdated=outdated, log=False)
    if not known:
        say_outdated(["adata.X"], results_with(adata, "source", "adata.X"))


def _totals(matrix: Any, summary: Summary, genes: np.ndarray, labels: pd.Categorical) -> np.ndarray:
    """Total of every spot, over the genes that all slices have where some slices have many more.

    Over all of its genes, a spot of a large panel would have less of each shared gene than one of a small panel.
    """
    over_shared = summarise(matrix, counted=genes).row_sums
    by_slice = [np.bincount(labels.codes, sums) for sums in (over_shared, summary.row_sums)]
    kept = by_slice[0] / np.where(by_slice[1] > 0, by_slice[1], np.inf)
    if (kept[by_slice[1] > 0] >= _SHARED).all():
        return summary.row_sums
    poorest = int(np.where(by_slice[1] > 0, kept, np.inf).argmin())
    logger.info(
        "Slices have different genes: spots are normalised by the %s genes that all have, %.0f%% of the counts of %r.",
        f"{(genes & (summary.column_sums > 0)).sum():,}",
        100 * kept[poorest],
        labels.categories[poorest],
    )
    return over_shared


def _report_data(
    adata: AnnData, given: Counts, summary: Summary, totals: np.ndarray, labels: pd.Categorical | None
) -> None:
    """Say what is unusual about the spots."""
    empty = summary.row_sums == 0
    if empty.any():
        logger.info(
            "%s of %s spots have no counts in %s; they stay, and are embedded from their neighbours.",
            f"{empty.sum():,}",
            f"{len(empty):,}",
            given.where,
        )
    outside = off_tissue(adata).sum()
    if outside:
        warn(
            f"{outside:,} of {adata.n_obs:,} spots lie outside the tissue (adata.obs['in_tissue'] is 0) and are used "
            f"like all others. To leave them out: adata = adata[adata.obs['in_tissue'] == 1].copy()."
        )
    if labels is None:
        return
    depth = pd.Series(totals).groupby(np.asarray(labels.codes)).median()
    for code in depth.index[depth * _SHALLOW < depth.median()]:
        warn(
            f"Slice {labels.categories[code]!r} has a median of {depth[code]:,.0f} counts a spot, the slices together "
            f"{depth.median():,.0f}. It is used; leave it out if the experiment failed."
        )


def _report(adata: AnnData, *, labels: pd.Categorical | None, out: dict[str, int]) -> None:
    summary = adata.uns[keys.PREPARE]
    params, candidates = summary["params"], f"{summary['n_candidates']:,}"
    left_out = [f"{number:,} {what}" for what, number in out.items() if number]
    others = f" Left out: {', '.join(left_out)}." if left_out else ""
    if "flavor" not in summary:
        logger.info("All %s genes are marked as highly variable, as n_top_genes is not smaller.%s", candidates, others)
    else:
        chosen = f"{int(adata.var['highly_variable'].sum()):,} of {candidates}"
        column = f"obs[{params.get('library_key')!r}]"
        within = "" if labels is None else f", within the {len(labels.categories)} slices of {column}"
        logger.info("%s genes are marked as highly variable (%s%s).%s", chosen, summary["flavor"], within, others)
    total = "the median total" if "target_sum" not in params else f"{params['target_sum']:g}"
    what = "log1p of counts scaled to" if params["log1p"] else "counts, without logarithm, scaled to"
    if summary["on_reading"]:
        logger.info("The file keeps its counts; sp.tl reads them as %s %s.", what, total)
    else:
        logger.info("`adata.X` is now %s %s; the counts are in `adata.layers['%s']`.", what, total, keys.COUNTS)
