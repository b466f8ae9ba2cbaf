"""Matches between slices, as lines from spot to spot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.transforms import Affine2D

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.places import coordinates
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import require_data, require_key, require_record, slice_labels
from spotscape.pl._colors import Categories, Numbers, read_values, store_colors
from spotscape.pl._legend import add_legend, add_title
from spotscape.pl._panel import add_tiles, face_colors, show_box
from spotscape.pl._sheet import Look, Looks, hand_out, open_axes, per_row
from spotscape.pl._slices import Slice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from spotscape.pl._colors import Bound, Palette
    from spotscape.pl._sheet import Shown

Layout = Literal["beside", "above"]


@public
def matching(
    adata: AnnData,
    query: str | Sequence[str] | None = None,
    *,
    key: str = keys.MATCH,
    color: str | None = None,
    n_lines: int = 100,
    layout: Layout = "above",
    linewidth: float = 0.9,
    spatial_key: str = keys.SPATIAL,
    palette: Palette | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    **looks: Unpack[Looks],
) -> Shown:
    """Show matches between slices: a panel for each query slice, with lines to the reference.

    A sample of spots, spread evenly over the query slice, is joined with their best matches; the lines have the colours
    of the query's spots. If labels were transferred, the query shows the labels that it received, and the reference
    shows the labels that it gave. Slices whose sizes differ more than twofold, as in different units, are drawn at the
    same size.

    Parameters
    ----------
    adata
        Annotated data with the results of :func:`spotscape.tl.match_slices`.
    query
        Query slices to show. ``None`` shows all that were matched.
    key
        Name of the matches, the ``key_added`` of that function.
    color
        Column of ``adata.obs`` or gene by which to colour. ``None`` means the transferred labels, or the similarity of
        the best match if none were transferred; spots of the reference are then light grey.
    n_lines
        Number of lines in a panel.
    layout
        ``"above"``: the reference above the query, both in perspective. ``"beside"``: the query on the left,
        the reference on the right, as they are.
    linewidth
        Width of the lines in points.

    Raises
    ------
    ValueError
        If the record is of something else, a query was not matched, ``size`` is not positive, or ``ax`` does not fit
        the number of panels.

    See Also
    --------
    spotscape.tl.match_slices : Makes the matches.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=300, n_genes=60, n_domains=3, difficulty=0.2)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.tl.match_slices(
    ...     adata, library_key="slice", reference="slice_1", use_rep="X_smoothed_pca", labels_key="domain"
    ... )
    >>> figure = sp.pl.matching(adata, return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['slice_2 → slice_1']
    """
    require_data(adata, genes=False, unique=["obs"])
    look = Look.of(looks, adata.n_obs)
    hint = "Make matches first: sp.tl.match_slices(adata, ...)"
    entry = require_record(adata, key, ("params",), hint)
    require_key(adata.obs, key, "adata.obs", hint=hint)
    params = entry["params"]
    if "reference" not in params or "library_key" not in params:
        msg = f"adata.uns[{key!r}] is not a record of matches. {hint}."
        raise ValueError(msg)
    warn_if_changed(adata, entry, f"the match {key!r}", "sp.tl.match_slices(adata, ...)")
    coords = coordinates(adata, spatial_key)[:, :2]
    slices = np.asarray(slice_labels(adata, str(params["library_key"]))).astype(str)
    best = adata.obs_names.get_indexer(pd.Index(adata.obs[key].astype("string").fillna("")))
    known = [str(name) for name in params["query"] if (slices == str(name)).any()]
    reference = str(params["reference"])
    if not (slices == reference).any() or not known:
        msg = f"adata has no spots of the reference {reference!r} or none of its queries; was it subset since?"
        raise ValueError(msg)
    wanted = known if query is None else [query] if isinstance(query, str) else [str(name) for name in query]
    if not wanted or not set(wanted) <= set(known):
        msg = f"query={query!r}: matches were made for the slices {known}."
        raise ValueError(msg)
    pieces = {}
    for name in {*wanted, reference}:
        rows = np.flatnonzero(slices == name)
        pieces[name] = Slice(name, rows, coords[rows], geometry.lattice(coords[rows]))
    pairs = [Pair.of(pieces[name], pieces[reference], adata.n_obs, layout, invert_y=look.invert_y) for name in wanted]
    values = _values(adata, key, params, color, palette=palette, vmin=vmin, vmax=vmax)
    width = _WIDTH[layout]
    aspect = float(np.clip(max(np.divide(*np.ptp(pair.frame, axis=0)[::-1]) for pair in pairs), 0.2, 2))
    size = width, width * aspect
    across = per_row(looks, len(pairs), size, _ACROSS[layout])
    with open_axes(looks, len(pairs), size, across=across) as axes:
        for index, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            matched = np.flatnonzero((slices == pair.query.name) & (best >= 0))
            drawn = matched[geometry.evenly_spread(coords[matched], n_lines)]
            pair.draw(ax, values, look)
            draw_lines(ax, pair.points[drawn], pair.points[best[drawn]], face_colors(values, drawn, look), linewidth)
            if index == across - 1:
                add_legend(ax, pair.query.lattice.kind, values, look, title=values.key)
    store_colors(adata, [values])
    return hand_out(axes, looks)


def _values(
    adata: AnnData,
    key: str,
    params: Mapping[str, Any],
    color: str | None,
    *,
    palette: Palette | None,
    vmin: Bound,
    vmax: Bound,
) -> Categories | Numbers:
    label, given = f"{key}_label", params.get("labels_key")
    received = color is None and given is not None and {label, given} <= set(adata.obs)
    name = color or (str(given) if received else f"{key}_similarity")
    values = read_values(adata, name, palette=palette, vmin=vmin, vmax=vmax)
    if color is None and isinstance(values, Numbers):
        return replace(values, key="similarity")
    if not received or not isinstance(values, Categories):
        return values
    in_query = np.isin(
        np.asarray(slice_labels(adata, str(params["library_key"]))), [str(name) for name in params["query"]]
    )
    codes = pd.Index(values.names).get_indexer(adata.obs[label].astype("string").to_numpy(object))
    return replace(values, codes=np.where(in_query, codes, values.codes))


# A slice laid down: y is shortened, and what is farther back moves to the right.
_LAID_DOWN = np.array([[1.0, 0.42], [0.0, 0.5]])
_GAP = {"above": 0.34, "beside": 0.22}
_WIDTH = {"above": 4.6, "beside": 7.5}
# Most panels in a row.
_ACROSS = {"above": 3, "beside": 1}


@dataclass(frozen=True)
class Pair:
    """Two slices as they are drawn: the linear maps that their tiles undergo, where each spot lies, and the frame."""

    query: Slice
    reference: Slice
    maps: list[np.ndarray]
    points: np.ndarray
    frame: np.ndarray

    @classmethod
    def of(cls, query: Slice, reference: Slice, n_obs: int, layout: str, *, invert_y: bool) -> Pair:
        """Lay both slices out, y pointing up: the reference above the query or to its right."""
        longest = [np.ptp(piece.coords, axis=0).max() for piece in (query, reference)]
        differ = max(longest) > 2 * min(longest) > 0
        maps, boxes, points = [], [], np.full((n_obs, 2), np.nan)
        for piece, extent in zip((query, reference), longest, strict=True):
            matrix = np.diag([1.0, -1.0 if invert_y else 1.0]) / (extent if differ else 1.0)
            maps.append(_LAID_DOWN @ matrix if layout == "above" else matrix)
            centre = piece.coords.min(axis=0) / 2 + piece.coords.max(axis=0) / 2
            points[piece.rows] = own = (piece.coords - centre) @ maps[-1].T
            margin = np.abs(maps[-1]).sum(axis=1) * piece.lattice.spacing
            boxes.append([own.min(axis=0) - margin, own.max(axis=0) + margin])
        extents = np.ptp(boxes, axis=1)
        # The gap has to let lines be told apart, whatever the height of the slices.
        axis = 1 if layout == "above" else 0
        shift = np.eye(2)[axis] * (extents[:, axis].mean() + _GAP[layout] * extents[:, 0].max())
        points[reference.rows] += shift
        corners = np.concatenate([boxes[0], boxes[1] + shift])
        return cls(query, reference, maps, points, np.stack([corners.min(axis=0), corners.max(axis=0)]))

    def draw(self, ax: Axes, values: Categories | Numbers, look: Look) -> None:
        """Draw both slices."""
        scale = 1.0 if look.size is None else look.size
        for piece, matrix in zip((self.query, self.reference), self.maps, strict=True):
            laid = Affine2D(np.pad(matrix, (0, 1)) + np.diag([0, 0, 1]))
            own = self.points[piece.rows]
            add_tiles(ax, piece.lattice, own, piece.rows, values, look=look, scale=scale, shape_transform=laid)
        show_box(ax, self.frame, invert_y=False)
        add_title(ax, f"{self.query.name} → {self.reference.name}")


def draw_lines(ax: Axes, starts: np.ndarray, ends: np.ndarray, colors: np.ndarray, linewidth: float) -> None:
    """Draw lines with a light rim, which keeps them visible over spots of their own colour."""
    lines = list(np.stack([starts, ends], axis=1))
    if lines:
        ax.add_collection(LineCollection(lines, colors="white", linewidths=linewidth + 0.7, alpha=0.4, zorder=2))
        ax.add_collection(LineCollection(lines, colors=colors, linewidths=linewidth, alpha=0.9, zorder=3))
