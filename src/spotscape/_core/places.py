"""The coordinates of an AnnData, checked; and where a file keeps them if they are not in ``obsm["spatial"]``."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.keys import SPATIAL
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from anndata import AnnData

# Columns in which platforms and R packages write the place of a spot or cell, x before y, in whatever case.
_PAIRS = (
    ("x", "y"),
    ("x_centroid", "y_centroid"),
    ("center_x", "center_y"),
    ("centerx_global_px", "centery_global_px"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("imagecol", "imagerow"),
    ("spatial_1", "spatial_2"),
)
# The same in any other name: a letter of its own, or a column of an image.
_ACROSS = re.compile(r"(?<![A-Za-z])[xX](?![A-Za-z])|(?<=[a-z])X(?![a-z])|(?<=[a-z])x$|^[xX](?=[a-z])|[cC]ol(?:umn)?")
# Pairs that are no place on a slide, but within a field of view, at the edge of a cell, or in another space.
_NO_PLACE = re.compile(r"(?i)umap|tsne|min|max|local|fov|tile|grid|array|ccf|std|size|width")
_DOWN = {"x": "y", "X": "Y", "col": "row", "Col": "Row", "column": "row", "Column": "Row"}
_OF_OBSM = re.compile(
    r"(?i)(X_)?(spatial|coords?|coordinates?|centroids?|xy)(_?(coords|coordinates|loc(ation)?s?|xy|[23]d|um|px))?"
)
# Numbers of the column and row of a spot; and names of spots that consist of them, as of ST and DBiT-seq. R puts an X
# before names that begin with a number.
_NUMBERS = (("array_col", "array_row"),)
_GRID_NAME = r"(?:.*[^a-zA-Z0-9.]|X)?[0-9]+(?:[.][0-9]+)?x[0-9]+(?:[.][0-9]+)?(?:[^a-zA-Z0-9.].*)?"
# Without a backslash, which the message of a KeyError would double.
_PARTS = "([0-9.]+)x([0-9.]+)"
# A few places have this pattern by chance. No slide has more columns.
_FEWEST_PLACES, _MOST_NUMBERS = 20, 2000
# Squares of larger numbers, and of smaller extents, leave the range of double precision.
_LARGEST, _SMALLEST = 1e100, 1e-100
_POSITIONS = (
    "If they are of tissue_positions.csv, read it with its header and with barcodes as the index, "
    "positions = pd.read_csv(path, index_col='barcode'), and take "
    "positions.loc[adata.obs_names, ['pxl_col_in_fullres', 'pxl_row_in_fullres']].to_numpy()"
)


def coordinates(adata: AnnData, spatial_key: str = SPATIAL) -> np.ndarray:
    """The coordinates as a finite float64 array of shape ``(n_obs, 2)``, or ``(n_obs, 3)`` where z differs."""
    require_key(adata.obsm, spatial_key, "adata.obsm", hint="" if spatial_key in adata.obsm else _where_else(adata))
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
    largest, extent = np.abs(coords).max(initial=0.0), np.ptp(coords, axis=0).max(initial=0.0)
    if largest > _LARGEST or 0 < extent < _SMALLEST:
        msg = (
            f"{where} holds values up to {largest:.3g} that spread over {extent:.3g}; distances cannot be computed in "
            f"that range. Bring the coordinates to micrometres or pixels."
        )
        raise ValueError(msg)
    # Registered coordinates have a record of the same name.
    mend = "sp.pp.register_slices(adata, library_key=...)"
    warn_if_changed(adata, adata.uns.get(spatial_key), f"the registration {spatial_key!r}", mend)
    return coords


def _where_else(adata: AnnData) -> str:
    found, other = (
        places_elsewhere(adata),
        next((key for key in map(str, adata.obsm) if "spatial" in key.lower()), None),
    )
    named = "adata.obs[['x', 'y']].to_numpy(), with your names of these columns"
    source = found[1] if found is not None else named if other is None else f"adata.obsm[{other!r}]"
    return f"Put the x and y of each spot there: adata.obsm['spatial'] = {source}"


def places_elsewhere(adata: AnnData) -> tuple[Any, str] | None:
    """Coordinates that are not in ``obsm["spatial"]``, and the Python that gives them; ``None`` if none are found.

    They are in ``obsm`` under another name, in columns of ``obs``, or in the names of the spots.
    """
    other = next((key for key in map(str, adata.obsm) if key != SPATIAL and _OF_OBSM.fullmatch(key)), None)
    if other is not None:
        return adata.obsm[other], f"adata.obsm[{other!r}]"
    columns = columns_of_places(adata.obs, numbers=True)
    if columns:
        values, source = adata.obs[columns].to_numpy(), f"adata.obs[{columns}].to_numpy()"
        if values.dtype.kind not in "fiu":
            # Numbers that were read beside a line of text, or with gaps.
            with suppress(TypeError, ValueError):
                values, source = values.astype(float), f"{source}.astype(float)"
        if are_numbers_of_hexagons(values):
            return values * [1, 3**0.5], f"{source} * [1, 3**0.5]"
        return values, source
    if are_grid_names(adata.obs_names):
        source = f"adata.obs_names.str.extract('{_PARTS}').astype(float).to_numpy()"
        return adata.obs_names.astype(str).str.extract(_PARTS).astype(float).to_numpy(), source
    return None


def are_grid_names(names: pd.Index) -> bool:
    """Whether the names of spots are their places, such as 10x12."""
    return len(names) > 0 and bool(names.astype(str).str.fullmatch(_GRID_NAME).all())


def columns_of_places(table: pd.DataFrame, *, numbers: bool = False) -> list[str]:
    """The columns that hold x and y, by a usual name or as the only pair of such columns; else none.

    With ``numbers``, the numbers of the column and row of a spot in its grid will do.

    >>> columns_of_places(pd.DataFrame(columns=["imagerow", "imagecol"]))
    ['imagecol', 'imagerow']
    >>> columns_of_places(pd.DataFrame(columns=["fov_x", "fov_y", "Centroid_Y", "Centroid_X"]))
    ['Centroid_X', 'Centroid_Y']
    """
    names = {str(name).lower(): str(name) for name in table}
    usual = (*_PAIRS, *(_NUMBERS if numbers else ()))
    pairs = [[names[x], names[y]] for x, y in usual if x in names and y in names]
    others = [] if pairs else list(_pairs(names.values()))
    return pairs[0] if pairs else others[0] if len(others) == 1 else []


def _pairs(names: Collection[str]) -> Iterator[list[str]]:
    """Columns of which one is called after x, or the column of an image, as the other after y, or the row."""
    for name in names:
        other = _ACROSS.sub(lambda found: _DOWN[found[0]], name)
        if other != name and other in names and not _NO_PLACE.search(name):
            yield [name, other]


def are_numbers_of_hexagons(values: np.ndarray) -> bool:
    """Whether places are numbers of columns and rows of a hexagonal grid, such as Visium's: 0 and 0, 1 and 1, 2 and 0.

    Rows lie √3 times as far apart as columns of such numbers, which by themselves look like a square grid.
    """
    if values.dtype.kind not in "fiu" or values.shape[1] != 2 or len(values) < _FEWEST_PLACES:
        return False
    whole = values.astype(np.float64)
    if not np.isfinite(whole).all() or (whole != np.floor(whole)).any() or np.abs(whole).max() > _MOST_NUMBERS:
        return False
    steps = (whole - whole[0]).astype(np.int64)
    return not (steps.sum(axis=1) % 2).any() and bool((steps % 2).any())


def _numbers(values: Any, adata: AnnData, where: str) -> np.ndarray:
    """Any table as float64, NaN where a value is missing; refuses text, and names its first row."""
    if isinstance(values, pd.DataFrame):
        pair = columns_of_places(values)
        # A table may have y, or the row, first. A third column is z.
        height = [name for name in values if name not in pair] if values.shape[1] == 3 else []
        table = values[[*pair, *height]] if pair else values
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


def off_tissue(adata: AnnData) -> np.ndarray:
    """Which spots lie outside the tissue, as ``obs["in_tissue"]`` says, bool ``(n_obs,)``."""
    if "in_tissue" not in adata.obs:
        return np.zeros(adata.n_obs, bool)
    return np.asarray(adata.obs["in_tissue"].astype(str).isin(["0", "0.0", "False"]))
