"""Find the domains of spatial transcriptomics tissue, in one slice or in several, on AnnData and SpatialData.

A first analysis, of a file or of the output folder of an instrument::

    import spotscape as sp

    adata = sp.read("outs")
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.smoothed_pca(adata)
    sp.tl.domains(adata)
    sp.pl.domains(adata)
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spotscape._core.settings import settings

if TYPE_CHECKING:
    from spotscape import datasets, get, metrics, models, nn, pl, pp, tl
    from spotscape.readers import read

__version__ = version("spotscape")

_SUBPACKAGES = ("datasets", "get", "metrics", "models", "nn", "pl", "pp", "tl")

__all__ = ["__version__", "datasets", "get", "metrics", "models", "nn", "pl", "pp", "read", "settings", "tl"]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"spotscape.{name}")
    if name == "read":
        return import_module("spotscape.readers").read
    msg = f"module 'spotscape' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
