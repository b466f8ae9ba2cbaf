"""The tissue in a notebook: zoom, hover, select."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.reading import domain_column
from spotscape._core.validation import require_data
from spotscape.pl._slices import read_slices
from spotscape.pl._values import Categories, Numbers, read_values, store_colors

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._palette import Palette
    from spotscape.pl._slices import Slice
    from spotscape.pl._values import Bound

# Room between slices, as a share of the largest.
_GAP = 0.08


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
    """Show the tissue in a notebook, to zoom into, hover over, and select spots from.

    All slices lie side by side in one view, drawn by the graphics card: a million cells are no trouble. The lasso, the
    second button, selects spots, and what is selected is written at once, so that ``adata[adata.obs["selected"]]`` has
    them; a double click lets them go.

    Parameters
    ----------
    adata
        Spots with coordinates.
    color
        Column of ``adata.obs`` or gene. ``None`` means the domains that :func:`spotscape.tl.domains` has found.
    library_key
        Column of ``adata.obs`` with the slice of every spot. ``None`` takes the one by which the data were processed.
    spatial_key
        Coordinates in ``adata.obsm``; the first two columns are shown.
    layer, gene_symbols, palette, cmap, vmin, vmax
        As in :func:`spotscape.pl.domains`.
    size
        Size of a spot in pixels. ``None`` fits it to their number.
    key_added
        Column of ``adata.obs`` to which the selection is written.
    ncols
        Largest number of slices side by side.
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
    KeyError
        If there is no such column or gene, or no coordinates.

    See Also
    --------
    spotscape.pl.domains : The tissue on paper.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_domains=4, n_spots=200, n_genes=30)
    >>> view = sp.pl.explore(adata, "domain", library_key="slice")  # doctest: +SKIP
    """
    try:
        import jscatter
    except ImportError as error:
        msg = "sp.pl.explore needs jupyter-scatter, which is not installed: pip install 'spotscape[interactive]'."
        raise ImportError(msg) from error

    require_data(adata, genes=False)
    color = domain_column(adata, None, "color") if color is None else color
    values = read_values(
        adata, color, layer=layer, gene_symbols=gene_symbols, palette=palette, vmin=vmin, vmax=vmax
    )  # fmt: skip
    pieces = read_slices(adata, spatial_key=spatial_key, library_key=library_key)
    frame = _laid_out(adata.n_obs, pieces, ncols, up=-1.0 if invert_y else 1.0)
    frame[color], looks = _colored(values, cmap)
    middle = (frame[["x", "y"]].min() + frame[["x", "y"]].max()) / 2
    reach = 0.52 * float((frame[["x", "y"]].max() - frame[["x", "y"]].min()).max())
    view = jscatter.Scatter(
        data=frame,
        x="x",
        y="y",
        # One scale for both axes.
        x_scale=(middle["x"] - reach, middle["x"] + reach),
        y_scale=(middle["y"] - reach, middle["y"] + reach),
        axes=False,
        height=600,
        color_by=color,
        size=size or float(np.clip(900 / np.sqrt(adata.n_obs), 1, 10)),
        opacity=1.0,
        legend=True,
        tooltip=True,
        tooltip_properties=[color, *(["slice"] if len(pieces) > 1 else [])],
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


def _laid_out(n_obs: int, pieces: list[Slice], ncols: int, *, up: float) -> pd.DataFrame:
    """Where each spot is drawn: slices in rows, each in a cell of one size."""
    cell = (1 + _GAP) * max(float(np.ptp(piece.box, axis=0).max()) for piece in pieces)
    frame = pd.DataFrame({"x": np.zeros(n_obs), "y": np.zeros(n_obs), "slice": np.full(n_obs, "", dtype=object)})
    across = min(ncols, len(pieces))
    for index, piece in enumerate(pieces):
        place = cell * np.array([index % across, -(index // across)])
        frame.loc[piece.rows, ["x", "y"]] = (piece.coords - piece.box.mean(axis=0)) * [1, up] + place
        frame.loc[piece.rows, "slice"] = piece.name
    return frame.astype({"x": np.float32, "y": np.float32, "slice": "category"})


def _colored(values: Categories | Numbers, cmap: Any) -> tuple[Any, dict[str, Any]]:
    """A column of the colour key, and how jscatter is told its colours."""
    if isinstance(values, Numbers):
        low, high = float(values.norm.vmin or 0), float(values.norm.vmax or 1)
        return np.nan_to_num(values.values, nan=low), {"color_map": cmap, "color_norm": (low, high)}
    names, colors = list(values.names), list(values.colors)
    if (values.codes < 0).any():
        names, colors = [*names, values.rest], [*colors, "#DCDCDC"]
    codes = np.where(values.codes < 0, len(values.names), values.codes)
    column = np.array(names, dtype=object)[codes]
    return pd.Categorical(column, categories=names), {"color_map": dict(zip(names, colors, strict=True))}
