"""Slices in three dimensions: the z of each, given or from the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core import geometry
from spotscape._core.logging import logger, warn
from spotscape._core.validation import require_data, require_key, slices_in_order
from spotscape.pp._graph_build import SlicePositions

if TYPE_CHECKING:
    from anndata import AnnData

# A gap is believed between a hundredth of the spot spacing and the diameter of the largest slice.
_LEAST_GAP_IN_SPACINGS = 0.01
# Cells of one tissue differ in density by less; pixels and micrometres, or two platforms, by more.
_SPACING_RATIO = 3.0


def read_stack(
    adata: AnnData,
    *,
    library_key: str | None,
    spatial_key: str,
    z_key: str | None,
    slice_gap: float | Sequence[float] | None,
    library_order: Sequence[str] | None,
) -> SlicePositions:
    """Slices in three dimensions from bottom to top, or a single one with a z for every spot."""
    require_data(adata, genes=False)
    hint = ""
    if "spatial" in adata.obsm:
        hint = (
            "Register the slices first: sp.pp.register_slices(adata, library_key=...); or, if they lie over each "
            "other as they are, pass spatial_key='spatial'"
        )
    require_key(adata.obsm, spatial_key, "adata.obsm", hint=hint)
    plane = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    if len(plane.slices) < 2 and z_key is None and plane.slices[0].shape[1] == 2:
        found = "no library_key is given" if library_key is None else f"adata.obs[{library_key!r}] holds one slice"
        msg = (
            f"{found}, and adata.obsm[{spatial_key!r}] has two coordinates. A graph in 3-D joins several slices "
            f"(library_key=...), or cells with three coordinates or a z_key. Use sp.pp.spatial_neighbors_knn for a "
            f"single slice."
        )
        raise ValueError(msg)
    warn_of_units(plane)
    if slice_gap is None and library_order is not None:
        msg = "library_order goes with slice_gap only; where z is given, the slices are in the order of their z."
        raise ValueError(msg)
    if slice_gap is None:
        heights = _given_heights(adata, plane, z_key)
    else:
        heights = _stacked_heights(plane, z_key, slice_gap, library_order)
    levels = np.array([z.mean() for z in heights])
    order = np.argsort(levels, kind="stable").tolist()
    slices = tuple(np.column_stack([xy[:, :2], z]) for xy, z in zip(plane.slices, heights, strict=True))
    stack = replace(plane, slices=slices).take(order)
    if len(order) > 1:
        _warn_of_gap(plane, np.diff(levels[order]))
        logger.info("Slices from the lowest z up: %s.", ", ".join(map(str, stack.names)))
    return stack


def warn_of_units(tissue: SlicePositions) -> None:
    """Warn if the spots of one slice lie much farther apart than those of another."""
    spacings = geometry.spacing_by_slice(tissue.slices)
    finite = np.where(np.isfinite(spacings) & (spacings > 0), spacings, np.nan)
    if np.isnan(finite).all() or np.nanmax(finite) <= _SPACING_RATIO * np.nanmin(finite):
        return
    low, high = int(np.nanargmin(finite)), int(np.nanargmax(finite))
    warn(
        f"the spots of {tissue.called(tissue.names[high])} lie {finite[high]:.4g} apart and those of "
        f"{tissue.called(tissue.names[low])} {finite[low]:.4g}; unless the platforms differ, adata.obsm"
        f"[{tissue.spatial_key!r}] holds different units (pixels and micrometres?). Bring all slices to one unit."
    )


def _given_heights(adata: AnnData, plane: SlicePositions, z_key: str | None) -> list[np.ndarray]:
    """Heights from a column of ``obs`` or from the third coordinate."""
    own = plane.slices[0].shape[1] == 3
    if z_key is None and not own:
        msg = (
            f"neither slice_gap nor z_key is given, and without them all slices would lie on one plane. Give "
            f"slice_gap=..., the distance from one slice to the next in the unit of adata.obsm[{plane.spatial_key!r}] "
            f"(where spots lie {widest_spacing(plane):.4g} apart), or z_key=..., a column of adata.obs with the z of "
            f"each spot."
        )
        raise ValueError(msg)
    if z_key is not None and own:
        msg = f"adata.obsm[{plane.spatial_key!r}] has a third coordinate already; leave z_key={z_key!r} out."
        raise ValueError(msg)
    if z_key is None:
        heights = [xyz[:, 2] for xyz in plane.slices]
    else:
        require_key(adata.obs, z_key, "adata.obs", hint="z_key names the column with the z of each spot")
        column = adata.obs[z_key]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            msg = (
                f"adata.obs[{z_key!r}] has dtype {column.dtype}, expected numbers; call "
                f"adata.obs[{z_key!r}] = adata.obs[{z_key!r}].astype(float)."
            )
            raise TypeError(msg)
        z: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(z).all():
            msg = (
                f"adata.obs[{z_key!r}] is NaN or infinite for {np.count_nonzero(~np.isfinite(z))} of {len(z)} spots; "
                f"give every spot its z, or remove those spots."
            )
            raise ValueError(msg)
        heights = [z[rows] for rows in plane.rows]
    low, high = min(part.min() for part in heights), max(part.max() for part in heights)
    if low == high:
        where = f"adata.obsm[{plane.spatial_key!r}][:, 2]" if z_key is None else f"adata.obs[{z_key!r}]"
        msg = f"{where} is {low:g} for all spots, so all slices lie on one plane; give each its z, or slice_gap=..."
        raise ValueError(msg)
    return heights


def _stacked_heights(
    plane: SlicePositions,
    z_key: str | None,
    slice_gap: float | Sequence[float],
    library_order: Sequence[str] | None,
) -> list[np.ndarray]:
    """One height per slice, the lowest at zero."""
    if z_key is not None or plane.slices[0].shape[1] == 3:
        source = f"z_key={z_key!r}" if z_key is not None else f"the third coordinate of {plane.spatial_key!r}"
        msg = f"slice_gap={slice_gap!r} and {source} both say where the slices lie; give one of them."
        raise ValueError(msg)
    names = [str(name) for name in plane.names]
    order = [names.index(name) for name in slices_in_order(names, library_order, plane.library_key)]
    expected = len(names) - 1
    gaps = list(slice_gap) if isinstance(slice_gap, Sequence) else [slice_gap] * expected
    if len(gaps) != expected:
        msg = (
            f"slice_gap has {len(gaps)} values for {len(names)} slices; give one number, or {expected}: from each "
            f"slice to the next."
        )
        raise ValueError(msg)
    levels = np.zeros(len(order))
    levels[order] = np.concatenate([[0.0], np.cumsum(gaps)])
    return [np.full(len(xy), level) for xy, level in zip(plane.slices, levels, strict=True)]


def _warn_of_gap(plane: SlicePositions, gaps: np.ndarray) -> None:
    across = max(float(np.linalg.norm(np.ptp(xy[:, :2], axis=0))) for xy in plane.slices)
    spacing = widest_spacing(plane)
    if gaps.max() > across:
        compared = f"up to {gaps.max():.4g} apart in z, but the largest is only {across:.4g} across"
    elif gaps.max() < _LEAST_GAP_IN_SPACINGS * spacing:
        compared = f"at most {gaps.max():.4g} apart in z, but their spots {spacing:.4g}"
    else:
        return
    warn(f"the slices lie {compared}; is z in the unit of adata.obsm[{plane.spatial_key!r}]?")


def widest_spacing(plane: SlicePositions) -> float:
    spacings = geometry.spacing_by_slice(xy[:, :2] for xy in plane.slices)
    return float(np.max(spacings[np.isfinite(spacings)], initial=0.0))
