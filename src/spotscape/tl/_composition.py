"""Domains by several clusterers, of which the genes decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.logging import logger
from spotscape._core.reading import in_memory
from spotscape._core.rows import RowSource, is_stored
from spotscape.nn.clustering import Clustering, composition_inertia, gaussian_mixture, kmeans, soft_assignment
from spotscape.tl._remember import scale_of

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.randomness import RandomSource

# Mixtures with nearly any covariance, half of one, and a sphere.
SHRINKAGES = (0.05, 0.5, 1.0)
# k-means stands unless a mixture is better by this factor: differences below it say nothing.
_CLEARLY = 1.01


def cluster_by_genes(
    adata: AnnData, embedding: np.ndarray, use_rep: str, n_domains: int, source: RandomSource
) -> tuple[Clustering, dict[str, Any]]:
    """Clusters by k-means, or by a mixture whose domains differ more in gene composition; and what to record of it."""
    plain = kmeans(embedding, n_domains, seed=source.integer("kmeans"))
    plain = replace(plain, posterior=soft_assignment(embedding, plain.labels))
    expression, origin = read_linear(adata)
    if expression is None:
        logger.info("No expression in which to compare domains (%s): they are those of k-means.", origin)
        return plain, {"chosen": "kmeans"}
    seed = source.integer("gmm")
    fits = [plain, *(gaussian_mixture(embedding, n_domains, shrinkage=each, seed=seed) for each in SHRINKAGES)]
    names = ["kmeans", *(f"mixture_{each:g}" for each in SHRINKAGES)]
    inertia = composition_inertia(expression, [fit.labels for fit in fits], slices=_slices(adata, use_rep))
    best = int(inertia.argmax()) if inertia.max() > _CLEARLY * inertia[0] else 0
    logger.info(
        "Of k-means and %d mixtures, took %s, by gene composition in `%s`.", len(SHRINKAGES), names[best], origin
    )
    chosen = replace(fits[best], criterion="composition_inertia", value=float(inertia[best]))
    compared = dict(zip(names, inertia.tolist(), strict=True))
    return chosen, {"chosen": names[best], "compared": compared, "expression": origin}


def read_linear(adata: AnnData) -> tuple[Any, str]:
    """Expression on a linear scale and where it is from; or ``None``, and why there is none.

    Counts tell most, since they say how much each spot knows; of log-normalised expression the logarithm is undone.
    """
    counted = keys.COUNTS in adata.layers
    source = f"adata.layers[{keys.COUNTS!r}]" if counted else "adata.X"
    values = adata.layers[keys.COUNTS] if counted else adata.X
    if values is None:
        return None, f"{source} is None"
    matrix = RowSource(values) if is_stored(values) else in_memory(values)
    if not np.isfinite(total := float(matrix.sum(axis=0).sum())) or matrix.min() < 0:
        return None, f"{source} holds negative or missing values"
    if total == 0:
        return None, f"{source} holds nothing but zeros"
    return (_without_logarithm(matrix) if scale_of(matrix) == "logarithm" else matrix), source


def _without_logarithm(matrix: Any) -> Any:
    if isinstance(matrix, RowSource):
        return matrix.changed(np.expm1)
    if sparse.issparse(matrix):
        return matrix.expm1()
    return np.expm1(matrix)


def _slices(adata: AnnData, use_rep: str) -> np.ndarray | None:
    """Codes of the slices that the embedding was made of, if its record names their column."""
    params = adata.uns.get(use_rep.removeprefix("X_"), {}).get("params", {})
    library_key = params.get("library_key")
    if library_key is None or library_key not in adata.obs:
        return None
    return np.asarray(adata.obs[library_key].astype("category").cat.codes)
