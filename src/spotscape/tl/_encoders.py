"""The encoders on AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.reading import HIGHLY_VARIABLE
from spotscape.tl._embedding import train_on

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from anndata import AnnData

    from spotscape._core.randomness import Seed
    from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig


@public
def spotscape(
    adata: AnnData,
    *,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.X_SPOTSCAPE,
    decoded_layer: str | None = None,
    preset: Literal["default", "paper"] = "default",
    config: SpotscapeConfig | None = None,
    max_epochs: int | None = None,
    lr: float | None = None,
    n_encoders: int | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    random_state: Seed = 0,
    n_restarts: int = 1,
    progress_bar: bool | None = None,
    checkpoint: str | Path | None = None,
    return_model: bool = False,
    copy: bool = False,
) -> AnnData | Spotscape | None:
    """Embed spots with Spotscape, a graph encoder that preserves similarities between all spots.

    A graph autoencoder is trained on two views of the tissue, from each of which random edges and genes were removed.
    It learns to give *every* pair of spots the same similarity in both views. With several slices, similarities get the
    same scale across slices, all slices share prototypes, and offsets between slices are subtracted from the embedding.
    No labels are used. Cluster the embedding with :func:`spotscape.tl.domains`, or pass it to
    :func:`scanpy.pp.neighbors` with ``use_rep="X_spotscape"``.

    Parameters
    ----------
    adata
        Log-normalised expression, as :func:`spotscape.pp.prepare` leaves it. ``adata.X`` is never changed. If it lies
        in a file (``backed="r"``) or is a dask array, it is read by blocks of rows, never whole.
    library_key
        Column of ``adata.obs`` with the slice of each spot. It adds the parts of the method for several slices.
        Neighbours never come from another slice. Genes that a slice did not measure (zero in all of its spots, although
        other slices have them) are left out, and the log says so. ``None`` for a single slice.
    use_rep
        Representation in ``adata.obsm`` to use instead of expression, such as ``"X_pca"``. It is used as it is.
        Expression, in contrast, is scaled by gene and reduced to principal components (``SpotscapeConfig.n_comps``).
    preset
        Set of hyper-parameters.

        - ``"default"`` needs no tuning. It is ``SpotscapeConfig()`` for one slice, ``SpotscapeConfig.large_tissue()``
          (one encoder instead of four) for one slice of more than 10,000 spots, and
          ``SpotscapeConfig.several_slices()`` (half as many epochs) for several slices.
        - ``"paper"`` is the published setting, ``SpotscapeConfig.paper()``. For several slices it has the learning
          rate of the released runs on several slices, 5e-4. The published input is what :func:`spotscape.pp.prepare`
          leaves by default; keep ``use_rep`` at ``None`` and, on the hexagon of Visium, the graph of the 6 nearest
          neighbours.

    Returns
    -------
    {training}

    Raises
    ------
    ValueError
        {training_fails}

    See Also
    --------
    spotscape.pp.prepare : Counts to log-normalised expression.
    spotscape.pp.spatial_neighbors_knn : The spatial graph.
    spotscape.tl.spacross : The other encoder. Its graph may connect slices.
    spotscape.tl.smoothed_pca : The linear baseline.
    spotscape.models.Spotscape : The same without AnnData.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata)
    >>> sp.tl.spotscape(adata, max_epochs=10)
    >>> adata.obsm["X_spotscape"].shape
    (300, 12)

    References
    ----------
    Oh et al., *Global Context-aware Representation Learning for Spatially Resolved Transcriptomics*, ICML 2025,
    arXiv 2506.15698.
    """
    given = dict(locals())
    from spotscape.models import Spotscape

    result: AnnData | Spotscape | None = train_on(method=Spotscape, **given)
    return result


@public
def spacross(
    adata: AnnData,
    *,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.X_SPACROSS,
    decoded_layer: str | None = None,
    preset: Literal["default", "paper", "released"] = "default",
    config: SpaCrossConfig | None = None,
    max_epochs: int | None = None,
    lr: float | None = None,
    n_encoders: int | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    random_state: Seed = 0,
    n_restarts: int = 1,
    progress_bar: bool | None = None,
    checkpoint: str | Path | None = None,
    return_model: bool = False,
    copy: bool = False,
) -> AnnData | SpaCross | None:
    """Embed spots with SpaCross, a graph encoder that predicts masked spots from their neighbours.

    A graph autoencoder is trained while a part of the spots is masked. From the neighbours of these spots it learns to
    predict their expression and their embedding, and to distinguish spots that resemble each other from others. With
    several slices, similar spots are searched within and between slices, and offsets between slices are subtracted from
    the embedding. The graph may connect slices: build it with :func:`spotscape.pp.spatial_neighbors_3d`, and name it by
    ``neighbors_key="spatial_3d_neighbors"``. No labels are used. Cluster the embedding with
    :func:`spotscape.tl.domains`, or pass it to :func:`scanpy.pp.neighbors` with ``use_rep="X_spacross"``.

    Parameters
    ----------
    adata
        Normalised expression, with or without logarithm, as :func:`spotscape.pp.prepare` leaves it. ``adata.X`` is
        never changed.
    library_key
        Column of ``adata.obs`` with the slice of each spot. It adds the parts of the method for several slices.
        Neighbours come from other slices only if the graph connects slices. Genes that a slice did not measure (zero in
        all of its spots, although other slices have them) are left out, and the log says so. ``None`` for a single
        slice.
    use_rep
        Representation in ``adata.obsm`` to use instead of expression, such as ``"X_pca"``. It is used as it is, so it
        should be centred. Expression, in contrast, is scaled by gene and reduced to principal components
        (``SpaCrossConfig.n_comps``).
    preset
        Set of hyper-parameters.

        - ``"default"`` needs no tuning. It is ``SpaCrossConfig()`` (four encoders of 90 epochs), or, for one slice of
          more than 10,000 spots, ``SpaCrossConfig.large_tissue()`` (two encoders of 100 epochs).
        - ``"paper"`` is the published setting, ``SpaCrossConfig.paper()``.
        - ``"released"`` follows the released code where it differs from the paper: ``SpaCrossConfig.released()``, for
          several slices with ``quorum=0``.

        The published setting also includes genes and graph. For the genes, call ``sp.pp.prepare(adata,
        recipe="spacross")`` (for ``"released"`` with ``log1p=False``) and leave ``use_rep`` at ``None``. For the graph,
        take 8 to 12 neighbours (``n_neighs``). For several slices, register them and take the neighbours in three
        dimensions with :func:`spotscape.pp.spatial_neighbors_3d`. That function counts neighbours within and between
        slices separately, whereas the paper takes the nearest of either.

    Returns
    -------
    {training}

    Raises
    ------
    ValueError
        {training_fails}

    See Also
    --------
    spotscape.pp.prepare : Counts to log-normalised expression.
    spotscape.pp.spatial_neighbors_knn : The spatial graph.
    spotscape.pp.spatial_neighbors_3d : The spatial graph of a stack of slices.
    spotscape.tl.spotscape : The other encoder.
    spotscape.tl.smoothed_pca : The linear baseline.
    spotscape.models.SpaCross : The same without AnnData.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> sp.pp.prepare(adata, recipe="spacross")
    >>> sp.pp.spatial_neighbors_knn(adata)
    >>> sp.tl.spacross(adata, max_epochs=10)
    >>> adata.obsm["X_spacross"].shape
    (300, 12)

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, doi 10.1038/s42003-025-08810-5.
    """
    given = dict(locals())
    from spotscape.models import SpaCross

    result: AnnData | SpaCross | None = train_on(method=SpaCross, across_slices=True, **given)
    return result
