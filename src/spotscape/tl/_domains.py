"""Domains: clusters of spots in an embedding."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_positive_int
from spotscape.nn.clustering._agreement import CLEAR_AGREEMENT, most_agreed
from spotscape.nn.clustering._kmeans import Clustering, by_size, check_points, kmeans, make_exactly, search_resolution
from spotscape.nn.clustering._mixture import gaussian_mixture
from spotscape.tl._choose_n_domains import stored_or_chosen
from spotscape.tl._smoothed_pca import comparison, is_smoothed_pca
from spotscape.tl._trajectory import embed_neighbors

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

Method = Literal["auto", "gmm", "kmeans", "leiden"]


@public
def domains(
    adata: AnnData,
    *,
    n_domains: int | None = None,
    method: Method = "auto",
    use_rep: str | None = None,
    resolution: float = 1.0,
    n_neighbors: int = 15,
    key_added: str | None = None,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Cluster the spots of an embedding into domains.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    n_domains
        Number of domains, at least 2. ``None`` (default) takes the number that :func:`spotscape.tl.choose_n_domains`
        stored in ``uns["n_domains"]`` for this embedding, or calls it. With ``method="leiden"`` the resolution decides.
    method
        How to cluster. No single clusterer is right on all tissue, and a border that only one of them draws is likely
        an artefact.

        - ``"auto"`` (default) runs k-means and four Gaussian mixtures and takes the clustering that agrees most with
          the others. The mixtures have one covariance for all domains, shrunk towards a sphere by 0, .05, .5 and 1. If
          none agrees with the others by .9, each runs three times from different starts, so that the domains depend
          less on the seed (up to 20,000 spots). If k-means and the mixtures agree by less than .5, it takes the
          clustering that agrees most with clusterings of smoothed PCA of the same tissue (for smoothed PCA itself, over
          another number of hops), provided that expression and graph are there.
        - ``"kmeans"`` is the best of 10 to 100 runs of k-means.
        - ``"gmm"`` is a Gaussian mixture with one covariance for all domains, called EEE in R's mclust, fitted by
          maximum likelihood from many starts.
        - ``"leiden"`` takes communities of the neighbour graph of the embedding. With ``n_domains``, it searches for a
          resolution that gives this number. If there is none, it merges the nearest clusters or splits the widest.
    resolution
        For ``method="leiden"``: the resolution, or with ``n_domains`` the first one tried. Default: 1, as in scanpy.
    n_neighbors
        For ``method="leiden"``: size of the neighbourhoods in the embedding, the spot itself counted. Default: 15, as
        in scanpy.
    key_added
        Name of the column in ``obs`` and of the record in ``uns``. Default: the name of the embedding, so that domains
        of one method never overwrite those of another: ``"spotscape_domain"`` for ``"X_spotscape"``,
        ``"spacross_domain"`` for ``"X_spacross"``.
    random_state
        Seed; the same seed gives the same domains on any number of threads. ``None`` draws one and keeps it in the
        record.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``obs[key_added]`` : category of strings ``"0"``, ``"1"``, ... in natural order, shape ``(n_obs,)``. ``"0"`` is
      the largest domain; domains of equal size are in the order of their first spots.
    - ``obs[f"{key_added}_confidence"]`` : float32, for ``"auto"`` and ``"gmm"``: probability of the domain
      that the spot was given; where k-means was taken, that of equal spheres around its centres. Other methods have
      none, and one of an earlier call is removed; :func:`spotscape.tl.consensus_domains` has one for any clusterer.
    - ``uns[key_added]`` : dict with ``params``, ``version`` and ``criterion`` (its name: agreement with the other
      clusterers, inertia of k-means, mean log-likelihood per spot, or leiden's resolution; and its value); for
      ``"auto"`` also ``chosen``, ``agreement`` (of each clustering with the others) and, if these decided,
      ``agreement_beside`` (of each with clusterings of smoothed PCA).
    - ``uns["n_domains"]`` : the record of :func:`spotscape.tl.choose_n_domains`, only if it was run here.

    Raises
    ------
    ImportError
        If ``method="leiden"`` and igraph is not installed.
    ValueError
        If ``n_domains`` is below 2, above the number of spots or above the number of distinct positions in
        the embedding; if the embedding holds NaN or infinite values; if there are embeddings of both encoders and
        ``use_rep`` names none; if an argument has no such choice.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Encoders that make an embedding.
    spotscape.tl.smoothed_pca : The linear baseline.
    spotscape.tl.consensus_domains : Consensus of several trainings, with a confidence for each spot.
    spotscape.tl.choose_n_domains : The number of domains.
    spotscape.pl.domains : The domains in the tissue.

    Examples
    --------
    >>> import anndata as ad, numpy as np, spotscape as sp
    >>> rng = np.random.default_rng(0)
    >>> adata = ad.AnnData(np.zeros((60, 1), dtype="float32"))
    >>> adata.obsm["X_spotscape"] = rng.normal(size=(60, 3)) + 9 * (np.arange(60) >= 20)[:, None]
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.tl.domains(adata, n_domains=2)
    >>> adata.obs["spotscape_domain"].value_counts().to_dict()
    {'0': 40, '1': 20}

    References
    ----------
    Scrucca et al., *mclust 5*, The R Journal 2016; Traag et al., *From Louvain to Leiden*, Scientific Reports 2019.
    """
    require_data(adata, genes=False)
    use_rep = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, use_rep)
    key_added = keys.domain_of(use_rep) if key_added is None else key_added
    check_n_domains(n_domains, adata.n_obs)
    require_positive_int(n_neighbors, "n_neighbors", minimum=2)
    source = RandomSource(random_state)
    chosen: dict[str, dict[str, Any]] = {}
    extra: dict[str, Any] = {}
    if method == "leiden":
        seed = source.integer("leiden")
        found = leiden(embedding, n_domains, resolution=resolution, n_neighbors=n_neighbors, seed=seed)
    else:
        if n_domains is None:
            n_domains, chosen = stored_or_chosen(adata, embedding, use_rep, source)
        second = partial(second_embedding, adata, use_rep)
        beside = "smoothed PCA over another number of hops" if is_smoothed_pca(adata, use_rep) else "smoothed PCA"
        found, extra = cluster(embedding, n_domains, method, source, second=second, beside=beside)
    params: dict[str, str | float | None] = {
        "method": method,
        "n_domains": n_domains,
        "use_rep": use_rep,
        "random_state": source.seed,
    }
    if method == "leiden":
        params |= {"resolution": resolution, "n_neighbors": n_neighbors}
    criterion = {"name": found.criterion, "value": found.value}
    extra["made_from"] = made_from(adata, obsm=[use_rep])
    columns: dict[str, Any] = {key_added: categories(found.labels)}
    confidence, outdated = keys.confidence_of(key_added), []
    if found.posterior is not None:
        columns[confidence] = found.posterior[np.arange(adata.n_obs), found.labels].astype(np.float32)
    elif key_added in adata.uns:
        outdated = [("obs", confidence)]
    records = {**chosen, key_added: record(params, criterion=criterion, **extra)}
    return write(adata, {"obs": columns, "uns": records}, outdated=outdated, copy=copy)


def check_n_domains(n_domains: int | None, n_obs: int) -> None:
    """Refuse a number of domains that there cannot be."""
    if n_domains is not None and n_domains > n_obs:
        msg = f"n_domains={n_domains} is more than the {n_obs} spots of adata."
        raise ValueError(msg)


def cluster(
    embedding: np.ndarray,
    n_domains: int,
    method: str,
    source: RandomSource,
    *,
    second: Callable[[], np.ndarray | None] | None = None,
    beside: str = "smoothed PCA",
) -> tuple[Clustering, dict[str, Any]]:
    """Clusters by any method but leiden, and what to record of how they were found.

    ``second`` makes another embedding of the same tissue, called ``beside``, for clusterers that disagree.
    """
    if method == "kmeans":
        return kmeans(embedding, n_domains, seed=source.integer("kmeans")), {}
    if method == "gmm":
        return gaussian_mixture(embedding, n_domains, seed=source.integer("gmm")), {}
    found = most_agreed(embedding, n_domains, seed=source.integer("auto"), second=second)
    extra: dict[str, Any] = {"chosen": found.name, "agreement": found.agreement}
    took = "k-means" if found.name == "kmeans" else f"the mixture with shrinkage {found.name.removeprefix('mixture_')}"
    if found.agreement["kmeans"] >= CLEAR_AGREEMENT:
        logger.info("Ran k-means and four Gaussian mixtures; took %s, whose domains agree most with the others.", took)
        return found.clustering, extra
    by = "with the others"
    if found.beside is not None:
        extra["agreement_beside"] = found.beside
        by = f"with those of {beside}"
    logger.warning(
        "k-means and the mixtures find different domains (they agree by %.2f; 1 is full agreement), so the domains "
        "depend on the clusterer. Took %s, whose domains agree most %s (%.2f). Compare method='kmeans' and "
        "method='gmm', each with a key_added of its own.",
        found.agreement["kmeans"],
        took,
        by,
        found.clustering.value,
    )
    return found.clustering, extra


def second_embedding(adata: AnnData, use_rep: str) -> np.ndarray | None:
    """Smoothed PCA of the same tissue, to compare an embedding with, if they can be computed."""
    found = comparison(adata, use_rep)
    return None if isinstance(found, str) else found


def categories(labels: np.ndarray) -> pd.Categorical:
    """Domains as strings "0", "1", ... in natural order."""
    names = pd.CategoricalDtype([str(number) for number in range(labels.max() + 1)])
    return pd.Categorical(labels.astype(str), dtype=names)


def leiden(
    embedding: np.ndarray, n_domains: int | None, *, resolution: float, n_neighbors: int, seed: int
) -> Clustering:
    """Cluster the neighbour graph of an embedding: at ``resolution``, or at one that gives ``n_domains`` clusters."""
    if find_spec("igraph") is None:
        msg = "method='leiden' needs igraph; install it by: pip install \"spotscape[leiden]\"."
        raise ImportError(msg)
    import scanpy as sc

    points = np.asarray(embedding, dtype=np.float64) if n_domains is None else check_points(embedding, n_domains)
    if len(points) < 2:
        msg = "method='leiden' needs two spots or more, for a graph of neighbours."
        raise ValueError(msg)
    graph = embed_neighbors(points, n_neighbors, seed)

    def cluster(resolution: float) -> np.ndarray:
        sc.tl.leiden(graph, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
        return np.asarray(graph.obs["leiden"].cat.codes)

    if n_domains is None:
        return Clustering(by_size(cluster(resolution))[0], "resolution", resolution)
    labels, found = search_resolution(cluster, n_domains, start=resolution)
    n_found = len(np.unique(labels))
    if n_found != n_domains:
        logger.info(
            "No resolution gives %s leiden clusters; the %s at resolution %.4g are %s to match.",
            *(n_domains, n_found, found, "merged" if n_found > n_domains else "split"),
        )
    return Clustering(by_size(make_exactly(labels, points, n_domains))[0], "resolution", found)
