"""Domains by several clusterers, of which the genes decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import params_of
from spotscape._core.logging import logger
from spotscape._core.reading import expression_values
from spotscape._core.rows import without_logarithm
from spotscape.nn.clustering import kmeans, prefer_by_composition, soft_assignment
from spotscape.tl._remember import scale_of

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.randomness import RandomSource
    from spotscape.nn.clustering import Clustering


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
    found, name, compared = prefer_by_composition(
        plain, embedding, expression, slices=_slices(adata, use_rep), seed=source.integer("gmm")
    )
    logger.info("Of k-means and three mixtures, took %s, by gene composition in `%s`.", name, origin)
    return found, {"chosen": name, "compared": compared, "expression": origin}


def read_linear(adata: AnnData) -> tuple[Any, str]:
    """Expression on a linear scale and where it is from; or ``None``, and why there is none.

    Counts tell most, since they say how much each spot knows; of log-normalised expression the logarithm is undone.
    """
    counted = keys.COUNTS in adata.layers
    source = f"adata.layers[{keys.COUNTS!r}]" if counted else "adata.X"
    if not counted and adata.X is None:
        return None, f"{source} is None"
    matrix = expression_values(adata, keys.COUNTS if counted else None, stream=True)
    if not np.isfinite(total := float(matrix.sum(axis=0).sum())) or matrix.min() < 0:
        return None, f"{source} holds negative or missing values"
    if total == 0:
        return None, f"{source} holds nothing but zeros"
    return (without_logarithm(matrix) if scale_of(matrix) == "logarithm" else matrix), source


def _slices(adata: AnnData, use_rep: str) -> np.ndarray | None:
    """Codes of the slices that the embedding was made of, if its record names their column."""
    library_key = params_of(adata, use_rep.removeprefix("X_")).get("library_key")
    if library_key is None or library_key not in adata.obs:
        return None
    return np.asarray(adata.obs[library_key].astype("category").cat.codes)
