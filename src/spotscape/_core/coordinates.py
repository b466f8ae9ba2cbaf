"""Coordinates out of an AnnData, in whatever form a file or a table brings them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.logging import logger, warn
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from anndata import AnnData

# Columns in which platforms write the place of a spot or cell, x before y.
_PAIRS = (
    ("x", "y"),
    ("X", "Y"),
    ("x_centroid", "y_centroid"),
    ("center_x", "center_y"),
    ("CenterX_global_px", "CenterY_global_px"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
)
# Squares of larger numbers, and of smaller extents, leave the range of double precision.
_LARGEST, _SMALLEST = 1e100, 1e-100
_POSITIONS = (
    "If they are of tissue_positions.csv, read it with its header and with barcodes as the index, "
    "positions = pd.read_csv(path, index_col='barcode'), and take "
    "positions.loc[adata.obs_names, ['pxl_col_in_fullres', 'pxl_row_in_fullres']].to_numpy()"
)


def coordinates(adata: AnnData, spatial_key: str = "spatial") -> np.ndarray:
    """The coordinates as a finite float64 array of shape ``(n_obs, 2)``, or ``(n_obs, 3)`` where z differs."""
    require_key(adata.obsm, spatial_key, "adata.obsm", hint=_hint(adata))
    where = f"adata.obsm[{spatial_key!r}]"
    coords = _plane(_numbers(adata.obsm[spatial_key], adata, where), where)
    broken = ~np.isfinite(coords).all(axis=1)
    if broken.any():
        first = adata.obs_names[broken.argmax()]
        msg = (
            f"{where} has NaN or infinite coordinates in {broken.sum()} of {len(coords)} spots (first: {first!r}); "
            f"remove them: adata = adata[np.isfinite({where}).all(axis=1)].copy()."
        )
        raise ValueError(msg)
    if coords.shape[1] == 3 and len(coords) > 1 and np.ptp(coords[:, 2]) == 0:
        logger.info("The third coordinate in `%s` is %g for all spots, so the first two are used.", where, coords[0, 2])
        coords = np.ascontiguousarray(coords[:, :2])
    _check_range(coords, where)
    # Registered coordinates have a record of the same name.
    mend = "sp.pp.register_slices(adata, library_key=...)"
    warn_if_changed(adata, adata.uns.get(spatial_key), f"the registration {spatial_key!r}", mend)
    return coords


def _hint(adata: AnnData) -> str:
    columns = next((pair for pair in _PAIRS if set(pair) <= set(map(str, adata.obs.columns))), ("x", "y"))
    return f"Put the x and y of each spot there: adata.obsm['spatial'] = adata.obs[{list(columns)}].to_numpy()"


def _numbers(values: Any, adata: AnnData, where: str) -> np.ndarray:
    """Any table as float64, NaN where a value is missing; refuses text, and names its first row."""
    if isinstance(values, pd.DataFrame):
        pair = next((pair for pair in _PAIRS if set(pair) <= set(values.columns)), None)
        table = values if pair is None or values.shape[1] <= 3 else values[list(pair)]
    else:
        array = values.toarray() if sparse.issparse(values) else values
        array = np.ma.filled(array.astype(float), np.nan) if np.ma.isMaskedArray(array) else np.asarray(array)
        if array.ndim != 2 or array.dtype.kind not in "fiubOUST":
            msg = f"{where} has shape {array.shape} and dtype {array.dtype}; expected numbers (n_obs, 2) or (n_obs, 3)."
            raise ValueError(msg)
        if array.dtype.kind in "fiub":
            return np.asarray(array, dtype=np.float64).copy()
        table = pd.DataFrame(array)
    parsed = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = (np.isnan(parsed) & ~table.isna().to_numpy()).any(axis=1)
    if text.any():
        row = int(text.argmax())
        msg = (
            f"{where} has text where numbers are expected, in {text.sum()} of {len(text)} rows; the first is that of "
            f"{adata.obs_names[row]!r}: {[str(v) for v in table.iloc[row]]}. {_POSITIONS}."
        )
        raise ValueError(msg)
    return np.asarray(parsed)


def _plane(values: np.ndarray, where: str) -> np.ndarray:
    """Two or three columns; of the five that Space Ranger writes beside the barcode, the last two."""
    n_columns = values.shape[1]
    if n_columns in (2, 3):
        return values
    if n_columns in (5, 6) and set(np.unique(values[:, -5])) <= {0.0, 1.0}:
        warn(
            f"{where} has {n_columns} columns, which look like those of tissue_positions.csv; the last two are taken "
            f"as y and x in pixels. To be sure, keep only x and y there."
        )
        return np.ascontiguousarray(values[:, [-1, -2]])
    msg = f"{where} has {n_columns} columns; expected x and y, or x, y and z. Keep only those. {_POSITIONS}."
    raise ValueError(msg)


def _check_range(coords: np.ndarray, where: str) -> None:
    largest, extent = np.abs(coords).max(initial=0.0), np.ptp(coords, axis=0).max(initial=0.0)
    if largest > _LARGEST or 0 < extent < _SMALLEST:
        msg = (
            f"{where} holds values up to {largest:.3g} that spread over {extent:.3g}; distances cannot be computed in "
            f"that range. Bring the coordinates to micrometres or pixels."
        )
        raise ValueError(msg)


def off_tissue(adata: AnnData) -> int:
    """Number of spots that ``obs["in_tissue"]`` says lie outside the tissue."""
    if "in_tissue" not in adata.obs:
        return 0
    return int(adata.obs["in_tissue"].astype(str).isin(["0", "0.0", "False"]).sum())
