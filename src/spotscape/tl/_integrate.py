"""Integration of any embedding over slices, on AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.device import resolve_device
from spotscape._core.provenance import made_from, signature
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import read_embedding
from spotscape._core.validation import require_data, require_in_range, require_positive_int, several_slices

if TYPE_CHECKING:
    import torch
    from anndata import AnnData


@public
def integrate_slices(
    adata: AnnData,
    *,
    library_key: str,
    use_rep: str = keys.X_SMOOTHED_PCA,
    n_neighbors: int = 10,
    n_prototypes: int = 100,
    n_rounds: int = 2,
    ridge: float = 1.0,
    average: bool = True,
    key_added: str | None = None,
    device: str | torch.device | None = None,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Take slice-specific offsets off an embedding, so that a region lies in the same place for all slices.

    Spots of two slices that are among each other's most similar are taken to be the same place; a smooth field of
    offsets for each slice is fitted to their differences and subtracted, for all slices at once; then each spot is
    averaged with its partners. A region that only one slice has finds few partners and stays where it is. No labels
    are used, and no slice is the reference.

    :func:`spotscape.tl.spotscape` and :func:`spotscape.tl.spacross` do this by themselves. This function serves other
    embeddings, such as that of :func:`spotscape.tl.smoothed_pca`. They must have told signal from noise: in principal
    components of single spots the most similar spots of another slice are similar by chance, and averaging over those
    loses domains (``benchmarks/integration.py`` measures it).

    Parameters
    ----------
    adata
        Annotated data with an embedding of all slices in ``obsm``, computed on them together.
    library_key
        Column of ``adata.obs`` with the slice of each spot, dtype category, at least 2 of them.
    use_rep
        Key of the embedding in ``adata.obsm``. The default is the one that takes a second to compute.
    n_neighbors
        Two spots are partners if each is among this many most similar spots of the other's slice.
    n_prototypes
        Resolution of the offset fields. Large enough that one prototype lies within one domain; it is lowered where
        there would be fewer than 30 spots to each.
    n_rounds
        Rounds of finding partners and subtracting. More rounds mix more, and begin to merge what differs.
    ridge
        Penalty on offsets, in units of the pairs of one spot: larger leaves more of the slices' differences.
    average
        Whether each spot becomes the mean over slices, each counted once, of itself and its partners: noise of single
        slices goes, and so does what only one slice has within a region that all have.
    key_added
        Name of the result in ``adata.obsm``; ``None`` appends ``_integrated`` to ``use_rep``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; ``None`` takes ``spotscape.settings.device``.
    random_state
        Seed; ``None`` draws one and records it.
    copy
        Return a copy with the result instead of writing to ``adata``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys:

    ``obsm['X_smoothed_pca_integrated' | key_added]``
        The embedding without the offsets, of the shape and dtype of that in ``use_rep``.
    ``uns['smoothed_pca_integrated']``
        Dict with ``params``, ``random_state``, ``version``; the name is that in ``obsm`` without ``X_``.

    Raises
    ------
    KeyError
        If a key does not exist.
    TypeError
        If the slice column is not categorical.
    ValueError
        If there is only one slice, if the embedding is not finite, or an argument is out of range.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Encoders that integrate slices themselves.
    spotscape.nn.integrate : The same on arrays, with the formula.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4, n_slices=2)
    >>> sp.pp.prepare(adata, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.tl.integrate_slices(adata, library_key="slice")
    >>> adata.obsm["X_smoothed_pca_integrated"].shape
    (600, 10)

    References
    ----------
    Mutual neighbours: Haghverdi et al., Nature Biotechnology 2018. Offsets weighted by soft memberships: Korsunsky et
    al., Nature Methods 2019. Their combination in one regression: this package.
    """
    from spotscape.nn.integration import integrate

    require_data(adata, unique=False)
    slices = several_slices(adata, library_key)
    for name, value in (("n_neighbors", n_neighbors), ("n_prototypes", n_prototypes), ("n_rounds", n_rounds)):
        require_positive_int(value, name)
    require_in_range(ridge, "ridge", low=0, above_low=True)
    hint = "use_rep names an embedding of all slices together"
    values = read_embedding(adata, use_rep, hint=hint, library_key=library_key)
    source = RandomSource(random_state)
    integrated = integrate(
        values,
        slices.codes,
        n_neighbors=n_neighbors,
        n_prototypes=n_prototypes,
        n_rounds=n_rounds,
        ridge=ridge,
        average=average,
        seed=source.integer("integrate"),
        device=resolve_device(device),
    )
    key = f"{use_rep}_integrated" if key_added is None else key_added
    params = {
        "library_key": library_key,
        "use_rep": use_rep,
        "n_neighbors": n_neighbors,
        "n_prototypes": n_prototypes,
        "n_rounds": n_rounds,
        "ridge": ridge,
        "average": average,
    }
    target = adata.copy() if copy else adata
    summary = record(
        params,
        random_state=source.seed,
        made_from=made_from(adata, obs=[library_key], obsm=[use_rep]),
        written=signature(adata.obs_names, {("obsm", key): integrated}),
    )
    write(target, {"obsm": {key: integrated}, "uns": {key.removeprefix("X_"): summary}})
    return target if copy else None
