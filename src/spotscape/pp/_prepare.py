"""Raw counts to the input of the methods: gene selection, normalisation, logarithm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from anndata import AnnData
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.counts import require_counts, require_no_empty
from spotscape._core.logging import logger
from spotscape._core.threads import torch_threads_kept
from spotscape._core.validation import require_data, require_key, slice_labels
from spotscape.pp._genes import Recipe, select_genes, selection_of

if TYPE_CHECKING:
    import pandas as pd

# Of scanpy's measurements those that h5ad and zarr can hold and that are not copies of var_names.
_MEASURED = (
    "highly_variable",
    "highly_variable_rank",
    "highly_variable_nbatches",
    "means",
    "variances",
    "variances_norm",
    "dispersions",
    "dispersions_norm",
)


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
    copy: bool = False,
) -> AnnData | None:
    """Turn raw counts into what the methods take: highly variable genes marked, counts normalised and logarithmised.

    The recipes, all of it through scanpy: genes are ranked on the *counts* by their standardised variance
    (``seurat_v3``), within each slice and then over the slices, so that no difference between slices makes a gene
    variable and no gene is lost because one slice ranks it low; every spot is scaled to ``target_sum`` counts over
    *all* genes; the result is ``log(1 + x)``. ``recipe`` says how many genes are marked, and out of which:

    ``"spotscape"``
        5,000 of all genes.
    ``"spacross"``
        2,000 of the genes that are seen in at least 50 spots and have at least 10 counts in all, the spots of all
        slices taken together. The SpaCross paper goes on to standardise these genes and to take principal components.
        That is part of the model here, :class:`spotscape.models.SpaCross`, so that expression stays sparse; nothing of
        it is written.

    No gene is dropped: the chosen ones are marked in ``adata.var["highly_variable"]``, which is what
    :func:`spotscape.tl.spotscape` and :func:`spotscape.tl.spacross` look at by default, as :func:`scanpy.pp.pca` does.

    This is the one function of the package that is meant to change ``adata.X``. The counts stay in
    ``adata.layers["counts"]``; ``copy=True`` leaves ``adata`` as it was. To go from one recipe to the other, take the
    counts from there: ``sp.pp.prepare(adata, recipe="spacross", layer="counts")``.

    Parameters
    ----------
    adata
        Spots by genes, with raw counts in ``adata.X`` or in a layer; NumPy array, CSR or CSC, any real dtype.
    recipe
        Whose defaults the next three arguments have; each of them can be set for itself.
    n_top_genes
        Number of genes to mark; ``"recipe"`` means 5,000 for Spotscape and 2,000 for SpaCross, as in their papers.
        ``None``, or a number that is not smaller than the number of genes within the limits, marks all of these
        without ranking.
    min_cells
        Mark only genes with a count in at least this many spots. ``None`` means the recipe's: 0 for Spotscape, 50 for
        SpaCross, but no more than one twentieth of the spots, which makes a difference below 1,000 spots. A number is
        taken as it is.
    min_counts
        Mark only genes with at least this many counts in all. ``None`` means the recipe's: 0 for Spotscape, 10 for
        SpaCross.
    log1p
        Whether to take ``log(1 + x)``. SpaCross's released notebooks do without; the model here undoes logarithms
        itself (``SpaCrossConfig.linear_scale``), so expression may stay as all other tools want it.
    library_key
        Categorical column of ``adata.obs`` with the slice of every spot. ``None`` means a single slice.
    layer
        Layer with the counts. ``None`` means ``adata.X``.
    target_sum
        Total of every spot after normalisation, over all genes, whether marked or not; ``None`` means the median total
        of the spots.
    copy
        Return a new AnnData instead of changing ``adata``.

    Returns
    -------
    ``None`` if ``copy=False``, else the new :class:`~anndata.AnnData`. Written are:

    ``adata.X`` : float32 (float64 if the counts are), dense or ``csr_matrix``
        ``log1p`` of the normalised counts, or these themselves; zero where they are.
    ``adata.layers["counts"]`` : as given
        The raw counts.
    ``adata.var["highly_variable"]`` : bool, shape ``(n_vars,)``
        Whether the gene is chosen. Next to it what scanpy's ranking measured: ``highly_variable_rank``, ``means``,
        ``variances``, ``variances_norm`` and, with several slices, ``highly_variable_nbatches`` (float or int); NaN
        for genes outside the limits, which are not ranked.
    ``adata.uns["prepare"]`` : dict
        Parameters as they were used, version, the flavour of the ranking, its loess ``span``, and the number of genes
        within the limits, ``n_candidates``.
    ``adata.uns["log1p"]``, ``adata.uns["hvg"]`` : dict
        As scanpy leaves them; none that is no longer true stays.

    Raises
    ------
    ValueError
        If the matrix is not raw counts (fractions, negative, NaN or infinite values, only zeros), has spots or genes
        without a single count, a slice has fewer than two spots, or ``layers["counts"]`` holds something else; if
        fewer than two genes are within ``min_cells`` and ``min_counts``; if there is no such recipe.
    KeyError
        If ``layer`` or ``library_key`` does not exist.
    TypeError
        If ``library_key`` is not categorical, the matrix is neither dense nor sparse in memory, or a number of genes,
        spots or counts is no integer.

    Warns
    -----
    UserWarning
        If the limits leave fewer than half of the genes and fewer than 100; if no curve fits the variances (see Notes).

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : The encoders, which take what this leaves.

    Notes
    -----
    The ranking fits a curve (loess) of variance over mean, which fails on slices with few spots or few counts. The fit
    is then repeated with wider windows (``span`` .3, .5, .7, 1); if all fail, genes are ranked by the normalised
    dispersion of the logarithmised values (``flavor="seurat"``) and a warning says so.

    SpaCross's released notebooks remove the genes outside the limits before they normalise. Here all genes count
    towards the total of a spot, whichever the recipe; the difference is the share of counts in genes that hardly any
    spot has.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> rng = np.random.default_rng(0)
    >>> adata = AnnData(rng.poisson(rng.gamma(2.0, 1.0, 300), size=(200, 300)) + np.eye(200, 300, dtype=int))
    >>> sp.pp.prepare(adata, n_top_genes=100)
    >>> int(adata.var["highly_variable"].sum()), "counts" in adata.layers
    (100, True)
    """
    counts = _checked_counts(adata, layer)
    labels = slice_labels(adata, library_key)
    _check_arguments(labels=labels, target_sum=target_sum)
    selection = selection_of(recipe, adata.n_obs, n_top_genes=n_top_genes, min_cells=min_cells, min_counts=min_counts)

    normalised = _normalise(counts, target_sum, log1p=log1p)
    ranking, method = select_genes(adata, counts, normalised, selection, labels=labels, is_logarithm=log1p)
    params = {
        "recipe": recipe,
        **dataclasses.asdict(selection),
        "log1p": log1p,
        "library_key": library_key,
        "layer": layer,
        "target_sum": target_sum,
    }

    result = adata.copy() if copy else adata
    owned = layer is None and not copy and not adata.is_view
    layers = {} if layer == keys.COUNTS else {keys.COUNTS: counts if owned else counts.copy()}
    _write(result, ranking, layers, normalised, record(params, **method))
    _report(result, labels=labels)
    return result if copy else None


def _checked_counts(adata: AnnData, layer: str | None) -> Any:
    require_data(adata)
    if adata.isbacked:
        msg = f"adata is backed by the file {str(adata.filename)!r}; load it first: adata = adata.to_memory()."
        raise ValueError(msg)
    if layer is not None:
        require_key(adata.layers, layer, "adata.layers", hint="layer names the layer with the raw counts")
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    counts = adata.X if layer is None else adata.layers[layer]
    require_counts(counts, where, hint=_hint(adata, layer))
    require_no_empty(adata, counts, where)
    _check_kept_counts(adata, counts, layer)
    return counts


def _hint(adata: AnnData, layer: str | None) -> str:
    if layer is None and keys.COUNTS in adata.layers:
        return f"adata.layers[{keys.COUNTS!r}] exists: sp.pp.prepare(adata, layer={keys.COUNTS!r})."
    return "put the counts in X or name the layer that has them: sp.pp.prepare(adata, layer=...)."


def _check_kept_counts(adata: AnnData, counts: Any, layer: str | None) -> None:
    if layer == keys.COUNTS or keys.COUNTS not in adata.layers:
        return
    kept = adata.layers[keys.COUNTS]
    differs = (
        (kept != counts).nnz if sparse.issparse(kept) and sparse.issparse(counts) else _dense_differs(kept, counts)
    )
    if differs:
        where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        msg = (
            f"adata.layers[{keys.COUNTS!r}] exists and is not what {where} holds; take it with layer={keys.COUNTS!r}, "
            f"or make room first: del adata.layers[{keys.COUNTS!r}]."
        )
        raise ValueError(msg)


def _dense_differs(kept: Any, counts: Any) -> bool:
    left, right = (m.toarray() if sparse.issparse(m) else np.asarray(m) for m in (kept, counts))
    return not np.array_equal(left, right)


def _check_arguments(*, labels: pd.Categorical | None, target_sum: float | None) -> None:
    if target_sum is not None and not (np.isfinite(target_sum) and target_sum > 0):
        msg = f"target_sum={target_sum} must be a positive number, or None for the median total of the spots."
        raise ValueError(msg)
    if labels is not None:
        small = labels.value_counts()
        small = small[small < 2]
        if len(small):
            msg = f"slice {small.index[0]!r} has {small.iloc[0]} spot; no variance can be measured within it."
            raise ValueError(msg)


@torch_threads_kept()
def _normalise(counts: Any, target_sum: float | None, *, log1p: bool) -> Any:
    import scanpy as sc

    dtype = np.float64 if counts.dtype == np.float64 else np.float32
    scratch = AnnData(
        sparse.csr_matrix(counts, dtype=dtype, copy=True) if sparse.issparse(counts) else counts.astype(dtype)
    )
    sc.pp.normalize_total(scratch, target_sum=target_sum)
    if log1p:
        sc.pp.log1p(scratch)
    return scratch.X


def _write(
    adata: AnnData, ranking: pd.DataFrame, layers: dict[str, Any], normalised: Any, summary: dict[str, Any]
) -> None:
    """Write all of it, and remove what an earlier call left and this one makes untrue."""
    var = {name: ranking[name].to_numpy() for name in _MEASURED if name in ranking}
    uns: dict[str, Any] = {keys.PREPARE: summary}
    if summary["params"]["log1p"]:
        uns["log1p"] = {}
    if "flavor" in summary:
        uns["hvg"] = {"flavor": summary["flavor"]}
    outdated = [("uns", key) for key in sorted({"log1p", "hvg"} - uns.keys())]
    if keys.PREPARE in adata.uns:
        outdated += [("var", key) for key in _MEASURED if key not in var]
    write(adata, {"var": var, "layers": layers, "uns": uns, "X": {"": normalised}}, outdated=outdated, log=False)


def _report(adata: AnnData, *, labels: pd.Categorical | None) -> None:
    summary = adata.uns[keys.PREPARE]
    params, candidates = summary["params"], f"{summary['n_candidates']:,}"
    if "flavor" not in summary:
        logger.info("All %s genes are marked as highly variable (n_top_genes is not smaller).", candidates)
    else:
        chosen = f"{int(adata.var['highly_variable'].sum()):,} of {candidates}"
        column = f"obs[{params.get('library_key')!r}]"
        within = "" if labels is None else f", within the {len(labels.categories)} slices of {column}"
        logger.info("%s genes are marked as highly variable (%s%s).", chosen, summary["flavor"], within)
    total = "the median total" if "target_sum" not in params else f"{params['target_sum']:g}"
    what = "log1p of counts scaled to" if params["log1p"] else "counts, without logarithm, scaled to"
    logger.info("`adata.X` is now %s %s; the counts are in `adata.layers['%s']`.", what, total, keys.COUNTS)
