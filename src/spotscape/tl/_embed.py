"""A trained model on new slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record
from spotscape._core.arguments import public
from spotscape._core.counts import n_detected
from spotscape._core.logging import logger, warn
from spotscape._core.reading import expression_values, library_of_graph, read_graph
from spotscape._core.rows import expm1
from spotscape._core.validation import require_data, require_expression, slice_labels
from spotscape.tl._embedding import build_aside, prepare_params, scale_of, write_embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData

    from spotscape.models import SpaCross, Spotscape, TrainingRecord

_EMBEDDINGS = {"Spotscape": keys.X_SPOTSCAPE, "SpaCross": keys.X_SPACROSS}


@public
def embed(
    adata: AnnData,
    model: Spotscape | SpaCross,
    *,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    layer: str | None = None,
    missing_genes: Literal["fill", "refuse"] = "fill",
    max_missing: float = 0.1,
    align: bool = True,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Embed the spots of new slices with a model that was trained on others.

    Nothing is trained. Genes are matched by name, in any order; genes that the model does not know are ignored.
    Expression has to be normalised as in the training, and the spatial graph is built as in the training. Finally, the
    offset of each new slice from the training slices is subtracted. Domains of the training can then be transferred
    with :func:`spotscape.tl.transfer_domains`.

    Parameters
    ----------
    adata
        New slices, normalised like those of the training: use the same call of :func:`spotscape.pp.prepare`, on *all*
        genes. It does not matter which genes are marked as highly variable.
    model
        From ``sp.tl.spotscape(..., return_model=True)``, ``sp.tl.spacross(..., return_model=True)`` or
        :func:`spotscape.models.load`.
    neighbors_key
        Record of the spatial graph in ``adata.uns``. If there is none of the default name, it is built as at the
        training (same function, same number of neighbours or radius), written, and mentioned in the log.
    library_key
        Column of ``adata.obs`` with the slice of each spot; ``None`` for a single slice. Each slice is aligned by
        itself, so the other slices in the call do not change its result.
    layer
        Layer to use instead of ``adata.X``.
    missing_genes
        What to do about genes of the model that are not in ``adata``. ``"fill"`` (default) gives them their mean in the
        training, which favours no domain. A gene that is zero in all spots of a slice also counts as missing if,
        according to the training, at least 20 spots should have it. The log and the record name these genes.
        ``"refuse"`` raises an error that names them.
    max_missing
        Largest share of the model's genes that may be missing. The more are missing, the more spots look average.
    align
        Whether to subtract the offset from the training slices. With ``False``, a batch effect shifts the whole slice.
    key_added
        Name of the embedding in ``adata.obsm``; ``None`` takes that of the method. The record in ``adata.uns`` has the
        same name without ``X_``.
    copy
        Return a copy with the results instead of writing to ``adata``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys:

    ``obsm['X_spotscape' | 'X_spacross' | key_added]``
        Embedding, float32 array ``(n_obs, 12)``; the width is that of the training.
    ``uns['spotscape' | 'spacross']``
        Dict with ``params``, ``missing_genes`` (names of those that were filled), ``random_state`` (of the training)
        and ``version``.
    ``obsp['spatial_connectivities']``, ``obsp['spatial_distances']``, ``uns['spatial_neighbors']``
        The spatial graph, only if there was none.

    Nothing is written if the call fails.

    Raises
    ------
    KeyError
        If a key does not exist; the message lists those that do.
    TypeError
        If ``model`` is not a model, or the slice column holds measurements.
    ValueError
        If the model does not know its genes; if genes are missing, more than allowed or all of them; if the expression
        is on another scale than that of the training (counts, logarithms, other totals), negative, not finite, or zero
        for a whole spot; if the graph cannot be built from one slice (3-D), or has no edges.

    Warns
    -----
    UserWarning
        If spots have half or twice as many counts in the model's genes, or neighbours, as at the training; if
        genes are zero throughout a slice that should not be.

    See Also
    --------
    spotscape.tl.transfer_domains : Domains of the training for the new spots.
    spotscape.models.load : A saved model.
    spotscape.tl.integrate_slices : For slices that are embedded together.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=200, n_genes=100, n_domains=4, n_slices=2)
    >>> sp.pp.prepare(adata, library_key="slice")
    >>> old, new = (adata[adata.obs["slice"] == name].copy() for name in ("slice_1", "slice_2"))
    >>> model = sp.tl.spotscape(old, max_epochs=5, return_model=True)
    >>> sp.tl.embed(new, model)
    >>> new.obsm["X_spotscape"].shape
    (200, 12)

    References
    ----------
    New samples moved onto a reference that stays: Kang et al., *Symphony*, Nature Communications 2021.
    """
    require_data(adata, unique=["var"])
    training = _training_of(model)
    across = model.name == "SpaCross"
    library_key = library_of_graph(adata, neighbors_key, library_key, across_slices=across)
    slices = slice_labels(adata, library_key)
    codes = None if slices is None else slices.codes
    found = read_genes(
        adata, training, layer=layer, slices=codes, fill=missing_genes == "fill", max_missing=max_missing
    )
    check_preprocessing(adata, training, found)
    graph, built = graph_as_trained(adata, training, neighbors_key, library_key, across_slices=across)
    params = {
        "model": model.name,
        "source": found.source,
        "neighbors_key": neighbors_key,
        "library_key": library_key,
        "missing_genes": missing_genes,
        "max_missing": max_missing,
        "align": align,
        "n_features": len(training.genes),
    }
    embedding = model.embed(found.matrix, graph, slices=codes if align else None, align=align)
    summary = record(params, missing_genes=found.filled, random_state=model.random_source.seed)
    key = _EMBEDDINGS[model.name] if key_added is None else key_added
    return write_embedding(adata, embedding, summary, key_added=key, built=built, copy=copy)


def _training_of(model: Any) -> TrainingRecord:
    if not hasattr(model, "training") or not hasattr(model, "embed"):
        msg = (
            f"model must be a trained model, not {type(model).__name__}; make one with "
            "sp.tl.spotscape(adata, return_model=True), or read one with sp.models.load(directory)."
        )
        raise TypeError(msg)
    if model.training is None:
        msg = (
            "the model does not know the names of its genes: it was trained on a representation (use_rep) or on bare "
            "arrays. Train it on expression: sp.tl.spotscape(adata, return_model=True)."
        )
        raise ValueError(msg)
    training: TrainingRecord = model.training
    return training


# With so many spots expected, none by chance does not happen.
_EXPECTED_SPOTS = 20
# Slices of one kind of tissue differ less than this in counts per spot, once these are normalised.
_ALIKE = 2.0
_SHOWN = 5
_MEND = {
    "counts": "the model was trained on raw counts, name the layer that has them: layer='counts'",
    "logarithm": "bring the new slices to it: sp.pp.prepare(adata)",
    "linear": "bring the new slices to it: sp.pp.prepare(adata, log1p=False)",
}


@dataclass(frozen=True)
class NewExpression:
    """What the model is to see, where it came from, and which genes were filled or were there."""

    matrix: np.ndarray | sparse.csr_array
    source: str
    filled: list[str]
    measured: np.ndarray


def read_genes(
    adata: AnnData,
    training: TrainingRecord,
    *,
    layer: str | None,
    slices: np.ndarray | None,
    fill: bool,
    max_missing: float,
) -> NewExpression:
    """The model's genes in its order; those that were not measured at their mean of the training, if allowed."""
    source = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    columns = adata.var_names.get_indexer(list(training.genes))
    measured = columns >= 0
    if not measured.any():
        names = _some(list(training.genes)), _some(list(map(str, adata.var_names)))
        msg = (
            f"adata has none of the {len(training.genes)} genes of the model. They are called {names[0]}, here "
            f"{names[1]}; bring adata.var_names to the same kind of name."
        )
        raise ValueError(msg)
    found: Any = expression_values(adata, layer, columns=columns[measured])
    require_expression(found, source, hint="Expected is normalised expression")
    empty = np.asarray(found.sum(axis=1)).ravel() == 0
    if empty.any():
        logger.info(
            "%s of %s spots have none of the genes of the model; they are embedded from their neighbours.",
            np.count_nonzero(empty),
            len(empty),
        )
    silent = _silent(found, slices, training.detected[measured])
    if silent.any() and fill:
        found = found[:, ~silent]
        measured[np.flatnonzero(measured)[silent]] = False
    elif silent.any():
        names = np.array(training.genes)[measured][silent].tolist()
        warn(
            f"{len(names)} genes of the model are zero throughout a slice in {source} ({_some(names)}), although "
            "many spots of the training have them. If they were not measured, say so: missing_genes='fill'."
        )
    missing = np.array(training.genes)[~measured].tolist()
    if missing:
        _check_missing(missing, len(training.genes), fill=fill, max_missing=max_missing)
    matrix = found if not missing else _filled(found, measured, training.means)
    return NewExpression(matrix, source, missing, measured)


def check_preprocessing(adata: AnnData, training: TrainingRecord, found: NewExpression) -> None:
    """Refuse expression on another scale than that of the training, and mention totals that look like it."""
    present = found.matrix[:, found.measured]
    scale = scale_of(present, adata, found.source)
    if scale != training.scale:
        mend = _MEND[training.scale]
        msg = f"{found.source} is on the scale {scale!r}, the training was on {training.scale!r}; {mend}."
        raise ValueError(msg)
    here = prepare_params(adata, found.source)
    if here is not None and training.prepare is not None:
        for name in ("log1p", "target_sum"):
            if here.get(name) != training.prepare.get(name):
                wanted = training.prepare.get(name)
                msg = (
                    f"adata was prepared with {name}={here.get(name)!r}, the training with {wanted!r}; prepare it "
                    f"alike: sp.pp.prepare(adata, layer='counts', {name}={wanted!r})."
                )
                raise ValueError(msg)
    ratio = _total(present, scale) / max(_total(training.means[found.measured][None], scale), np.finfo(float).tiny)
    if not 1 / _ALIKE <= ratio <= _ALIKE:
        warn(
            f"spots have {ratio:.2g} times as much expression in the model's genes as at the training. Were the new "
            "slices normalised to another total (target_sum), or on fewer genes? Normalise on all genes, as then."
        )


def _total(matrix: Any, scale: str) -> float:
    if scale == "logarithm":
        matrix = expm1(matrix)
    return float(matrix.sum(dtype=np.float64) / matrix.shape[0])


def _silent(found: Any, slices: np.ndarray | None, share: np.ndarray) -> np.ndarray:
    """Which genes are zero in all spots of a slice although spots with them are expected from the training."""
    codes = np.zeros(found.shape[0], dtype=int) if slices is None else np.asarray(slices)
    none = np.zeros(found.shape[1], dtype=bool)
    for code in np.unique(codes):
        own = found[codes == code]
        none |= (n_detected(own) == 0) & (share * own.shape[0] >= _EXPECTED_SPOTS)
    return none


def _filled(found: Any, measured: np.ndarray, means: np.ndarray) -> Any:
    columns = np.concatenate([np.flatnonzero(measured), np.flatnonzero(~measured)])
    constant = np.broadcast_to(means[~measured], (found.shape[0], int(np.count_nonzero(~measured))))
    order = np.argsort(columns)
    if sparse.issparse(found):
        return sparse.csr_array(sparse.hstack([found, sparse.csr_array(constant)], format="csc")[:, order])
    return np.ascontiguousarray(np.hstack([found, constant])[:, order], dtype=np.float32)


def _check_missing(missing: list[str], n_genes: int, *, fill: bool, max_missing: float) -> None:
    share = len(missing) / n_genes
    found = f"{len(missing)} of the {n_genes} genes of the model ({share:.1%}) were not measured here: {_some(missing)}"
    if not fill:
        mend = "missing_genes='fill'" + (f", max_missing={_up(share)}" if share > max_missing else "")
        msg = f"{found}. If the names are right, let them be filled with the means of the training: {mend}."
        raise ValueError(msg)
    if share > max_missing:
        msg = (
            f"{found}. That is more than max_missing={max_missing:g}: train on the genes that all slices have, or "
            f"raise the limit and compare the result with a training of its own (max_missing={_up(share)})."
        )
        raise ValueError(msg)
    logger.info("%s; they are given their means of the training.", found)


def _up(share: float) -> float:
    return float(np.ceil(share * 100) / 100)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


_DEFAULT = keys.graph_keys(keys.SPATIAL)[0]
_SIMILAR_DEGREE = 2.0


def graph_as_trained(
    adata: AnnData, training: TrainingRecord, neighbors_key: str, library_key: str | None, *, across_slices: bool
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """The stored graph, or one built as at the training, with what is to be written of it."""
    graph = read_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    built: dict[str, dict[str, Any]] = {}
    if graph is None:
        if neighbors_key != _DEFAULT:
            known = [key for key in adata.uns if key.endswith("neighbors")]
            msg = (
                f"{neighbors_key!r} not found in adata.uns, which has the graphs: {known}; leave neighbors_key out to "
                "have it built as at the training."
            )
            raise KeyError(msg)
        builder, arguments = _builder(training.graph)
        said = ", ".join(f"{name}={value}" for name, value in arguments.items())
        logger.info("No spatial graph yet: building it as at the training, %s(%s).", builder.__name__, said)
        place = training.graph.get("spatial_key") or keys.SPATIAL
        graph, built = build_aside(adata, builder, spatial_key=place, library_key=library_key, **arguments)
    degree = graph.nnz / graph.shape[0]
    if not 1 / _SIMILAR_DEGREE <= degree / training.mean_degree <= _SIMILAR_DEGREE:
        warn(
            f"spots have {degree:.1f} neighbours, at the training they had {training.mean_degree:.1f}; the model knows "
            "surroundings of that size. Remove the graph to have it built as then."
        )
    return graph, built


def _builder(params: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    from spotscape.pp import spatial_neighbors_delaunay, spatial_neighbors_knn, spatial_neighbors_radius

    radius = params.get("radius")
    radius = tuple(map(float, radius)) if isinstance(radius, list | tuple | np.ndarray) else radius
    if params.get("mode", "knn") == "knn" and params.get("n_neighbors"):
        return spatial_neighbors_knn, {"n_neighs": int(params["n_neighbors"])}
    if params.get("mode") == "radius":
        return spatial_neighbors_radius, {"radius": radius}
    if params.get("mode") == "delaunay":
        return spatial_neighbors_delaunay, {"radius": radius}
    msg = (
        f"the graph of the training ({dict(params)}) cannot be built from the new slices alone; build one, within "
        "slices with sp.pp.spatial_neighbors_knn or across them with sp.pp.spatial_neighbors_3d, and name "
        "it by neighbors_key."
    )
    raise ValueError(msg)
