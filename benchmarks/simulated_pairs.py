"""Pairs of slices with a known pose: outlines are cut out of simulated tissue, spots lost, jittered, and moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from plain import PLAIN
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

import spotscape as sp
from spotscape.registration._section import motion, move

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    Region = Callable[[np.ndarray], np.ndarray]

GEOMETRIES = ("hexagonal", "square", "irregular")
LAYOUTS = ("islands", "layers", "mixed")
ASYMMETRIC = ("blob", "kidney", "wedge", "notched")
SYMMETRIC = ("disc", "ellipse", "rectangle")
OUTLINES = (*ASYMMETRIC, "tissue", *SYMMETRIC)
N_SPOTS = 4500
# A tissue whose image under some rotation or mirroring covers it to this share is called symmetric.
SYMMETRIC_FROM = 0.94


@dataclass(frozen=True)
class Pair:
    """Two slices, and the truth.

    Attributes
    ----------
    adata
        Both slices, expression and coordinates; ``obs["slice"]`` is ``"reference"`` or ``"query"``.
    matrix
        From the query to the reference, shape ``(3, 3)``.
    spacing
        Of the spots before any were lost, µm.
    settings
        What was drawn.
    """

    adata: AnnData
    matrix: np.ndarray
    spacing: float
    settings: dict[str, object]


def draw_pair(seed: int) -> Pair:
    """Draw a pair; the settings go round, the rest is random."""
    rng = np.random.default_rng([2024, seed])
    geometry, outline = GEOMETRIES[seed % 3], OUTLINES[seed // 3 % len(OUTLINES)]
    layout = LAYOUTS[int(rng.integers(3))]
    tissue = _tissue(geometry, layout, int(rng.integers(4)))
    truth, spacing = tissue.obsm["spatial_truth"], float(tissue.uns["simulation"]["spacing"])
    level = _outline(outline, rng, _radius(tissue))
    shape = _covered(truth, 1.2 * spacing) if outline == "tissue" else level
    overlap = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.6, 1.0))
    missing = rng.uniform(0.1, 0.4, 2)
    jitter, angle, mirrored = rng.uniform(0, 0.5), rng.uniform(0, 360), bool(rng.random() < 0.5)
    on_tissue = level(truth) < 1
    windows = _windows(truth[on_tissue], overlap, rng)
    is_query = (tissue.obs["slice"] == "slice_2").to_numpy()
    keep = on_tissue & np.where(is_query, windows[1](truth), windows[0](truth))
    keep &= rng.random(len(truth)) >= np.where(is_query, missing[1], missing[0])
    adata = tissue[keep].copy()
    query = is_query[keep]
    adata.obs["slice"] = adata.obs["slice"].cat.rename_categories({"slice_1": "reference", "slice_2": "query"})
    coords = truth[keep].copy()
    turns = rng.uniform(0, 2 * np.pi, query.sum())
    coords[query] += jitter * spacing * np.column_stack([np.cos(turns), np.sin(turns)])
    shift = rng.uniform(-1, 1, 2) * 40 * spacing
    away = motion(angle, shift, mirror=mirrored)
    coords[query] = move(away, coords[query])
    adata.obsm["spatial"] = coords
    settings = {
        "geometry": geometry,
        "outline": outline,
        "layout": layout,
        "overlap": round(_share_in_common(truth[on_tissue], windows), 3),
        "missing_reference": round(missing[0], 3),
        "missing_query": round(missing[1], 3),
        "jitter": round(jitter, 3),
        "angle": round(angle, 1),
        "mirrored": mirrored,
        "n_reference": int((~query).sum()),
        "n_query": int(query.sum()),
        "self_similarity": round(self_similarity(shape, _radius(tissue)), 3),
    }
    return Pair(adata, np.linalg.inv(away), spacing, settings)


def self_similarity(level: Region, radius: float) -> float:
    """How well the best rotation (by 15° or more) or mirror image of an outline covers it: intersection over union.

    From the outline's formula alone, without spots and without the code that is measured.
    """
    side = 96
    axis = np.linspace(-2.2 * radius, 2.2 * radius, side)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    shape = (level(points) < 1).reshape(side, side).astype(float)
    middle = (side - 1) / 2
    best = 0.0
    spectrum = np.fft.rfft2(shape, (2 * side, 2 * side))
    for mirror in (False, True):
        for angle in np.arange(0 if mirror else 15, 360 if mirror else 346, 3.0):
            turn = motion(angle, mirror=mirror)[:2, :2]
            turned = ndimage.affine_transform(shape, turn.T, middle - turn.T @ [middle, middle], order=1)
            common = np.fft.irfft2(spectrum * np.fft.rfft2(turned, (2 * side, 2 * side)).conj()).max()
            best = max(best, common / (shape.sum() + turned.sum() - common))
    return float(best)


def embedding(adata: AnnData) -> None:
    """Write a joint embedding to ``obsm["X_guide"]``: principal components averaged over the neighbours."""
    sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key="slice")
    sp.tl.smoothed_pca(adata, n_hops=2, library_key="slice", key_added="X_guide", **{**PLAIN, "n_comps": 15})


@cache
def _tissue(geometry: str, layout: str, seed: int) -> AnnData:
    adata = sp.datasets.simulate_tissue(
        n_domains=6,
        n_slices=2,
        n_spots=N_SPOTS,
        n_genes=300,
        library_size=2000.0,
        geometry=geometry,
        layout=layout,
        rotation=0.0,
        shift=0.0,
        # Boundaries that move between slices would blur what the true pose is.
        drift=0.0,
        random_state=seed,
    )
    adata.X = sparse.csr_matrix(adata.X)
    return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()


def _covered(spots: np.ndarray, reach: float) -> Region:
    """The outline of the tissue as it is: what lies within ``reach`` of a spot."""
    tree = cKDTree(spots)
    return lambda points: tree.query(points)[0] / reach


def _radius(tissue: AnnData) -> float:
    return float(0.8 * np.sort(np.linalg.norm(tissue.obsm["spatial_truth"], axis=1))[int(0.75 * tissue.n_obs)])


def _outline(name: str, rng: np.random.Generator, radius: float) -> Region:
    """A function that is below 1 inside the outline."""
    turn = motion(rng.uniform(0, 360))
    if name == "tissue":
        return lambda points: np.zeros(len(points))
    if name in ("disc", "ellipse", "rectangle"):
        aspect = {"disc": 1.0, "ellipse": 1.45, "rectangle": 1.3}[name]
        power = 8 if name == "rectangle" else 2
        axes = 0.95 * radius * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])
        return lambda points: ((np.abs(move(turn, points)) / axes) ** power).sum(axis=1) ** (1 / power)
    orders = np.arange(1, 6)
    strength = {"blob": 0.16, "kidney": 0.05, "wedge": 0.05, "notched": 0.05}[name]
    amplitudes = strength * rng.uniform(0.5, 1.0, 5) / np.sqrt(orders)
    phases = rng.uniform(0, 2 * np.pi, 5)
    bite = rng.uniform(0.3, 0.45)

    def level(points: np.ndarray) -> np.ndarray:
        x, y = move(turn, points).T / radius
        angle = np.arctan2(y, x)
        value = np.hypot(x, y) / (1 + np.cos(angle[:, None] * orders + phases) @ amplitudes)
        if name == "kidney":
            hollow = 0.55 / np.maximum(np.hypot(x - 0.9, (y - 0.25) / 1.2), 1e-6)
            value = np.maximum(np.hypot(x / 0.85, y / 1.15) * value / np.maximum(np.hypot(x, y), 1e-6), hollow)
        if name == "wedge":
            value = np.maximum(value, np.where((x > 0.1) & (y > -0.2), 1.5, 0.0))
        if name == "notched":
            value = np.maximum(value, np.where((np.abs(y - 0.35) < bite / 2) & (x > 0.2), 1.5, 0.0))
        return value

    return level


def _windows(points: np.ndarray, overlap: float, rng: np.random.Generator) -> tuple[Region, Region]:
    """Two half planes, one for each slice, that have a share ``overlap`` of the tissue in common."""
    if overlap >= 1:
        return (lambda p: np.ones(len(p), dtype=bool),) * 2
    direction = move(motion(rng.uniform(0, 360)), np.array([[1.0, 0.0]]))[0]
    cut = (1 - overlap) / 2
    if rng.random() < 0.5:
        low, high = np.quantile(points @ direction, [cut, 1 - cut])
        return lambda p: p @ direction < high, lambda p: p @ direction > low
    high = np.quantile(points @ direction, overlap)
    return (lambda p: np.ones(len(p), dtype=bool)), lambda p: p @ direction < high


def _share_in_common(points: np.ndarray, windows: tuple[Region, Region]) -> float:
    inside = [window(points) for window in windows]
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())
