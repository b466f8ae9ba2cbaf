"""One simulated tissue: what drives its genes, and the slices that are cut from it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from spotscape._core import keys
from spotscape._core.validation import require_positive_int
from spotscape.datasets._regions import (
    SPACING,
    Field,
    Outline,
    Regions,
    Tear,
    domain_names,
    draw_regions,
    lay_spots,
    placements,
    smooth_field,
)
from spotscape.registration._section import move

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spotscape._core.randomness import RandomSource

N_CELL_TYPES = 5
_N_GRADIENTS = 2
# Shares of the genes in one domain's own program, in one shared by two neighbouring domains, in one cell type's.
_OWN, _SHARED, _CELL_TYPE, _GRADIENT = 0.04, 0.04, 0.10, 0.15
# Spread of the library size from spot to spot and over the slide, and of the depth from slice to slice (log scale).
_SPOT_DEPTH, _FIELD_DEPTH, _SLICE_DEPTH = 0.30, 0.20, 0.20
_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Programs:
    """What drives each gene, all on the scale of natural logarithms."""

    base: NDArray[np.float64]  # Abundance, shape ``(n_genes,)``
    domain: NDArray[np.float64]  # Effect of each domain, shape ``(n_domains, n_genes)``
    cell_type: NDArray[np.float64]  # Effect of each cell type, shape ``(n_cell_types, n_genes)``
    # Loadings on smooth fields that have nothing to do with domains, shape ``(n_gradients, n_genes)``.
    gradient: NDArray[np.float64]
    batch: NDArray[np.float64]  # Effect of each slice, shape ``(n_slices, n_genes)``, zero on average over slices
    # The shape of each gene's negative binomial (variance ``m + m**2 / concentration``), shape ``(n_genes,)``.
    concentration: NDArray[np.float64]
    fields: list[Field]  # The smooth fields of the gradients


def draw_programs(
    rng: np.random.Generator, adjacency: NDArray[np.bool_], parameters: Parameters, radius: float
) -> Programs:
    """Draw the programs; difficulty weakens the domains' and strengthens what is independent of them."""
    difficulty, n_genes = parameters.difficulty, parameters.total_genes
    cell_type = np.zeros((N_CELL_TYPES, n_genes))
    for row in range(N_CELL_TYPES):
        _raise_genes(rng, cell_type, [row], _CELL_TYPE, 0.9 + 0.9 * difficulty)
    gradient = rng.standard_normal((_N_GRADIENTS, n_genes)) * (rng.random((_N_GRADIENTS, n_genes)) < _GRADIENT)
    batch = parameters.batch_effect * rng.standard_normal((parameters.n_slices, n_genes))
    base, domain, strength = rng.normal(0, 1.1, n_genes), np.zeros((len(adjacency), n_genes)), 1.6 - 1.4 * difficulty
    for row in range(len(adjacency)):
        _raise_genes(rng, domain, [row], _OWN, strength)
    # A domain with many neighbours would otherwise stand out by the number of its genes alone.
    shared = _SHARED * 2 / max(2.0, adjacency.sum(axis=1).mean())
    for first, second in np.argwhere(np.triu(adjacency)):
        _raise_genes(rng, domain, [first, second], shared, strength)
    return Programs(
        base=base,
        domain=domain,
        cell_type=cell_type,
        gradient=(0.1 + 0.2 * difficulty) * gradient,
        batch=batch - batch.mean(axis=0),
        concentration=rng.lognormal(np.log(2.5), 0.5, n_genes),
        fields=[smooth_field(rng, 2.5 * radius) for _ in range(_N_GRADIENTS)],
    )


def draw_cell_types(rng: np.random.Generator, n_spots: int, *, single_cells: bool) -> NDArray[np.float64]:
    """Shares of the cell types in each spot, the same everywhere in the tissue, shape ``(n, n_cell_types)``."""
    if single_cells:
        return np.asarray(np.eye(N_CELL_TYPES)[rng.integers(N_CELL_TYPES, size=n_spots)])
    return rng.dirichlet(np.full(N_CELL_TYPES, 0.25), n_spots)


def expected_share(
    programs: Programs,
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    cell_types: NDArray[np.float64],
    *,
    batch: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """The expected share of each gene in a spot's counts, rows adding to 1, shape ``(n, n_genes)``."""
    gradients = np.column_stack([field(points) for field in programs.fields])
    causes = np.hstack([weights, cell_types, gradients]).astype(np.float32)
    effects = np.vstack([programs.domain, programs.cell_type, programs.gradient]).astype(np.float32)
    base = programs.base if batch is None else programs.base + batch
    log_mean = causes @ effects
    log_mean += base.astype(np.float32)
    share = np.exp(log_mean, out=log_mean)
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(share)


def row_chunks(n_spots: int, n_genes: int) -> list[slice]:
    """Ranges of rows small enough to hold densely; they depend on nothing but the size of the data."""
    step = max(1, _CHUNK_ENTRIES // n_genes)
    return [slice(start, min(start + step, n_spots)) for start in range(0, n_spots, step)]


def draw_counts(
    rng: np.random.Generator,
    share: NDArray[np.float32],
    depth: NDArray[np.float64],
    concentration: NDArray[np.float64],
    dropout: float,
) -> sparse.csr_matrix:
    """Zero-inflated negative binomial counts with mean ``depth * share`` before dropout, CSR float32.

    A gene drops out of a spot with probability ``dropout * exp(-mean / 4)``: more easily the less there is of it.
    """
    mean = share * depth.astype(np.float32)[:, None]
    shape = concentration.astype(np.float32)
    rate = rng.standard_gamma(np.broadcast_to(shape, mean.shape), dtype=np.float32)
    rate *= mean / shape
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    if dropout == 0:
        return counts
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lost = rng.random(counts.nnz) < dropout * np.exp(-mean[rows, counts.indices] / 4)
    counts.data[lost] = 0
    counts.eliminate_zeros()
    return counts


def _raise_genes(
    rng: np.random.Generator, effect: NDArray[np.float64], rows: list[int], fraction: float, strength: float
) -> None:
    n_genes = effect.shape[1]
    genes = rng.choice(n_genes, max(1, round(fraction * n_genes)), replace=False)
    effect[np.ix_(rows, genes)] += strength * rng.uniform(0.6, 1.4, len(genes))


_MIN_SPOTS_PER_DOMAIN = 10


class Parameters(SimpleNamespace):
    """What the user asked for, by the names of the arguments of :func:`spotscape.datasets.simulate_tissue`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        require_positive_int(self.n_genes, "n_genes", minimum=10)
        for name in ("n_spots", "tears", "rotation", "shift"):
            values = getattr(self, name)
            if np.ndim(values) > 0 and len(values) != self.n_slices:
                msg = f"{name} has {len(values)} entries for n_slices={self.n_slices}; give one for each slice."
                raise ValueError(msg)
        for number in self.spots_per_slice:
            require_positive_int(number, "n_spots", minimum=self.n_domains * _MIN_SPOTS_PER_DOMAIN)
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
        return list(np.broadcast_to(self.n_spots, self.n_slices).tolist())

    @property
    def tears_per_slice(self) -> list[int]:
        """``tears``, one number for each slice."""
        return list(np.broadcast_to(self.tears, self.n_slices).tolist())

    @property
    def total_genes(self) -> int:
        """Genes to simulate: the measured and the held-out ones."""
        return int(self.n_genes + self.n_heldout_genes)

    def as_record(self) -> dict[str, Any]:
        """The parameters in types that ``uns`` can hold."""
        values = {name: value for name, value in vars(self).items() if name != "random_state"}
        values["missing_domains"] = {str(key): sorted(names) for key, names in self.missing_domains.items()}
        for name in ("n_spots", "tears", "rotation", "shift", "flip", "private_domains"):
            if not np.isscalar(values[name]):
                values[name] = np.asarray(list(values[name]))
        return values


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
        programs = draw_programs(source.numpy("programs"), regions.adjacency(outline), p, outline.radius)
        moves = placements(source.numpy("placements"), p.n_slices, rotation=p.rotation, shift=p.shift, flip=p.flip)
        return cls(p, outline, regions, programs, moves)


def cut_section(tissue: Tissue, index: int, source: RandomSource) -> AnnData:
    """Cut slice ``index``: lay its spots, find what lies under them, and count."""
    p, spacing, rng = tissue.parameters, SPACING[tissue.parameters.geometry], source.numpy(f"spots {index}")
    slide, truth = _lay_section(tissue, index, rng)
    weights = tissue.regions.weights(truth, index)
    rng = source.numpy(f"cells {index}")
    cell_types = draw_cell_types(rng, len(truth), single_cells=p.geometry == "irregular")
    # Expected total counts of each spot: log-normal, smooth over the slide, deeper in some slices.
    field = smooth_field(rng, 1.2 * tissue.outline.radius)(slide)
    slice_depth = _SLICE_DEPTH * rng.standard_normal() * (p.n_slices > 1)
    log_depth = slice_depth + _FIELD_DEPTH * field + _SPOT_DEPTH * rng.standard_normal(len(slide))
    depth = np.asarray(p.library_size * np.exp(log_depth))
    blocks, expected = [], []
    rng = source.numpy(f"counts {index}")
    for rows in row_chunks(len(truth), p.total_genes):
        here = (tissue.programs, truth[rows], weights[rows], cell_types[rows])
        if p.n_heldout_genes:
            expected.append(p.library_size * expected_share(*here)[:, p.n_genes :])
        share = expected_share(*here, batch=tissue.programs.batch[index])
        blocks.append(draw_counts(rng, share, depth[rows], tissue.programs.concentration, p.dropout))
    counts = sparse.vstack(blocks, format="csr")
    columns = {
        "slice": (np.full(len(truth), index), [f"slice_{i + 1}" for i in range(p.n_slices)]),
        "domain": (tissue.regions.scores(truth, index).argmax(axis=1), tissue.regions.names),
        "cell_type": (cell_types.argmax(axis=1), [f"type_{i + 1}" for i in range(N_CELL_TYPES)]),
    }
    obs = {name: pd.Categorical.from_codes(codes, pd.Index(names)) for name, (codes, names) in columns.items()}
    spots = pd.Index([f"slice_{index + 1}_{i}" for i in range(len(truth))])
    genes = pd.Index([f"gene_{i + 1}" for i in range(p.total_genes)])
    adata = AnnData(
        counts[:, : p.n_genes] if p.n_heldout_genes else counts,
        obs=pd.DataFrame({**obs, "library_size": depth}, index=spots),
        var=pd.DataFrame(index=genes[: p.n_genes]),
        obsm={keys.SPATIAL: spacing * slide, "spatial_truth": spacing * truth},
    )
    if p.n_heldout_genes:
        for name, values in (("counts", counts[:, p.n_genes :].toarray()), ("expected", np.vstack(expected))):
            adata.obsm[f"heldout_{name}"] = pd.DataFrame(values, index=spots, columns=genes[p.n_genes :])
    return adata


def _lay_section(tissue: Tissue, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Positions of the spots of a slice on its slide and in the tissue's frame, in spot spacings."""
    p, placement = tissue.parameters, tissue.placements[index]
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
    return slide[chosen], truth[chosen]
