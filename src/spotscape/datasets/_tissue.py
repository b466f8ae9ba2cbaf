"""One simulated tissue, and the slices that are cut from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape.datasets._deformation import Tear, apply, placements
from spotscape.datasets._expression import (
    Programs,
    draw_cell_types,
    draw_counts,
    draw_depths,
    draw_programs,
    expected_share,
    row_chunks,
)
from spotscape.datasets._geometry import Outline, lay_spots
from spotscape.datasets._regions import Regions, draw_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spotscape._core.randomness import RandomSource
    from spotscape.datasets._parameters import Parameters


@dataclass(frozen=True)
class Tissue:
    """All that slices share. Lengths are in spot spacings.

    Attributes
    ----------
    parameters
        What the user asked for.
    outline, regions, programs
        Its shape, its domains, its genes.
    placements
        From the tissue's frame to each slide, shape ``(n_slices, 3, 3)``.
    """

    parameters: Parameters
    outline: Outline
    regions: Regions
    programs: Programs
    placements: NDArray[np.float64]

    @classmethod
    def draw(cls, parameters: Parameters, source: RandomSource) -> Tissue:
        """Draw the tissue; shape, domains, genes and placements come from separate random streams."""
        p = parameters
        largest = max(p.spots_per_slice)
        outline = Outline.draw(source.numpy("outline"), largest, p.geometry)
        private = {index: float(np.sqrt(p.spots_per_slice[index] / largest)) for index in sorted(p.private_domains)}
        regions = draw_regions(
            source.numpy("regions"), outline, layout=p.layout, n_domains=p.n_domains, private=private, drift=p.drift
        ).without(p.missing_domains, p.n_slices)
        programs = draw_programs(
            source.numpy("programs"),
            regions.adjacency(outline),
            n_genes=p.total_genes,
            n_slices=p.n_slices,
            difficulty=p.difficulty,
            batch_effect=p.batch_effect,
            radius=outline.radius,
        )
        moves = placements(source.numpy("placements"), p.n_slices, rotation=p.rotation, shift=p.shift, flip=p.flip)
        return cls(p, outline, regions, programs, moves)


@dataclass(frozen=True)
class Section:
    """One slice.

    Attributes
    ----------
    slide, truth
        Positions on the slide and in the tissue's frame, in spot spacings, shape ``(n, 2)`` each.
    domain, cell_type
        Numbers of the true domain and the most frequent cell type, shape ``(n,)`` each.
    depth
        Expected total counts, shape ``(n,)``.
    counts
        Shape ``(n, n_genes)``, held-out genes last.
    heldout_expected
        Expected counts of the held-out genes at the common library size, shape ``(n, n_heldout_genes)``.
    """

    slide: NDArray[np.float64]
    truth: NDArray[np.float64]
    domain: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    depth: NDArray[np.float64]
    counts: sparse.csr_matrix
    heldout_expected: NDArray[np.float32]


def cut_section(tissue: Tissue, index: int, source: RandomSource) -> Section:
    """Cut slice ``index``: lay its spots, find what lies under them, and count."""
    p = tissue.parameters
    slide, truth = _place_spots(tissue, index, source.numpy(f"spots {index}"))
    weights = tissue.regions.weights(truth, index)
    rng = source.numpy(f"cells {index}")
    cell_types = draw_cell_types(rng, len(truth), single_cells=p.geometry == "irregular")
    depth = draw_depths(rng, slide, p.library_size, radius=tissue.outline.radius, several=p.n_slices > 1)
    counts, expected = [], []
    rng = source.numpy(f"counts {index}")
    for rows in row_chunks(len(truth), p.total_genes):
        here = (tissue.programs, truth[rows], weights[rows], cell_types[rows])
        if p.n_heldout_genes:
            expected.append(p.library_size * expected_share(*here)[:, p.n_genes :])
        share = expected_share(*here, batch=tissue.programs.batch[index])
        counts.append(draw_counts(rng, share, depth[rows], tissue.programs.concentration, p.dropout))
    return Section(
        slide,
        truth,
        tissue.regions.scores(truth, index).argmax(axis=1),
        cell_types.argmax(axis=1),
        depth,
        sparse.vstack(counts, format="csr"),
        np.vstack(expected) if expected else np.empty((len(truth), 0), dtype=np.float32),
    )


def _place_spots(
    tissue: Tissue, index: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, placement = tissue.parameters, tissue.placements[index]
    half_width = 1.45 * tissue.outline.semi_axes.max() + 5
    slide = lay_spots(p.geometry, half_width, rng) + placement[:2, 2]
    truth = apply(np.linalg.inv(placement), slide)
    on_tissue = np.ones(len(truth), dtype=bool)
    for _ in range(p.tears_per_slice[index]):
        truth, beside = Tear.draw(rng, tissue.outline.radius).close(truth)
        on_tissue &= beside
    level = np.where(on_tissue, tissue.outline.level(truth), np.inf)
    n_spots = p.spots_per_slice[index]
    chosen = np.sort(np.argpartition(level, n_spots - 1)[:n_spots])
    return slide[chosen], truth[chosen]


def domain_categories(tissue: Tissue, sections: list[Section]) -> pd.Categorical[str]:
    """The domain of all spots, the names in natural order; refuses a tissue in which one has no spot."""
    names = tissue.regions.names
    domain = np.concatenate([section.domain for section in sections])
    absent = [names[i] for i in np.flatnonzero(np.bincount(domain, minlength=len(names)) == 0)]
    if absent:
        msg = f"domains {absent} have no spots in any slice; raise n_spots, lower n_domains or change random_state."
        raise ValueError(msg)
    return pd.Categorical.from_codes(domain, pd.Index(names))
