"""Embeddings as static and interactive maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from spotscape._core import geometry, keys
from spotscape._core.anndata_io import write
from spotscape._core.arguments import public
from spotscape._core.geometry import coordinates
from spotscape._core.logging import logger
from spotscape._core.reading import domain_column, encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_key, slice_labels
from spotscape.pl._colors import Categories, Numbers, read_values, store_colors
from spotscape.pl._sheet import Looks, show_spots
from spotscape.pl._slices import Slice, find_slices, rows_by_slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.pl._colors import Bound, Palette
    from spotscape.pl._sheet import Shown

_MOST = 30_000
_NEIGHBOURS = 15


@public
def embedding(
    adata: AnnData,
    color: str | Sequence[str] | None = None,
    *,
    basis: str | None = None,
    use_rep: str | None = None,
    library_key: str | None = None,
    layer: str | None = None,
    palette: Palette | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    ncols: int = 3,
    random_state: int = 0,
    **looks: Unpack[Looks],
) -> Shown:
    """Show an embedding in two dimensions, coloured by domain and by slice.

    Good embeddings keep domains apart and mix slices.

    Parameters
    ----------
    adata
        Annotated data with an embedding.
    color
        Columns of ``adata.obs`` or genes, a panel each. ``None`` means the domains and the slices.
    basis
        Coordinates in the plane in ``adata.obsm``, such as ``"X_umap"`` of :func:`scanpy.tl.umap`. ``None`` makes a
        UMAP of ``use_rep`` for this plot only. If there are more than 30,000 spots, it takes an even sample of 30,000.
    use_rep
        Key of the embedding in ``adata.obsm``. ``None`` means ``"X_spotscape"`` or ``"X_spacross"``, whichever is
        there. Without them: ``"X_smoothed_pca"``.
    library_key
        Column of ``adata.obs`` with the slice of every spot. ``None`` takes the one by which the data were processed.
    layer, palette, vmin, vmax
        As in :func:`spotscape.pl.domains`.
    ncols
        Largest number of panels side by side.
    random_state
        Seed of the UMAP.
    **looks
        ``size``, ``alpha``, ``cmap``, ``na_color``, ``legend_loc``, ``legend_fontsize``, ``colorbar``, ``figsize``,
        ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does. New colours of categories are written to
    ``adata.uns["<color>_colors"]``; the UMAP is not kept.

    Raises
    ------
    KeyError
        If there is no such embedding, column or gene.

    See Also
    --------
    scanpy.tl.umap : Makes a UMAP to keep.

    Examples
    --------
    >>> import numpy as np, spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_domains=3, n_spots=150, n_genes=30)
    >>> adata.obsm["X_plane"] = np.random.default_rng(0).normal(size=(300, 2))
    >>> figure = sp.pl.embedding(adata, ["domain", "slice"], basis="X_plane", return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['domain', 'slice']
    """
    require_data(adata, genes=False)
    library_key = library_key or find_slices(adata)
    if color is None:
        color = [domain_column(adata, None, "color"), *([library_key] if library_key else [])]
    names = [color] if isinstance(color, str) else [str(name) for name in color]
    columns = [read_values(adata, name, layer=layer, palette=palette, vmin=vmin, vmax=vmax) for name in names]
    rows, plane, title = _plane(adata, basis, use_rep, random_state)
    spacing = np.ptp(plane, axis=0).max() * float(np.clip(0.6 / np.sqrt(len(rows)), 0.002, 0.02))
    piece = Slice(title, rows, plane, geometry.Lattice("irregular", spacing, 0.0))
    # Slices and domains in one random order, so that none lies on top of all others.
    order = np.random.default_rng(0).permutation(len(rows))
    piece = Slice(title, rows[order], plane[order], piece.lattice)
    options: dict[str, Any] = {"invert_y": False, **looks, "ncols": ncols, "scalebar": False}
    return show_spots(adata, columns, options, pieces=[piece])


def _plane(
    adata: AnnData, basis: str | None, use_rep: str | None, random_state: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows that are drawn, their coordinates in the plane, and what these are."""
    rows = np.arange(adata.n_obs)
    if basis is not None:
        name = basis if basis in adata.obsm else f"X_{basis}"
        require_key(adata.obsm, name, "adata.obsm")
        values = read_embedding(adata, name, hint="")
        if values.shape[1] < 2:
            msg = f"adata.obsm[{name!r}] has one axis, and two are drawn; give use_rep={name!r} for a UMAP of it."
            raise ValueError(msg)
        return rows, values[:, :2].astype(np.float64), name
    key = encoder_embedding(adata, use_rep)
    values = read_embedding(adata, key, hint="Make one: sp.tl.spotscape(adata)")
    rows = rows[:: -(-adata.n_obs // _MOST)]
    logger.info("Making a UMAP of `adata.obsm['%s']` (%s spots) for this plot.", key, f"{len(rows):,}")
    return rows, _umap(values[rows], random_state), f"UMAP of {key}"


def _umap(values: np.ndarray, random_state: int) -> np.ndarray:
    import warnings

    from sklearn.neighbors import NearestNeighbors

    n_neighbors = min(_NEIGHBOURS, len(values) - 1)
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors).fit(values).kneighbors(values)
    with warnings.catch_warnings():
        # About tensorflow, threads, and neighbours that are found already.
        warnings.simplefilter("ignore")
        from umap import UMAP

        found = UMAP(
            n_neighbors=n_neighbors,
            precomputed_knn=(indices, distances.astype(np.float32), None),
            random_state=random_state,
        )
        return np.asarray(found.fit_transform(values), dtype=np.float64)


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
    """Explore the tissue in a notebook: zoom, hover, and select spots.

    All slices lie side by side in one view. The graphics card draws them, so a million cells are possible. The lasso
    (second button) selects spots and writes the selection at once: ``adata[adata.obs["selected"]]``. A double click
    clears it.

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
    spotscape.pl.domains : A static figure.

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
    coords = coordinates(adata, spatial_key)[:, :2]
    pieces = rows_by_slice(adata.n_obs, slice_labels(adata, library_key or find_slices(adata, coords)))
    frame = _laid_out(coords, pieces, ncols, up=-1.0 if invert_y else 1.0)
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
        # Whole points: it cuts off what is behind the comma.
        size=max(1, round(size or np.clip(900 / np.sqrt(adata.n_obs), 1, 10))),
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
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "slice": names})


def _colored(values: Categories | Numbers, cmap: Any) -> tuple[Any, dict[str, Any]]:
    """A column of the colour key, and how jscatter is told its colours."""
    if isinstance(values, Numbers):
        low, high = float(values.norm.vmin or 0), float(values.norm.vmax or 1)
        return np.nan_to_num(values.values, nan=low), {"color_map": cmap, "color_norm": (low, high)}
    names, colors = list(values.names), list(values.colors)
    if (values.codes < 0).any():
        names, colors = [*names, values.rest], [*colors, "#DCDCDC"]
    codes = np.where(values.codes < 0, len(values.names), values.codes)
    return pd.Categorical.from_codes(codes, categories=pd.Index(names)), {
        "color_map": dict(zip(names, colors, strict=True))
    }
