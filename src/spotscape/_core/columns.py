"""Metrics on an AnnData: names of columns, embeddings, graphs and layers where arrays are expected."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from spotscape._core.validation import require_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

# Where the values of a parameter lie in an AnnData, and a name that they often have there.
_HOMES = {
    "labels_true": ("obs", "domain"),
    "labels_pred": ("obs", "spotscape_domain"),
    "labels_transferred": ("obs", "spotscape_match"),
    "labels": ("obs", "spotscape_domain"),
    "library": ("obs", "slice"),
    "coordinates": ("obsm", "spatial"),
    "embedding": ("obsm", "X_spotscape"),
    "graph": ("obsp", "spatial_connectivities"),
    "truth": ("layers", "counts"),
    "imputed": ("layers", "imputed"),
}


def homes_of(function: Callable[..., Any]) -> dict[str, str]:
    """The parameters of a metric that may be names, with the part of an AnnData in which they are looked up."""
    if not function.__module__.startswith("spotscape.metrics."):
        return {}
    return {name: _HOMES[name][0] for name in inspect.signature(function).parameters if name in _HOMES}


def is_given(args: Sequence[Any]) -> bool:
    """Whether the first argument of a call is an AnnData; nothing is imported to find out."""
    module = sys.modules.get("anndata")
    return bool(args) and module is not None and isinstance(args[0], module.AnnData)


def look_up(
    function: Callable[..., Any], homes: Mapping[str, str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call ``metric(adata, "domain", ...)`` by name, with arrays instead of names."""
    adata: AnnData = args[0]
    given = inspect.signature(function).bind(*args[1:], **kwargs).arguments
    return {name: _values(adata, homes[name], value) if name in homes else value for name, value in given.items()}


def _values(adata: AnnData, home: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    held = getattr(adata, home)
    require_key(held, value, f"adata.{home}")
    return held[value]


def announce(function: Callable[..., Any], homes: Mapping[str, str]) -> None:
    """Say in the docstring of a metric that names work as well."""
    # Python 3.13 strips the indentation of docstrings when it compiles them, earlier ones do not.
    summary, blank, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.name in homes
    ]
    names = ", ".join(f'"{_HOMES[name][1]}"' for name in required)
    function.__doc__ = (
        f"{summary}\n\nGive an AnnData first to name what it holds instead of passing arrays:\n"
        f"``sp.metrics.{function.__name__}(adata, {names})``.{blank}{rest}"
    )
