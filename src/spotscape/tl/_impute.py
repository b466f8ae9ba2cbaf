"""Denoised and missing expression on AnnData."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.genes import symbols_of
from spotscape._core.logging import logger
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import HIGHLY_VARIABLE, encoder_embedding
from spotscape._core.validation import require_data
from spotscape.tl._impute_input import read_own, read_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from spotscape.nn.imputation import Predictor
    from spotscape.tl._impute_input import ImputeInput

Method = Literal["regression", "neighbors"]


@public
def impute(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    reference: AnnData | str | Sequence[str] | None = None,
    method: Method = "regression",
    use_rep: str | None = None,
    n_comps: int = 30,
    n_neighbors: int = 30,
    library_key: str | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.IMPUTED,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Impute genes: denoise measured genes and transfer genes to slices that did not measure them.

    Each gene is predicted in each spot by ridge regression on the *other* genes of the spot (principal components
    without the gene) and on its embedding. The penalty is chosen for each gene. A gene that cannot be predicted stays
    at its mean. Every gene gets a score, for which the measured value was not used in its own prediction.

    A gene is fitted in the slices in which it has a value above zero, and it is predicted in all slices. A slice in
    which all its values are zero counts as not having measured the gene. To predict from chosen slices alone, or from
    another AnnData, name these as ``reference``. Differences between slices as a whole are removed from the features. A
    slice that measured the gene keeps its own mean of this gene. A slice that did not gets the mean of the others.

    Imputed values are smooth and have lost their random variation. **Do not test them for differential expression**:
    every gene would differ significantly between any two domains.

    Parameters
    ----------
    adata
        Log-normalised expression and an embedding. ``adata.X`` is never changed.
    genes
        Names of the genes to predict; the result is then a data frame. ``None`` means all genes of ``adata`` or, with
        an AnnData as reference, all genes that only the reference has.
    gene_symbols
        Column of ``var``, of the reference if that is an AnnData, with the names by which ``genes`` names genes, such
        as symbols where ``var_names`` are identifiers. The results carry these names. ``None`` means ``var_names``.
    reference
        Source of transferred genes: an :class:`~anndata.AnnData` that was embedded together with ``adata`` and has the
        same unit; or the name of a slice, or of several, of ``library_key``. ``None`` means every slice that measured
        the gene.
    method
        ``"regression"`` is the method described above. ``"neighbors"`` takes the mean over the nearest spots in the
        embedding, without the spot itself. Regression was better on all tissues in ``benchmarks/imputation.py``.
    n_comps
        Number of principal components of the other genes. Extra components cost little, because of the penalty.
    n_neighbors
        For ``method="neighbors"``: number of spots that are averaged.
    layer
        Layer to read instead of ``adata.X``, in ``reference`` too.
    mask_var
        Boolean column of ``adata.var``, or boolean array, of the genes to predict *from*. By default
        ``"highly_variable"``, if it exists; ``None`` uses all genes.
    key_added
        Name of the results in ``layers`` or ``obsm``, and in ``uns``.
    random_state
        Seed of the folds of genes, which follow their names in any order, and of the search for components.

    Returns
    -------
    ``layers['imputed']`` (or ``key_added``)
        Predicted expression, a dense float32 array ``(n_obs, n_vars)``, in the unit of the input, not below 0.
    ``obsm['imputed']`` (or ``key_added``)
        With ``genes``, or with an AnnData as reference, written instead of the layer: a data frame of float32
        ``(n_obs, n_genes)`` with a column for each gene. A slash in the name of a gene becomes ``|``, because files
        store each column under its name.
    ``uns['imputed']``
        Dict with ``params``, ``random_state``, ``version`` and ``scores``, a frame with a row for each gene:
        ``imputed`` (bool; ``False`` for shared genes that only test a transfer from an AnnData, at most 200),
        ``n_fitted`` (spots fitted to), ``spearman`` and ``r2`` (measured against predicted values in these spots, each
        predicted by the others) and ``spearman_carried`` (in the other spots, where the gene is measured there; NaN
        elsewhere). All are taken within slices, and ``r2`` says how much better the prediction is than the mean of the
        slice. A gene that is predicted to be at its mean has 0.

    Raises
    ------
    KeyError
        If a gene, the embedding or another key does not exist.
    TypeError
        If the slice column holds measurements, ``genes`` is a single name, or a number is not an integer.
    ValueError
        If the expression is raw counts, negative or not finite; if a gene is named twice or not detected in the
        reference; if the reference is not a slice, shares fewer than two genes, or has an embedding of another width;
        if only one of ``adata`` and the reference has logarithms.

    Warns
    -----
    UserWarning
        If ``adata`` and the reference seem to be normalised to different totals.

    See Also
    --------
    spotscape.metrics.imputation_scores : Errors on entries or genes that were held out.
    spotscape.tl.spotscape : Its ``decoded_layer`` is the output of its decoder.
    spotscape.nn.SpotRegression : The regression without AnnData, with the formula.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> sp.pp.prepare(adata)
    >>> sp.tl.smoothed_pca(adata)
    >>> sp.tl.impute(adata, use_rep="X_smoothed_pca")
    >>> adata.layers["imputed"].shape
    (300, 100)
    >>> sorted(adata.uns["imputed"]["scores"].columns)
    ['imputed', 'n_fitted', 'r2', 'spearman', 'spearman_carried']
    """
    require_data(adata, unique=["var"])
    source = RandomSource(random_state)
    use_rep = encoder_embedding(adata, use_rep)
    is_pair = hasattr(reference, "obsm")
    reading: dict[str, Any] = {
        "genes": genes, "use_rep": use_rep, "library_key": library_key, "layer": layer, "mask_var": mask_var,
        "gene_symbols": gene_symbols,
    }  # fmt: skip
    if is_pair:
        tissue = read_pair(adata, reference, seed=source.integer("tested"), **reading)
    else:
        tissue = read_own(adata, reference=reference, **reading)
    fitting: dict[str, Any] = {"method": method, "n_comps": n_comps, "n_neighbors": n_neighbors}
    values, scores = _predict(tissue, adata.n_obs, **fitting, seed=source.integer("folds"))
    if genes is not None:
        var: pd.DataFrame = reference.var if is_pair else adata.var  # type: ignore[union-attr]
        scores.index = symbols_of(var, gene_symbols)[var.index.get_indexer(scores.index)].rename("gene")
    params = {
        **fitting, "reference": "AnnData" if is_pair else reference, "use_rep": use_rep, "library_key": library_key,
        "source": keys.place_of(layer), "gene_symbols": gene_symbols, "n_genes": int(tissue.imputed.sum()),
        "mask_var": mask_var if isinstance(mask_var, str) or mask_var is None else "array",
    }  # fmt: skip
    summary = record(
        params, random_state=source.seed, scores=scores, made_from=made_from(adata, obs=[library_key], obsm=[use_rep])
    )
    slot, placed = "layers", cast("Any", values)
    if genes is not None or is_pair:
        names = scores.index[tissue.imputed].str.replace("/", "|")
        slot, placed = "obsm", pd.DataFrame(values[:, tissue.imputed], adata.obs_names, names)
    outdated = [({"layers": "obsm", "obsm": "layers"}[slot], key_added)] if key_added in adata.uns else []
    written = write(adata, {slot: {key_added: placed}, "uns": {key_added: summary}}, outdated=outdated, copy=copy)
    _report(scores)
    return written


def _predict(
    tissue: ImputeInput, n_kept: int, *, method: Method, n_comps: int, n_neighbors: int, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Predictions for the spots of the AnnData, float32 ``(n_obs, T)``, and the scores of all targets."""
    from spotscape.nn.imputation import GeneFolds, neighbor_means, predict_genes

    fold = tissue.names.get_indexer(tissue.targets)
    if method == "regression":
        folds = GeneFolds.of(
            tissue.features,
            tissue.embedding,
            n_comps=n_comps,
            names=tissue.names,
            slices=tissue.slices,
            reference=tissue.anchors,
            seed=seed,
        )
        fold = np.where(fold >= 0, folds.fold[fold], len(folds.features) - 1)
        predictor: Callable[[int, np.ndarray], Predictor] = folds.regression
    else:
        fold = np.zeros_like(fold)
        predictor = partial(neighbor_means, tissue.embedding, tissue.slices, n_neighbors)
    values, scores = predict_genes(predictor, tissue.measured, tissue.is_measured, tissue.slices, fold, n_kept=n_kept)
    frame = pd.DataFrame({"imputed": tissue.imputed, **scores}, index=pd.Index(tissue.targets, name="gene"))
    return values, frame


def _report(scores: pd.DataFrame) -> None:
    asked = scores.loc[scores["imputed"], "spearman"]
    held_out = "they are the same in all spots, so there is nothing to predict"
    if asked.notna().any():
        held_out = f"median Spearman correlation with held-out values: {asked.median():.2f}"
    logger.info("Genes predicted: %s; %s.", f"{len(asked):,}", held_out)
    tested = scores.loc[scores["spearman_carried"].notna(), "spearman_carried"]
    if len(tested):
        logger.info(
            "In other slices, the median correlation of the %d genes that are measured there is %.2f.",
            len(tested),
            tested.median(),
        )
