"""The linear baseline, principal components averaged over spatial neighbours; also to compare an embedding with."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record
from spotscape._core.arguments import public
from spotscape._core.graphs import crosses_on_purpose, library_of_graph
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import HIGHLY_VARIABLE
from spotscape._core.settings import settings
from spotscape._core.validation import params_of, require_data, slice_labels
from spotscape.tl._embedding import read_input, undo_logarithm, write_embedding

if TYPE_CHECKING:
    from anndata import AnnData

# How expression is read, as by the encoders.
_READING = ("n_comps", "spatial_components", "linear_scale", "dispersion", "clip", "n_axes", "whitening")


@public
def smoothed_pca(
    adata: AnnData,
    *,
    n_hops: int = 2,
    n_comps: int = 30,
    spatial_components: bool = True,
    linear_scale: bool = True,
    dispersion: float | None = 0.5,
    clip: float | None = 5.0,
    n_axes: int | None = 12,
    whitening: float = 0.5,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    center_slices: bool = True,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.X_SMOOTHED_PCA,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Embed spots by principal components averaged over spatial neighbours: the linear baseline.

    Expression is reduced to the components that neighbours share, which are also the input of the encoders. Then every
    spot is replaced by the mean over itself and its neighbours, twice; the graph may join registered slices. Nothing is
    trained: a Visium slice takes less than a second and a million cells less than a minute. Sparse expression stays
    sparse.

    Run it before any encoder and compare the two on your own tissue; the page *Which method?* of the documentation says
    when an encoder helps. With several slices it subtracts the mean of each slice;
    :func:`spotscape.tl.integrate_slices` corrects more. Layers as thin as the neighbourhood are blurred.

    Parameters
    ----------
    adata
        Log-normalised expression, as :func:`spotscape.pp.prepare` leaves it. ``adata.X`` is never changed. Expression
        in a file (``backed="r"``) or a dask array is read in blocks of rows.
    n_hops
        How often each spot is replaced by the mean over itself and its neighbours. More hops give larger regions and
        blur thin ones; 0 is a plain PCA.
    n_comps
        Number of components that are smoothed; fewer if the data have fewer spots or genes.
    spatial_components
        Whether components are the directions in which means over neighbours differ most. ``False`` takes those in which
        single spots differ most, as in an ordinary PCA.
    linear_scale
        Whether the log transform is undone first, so that counts are averaged over neighbours. Whether there is one is
        in the records of :func:`spotscape.pp.prepare` and :func:`scanpy.pp.log1p`. Without a record, the values must
        look like logarithms of counts, and be at most 20; intensities of proteins do not.
    dispersion
        How genes are scaled. 0 gives all genes the same variance, and 1 is close to Pearson residuals. In between,
        genes that vary beyond counting noise get more weight. ``None`` only centres genes.
    clip
        Values are clipped at this many standard deviations above the mean of their gene. ``None`` does not clip.
    n_axes, whitening
        The smoothed components are rotated onto this many leading axes, and each axis is divided by its standard
        deviation to the power ``whitening``, so that the first axis does not dominate k-means. ``None`` and 0 leave the
        components as they are.
    center_slices
        With several slices, whether components are centred in each slice. This subtracts differences between slices,
        donors or patients as a whole. Use ``False`` if a slice holds another kind of tissue than the others.
    use_rep
        Representation in ``adata.obsm`` to smooth as it is, without a PCA.
    random_state
        Seed of the search for the components (block Lanczos on the covariance). Its influence is negligible: on STARmap
        and DLPFC 151673 the 20 leading components agree with an exact PCA to a cosine of 0.99998. Above 100,000 spots
        the search ends earlier.

    Returns
    -------
    ``obsm['X_smoothed_pca']`` (or ``key_added``)
        Smoothed components, float32 array ``(n_obs, n_axes)``; the same bits for the same seed, whatever the number of
        threads.
    ``uns['smoothed_pca']``
        Dict with ``params``, ``random_state``, ``version``.
    {graph_if_built}

    Raises
    ------
    ValueError
        If the expression is raw counts, negative, not finite, or the same in all spots; if the graph has no
        edges.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : The encoders.
    spotscape.tl.integrate_slices : Subtracts the differences between slices from the result.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> sp.pp.prepare(adata)
    >>> sp.tl.smoothed_pca(adata, n_comps=10)
    >>> adata.obsm["X_smoothed_pca"].shape
    (300, 10)
    """
    given = dict(locals())
    smoothed, params, built = smoothed_components(**given)
    summary = record(params, random_state=RandomSource(random_state).seed)
    return write_embedding(adata, smoothed, summary, key_added=key_added, built=built, copy=copy)


def smoothed_components(adata: AnnData, **given: Any) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """The embedding of :func:`smoothed_pca`, its parameters, and the graph if it was built; nothing is written.

    What is not given is as in :func:`smoothed_pca`.
    """
    import torch

    from spotscape._stats.components import smooth
    from spotscape.models._config import EncoderConfig
    from spotscape.models._reduction import Reduction
    from spotscape.nn.pca import PCA

    given = {name: each.default for name, each in inspect.signature(smoothed_pca).parameters.items()} | given
    require_data(adata)
    reading = {name: given[name] for name in ("neighbors_key", "library_key", "layer", "use_rep", "mask_var")}
    across = crosses_on_purpose(adata.uns.get(given["neighbors_key"]))
    reading["library_key"] = library_of_graph(adata, given["neighbors_key"], given["library_key"], across_slices=across)
    slices, n_hops = slice_labels(adata, reading["library_key"]), given["n_hops"]
    tissue = read_input(adata, slices=slices, across_slices=across, **reading)
    params = {name: given[name] for name in ("n_hops", "center_slices", *_READING)} | tissue.params
    is_expression = given["use_rep"] in {None, "X"}
    params["linear_scale"] = undo_logarithm(adata, given["layer"], wanted=params["linear_scale"] and is_expression)
    config = EncoderConfig(**{name: params[name] for name in _READING})
    reduction = Reduction.fit(tissue.matrix, tissue.graph, config) if is_expression else None
    if reduction is None:
        smoothed = smooth(np.asarray(tissue.matrix, dtype=np.float32), tissue.graph, n_hops)
        return smoothed, params, tissue.built
    values = reduction.project(tissue.matrix)
    for name in slices.categories if slices is not None and given["center_slices"] else ():
        values[slices == name] -= values[slices == name].mean(axis=0)
    smoothed = smooth(values, tissue.graph, n_hops)
    if config.n_axes is not None or config.whitening != 0:
        tensors = [torch.from_numpy(smoothed)]
        axes = PCA.of(tensors, config.n_axes or smoothed.shape[1], whitening=config.whitening)
        smoothed = axes.project(tensors).numpy()
    return smoothed, params, tissue.built


# How records say what an embedding was made from.
_SOURCES = {"layer": "adata.layers['", "use_rep": "adata.obsm['"}


def is_smoothed_pca(adata: AnnData, use_rep: str) -> bool:
    """Whether an embedding is smoothed PCA, by its name or its record."""
    return use_rep == keys.X_SMOOTHED_PCA or "n_hops" in params_of(adata.uns.get(use_rep.removeprefix("X_")))


def comparison(adata: AnnData, use_rep: str) -> np.ndarray | str:
    """Smoothed components of the expression and the graph that an embedding was made from, or why there are none.

    Smoothed components are compared with those of half the hops.
    """
    params = params_of(adata.uns.get(use_rep.removeprefix("X_")))
    hops = 2
    if is_smoothed_pca(adata, use_rep):
        hops = 1 if int(params.get("n_hops", 2)) > 1 else 2
    source = str(params.get("source"))
    reading = {name: source[len(start) : -2] for name, start in _SOURCES.items() if source.startswith(start)}
    graph = {name: params[name] for name in ("neighbors_key", "library_key") if isinstance(params.get(name), str)}
    # A graph that joins slices serves SpaCross only; the usual one does here.
    for given in ({**reading, **graph}, reading) if graph else (reading,):
        try:
            with settings.override(verbosity="error"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return smoothed_components(adata, n_hops=hops, **given)[0]
        except (KeyError, ValueError, TypeError) as error:
            reason = str(error.args[0])
    return reason
