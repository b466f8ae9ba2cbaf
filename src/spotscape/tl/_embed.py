"""A trained model on new slices: their embedding, and the domains of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.colors import carried_colors
from spotscape._core.graphs import library_of_graph
from spotscape._core.logging import warn
from spotscape._core.provenance import made_from
from spotscape._core.reading import domain_column, encoder_embedding, read_embedding
from spotscape._core.validation import as_groups, params_of, require_data, require_key, slice_labels
from spotscape.tl._embed_input import check_preprocessing, graph_as_trained, read_genes
from spotscape.tl._embedding import write_embedding

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.models import SpaCross, Spotscape, TrainingRecord

# With fewer spots than the first number, distances in the reference are not compared; of more than the second, a sample
# is taken.
_SAMPLE = (100, 2_000)
# Spots farther from the reference than 99 % of its own spots: 1 % of spots like those of the reference, and up to a
# fifth if a single layer is embedded. A warning appears above this share.
_FAR = 0.25
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

    Returns
    -------
    ``obsm['X_spotscape']`` or ``obsm['X_spacross']``, by the model (or ``key_added``)
        Embedding, float32 array ``(n_obs, 12)``; the width is that of the training.
    ``uns['spotscape']`` or ``uns['spacross']``
        Dict with ``params``, ``missing_genes`` (names of those that were filled), ``random_state`` (of the training)
        and ``version``.
    {graph_if_built}

    Nothing is written if the call fails.

    Raises
    ------
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
        genes are zero throughout a slice that should not be; if other genes have high expression than in the training.

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
    if not hasattr(model, "training") or not hasattr(model, "embed"):
        msg = f"model must be a trained model, not {type(model).__name__}: sp.tl.spotscape(adata, return_model=True)."
        raise TypeError(msg)
    training: TrainingRecord | None = model.training
    if training is None:
        msg = (
            "the model does not know the names of its genes: it was trained on a representation (use_rep) or on bare "
            "arrays. Train it on expression: sp.tl.spotscape(adata, return_model=True)."
        )
        raise ValueError(msg)
    across = model.name == "SpaCross"
    library_key = library_of_graph(adata, neighbors_key, library_key, across_slices=across)
    slices = slice_labels(adata, library_key)
    codes = None if slices is None else slices.codes
    found = read_genes(
        adata, training, layer=layer, slices=codes, fill=missing_genes == "fill", max_missing=max_missing
    )
    check_preprocessing(adata, training, found, layer, slices)
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


@public
def transfer_domains(
    adata: AnnData,
    *,
    reference: AnnData,
    labels_key: str | None = None,
    use_rep: str | None = None,
    n_neighbors: int = 15,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Transfer domains from a reference to new spots by their nearest neighbours in the embedding.

    Use it for slices that were embedded with :func:`spotscape.tl.embed`. Domains keep the names of the training. A
    region that the training lacks gets the name of the most similar region. Therefore look at the confidence, and also
    cluster the new slice by itself.

    Parameters
    ----------
    adata
        New slices with their embedding in ``obsm``.
    reference
        Slices of the training, with their embedding and labels; only read.
    labels_key
        Column of ``reference.obs`` with the labels; spots without one (NaN) do not vote. Default: the domains of the
        one method that :func:`spotscape.tl.domains` was run on; if there are several, name one.
    n_neighbors
        Number of nearest spots of the reference, by Euclidean distance, that vote.
    key_added
        Name of the column in ``adata.obs``; ``None`` takes ``labels_key``, unless that is a column of your own.

    Returns
    -------
    ``obs['spotscape_domain']`` (or ``key_added``)
        Label, category with the categories of the reference, in their order; NaN where no neighbour has one.
    ``obs['spotscape_domain_confidence']``
        Share of the votes that it won, float32 between 0 and 1.
    ``uns['spotscape_domain']``
        Dict with ``params`` and ``version``.
    ``uns['spotscape_domain_colors']``
        The colours of the domains in the reference, if it has any and ``adata`` has none.

    Raises
    ------
    KeyError
        If there is no such embedding or column.
    TypeError
        If the reference is not an AnnData, or ``n_neighbors`` is not an integer.
    ValueError
        If the two embeddings differ in width, are not finite, no spot of the reference has a label, or the labels would
        replace a column of your own.

    See Also
    --------
    spotscape.tl.match_slices : The same between slices of one AnnData, with the spots that match.

    Examples
    --------
    >>> import anndata as ad, numpy as np, spotscape as sp
    >>> old = ad.AnnData(np.zeros((4, 1)), obsm={"X_spotscape": np.array([[0.0], [1.0], [8.0], [9.0]])})
    >>> old.obs["spotscape_domain"] = ["0", "0", "1", "1"]
    >>> new = ad.AnnData(np.zeros((2, 1)), obsm={"X_spotscape": np.array([[7.0], [0.2]])})
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.tl.transfer_domains(new, reference=old, n_neighbors=2)
    >>> new.obs["spotscape_domain"].tolist()
    ['1', '0']
    """
    import torch

    from spotscape.nn.matching import nearest, vote

    require_data(adata, genes=False)
    require_data(reference, genes=False)
    use_rep = encoder_embedding(adata, use_rep)
    here = read_embedding(adata, use_rep, hint="Embed the new slices first: sp.tl.embed(adata, model)")
    there = read_embedding(reference, use_rep, hint="It must be the one that the model was trained with")
    if here.shape[1] != there.shape[1]:
        widths = f"{here.shape[1]} axes here and {there.shape[1]} in the reference"
        msg = f"{use_rep!r} has {widths}; both must be of one model."
        raise ValueError(msg)
    named, labels_key = labels_key, domain_column(reference, labels_key, "labels_key")
    if named and key_added is None and named in adata.obs and not params_of(adata.uns.get(named)):
        msg = (
            f"adata.obs[{named!r}] has no record of an earlier call, and would be replaced. Name the new column: "
            f"key_added='{named}_transferred'."
        )
        raise ValueError(msg)
    require_key(reference.obs, labels_key, "reference.obs", hint="Find domains there first: sp.tl.domains(reference)")
    labels = as_groups(reference.obs[labels_key], f"labels_key={labels_key!r}")
    if not len(labels.categories):
        msg = f"no spot of the reference has a label in reference.obs[{labels_key!r}]."
        raise ValueError(msg)
    found = nearest(here, there, n_neighbors)
    _warn_if_far(here, there, found.indices.numpy()[:, -1], n_neighbors)
    votes = vote(found, torch.from_numpy(labels.codes.astype(np.int64)), len(labels.categories))
    key = labels_key if key_added is None else key_added
    given = pd.Categorical.from_codes(votes.labels.numpy(), categories=labels.categories)
    params = {"labels_key": labels_key, "use_rep": use_rep, "n_neighbors": n_neighbors}
    columns = {key: given, f"{key}_confidence": votes.confidence.numpy().astype(np.float32)}
    summary = record(params, made_from=made_from(adata, obsm=[use_rep]))
    colors = carried_colors(reference, labels_key, list(labels.categories), adata, key)
    return write(adata, {"obs": columns, "uns": {key: summary, **colors}}, copy=copy)


def _warn_if_far(here: np.ndarray, there: np.ndarray, farthest: np.ndarray, n_neighbors: int) -> None:
    """Warn if many spots are farther from their last neighbour than spots of the reference are from theirs."""
    from spotscape.nn.matching import nearest

    if len(there) < _SAMPLE[0]:
        return
    some = there[np.linspace(0, len(there) - 1, min(len(there), _SAMPLE[1])).astype(int)]
    # A spot of the reference is its own first neighbour.
    own = nearest(some, there, n_neighbors + 1).indices.numpy()[:, -1]
    limit = np.quantile(np.linalg.norm(some - there[own], axis=1), 0.99)
    share = np.mean(np.linalg.norm(here - there[farthest], axis=1) > limit) if limit > 0 else 0.0
    if share > _FAR:
        warn(
            f"{share:.0%} of the spots are farther from the reference than 99 % of its own spots, so it may lack "
            "their regions. They get the domain of the most similar region, which the confidence does not show. "
            "Cluster them by themselves, too: sp.tl.domains(adata, n_domains=..., key_added='own')."
        )
