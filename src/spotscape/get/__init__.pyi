# Written by packaging/stubs.py from the sources; change those.
from anndata import AnnData
from collections.abc import Sequence
from spatialdata import SpatialData
from typing import TypeVar
import pandas as pd

__all__ = [
    "markers_df", "matches_df",
]

Data = TypeVar("Data", AnnData, SpatialData)

def markers_df(
    adata: AnnData | SpatialData, *, key: str = ..., group: str | Sequence[str] | None = ..., n_genes: int | None = ...,
    max_pvalue_adj: float | None = ..., gene_symbols: str | None = ..., table_key: str | Sequence[str] | None = ...,
) -> pd.DataFrame: ...
def matches_df(
    adata: AnnData | SpatialData, *, key: str = ..., max_rank: int | None = ..., table_key: str | Sequence[str] | None =
    ...,
) -> pd.DataFrame: ...
