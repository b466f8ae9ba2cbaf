"""The gallery of the documentation: every plot on real tissue.

``python benchmarks/gallery.py`` reads the folder that ``SPOTSCAPE_DATA`` names, trains, and writes the pictures and
``docs/gallery.md``. ``--embeddings FOLDER`` keeps embeddings from run to run, ``--only NAME`` draws one plot.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from anndata import AnnData, read_h5ad

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_static" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"
EMBEDDINGS: list[Path] = []
HEAD = """# Gallery

Every plot on real tissue. `python benchmarks/gallery.py` makes this page and its pictures from the files in the folder
that `SPOTSCAPE_DATA` names.
"""


def _read(name: str) -> AnnData:
    return read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / f"{name}.h5ad")


def _embed(adata: AnnData, name: str, **options: object) -> None:
    """Train Spotscape, or take what an earlier run has kept."""
    kept = EMBEDDINGS[0] / f"gallery_{name}.npz" if EMBEDDINGS else None
    if kept is not None and kept.is_file():
        adata.obsm.update(dict(np._read(kept)))
        return
    sp.tl.spotscape(adata, **options)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **{key: value for key, value in adata.obsm.items() if key.startswith("X_spotscape")})


@cache
def cortex() -> AnnData:
    """Two Visium slices of one cortex, embedded and registered together."""
    adata = _read("dlpfc_donor3")
    adata = adata[adata.obs["slice"].isin(["151673", "151675"])].copy()
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    _embed(adata, "cortex", library_key="slice")
    sp.tl.domains(adata, n_domains=7)
    sp.pl.match_colors(adata, "spotscape_domain", to="domain")
    return adata


@cache
def cells() -> AnnData:
    """Cells of the visual cortex (STARmap), trained five times."""
    adata = _read("starmap_visual_cortex")
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    _embed(adata, "cells", n_restarts=5)
    reps = [key for key in adata.obsm if key.startswith("X_spotscape")]
    sp.tl.consensus_domains(adata, n_domains=7, use_reps=reps)
    sp.tl.domains(adata, n_domains=7, use_rep="X_spotscape")
    sp.pl.match_colors(adata, ["consensus_domain", "spotscape_domain"], to="domain")
    return adata


@dataclass(frozen=True)
class Entry:
    """A picture: its title, what is to be seen, the call, and what draws it."""

    title: str
    text: str
    call: str
    draw: Callable[[], object]
    dpi: int = 80
