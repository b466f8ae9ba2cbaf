"""Spots by group: domains, conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from spotscape._core.validation import natural_order, require_key, require_names

if TYPE_CHECKING:
    from anndata import AnnData


def read_groups(adata: AnnData, key: str, *, argument: str, hint: str = "") -> pd.Categorical:
    """A column of ``obs`` as :func:`as_groups` makes it; refuses one without any value."""
    require_key(adata.obs, key, "adata.obs", hint=hint)
    found = as_groups(adata.obs[key], f"{argument}={key!r}")
    if not len(found.categories):
        msg = f"adata.obs[{key!r}] is missing for all spots."
        raise ValueError(msg)
    return found


def as_groups(column: pd.Series, where: str, *, unused: bool = False) -> pd.Categorical:
    """A column as categories that are texts, those that occur or all; missing values stay missing.

    The order is the one that is given, else the natural one. Whole numbers and bools are names too; fractions, and what
    cannot be a category, are refused.
    """
    given = isinstance(column.dtype, pd.CategoricalDtype)
    values = column if given else column.astype(object).where(column.notna(), None)
    require_names(values, where)
    if not given and any(isinstance(value, float) for value in values):
        msg = f"{where} names numbers ({column.dtype}), expected groups; call .astype('category') if it is."
        raise TypeError(msg)
    found = pd.Categorical(values if given else values.map(_name, na_action="ignore"))
    found = found if unused else found.remove_unused_categories()
    names = [_name(name) for name in found.categories]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{where} has two groups that are both written {twice!r}; give them different names."
        raise ValueError(msg)
    renamed = found.rename_categories(dict(zip(found.categories, names, strict=True)))
    return renamed.reorder_categories(names if given else natural_order(names))


def _name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
