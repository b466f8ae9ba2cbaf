"""Denoised and missing expression on AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import (
    HIGHLY_VARIABLE,
    encoder_embedding,
    expression_values,
    read_embedding,
    read_expression,
)
from spotscape._core.validation import (
    require_data,
    require_finite,
    require_key,
    slice_labels,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from spotscape.nn.imputation import Predictor

Method = Literal["regression", "neighbors"]


@public
def impute(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
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

    A gene is fitted in the slices in which it has a value above zero and predicted in all; a slice without one counts
    as not having measured it. To predict from chosen slices alone, or from another AnnData, name these as
    ``reference``. Differences between slices as a whole are removed from the features. A slice that measured the gene
    keeps its own mean; one that did not gets the mean of the others.

    Imputed values are smooth and have lost their random variation. **Do not test them for differential expression**:
    every gene would differ significantly between any two domains.

    Parameters
    ----------
    adata
        Log-normalised expression and an embedding. ``adata.X`` is never changed.
    genes
        Names of the genes to predict; the result is then a data frame. ``None`` means all genes of ``adata`` or, with
        an AnnData as reference, all genes that only the reference has.
    reference
        Source of transferred genes: an :class:`~anndata.AnnData` that was embedded together with ``adata`` and has the
        same unit; or the name of a slice, or of several, of ``library_key``. ``None`` means every slice that measured
        the gene.
    method
        ``"regression"``, see above, or ``"neighbors"``, the mean over the nearest spots in the embedding, without the
        spot itself. Regression was better on all tissues in ``benchmarks/imputation.py``.
    use_rep
        Key of the embedding in ``adata.obsm``, and that of ``reference``. Default: ``"X_spotscape"`` or
        ``"X_spacross"``, whichever is there; if both are, name one. Without them: ``"X_smoothed_pca"``.
    n_comps
        Number of principal components of the other genes. Extra components cost little, because of the penalty.
    n_neighbors
        For ``method="neighbors"``: number of spots that are averaged.
    library_key
        Column of ``adata.obs`` with the slice of each spot. ``None`` for a single slice.
    layer
        Layer to read instead of ``adata.X``, in ``reference`` too.
    mask_var
        Boolean column of ``adata.var``, or boolean array, of the genes to predict *from*. By default
        ``"highly_variable"``, if it exists; ``None`` uses all genes.
    key_added
        Name of the results.
    random_state
        Seed of the folds of genes and of the search for components.
    copy
        Return a copy with the results instead of writing to ``adata``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys:

    ``layers['imputed' | key_added]``
        Predicted expression, float32 ``(n_obs, n_vars)``, in the unit of the input, not below 0. A dense array. Only
        without ``genes`` and without an AnnData as reference.
    ``obsm['imputed' | key_added]``
        Otherwise instead: frame of float32 ``(n_obs, n_genes)``, its columns the genes. A slash in a name is written
        as ``|``, because files keep each column under its name.
    ``uns['imputed']``
        Dict with ``params``, ``random_state``, ``version`` and ``scores``, a frame with a row for each gene:
        ``imputed`` (bool; ``False`` for shared genes that only test a transfer from an AnnData, at most 200),
        ``n_fitted`` (spots fitted to), ``spearman`` and ``r2`` (measured against predicted values in these spots, each
        predicted by the others) and ``spearman_carried`` (in the other spots, where the gene is measured there; NaN
        elsewhere). Correlations are 0 for a constant prediction.

    Raises
    ------
    KeyError
        If a gene, the embedding or another key does not exist.
    TypeError
        If the slice column holds measurements, ``genes`` is a single name, or a number is not an integer.
    ValueError
        If the expression is raw counts, negative or not finite; if a gene is named twice or not detected in the
        reference; if the reference is not a slice, shares fewer than two genes, or has an embedding of another width.

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
        "genes": genes,
        "use_rep": use_rep,
        "library_key": library_key,
        "layer": layer,
        "mask_var": mask_var,
    }
    if is_pair:
        tissue = read_pair(adata, reference, seed=source.integer("tested"), **reading)
    else:
        tissue = read_own(adata, reference=reference, **reading)
    values, scores = _predict(
        tissue,
        adata.n_obs,
        method=method,
        n_comps=n_comps,
        n_neighbors=n_neighbors,
        seed=source.integer("folds"),
    )
    params = {
        "method": method,
        "reference": "AnnData" if is_pair else reference,
        "use_rep": use_rep,
        "n_comps": n_comps,
        "n_neighbors": n_neighbors,
        "library_key": library_key,
        "source": "adata.X" if layer is None else f"adata.layers[{layer!r}]",
        "mask_var": mask_var if isinstance(mask_var, str) or mask_var is None else "array",
        "n_genes": int(tissue.imputed.sum()),
    }
    summary = record(
        params, random_state=source.seed, scores=scores, made_from=made_from(adata, obs=[library_key], obsm=[use_rep])
    )
    target = adata.copy() if copy else adata
    slot, placed = _placed(adata, tissue, values, in_layer=genes is None and not is_pair)
    outdated = [({"layers": "obsm", "obsm": "layers"}[slot], key_added)] if key_added in target.uns else []
    write(target, {slot: {key_added: placed}, "uns": {key_added: summary}}, outdated=outdated)
    _report(scores)
    return target if copy else None


def _predict(
    tissue: ImputeInput, n_kept: int, *, method: Method, n_comps: int, n_neighbors: int, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Predictions for the spots of the AnnData, float32 ``(n_obs, T)``, and the scores of all targets."""
    from spotscape.nn.imputation import GeneFolds, NeighborMeans, predict_genes

    fold = tissue.names.get_indexer(tissue.targets)
    if method == "regression":
        folds = GeneFolds.of(
            tissue.features,
            tissue.embedding,
            n_comps=n_comps,
            slices=tissue.slices,
            reference=tissue.anchors,
            seed=seed,
        )
        fold = np.where(fold >= 0, folds.fold[fold], len(folds.features) - 1)
        predictor: Callable[[int, np.ndarray], Predictor] = folds.regression
    else:
        fold = np.zeros_like(fold)
        predictor = NeighborMeans(tissue.embedding, tissue.slices, n_neighbors).within
    values, scores = predict_genes(predictor, tissue.measured, tissue.is_measured, tissue.slices, fold, n_kept=n_kept)
    frame = pd.DataFrame({"imputed": tissue.imputed, **scores}, index=pd.Index(tissue.targets, name="gene"))
    return values, frame


def _placed(adata: AnnData, tissue: ImputeInput, values: np.ndarray, *, in_layer: bool) -> tuple[str, Any]:
    """The slot that the predictions go to, and in which form: a layer of all genes, or a frame of some."""
    if in_layer:
        return "layers", values
    names = tissue.targets[tissue.imputed].str.replace("/", "|")
    return "obsm", pd.DataFrame(values[:, tissue.imputed], adata.obs_names, names)


def _report(scores: pd.DataFrame) -> None:
    asked = scores[scores["imputed"]]
    logger.info(
        "Genes predicted: %s; Spearman correlation with what was left out: %.2f (median).",
        f"{len(asked):,}",
        asked["spearman"].median(),
    )
    tested = scores.loc[scores["spearman_carried"].notna(), "spearman_carried"]
    if len(tested):
        logger.info("Carried to other slices, where %d genes are measured: %.2f.", len(tested), tested.median())


_FEWEST_SHARED = 2
# Enough shared genes to see how well a transfer works, whatever the size of the panel.
_N_TESTED = 200
_JOINT = (
    "Embed both together: put them into one AnnData with anndata.concat, run sp.tl.spotscape(..., library_key=...), "
    "and split it again"
)
_EMBED = "Name the embedding by use_rep, or make one: sp.tl.spotscape(adata) or sp.tl.spacross(adata)"


@dataclass(frozen=True)
class ImputeInput:
    """Expression and embedding of all spots, those of the AnnData first, and the genes to predict.

    Attributes
    ----------
    features
        Expression that spots are compared by, ``(N, G)``.
    names
        Names of its genes.
    embedding
        ``(N, k)``.
    slices, anchors
        Number of the slice of each spot, and of those onto which the others are shifted.
    targets
        Names of the genes to predict.
    measured
        Expression of the targets, ``(N, T)``.
    is_measured
        In which slices a target may be fitted, bool ``(n_slices, T)``.
    imputed
        Which targets are asked for; the others only test the transfer, bool ``(T,)``.
    """

    features: Any
    names: pd.Index
    embedding: np.ndarray
    slices: np.ndarray
    anchors: np.ndarray
    targets: pd.Index
    measured: Any
    is_measured: np.ndarray
    imputed: np.ndarray


def read_own(
    adata: AnnData,
    *,
    genes: Sequence[str] | None,
    reference: Sequence[str] | None,
    use_rep: str,
    library_key: str | None,
    layer: str | None,
    mask_var: str | np.ndarray | None,
) -> ImputeInput:
    """Read an AnnData whose own slices are fitted to: all of them, or those of ``reference``."""
    expression = read_expression(adata, layer=layer, use_rep=None, mask_var=mask_var, library_key=library_key)
    targets = adata.var_names if genes is None else _asked(genes, adata.var_names, "adata.var_names")
    labels = slice_labels(adata, library_key)
    slices = _slice_numbers(adata, library_key)
    measured = _columns(adata, targets, layer)
    known = detected_in(measured, slices)
    anchors = np.array([0])
    if reference is None:
        # Zero everywhere is as good a prediction as any.
        known[:, ~known.any(axis=0)] = True
    else:
        anchors = _numbers(reference, labels, library_key)
        known[np.setdiff1d(np.arange(len(known)), anchors)] = False
    _require_known(known, targets, reference)
    embedding = read_embedding(adata, use_rep, hint=_EMBED)
    names = adata.var_names[expression.genes]
    imputed = np.ones(len(targets), dtype=bool)
    return ImputeInput(expression.matrix, names, embedding, slices, anchors, targets, measured, known, imputed)


def read_pair(
    adata: AnnData,
    other: AnnData,
    *,
    genes: Sequence[str] | None,
    use_rep: str,
    library_key: str | None,
    layer: str | None,
    mask_var: str | np.ndarray | None,
    seed: int,
) -> ImputeInput:
    """Read an AnnData, and another one that genes are carried over from; a part of the shared genes tests that."""
    require_data(other, unique=["var"])
    expression = read_expression(adata, layer=layer, use_rep=None, mask_var=mask_var, library_key=library_key)
    values: Any = expression.matrix
    shared, own = _shared(adata, other, expression.genes, layer)
    theirs = read_expression(other[:, shared], layer=layer, use_rep=None, mask_var=None).matrix
    missing = other.var_names.difference(adata.var_names, sort=False)
    asked = missing if genes is None else _asked(genes, other.var_names, "reference.var_names")
    if not len(asked):
        msg = f"all {other.n_vars} genes of the reference are in adata; name those to carry over: genes=[...]."
        raise ValueError(msg)
    tested = _drawn(shared.difference(asked, sort=False), seed)
    targets = asked.append(tested)
    below = _columns(other, targets, layer)
    empty = sparse.csr_array((adata.n_obs, len(asked)), dtype=np.float32)
    above = sparse.hstack([empty, sparse.csr_array(_columns(adata, tested, layer))], format="csr")
    ours = _slice_numbers(adata, library_key)
    # A reference may be a single slice and need not say so.
    reference_slices = _slice_numbers(other, library_key if library_key in other.obs else None)
    slices = np.concatenate([ours, reference_slices + ours.max() + 1])
    anchors = np.arange(ours.max() + 1, slices.max() + 1)
    measured = _stack(above, below)
    known = detected_in(measured, slices)
    known[: anchors[0]] = False
    _require_known(known, targets, None)
    return ImputeInput(
        _stack(values[:, own], theirs),
        shared,
        _joint_embedding(adata, other, use_rep),
        slices,
        anchors,
        targets,
        measured,
        known,
        np.arange(len(targets)) < len(asked),
    )


def _slice_numbers(adata: AnnData, library_key: str | None) -> np.ndarray:
    labels = slice_labels(adata, library_key)
    return np.zeros(adata.n_obs, dtype=np.int64) if labels is None else labels.codes.astype(np.int64)


def detected_in(measured: Any, slices: np.ndarray) -> np.ndarray:
    """Which genes have a value above zero in each slice, bool ``(n_slices, g)``."""
    return np.stack(
        [np.asarray((measured[slices == number] > 0).sum(axis=0)).ravel() > 0 for number in range(slices.max() + 1)]
    )


def _asked(genes: Sequence[str], known: pd.Index, where: str) -> pd.Index:
    if isinstance(genes, str):
        msg = f"genes={genes!r} must be a sequence of names: genes=[{genes!r}]."
        raise TypeError(msg)
    asked = pd.Index(genes).astype(str).unique()
    if asked.empty:
        msg = "genes names no gene; leave it out for all."
        raise ValueError(msg)
    unknown = asked.difference(known, sort=False)
    if len(unknown):
        few = ", ".join(map(repr, unknown[:3]))
        msg = (
            f"{len(unknown)} of {len(asked)} genes are not in {where} (for example {few}). A gene that adata did not "
            "measure is carried over from a reference that did: reference=<AnnData>."
        )
        raise KeyError(msg)
    return asked


def _columns(adata: AnnData, names: pd.Index, layer: str | None) -> Any:
    columns = expression_values(adata, layer, columns=adata.var_names.get_indexer(names))
    require_finite(columns, "adata.X" if layer is None else f"adata.layers[{layer!r}]")
    return columns


def _numbers(reference: Sequence[str], labels: pd.Categorical | None, library_key: str | None) -> np.ndarray:
    if labels is None:
        msg = f"reference={reference!r} names slices, but library_key is None; name the column with the slices."
        raise ValueError(msg)
    wanted = [str(name) for name in ([reference] if np.isscalar(reference) else reference)]
    unknown = [name for name in wanted if name not in labels.categories]
    if unknown or not wanted:
        msg = (
            f"reference={reference!r} is not among the slices of adata.obs[{library_key!r}]: {list(labels.categories)}."
        )
        raise ValueError(msg)
    return np.sort(labels.categories.get_indexer(pd.Index(wanted)))


def _require_known(known: np.ndarray, targets: pd.Index, reference: object) -> None:
    lost = ~known.any(axis=0)
    if lost.any():
        msg = (
            f"{lost.sum()} of {len(targets)} genes (for example {targets[int(lost.argmax())]!r}) have no value above "
            f"zero in reference={reference!r}; leave them out of genes, or take another reference."
        )
        raise ValueError(msg)


def _shared(adata: AnnData, other: AnnData, genes: np.ndarray | None, layer: str | None) -> tuple[pd.Index, np.ndarray]:
    """Names of the genes that both measured, and their columns among those of ``adata`` that are used."""
    used = adata.var_names[genes]
    shared = used.intersection(other.var_names, sort=False)
    if len(shared):
        shared = shared[np.asarray((_columns(other, shared, layer) > 0).sum(axis=0)).ravel() > 0]
    if len(shared) < _FEWEST_SHARED:
        msg = (
            f"adata and reference share {len(shared)} of the {len(used)} genes of adata that are used (mask_var); "
            f"genes are compared by name, such as {used[0]!r} and {other.var_names[0]!r}."
        )
        raise ValueError(msg)
    logger.info("Comparing spots by %s genes that both measured.", f"{len(shared):,}")
    return shared, used.get_indexer(shared)


def _joint_embedding(adata: AnnData, other: AnnData, use_rep: str) -> np.ndarray:
    ours = read_embedding(adata, use_rep, hint=_EMBED)
    require_key(other.obsm, use_rep, "reference.obsm", hint=_JOINT)
    theirs = read_embedding(other, use_rep, hint=_JOINT)
    if ours.shape[1] != theirs.shape[1]:
        msg = f"obsm[{use_rep!r}] has {ours.shape[1]} axes in adata and {theirs.shape[1]} in reference. {_JOINT}."
        raise ValueError(msg)
    return np.concatenate([ours, theirs])


def _drawn(names: pd.Index, seed: int) -> pd.Index:
    if len(names) <= _N_TESTED:
        return names
    return names[np.sort(np.random.default_rng(seed).choice(len(names), _N_TESTED, replace=False))]


def _stack(above: Any, below: Any) -> Any:
    if sparse.issparse(above) or sparse.issparse(below):
        return sparse.csr_array(sparse.vstack([sparse.csr_array(above), sparse.csr_array(below)]))
    return np.concatenate([above, below])
