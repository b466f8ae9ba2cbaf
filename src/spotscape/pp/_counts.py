"""The counts that preprocessing begins with: where they are, whether they are counts, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.counts import counts_elsewhere, layer_names, looks_of
from spotscape._core.logging import logger, warn
from spotscape._core.rows import ChunkedMatrix, blocks_of, is_stored
from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.rows import Normalisation, Summary


@dataclass(frozen=True)
class Counts:
    """Where the counts are: ``matrix`` is in memory or read by blocks, ``layer`` its layer, ``None`` for ``X``."""

    matrix: Any
    stored: Any
    layer: str | None

    @property
    def where(self) -> str:
        """The place as code."""
        return keys.place_of(self.layer)

    @classmethod
    def find(cls, adata: AnnData, layer: str | None) -> Counts:
        """The layer that is named, else ``X``; the counts that an earlier call kept, or the one layer that is there."""
        if layer is not None:
            require_key(adata.layers, layer, "adata.layers", hint="layer names the layer with the raw counts")
        elif adata.X is None and (len(names := layer_names(adata)) == 1 or keys.COUNTS in names):
            layer = names[0] if len(names) == 1 else keys.COUNTS
            logger.info("`adata.X` is None: the counts are taken from `adata.layers['%s']`.", layer)
        elif keys.PREPARE in adata.uns and keys.COUNTS in adata.layers:
            layer = keys.COUNTS
            logger.info("`adata.X` was prepared before: the counts are taken from `adata.layers['counts']`.")
        values = adata.X if layer is None else adata.layers[layer]
        found = cls(None, values, layer)
        if values is None:
            msg = f"{found.where} is None; put the counts there, or name the layer that has them: layer=..."
            raise ValueError(msg)
        if values.dtype.kind not in "buif":
            msg = f"{found.where} has dtype {values.dtype}; expected whole numbers."
            raise TypeError(msg)
        matrix = values
        if is_stored(values):
            matrix = ChunkedMatrix(values)
        elif not sparse.issparse(values):
            matrix = values.to_memory() if hasattr(values, "to_memory") else np.asarray(values)
            # scipy has no sparse matrix of half precision.
            matrix = matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix
        elif values.format != "csr":
            matrix = values.tocsr()
        return cls(matrix, values, layer)

    def check(self, adata: AnnData, summary: Summary, *, assume: bool) -> None:
        """Refuse values that cannot be normalised; warn of values that are accepted although they are no counts."""
        if summary.n_broken:
            msg = f"{self.where} has {summary.n_broken} NaN or infinite values; remove or replace them."
            raise ValueError(msg)
        if summary.largest == summary.least == 0:
            msg = f"{self.where} holds nothing but zeros; there is no count to work on."
            raise ValueError(msg)
        if keys.COUNTS in adata.layers and self.layer != keys.COUNTS and not adata.isbacked:
            kept = adata.layers[keys.COUNTS]
            pairs = zip(blocks_of(kept), blocks_of(self.matrix), strict=False)
            comparable = not is_stored(kept) and not isinstance(self.matrix, ChunkedMatrix)
            if not comparable or any((sparse.csr_array(a) != sparse.csr_array(b)).nnz for a, b in pairs):
                msg = (
                    f"adata.layers[{keys.COUNTS!r}] exists and is not what {self.where} holds; take it with "
                    f"layer={keys.COUNTS!r}, or make room first: del adata.layers[{keys.COUNTS!r}]."
                )
                raise ValueError(msg)
        if summary.whole and summary.least >= 0:
            return
        kind, looks = looks_of(self.matrix, summary)
        elsewhere = counts_elsewhere(adata, self.layer)
        mend = elsewhere or "put the counts in X, or name the layer that has them: sp.pp.prepare(adata, layer=...)."
        if kind == "logarithm" and elsewhere is None:
            mend += " If there are none, leave sp.pp.prepare out: the methods take logarithms as they are."
        elif kind == "fractions" and elsewhere is None:
            mend += " Intensities, as of proteins, need no sp.pp.prepare: the methods take them as they are."
        elif kind == "negative" and elsewhere is None and adata.raw is not None:
            mend += " adata.raw may hold logarithms, which the methods take as they are: adata = adata.raw.to_adata()."
        if kind == "negative" or not (assume or (kind == "scaled" and elsewhere is None)):
            force = "" if kind == "negative" else " To take it as counts nevertheless: counts='assume'."
            msg = f"{self.where} is not raw counts: it holds {looks}; {mend}{force}"
            raise ValueError(msg)
        warn(f"{self.where} holds {looks}, and is taken as counts; after normalisation to one total that is the same.")

    def normalised(self, normalisation: Normalisation) -> Any:
        """Expression in memory, or a dask array that is computed as it is read."""
        if not isinstance(self.matrix, ChunkedMatrix):
            return normalisation.apply(self.matrix)
        stored = self.stored.rechunk({1: -1})
        stored = stored if stored.dtype == np.float64 else stored.astype(np.float32)

        def change(block: Any, block_info: Any) -> Any:
            return normalisation.apply(block, block_info[0]["array-location"][0][0])

        return stored.map_blocks(change, dtype=stored.dtype, meta=stored._meta)
