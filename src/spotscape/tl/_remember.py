"""What a trained model is to know of its tissue, read from the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.counts import n_detected
from spotscape._core.reading import is_logarithm
from spotscape._core.rows import RowSource
from spotscape._core.validation import looks_like_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from spotscape.models._base import GraphEncoder
    from spotscape.tl._embedding import EmbeddingInput

# Nothing countable has a logarithm above this; expression on a linear scale nearly always has larger values.
_LARGEST_LOGARITHM = 20


def remember_training(
    model: GraphEncoder[Any],
    adata: AnnData,
    tissue: EmbeddingInput,
    embedding: np.ndarray,
    slices: np.ndarray | None,
) -> None:
    """Put the record of the training and the place of its spots into the model."""
    from spotscape.models import Reference, TrainingRecord

    seed = model.random_source.integer("reference")
    model.reference = Reference.of(embedding, slices, seed=seed)
    if tissue.genes is None:
        return
    entry = {**dict(adata.uns), **tissue.built.get("uns", {})}[tissue.params["neighbors_key"]]
    model.training = TrainingRecord(
        genes=tuple(map(str, adata.var_names[tissue.genes])),
        scale=scale_of(tissue.matrix, adata, tissue.params["source"]),
        prepare=prepare_params(adata, tissue.params["source"]),
        graph=dict(entry.get("params", {})),
        mean_degree=tissue.graph.nnz / tissue.graph.shape[0],
        means=model.neutral_values(tissue.matrix),
        detected=(_n_detected(tissue.matrix) / tissue.matrix.shape[0]).astype(np.float32),
    )


def _n_detected(matrix: Any) -> np.ndarray:
    return matrix.summary.detected.sum(axis=0) if isinstance(matrix, RowSource) else n_detected(matrix)


def scale_of(matrix: Any, adata: AnnData, source: str) -> str:
    """``"counts"``, ``"logarithm"`` or ``"linear"``: as the record of ``adata.X`` says, else as the values look."""
    if looks_like_counts(matrix):
        return "counts"
    is_log = is_logarithm(adata, None) if source == "adata.X" else None
    return "logarithm" if (matrix.max() <= _LARGEST_LOGARITHM if is_log is None else is_log) else "linear"


def prepare_params(adata: AnnData, source: str) -> Mapping[str, Any] | None:
    """How ``pp.prepare`` made ``adata.X``; ``None`` if it did not, or if another matrix was read."""
    record = adata.uns.get(keys.PREPARE) if source == "adata.X" else None
    return None if record is None else dict(record["params"])
