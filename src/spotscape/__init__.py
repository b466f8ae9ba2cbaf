"""Find the domains of spatial transcriptomics tissue, in one slice or in several, on AnnData and SpatialData.

A first analysis, from raw counts in ``adata.X`` and coordinates in ``adata.obsm["spatial"]``::

    import spotscape as sp

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
