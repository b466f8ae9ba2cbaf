"""Counts with a known cause: gene programs of domains and cell types, gradients, batches, depth, and dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from spotscape.datasets._regions import SmoothField

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    fields: list[SmoothField]  # The smooth fields of the gradients


def draw_programs(
    rng: np.random.Generator,
    adjacency: NDArray[np.bool_],
    *,
    n_genes: int,
    n_slices: int,
    difficulty: float,
    batch_effect: float,
    radius: float,
) -> Programs:
    """Draw the programs; ``difficulty`` weakens the domains' and strengthens what has nothing to do with them."""
    cell_type = np.zeros((N_CELL_TYPES, n_genes))
    for row in range(N_CELL_TYPES):
        _raise_genes(rng, cell_type, [row], _CELL_TYPE, 0.9 + 0.9 * difficulty)
    gradient = rng.standard_normal((_N_GRADIENTS, n_genes)) * (rng.random((_N_GRADIENTS, n_genes)) < _GRADIENT)
    batch = batch_effect * rng.standard_normal((n_slices, n_genes))
    return Programs(
        base=rng.normal(0, 1.1, n_genes),
        domain=_domain_programs(rng, adjacency, n_genes, 1.6 - 1.4 * difficulty),
        cell_type=cell_type,
        gradient=(0.1 + 0.2 * difficulty) * gradient,
        batch=batch - batch.mean(axis=0),
        concentration=rng.lognormal(np.log(2.5), 0.5, n_genes),
        fields=[SmoothField.draw(rng, 2.5 * radius) for _ in range(_N_GRADIENTS)],
    )


def draw_cell_types(rng: np.random.Generator, n_spots: int, *, single_cells: bool) -> NDArray[np.float64]:
    """Shares of the cell types in each spot, the same everywhere in the tissue, shape ``(n, n_cell_types)``."""
    if single_cells:
        return np.asarray(np.eye(N_CELL_TYPES)[rng.integers(N_CELL_TYPES, size=n_spots)])
    return rng.dirichlet(np.full(N_CELL_TYPES, 0.25), n_spots)


def draw_depths(
    rng: np.random.Generator, points: NDArray[np.float64], library_size: float, *, radius: float, several: bool
) -> NDArray[np.float64]:
    """Expected total counts of each spot of one slice: log-normal, smooth over the slide, deeper in some slices."""
    field = SmoothField.draw(rng, 1.2 * radius)(points)
    slice_depth = _SLICE_DEPTH * rng.standard_normal() * several
    log_depth = slice_depth + _FIELD_DEPTH * field + _SPOT_DEPTH * rng.standard_normal(len(points))
    return np.asarray(library_size * np.exp(log_depth))


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


def _domain_programs(
    rng: np.random.Generator, adjacency: NDArray[np.bool_], n_genes: int, strength: float
) -> NDArray[np.float64]:
    effect = np.zeros((len(adjacency), n_genes))
    for domain in range(len(adjacency)):
        _raise_genes(rng, effect, [domain], _OWN, strength)
    # A domain with many neighbours would otherwise stand out by the number of its genes alone.
    shared = _SHARED * 2 / max(2.0, adjacency.sum(axis=1).mean())
    for first, second in np.argwhere(np.triu(adjacency)):
        _raise_genes(rng, effect, [first, second], shared, strength)
    return effect


def _raise_genes(
    rng: np.random.Generator, effect: NDArray[np.float64], rows: list[int], fraction: float, strength: float
) -> None:
    n_genes = effect.shape[1]
    genes = rng.choice(n_genes, max(1, round(fraction * n_genes)), replace=False)
    effect[np.ix_(rows, genes)] += strength * rng.uniform(0.6, 1.4, len(genes))
