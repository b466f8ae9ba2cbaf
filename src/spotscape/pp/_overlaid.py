"""Slices that overlap, or are stacked by their third coordinate, without their column being named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core.keys import slice_columns
from spotscape._core.logging import warn
from spotscape.pp._graph_build import n_sharing_position

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pp._graph_build import SlicePositions, SpatialGraph

# Words that, by the habits of the field, name columns with the slice, field or sample of a spot.
_TELLING = re.compile(
    r"(?i)(?:^|[^a-z])(?:slices?|sections?|slides?|librar(?:y|ies)|samples?|batch(?:es)?|fovs?|fields?|cores?|punch(?:es)?|"
    r"tma|rois?|pucks?|captures?|orig\.ident|bregma|animals?|mouse|mice|embryos?|donors?|patients?)(?:ids?|names?)?(?:$|[^a-z])"
)
# Neighbours of the own group, compared with chance; the pairs expected by chance at least; spots of a group; and gaps.
_LESS_THAN_CHANCE, _ENOUGH, _FEWEST_IN_GROUP, _MISSING = 0.6, 50, 5, 0.5
_MIXED_EDGES = 0.01
# Of the spots with neighbours in other groups, about .4 have most of them there if two slices overlap, and
# .1 along borders. The second bound is for one large group among others, such as a small slice that lies on a larger.
_AMONG, _LARGE_GROUP = (0.2, 0.6), 50
_SHARED_POSITIONS = 0.05

# Spots of a section, at the least, and edges between sections, at the most.
_FEWEST_IN_SECTION, _BETWEEN_SECTIONS = 20, 0.01


def warn_of_overlaid_slices(adata: AnnData, tissue: SlicePositions, graph: SpatialGraph) -> None:
    """Warn if the coordinates of several slices, fields or samples seem to overlap, by every column of ``obs``.

    Cells of one tissue keep a distance from each other. If two tissues overlap, the nearest neighbour of a cell is in
    the other tissue more often than expected by chance. Columns with the usual names of slices need less evidence.
    """
    rows = np.repeat(np.arange(tissue.n_spots), np.diff(graph.connectivities.indptr))
    columns = _overlaid_columns(adata, tissue, graph, rows) if len(rows) else {}
    if columns:
        # Of donors with several slices each, the slices join most spots that do not belong together.
        usual = [*slice_columns(columns), *columns]
        column, mixed = max(columns.items(), key=lambda item: (round(item[1], 2), -usual.index(item[0])))
        known, mend = tissue.library_key, f"keep them apart with library_key={column!r}"
        groups = adata.obs.reindex(columns=[known, column]).astype(str)
        if known is not None and len(groups.drop_duplicates()) > groups[column].nunique():
            # Sections at the same height of several animals.
            both = " + ' ' + ".join(f"adata.obs[{name!r}].astype(str)" for name in (known, column))
            mend = f"keep apart the groups of both: adata.obs['section'] = {both}, then library_key='section'"
        also = "" if known is None else f" as well as adata.obs[{known!r}]"
        warn(
            f"{mixed:.0%} of the edges join spots with different adata.obs[{column!r}], whose coordinates overlap; if "
            f"that column holds slices, fields or samples{also}, {mend}."
        )
        return
    if tissue.library_key is None and tissue.slices[0].shape[1] == 3:
        _warn_of_sections(adata, tissue.slices[0][:, 2], rows, graph.connectivities.indices)
    shared = n_sharing_position(graph.distances)
    if tissue.library_key is None and shared > _SHARED_POSITIONS * tissue.n_spots:
        warn(
            f"{shared} of {tissue.n_spots} spots share their position with another one; if the coordinates of "
            f"several slices overlap, name the column that tells them apart: library_key=..."
        )


def _warn_of_sections(adata: AnnData, heights: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Warn of spots at a few heights between which there are no neighbours, as in sections that are stacked by z."""
    codes = pd.factorize(heights)[0]
    n_sections, between = codes.max() + 1, np.mean(codes[starts] != codes[ends])
    if not 1 < n_sections <= len(codes) / _FEWEST_IN_SECTION or between > _BETWEEN_SECTIONS:
        return
    column = "..."
    for name in dict.fromkeys([*slice_columns(adata.obs.columns), *adata.obs.columns]):
        groups = _groups(adata.obs[name], telling=True)
        if groups is not None and len(set(zip(codes, groups, strict=True))) == n_sections == groups.max() + 1:
            column = repr(str(name))
            break
    warn(
        f"the third coordinate has {n_sections} different values, between which no spots are neighbours, as in "
        f"sections of one block. Without library_key, differences between sections can be taken for domains. Name the "
        f"column that tells them apart: library_key={column}."
    )


def _overlaid_columns(
    adata: AnnData, tissue: SlicePositions, graph: SpatialGraph, rows: np.ndarray
) -> dict[str, float]:
    """Columns whose groups overlap, and which share of the edges joins different groups of them."""
    connectivities, distances = graph
    found = {}
    filled = np.flatnonzero(np.diff(distances.indptr))
    bounds = zip(distances.indptr[filled], distances.indptr[filled + 1], strict=True)
    nearest = connectivities.indices[[start + int(distances.data[start:stop].argmin()) for start, stop in bounds]]
    for column in adata.obs.columns.drop(tissue.library_key or [], errors="ignore"):
        telling = _TELLING.search(str(column)) is not None
        codes = _groups(adata.obs[column], telling=telling)
        if codes is None:
            continue
        mixed = float(np.mean(codes[rows] != codes[connectivities.indices]))
        share = np.bincount(codes) / len(codes)
        by_chance = float(np.sum(share**2))
        own = float(np.mean(codes[filled] == codes[nearest]))
        overlap = own < _LESS_THAN_CHANCE * by_chance and by_chance * len(filled) > _ENOUGH
        suspect = telling and tissue.library_key is None and mixed > _MIXED_EDGES
        if not overlap and suspect:
            # If groups meet along a border only, few of the spots that touch another group have most neighbours there.
            n = len(codes)
            strangers = np.bincount(rows, codes[rows] != codes[connectivities.indices], n)
            touching = np.bincount(codes[strangers > 0], minlength=codes.max() + 1)
            among = np.bincount(codes[2 * strangers > np.bincount(rows, minlength=n)], minlength=len(touching))
            sizes, shares = np.bincount(codes), among / np.maximum(touching, 1)
            overlap = bool((sizes * shares).sum() > _AMONG[0] * n or (shares[sizes >= _LARGE_GROUP] > _AMONG[1]).any())
        if overlap:
            found[str(column)] = mixed
    return found


def _groups(column: pd.Series, *, telling: bool) -> np.ndarray | None:
    """Codes of a column that may hold samples: text, categories or bools, or whole numbers under a telling name."""
    values = column.dtype
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and not telling:
        return None
    if pd.api.types.is_object_dtype(values):
        column = column.map(str, na_action="ignore")
    codes = pd.factorize(column)[0]
    n_groups = codes.max(initial=-1) + 1
    if not 1 < n_groups <= len(codes) / _FEWEST_IN_GROUP or (codes < 0).mean() > _MISSING:
        return None
    return np.where(codes < 0, n_groups, codes)
