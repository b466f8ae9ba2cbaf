"""Integration of any embedding over slices, on AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.provenance import made_from, signature
from spotscape._core.reading import read_embedding
from spotscape._core.settings import resolve_device
from spotscape._core.validation import require_data, several_slices

if TYPE_CHECKING:
    import torch
    from anndata import AnnData


@public
def integrate_slices(
    adata: AnnData,
    *,
    library_key: str,
    use_rep: str = keys.X_SMOOTHED_PCA,
    n_prototypes: int = 8,
    ridge: float = 100.0,
    key_added: str | None = None,
    device: str | torch.device | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Correct batch effects: subtract slice-specific offsets from an embedding.

    Afterwards, the same region has the same place in the embedding of all slices. One mixture model describes all
    slices. The slices share its prototypes. Each slice has proportions and an offset of its own, and the offset may
    differ between regions. The offsets are subtracted. A slice may hold more or less of a region, or none of it. Slices
    without a batch effect are not changed, and spots are not averaged. No labels, reference slice or random numbers are
    used.

    :func:`spotscape.tl.spotscape` and :func:`spotscape.tl.spacross` include this step. Use the function for other
    embeddings, such as that of :func:`spotscape.tl.smoothed_pca`.

    Parameters
    ----------
    adata
        Annotated data with an embedding of all slices in ``obsm``, computed on them together.
    library_key
        Column of ``adata.obs`` with the slice of each spot, at least 2 of them.
    use_rep
        Key of the embedding in ``adata.obsm``. The default is the baseline.
    n_prototypes
        Number of prototypes, at least 2. More of them let offsets differ more between regions. Fewer are used if a
        slice would have fewer than 60 spots for each.
    ridge
        Strength of the assumption that a slice has the same offset everywhere, as a number of spots. The deviation of a
        region is shrunk as if the region had this many additional spots without deviation. With ``1e9``, the same
        offset is subtracted everywhere.
    key_added
        Name of the result in ``adata.obsm``; ``None`` appends ``_integrated`` to ``use_rep``.

    Returns
    -------
    ``obsm['X_smoothed_pca_integrated' | key_added]``
        The embedding without the offsets, of the shape and dtype of that in ``use_rep``.
    ``uns['smoothed_pca_integrated']``
        Dict with ``params``, ``version``, ``made_from``; the name is that in ``obsm`` without ``X_``.

    Raises
    ------
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
    Offsets weighted by soft memberships are in the spirit of Harmony: Korsunsky et al., Nature Methods 2019. The
    mixture model, in which slices differ in composition, is this package's.
    """
    from spotscape.nn.integration import integrate

    require_data(adata, genes=False)
    slices = several_slices(adata, library_key)
    hint = "use_rep names an embedding of all slices together"
    values = read_embedding(adata, use_rep, hint=hint, library_key=library_key)
    integrated = integrate(values, slices.codes, n_prototypes=n_prototypes, ridge=ridge, device=resolve_device(device))
    if not np.isfinite(integrated).all():
        msg = f"integrating adata.obsm[{use_rep!r}] overflows {integrated.dtype}; scale it down or store it as float64."
        raise ValueError(msg)
    key = f"{use_rep}_integrated" if key_added is None else key_added
    params = {"library_key": library_key, "use_rep": use_rep, "n_prototypes": n_prototypes, "ridge": ridge}
    summary = record(
        params,
        made_from=made_from(adata, obs=[library_key], obsm=[use_rep]),
        written=signature(adata.obs_names, {("obsm", key): integrated}),
    )
    return write(adata, {"obsm": {key: integrated}, "uns": {key.removeprefix("X_"): summary}}, copy=copy)
