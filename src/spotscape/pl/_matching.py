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
from spotscape.pl._panel import add_tiles, face_colors
from spotscape.pl._sheet import Look, Looks, hand_out, open_axes
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

    def piece(name: str) -> Slice:
        rows = np.flatnonzero(slices == name)
        return Slice(name, rows, coords[rows], geometry.lattice(coords[rows]))

    if not (slices == reference).any() or not known:
        msg = f"adata has no spots of the reference {reference!r} or none of its queries; was it subset since?"
        raise ValueError(msg)
    wanted = known if query is None else [query] if isinstance(query, str) else [str(name) for name in query]
    if not wanted or not set(wanted) <= set(known):
        msg = f"query={query!r}: matches were made for the slices {known}."
        raise ValueError(msg)
    pairs = []
    for name in wanted:
        matched = np.flatnonzero((slices == name) & (best >= 0))
        drawn = matched[geometry.evenly_spread(coords[matched], n_lines)]
        placed = place(piece(name), piece(reference), layout=layout, invert_y=look.invert_y)
        pairs.append(Pair(*placed, drawn, best[drawn]))
    values = _values(adata, key, params, color, palette=palette, vmin=vmin, vmax=vmax)
    across = min(len(pairs), _ACROSS) if layout == "above" else 1
    with open_axes(looks, len(pairs), pair_size(pairs, values, look, layout, across), across=across) as axes:
        for index, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            draw_pair(ax, pair, values, look, linewidth=linewidth, legend=index == across - 1)
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
_ACROSS = 3


@dataclass(frozen=True)
class Placed:
    """A slice with where its spots are drawn, and the linear map that its tiles undergo."""

    piece: Slice
    matrix: np.ndarray
    points: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Corners of the drawn spots with a margin."""
        margin = np.abs(self.matrix).sum(axis=1) * self.piece.lattice.spacing
        return np.stack([self.points.min(axis=0) - margin, self.points.max(axis=0) + margin])

    def points_of(self, rows: np.ndarray) -> np.ndarray:
        """Where the spots ``rows`` of the AnnData are drawn."""
        return np.asarray(self.points[np.searchsorted(self.piece.rows, rows)])


@dataclass(frozen=True)
class Pair:
    """Two slices as they are drawn, and the rows of the spots that are joined."""

    query: Placed
    reference: Placed
    query_rows: np.ndarray
    reference_rows: np.ndarray

    @property
    def frame(self) -> np.ndarray:
        """Corners of both slices together."""
        boxes = np.stack([self.query.box, self.reference.box])
        return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def place(query: Slice, reference: Slice, *, layout: str, invert_y: bool) -> tuple[Placed, Placed]:
    """Lay both slices out, y pointing up: the reference above the query or to its right."""
    longest = [np.ptp(piece.coords, axis=0).max() for piece in (query, reference)]
    differ = max(longest) > 2 * min(longest) > 0
    placed = []
    for piece, extent in zip((query, reference), longest, strict=True):
        matrix = np.diag([1.0, -1.0 if invert_y else 1.0]) / (extent if differ else 1.0)
        if layout == "above":
            matrix = _LAID_DOWN @ matrix
        centre = piece.coords.min(axis=0) / 2 + piece.coords.max(axis=0) / 2
        placed.append(Placed(piece, matrix, (piece.coords - centre) @ matrix.T))
    extents = np.stack([np.ptp(one.box, axis=0) for one in placed])
    # The gap has to let lines be told apart, whatever the height of the slices.
    axis = 1 if layout == "above" else 0
    shift = np.eye(2)[axis] * (extents[:, axis].mean() + _GAP[layout] * extents[:, 0].max())
    return placed[0], replace(placed[1], points=placed[1].points + shift)


def pair_size(
    pairs: Sequence[Pair], values: Categories | Numbers, look: Look, layout: str, across: int
) -> tuple[float, float]:
    """Size in inches of rows of ``across`` panels."""
    extents = [np.ptp(pair.frame, axis=0) for pair in pairs]
    aspect = float(np.clip(max(height / width for width, height in extents), 0.2, 2))
    high = max(_WIDTH[layout] * aspect + 0.3, look.legend_height(values))
    return across * _WIDTH[layout] + look.margin(values), -(-len(pairs) // across) * high


def draw_pair(
    ax: Axes, pair: Pair, values: Categories | Numbers, look: Look, *, linewidth: float, legend: bool
) -> None:
    """Draw two slices and the lines between them."""
    for placed in (pair.query, pair.reference):
        laid = Affine2D(np.block([[placed.matrix, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]]))
        scale = 1.0 if look.size is None else look.size
        piece = placed.piece
        add_tiles(ax, piece.lattice, placed.points, piece.rows, values, look=look, scale=scale, shape_transform=laid)
    ends = np.stack([pair.query.points_of(pair.query_rows), pair.reference.points_of(pair.reference_rows)], axis=1)
    if len(ends):
        colors = face_colors(values, pair.query_rows, look)
        # A light rim keeps a line visible over spots of its own colour.
        ax.add_collection(LineCollection(list(ends), colors="white", linewidths=linewidth + 0.7, alpha=0.4, zorder=2))
        ax.add_collection(LineCollection(list(ends), colors=colors, linewidths=linewidth, alpha=0.9, zorder=3))
    (x0, y0), (x1, y1) = pair.frame
    ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal")
    ax.set_axis_off()
    add_title(ax, f"{pair.query.piece.name} → {pair.reference.piece.name}")
    if legend:
        add_legend(ax, pair.query.piece.lattice.kind, values, look, title=values.key)
