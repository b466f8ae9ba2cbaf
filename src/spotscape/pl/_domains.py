"""Domains and similarities on the tissue, and the embedding as a map."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import geometry
from spotscape._core.arguments import public
from spotscape._core.kinds import is_list
from spotscape._core.logging import logger
from spotscape._core.reading import domain_column, domain_columns, encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_key
from spotscape.pl._colors import Categories, Numbers, matched, read_confidence, read_values, scale
from spotscape.pl._sheet import Looks, Panels, show_spots
from spotscape.pl._slices import Slice, find_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._colors import Bound, Palette
    from spotscape.pl._sheet import Shown


@public
def domains(
    adata: AnnData,
    color: str | Sequence[str | None] | None = None,
    *,
    groups: str | Sequence[Any] | None = None,
    library_key: str | None = None,
    spatial_key: str = "spatial",
    layer: str | None = None,
    gene_symbols: str | None = None,
    confidence: str | None = None,
    palette: Palette | None = None,
    cmap: Any = "viridis",
    vmin: Bound = None,
    vmax: Bound = None,
    vcenter: float | None = None,
    size: float | None = None,
    alpha: float = 1.0,
    na_color: Any = "#DCDCDC",
    img: bool = True,
    img_res_key: str | None = None,
    img_alpha: float = 1.0,
    img_contrast: tuple[float, float] | None = None,
    crop_coord: tuple[float, float, float, float] | None = None,
    scalebar: float | None = None,
    invert_y: bool = True,
    title: str | Sequence[str] | None = None,
    legend_loc: str | None = "right margin",
    legend_fontsize: float | None = None,
    colorbar: bool = True,
    frameon: bool = False,
    ncols: int = 4,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Shown:
    """Show domains, any other column of ``obs``, or genes on the tissue: one panel per slice and key.

    Spots are drawn in the unit of the coordinates: hexagons where they lie on a hexagonal lattice (Visium), squares on
    a square one (ST, binned data), discs elsewhere (cells). A category has the same colour in all slices, and numbers
    share one scale. Columns drawn side by side share colours where they share spots. Above 50,000 spots they are
    rasterised, so that PDF and SVG files stay small.

    Parameters
    ----------
    adata
        Spots with coordinates.
    color
        Column of ``adata.obs`` or gene, or several of them. Numbers get a colour bar, all else a legend; spots without
        a value are light grey. ``None`` takes the domains that :func:`spotscape.tl.domains` and
        :func:`spotscape.tl.consensus_domains` found, a panel for each. Without any it shows the spots alone, over
        their image if there is one; ``[None]`` always does.
    groups
        Categories to show in colour, all others grey. ``None`` shows all.
    library_key
        Column of ``adata.obs`` with the slice of every spot: one panel each. ``None`` takes the column by which the
        graph was built, or a column with a usual name (``"slice"``, ``"library_id"``, ``"sample"``, …) whose groups
        overlap, and says so in the log; if there is neither, all spots share a panel.
    layer
        Layer from which genes are taken. ``None`` means ``adata.X``, and ``adata.raw`` for genes that are only there.
    gene_symbols
        Column of ``adata.var`` with the names by which ``color`` names genes. ``None`` means ``adata.var_names``.
    confidence
        Column of ``adata.obs`` with numbers between 0 and 1 by which the colours of categories fade, such as
        ``"consensus_domain_confidence"`` of :func:`spotscape.tl.consensus_domains`. ``None`` shows them in full colour.
    palette
        Colours of categories: name of a matplotlib colormap, colormap, list, cycler, or dict from category to colour.
        ``None`` takes ``adata.uns["<color>_colors"]``. If there are none, default colours are taken; colour-blind
        people can tell any two of the first 12 apart. Beyond 12, names are written on the tissue too.
    cmap
        Colormap of numbers.
    vmin, vmax
        Ends of the scale of numbers: a number, or a percentile such as ``"p95"``. ``None`` means ``"p1"`` and
        ``"p99"``.
    vcenter
        Number that gets the middle of the colormap. ``None`` means the middle between the ends.
    size
        Size of a spot as a multiple of the spot spacing. ``None`` means 1, and 0.7 over a tissue image.
    alpha
        Opacity of the spots, above 0 and at most 1.
    na_color
        Colour of spots without a value.
    img
        Whether to show the tissue image of the slice, ``adata.uns["spatial"][slice]["images"]``, if there is one.
    img_res_key
        Which image. ``None`` means ``"hires"``, or else ``"lowres"``.
    img_alpha
        Opacity of the image.
    img_contrast
        Percentiles of the image that become black and white, such as ``(1, 99)``. ``None`` leaves colour images as
        they are and stretches grey ones and those with more than eight bits.
    crop_coord
        Part of the tissue to show, ``(left, right, top, bottom)`` in the unit of the coordinates. ``None`` shows all.
    scalebar
        Micrometres in one unit of the coordinates, for a scale bar. ``None`` takes it from the file where it is known
        (Visium and Visium HD), ``False`` shows no bar.
    invert_y
        Whether y points down, as in images; ``False`` for y pointing up.
    title
        Title of the panel, or of all panels in order. ``None`` means the slice, or the key if there is one slice.
    legend_loc
        ``"right margin"``, ``"on data"`` (names on the tissue), a location of matplotlib's inside the panel, or
        ``None`` for no legend.
    legend_fontsize
        Size of the names, in points. ``None`` means matplotlib's, and 8 on the tissue.
    colorbar
        Whether numbers get a colour bar.
    frameon
        Whether panels get a frame.
    figsize
        Width and height of the figure in inches. ``None`` fits it to the panels.
    dpi
        Resolution of the figure. ``None`` means matplotlib's.
    ax
        Axes to draw on, one for each panel.
    show
        ``None`` leaves the figure open. A notebook then shows it at the end of the cell, and a script can call
        ``plt.show()`` or ``plt.savefig()``. ``True`` calls ``plt.show()``, ``False`` returns the axes.
    return_fig
        Whether to return the figure and remove it from pyplot. A notebook then shows it only once, as the value of a
        cell.

    Returns
    -------
    ``None``; the :class:`~matplotlib.axes.Axes` with ``show=False``, a list if there are several panels; or the
    :class:`~matplotlib.figure.Figure` with ``return_fig=True``. Once all is drawn, new colours of categorical columns
    are written:

    ``adata.uns["<color>_colors"]`` : list of str
        Hex colours in the order of the categories.

    Raises
    ------
    KeyError
        If ``color``, ``layer``, ``confidence``, the coordinates or ``library_key`` do not exist.
    ValueError
        If ``palette``, ``groups``, ``title`` or ``ax`` do not fit, ``size`` is not positive, or ``confidence`` lies
        outside 0 to 1.
    TypeError
        If ``confidence`` is not numeric.

    See Also
    --------
    spotscape.pl.match_colors : Gives domains the colours of an annotation.
    spotscape.pl.explore : The tissue to zoom into and select from, in a notebook.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> import spotscape as sp
    >>> grid = np.array([[x, y] for x in range(10) for y in range(10)], dtype=float)
    >>> adata = AnnData(np.ones((100, 1)), obsm={"spatial": grid})
    >>> adata.obs["domain"] = np.where(grid[:, 0] < 5, "left", "right")
    >>> sp.pl.domains(adata, "domain")

    It stays open for ``plt.savefig("domains.png")`` or ``plt.show()``; or take the figure:

    >>> figure = sp.pl.domains(adata, "domain", return_fig=True)
    >>> len(figure.axes)
    1
    """
    options = dict(locals())
    require_data(adata, genes=False)
    found: list[str | None] = [*domain_columns(adata)] or [None]
    names = found if color is None else [color] if isinstance(color, str) else list(color)
    if color is None and names != [None]:
        logger.info("Showing %s of `adata.obs`.", ", ".join(map(repr, names)))
    columns = matched([
        Categories("", np.full(adata.n_obs, -1), [], [])
        if name is None
        else read_values(
            adata, str(name), layer=layer, gene_symbols=gene_symbols, palette=palette,
            vmin=vmin, vmax=vmax, vcenter=vcenter,
        )
        for name in names
    ])  # fmt: skip
    if confidence is not None:
        sure = read_confidence(adata, confidence)
        columns = [replace(one, confidence=sure) if isinstance(one, Categories) else one for one in columns]
    return show_spots(adata, columns, options)


# Barcodes are long, and the star says which spot it is.
_LONGEST = 14


@public
def similarity(
    adata: AnnData,
    anchors: str | int | Sequence[str | int],
    *,
    use_rep: str | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    **panels: Unpack[Panels],
) -> Shown:
    """Show how similar all spots of all slices are to one chosen spot.

    In a good embedding, the domain of the chosen spot has high values everywhere, also far away and in other slices,
    and other domains have low values. The measure is the cosine between embeddings; 1 means identical direction.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    anchors
        Chosen spot, by its name in ``adata.obs_names`` or its row number, or several spots: a row of panels each. A
        star marks it.
    vmin, vmax
        Ends of the scale. ``None`` means the first percentile, and 1.
    **panels
        Arguments that lay out panels, as in :func:`spotscape.pl.domains`, such as ``library_key``, ``ncols``, ``size``,
        ``cmap`` (``"magma"`` here), ``img`` (``False`` here), ``ax``, ``show`` and ``return_fig``.

    Raises
    ------
    KeyError
        If there is no such embedding or spot.
    ValueError
        If there are embeddings of both encoders and ``use_rep`` names none.

    See Also
    --------
    spotscape.tl.spotscape : Its loss compares each spot with all others.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=400, n_genes=60)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata)
    >>> sp.tl.smoothed_pca(adata, n_comps=10)
    >>> figure = sp.pl.similarity(adata, 0, use_rep="X_smoothed_pca", return_fig=True)
    """
    require_data(adata, genes=False, unique=["obs"])
    key = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, key).astype(np.float64)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rows = []
    for anchor in anchors if is_list(anchors) else [anchors]:
        is_number = isinstance(anchor, (int, np.integer)) and not isinstance(anchor, bool)
        if is_number and not -adata.n_obs <= anchor < adata.n_obs:
            msg = f"anchor {anchor} is no row of adata, which has {adata.n_obs} spots."
            raise KeyError(msg)
        if not is_number and str(anchor) not in adata.obs_names:
            msg = f"anchor {anchor!r} is no spot of adata.obs_names (which begin with {list(adata.obs_names[:3])})."
            raise KeyError(msg)
        rows.append(int(anchor % adata.n_obs) if is_number else int(adata.obs_names.get_loc(str(anchor))))
    if not rows:
        msg = "anchors is empty; name a spot."
        raise ValueError(msg)
    columns = []
    for row in rows:
        # Rounding makes it a little more than one.
        cosine = np.clip(unit @ unit[row], -1, 1)
        norm = scale(cosine, vmin, 1.0 if vmax is None else vmax)
        name = str(adata.obs_names[row])
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        columns.append(Numbers(f"similarity to {short}", cosine, norm))

    def add_star(ax: Axes, piece: Slice, column: int) -> None:
        where = np.flatnonzero(piece.rows == rows[column])
        ax.plot(*piece.coords[where].T, marker="*", ms=14, mfc="white", mec="black", mew=1.2, ls="", zorder=7)

    options: dict[str, Any] = {"cmap": "magma", "img": False, **panels}
    return show_spots(adata, columns, options, decorate=add_star)


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
    random_state
        Seed of the UMAP.

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
    rows = np.arange(adata.n_obs)
    if basis is not None:
        title = basis if basis in adata.obsm else f"X_{basis}"
        require_key(adata.obsm, title, "adata.obsm")
        values = read_embedding(adata, title, hint="")
        if values.shape[1] < 2:
            msg = f"adata.obsm[{title!r}] has one axis, and two are drawn; give use_rep={title!r} for a UMAP of it."
            raise ValueError(msg)
        plane = values[:, :2].astype(np.float64)
    else:
        key = encoder_embedding(adata, use_rep)
        rows = rows[:: -(-adata.n_obs // _MOST)]
        values, title = read_embedding(adata, key)[rows], f"UMAP of {key}"
        logger.info("Making a UMAP of `adata.obsm['%s']` (%s spots) for this plot.", key, f"{len(rows):,}")
        plane = _umap(values, random_state)
    spacing = np.ptp(plane, axis=0).max() * float(np.clip(0.6 / np.sqrt(len(rows)), 0.002, 0.02))
    # Slices and domains in one random order, so that none lies on top of all others.
    order = np.random.default_rng(0).permutation(len(rows))
    piece = Slice(title, rows[order], plane[order], geometry.Lattice("irregular", spacing, 0.0))
    options: dict[str, Any] = {"invert_y": False, **looks, "ncols": ncols, "scalebar": False}
    return show_spots(adata, columns, options, pieces=[piece])


def _umap(values: np.ndarray, random_state: int) -> np.ndarray:
    import scanpy as sc
    from anndata import AnnData

    plain = AnnData(values)
    with warnings.catch_warnings():
        # About tensorflow and threads.
        warnings.simplefilter("ignore")
        sc.pp.neighbors(plain, n_neighbors=min(_NEIGHBOURS, len(values) - 1), use_rep="X", transformer="sklearn")
        sc.tl.umap(plain, random_state=random_state)
    return np.asarray(plain.obsm["X_umap"], dtype=np.float64)
