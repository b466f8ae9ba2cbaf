"""A trajectory in the tissue: pseudotime, and beside it the graph of domains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.provenance import new_names, require_unchanged
from spotscape._core.validation import require_data, require_key, require_record
from spotscape.pl._colors import Categories, read_categories, read_values, store_colors
from spotscape.pl._legend import inches
from spotscape.pl._panel import inner_spots
from spotscape.pl._sheet import Look, Panels, given_axes, show_spots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import BboxBase

    from spotscape.pl._colors import Palette
    from spotscape.pl._sheet import Shown
    from spotscape.pl._slices import Slice


@public
def trajectory(
    adata: AnnData,
    *,
    key: str = keys.PSEUDOTIME,
    min_connectivity: float = 0.05,
    palette: Palette | None = None,
    **panels: Unpack[Panels],
) -> Shown:
    """Show pseudotime on the tissue and the graph of domains next to it.

    Nodes are domains, the legend has their order, and the root has a dark ring. Lines join domains that PAGA finds
    connected in the embedding; wider lines are stronger connections. Lines of the spanning tree are dark. Of the
    others, the strongest are drawn in light grey, at most one for each domain. With several slices, the graph of all is
    drawn over each slice; a domain has a node where it makes up at least 0.5 % of the slice.

    Parameters
    ----------
    adata
        Annotated data with the results of :func:`spotscape.tl.trajectory`.
    key
        Name of these results, the ``key_added`` of that function.
    min_connectivity
        Connections of PAGA below this, from 0 to 1, are not shown.
    **panels
        ``library_key`` (``None`` means that of the trajectory), ``spatial_key``, ``ncols``, ``size``, ``cmap`` (of
        pseudotime), ``title``, ``legend_loc``, ``ax``, ``show``, ``return_fig`` and all other arguments that lay out
        panels in :func:`spotscape.pl.domains`; ``img`` is ``False`` here.

    Raises
    ------
    ValueError
        If the record is of something else, ``min_connectivity`` is not between 0 and 1, ``size`` is not positive, or
        the domains are no longer those of the trajectory.

    See Also
    --------
    spotscape.tl.trajectory : Makes the trajectory.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=400, n_genes=100, difficulty=0.3)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata)
    ...     sp.pp.spatial_neighbors_knn(adata)
    ...     sp.tl.smoothed_pca(adata, n_comps=10)
    ...     sp.tl.trajectory(adata, root="Layer_1", key="domain", use_rep="X_smoothed_pca")
    >>> figure = sp.pl.trajectory(adata, return_fig=True)
    >>> [ax.get_title() for ax in figure.axes]
    ['pseudotime', 'domain']
    """
    require_data(adata, genes=False)
    hint = "Make it first: sp.tl.trajectory(adata, root=...)"
    entry = require_record(adata, key, ("params", "connectivities_tree"), hint)
    require_key(adata.obs, key, "adata.obs", hint=hint)
    groups = str(entry["params"]["key"])
    mend = f"sp.tl.trajectory(adata, root={entry['params'].get('root')!r}, ...)"
    require_unchanged(adata, entry, f"the trajectory {key!r}", mend, groups=groups)
    renamed = new_names(adata, entry)
    entry = {**entry, **{part: [renamed[str(name)] for name in entry[part]] for part in ("groups", "order")}}
    time = replace(read_values(adata, key, vmin=0.0), key="pseudotime")
    stored, known = read_categories(adata, groups, palette), [str(name) for name in entry["groups"]]
    if not {stored.names[code] for code in np.unique(stored.codes[stored.codes >= 0])} <= set(known):
        msg = f"adata.obs[{groups!r}] has other domains than the trajectory, made of {known}; make it again: {mend}."
        raise ValueError(msg)
    # The domains that occur, in the order of the trajectory; those that it does not reach come last.
    occurring = [name for code, name in enumerate(stored.names) if (stored.codes == code).any()]
    names = list(dict.fromkeys([name for name in map(str, entry["order"]) if name in occurring] + occurring))
    # These colours are in another order than the categories, and not to be stored.
    domains = replace(stored.taken(names), origin="stored")
    graph = route(entry, domains.names, min_connectivity)
    options: dict[str, Any] = {"img": False, "library_key": entry["params"].get("library_key"), **panels}
    options["longest"] = _LONGEST if _is_wide(options) else 2
    numbered = Look.of(options, adata.n_obs).numbered(domains)
    labels = [str(number) for number in range(1, len(names) + 1)] if numbered else names

    def add_graph(ax: Axes, piece: Slice, column: int) -> None:
        if column == 1:
            # Spots turn towards white, so that what is drawn over them stands out.
            faces: Any = np.array(ax.collections[0].get_facecolor())
            faces[:, :3] = 1 - (1 - faces[:, :3]) * (1 - _FADED)
            ax.collections[0].set_facecolor(faces)
            for name in list(ax.texts):  # The nodes have the names of the domains.
                name.remove()
            draw_route(ax, piece, domains, labels, graph)

    shown = show_spots(adata, [time, domains], options, decorate=add_graph)
    store_colors(adata, [stored])
    return shown


def _is_wide(options: Mapping[str, Any]) -> bool:
    """Whether there is room for names beside nodes in the panels that the user wants."""
    axes, figsize = given_axes(options), options.get("figsize")
    wide = [inches(ax, "width") for ax in axes] if axes else [figsize[0] / 2] if figsize else []
    return not wide or min(wide) >= _WIDE


_FADED = 0.6
# Inches of a panel in which names do not hide the tissue.
_WIDE = 3.0
# Least distance of two nodes, as a share of the length of the tissue.
_CLEARANCE = 0.09
# How far a node moves from the middle of its domain towards the nodes that it is joined with.
_TOWARDS = 0.6
# A domain with less than this share of a slice gets no node there.
_LEAST_SHARE = 0.005
_WIDEST = 5.0
_DARK, _LIGHT = "#303030", "#8C8C8C"
# Relative luminance above which dark letters read better than white ones.
_BRIGHT, _LUMINANCE = 0.45, (0.2126, 0.7152, 0.0722)
# Diameter of a node in points, and the share of it that a name may fill. Longer names stand beside the node.
_NODE, _FILLED = 15, 0.9
# Longer names, in letters, stand in the legend alone, and the nodes have numbers.
_LONGEST = 16
_SIDES = (
    ((0, 10), "center", "bottom"),
    ((0, -10), "center", "top"),
    ((10, 0), "left", "center"),
    ((-10, 0), "right", "center"),
)


@dataclass(frozen=True)
class Route:
    """Pairs of domains ``(m, 2)``, how connected they are, whether the tree has them, and how many are reached."""

    pairs: np.ndarray
    weights: np.ndarray
    in_tree: np.ndarray
    n_reached: int


def route(entry: Mapping[str, Any], names: Sequence[str], min_connectivity: float) -> Route:
    """Read PAGA's graph of the domains ``names``: its tree, and as many other lines as there are domains."""
    known = [str(name) for name in entry["groups"]]
    rows = np.ix_(*[[known.index(name) for name in names]] * 2)
    between, tree = np.asarray(entry["connectivities"])[rows], np.asarray(entry["connectivities_tree"])[rows] > 0
    tree = tree | tree.T
    wanted = np.triu((between >= min_connectivity) & (between > 0), k=1)
    beside = np.sort(between[wanted & ~tree])[::-1]
    if len(beside) > len(names):
        wanted &= tree | (between >= beside[len(names) - 1])
    pairs = np.argwhere(wanted)
    order = {str(name) for name in entry["order"]}
    one, other = pairs.T
    return Route(pairs, between[one, other], tree[one, other], sum(name in order for name in names))


def draw_route(ax: Axes, piece: Slice, domains: Categories, labels: Sequence[str], graph: Route) -> None:
    """Draw the nodes of the domains that the slice has, under their labels, and the lines between them."""
    codes = domains.codes[piece.rows]
    sizes = np.bincount(codes[codes >= 0], minlength=len(domains.names))
    codes = np.where(sizes[codes] >= _LEAST_SHARE * len(codes), codes, -1) if sizes.size else codes
    # Each node inside its domain and next to those that it is joined with, so that lines do not cross other domains.
    places: dict[int, np.ndarray] = {}
    inner = inner_spots(piece.coords, codes)
    apart = _CLEARANCE * float(np.ptp(piece.coords, axis=0).max())
    tree = [set(pair) for pair in graph.pairs[graph.in_tree].tolist()]
    for code in sorted(inner):
        before = [places[other] for pair in tree if code in pair for other in pair - {code} if other in places]
        middle = np.median(inner[code], axis=0)
        target = _TOWARDS * np.mean(before, axis=0) + (1 - _TOWARDS) * middle if before else middle
        places[code] = clear_place(inner[code], target, places, apart)
    shown = [index for index, pair in enumerate(graph.pairs.tolist()) if set(pair) <= places.keys()]
    # Light lines lie under dark ones.
    shown.sort(key=lambda index: bool(graph.in_tree[index]))
    ends = [[places[one], places[other]] for one, other in graph.pairs[shown].tolist()]
    widths = 1.0 + (_WIDEST - 1.0) * np.clip(graph.weights[shown], 0, 1)
    colors = [_DARK if dark else _LIGHT for dark in graph.in_tree[shown]]
    # A light rim parts lines from the spots under them.
    ax.add_collection(LineCollection(ends, colors="white", linewidths=widths + 2, zorder=3), autolim=False)
    ax.add_collection(LineCollection(ends, colors=colors, linewidths=widths, zorder=4), autolim=False)
    radius = _NODE / 72 * ax.figure.dpi / 2
    nodes = [ax.transData.transform(place) for place in places.values()]
    over = Bbox([[ax.bbox.x0, ax.bbox.y1], [ax.bbox.x1, ax.figure.bbox.y1]])
    taken = [over, *(Bbox([node - radius, node + radius]) for node in nodes)]
    for code, (x, y) in places.items():
        color, name = domains.colors[code], labels[code]
        root = code == 0 and graph.n_reached > 0
        ax.plot(
            [x], [y], marker="o", ms=_NODE, mfc=color, mec="black" if root else "white", mew=2.2 if root else 1.6,
            ls="", zorder=5, scalex=False, scaley=False,
        )  # fmt: skip
        text = ax.annotate(
            name, (x, y), xytext=(0, 0), textcoords="offset points", fontsize="small", fontweight="bold",
            ha="center", va="center_baseline", zorder=6, color=_DARK,
        )  # fmt: skip
        if text.get_window_extent().width <= 2 * radius * _FILLED:
            text.set_color("white" if np.dot(to_rgb(color), _LUMINANCE) <= _BRIGHT else _DARK)
        else:
            text.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
            # The layout would make room for a very long name until nothing is left of the tissue.
            text.set_in_layout(len(name) <= _LONGEST)
            taken.append(_set_aside(text, taken, ax.bbox))


def clear_place(points: np.ndarray, target: np.ndarray, places: dict[int, np.ndarray], apart: float) -> np.ndarray:
    """Return the point nearest to ``target`` that lies ``apart`` from all ``places``, if one does."""
    away = ((points - target) ** 2).sum(axis=1)
    taken = np.array(list(places.values())).reshape(-1, 2)
    crowded = (np.linalg.norm(points[:, None] - taken[None], axis=2) < apart).any(axis=1)
    return np.asarray(points[(away + np.where(crowded, away.max() + 1, 0)).argmin()])


def _set_aside(text: Annotation, taken: list[Bbox], panel: BboxBase) -> Bbox:
    """Put a name on the side of its node where it covers the fewest nodes, other names and titles; its place."""

    def put(side: int) -> Bbox:
        text.xyann, ha, va = _SIDES[side]
        text.set(ha=ha, va=va)
        return text.get_window_extent()

    def cost(side: int) -> tuple[bool, int]:
        box = put(side)
        # A name may reach over the edge by half; the legend stands farther outside.
        return not panel.x0 < (box.x0 + box.x1) / 2 < panel.x1, box.count_overlaps(taken)

    return put(min(range(len(_SIDES)), key=cost))
