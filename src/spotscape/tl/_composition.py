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

# Mixtures with nearly any covariance, half of one, and a sphere; and how much better than k-means each has to be.
# Smaller differences go either way; the last is k-means but for soft domains of unequal size, and moves most.
BARS = {0.05: 1.01, 0.5: 1.01, 1.0: 1.03}


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
    fits = [plain, *(gaussian_mixture(embedding, n_domains, shrinkage=each, seed=seed) for each in BARS)]
    names = ["kmeans", *(f"mixture_{each:g}" for each in BARS)]
    inertia = composition_inertia(expression, [fit.labels for fit in fits], slices=_slices(adata, use_rep))
    best = clearly_best(inertia, np.array([*BARS.values()]))
    logger.info("Of k-means and three mixtures, took %s, by gene composition in `%s`.", names[best], origin)
    chosen = replace(fits[best], criterion="composition_inertia", value=float(inertia[best]))
    compared = dict(zip(names, inertia.tolist(), strict=True))
    return chosen, {"chosen": names[best], "compared": compared, "expression": origin}


def clearly_best(inertia: np.ndarray, bars: np.ndarray) -> int:
    """The largest of those that exceed the first by the factors in ``bars``; 0 if none does.

    >>> clearly_best(np.array([1.0, 1.02, 1.025]), np.array([1.01, 1.03]))
    1
    """
    clear = np.where(inertia[1:] > bars * inertia[0], inertia[1:], -np.inf)
    return int(clear.argmax()) + 1 if np.isfinite(clear).any() else 0


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
