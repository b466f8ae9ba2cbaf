# Written by packaging/stubs.py from the sources; change those.
from anndata import AnnData
from collections.abc import Sequence
from spatialdata import SpatialData
from spotscape._core.randomness import Seed
from spotscape.pp._graph_build import SpatialGraph as SpatialGraph
from typing import Literal
from typing import TypeVar
from typing import overload
import numpy as np

__all__ = [
    "SpatialGraph", "apply_registration", "choose_scale", "prepare", "register_slices", "spatial_neighbors_3d",
    "spatial_neighbors_delaunay", "spatial_neighbors_knn", "spatial_neighbors_radius",
]

Data = TypeVar("Data", AnnData, SpatialData)

def apply_registration(
    adata: AnnData | SpatialData, *, points: np.ndarray, library: str, inverse: bool = ..., key: str = ..., table_key:
    str | Sequence[str] | None = ...,
) -> np.ndarray: ...
@overload
def choose_scale(
    adata: Data, *, n_neighs: Sequence[int] | None = ..., library_key: str | None = ..., spatial_key: str = ..., layer:
    str | None = ..., use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ...,
    random_state: Seed = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ...,
) -> None: ...
@overload
def choose_scale(
    adata: Data, *, n_neighs: Sequence[int] | None = ..., library_key: str | None = ..., spatial_key: str = ..., layer:
    str | None = ..., use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ...,
    random_state: Seed = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ..., coordinate_system: str |
    None = ...,
) -> Data: ...
@overload
def choose_scale(
    adata: Data, *, n_neighs: Sequence[int] | None = ..., library_key: str | None = ..., spatial_key: str = ..., layer:
    str | None = ..., use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ...,
    random_state: Seed = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str |
    None = ...,
) -> Data | None: ...
@overload
def prepare(
    adata: Data, *, recipe: Literal['spotscape', 'spacross'] = ..., n_top_genes: int | Literal['recipe'] | None = ...,
    min_cells: int | None = ..., min_counts: int | None = ..., log1p: bool = ..., library_key: str | None = ..., layer:
    str | None = ..., target_sum: float | None = ..., keep_controls: bool = ..., counts: Literal['check', 'assume'] =
    ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def prepare(
    adata: Data, *, recipe: Literal['spotscape', 'spacross'] = ..., n_top_genes: int | Literal['recipe'] | None = ...,
    min_cells: int | None = ..., min_counts: int | None = ..., log1p: bool = ..., library_key: str | None = ..., layer:
    str | None = ..., target_sum: float | None = ..., keep_controls: bool = ..., counts: Literal['check', 'assume'] =
    ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def prepare(
    adata: Data, *, recipe: Literal['spotscape', 'spacross'] = ..., n_top_genes: int | Literal['recipe'] | None = ...,
    min_cells: int | None = ..., min_counts: int | None = ..., log1p: bool = ..., library_key: str | None = ..., layer:
    str | None = ..., target_sum: float | None = ..., keep_controls: bool = ..., counts: Literal['check', 'assume'] =
    ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def register_slices(
    adata: Data, *, library_key: str, method: Literal['icp'] = ..., policy: Literal['sequential', 'star'] = ...,
    reference: str | None = ..., library_order: Sequence[str] | None = ..., allow_flip: bool = ..., scale: bool = ...,
    deform: Literal['smooth'] | None = ..., use_rep: str | None = ..., labels_key: str | None = ..., spatial_key: str =
    ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] |
    None = ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def register_slices(
    adata: Data, *, library_key: str, method: Literal['icp'] = ..., policy: Literal['sequential', 'star'] = ...,
    reference: str | None = ..., library_order: Sequence[str] | None = ..., allow_flip: bool = ..., scale: bool = ...,
    deform: Literal['smooth'] | None = ..., use_rep: str | None = ..., labels_key: str | None = ..., spatial_key: str =
    ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None =
    ..., coordinate_system: str | None = ...,
) -> Data: ...
@overload
def register_slices(
    adata: Data, *, library_key: str, method: Literal['icp'] = ..., policy: Literal['sequential', 'star'] = ...,
    reference: str | None = ..., library_order: Sequence[str] | None = ..., allow_flip: bool = ..., scale: bool = ...,
    deform: Literal['smooth'] | None = ..., use_rep: str | None = ..., labels_key: str | None = ..., spatial_key: str =
    ..., key_added: str = ..., n_jobs: int | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ...,
) -> Data | None: ...
@overload
def spatial_neighbors_3d(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., z_key: str | None =
    ..., slice_gap: float | Sequence[float] | None = ..., library_order: Sequence[str] | None = ..., n_neighs: int |
    None = ..., n_neighs_between: int | None = ..., method: Literal['separate', 'euclidean'] = ..., key_added: str =
    ..., n_jobs: int | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ...,
) -> None: ...
@overload
def spatial_neighbors_3d(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., z_key: str | None =
    ..., slice_gap: float | Sequence[float] | None = ..., library_order: Sequence[str] | None = ..., n_neighs: int |
    None = ..., n_neighs_between: int | None = ..., method: Literal['separate', 'euclidean'] = ..., key_added: str =
    ..., n_jobs: int | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ..., coordinate_system:
    str | None = ...,
) -> SpatialGraph: ...
@overload
def spatial_neighbors_3d(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., z_key: str | None =
    ..., slice_gap: float | Sequence[float] | None = ..., library_order: Sequence[str] | None = ..., n_neighs: int |
    None = ..., n_neighs_between: int | None = ..., method: Literal['separate', 'euclidean'] = ..., key_added: str =
    ..., n_jobs: int | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str
    | None = ...,
) -> SpatialGraph | None: ...
@overload
def spatial_neighbors_delaunay(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float] | None = ..., library_key: str | None = ...,
    spatial_key: str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[False] = ..., table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def spatial_neighbors_delaunay(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float] | None = ..., library_key: str | None = ...,
    spatial_key: str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[True], table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> SpatialGraph: ...
@overload
def spatial_neighbors_delaunay(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float] | None = ..., library_key: str | None = ...,
    spatial_key: str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: bool = ..., table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> SpatialGraph | None: ...
@overload
def spatial_neighbors_knn(
    adata: AnnData | SpatialData, *, n_neighs: int | None = ..., library_key: str | None = ..., spatial_key: str = ...,
    key_added: str = ..., n_jobs: int | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None =
    ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def spatial_neighbors_knn(
    adata: AnnData | SpatialData, *, n_neighs: int | None = ..., library_key: str | None = ..., spatial_key: str = ...,
    key_added: str = ..., n_jobs: int | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ...,
) -> SpatialGraph: ...
@overload
def spatial_neighbors_knn(
    adata: AnnData | SpatialData, *, n_neighs: int | None = ..., library_key: str | None = ..., spatial_key: str = ...,
    key_added: str = ..., n_jobs: int | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ...,
) -> SpatialGraph | None: ...
@overload
def spatial_neighbors_radius(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float], library_key: str | None = ..., spatial_key:
    str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[False] = ..., table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def spatial_neighbors_radius(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float], library_key: str | None = ..., spatial_key:
    str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: Literal[True], table_key: str | Sequence[str] |
    None = ..., coordinate_system: str | None = ...,
) -> SpatialGraph: ...
@overload
def spatial_neighbors_radius(
    adata: AnnData | SpatialData, *, radius: float | tuple[float, float], library_key: str | None = ..., spatial_key:
    str = ..., key_added: str = ..., n_jobs: int | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None =
    ..., coordinate_system: str | None = ...,
) -> SpatialGraph | None: ...
