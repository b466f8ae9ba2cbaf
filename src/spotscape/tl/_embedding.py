"""What all embeddings of a spatial graph have in common on AnnData: what they read, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spotscape._core.anndata_io import write
from spotscape._core.reading import read_expression
from spotscape.tl._graph import graph_or_default

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from scipy import sparse


@dataclass(frozen=True)
class EmbeddingInput:
    """Expression and spatial graph, the parameters that say which, and the graph to write if it had to be built."""

    matrix: np.ndarray | sparse.csr_array
    graph: sparse.csr_array
    params: dict[str, Any]
    built: dict[str, dict[str, Any]]


def read_input(
    adata: AnnData,
    *,
    neighbors_key: str,
    library_key: str | None,
    layer: str | None,
    use_rep: str | None,
    mask_var: str | np.ndarray | None,
    across_slices: bool = False,
) -> EmbeddingInput:
    """Read what an embedding is computed from; ``across_slices`` lets a stored graph join slices."""
    expression = read_expression(adata, layer=layer, use_rep=use_rep, mask_var=mask_var, library_key=library_key)
    graph, built = graph_or_default(adata, neighbors_key, library_key, across_slices=across_slices)
    params = {
        "source": expression.source,
        "mask_var": mask_var if isinstance(mask_var, str) or mask_var is None else "array",
        "neighbors_key": neighbors_key,
        "library_key": library_key,
    }
    return EmbeddingInput(expression.matrix, graph, params, built)


def write_embedding(
    adata: AnnData,
    embedding: np.ndarray,
    summary: dict[str, Any],
    *,
    key_added: str,
    built: dict[str, dict[str, Any]],
    copy: bool,
) -> AnnData | None:
    """Write embedding, record and a graph that was built, all at once, to ``adata`` or to a copy that is returned."""
    target = adata.copy() if copy else adata
    uns = {**built.get("uns", {}), key_added.removeprefix("X_"): summary}
    write(target, {**built, "obsm": {key_added: embedding}, "uns": uns})
    return target if copy else None
