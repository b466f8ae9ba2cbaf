"""The instant baseline: principal components averaged over spatial neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record
from spotscape._core.randomness import RandomSource
from spotscape._core.reading import HIGHLY_VARIABLE
from spotscape._core.validation import require_data, require_positive_int
from spotscape.tl._embedding import read_input, write_embedding

if TYPE_CHECKING:
    from anndata import AnnData


def smoothed_pca(
    adata: AnnData,
    *,
    n_hops: int = 3,
    n_comps: int = 30,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.X_SMOOTHED_PCA,
    random_state: int | None = 0,
    copy: bool = False,
) -> AnnData | None:
    """Average principal components over the spatial graph: a baseline that takes a second and is hard to beat.

    Every encoder should be compared with it on your own tissue before it is believed.

    Parameters
    ----------
    adata
        Log-normalised expression, as :func:`spotscape.pp.prepare` leaves it. ``adata.X`` is never changed.
    n_hops
        How often each spot is replaced by the mean over itself and its neighbours. More hops mean larger regions and
        blurred thin ones; 0 is a plain PCA.
    n_comps
        Number of principal components; fewer if the data have fewer spots or genes.
    neighbors_key
        Record of the spatial graph in ``adata.uns``; built from the 6 nearest neighbours if there is none of the
        default name.
    library_key
        Column of ``adata.obs`` with the slice of each spot, dtype category. ``None`` for a single slice.
    layer
        Layer to use instead of ``adata.X``.
    use_rep
        Representation in ``adata.obsm`` to smooth as it is, without a PCA.
    mask_var
        Boolean column of ``adata.var``, or boolean array, of the genes to use. By default ``"highly_variable"``, if it
        exists; ``None`` uses all genes.
    key_added
        Name of the result in ``adata.obsm``. The record in ``adata.uns`` has the same name without ``X_``.
    random_state
        Seed of the PCA's solver.
    copy
        Return a copy with the results instead of writing to ``adata``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys:

    ``obsm['X_smoothed_pca' | key_added]``
        Smoothed components, float32 array ``(n_obs, n_comps)``.
    ``uns['smoothed_pca']``
        Dict with ``params``, ``random_state``, ``version``.
    ``obsp['spatial_connectivities']``, ``obsp['spatial_distances']``, ``uns['spatial_neighbors']``
        The spatial graph, only if there was none.

    Raises
    ------
    KeyError
        If a key does not exist; the message lists those that do.
    ValueError
        If the expression is raw counts, negative, not finite, or zero for a whole spot or gene; if the graph has no
        edges.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : The encoders.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> sp.pp.prepare(adata)
    >>> sp.tl.smoothed_pca(adata, n_comps=10)
    >>> adata.obsm["X_smoothed_pca"].shape
    (300, 10)
    """
    from spotscape.nn.smoothing import smooth

    require_data(adata)
    require_positive_int(n_hops, "n_hops", minimum=0)
    require_positive_int(n_comps, "n_comps")
    tissue = read_input(
        adata,
        neighbors_key=neighbors_key,
        library_key=library_key,
        layer=layer,
        use_rep=use_rep,
        mask_var=mask_var,
    )
    source = RandomSource(random_state)
    is_expression = use_rep is None or use_rep == "X"
    values = _components(tissue.matrix, n_comps, source) if is_expression else tissue.matrix
    smoothed = smooth(np.asarray(values, dtype=np.float32), tissue.graph, n_hops)
    params = {"n_hops": n_hops, "n_comps": smoothed.shape[1], **tissue.params}
    summary = record(params, random_state=source.seed)
    return write_embedding(adata, smoothed, summary, key_added=key_added, built=tissue.built, copy=copy)


def _components(matrix: Any, n_comps: int, source: RandomSource) -> np.ndarray:
    import scanpy as sc

    n_comps = min(n_comps, min(matrix.shape) - 1)
    return np.asarray(sc.pp.pca(matrix, n_comps=n_comps, random_state=source.integer("pca")))
