# Written by packaging/stubs.py from the sources; change those.
from anndata import AnnData
from collections.abc import Sequence
from numpy.typing import ArrayLike
from scipy import sparse
from spatialdata import SpatialData
from spotscape._core.randomness import Seed
from typing import Any
from typing import TypeVar
from typing import overload
import numpy as np
import pandas as pd

__all__ = [
    "ari", "batch_asw", "boundary_accuracy", "chaos", "clisi", "clustering_accuracy", "completeness", "domain_scores",
    "evaluate", "f1_lisi", "f1_macro", "f1_micro", "graph_connectivity", "homogeneity", "ilisi", "imputation_scores",
    "interior_accuracy", "js_divergence", "kbet", "label_asw", "label_transfer_accuracy", "label_transfer_ari", "lisi",
    "nmi", "pas", "silhouette", "spatial_asw",
]

Data = TypeVar("Data", AnnData, SpatialData)

@overload
def ari(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def ari(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def batch_asw(
    labels: ArrayLike, library: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = ..., random_state: Seed =
    ...,
) -> float: ...
@overload
def batch_asw(
    adata: AnnData, labels: str | ArrayLike, library: str | ArrayLike, embedding: str | ArrayLike, *, max_spots: int |
    None = ..., random_state: Seed = ...,
) -> float: ...
@overload
def boundary_accuracy(
    labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any,
) -> float: ...
@overload
def boundary_accuracy(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike, graph: str | Any,
) -> float: ...
@overload
def chaos(
    labels: ArrayLike, coordinates: ArrayLike, *, library: ArrayLike | None = ...,
) -> float: ...
@overload
def chaos(
    adata: AnnData, labels: str | ArrayLike, coordinates: str | ArrayLike, *, library: str | ArrayLike | None = ...,
) -> float: ...
@overload
def clisi(
    labels: ArrayLike, embedding: ArrayLike, *, perplexity: float = ...,
) -> float: ...
@overload
def clisi(
    adata: AnnData, labels: str | ArrayLike, embedding: str | ArrayLike, *, perplexity: float = ...,
) -> float: ...
@overload
def clustering_accuracy(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def clustering_accuracy(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def completeness(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def completeness(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def domain_scores(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> pd.DataFrame: ...
@overload
def domain_scores(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> pd.DataFrame: ...
@overload
def evaluate(
    labels_true: ArrayLike | None, labels_pred: ArrayLike, *, coordinates: ArrayLike | None = ..., embedding: ArrayLike
    | None = ..., library: ArrayLike | None = ..., max_spots: int = ..., random_state: Seed = ...,
) -> pd.Series: ...
@overload
def evaluate(
    adata: AnnData, labels_true: str | ArrayLike | None, labels_pred: str | ArrayLike, *, coordinates: str | ArrayLike |
    None = ..., embedding: str | ArrayLike | None = ..., library: str | ArrayLike | None = ..., max_spots: int = ...,
    random_state: Seed = ...,
) -> pd.Series: ...
@overload
def f1_lisi(
    labels: ArrayLike, library: ArrayLike, embedding: ArrayLike, *, perplexity: float = ...,
) -> float: ...
@overload
def f1_lisi(
    adata: AnnData, labels: str | ArrayLike, library: str | ArrayLike, embedding: str | ArrayLike, *, perplexity: float
    = ...,
) -> float: ...
@overload
def f1_macro(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def f1_macro(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def f1_micro(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def f1_micro(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def graph_connectivity(
    labels: ArrayLike, embedding: ArrayLike, *, n_neighs: int = ...,
) -> float: ...
@overload
def graph_connectivity(
    adata: AnnData, labels: str | ArrayLike, embedding: str | ArrayLike, *, n_neighs: int = ...,
) -> float: ...
@overload
def homogeneity(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def homogeneity(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def ilisi(
    library: ArrayLike, embedding: ArrayLike, *, perplexity: float = ...,
) -> float: ...
@overload
def ilisi(
    adata: AnnData, library: str | ArrayLike, embedding: str | ArrayLike, *, perplexity: float = ...,
) -> float: ...
@overload
def imputation_scores(
    truth: ArrayLike | sparse.spmatrix | sparse.sparray, imputed: ArrayLike | sparse.spmatrix | sparse.sparray, mask:
    ArrayLike | None = ..., *, genes: Sequence[str] | None = ...,
) -> pd.DataFrame: ...
@overload
def imputation_scores(
    adata: AnnData, truth: str | ArrayLike | sparse.spmatrix | sparse.sparray, imputed: str | ArrayLike |
    sparse.spmatrix | sparse.sparray, mask: ArrayLike | None = ..., *, genes: Sequence[str] | None = ...,
) -> pd.DataFrame: ...
@overload
def interior_accuracy(
    labels_true: ArrayLike, labels_pred: ArrayLike, graph: Any,
) -> float: ...
@overload
def interior_accuracy(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike, graph: str | Any,
) -> float: ...
@overload
def js_divergence(
    library: ArrayLike, embedding: ArrayLike, *, n_neighs: int = ...,
) -> float: ...
@overload
def js_divergence(
    adata: AnnData, library: str | ArrayLike, embedding: str | ArrayLike, *, n_neighs: int = ...,
) -> float: ...
@overload
def kbet(
    library: ArrayLike, embedding: ArrayLike, *, n_neighs: int = ..., alpha: float = ...,
) -> float: ...
@overload
def kbet(
    adata: AnnData, library: str | ArrayLike, embedding: str | ArrayLike, *, n_neighs: int = ..., alpha: float = ...,
) -> float: ...
@overload
def label_asw(
    labels: ArrayLike, embedding: ArrayLike, *, max_spots: int | None = ..., random_state: Seed = ...,
) -> float: ...
@overload
def label_asw(
    adata: AnnData, labels: str | ArrayLike, embedding: str | ArrayLike, *, max_spots: int | None = ..., random_state:
    Seed = ...,
) -> float: ...
@overload
def label_transfer_accuracy(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool = ...,
) -> float: ...
@overload
def label_transfer_accuracy(
    adata: AnnData, labels_true: str | ArrayLike, labels_transferred: str | ArrayLike, *, count_unmatched: bool = ...,
) -> float: ...
@overload
def label_transfer_ari(
    labels_true: ArrayLike, labels_transferred: ArrayLike, *, count_unmatched: bool = ...,
) -> float: ...
@overload
def label_transfer_ari(
    adata: AnnData, labels_true: str | ArrayLike, labels_transferred: str | ArrayLike, *, count_unmatched: bool = ...,
) -> float: ...
@overload
def lisi(
    labels: ArrayLike, embedding: ArrayLike, *, perplexity: float = ...,
) -> np.ndarray: ...
@overload
def lisi(
    adata: AnnData, labels: str | ArrayLike, embedding: str | ArrayLike, *, perplexity: float = ...,
) -> np.ndarray: ...
@overload
def nmi(
    labels_true: ArrayLike, labels_pred: ArrayLike,
) -> float: ...
@overload
def nmi(
    adata: AnnData, labels_true: str | ArrayLike, labels_pred: str | ArrayLike,
) -> float: ...
@overload
def pas(
    labels: ArrayLike, coordinates: ArrayLike, *, n_neighs: int = ..., library: ArrayLike | None = ...,
) -> float: ...
@overload
def pas(
    adata: AnnData, labels: str | ArrayLike, coordinates: str | ArrayLike, *, n_neighs: int = ..., library: str |
    ArrayLike | None = ...,
) -> float: ...
@overload
def silhouette(
    labels: ArrayLike, embedding: ArrayLike, *, max_spots: int = ..., random_state: Seed = ...,
) -> float: ...
@overload
def silhouette(
    adata: AnnData, labels: str | ArrayLike, embedding: str | ArrayLike, *, max_spots: int = ..., random_state: Seed =
    ...,
) -> float: ...
@overload
def spatial_asw(
    labels: ArrayLike, coordinates: ArrayLike, *, library: ArrayLike | None = ..., max_spots: int = ..., random_state:
    Seed = ...,
) -> float: ...
@overload
def spatial_asw(
    adata: AnnData, labels: str | ArrayLike, coordinates: str | ArrayLike, *, library: str | ArrayLike | None = ...,
    max_spots: int = ..., random_state: Seed = ...,
) -> float: ...
