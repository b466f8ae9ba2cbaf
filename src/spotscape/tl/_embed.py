"""A trained model on new slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from spotscape._core import keys
from spotscape._core.anndata_io import record
from spotscape._core.arguments import public
from spotscape._core.reading import library_of_graph
from spotscape._core.validation import require_data, slice_labels
from spotscape.tl._embed_input import check_preprocessing, graph_as_trained, read_genes
from spotscape.tl._embedding import write_embedding

if TYPE_CHECKING:
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
    check_preprocessing(adata, training, found, layer)
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
