"""What a colour key stands for: categories with colours, or numbers with a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.anndata_io import write
from spotscape._core.validation import require_key
from spotscape.pl._palette import category_colors

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.pl._palette import Palette

# Without these limits a few spots would decide the colours of all others.
_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Categories:
    """Category of every spot (-1: unlabelled), the names and colours of the categories, and how sure each spot is.

    ``confidence`` lies between 0 and 1, NaN counting as 0; ``None`` shows all spots in full colour.
    """

    key: str
    codes: np.ndarray
    names: list[str]
    colors: list[str]
    confidence: np.ndarray | None = None


@dataclass(frozen=True)
class Numbers:
    """A number for every spot (NaN: unknown), and the ends of the colour scale."""

    key: str
    values: np.ndarray
    vmin: float
    vmax: float


def read_values(
    adata: AnnData,
    key: str,
    *,
    layer: str | None,
    palette: Palette | None,
    vmin: float | None,
    vmax: float | None,
) -> Categories | Numbers:
    """Read a column of ``obs`` or a gene. Colours of categories are kept in ``uns`` as scanpy does."""
    if key in adata.obs:
        column = adata.obs[key]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            return _categories(adata, key, column, palette)
        return _numbers(key, column.to_numpy(dtype=np.float64), vmin, vmax)
    if key in adata.var_names:
        return _numbers(key, _gene(adata, key, layer), vmin, vmax)
    existing = ", ".join(repr(str(name)) for name in adata.obs) or "nothing"
    msg = (
        f"color={key!r} is neither a column of adata.obs, which has: {existing}; nor one of the {adata.n_vars} genes "
        f"in adata.var_names."
    )
    raise KeyError(msg)


def read_confidence(adata: AnnData, key: str) -> np.ndarray:
    """A column of ``obs`` with numbers between 0 and 1; unknown ones are 0."""
    require_key(adata.obs, key, "adata.obs", hint="sp.tl.consensus_domains and sp.tl.domains(method='gmm') write one")
    column = adata.obs[key]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        msg = f"adata.obs[{key!r}] has dtype {column.dtype}; confidence must be numbers between 0 and 1."
        raise TypeError(msg)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.nanmin(values, initial=0) < 0 or np.nanmax(values, initial=0) > 1:
        msg = f"adata.obs[{key!r}] lies between {np.nanmin(values):g} and {np.nanmax(values):g}; expected 0 to 1."
        raise ValueError(msg)
    known: np.ndarray = np.nan_to_num(values)
    return known


def _categories(adata: AnnData, key: str, column: pd.Series, palette: Palette | None) -> Categories:
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    values = pd.Categorical(column if categorical else column.astype("string"))
    names = [str(name) for name in values.categories]
    colors, store = category_colors(adata, key, names, palette)
    # Colours belong to categories; and writing to a view would copy it behind the user's back.
    if store and categorical and not adata.is_view:
        write(adata, {"uns": {f"{key}_colors": colors}}, log=False)
    return Categories(key, np.asarray(values.codes), names, colors)


def _gene(adata: AnnData, key: str, layer: str | None) -> np.ndarray:
    if layer is not None:
        require_key(adata.layers, layer, "adata.layers")
    matrix = adata.X if layer is None else adata.layers[layer]
    column = matrix[:, [adata.var_names.get_loc(key)]]
    return np.asarray(column.todense() if sparse.issparse(column) else column, dtype=np.float64).ravel()


def _numbers(key: str, values: np.ndarray, vmin: float | None, vmax: float | None) -> Numbers:
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _PERCENTILES) if finite.size else (0.0, 1.0)
    if low == high and finite.size:
        low, high = finite.min(), finite.max()
    return Numbers(key, values, float(low if vmin is None else vmin), float(high if vmax is None else vmax))
