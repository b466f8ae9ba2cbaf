"""Spots by group: domains, conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from anndata import AnnData


def read_groups(adata: AnnData, key: str, *, argument: str, hint: str = "") -> pd.Categorical:
    """A column of ``obs`` as categories named by strings, those that occur; missing values stay missing."""
    require_key(adata.obs, key, "adata.obs", hint=hint)
    column = adata.obs[key]
    if pd.api.types.is_float_dtype(column):
        msg = f"{argument}={key!r} names numbers ({column.dtype}), expected groups; call .astype('category') if it is."
        raise TypeError(msg)
    values = pd.Categorical(column).remove_unused_categories()
    if not len(values.categories):
        msg = f"adata.obs[{key!r}] is missing for all spots."
        raise ValueError(msg)
    return values.rename_categories(str)
