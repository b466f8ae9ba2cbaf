"""The labelled tissues that benchmarks run on, prepared once in the same way for every method."""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData

TISSUES = ("starmap", "dlpfc_151673", "dlpfc_151675", "simulated_layers", "simulated_islands")
SPACROSS_GENES = "highly_variable_spacross"


def load(name: str) -> AnnData:
    """Return a tissue with log-normalised expression and its spatial graph of the 6 nearest neighbours."""
    adata = _read(name)
    sp.pp.prepare(adata)
    mark_for_spacross(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    return adata


def prepare_slices(adata: AnnData, aligned: str | None = None) -> None:
    """Prepare several slices and build their graphs, within slices and between them.

    The graph between slices lies on the coordinates `aligned`; without them the slices are registered.
    """
    sp.pp.prepare(adata, library_key="slice")
    mark_for_spacross(adata, "slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    if aligned is None:
        sp.pp.register_slices(adata, library_key="slice")
    with warnings.catch_warnings():
        # Neighbours within and between slices are numbered apart, so the gap decides nothing but the order.
        warnings.filterwarnings("ignore", message="the slices lie at most")
        stacked = aligned or "spatial_aligned"
        sp.pp.spatial_neighbors_3d(adata, library_key="slice", spatial_key=stacked, slice_gap=1.0)


def mark_for_spacross(adata: AnnData, library_key: str | None = None) -> None:
    """Mark the genes of SpaCross's recipe beside those of the default one; both recipes normalise alike."""
    other = sp.pp.prepare(adata, layer="counts", recipe="spacross", library_key=library_key, copy=True)
    adata.var[SPACROSS_GENES] = other.var["highly_variable"]


def annotations(adata: AnnData) -> list[str]:
    """Columns with a known annotation; for scoring only."""
    return [column for column in ("domain", "domain_banksy") if column in adata.obs]


def hardware() -> dict[str, str | int]:
    """What a number was measured with."""
    return {
        "spotscape": version("spotscape"),
        "torch": version("torch"),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }


def _read(name: str) -> AnnData:
    if name == "starmap":
        return sp.datasets.starmap()
    if name.startswith("dlpfc_"):
        import scanpy as sc

        adata = sp.datasets.dlpfc(name.removeprefix("dlpfc_"))
        sc.pp.filter_genes(adata, min_counts=1)
        return adata
    layout = name.removeprefix("simulated_")
    return sp.datasets.simulate_tissue(n_domains=7, n_spots=3000, n_genes=1000, layout=layout, random_state=1)


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
