"""What coordinates tell: spot spacing, lattice, unit, and how spots that share a position enter a graph."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

# Spots looked at for a median; its error is then about one per cent whatever the size of the tissue.
_SAMPLE = 10_000
# Distances within a lattice, in spacings: where spots are missing, neighbours still lie on these rings. Of cells on no
# lattice six in ten do, by chance.
_HEXAGON, _SQUARE = np.sqrt([1.0, 3.0, 4.0, 7.0]), np.sqrt([1.0, 2.0, 4.0, 5.0])
_ON_RINGS = 0.75
_FEW_EXCEED = 0.98
# Centres of neighbouring spots of Visium, whose slide has 55 µm spots on a hexagon.
_VISIUM_UM = 100.0
# Columns of obs that a platform writes, all of which measure places in micrometres, and where cells can then lie.
_CELL_PLATFORMS = {
    "Xenium": {"cell_area", "nucleus_area"},
    "MERSCOPE": {"fov", "volume", "center_x", "center_y"},
}
_CELLS_UM = (2.0, 100.0)
_MICROMETRES = {"micrometer", "micrometre", "micron", "um", "µm"}


@dataclass(frozen=True)
class Lattice:
    """Arrangement of spots."""

    kind: Literal["hexagonal", "square", "irregular"]  # ``"hexagonal"``, ``"square"`` or ``"irregular"``
    # Median distance of neighbours on the lattice, in the unit of the coordinates; if irregular, of a spot to its
    # nearest neighbour.
    spacing: float
    angle: float = 0.0  # Direction of one of the neighbours, in radians in ``[0, 2π / symmetry)``; 0 if irregular
    widest: float = 0.0  # Distance that few neighbours on the lattice exceed, where spots stray from their places


def nearest_distances(coords: np.ndarray, n_neighs: int) -> np.ndarray:
    """Distances ``(≤ 10,000, n_neighs)`` of evenly drawn positions to their nearest other positions.

    Spots at the same place count as one position. Where there are fewer than ``n_neighs`` others, the rest is ``inf``.
    """
    positions = np.unique(np.asarray(coords, dtype=np.float64), axis=0)
    drawn = positions[:: max(1, len(positions) // _SAMPLE)]
    distances = cKDTree(positions).query(drawn, k=np.arange(2, n_neighs + 2))[0]
    return np.asarray(distances, dtype=np.float64)


def spot_spacing(coords: np.ndarray) -> float:
    """Median distance of a position to the nearest other one; ``inf`` if there is a single position."""
    return float(np.median(nearest_distances(coords, 1)))


def spacing_by_slice(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Spot spacing of each slice, float64 ``(n_slices,)``; ``inf`` where a slice has a single position."""
    return np.array([spot_spacing(coords) for coords in slices])


def radius_for(coords: np.ndarray, n_neighs: int = 6) -> float:
    """Find a radius with about ``n_neighs`` neighbours: a tenth above the median distance to the last of them."""
    available = min(n_neighs, len(np.unique(coords, axis=0)) - 1)
    return 1.1 * float(np.median(nearest_distances(coords, available)[:, -1])) if available else float("inf")


def lattice(coords: np.ndarray) -> Lattice:
    """Recognise a hexagonal or square arrangement, at any rotation, by the distances to the nearest positions.

    Spots may be missing here and there, or stray a little from their places.
    """
    plane = np.asarray(coords, dtype=np.float64)[:, :2]
    distances = nearest_distances(plane, 8)
    spacing = float(np.median(distances[:, 0]))
    if not np.isfinite(spacing):
        return Lattice("irregular", 1.0)
    second, fourth, fifth, sixth = np.median(distances, axis=0)[[1, 3, 4, 5]] / spacing
    even = np.mean(np.abs(distances[:, 0] / spacing - 1) < 0.1) > 0.8
    if (even and sixth < 1.25) or _on_rings(distances / spacing, _HEXAGON) > _ON_RINGS:
        return _fitted("hexagonal", 6, plane, distances)
    touching = even and second < 1.15 and fourth < 1.25 and 1.3 < fifth < 1.55
    if touching or _on_rings(distances / spacing, _SQUARE) > _ON_RINGS:
        return _fitted("square", 4, plane, distances)
    return Lattice("irregular", spacing)


def _fitted(kind: Literal["hexagonal", "square"], symmetry: int, plane: np.ndarray, distances: np.ndarray) -> Lattice:
    """The lattice through these positions. Where spots stray from it, the nearest neighbour is too near."""
    nearest, spacing = distances[:, :symmetry], float(np.median(distances[:, 0]))
    pitch = np.median(nearest[nearest < 1.25 * spacing])
    widest = float(np.quantile(nearest[nearest < 1.25 * pitch], _FEW_EXCEED))
    drawn = plane[: min(len(plane), _SAMPLE)]
    pairs = cKDTree(drawn).query_pairs(1.25 * spacing, output_type="ndarray")
    x, y = (drawn[pairs[:, 1]] - drawn[pairs[:, 0]]).T
    mean = np.exp(1j * symmetry * np.arctan2(y, x)).mean() if len(pairs) else 1.0
    return Lattice(kind, float(pitch), float(np.angle(mean) % (2 * np.pi)) / symmetry, widest)


def _on_rings(distances: np.ndarray, rings: np.ndarray) -> float:
    """Share of distances to neighbours, in spacings, that a lattice has too."""
    return float((np.abs(distances[..., None] / rings - 1).min(axis=-1) < 0.08).mean())


def shares_within(coords: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Which share of the spots of each group lies within the frame of each other one, ``(n, n)``; 0 of its own."""
    groups = [coords[codes == code] for code in np.unique(codes)]
    frames = [(own.min(axis=0), own.max(axis=0)) for own in groups]
    shares = [[((own >= low) & (own <= high)).all(axis=1).mean() for low, high in frames] for own in groups]
    return np.asarray(np.array(shares) * (1 - np.eye(len(groups))))


def expected_degree(coords: np.ndarray, radius: float) -> float:
    """Mean number of spots within ``radius`` of a spot, from at most 1,000 of them; nothing is stored."""
    drawn = coords[:: max(1, len(coords) // 1000)]
    return float(np.mean(cKDTree(coords).query_ball_point(drawn, radius, return_length=True)) - 1)


def join_coincident(lengths: sparse.csr_matrix, position: np.ndarray) -> sparse.csr_matrix:
    """From a graph of positions to one of spots: spots at one place are neighbours of each other and share the rest.

    ``position`` holds the row of every spot in the graph of positions; explicit zeros are between spots at one place.
    """
    edges, here = lengths.tocoo(), np.arange(lengths.shape[0])
    starts, ends = np.concatenate([edges.row, here]), np.concatenate([edges.col, here])
    values = np.concatenate([edges.data, np.zeros(len(here))])
    # Edges go by their numbers, from 1, because a product may drop lengths of zero.
    numbers = sparse.csr_array((np.arange(1, len(values) + 1), (starts, ends)), shape=lengths.shape)
    spots = np.arange(len(position))
    places = sparse.csr_array((np.ones_like(spots), (spots, position)), shape=(len(spots), len(here)))
    found = (places @ numbers @ places.T).tocoo()
    rows, columns = found.coords
    others = rows != columns
    lengths_of_spots = values[found.data[others] - 1], (rows[others], columns[others])
    joined = sparse.csr_matrix(lengths_of_spots, shape=(len(spots), len(spots)))
    joined.sort_indices()
    return joined


def evenly_spread(coords: np.ndarray, n: int) -> np.ndarray:
    """Rows of ``n`` positions spread evenly over the plane (all, if there are no more), always the same ones.

    They are taken at equal steps along a curve that visits each quarter of the plane, and of a quarter, in turn.
    """
    if len(coords) <= n:
        return np.arange(len(coords))
    low = coords[:, :2].min(axis=0)
    extent = np.maximum(np.ptp(coords[:, :2], axis=0).max(), np.finfo(np.float64).tiny)
    cells = np.minimum((coords[:, :2] - low) / extent * 2**16, 2**16 - 1).astype(np.int64)
    places = sum(((cells[:, axis] >> bit) & 1) << (2 * bit + axis) for bit in range(16) for axis in (0, 1))
    steps = ((np.arange(n) + 0.5) * len(coords) / n).astype(np.int64)
    return np.sort(np.argsort(places, kind="stable")[steps])


@dataclass(frozen=True)
class Layout:
    """How the spots of a tissue are arranged, and in which unit, as far as the file says."""

    # ``"hexagonal"``, ``"square"`` or ``"irregular"``, of most slices.
    kind: Literal["hexagonal", "square", "irregular"]
    spacing: float  # Median distance of a spot to its nearest neighbour, in the unit of the coordinates
    # What the file looks like: ``"Visium"``, ``"Visium HD"``, ``"Xenium"``, ``"MERSCOPE"``; ``None`` if it does not
    # say.
    platform: str | None = None
    um_per_unit: float | None = None  # Micrometres in one unit of the coordinates; ``None`` if nothing says so

    @property
    def spacing_um(self) -> float | None:
        """The spacing in micrometres, if they are known."""
        return None if self.um_per_unit is None else self.spacing * self.um_per_unit

    def as_params(self) -> dict[str, str | float]:
        """The same for a record: what is known."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def __str__(self) -> str:
        what = "an irregular pattern" if self.kind == "irregular" else f"a {self.kind} grid"
        platform = "" if self.platform is None else f" ({self.platform})"
        if self.um_per_unit == 1:
            return f"{what}{platform}, spots {self.spacing:.3g} µm apart"
        microns = "" if self.spacing_um is None else f" ({self.spacing_um:.3g} µm)"
        return f"{what}{platform}, spots {self.spacing:.4g} apart{microns}"


# How much farther apart than in their projection cells are in a thick block, at least. In a tilted slice it is less.
_THICK = 1.3


def layout_of(slices: Sequence[np.ndarray], adata: AnnData) -> Layout:
    """How the spots of an AnnData are arranged, given the coordinates of each slice: grid, spacing, platform and unit.

    The unit is known from scale factors, from the hexagon of Visium, from columns that only Xenium and MERSCOPE write,
    and from ``uns["spatial_unit"]``.
    """
    # A few slices show the layout as well as a thousand.
    grids = [_arrangement(coords) for coords in slices[:20]]
    kind = Counter(grid.kind for grid in grids).most_common(1)[0][0]
    spacing = float(np.median([grid.spacing for grid in grids if grid.kind == kind]))
    platform, um_per_unit = _platform(adata, kind, spacing)
    return Layout(kind, spacing, platform, um_per_unit)


def _arrangement(coords: np.ndarray) -> Lattice:
    """The lattice of a slice, which may be tilted; none in a thick block, whose cells lie above each other."""
    grid = lattice(coords)
    in_space = grid.spacing if coords.shape[1] == 2 else spot_spacing(coords)
    is_thick = np.isfinite(in_space) and in_space >= _THICK * grid.spacing
    return Lattice("irregular", in_space) if is_thick else grid


def scale_factors(entry: object) -> dict[str, float]:
    """The scale factors of an entry of ``uns["spatial"]``; some writers store each as an array of one."""
    stored = entry.get("scalefactors") if isinstance(entry, Mapping) else None
    sized = {str(name): np.asarray(value) for name, value in stored.items()} if isinstance(stored, Mapping) else {}
    numbers = {name: float(v.item()) for name, v in sized.items() if v.size == 1 and v.dtype.kind in "fiu"}
    return {name: value for name, value in numbers.items() if np.isfinite(value) and value > 0}


def _platform(adata: AnnData, kind: str, spacing: float) -> tuple[str | None, float | None]:
    spatial = adata.uns.get("spatial")
    known = map(scale_factors, spatial.values() if isinstance(spatial, Mapping) else ())
    factors = next((one for one in known if one), {})
    bin_size = factors.get("bin_size_um")
    if bin_size is not None and kind == "square":
        return "Visium HD", bin_size / spacing
    if kind == "irregular" and "microns_per_pixel" in factors:
        # Cells of Visium HD.
        return "Visium HD", factors["microns_per_pixel"]
    columns = set(map(str, adata.obs.columns))
    if kind == "hexagonal" and ("spot_diameter_fullres" in factors or {"array_row", "array_col"} <= columns):
        return "Visium", _VISIUM_UM / spacing
    for platform, needed in _CELL_PLATFORMS.items():
        if kind == "irregular" and needed <= columns and _CELLS_UM[0] < spacing < _CELLS_UM[1]:
            return platform, 1.0
    # What is said outright, as the command line does for the folders that it reads.
    stated = adata.uns.get("spatial_unit")
    return None, 1.0 if isinstance(stated, str) and stated in _MICROMETRES else None
