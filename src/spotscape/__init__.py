"""spotscape: domains, integration, registration and matching of tissue slices on AnnData."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spotscape._core.settings import settings

if TYPE_CHECKING:
    from spotscape import datasets, get, metrics, models, nn, pl, pp, tl

__version__ = version("spotscape")

_SUBPACKAGES = ("datasets", "get", "metrics", "models", "nn", "pl", "pp", "tl")

__all__ = ["__version__", "datasets", "get", "metrics", "models", "nn", "pl", "pp", "settings", "tl"]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"spotscape.{name}")
    msg = f"module 'spotscape' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
