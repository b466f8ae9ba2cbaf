"""The gallery of the documentation: every plot on real tissue.

``python benchmarks/gallery.py`` reads the folder that ``SPOTSCAPE_DATA`` names, trains, and writes the pictures and
``docs/gallery.md``. ``--embeddings FOLDER`` keeps embeddings from run to run, ``--only NAME`` draws one plot.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData, read_h5ad
from PIL import Image

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_static" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"
EMBEDDINGS: list[Path] = []
HEAD = """# Gallery

This page shows every plot on real tissue, with the code that draws it. `python benchmarks/gallery.py` makes the
page and its pictures from the files in the folder that `SPOTSCAPE_DATA` names.
"""


def _read(name: str) -> AnnData:
    return read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / f"{name}.h5ad")


def _embed(adata: AnnData, name: str, **options: object) -> None:
    """Train Spotscape, or take what an earlier run has kept."""
    kept = EMBEDDINGS[0] / f"gallery_{name}.npz" if EMBEDDINGS else None
    if kept is not None and kept.is_file():
        adata.obsm.update(dict(np.load(kept)))
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


@cache
def sections() -> AnnData:
    """Three sections of a mouse cortex (Molecular Cartography), registered; embedded by smoothing, which is instant."""
    adata = _read("molcart_mouse_cortex_3slices")
    sp.pp.prepare(adata, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, n_neighs=15, library_key="slice")
    sp.tl.smoothed_pca(adata, library_key="slice")
    sp.tl.domains(adata, n_domains=8, use_rep="X_smoothed_pca", key_added="domain")
    sp.pp.register_slices(adata, library_key="slice", use_rep="X_smoothed_pca")
    return adata


def one(adata: AnnData, name: str) -> AnnData:
    """One slice, with colours and records."""
    return adata[adata.obs["slice"] == name].copy()


def anchors(adata: AnnData) -> list[str]:
    """A spot of white matter and one of the upper layers, each the middle of its domain in the first slice."""
    found = []
    for layer in ("WM", "Layer_3"):
        rows = np.flatnonzero((adata.obs["domain"] == layer) & (adata.obs["slice"] == "151673"))
        plane = adata.obsm["spatial"][rows]
        found.append(adata.obs_names[rows[((plane - np.median(plane, axis=0)) ** 2).sum(axis=1).argmin()]])
    return found


def draw_marker_plots(kind: str) -> None:
    """Markers of the annotated layers of one slice."""
    adata = one(cortex(), "151673")
    adata = adata[adata.obs["domain"].notna()].copy()
    sp.tl.markers(adata, key="domain")
    sp.pl.markers(adata, kind=kind, n_genes=1 if kind == "tissue" else 3)


def draw_trajectory() -> None:
    """From white matter to the surface."""
    adata = one(cortex(), "151673")
    adata = adata[adata.obs["domain"].notna()].copy()
    sp.tl.trajectory(adata, root="WM", key="domain")
    sp.pl.trajectory(adata)


def draw_matching() -> None:
    """Each spot of a slice with its best match in the other."""
    adata = cortex()
    sp.tl.match_slices(adata, library_key="slice", reference="151673", use_rep="X_spotscape", labels_key="domain")
    sp.pl.matching(adata)


def draw_registration() -> None:
    """Two of the sections, so that both can be seen."""
    adata = sections()
    names = list(adata.obs["slice"].cat.categories[:2])
    adata = adata[adata.obs["slice"].isin(names)].copy()
    adata.obs["slice"] = adata.obs["slice"].cat.remove_unused_categories()
    sp.pp.register_slices(adata, library_key="slice", use_rep="X_smoothed_pca", deform="smooth")
    sp.pl.registration(adata, checkerboard="domain", figsize=(10, 3.2))


@cache
def block() -> AnnData:
    """A thick block of mouse cortex (STARmap), cells with three coordinates."""
    adata = _read("starmap_3d_cortex")
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_3d(adata, n_neighs=12)
    sp.tl.smoothed_pca(adata, neighbors_key="spatial_3d_neighbors", n_comps=10)
    sp.tl.domains(adata, n_domains=6)
    return adata


def draw_volume() -> None:
    """Cells and surfaces side by side, as pyvista shows them."""
    import pyvista as pv

    plotter = pv.Plotter(off_screen=True, shape=(1, 2), window_size=(1500, 560), border=False)
    for index, kind in enumerate(("points", "surface")):
        plotter.subplot(0, index)
        mesh = sp.pl.volume(block(), kind=kind)
        plotter.add_mesh(mesh, scalars="rgb", rgb=True, point_size=5, render_points_as_spheres=kind == "points")
        plotter.camera.zoom(1.25)
    axes = plt.figure(figsize=(12, 4.5)).add_axes((0, 0, 1, 1))
    axes.imshow(plotter.screenshot(return_img=True))
    axes.set_axis_off()


def draw_n_domains() -> None:
    """The number of domains of the visual cortex."""
    sp.tl.choose_n_domains(cells(), use_rep="X_spotscape", k_range=(2, 14))
    sp.pl.n_domains(cells())


def draw_scale() -> None:
    """How far the visual cortex is alike."""
    sp.pp.choose_scale(cells())
    sp.pl.scale(cells())


def draw_composition() -> None:
    """Regions that pathologists drew in tumours of four patients."""
    adata = _read("her2st_4patients")
    sp.pl.composition(adata, "domain", library_key="slice")


@dataclass(frozen=True)
class Entry:
    """A picture: its title, what is to be seen, the call, and what draws it."""

    name: str
    text: str
    call: str
    draw: Callable[[], object]
    dpi: int = 72


ENTRIES = (
    Entry(
        "domains",
        "Annotated layers of two Visium slices of one cortex, and the domains that Spotscape finds in both."
        " Domains have the colours of the layers that they match.",
        'sp.pl.domains(adata, ["domain", "spotscape_domain"])',
        lambda: sp.pl.domains(cortex(), ["domain", "spotscape_domain"]),
    ),
    Entry(
        "genes",
        "Expression of genes on the tissue. With several slices, all have the same colour scale.",
        'sp.pl.domains(adata, ["PLP1", "PCP4"], cmap="magma")',
        lambda: sp.pl.domains(one(cortex(), "151673"), ["PLP1", "PCP4"], cmap="magma"),
    ),
    Entry(
        "cells",
        "Annotated layers and consensus domains of the visual cortex (STARmap). Single cells are drawn as"
        " discs, Visium spots as hexagons, and ST spots as squares.",
        'sp.pl.domains(adata, ["domain", "consensus_domain"], ncols=1)',
        lambda: sp.pl.domains(cells(), ["domain", "consensus_domain"], ncols=1, invert_y=False),
    ),
    Entry(
        "similarity",
        "Similarity of all spots of both slices to a spot of white matter (above) and to a spot of layer 3"
        " (below). A star marks the chosen spot.",
        "sp.pl.similarity(adata, [spot, other_spot])",
        lambda: sp.pl.similarity(cortex(), anchors(cortex())),
    ),
    Entry(
        "embedding",
        "The embedding of both slices, coloured by annotated layers, domains and slices. Domains are"
        " separate, and slices are mixed.",
        "sp.pl.embedding(adata)",
        lambda: sp.pl.embedding(cortex(), ["domain", "spotscape_domain", "slice"]),
    ),
    Entry(
        "markers",
        "Marker genes of the layers, drawn by scanpy's dot plot.",
        'sp.tl.markers(adata, key="domain")\nsp.pl.markers(adata)',
        lambda: draw_marker_plots("dots"),
    ),
    Entry(
        "markers_tissue",
        "The best marker gene of each layer on the tissue.",
        'sp.pl.markers(adata, kind="tissue")',
        lambda: draw_marker_plots("tissue"),
        dpi=50,
    ),
    Entry(
        "confidence",
        "Confidence of domains. Spots fade if five trainings disagree.",
        "sp.tl.spotscape(adata, n_restarts=5)\nsp.tl.consensus_domains(adata, n_domains=7)\nsp.pl.confidence(adata)",
        lambda: sp.pl.confidence(cells(), "consensus_domain", invert_y=False),
    ),
    Entry(
        "disagreement",
        "Spots whose domain differs from the annotation.",
        'sp.pl.disagreement(adata, ["domain", "spotscape_domain"])',
        lambda: sp.pl.disagreement(cortex(), ["domain", "spotscape_domain"]),
    ),
    Entry(
        "crosstab",
        "Overlap of domains and annotated layers.",
        'sp.pl.crosstab(adata, to="domain")',
        lambda: sp.pl.crosstab(cortex(), "spotscape_domain", to="domain"),
    ),
    Entry(
        "composition",
        "Share of each annotated region in four HER2+ tumours.",
        'sp.pl.composition(adata, "domain", library_key="slice")',
        draw_composition,
    ),
    Entry(
        "trajectory",
        "Pseudotime from white matter to the surface of the cortex, and the graph of layers. The dark ring"
        " marks the root.",
        'sp.tl.trajectory(adata, root="WM", key="domain")\nsp.pl.trajectory(adata)',
        draw_trajectory,
    ),
    Entry(
        "matching",
        "A hundred spots of one slice (below) and their best matches in the reference (above). Lines have the"
        " colours of the layers.",
        'sp.tl.match_slices(adata, library_key="slice", reference="151673", labels_key="domain")\n'
        "sp.pl.matching(adata)",
        draw_matching,
    ),
    Entry(
        "registration",
        "Two sections of a mouse cortex before and after registration, a checkerboard of both, and the"
        " deformation of the second section. In the checkerboard, domains continue from field to field.",
        'sp.pp.register_slices(adata, library_key="slice", deform="smooth")\n'
        'sp.pl.registration(adata, checkerboard="domain")',
        draw_registration,
    ),
    Entry(
        "stack_3d",
        "Three registered sections in 3-D.",
        'sp.pl.stack_3d(adata, "domain")',
        lambda: sp.pl.stack_3d(sections(), "domain"),
    ),
    Entry(
        "volume",
        "Cells of a thick block of cortex, and the surfaces of its domains.",
        "sp.pp.spatial_neighbors_3d(adata)\n"
        'sp.tl.smoothed_pca(adata, neighbors_key="spatial_3d_neighbors")\n'
        "sp.tl.domains(adata, n_domains=6)\n"
        'sp.pl.volume(adata, kind="surface", path="domains.ply")',
        draw_volume,
    ),
    Entry(
        "n_domains",
        "Agreement of two embeddings for each number of domains. The number is chosen by this curve.",
        "sp.tl.choose_n_domains(adata)\nsp.pl.n_domains(adata)",
        draw_n_domains,
    ),
    Entry(
        "scale",
        "Share of the variance of a cell that its neighbours predict, for each number of neighbours.",
        "sp.pp.choose_scale(adata)\nsp.pl.scale(adata)",
        draw_scale,
    ),
    Entry(
        "history",
        "Losses of a training in each epoch.",
        "sp.pl.history(adata)",
        lambda: sp.pl.history(trained()),
        dpi=60,
    ),
)


@cache
def trained() -> AnnData:
    """A short training, for its curves."""
    adata = _read("starmap_visual_cortex")
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.spotscape(adata, config=sp.models.SpotscapeConfig(n_encoders=1))
    return adata


def page() -> str:
    """The page of the documentation."""
    parts = [
        f"## {_heading(entry)}\n\n{entry.text}\n\n```python\n{entry.call}\n```\n\n"
        f"![{entry.text}](_static/gallery/{entry.name}.png)\n"
        for entry in ENTRIES
    ]
    return "\n".join([HEAD, *parts])


def _heading(entry: Entry) -> str:
    """The function, as a link, and what of it is shown if that is not all."""
    function = re.findall(r"sp\.pl\.(\w+)", entry.call)[-1]
    shown = entry.name.removeprefix(f"{function}_")
    return f"{{func}}`~spotscape.pl.{function}`" + ("" if shown == function else f": {shown}")


def main() -> None:
    """Draw what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, help="folder that keeps embeddings from run to run")
    parser.add_argument("--only", nargs="*", help="names of plots to draw")
    options = parser.parse_args()
    EMBEDDINGS.extend([options.embeddings] if options.embeddings else [])
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    FOLDER.mkdir(parents=True, exist_ok=True)
    for entry in ENTRIES:
        if options.only and entry.name not in options.only:
            continue
        entry.draw()
        plt.savefig(FOLDER / f"{entry.name}.png", dpi=entry.dpi, bbox_inches="tight")
        plt.close("all")
        _shrink(FOLDER / f"{entry.name}.png")
        print(f"{entry.name}: {(FOLDER / f'{entry.name}.png').stat().st_size / 1024:.0f} kB", flush=True)
    PAGE.write_text(page(), encoding="utf-8")


def _shrink(path: Path) -> None:
    """Fewer colours make a file a third as large, and nobody sees it."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
