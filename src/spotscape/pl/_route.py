"""The graph of domains over the tissue: a node for each domain, lines where they are connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from spotscape.pl._panel import clear_place, inner_spots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from spotscape.pl._slices import Slice
    from spotscape.pl._values import Categories

_FADED = 0.6
# Least distance of two nodes, as a share of the length of the tissue.
_CLEARANCE = 0.09
# How far a node moves from the middle of its domain towards the nodes that it is joined with.
_TOWARDS = 0.6
# A domain with less than this share of a slice has no place there to speak of.
_LEAST_SHARE = 0.005
_WIDEST = 5.0
_DARK, _LIGHT = "#303030", "#8C8C8C"
# Relative luminance above which dark letters read better than white ones.
_BRIGHT = 0.45
# Longer names stand beside their node.
_SHORT = 3


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


def fade(ax: Axes) -> None:
    """Turn the spots of a panel towards white, so that what is drawn over them stands out."""
    tiles = ax.collections[0]
    faces: Any = np.array(tiles.get_facecolor())
    faces[:, :3] = 1 - (1 - faces[:, :3]) * (1 - _FADED)
    edged = len(tiles.get_edgecolor()) > 0
    tiles.set_facecolor(faces)
    if edged:
        tiles.set_edgecolor(faces)


def draw_route(ax: Axes, piece: Slice, domains: Categories, graph: Route) -> None:
    """Draw the nodes of the domains that the slice has, and the lines between them."""
    codes = domains.codes[piece.rows]
    sizes = np.bincount(codes[codes >= 0], minlength=len(domains.names))
    codes = np.where(sizes[codes] >= _LEAST_SHARE * len(codes), codes, -1) if sizes.size else codes
    places = _places(piece.coords, codes, graph)
    shown = [index for index, pair in enumerate(graph.pairs.tolist()) if set(pair) <= places.keys()]
    # Light lines lie under dark ones.
    shown.sort(key=lambda index: bool(graph.in_tree[index]))
    ends = [[places[one], places[other]] for one, other in graph.pairs[shown].tolist()]
    widths = 1.0 + (_WIDEST - 1.0) * np.clip(graph.weights[shown], 0, 1)
    colors = [_DARK if dark else _LIGHT for dark in graph.in_tree[shown]]
    # A light rim parts lines from the spots under them.
    ax.add_collection(LineCollection(ends, colors="white", linewidths=widths + 2, zorder=3), autolim=False)
    ax.add_collection(LineCollection(ends, colors=colors, linewidths=widths, zorder=4), autolim=False)
    for code, (x, y) in places.items():
        color, name = domains.colors[code], domains.names[code]
        root = code == 0 and graph.n_reached > 0
        ax.plot(
            [x], [y], marker="o", ms=15, mfc=color, mec="black" if root else "white", mew=2.2 if root else 1.6,
            ls="", zorder=5, scalex=False, scaley=False,
        )  # fmt: skip
        inside = len(name) <= _SHORT
        text = ax.annotate(
            name, (x, y), xytext=(0, 0 if inside else 10), textcoords="offset points", fontsize=9, fontweight="bold",
            ha="center", va="center_baseline" if inside else "bottom", zorder=6,
            color="white" if inside and _luminance(color) <= _BRIGHT else _DARK,
        )  # fmt: skip
        if not inside:
            text.set_path_effects([withStroke(linewidth=2.2, foreground="white")])


def _places(coords: np.ndarray, codes: np.ndarray, graph: Route) -> dict[int, np.ndarray]:
    """Where nodes lie: in the order of the trajectory, each inside its domain and next to those it is joined with.

    So lines are short, and do not run across other domains.
    """
    inner = inner_spots(coords, codes)
    apart = _CLEARANCE * float(np.ptp(coords, axis=0).max())
    tree = [set(pair) for pair in graph.pairs[graph.in_tree].tolist()]
    places: dict[int, np.ndarray] = {}
    for code in sorted(inner):
        before = [places[other] for pair in tree if code in pair for other in pair - {code} if other in places]
        middle = np.median(inner[code], axis=0)
        target = _TOWARDS * np.mean(before, axis=0) + (1 - _TOWARDS) * middle if before else middle
        places[code] = clear_place(inner[code], target, places, apart)
    return places


def _luminance(color: str) -> float:
    return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))
