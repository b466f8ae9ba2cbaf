"""One spot's view of all others: how alike they are in the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core.arguments import public
from spotscape._core.reading import encoder_embedding, read_embedding
from spotscape._core.validation import require_data
from spotscape.pl._options import Panels, require_known
from spotscape.pl._values import Numbers, scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._options import Shown
    from spotscape.pl._slices import Slice
    from spotscape.pl._values import Bound

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
    """Show how similar all spots of all slices are to one spot: the view from there through the telescope.

    A spot's domain should light up wherever it lies, also far away and in other slices, and nothing else. The measure
    is the cosine of the angle between embeddings, 1 for spots that are alike.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    anchors
        Spot that looks, by its name in ``adata.obs_names`` or its row, or several: a row of panels each. A star marks
        it.
    use_rep
        Key of the embedding in ``obsm``. ``None`` means ``"X_spotscape"`` or ``"X_spacross"``, whichever is there.
        Without them: ``"X_smoothed_pca"``.
    vmin, vmax
        Ends of the scale. ``None`` means the first percentile, and 1.
    **panels
        All that lays out panels in :func:`spotscape.pl.domains`, such as ``library_key``, ``ncols``, ``size``,
        ``cmap`` (``"magma"`` here), ``img`` (``False`` here), ``ax``, ``show`` and ``return_fig``.

    Returns
    -------
    ``None``, the axes or the figure, as :func:`spotscape.pl.domains` does.

    Raises
    ------
    KeyError
        If there is no such embedding or spot.
    ValueError
        If there are embeddings of both encoders and ``use_rep`` names none.

    See Also
    --------
    spotscape.tl.spotscape : Whose loss compares each spot with all others, near and far.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=400, n_genes=60)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata)
    >>> sp.tl.smoothed_pca(adata, n_comps=10)
    >>> figure = sp.pl.similarity(adata, 0, use_rep="X_smoothed_pca", return_fig=True)
    """
    from spotscape.pl._sheet import show_spots

    require_data(adata, genes=False, unique=["obs"])
    require_known(panels, Panels, "similarity")
    key = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, key, hint="Make one: sp.tl.spotscape(adata)").astype(np.float64)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rows = [_row(adata, one) for one in ([anchors] if isinstance(anchors, (str, int, np.integer)) else anchors)]
    columns = []
    for row in rows:
        cosine = unit @ unit[row]
        norm = scale(cosine, vmin, 1.0 if vmax is None else vmax)
        columns.append(Numbers(f"similarity to {_short(str(adata.obs_names[row]))}", cosine, norm))

    def add_star(ax: Axes, piece: Slice, column: int) -> None:
        where = np.flatnonzero(piece.rows == rows[column])
        ax.plot(*piece.coords[where].T, marker="*", ms=14, mfc="white", mec="black", mew=1.2, ls="", zorder=7)

    options: dict[str, Any] = {"cmap": "magma", "img": False, **panels}
    return show_spots(adata, columns, options, decorate=add_star)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _row(adata: AnnData, anchor: Any) -> int:
    if isinstance(anchor, (int, np.integer)) and not isinstance(anchor, bool):
        if not -adata.n_obs <= anchor < adata.n_obs:
            msg = f"anchor {anchor} is no row of adata, which has {adata.n_obs} spots."
            raise KeyError(msg)
        return int(anchor % adata.n_obs)
    if str(anchor) not in adata.obs_names:
        msg = f"anchor {anchor!r} is no spot of adata.obs_names (which begin with {list(adata.obs_names[:3])})."
        raise KeyError(msg)
    return int(np.flatnonzero(adata.obs_names == str(anchor))[0])
