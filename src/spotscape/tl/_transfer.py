"""Domains of a training for new spots in the same embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.provenance import made_from
from spotscape._core.reading import domain_column, encoder_embedding, read_embedding
from spotscape._core.validation import as_groups, require_data, require_key

if TYPE_CHECKING:
    from anndata import AnnData

_HINT = "Embed the new slices first: sp.tl.embed(adata, model)"


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
    use_rep
        Key of the embedding in ``obsm`` of both. Default: ``"X_spotscape"`` or ``"X_spacross"``, whichever is there.
        Without them: ``"X_smoothed_pca"``.
    n_neighbors
        Number of nearest spots of the reference, by Euclidean distance, that vote.
    key_added
        Name of the column in ``adata.obs``; ``None`` takes ``labels_key``.
    copy
        Return a copy with the result instead of writing to ``adata``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys:

    ``obs['spotscape_domain' | key_added]``
        Label, category with the categories of the reference, in their order; NaN where no neighbour has one.
    ``obs['spotscape_domain_confidence']``
        Share of the votes that it won, float32 between 0 and 1.
    ``uns['spotscape_domain']``
        Dict with ``params`` and ``version``.

    Raises
    ------
    KeyError
        If there is no such embedding or column.
    TypeError
        If the reference is not an AnnData, or ``n_neighbors`` is not an integer.
    ValueError
        If the two embeddings differ in width, are not finite, or no spot of the reference has a label.

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

    require_data(adata)
    require_data(reference)
    use_rep = encoder_embedding(adata, use_rep)
    here = read_embedding(adata, use_rep, hint=_HINT)
    there = read_embedding(reference, use_rep, hint="It must be the one that the model was trained with")
    if here.shape[1] != there.shape[1]:
        widths = f"{here.shape[1]} axes here and {there.shape[1]} in the reference"
        msg = f"{use_rep!r} has {widths}; both must be of one model."
        raise ValueError(msg)
    labels_key = domain_column(reference, labels_key, "labels_key")
    require_key(reference.obs, labels_key, "reference.obs", hint="Find domains there first: sp.tl.domains(reference)")
    labels = as_groups(reference.obs[labels_key], f"labels_key={labels_key!r}")
    if not len(labels.categories):
        msg = f"no spot of the reference has a label in reference.obs[{labels_key!r}]."
        raise ValueError(msg)
    votes = vote(
        nearest(here, there, n_neighbors), torch.from_numpy(labels.codes.astype(np.int64)), len(labels.categories)
    )
    key = labels_key if key_added is None else key_added
    given = pd.Categorical.from_codes(votes.labels.numpy(), categories=labels.categories)
    params = {"labels_key": labels_key, "use_rep": use_rep, "n_neighbors": n_neighbors}
    columns = {key: given, f"{key}_confidence": votes.confidence.numpy().astype(np.float32)}
    summary = record(params, made_from=made_from(adata, obsm=[use_rep]))
    return write(adata, {"obs": columns, "uns": {key: summary}}, copy=copy)
