"""The graph of domains over the tissue: a numbered node for each domain, lines where they are connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from spotscape.pl._panel import Slice
    from spotscape.pl._values import Categories

_FADED = 0.6
# Least distance of two nodes, as a share of the length of the tissue.
_CLEARANCE = 0.09
_WIDEST = 5.0
_DARK, _LIGHT = "#303030", "#8C8C8C"
# Relative luminance above which dark figures read better than white ones.
_BRIGHT = 0.45


@dataclass(frozen=True)
class Route:
    """Pairs of domains ``(m, 2)``, how connected they are, whether the tree has them, and how many are numbered."""

    pairs: np.ndarray
    weights: np.ndarray
    in_tree: np.ndarray
    n_reached: int


def route(entry: Mapping[str, Any], names: Sequence[str], min_connectivity: float) -> Route:
    """Read PAGA's graph of the domains ``names``."""
    known = [str(name) for name in entry["groups"]]
    rows = np.ix_(*[[known.index(name) for name in names]] * 2)
    between, tree = np.asarray(entry["connectivities"])[rows], np.asarray(entry["connectivities_tree"])[rows]
    pairs = np.argwhere(np.triu((between >= min_connectivity) & (between > 0), k=1))
    order = {str(name) for name in entry["order"]}
    one, other = pairs.T
    return Route(pairs, between[one, other], tree[one, other] > 0, sum(name in order for name in names))


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
    places = _places(piece.coords, codes)
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
        color = domains.colors[code]
        ax.plot(
            [x], [y], marker="o", ms=15, mfc=color, mec="white", mew=1.6, ls="", zorder=5, scalex=False, scaley=False
        )
        if code < graph.n_reached:
            ax.annotate(
                str(code + 1), (x, y), ha="center", va="center_baseline", fontsize=9, fontweight="bold", zorder=6,
                color=_DARK if _luminance(color) > _BRIGHT else "white",
            )  # fmt: skip


def _places(coords: np.ndarray, codes: np.ndarray) -> dict[int, np.ndarray]:
    """Put each domain's node on the spot nearest to its mean, so that it lies on a bent domain, and clear of others."""
    clearance = _CLEARANCE * np.ptp(coords, axis=0).max()
    places: dict[int, np.ndarray] = {}
    for code in np.unique(codes[codes >= 0]).tolist():
        points = coords[codes == code]
        away = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
        taken = np.array(list(places.values())).reshape(-1, 2)
        crowded = (np.linalg.norm(points[:, None] - taken[None], axis=2) < clearance).any(axis=1)
        places[code] = points[(away + np.where(crowded, away.max() + 1, 0)).argmin()]
    return places


def _luminance(color: str) -> float:
    return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))
