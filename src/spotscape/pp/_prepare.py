"""Raw counts to the input of the methods: gene selection, normalisation, logarithm."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.counts import n_varying, require_counts, require_no_empty
from spotscape._core.logging import logger, warn
from spotscape._core.threads import torch_threads_kept
from spotscape._core.validation import require_data, require_key, require_positive_int, slice_labels

if TYPE_CHECKING:
    import pandas as pd

# The first is the default of Seurat and scanpy; wider windows give up detail where small slices leave too few genes.
_SPANS = (0.3, 0.5, 0.7, 1.0)
# A window of fewer genes does not determine the local parabola, and scikit-misc then kills the process.
_FEWEST_GENES_IN_SPAN = 10
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


def prepare(
    adata: AnnData,
    *,
    n_top_genes: int | None = 5000,
    library_key: str | None = None,
    layer: str | None = None,
    target_sum: float | None = 1e4,
    copy: bool = False,
) -> AnnData | None:
    """Turn raw counts into what Spotscape takes: highly variable genes marked, counts normalised and logarithmised.

    The recipe, all of it through scanpy: genes are ranked on the *counts* by their standardised variance
    (``seurat_v3``), within each slice and then over the slices, so that no difference between slices makes a gene
    variable and no gene is lost because one slice ranks it low; every spot is scaled to ``target_sum`` counts over
    *all* genes; the result is ``log(1 + x)``.

    No gene is dropped: the chosen ones are marked in ``adata.var["highly_variable"]``, which is what
    :func:`spotscape.tl.spotscape` looks at by default, as :func:`scanpy.pp.pca` does.

    This is the one function of the package that is meant to change ``adata.X``. The counts stay in
    ``adata.layers["counts"]``; ``copy=True`` leaves ``adata`` as it was.

    Parameters
    ----------
    adata
        Spots by genes, with raw counts in ``adata.X`` or in a layer; NumPy array, CSR or CSC, any real dtype.
    n_top_genes
        Number of genes to mark; 5,000 as in the Spotscape paper. ``None``, or a number that is not smaller than the
        number of genes, marks all of them without ranking.
    library_key
        Categorical column of ``adata.obs`` with the slice of every spot. ``None`` means a single slice.
    layer
        Layer with the counts. ``None`` means ``adata.X``.
    target_sum
        Total of every spot after normalisation; ``None`` means the median total of the spots.
    copy
        Return a new AnnData instead of changing ``adata``.

    Returns
    -------
    ``None`` if ``copy=False``, else the new :class:`~anndata.AnnData`. Written are:

    ``adata.X`` : float32 (float64 if the counts are), dense or ``csr_matrix``
        ``log1p`` of the normalised counts, zero where they are.
    ``adata.layers["counts"]`` : as given
        The raw counts.
    ``adata.var["highly_variable"]`` : bool, shape ``(n_vars,)``
        Whether the gene is chosen. Next to it what scanpy's ranking measured: ``highly_variable_rank``, ``means``,
        ``variances``, ``variances_norm`` and, with several slices, ``highly_variable_nbatches`` (float or int).
    ``adata.uns["prepare"]`` : dict
        Parameters, version, the flavour of the ranking and its loess ``span``.
    ``adata.uns["log1p"]``, ``adata.uns["hvg"]`` : dict
        As scanpy leaves them.

    Raises
    ------
    ValueError
        If the matrix is not raw counts (fractions, negative, NaN or infinite values, only zeros), has spots or genes
        without a single count, a slice has fewer than two spots, or ``layers["counts"]`` holds something else.
    KeyError
        If ``layer`` or ``library_key`` does not exist.
    TypeError
        If ``library_key`` is not categorical, or the matrix is neither dense nor sparse in memory.

    Notes
    -----
    The ranking fits a curve (loess) of variance over mean, which fails on slices with few spots or few counts. The fit
    is then repeated with wider windows (``span`` .3, .5, .7, 1); if all fail, genes are ranked by the normalised
    dispersion of the logarithmised values (``flavor="seurat"``) and a warning says so.

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
    _check_arguments(adata, counts, n_top_genes=n_top_genes, labels=labels, target_sum=target_sum)

    normalised = _normalise(counts, target_sum)
    ranking, method = _select_genes(adata, counts, normalised, n_top_genes=n_top_genes, labels=labels)
    params = {"n_top_genes": n_top_genes, "library_key": library_key, "layer": layer, "target_sum": target_sum}

    result = adata.copy() if copy else adata
    uns: dict[str, Any] = {"prepare": record(params, **method), "log1p": {"base": None}}
    if method["flavor"] is not None:
        uns["hvg"] = {"flavor": method["flavor"]}
    owned = layer is None and not copy and not adata.is_view
    layers = {} if layer == keys.COUNTS else {keys.COUNTS: counts if owned else counts.copy()}
    # X comes last: on a view, the writes before it have made the view an AnnData of its own by then.
    var = {name: ranking[name].to_numpy() for name in _MEASURED if name in ranking}
    write(result, {"var": var, "layers": layers, "uns": uns}, log=False)
    result.X = normalised
    _report(result, method, labels=labels, library_key=library_key, target_sum=target_sum)
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


def _check_arguments(
    adata: AnnData, counts: Any, *, n_top_genes: int | None, labels: pd.Categorical | None, target_sum: float | None
) -> None:
    if n_top_genes is not None:
        require_positive_int(n_top_genes, "n_top_genes")
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
def _normalise(counts: Any, target_sum: float | None) -> Any:
    import scanpy as sc

    dtype = np.float64 if counts.dtype == np.float64 else np.float32
    scratch = AnnData(
        sparse.csr_matrix(counts, dtype=dtype, copy=True) if sparse.issparse(counts) else counts.astype(dtype)
    )
    sc.pp.normalize_total(scratch, target_sum=target_sum)
    sc.pp.log1p(scratch)
    return scratch.X


def _select_genes(
    adata: AnnData, counts: Any, normalised: Any, *, n_top_genes: int | None, labels: pd.Categorical | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    if n_top_genes is None or n_top_genes >= adata.n_vars:
        everything = pd.DataFrame({"highly_variable": np.ones(adata.n_vars, dtype=bool)}, index=adata.var_names)
        return everything, {"flavor": None, "span": None}
    obs = pd.DataFrame(index=adata.obs_names)
    if labels is not None:
        obs["slice"] = labels
    matrix = sparse.csr_matrix(counts) if sparse.issparse(counts) else counts
    scratch = AnnData(matrix, obs=obs, var=pd.DataFrame(index=adata.var_names), layers={"normalised": normalised})
    return _rank_genes(scratch, n_top_genes, batch_key=None if labels is None else "slice")


@torch_threads_kept()
def _rank_genes(scratch: AnnData, n_top_genes: int, *, batch_key: str | None) -> tuple[pd.DataFrame, dict[str, Any]]:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty bins of the mean are expected on what brought us here
        ranking = sc.pp.highly_variable_genes(scratch, flavor="seurat", layer="normalised", **common)
    ranking = ranking.reindex(scratch.var_names)
    # Ties at the cut-off would let scanpy mark more genes than asked for.
    best = ranking.sort_values(["dispersions_norm", "dispersions"], ascending=False, kind="stable").index[:n_top_genes]
    return ranking.assign(highly_variable=ranking.index.isin(best)), {"flavor": "seurat", "span": None}


def _report(
    adata: AnnData,
    method: dict[str, Any],
    *,
    labels: pd.Categorical | None,
    library_key: str | None,
    target_sum: float | None,
) -> None:
    if method["flavor"] is None:
        logger.info("All %s genes are marked as highly variable (n_top_genes is not smaller).", f"{adata.n_vars:,}")
    else:
        chosen = f"{int(adata.var['highly_variable'].sum()):,} of {adata.n_vars:,}"
        within = "" if labels is None else f", within the {len(labels.categories)} slices of obs[{library_key!r}]"
        logger.info("%s genes are marked as highly variable (%s%s).", chosen, method["flavor"], within)
    total = "the median total" if target_sum is None else f"{target_sum:g}"
    kept = keys.COUNTS
    logger.info("`adata.X` is now log1p of counts scaled to %s; the counts are in `adata.layers['%s']`.", total, kept)
