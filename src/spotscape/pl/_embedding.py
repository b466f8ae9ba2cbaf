"""Embeddings as maps."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from spotscape._core import geometry
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.reading import domain_column, encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_key
from spotscape.pl._colors import read_values
from spotscape.pl._sheet import Looks, show_spots
from spotscape.pl._slices import Slice, find_slices

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
    from sklearn.neighbors import NearestNeighbors

    n_neighbors = min(_NEIGHBOURS, len(values) - 1)
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors).fit(values).kneighbors(values)
    known = (indices, distances.astype(np.float32), None)
    with warnings.catch_warnings():
        # About tensorflow, threads, and neighbours that are found already.
        warnings.simplefilter("ignore")
        from umap import UMAP

        found = UMAP(n_neighbors=n_neighbors, precomputed_knn=known, random_state=random_state)
        return np.asarray(found.fit_transform(values), dtype=np.float64)
