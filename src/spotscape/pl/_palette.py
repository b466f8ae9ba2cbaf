"""Colours of categories: what ``uns`` holds, what the user wants, or a colour-blind-safe default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.logging import warn

if TYPE_CHECKING:
    from anndata import AnnData

Palette = str | Mapping[str, str] | Sequence[str]

UNLABELLED = "#DCDCDC"
# From the sets of Okabe & Ito, Tol, ColorBrewer and CARTO, in the order in which each is farthest (OKLab; normal,
# deuteranopic and protanopic vision) from all before it: any first k are about the most distinct k.
_COLORS = (
    "#0072B2", "#E69F00", "#66CCEE", "#CC3311", "#332288", "#009988", "#FFD92F", "#882255",
    "#6699CC", "#66C2A5", "#AA3377", "#B2DF8A", "#117733", "#6A3D9A", "#EE3377", "#56B4E9",
    "#CC79A7", "#EE7733", "#F2B701", "#FC8D62", "#AA4499", "#FB9A99", "#EE6677", "#228833",
)  # fmt: skip


def default_colors(n: int) -> list[str]:
    """``n`` colours; beyond the 24 of the list, hues in steps of the golden angle.

    >>> default_colors(2)
    ['#0072B2', '#E69F00']
    """
    from matplotlib.colors import hsv_to_rgb, to_hex

    extra = np.arange(max(0, n - len(_COLORS)))
    hues = np.stack([extra * 0.61803 % 1, 0.45 + 0.4 * (extra % 2), 0.9 - 0.3 * (extra % 3 == 2)], axis=1)
    return [*_COLORS[:n], *(to_hex(tuple(hsv_to_rgb(hue))).upper() for hue in hues)]


def category_colors(adata: AnnData, key: str, names: list[str], palette: Palette | None) -> tuple[list[str], bool]:
    """Colours of the categories of ``obs[key]``, and whether ``uns`` should be given them."""
    if palette is not None:
        return _hex(_from_palette(palette, names), "palette"), True
    stored = adata.uns.get(f"{key}_colors")
    if stored is None:
        return default_colors(len(names)), True
    if len(stored) < len(names):
        warn(
            f"adata.uns['{key}_colors'] has {len(stored)} colours for {len(names)} categories; the default colours are "
            f"shown instead. Give palette=... to replace them."
        )
        return default_colors(len(names)), False
    return _hex(list(stored)[: len(names)], f"adata.uns['{key}_colors']"), False


def _from_palette(palette: Palette, names: list[str]) -> list[Any]:
    if isinstance(palette, str):
        return _from_colormap(palette, len(names))
    if isinstance(palette, Mapping):
        missing = [name for name in names if name not in palette]
        if missing:
            msg = f"palette has no colour for the categories {missing}; it has {list(palette)}."
            raise ValueError(msg)
        return [palette[name] for name in names]
    if len(palette) < len(names):
        msg = f"palette has {len(palette)} colours for {len(names)} categories: {names}."
        raise ValueError(msg)
    return list(palette)[: len(names)]


def _from_colormap(name: str, n: int) -> list[Any]:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if name not in colormaps:
        msg = f"palette={name!r} is not a colormap of matplotlib; give its name, a list of colours or a dict."
        raise ValueError(msg)
    cmap = colormaps[name]
    # Qualitative maps such as tab20 are lists of a few colours, meant to be taken one after the other.
    if isinstance(cmap, ListedColormap) and n <= cmap.N <= 40:
        return [cmap(index) for index in range(n)]
    return [cmap(position) for position in np.linspace(0, 1, n)]


def _hex(colors: list[Any], where: str) -> list[str]:
    from matplotlib.colors import is_color_like, to_hex

    wrong = [color for color in colors if not is_color_like(color)]
    if wrong:
        msg = f"{where} has {wrong[0]!r}, which is not a colour of matplotlib."
        raise ValueError(msg)
    return [to_hex(color) for color in colors]
