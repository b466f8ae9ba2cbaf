# Written by packaging/stubs.py from the sources; change those.
from anndata import AnnData
from collections.abc import Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pathlib import Path
from spatialdata import SpatialData
from spotscape.pl._colors import Bound
from spotscape.pl._colors import Palette
from typing import Any
from typing import Literal
from typing import TypeVar
from typing import TypedDict
from typing import Unpack
from typing import overload

__all__ = [
    "composition", "confidence", "crosstab", "disagreement", "domains", "embedding", "explore", "history", "markers",
    "match_colors", "matching", "n_domains", "registration", "scale", "similarity", "stack_3d", "trajectory", "volume",
]

class Output(TypedDict, total=False):
    figsize: tuple[float, float] | None
    dpi: float | None
    ax: Axes | Sequence[Axes] | None

class Looks(Output, total=False):
    size: float | None
    alpha: float
    cmap: Any
    na_color: Any
    invert_y: bool
    legend_loc: str | None
    legend_fontsize: float | None
    colorbar: bool

class Panels(Looks, total=False):
    library_key: str | None
    spatial_key: str
    ncols: int
    img: bool
    img_res_key: str | None
    img_alpha: float
    img_contrast: tuple[float, float] | None
    crop_coord: tuple[float, float, float, float] | None
    scalebar: float | None
    frameon: bool
    title: str | Sequence[str] | None

Data = TypeVar("Data", AnnData, SpatialData)

@overload
def composition(
    adata: AnnData | SpatialData, key: str | None = ..., *, library_key: str | None = ..., condition: str | None = ...,
    palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig:
    Literal[True], **output: Unpack[Output],
) -> Figure: ...
@overload
def composition(
    adata: AnnData | SpatialData, key: str | None = ..., *, library_key: str | None = ..., condition: str | None = ...,
    palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., show: Literal[False], return_fig:
    Literal[False] = ..., **output: Unpack[Output],
) -> Axes | list[Axes]: ...
@overload
def composition(
    adata: AnnData | SpatialData, key: str | None = ..., *, library_key: str | None = ..., condition: str | None = ...,
    palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] | None = ...,
    return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> None: ...
@overload
def composition(
    adata: AnnData | SpatialData, key: str | None = ..., *, library_key: str | None = ..., condition: str | None = ...,
    palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig:
    bool = ..., **output: Unpack[Output],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def confidence(
    adata: AnnData | SpatialData, key: str | None = ..., *, confidence_key: str | None = ..., palette: Palette | None =
    ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: Literal[True], **panels:
    Unpack[Panels],
) -> Figure: ...
@overload
def confidence(
    adata: AnnData | SpatialData, key: str | None = ..., *, confidence_key: str | None = ..., palette: Palette | None =
    ..., table_key: str | Sequence[str] | None = ..., show: Literal[False], return_fig: Literal[False] = ..., **panels:
    Unpack[Panels],
) -> Axes | list[Axes]: ...
@overload
def confidence(
    adata: AnnData | SpatialData, key: str | None = ..., *, confidence_key: str | None = ..., palette: Palette | None =
    ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] | None = ..., return_fig: Literal[False] =
    ..., **panels: Unpack[Panels],
) -> None: ...
@overload
def confidence(
    adata: AnnData | SpatialData, key: str | None = ..., *, confidence_key: str | None = ..., palette: Palette | None =
    ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: bool = ..., **panels:
    Unpack[Panels],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def crosstab(
    adata: AnnData | SpatialData, key: str | None = ..., *, to: str, normalize: Literal['rows', 'columns', 'none'] =
    ..., cmap: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig:
    Literal[True], **output: Unpack[Output],
) -> Figure: ...
@overload
def crosstab(
    adata: AnnData | SpatialData, key: str | None = ..., *, to: str, normalize: Literal['rows', 'columns', 'none'] =
    ..., cmap: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[False], return_fig: Literal[False]
    = ..., **output: Unpack[Output],
) -> Axes | list[Axes]: ...
@overload
def crosstab(
    adata: AnnData | SpatialData, key: str | None = ..., *, to: str, normalize: Literal['rows', 'columns', 'none'] =
    ..., cmap: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] | None = ..., return_fig:
    Literal[False] = ..., **output: Unpack[Output],
) -> None: ...
@overload
def crosstab(
    adata: AnnData | SpatialData, key: str | None = ..., *, to: str, normalize: Literal['rows', 'columns', 'none'] =
    ..., cmap: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: bool = ...,
    **output: Unpack[Output],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def disagreement(
    adata: AnnData | SpatialData, labelings: Sequence[str], *, palette: Palette | None = ..., table_key: str |
    Sequence[str] | None = ..., show: bool | None = ..., return_fig: Literal[True], **panels: Unpack[Panels],
) -> Figure: ...
@overload
def disagreement(
    adata: AnnData | SpatialData, labelings: Sequence[str], *, palette: Palette | None = ..., table_key: str |
    Sequence[str] | None = ..., show: Literal[False], return_fig: Literal[False] = ..., **panels: Unpack[Panels],
) -> Axes | list[Axes]: ...
@overload
def disagreement(
    adata: AnnData | SpatialData, labelings: Sequence[str], *, palette: Palette | None = ..., table_key: str |
    Sequence[str] | None = ..., show: Literal[True] | None = ..., return_fig: Literal[False] = ..., **panels:
    Unpack[Panels],
) -> None: ...
@overload
def disagreement(
    adata: AnnData | SpatialData, labelings: Sequence[str], *, palette: Palette | None = ..., table_key: str |
    Sequence[str] | None = ..., show: bool | None = ..., return_fig: bool = ..., **panels: Unpack[Panels],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def domains(
    adata: AnnData | SpatialData, color: str | Sequence[str | None] | None = ..., *, groups: str | Sequence[Any] | None
    = ..., library_key: str | None = ..., spatial_key: str = ..., layer: str | None = ..., gene_symbols: str | None =
    ..., confidence: str | None = ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound = ..., vmax: Bound =
    ..., vcenter: float | None = ..., size: float | None = ..., alpha: float = ..., na_color: Any = ..., img: bool =
    ..., img_res_key: str | None = ..., img_alpha: float = ..., img_contrast: tuple[float, float] | None = ...,
    crop_coord: tuple[float, float, float, float] | None = ..., scalebar: float | None = ..., invert_y: bool = ...,
    title: str | Sequence[str] | None = ..., legend_loc: str | None = ..., legend_fontsize: float | None = ...,
    colorbar: bool = ..., frameon: bool = ..., ncols: int = ..., figsize: tuple[float, float] | None = ..., dpi: float |
    None = ..., ax: Axes | Sequence[Axes] | None = ..., show: bool | None = ..., return_fig: Literal[True], table_key:
    str | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> Figure: ...
@overload
def domains(
    adata: AnnData | SpatialData, color: str | Sequence[str | None] | None = ..., *, groups: str | Sequence[Any] | None
    = ..., library_key: str | None = ..., spatial_key: str = ..., layer: str | None = ..., gene_symbols: str | None =
    ..., confidence: str | None = ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound = ..., vmax: Bound =
    ..., vcenter: float | None = ..., size: float | None = ..., alpha: float = ..., na_color: Any = ..., img: bool =
    ..., img_res_key: str | None = ..., img_alpha: float = ..., img_contrast: tuple[float, float] | None = ...,
    crop_coord: tuple[float, float, float, float] | None = ..., scalebar: float | None = ..., invert_y: bool = ...,
    title: str | Sequence[str] | None = ..., legend_loc: str | None = ..., legend_fontsize: float | None = ...,
    colorbar: bool = ..., frameon: bool = ..., ncols: int = ..., figsize: tuple[float, float] | None = ..., dpi: float |
    None = ..., ax: Axes | Sequence[Axes] | None = ..., show: Literal[False], return_fig: Literal[False] = ...,
    table_key: str | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> Axes | list[Axes]: ...
@overload
def domains(
    adata: AnnData | SpatialData, color: str | Sequence[str | None] | None = ..., *, groups: str | Sequence[Any] | None
    = ..., library_key: str | None = ..., spatial_key: str = ..., layer: str | None = ..., gene_symbols: str | None =
    ..., confidence: str | None = ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound = ..., vmax: Bound =
    ..., vcenter: float | None = ..., size: float | None = ..., alpha: float = ..., na_color: Any = ..., img: bool =
    ..., img_res_key: str | None = ..., img_alpha: float = ..., img_contrast: tuple[float, float] | None = ...,
    crop_coord: tuple[float, float, float, float] | None = ..., scalebar: float | None = ..., invert_y: bool = ...,
    title: str | Sequence[str] | None = ..., legend_loc: str | None = ..., legend_fontsize: float | None = ...,
    colorbar: bool = ..., frameon: bool = ..., ncols: int = ..., figsize: tuple[float, float] | None = ..., dpi: float |
    None = ..., ax: Axes | Sequence[Axes] | None = ..., show: Literal[True] | None = ..., return_fig: Literal[False] =
    ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> None: ...
@overload
def domains(
    adata: AnnData | SpatialData, color: str | Sequence[str | None] | None = ..., *, groups: str | Sequence[Any] | None
    = ..., library_key: str | None = ..., spatial_key: str = ..., layer: str | None = ..., gene_symbols: str | None =
    ..., confidence: str | None = ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound = ..., vmax: Bound =
    ..., vcenter: float | None = ..., size: float | None = ..., alpha: float = ..., na_color: Any = ..., img: bool =
    ..., img_res_key: str | None = ..., img_alpha: float = ..., img_contrast: tuple[float, float] | None = ...,
    crop_coord: tuple[float, float, float, float] | None = ..., scalebar: float | None = ..., invert_y: bool = ...,
    title: str | Sequence[str] | None = ..., legend_loc: str | None = ..., legend_fontsize: float | None = ...,
    colorbar: bool = ..., frameon: bool = ..., ncols: int = ..., figsize: tuple[float, float] | None = ..., dpi: float |
    None = ..., ax: Axes | Sequence[Axes] | None = ..., show: bool | None = ..., return_fig: bool = ..., table_key: str
    | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> Figure | Axes | list[Axes] | None: ...
@overload
def embedding(
    adata: AnnData | SpatialData, color: str | Sequence[str] | None = ..., *, basis: str | None = ..., use_rep: str |
    None = ..., library_key: str | None = ..., layer: str | None = ..., palette: Palette | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., ncols: int = ..., random_state: int = ..., table_key: str | Sequence[str] | None = ...,
    show: bool | None = ..., return_fig: Literal[True], **looks: Unpack[Looks],
) -> Figure: ...
@overload
def embedding(
    adata: AnnData | SpatialData, color: str | Sequence[str] | None = ..., *, basis: str | None = ..., use_rep: str |
    None = ..., library_key: str | None = ..., layer: str | None = ..., palette: Palette | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., ncols: int = ..., random_state: int = ..., table_key: str | Sequence[str] | None = ...,
    show: Literal[False], return_fig: Literal[False] = ..., **looks: Unpack[Looks],
) -> Axes | list[Axes]: ...
@overload
def embedding(
    adata: AnnData | SpatialData, color: str | Sequence[str] | None = ..., *, basis: str | None = ..., use_rep: str |
    None = ..., library_key: str | None = ..., layer: str | None = ..., palette: Palette | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., ncols: int = ..., random_state: int = ..., table_key: str | Sequence[str] | None = ...,
    show: Literal[True] | None = ..., return_fig: Literal[False] = ..., **looks: Unpack[Looks],
) -> None: ...
@overload
def embedding(
    adata: AnnData | SpatialData, color: str | Sequence[str] | None = ..., *, basis: str | None = ..., use_rep: str |
    None = ..., library_key: str | None = ..., layer: str | None = ..., palette: Palette | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., ncols: int = ..., random_state: int = ..., table_key: str | Sequence[str] | None = ...,
    show: bool | None = ..., return_fig: bool = ..., **looks: Unpack[Looks],
) -> Figure | Axes | list[Axes] | None: ...
def explore(
    adata: AnnData | SpatialData, color: str | None = ..., *, library_key: str | None = ..., spatial_key: str = ...,
    layer: str | None = ..., gene_symbols: str | None = ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound
    = ..., vmax: Bound = ..., size: float | None = ..., key_added: str = ..., ncols: int = ..., invert_y: bool = ...,
    table_key: str | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> Any: ...
@overload
def history(
    adata: AnnData | SpatialData, *, key: str | None = ..., table_key: str | Sequence[str] | None = ..., show: bool |
    None = ..., return_fig: Literal[True], **output: Unpack[Output],
) -> Figure: ...
@overload
def history(
    adata: AnnData | SpatialData, *, key: str | None = ..., table_key: str | Sequence[str] | None = ..., show:
    Literal[False], return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> Axes | list[Axes]: ...
@overload
def history(
    adata: AnnData | SpatialData, *, key: str | None = ..., table_key: str | Sequence[str] | None = ..., show:
    Literal[True] | None = ..., return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> None: ...
@overload
def history(
    adata: AnnData | SpatialData, *, key: str | None = ..., table_key: str | Sequence[str] | None = ..., show: bool |
    None = ..., return_fig: bool = ..., **output: Unpack[Output],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def markers(
    adata: AnnData | SpatialData, *, key: str = ..., kind: Literal['dots', 'matrix', 'tissue'] = ..., n_genes: int |
    None = ..., group: str | Sequence[str] | None = ..., layer: str | None = ..., gene_symbols: str | None = ...,
    standard_scale: Literal['var', 'group'] | None = ..., table_key: str | Sequence[str] | None = ..., show: bool | None
    = ..., return_fig: Literal[True], **panels: Unpack[Panels],
) -> Figure: ...
@overload
def markers(
    adata: AnnData | SpatialData, *, key: str = ..., kind: Literal['dots', 'matrix', 'tissue'] = ..., n_genes: int |
    None = ..., group: str | Sequence[str] | None = ..., layer: str | None = ..., gene_symbols: str | None = ...,
    standard_scale: Literal['var', 'group'] | None = ..., table_key: str | Sequence[str] | None = ..., show:
    Literal[False], return_fig: Literal[False] = ..., **panels: Unpack[Panels],
) -> Axes | list[Axes]: ...
@overload
def markers(
    adata: AnnData | SpatialData, *, key: str = ..., kind: Literal['dots', 'matrix', 'tissue'] = ..., n_genes: int |
    None = ..., group: str | Sequence[str] | None = ..., layer: str | None = ..., gene_symbols: str | None = ...,
    standard_scale: Literal['var', 'group'] | None = ..., table_key: str | Sequence[str] | None = ..., show:
    Literal[True] | None = ..., return_fig: Literal[False] = ..., **panels: Unpack[Panels],
) -> None: ...
@overload
def markers(
    adata: AnnData | SpatialData, *, key: str = ..., kind: Literal['dots', 'matrix', 'tissue'] = ..., n_genes: int |
    None = ..., group: str | Sequence[str] | None = ..., layer: str | None = ..., gene_symbols: str | None = ...,
    standard_scale: Literal['var', 'group'] | None = ..., table_key: str | Sequence[str] | None = ..., show: bool | None
    = ..., return_fig: bool = ..., **panels: Unpack[Panels],
) -> Figure | Axes | list[Axes] | None: ...
def match_colors(
    adata: AnnData | SpatialData, key: str | Sequence[str], *, to: str, table_key: str | Sequence[str] | None = ...,
) -> None: ...
@overload
def matching(
    adata: AnnData | SpatialData, query: str | Sequence[str] | None = ..., *, key: str = ..., color: str | None = ...,
    n_lines: int = ..., layout: Literal['beside', 'above'] = ..., linewidth: float = ..., spatial_key: str = ...,
    palette: Palette | None = ..., vmin: Bound = ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ..., show: bool | None = ..., return_fig: Literal[True], **looks: Unpack[Looks],
) -> Figure: ...
@overload
def matching(
    adata: AnnData | SpatialData, query: str | Sequence[str] | None = ..., *, key: str = ..., color: str | None = ...,
    n_lines: int = ..., layout: Literal['beside', 'above'] = ..., linewidth: float = ..., spatial_key: str = ...,
    palette: Palette | None = ..., vmin: Bound = ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ..., show: Literal[False], return_fig: Literal[False] = ..., **looks: Unpack[Looks],
) -> Axes | list[Axes]: ...
@overload
def matching(
    adata: AnnData | SpatialData, query: str | Sequence[str] | None = ..., *, key: str = ..., color: str | None = ...,
    n_lines: int = ..., layout: Literal['beside', 'above'] = ..., linewidth: float = ..., spatial_key: str = ...,
    palette: Palette | None = ..., vmin: Bound = ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ..., show: Literal[True] | None = ..., return_fig: Literal[False] = ..., **looks:
    Unpack[Looks],
) -> None: ...
@overload
def matching(
    adata: AnnData | SpatialData, query: str | Sequence[str] | None = ..., *, key: str = ..., color: str | None = ...,
    n_lines: int = ..., layout: Literal['beside', 'above'] = ..., linewidth: float = ..., spatial_key: str = ...,
    palette: Palette | None = ..., vmin: Bound = ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ...,
    coordinate_system: str | None = ..., show: bool | None = ..., return_fig: bool = ..., **looks: Unpack[Looks],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def n_domains(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None =
    ..., return_fig: Literal[True], **output: Unpack[Output],
) -> Figure: ...
@overload
def n_domains(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[False],
    return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> Axes | list[Axes]: ...
@overload
def n_domains(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] |
    None = ..., return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> None: ...
@overload
def n_domains(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None =
    ..., return_fig: bool = ..., **output: Unpack[Output],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def registration(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., key: str = ...,
    style: Literal['auto', 'spots', 'density', 'outline'] = ..., checkerboard: str | None = ..., deformation: bool =
    ..., palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None =
    ..., show: bool | None = ..., return_fig: Literal[True], **looks: Unpack[Looks],
) -> Figure: ...
@overload
def registration(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., key: str = ...,
    style: Literal['auto', 'spots', 'density', 'outline'] = ..., checkerboard: str | None = ..., deformation: bool =
    ..., palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None =
    ..., show: Literal[False], return_fig: Literal[False] = ..., **looks: Unpack[Looks],
) -> Axes | list[Axes]: ...
@overload
def registration(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., key: str = ...,
    style: Literal['auto', 'spots', 'density', 'outline'] = ..., checkerboard: str | None = ..., deformation: bool =
    ..., palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None =
    ..., show: Literal[True] | None = ..., return_fig: Literal[False] = ..., **looks: Unpack[Looks],
) -> None: ...
@overload
def registration(
    adata: AnnData | SpatialData, *, library_key: str | None = ..., spatial_key: str | None = ..., key: str = ...,
    style: Literal['auto', 'spots', 'density', 'outline'] = ..., checkerboard: str | None = ..., deformation: bool =
    ..., palette: Palette | None = ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None =
    ..., show: bool | None = ..., return_fig: bool = ..., **looks: Unpack[Looks],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def scale(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None =
    ..., return_fig: Literal[True], **output: Unpack[Output],
) -> Figure: ...
@overload
def scale(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[False],
    return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> Axes | list[Axes]: ...
@overload
def scale(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] |
    None = ..., return_fig: Literal[False] = ..., **output: Unpack[Output],
) -> None: ...
@overload
def scale(
    adata: AnnData | SpatialData, *, key: str = ..., table_key: str | Sequence[str] | None = ..., show: bool | None =
    ..., return_fig: bool = ..., **output: Unpack[Output],
) -> Figure | Axes | list[Axes] | None: ...
@overload
def similarity(
    adata: AnnData | SpatialData, anchors: str | int | Sequence[str | int], *, use_rep: str | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig:
    Literal[True], **panels: Unpack[Panels],
) -> Figure: ...
@overload
def similarity(
    adata: AnnData | SpatialData, anchors: str | int | Sequence[str | int], *, use_rep: str | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ..., show: Literal[False], return_fig:
    Literal[False] = ..., **panels: Unpack[Panels],
) -> Axes | list[Axes]: ...
@overload
def similarity(
    adata: AnnData | SpatialData, anchors: str | int | Sequence[str | int], *, use_rep: str | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ..., show: Literal[True] | None = ..., return_fig:
    Literal[False] = ..., **panels: Unpack[Panels],
) -> None: ...
@overload
def similarity(
    adata: AnnData | SpatialData, anchors: str | int | Sequence[str | int], *, use_rep: str | None = ..., vmin: Bound =
    ..., vmax: Bound = ..., table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: bool =
    ..., **panels: Unpack[Panels],
) -> Figure | Axes | list[Axes] | None: ...
def stack_3d(
    adata: AnnData | SpatialData, color: str | None = ..., *, library_key: str | None = ..., spatial_key: str | None =
    ..., slice_gap: float | None = ..., groups: str | Sequence[Any] | None = ..., palette: Palette | None = ..., vmin:
    Bound = ..., vmax: Bound = ..., elev: float = ..., azim: float = ..., interactive: bool = ..., table_key: str |
    Sequence[str] | None = ..., coordinate_system: str | None = ..., show: bool | None = ..., return_fig: bool = ...,
    **looks: Unpack[Looks],
) -> Any: ...
@overload
def trajectory(
    adata: AnnData | SpatialData, *, key: str = ..., min_connectivity: float = ..., palette: Palette | None = ...,
    table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: Literal[True], **panels:
    Unpack[Panels],
) -> Figure: ...
@overload
def trajectory(
    adata: AnnData | SpatialData, *, key: str = ..., min_connectivity: float = ..., palette: Palette | None = ...,
    table_key: str | Sequence[str] | None = ..., show: Literal[False], return_fig: Literal[False] = ..., **panels:
    Unpack[Panels],
) -> Axes | list[Axes]: ...
@overload
def trajectory(
    adata: AnnData | SpatialData, *, key: str = ..., min_connectivity: float = ..., palette: Palette | None = ...,
    table_key: str | Sequence[str] | None = ..., show: Literal[True] | None = ..., return_fig: Literal[False] = ...,
    **panels: Unpack[Panels],
) -> None: ...
@overload
def trajectory(
    adata: AnnData | SpatialData, *, key: str = ..., min_connectivity: float = ..., palette: Palette | None = ...,
    table_key: str | Sequence[str] | None = ..., show: bool | None = ..., return_fig: bool = ..., **panels:
    Unpack[Panels],
) -> Figure | Axes | list[Axes] | None: ...
def volume(
    adata: AnnData | SpatialData, color: str | None = ..., *, kind: Literal['points', 'surface'] = ..., library_key: str
    | None = ..., spatial_key: str | None = ..., slice_gap: float | None = ..., groups: str | Sequence[Any] | None =
    ..., palette: Palette | None = ..., cmap: Any = ..., vmin: Bound = ..., vmax: Bound = ..., path: str | Path | None =
    ..., table_key: str | Sequence[str] | None = ..., coordinate_system: str | None = ...,
) -> Any: ...
