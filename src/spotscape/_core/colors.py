"""Colours of domains: a default that colour-blind people can read, and colours that follow a domain."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from spotscape._core.validation import as_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

UNLABELLED = "#DCDCDC"
# Any two of the first 12 differ by CIEDE2000 >= 10 in normal, deuteranopic and protanopic vision, and so does each from
# the grey of unlabelled spots. The others come in the order in which each is farthest from all before it.
_COLORS = (
    "#0072B2", "#E69F00", "#66CCEE", "#CC3311", "#332288", "#009988", "#FFD92F", "#882255",
    "#EE3377", "#88CCAA", "#6699CC", "#B2DF8A", "#AA4455", "#F781BF", "#FB8072", "#AA3377",
    "#228833", "#FB9A99", "#AA4499", "#56B4E9", "#6A3D9A", "#FDB462", "#117733", "#CC79A7",
)  # fmt: skip


def default_colors(n: int) -> list[str]:
    """``n`` colours; beyond the 24 of the list, hues in steps of the golden angle."""
    more = []
    for index in range(max(0, n - len(_COLORS))):
        rgb = colorsys.hsv_to_rgb(index * 0.61803 % 1, 0.45 + 0.4 * (index % 2), 0.9 - 0.3 * (index % 3 == 2))
        more.append("#" + "".join(f"{round(255 * value):02X}" for value in rgb))
    return [*_COLORS[:n], *more]


def matched_colors(codes: np.ndarray, n: int, reference: np.ndarray, colors: Sequence[str]) -> list[str]:
    """Colours for ``n`` categories: each takes that of the reference's category which it shares most spots with.

    Pairs are one to one, such that the number of spots with the same colour is largest; who has no partner gets a
    colour that no other has.

    >>> matched_colors(np.array([0, 0, 1]), 3, np.array([1, 1, 0]), ["#0072B2", "#E69F00"])
    ['#E69F00', '#0072B2', '#66CCEE']
    """
    table = np.zeros((n, len(colors)), dtype=np.int64)
    both = (codes >= 0) & (reference >= 0)
    np.add.at(table, (codes[both], reference[both]), 1)
    pairs = zip(*linear_sum_assignment(table, maximize=True), strict=True)
    taken = {int(row): str(colors[column]) for row, column in pairs if table[row, column]}
    used = {str(color).upper() for color in colors}
    spare = iter([color for color in default_colors(n + len(colors)) if color not in used])
    return [taken[row] if row in taken else next(spare) for row in range(n)]


def following_colors(adata: AnnData, key: str, values: pd.Categorical) -> list[str] | None:
    """Colours for new categories of ``obs[key]``, so that a domain found again keeps its colour.

    ``None`` means that there are none to keep, an empty list that those in ``uns`` belong to nothing any more.
    """
    stored = adata.uns.get(f"{key}_colors")
    if stored is None:
        return None
    old = adata.obs[key].dtype if key in adata.obs else None
    if not isinstance(old, pd.CategoricalDtype) or np.shape(stored) != (len(old.categories),):
        return []
    codes = adata.obs[key].cat.codes.to_numpy()
    if list(old.categories) == list(values.categories) and np.array_equal(codes, values.codes):
        return None
    return matched_colors(np.asarray(values.codes), len(values.categories), codes, [str(color) for color in stored])


def carried_colors(source: AnnData, key: str, names: Sequence[str], target: AnnData, name: str) -> dict[str, list[str]]:
    """The colours of ``obs[key]`` as an entry for labels ``names`` carried from it to ``target.obs[name]``.

    Nothing where there are none to carry, or where the labels have colours of their own.
    """
    stored, column = source.uns.get(f"{key}_colors"), source.obs[key]
    if f"{name}_colors" in target.uns or not isinstance(column.dtype, pd.CategoricalDtype):
        return {}
    if np.shape(stored) != (len(column.cat.categories),):
        return {}
    color_of = dict(zip(as_groups(column, key, unused=True).categories, map(str, stored), strict=True))
    return {f"{name}_colors": [color_of[one] for one in names]}
