"""Spotscape on AnnData."""

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
    from spotscape.models import Spotscape, SpotscapeConfig


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
    No labels are used. Cluster the embedding with :func:`spotscape.tl.domains`, or hand it to
    :func:`scanpy.pp.neighbors` with ``use_rep="X_spotscape"``.

    Parameters
    ----------
    adata
        Log-normalised expression, as :func:`spotscape.pp.prepare` leaves it. ``adata.X`` is never changed. If it lies
        in a file (``backed="r"``) or is a dask array, it is read by blocks of rows, never whole.
    neighbors_key
        Record of the spatial graph in ``adata.uns``. If there is none of the default name, that of
        :func:`spotscape.pp.spatial_neighbors_knn` is built, written, and mentioned in the log.
    library_key
        Column of ``adata.obs`` with the slice of each spot. It adds the parts of the method for several slices.
        Neighbours never come from another slice. Genes that a slice did not measure (zero in all of its spots, although
        other slices have them) are left out, and the log says so. ``None`` for a single slice.
    layer
        Layer to use instead of ``adata.X``.
    use_rep
        Representation in ``adata.obsm`` to use instead of expression, such as ``"X_pca"``. It is used as it is.
        Expression, in contrast, is scaled by gene and reduced to principal components (``SpotscapeConfig.n_comps``).
    mask_var
        Boolean column of ``adata.var``, or boolean array, of the genes to use. By default ``"highly_variable"``, if it
        exists; ``None`` uses all genes.
    key_added
        Name of the embedding in ``adata.obsm``. The record in ``adata.uns`` has the same name without ``X_``.
    decoded_layer
        Name of a layer for decoded (denoised) expression, a dense array. ``None`` writes none.
    preset
        Set of hyper-parameters. ``"default"`` needs no tuning. It is ``SpotscapeConfig()`` for one slice,
        ``SpotscapeConfig.large_tissue()`` (one encoder instead of four) for one slice of more than 10,000 spots, and
        ``SpotscapeConfig.several_slices()`` (half as many epochs) for several slices. ``"paper"`` is the published
        setting, ``SpotscapeConfig.paper()``. For several slices it has the learning rate of the released runs on
        several slices, 5e-4. The published input is what :func:`spotscape.pp.prepare` leaves by default; keep
        ``use_rep`` at ``None`` and, on the hexagon of Visium, the graph of the 6 nearest neighbours.
    config
        All hyper-parameters, instead of ``preset``.
    max_epochs
        Epochs of each encoder; overrides ``preset`` and ``config``, as do the next two.
    lr
        Learning rate: the peak of the schedule.
    n_encoders
        Number of encoders that are trained side by side. With more of them, domains depend less on the seed, and
        training takes longer.
    batch_size
        Number of spots in a training step. Steps then see tiles from all over the tissue (see *Large data* in the
        documentation). ``None`` takes all spots in every step if that needs less than about 0.3 GB, else 16,384.
    device
        ``"auto"`` (CUDA if usable, else CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``. ``None`` takes
        ``spotscape.settings.device``.
    random_state
        Seed of all random numbers. The same seed gives the same result on the same CPU. The global state of NumPy and
        torch is not changed. ``None`` draws a seed and records it.
    n_restarts
        How often to train, with different seeds, for :func:`spotscape.tl.consensus_domains`. The first training equals
        a single one.
    progress_bar
        Show epochs and remaining time; ``None`` takes ``spotscape.settings.progress_bar``.
    checkpoint
        File in which the training is saved regularly. If it exists, the training resumes from it; a file of other data,
        another configuration or another seed is refused. Further encoders have files of their own, with ``.1``, ``.2``
        and so on after the name.
    return_model
        Return the trained model, the first of several, for :func:`spotscape.tl.embed` on new slices and for
        :meth:`~spotscape.models.Spotscape.save`. It remembers gene names, preprocessing and graph.
    copy
        Return a copy with the results instead of writing to ``adata``; not together with ``return_model``.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, if ``return_model=True`` the :class:`~spotscape.models.Spotscape`,
    otherwise ``None``; with these keys:

    ``obsm['X_spotscape' | key_added]``
        Embedding, float32 array ``(n_obs, 12)``; the width is ``SpotscapeConfig.n_axes``.
    ``uns['spotscape']``
        Dict with ``params`` (among them ``preset``, ``None`` if ``config`` was given), ``history`` (losses and learning
        rate by epoch), ``random_state``, ``version``.
    ``obsm['X_spotscape_1']``, ``obsm['X_spotscape_2']``, ...
        Embeddings of the further trainings, only with ``n_restarts`` above 1; ``uns['spotscape']`` then has
        ``restarts`` with the keys of all (``use_reps``) and their seeds (``random_states``).
    ``obsp['spatial_connectivities']``, ``obsp['spatial_distances']``, ``uns['spatial_neighbors']``
        The spatial graph, only if there was none.
    ``layers[decoded_layer]``
        Decoded expression, float32 ``(n_obs, n_vars)``, in the units of the input, not below 0; NaN for genes that are
        not in ``mask_var`` or that a slice did not measure. Only on request.

    Nothing is written if the call fails or is interrupted.

    Raises
    ------
    KeyError
        If a key does not exist; the message lists those that do.
    TypeError
        If the slice column holds measurements, or ``decoded_layer`` is not a name.
    ValueError
        If the expression is raw counts, negative, not finite, or the same in all spots; if the graph has no
        edges or joins slices; if there is no such preset, or ``config`` is given beside one; if both
        ``copy`` and ``return_model`` are asked for; if the device cannot be
        used; if ``decoded_layer`` is asked of a representation, or would overwrite ``"counts"`` or the layer that is
        read; if the checkpoint belongs to another training.

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
    from spotscape.models import Spotscape, SpotscapeConfig

    result: AnnData | Spotscape | None = train_on(
        adata,
        Spotscape,
        SpotscapeConfig,
        neighbors_key=neighbors_key,
        library_key=library_key,
        layer=layer,
        use_rep=use_rep,
        mask_var=mask_var,
        key_added=key_added,
        decoded_layer=decoded_layer,
        preset=preset,
        config=config,
        changes={"max_epochs": max_epochs, "lr": lr, "n_encoders": n_encoders},
        batch_size=batch_size,
        device=device,
        random_state=random_state,
        n_restarts=n_restarts,
        progress_bar=progress_bar,
        checkpoint=checkpoint,
        return_model=return_model,
        copy=copy,
    )
    return result
