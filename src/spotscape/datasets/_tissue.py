"""One simulated tissue, and the slices that are cut from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.validation import require_positive_int
from spotscape.datasets._expression import (
    Programs,
    draw_cell_types,
    draw_counts,
    draw_depths,
    draw_programs,
    expected_share,
    row_chunks,
)
from spotscape.datasets._regions import Outline, Regions, domain_names, draw_regions, lay_spots
from spotscape.registration import motion, move

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from spotscape._core.randomness import RandomSource, Seed

_MIN_SPOTS_PER_DOMAIN = 10


@dataclass(frozen=True)
class Parameters:
    """What the user asked for; see :func:`spotscape.datasets.simulate_tissue`."""

    n_domains: int
    n_slices: int
    n_spots: int | Sequence[int]
    n_genes: int
    geometry: str
    layout: str
    difficulty: float
    library_size: float
    dropout: float
    batch_effect: float
    rotation: float | Sequence[float]
    shift: float | Sequence[Sequence[float]]
    flip: Collection[int]
    tears: int | Sequence[int]
    drift: float
    missing_domains: Mapping[int, Collection[str]]
    private_domains: Collection[int]
    n_heldout_genes: int
    random_state: Seed

    def __post_init__(self) -> None:
        require_positive_int(self.n_genes, "n_genes", minimum=10)
        for name in ("n_spots", "tears", "rotation", "shift"):
            values = getattr(self, name)
            if np.ndim(values) > 0 and len(values) != self.n_slices:
                msg = f"{name} has {len(values)} entries for n_slices={self.n_slices}; give one for each slice."
                raise ValueError(msg)
        for number in self.spots_per_slice:
            require_positive_int(number, "n_spots", minimum=self.n_domains * _MIN_SPOTS_PER_DOMAIN)
        for number in self.tears_per_slice:
            require_positive_int(number, "tears", minimum=0)
        if np.ndim(self.shift) > 0 and np.shape(self.shift) != (self.n_slices, 2):
            msg = f"shift has shape {np.shape(self.shift)}; expected a number or one (x, y) for each slice."
            raise ValueError(msg)
        if not np.isfinite(self.shift).all():
            msg = "shift must be finite numbers."
            raise ValueError(msg)
        for name in ("flip", "private_domains", "missing_domains"):
            unknown = sorted(set(getattr(self, name)) - set(range(self.n_slices)), key=str)
            if unknown:
                msg = (
                    f"{name} names slices {unknown}; with n_slices={self.n_slices} there are 0 to {self.n_slices - 1}."
                )
                raise ValueError(msg)
        names, _ = domain_names(self.layout, self.n_domains)
        for index, missing in self.missing_domains.items():
            unknown = sorted({missing} if isinstance(missing, str) else set(missing) - set(names))
            if unknown or set(missing) == set(names):
                msg = f"missing_domains[{index}]={missing!r} must be a list of some, but not all, of {names}."
                raise ValueError(msg)

    @property
    def spots_per_slice(self) -> list[int]:
        """``n_spots``, one number for each slice."""
        return _per_slice(self.n_spots, self.n_slices)

    @property
    def tears_per_slice(self) -> list[int]:
        """``tears``, one number for each slice."""
        return _per_slice(self.tears, self.n_slices)

    @property
    def total_genes(self) -> int:
        """Genes to simulate: the measured and the held-out ones."""
        return self.n_genes + self.n_heldout_genes

    def as_record(self) -> dict[str, Any]:
        """The parameters in types that ``uns`` can hold."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "random_state"}
        values["missing_domains"] = {str(key): sorted(names) for key, names in self.missing_domains.items()}
        for name in ("n_spots", "tears", "rotation", "shift", "flip", "private_domains"):
            if not np.isscalar(values[name]):
                values[name] = np.asarray(list(values[name]))
        return values


def _per_slice(value: int | Sequence[int], n_slices: int) -> list[int]:
    return list(value) if isinstance(value, Iterable) else [value] * n_slices


_TEAR_WIDTH = (2.5, 5.0)
# How far beside the crack the tissue is pushed, as a multiple of the opening; above 0.5 nothing folds over.
_TEAR_REACH = 4.0


@dataclass(frozen=True)
class Tear:
    """A crack from inside the tissue to its rim that opens like a wedge (slide frame before turning, spacings)."""

    tip: NDArray[np.float64]  # Where the crack ends, shape ``(2,)``
    direction: NDArray[np.float64]  # Unit vector from the tip to the rim, shape ``(2,)``
    length: float  # From the tip to the rim
    width: float  # Opening at the rim

    @classmethod
    def draw(cls, rng: np.random.Generator, radius: float) -> Tear:
        """Draw a crack that reaches from somewhere between centre and rim outwards."""
        angle = rng.uniform(0, 2 * np.pi)
        outwards = np.array([np.cos(angle), np.sin(angle)])
        tip = outwards * radius * rng.uniform(0.15, 0.4)
        skewed = angle + rng.uniform(-0.4, 0.4)
        direction = np.array([np.cos(skewed), np.sin(skewed)])
        return cls(tip, direction, radius, rng.uniform(*_TEAR_WIDTH))

    def close(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where torn ``points`` lay before, and which of them are on tissue and not in the crack."""
        normal = np.array([-self.direction[1], self.direction[0]])
        offset = points - self.tip
        along, across = offset @ self.direction, offset @ normal
        opening = self.width / 2 * np.clip(along / self.length, 0, None)
        beside = np.abs(across) - opening
        push = np.sign(across) * opening * np.exp(-np.clip(beside, 0, None) / (_TEAR_REACH * self.width))
        return points - push[:, None] * normal, (beside >= 0) | (opening == 0)


def placements(
    rng: np.random.Generator,
    n_slices: int,
    *,
    rotation: float | Sequence[float],
    shift: float | Sequence[Sequence[float]],
    flip: Collection[int],
) -> NDArray[np.float64]:
    """How each slice lies on its slide: matrices from the tissue's frame to the slide's, ``(n_slices, 3, 3)``.

    A number is the largest rotation (degrees) or shift (spacings) to draw, with the first slice left in place; a
    sequence gives the values of all slices.
    """
    moved = np.arange(n_slices) > 0
    angles = rng.uniform(-1, 1, n_slices) * moved
    headings = rng.uniform(0, 2 * np.pi, n_slices)
    distances = np.sqrt(rng.random(n_slices)) * moved
    offsets = distances[:, None] * np.column_stack([np.cos(headings), np.sin(headings)])
    angles = angles * rotation if np.ndim(rotation) == 0 else np.asarray(rotation, dtype=float)
    offsets = offsets * shift if np.ndim(shift) == 0 else np.asarray(shift, dtype=float)
    return np.stack([motion(angles[i], offsets[i], mirror=i in flip) for i in range(n_slices)])


@dataclass(frozen=True)
class Tissue:
    """All that slices share. Lengths are in spot spacings."""

    parameters: Parameters  # What the user asked for
    # Its shape, its domains, its genes.
    outline: Outline
    regions: Regions
    programs: Programs
    placements: NDArray[np.float64]  # From the tissue's frame to each slide, shape ``(n_slices, 3, 3)``

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
    """One slice."""

    # Positions on the slide and in the tissue's frame, in spot spacings, shape ``(n, 2)`` each.
    slide: NDArray[np.float64]
    truth: NDArray[np.float64]
    # Numbers of the true domain and the most frequent cell type, shape ``(n,)`` each.
    domain: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    depth: NDArray[np.float64]  # Expected total counts, shape ``(n,)``
    counts: sparse.csr_matrix  # Shape ``(n, n_genes)``, held-out genes last
    # Expected counts of the held-out genes at the common library size, shape ``(n, n_heldout_genes)``.
    heldout_expected: NDArray[np.float32]


def cut_section(tissue: Tissue, index: int, source: RandomSource) -> Section:
    """Cut slice ``index``: lay its spots, find what lies under them, and count."""
    p, placement, rng = tissue.parameters, tissue.placements[index], source.numpy(f"spots {index}")
    half_width = 1.45 * tissue.outline.semi_axes.max() + 5
    slide = lay_spots(p.geometry, half_width, rng) + placement[:2, 2]
    truth = move(np.linalg.inv(placement), slide)
    on_tissue = np.ones(len(truth), dtype=bool)
    for _ in range(p.tears_per_slice[index]):
        truth, beside = Tear.draw(rng, tissue.outline.radius).close(truth)
        on_tissue &= beside
    level = np.where(on_tissue, tissue.outline.level(truth), np.inf)
    n_spots = p.spots_per_slice[index]
    chosen = np.sort(np.argpartition(level, n_spots - 1)[:n_spots])
    slide, truth = slide[chosen], truth[chosen]
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


def domain_categories(tissue: Tissue, sections: list[Section]) -> pd.Categorical[str]:
    """The domain of all spots, the names in natural order; refuses a tissue in which one has no spot."""
    names = tissue.regions.names
    domain = np.concatenate([section.domain for section in sections])
    absent = [names[i] for i in np.flatnonzero(np.bincount(domain, minlength=len(names)) == 0)]
    if absent:
        msg = f"domains {absent} have no spots in any slice; raise n_spots, lower n_domains or change random_state."
        raise ValueError(msg)
    return pd.Categorical.from_codes(domain, pd.Index(names))
