# Written by packaging/stubs.py from the sources; change those.
from anndata import AnnData
from collections.abc import Sequence
from pathlib import Path
from spatialdata import SpatialData
from spotscape._core.randomness import Seed
from spotscape.models import SpaCross
from spotscape.models import SpaCrossConfig
from spotscape.models import Spotscape
from spotscape.models import SpotscapeConfig
from typing import Literal
from typing import TypeVar
from typing import overload
import numpy as np
import torch

__all__ = [
    "choose_n_domains", "consensus_domains", "domains", "embed", "impute", "integrate_slices", "markers",
    "match_slices", "refine_domains", "smoothed_pca", "spacross", "spotscape", "trajectory", "transfer_domains",
]

Data = TypeVar("Data", AnnData, SpatialData)

@overload
def choose_n_domains(
    adata: Data, *, use_rep: str | None = ..., k_range: tuple[int, int] | None = ..., method: Literal['agreement',
    'gmm', 'kmeans'] = ..., n_resamples: int = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[False]
    = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def choose_n_domains(
    adata: Data, *, use_rep: str | None = ..., k_range: tuple[int, int] | None = ..., method: Literal['agreement',
    'gmm', 'kmeans'] = ..., n_resamples: int = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[True],
    table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def choose_n_domains(
    adata: Data, *, use_rep: str | None = ..., k_range: tuple[int, int] | None = ..., method: Literal['agreement',
    'gmm', 'kmeans'] = ..., n_resamples: int = ..., key_added: str = ..., random_state: Seed = ..., copy: bool = ...,
    table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def consensus_domains(
    adata: Data, *, n_domains: int | None = ..., use_reps: Sequence[str] | None = ..., method: Literal['auto', 'both',
    'kmeans', 'gmm'] = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[False] = ..., table_key: str |
    Sequence[str] | None = ...,
) -> None: ...
@overload
def consensus_domains(
    adata: Data, *, n_domains: int | None = ..., use_reps: Sequence[str] | None = ..., method: Literal['auto', 'both',
    'kmeans', 'gmm'] = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[True], table_key: str |
    Sequence[str] | None = ...,
) -> Data: ...
@overload
def consensus_domains(
    adata: Data, *, n_domains: int | None = ..., use_reps: Sequence[str] | None = ..., method: Literal['auto', 'both',
    'kmeans', 'gmm'] = ..., key_added: str = ..., random_state: Seed = ..., copy: bool = ..., table_key: str |
    Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def domains(
    adata: Data, *, n_domains: int | None = ..., method: Literal['auto', 'gmm', 'kmeans', 'leiden'] = ..., use_rep: str
    | None = ..., resolution: float = ..., n_neighbors: int = ..., key_added: str | None = ..., random_state: Seed =
    ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def domains(
    adata: Data, *, n_domains: int | None = ..., method: Literal['auto', 'gmm', 'kmeans', 'leiden'] = ..., use_rep: str
    | None = ..., resolution: float = ..., n_neighbors: int = ..., key_added: str | None = ..., random_state: Seed =
    ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def domains(
    adata: Data, *, n_domains: int | None = ..., method: Literal['auto', 'gmm', 'kmeans', 'leiden'] = ..., use_rep: str
    | None = ..., resolution: float = ..., n_neighbors: int = ..., key_added: str | None = ..., random_state: Seed =
    ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def embed(
    adata: Data, model: Spotscape | SpaCross, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str |
    None = ..., missing_genes: Literal['fill', 'refuse'] = ..., max_missing: float = ..., align: bool = ..., key_added:
    str | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def embed(
    adata: Data, model: Spotscape | SpaCross, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str |
    None = ..., missing_genes: Literal['fill', 'refuse'] = ..., max_missing: float = ..., align: bool = ..., key_added:
    str | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def embed(
    adata: Data, model: Spotscape | SpaCross, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str |
    None = ..., missing_genes: Literal['fill', 'refuse'] = ..., max_missing: float = ..., align: bool = ..., key_added:
    str | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def impute(
    adata: Data, *, genes: Sequence[str] | None = ..., gene_symbols: str | None = ..., reference: AnnData | str |
    Sequence[str] | None = ..., method: Literal['regression', 'neighbors'] = ..., use_rep: str | None = ..., n_comps:
    int = ..., n_neighbors: int = ..., library_key: str | None = ..., layer: str | None = ..., mask_var: str |
    np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[False] = ..., table_key: str
    | Sequence[str] | None = ...,
) -> None: ...
@overload
def impute(
    adata: Data, *, genes: Sequence[str] | None = ..., gene_symbols: str | None = ..., reference: AnnData | str |
    Sequence[str] | None = ..., method: Literal['regression', 'neighbors'] = ..., use_rep: str | None = ..., n_comps:
    int = ..., n_neighbors: int = ..., library_key: str | None = ..., layer: str | None = ..., mask_var: str |
    np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ..., copy: Literal[True], table_key: str |
    Sequence[str] | None = ...,
) -> Data: ...
@overload
def impute(
    adata: Data, *, genes: Sequence[str] | None = ..., gene_symbols: str | None = ..., reference: AnnData | str |
    Sequence[str] | None = ..., method: Literal['regression', 'neighbors'] = ..., use_rep: str | None = ..., n_comps:
    int = ..., n_neighbors: int = ..., library_key: str | None = ..., layer: str | None = ..., mask_var: str |
    np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ..., copy: bool = ..., table_key: str |
    Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def integrate_slices(
    adata: Data, *, library_key: str, use_rep: str = ..., n_prototypes: int = ..., ridge: float = ..., key_added: str |
    None = ..., device: str | torch.device | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] |
    None = ...,
) -> None: ...
@overload
def integrate_slices(
    adata: Data, *, library_key: str, use_rep: str = ..., n_prototypes: int = ..., ridge: float = ..., key_added: str |
    None = ..., device: str | torch.device | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None =
    ...,
) -> Data: ...
@overload
def integrate_slices(
    adata: Data, *, library_key: str, use_rep: str = ..., n_prototypes: int = ..., ridge: float = ..., key_added: str |
    None = ..., device: str | torch.device | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def markers(
    adata: Data, *, key: str | None = ..., condition: str | None = ..., reference: str | None = ..., library_key: str |
    None = ..., donor_key: str | None = ..., method: Literal['auto', 'pseudobulk', 'wilcoxon', 't-test',
    't-test_overestim_var'] = ..., layer: str | None = ..., n_genes: int | None = ..., min_spots: int = ..., min_share:
    float = ..., min_fold_change: float = ..., neighbors_key: str | None = ..., key_added: str = ..., copy:
    Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def markers(
    adata: Data, *, key: str | None = ..., condition: str | None = ..., reference: str | None = ..., library_key: str |
    None = ..., donor_key: str | None = ..., method: Literal['auto', 'pseudobulk', 'wilcoxon', 't-test',
    't-test_overestim_var'] = ..., layer: str | None = ..., n_genes: int | None = ..., min_spots: int = ..., min_share:
    float = ..., min_fold_change: float = ..., neighbors_key: str | None = ..., key_added: str = ..., copy:
    Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def markers(
    adata: Data, *, key: str | None = ..., condition: str | None = ..., reference: str | None = ..., library_key: str |
    None = ..., donor_key: str | None = ..., method: Literal['auto', 'pseudobulk', 'wilcoxon', 't-test',
    't-test_overestim_var'] = ..., layer: str | None = ..., n_genes: int | None = ..., min_spots: int = ..., min_share:
    float = ..., min_fold_change: float = ..., neighbors_key: str | None = ..., key_added: str = ..., copy: bool = ...,
    table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def match_slices(
    adata: Data, *, library_key: str, reference: str, query: str | Sequence[str] | None = ..., use_rep: str | None =
    ..., n_matches: int = ..., labels_key: str | None = ..., offset: Literal['mutual', 'mean', 'none'] = ..., mutual:
    bool = ..., spatial_key: str | None = ..., radius: float | None = ..., n_hops: int = ..., neighbors_key: str = ...,
    key_added: str = ..., device: str | torch.device | None = ..., copy: Literal[False] = ..., table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def match_slices(
    adata: Data, *, library_key: str, reference: str, query: str | Sequence[str] | None = ..., use_rep: str | None =
    ..., n_matches: int = ..., labels_key: str | None = ..., offset: Literal['mutual', 'mean', 'none'] = ..., mutual:
    bool = ..., spatial_key: str | None = ..., radius: float | None = ..., n_hops: int = ..., neighbors_key: str = ...,
    key_added: str = ..., device: str | torch.device | None = ..., copy: Literal[True], table_key: str | Sequence[str] |
    None = ..., coordinate_system: str | None = ...,
) -> Data: ...
@overload
def match_slices(
    adata: Data, *, library_key: str, reference: str, query: str | Sequence[str] | None = ..., use_rep: str | None =
    ..., n_matches: int = ..., labels_key: str | None = ..., offset: Literal['mutual', 'mean', 'none'] = ..., mutual:
    bool = ..., spatial_key: str | None = ..., radius: float | None = ..., n_hops: int = ..., neighbors_key: str = ...,
    key_added: str = ..., device: str | torch.device | None = ..., copy: bool = ..., table_key: str | Sequence[str] |
    None = ..., coordinate_system: str | None = ...,
) -> Data | None: ...
@overload
def refine_domains(
    adata: Data, *, key: str | None = ..., neighbors_key: str = ..., library_key: str | None = ..., n_passes: int = ...,
    across_slices: bool = ..., key_added: str | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] |
    None = ...,
) -> None: ...
@overload
def refine_domains(
    adata: Data, *, key: str | None = ..., neighbors_key: str = ..., library_key: str | None = ..., n_passes: int = ...,
    across_slices: bool = ..., key_added: str | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None =
    ...,
) -> Data: ...
@overload
def refine_domains(
    adata: Data, *, key: str | None = ..., neighbors_key: str = ..., library_key: str | None = ..., n_passes: int = ...,
    across_slices: bool = ..., key_added: str | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None =
    ...,
) -> Data | None: ...
@overload
def smoothed_pca(
    adata: Data, *, n_hops: int = ..., n_comps: int = ..., spatial_components: bool = ..., linear_scale: bool = ...,
    dispersion: float | None = ..., clip: float | None = ..., n_axes: int | None = ..., whitening: float = ...,
    neighbors_key: str = ..., library_key: str | None = ..., center_slices: bool = ..., layer: str | None = ...,
    use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ...,
    copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def smoothed_pca(
    adata: Data, *, n_hops: int = ..., n_comps: int = ..., spatial_components: bool = ..., linear_scale: bool = ...,
    dispersion: float | None = ..., clip: float | None = ..., n_axes: int | None = ..., whitening: float = ...,
    neighbors_key: str = ..., library_key: str | None = ..., center_slices: bool = ..., layer: str | None = ...,
    use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ...,
    copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def smoothed_pca(
    adata: Data, *, n_hops: int = ..., n_comps: int = ..., spatial_components: bool = ..., linear_scale: bool = ...,
    dispersion: float | None = ..., clip: float | None = ..., n_axes: int | None = ..., whitening: float = ...,
    neighbors_key: str = ..., library_key: str | None = ..., center_slices: bool = ..., layer: str | None = ...,
    use_rep: str | None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., random_state: Seed = ...,
    copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def spacross(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper', 'released'] = ..., config: SpaCrossConfig | None = ..., max_epochs: int | None = ...,
    lr: float | None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device |
    None = ..., random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path
    | None = ..., return_model: Literal[False] = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None
    = ...,
) -> None: ...
@overload
def spacross(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper', 'released'] = ..., config: SpaCrossConfig | None = ..., max_epochs: int | None = ...,
    lr: float | None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device |
    None = ..., random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path
    | None = ..., return_model: Literal[False] = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def spacross(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper', 'released'] = ..., config: SpaCrossConfig | None = ..., max_epochs: int | None = ...,
    lr: float | None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device |
    None = ..., random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path
    | None = ..., return_model: Literal[True], copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> SpaCross: ...
@overload
def spacross(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper', 'released'] = ..., config: SpaCrossConfig | None = ..., max_epochs: int | None = ...,
    lr: float | None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device |
    None = ..., random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path
    | None = ..., return_model: bool = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | SpaCross | None: ...
@overload
def spotscape(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper'] = ..., config: SpotscapeConfig | None = ..., max_epochs: int | None = ..., lr: float |
    None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device | None = ...,
    random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path | None =
    ..., return_model: Literal[False] = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def spotscape(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper'] = ..., config: SpotscapeConfig | None = ..., max_epochs: int | None = ..., lr: float |
    None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device | None = ...,
    random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path | None =
    ..., return_model: Literal[False] = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def spotscape(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper'] = ..., config: SpotscapeConfig | None = ..., max_epochs: int | None = ..., lr: float |
    None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device | None = ...,
    random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path | None =
    ..., return_model: Literal[True], copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> Spotscape: ...
@overload
def spotscape(
    adata: Data, *, neighbors_key: str = ..., library_key: str | None = ..., layer: str | None = ..., use_rep: str |
    None = ..., mask_var: str | np.ndarray | None = ..., key_added: str = ..., decoded_layer: str | None = ..., preset:
    Literal['default', 'paper'] = ..., config: SpotscapeConfig | None = ..., max_epochs: int | None = ..., lr: float |
    None = ..., n_encoders: int | None = ..., batch_size: int | None = ..., device: str | torch.device | None = ...,
    random_state: Seed = ..., n_restarts: int = ..., progress_bar: bool | None = ..., checkpoint: str | Path | None =
    ..., return_model: bool = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | Spotscape | None: ...
@overload
def trajectory(
    adata: Data, *, root: str | int, key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ..., n_dcs:
    int = ..., start: Literal['center', 'tip'] = ..., library_key: str | None = ..., key_added: str = ..., random_state:
    Seed = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def trajectory(
    adata: Data, *, root: str | int, key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ..., n_dcs:
    int = ..., start: Literal['center', 'tip'] = ..., library_key: str | None = ..., key_added: str = ..., random_state:
    Seed = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def trajectory(
    adata: Data, *, root: str | int, key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ..., n_dcs:
    int = ..., start: Literal['center', 'tip'] = ..., library_key: str | None = ..., key_added: str = ..., random_state:
    Seed = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
@overload
def transfer_domains(
    adata: Data, *, reference: AnnData, labels_key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ...,
    key_added: str | None = ..., copy: Literal[False] = ..., table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def transfer_domains(
    adata: Data, *, reference: AnnData, labels_key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ...,
    key_added: str | None = ..., copy: Literal[True], table_key: str | Sequence[str] | None = ...,
) -> Data: ...
@overload
def transfer_domains(
    adata: Data, *, reference: AnnData, labels_key: str | None = ..., use_rep: str | None = ..., n_neighbors: int = ...,
    key_added: str | None = ..., copy: bool = ..., table_key: str | Sequence[str] | None = ...,
) -> Data | None: ...
