"""The tissue as a widget of a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import write
from spotscape._core.arguments import public
from spotscape._core.lazy import extra
from spotscape._core.logging import logger
from spotscape._core.places import coordinates
from spotscape._core.reading import domain_column
from spotscape._core.validation import require_data, slice_labels
from spotscape.pl._colors import Categories, Numbers, read_values, store_colors
from spotscape.pl._slices import find_slices, rows_by_slice

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._colors import Bound, Palette

# Room between slices, as a share of the largest.
_GAP = 0.08
# Columns of the places, beside a column of ``obs`` that may be called x or y.
_X, _Y = "x on the screen", "y on the screen"


@public
def explore(
    adata: AnnData,
    color: str | None = None,
    *,
    library_key: str | None = None,
    spatial_key: str = keys.SPATIAL,
    layer: str | None = None,
    gene_symbols: str | None = None,
    palette: Palette | None = None,
    cmap: Any = "viridis",
    vmin: Bound = None,
    vmax: Bound = None,
    size: float | None = None,
    key_added: str = "selected",
    ncols: int = 4,
    invert_y: bool = True,
) -> Any:
    """Explore the tissue in a notebook: zoom, hover, and select spots.

    All slices lie side by side in one view. The graphics card draws them, so a million cells are possible. The lasso
    (second button) selects spots and writes the selection at once: ``adata[adata.obs["selected"]]``. A double click
    clears it.

    Parameters
    ----------
    adata
        Spots with coordinates.
    size
        Size of a spot in pixels. ``None`` fits it to their number.
    key_added
        Column of ``adata.obs`` to which the selection is written.
    invert_y
        Whether y points down, as in images.

    Returns
    -------
    The :class:`jscatter.Scatter`, which a notebook shows as the value of a cell. It writes

    ``adata.obs[key_added]`` : bool
        Whether the spot is selected; there from the first selection on.
    ``adata.uns["<color>_colors"]`` : list of str
        New colours of categories.

    Raises
    ------
    ImportError
        If jupyter-scatter is not installed: ``pip install 'spotscape[interactive]'``.

    See Also
    --------
    spotscape.pl.domains : A static figure.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_domains=4, n_spots=200, n_genes=30)
    >>> view = sp.pl.explore(adata, "domain", library_key="slice")  # doctest: +SKIP
    """
    jscatter = extra("jscatter", "jupyter-scatter", "interactive", "sp.pl.explore")
    require_data(adata, genes=False)
    color = domain_column(adata, None, "color") if color is None else color
    values = read_values(
        adata, color, layer=layer, gene_symbols=gene_symbols, palette=palette, vmin=vmin, vmax=vmax
    )  # fmt: skip
    coords = coordinates(adata, spatial_key)[:, :2]
    pieces = rows_by_slice(adata.n_obs, slice_labels(adata, library_key or find_slices(adata, coords)))
    frame = _laid_out(coords, pieces, ncols, up=-1.0 if invert_y else 1.0)
    low, high = frame[[_X, _Y]].min(), frame[[_X, _Y]].max()
    middle, reach = (low + high) / 2, 0.52 * float((high - low).max())
    frame[color], looks = _colored(values, cmap)
    view = jscatter.Scatter(
        data=frame,
        x=_X,
        y=_Y,
        # One scale for both axes.
        x_scale=(middle[_X] - reach, middle[_X] + reach),
        y_scale=(middle[_Y] - reach, middle[_Y] + reach),
        axes=False,
        height=600,
        color_by=color,
        # Whole points, because the widget cuts off decimals.
        size=max(1, round(size or np.clip(900 / np.sqrt(adata.n_obs), 1, 10))),
        opacity=1.0,
        legend=True,
        tooltip=True,
        tooltip_properties=list(dict.fromkeys([color, *(["slice"] if len(pieces) > 1 else [])])),
        tooltip_histograms=False,
        **looks,
    )

    def keep(change: Any) -> None:
        chosen = np.zeros(adata.n_obs, dtype=bool)
        chosen[np.asarray(change["new"], dtype=np.int64)] = True
        write(adata, {"obs": {key_added: chosen}}, log=False)
        logger.info("%s spots are selected: `adata.obs['%s']`.", f"{chosen.sum():,}", key_added)

    view.widget.observe(keep, names="selection")
    store_colors(adata, [values])
    return view


def _laid_out(coords: np.ndarray, pieces: list[tuple[str, np.ndarray]], ncols: int, *, up: float) -> pd.DataFrame:
    """Where each spot is drawn: slices in rows, each in a cell of one size."""
    boxes = [(coords[rows].min(axis=0), coords[rows].max(axis=0)) for _, rows in pieces]
    cell = (1 + _GAP) * max(float((high - low).max()) for low, high in boxes)
    across = min(ncols, len(pieces))
    places, codes = np.empty(coords.shape, dtype=np.float32), np.empty(len(coords), dtype=np.intp)
    for index, ((_, rows), (low, high)) in enumerate(zip(pieces, boxes, strict=True)):
        corner = cell * np.array([index % across, -(index // across)])
        places[rows] = (coords[rows] - (low + high) / 2) * [1, up] + corner
        codes[rows] = index
    if not np.isfinite(places).all():
        msg = "the coordinates are too large for the widget, which has 32 bits for each; give them in another unit."
        raise ValueError(msg)
    names = pd.Categorical.from_codes(codes, categories=pd.Index([name for name, _ in pieces]))
    return pd.DataFrame({_X: places[:, 0], _Y: places[:, 1], "slice": names})


def _colored(values: Categories | Numbers, cmap: Any) -> tuple[Any, dict[str, Any]]:
    """A column of the colour key, and how jscatter is told its colours."""
    if isinstance(values, Numbers):
        low, high = float(values.norm.vmin or 0), float(values.norm.vmax or 1)
        return np.nan_to_num(values.values, nan=low), {"color_map": cmap, "color_norm": (low, high)}
    values = values.in_order()
    names, colors = list(values.names), list(values.colors)
    if (values.codes < 0).any():
        names, colors = [*names, values.rest], [*colors, "#DCDCDC"]
    codes = np.where(values.codes < 0, len(values.names), values.codes)
    return pd.Categorical.from_codes(codes, categories=pd.Index(names)), {
        "color_map": dict(zip(names, colors, strict=True))
    }
