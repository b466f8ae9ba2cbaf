"""Colours of categories: what ``uns`` holds, what the user wants, or a default that colour-blind people can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spotscape._core.colors import default_colors
from spotscape._core.groups import as_groups
from spotscape._core.logging import logger, warn

if TYPE_CHECKING:
    from anndata import AnnData

# A name, a list, a mapping from category to colour, or a Colormap or Cycler object.
Palette = str | Mapping[Any, Any] | Sequence[Any] | Any

# Up to this many colours can be told apart without help; beyond, names are written on the tissue.
READABLE = 12


def as_categories(column: pd.Series) -> pd.Categorical:
    """A column as categories named by strings, unused ones kept: their colours have places in ``uns``."""
    return as_groups(column, f"adata.obs[{str(column.name)!r}]", unused=True)


def category_colors(adata: AnnData, key: str, values: pd.Categorical, palette: Palette | None) -> tuple[list[str], str]:
    """Colours of the categories of ``obs[key]``, and where they are from: ``"stored"``, ``"given"`` or ``"new"``."""
    names = list(values.categories)
    if palette is not None:
        return _hex(_from_palette(palette, names), "palette"), "given"
    stored = adata.uns.get(f"{key}_colors")
    if stored is not None:
        if isinstance(stored, Mapping):
            stored = {str(name): color for name, color in stored.items()}
            stored = [stored[name] for name in names] if set(names) <= stored.keys() else []
        colors = [str(color) for color in np.ravel(np.asarray(stored, dtype=object))]
        if len(colors) >= len(names):
            return _hex(colors[: len(names)], f"adata.uns['{key}_colors']"), "stored"
        warn(
            f"adata.uns['{key}_colors'] has {len(colors)} colours for {len(names)} categories: those of an earlier "
            "result; new colours replace them."
        )
    return _from_kin(adata, key, values) or default_colors(len(names)), "new"


def _from_kin(adata: AnnData, key: str, values: pd.Categorical) -> list[str] | None:
    """Colours of another column with the same names on most of the same spots, such as domains before refinement."""
    for other in adata.obs:
        stored = adata.uns.get(f"{other}_colors")
        named = isinstance(adata.obs[other].dtype, pd.CategoricalDtype)
        if other == key or not named or stored is None or isinstance(stored, Mapping):
            continue
        kin = as_categories(adata.obs[other])
        same = set(kin.categories) == set(values.categories) and len(stored) == len(values.categories)
        if same and np.mean(np.asarray(kin.astype(str)) == np.asarray(values.astype(str))) > 0.5:
            return [str(stored[kin.categories.get_loc(name)]) for name in values.categories]
    return None


def _from_palette(palette: Palette, names: list[str]) -> list[Any]:
    from matplotlib import colormaps
    from matplotlib.colors import Colormap

    if isinstance(palette, str):
        if palette not in colormaps:
            msg = f"palette={palette!r} is not a colormap of matplotlib; give its name, a list of colours or a dict."
            raise ValueError(msg)
        palette = colormaps[palette]
    if isinstance(palette, Colormap):
        # Qualitative maps such as tab20 are lists of a few colours, meant to be taken one after the other.
        if len(names) <= palette.N <= 40:
            return [palette(index) for index in range(len(names))]
        return [palette(position) for position in np.linspace(0, 1, len(names))]
    if isinstance(palette, Mapping):
        named = {str(name): color for name, color in palette.items()}
        missing = [name for name in names if name not in named]
        if missing:
            msg = f"palette has no colour for the categories {missing}; it has {list(palette)}."
            raise ValueError(msg)
        return [named[name] for name in names]
    # A Cycler, which scanpy takes, gives dicts.
    colors = [entry["color"] if isinstance(entry, Mapping) else entry for entry in palette]
    if len(colors) < len(names):
        given = {str(color).upper() for color in colors}
        spare = [color for color in default_colors(len(names) + len(colors)) if color not in given]
        logger.info("The palette has %d colours for %d categories; default colours follow.", len(colors), len(names))
        colors += spare
    return colors[: len(names)]


def _hex(colors: list[Any], where: str) -> list[str]:
    from matplotlib.colors import is_color_like, to_hex

    wrong = [color for color in colors if not is_color_like(color)]
    if wrong:
        msg = f"{where} has {wrong[0]!r}, which is not a colour of matplotlib."
        raise ValueError(msg)
    return [to_hex(color) for color in colors]
