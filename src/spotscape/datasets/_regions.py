"""Where things lie: smooth random fields, outline, layers, islands and tears of a tissue; slices on slides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from spotscape.registration._section import grid_points, motion

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

# Values at points ``(n, 2)`` of a slice: one each, or one for each domain.
Field = Callable[..., "NDArray[np.float64]"]
_N_WAVES = 6


def smooth_field(rng: np.random.Generator, wavelength: float, *, drift: float = 0.0) -> Field:
    """Draw a sum of plane waves with unit variance over the plane, with wavelengths around ``wavelength``.

    The phases move by about ``drift`` from one slice to the next.
    """
    angles = rng.uniform(0, 2 * np.pi, _N_WAVES)
    lengths = wavelength * rng.uniform(0.6, 1.6, _N_WAVES)
    wave_vectors = 2 * np.pi * np.column_stack([np.cos(angles), np.sin(angles)]) / lengths[:, None]
    phases = rng.uniform(0, 2 * np.pi, _N_WAVES)
    drifts = drift * rng.standard_normal(_N_WAVES)

    def field(points: NDArray[np.float64], slice_index: int = 0) -> NDArray[np.float64]:
        value = np.zeros(len(points))
        for wave_vector, phase in zip(wave_vectors, phases + slice_index * drifts, strict=True):
            value += np.cos(points @ wave_vector + phase)
        return np.asarray(value * np.sqrt(2 / _N_WAVES))

    return field


# Centre to centre in micrometres: Visium and square arrays, and neighbouring cells of dense tissue.
SPACING: Final = {"hexagonal": 100.0, "square": 100.0, "irregular": 15.0}
# The share of cells that an irregular tissue leaves out (vessels, cells that failed quality control).
_LOST_CELLS = 0.12
_OUTLINE_FREQUENCIES = np.arange(2, 6)


@dataclass(frozen=True)
class Outline:
    """A rounded, irregular tissue outline around the origin, in spot spacings."""

    semi_axes: NDArray[np.float64]  # Shape ``(2,)``
    # Of the bumps around the rim, shape ``(4,)`` each.
    amplitudes: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, n_spots: int, geometry: str) -> Outline:
        """Draw an outline that holds about ``n_spots`` spots."""
        aspect = rng.uniform(1.05, 1.35)
        hexagon = np.sqrt(3) / 2
        area = {"square": 1.0, "hexagonal": hexagon, "irregular": hexagon / (1 - _LOST_CELLS)}[geometry]
        radius = np.sqrt(n_spots * area / np.pi) * 0.93
        amplitudes = 0.07 * rng.uniform(0.3, 1.0, 4) / np.sqrt(_OUTLINE_FREQUENCIES / 2)
        phases = rng.uniform(0, 2 * np.pi, 4)
        return cls(radius * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)]), amplitudes, phases)

    @property
    def radius(self) -> float:
        """The mean radius."""
        return float(np.sqrt(self.semi_axes.prod()))

    def level(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Below 1 inside the tissue, growing outwards; shape ``(n, 2)`` to ``(n,)``."""
        scaled = np.abs(points / self.semi_axes)
        angle = np.arctan2(points[:, 1], points[:, 0])
        rim = 1 + np.cos(angle[:, None] * _OUTLINE_FREQUENCIES + self.phases) @ self.amplitudes
        return np.asarray((scaled**2.6).sum(axis=1) ** (1 / 2.6) / rim)

    def grid(self, n_per_side: int = 96) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """A square grid of points over the tissue, shape ``(n_per_side ** 2, 2)``, and which of them lie inside."""
        axes = [np.linspace(-1.3 * half, 1.3 * half, n_per_side) for half in self.semi_axes]
        points = grid_points(axes)
        return points, self.level(points) < 1


def lay_spots(geometry: str, half_width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Spots that fill a square around the origin, in spot spacings, shape ``(n, 2)``."""
    extent = (half_width + 2) * (1.1 if geometry == "irregular" else 1.0)
    row_height, row_shift = (1.0, 0.0) if geometry == "square" else (np.sqrt(3) / 2, 0.5)
    n_rows, n_columns = int(np.ceil(extent / row_height)), int(np.ceil(extent))
    row, column = np.mgrid[-n_rows : n_rows + 1, -n_columns : n_columns + 1].reshape(2, -1)
    points = np.column_stack([column + row_shift * (row % 2), row * row_height])
    if geometry != "irregular":
        return points + rng.uniform(-0.5, 0.5, 2)
    points = points + rng.normal(0, 0.2, points.shape)
    points = points + 0.8 * np.column_stack([smooth_field(rng, 25.0)(points) for _ in range(2)])
    return points[rng.random(len(points)) > _LOST_CELLS]


# The share of the tissue that islands cover, and how many patches one island domain has.
_ISLAND_AREA = {"islands": 0.55, "mixed": 0.2}
_PATCHES = {"islands": 2, "mixed": 2}
_PRIVATE_AREA = 0.08
# Over how many spot spacings one domain's expression fades into the next one's.
_BLEND = 0.4


def draw_layers(rng: np.random.Generator, n_layers: int, outline: Outline, drift: float) -> Field:
    """Draw bands of unequal thickness between concentric arcs with wavy boundaries, the first at the surface.

    Their scores, ``(n, n_layers)``, are 0 inside a band and minus the distance to it outside.
    """
    heading = rng.uniform(0, 2 * np.pi)
    centre = outline.radius * rng.uniform(1.2, 1.8) * np.array([np.cos(heading), np.sin(heading)])
    amplitude = outline.radius * min(0.09, 0.35 / n_layers)
    wave = smooth_field(rng, 0.9 * outline.radius, drift=drift / max(amplitude, 1e-9))

    def depth(points: NDArray[np.float64], slice_index: int) -> NDArray[np.float64]:
        return np.asarray(amplitude * wave(points, slice_index) - np.linalg.norm(points - centre, axis=1))

    points, inside = outline.grid()
    thickness = 0.5 + rng.dirichlet(np.full(n_layers, 4.0)) * n_layers
    boundaries = np.quantile(depth(points[inside], 0), np.cumsum(thickness / thickness.sum())[:-1])
    edges = np.concatenate([[-np.inf], boundaries, [np.inf]])

    def scores(points: NDArray[np.float64], slice_index: int) -> NDArray[np.float64]:
        below = depth(points, slice_index)[:, None]
        return np.asarray(np.minimum(0, np.minimum(below - edges[:-1], edges[1:] - below)))

    return scores


def draw_island(rng: np.random.Generator, centres: NDArray[np.float64], radius: float, drift: float) -> Field:
    """Draw a domain of rounded patches around ``centres``; its score is the distance to the rim, positive inside."""
    radii = radius * rng.uniform(0.8, 1.2, len(centres))
    wave = smooth_field(rng, 1.6 * radius, drift=drift / (0.18 * radius))

    def score(points: NDArray[np.float64], slice_index: int) -> NDArray[np.float64]:
        inside = np.full(len(points), -np.inf)
        for centre, reach in zip(centres, radii, strict=True):
            inside = np.maximum(inside, reach - np.linalg.norm(points - centre, axis=1))
        return np.asarray(inside + 0.18 * radii.mean() * wave(points, slice_index))

    return score


@dataclass(frozen=True)
class Regions:
    """All domains of the tissue."""

    names: list[str]  # Of the domains: layers by depth, then islands, then those that only one slice has
    layers: Field  # Scores of the bands under the islands (one band when the layout has islands only)
    islands: list[Field]  # Score of each island domain, in the order of their names
    absent: tuple[list[int], ...] = ()  # For each slice the domains, by number, that it lacks

    def scores(self, points: NDArray[np.float64], slice_index: int) -> NDArray[np.float64]:
        """How far inside each domain a point lies, shape ``(n, n_domains)``; the largest one wins."""
        islands = [island(points, slice_index) for island in self.islands]
        scores = np.column_stack([self.layers(points, slice_index), *islands])
        if self.absent:
            scores[:, self.absent[slice_index]] = -np.inf
        return scores

    def weights(self, points: NDArray[np.float64], slice_index: int) -> NDArray[np.float64]:
        """Shares of the domains at each point, blended over a fraction of a spacing; rows add to 1."""
        scores = self.scores(points, slice_index) / _BLEND
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def without(self, missing: Mapping[int, Collection[str]], n_slices: int) -> Regions:
        """The same, each slice without the domains ``missing`` from it and the private ones of other slices."""
        private = {f"Private_{index + 1}" for index in range(n_slices)}
        lacking = (private - {f"Private_{index + 1}"} | set(missing.get(index, ())) for index in range(n_slices))
        absent = tuple([number for number, name in enumerate(self.names) if name in lost] for lost in lacking)
        return replace(self, absent=absent)

    def adjacency(self, outline: Outline) -> NDArray[np.bool_]:
        """Which domains touch somewhere in the tissue, shape ``(n_domains, n_domains)``, symmetric."""
        points, inside = outline.grid()
        domain = np.where(inside, replace(self, absent=()).scores(points, 0).argmax(axis=1), -1)
        side = int(np.sqrt(len(points)))
        domain = domain.reshape(side, side)
        touch = np.zeros((len(self.names) + 1,) * 2, dtype=bool)
        touch[domain[1:].ravel(), domain[:-1].ravel()] = True
        touch[domain[:, 1:].ravel(), domain[:, :-1].ravel()] = True
        touch = (touch | touch.T)[:-1, :-1]
        np.fill_diagonal(touch, val=False)
        return touch


def draw_regions(
    rng: np.random.Generator,
    outline: Outline,
    *,
    layout: str,
    n_domains: int,
    private: Mapping[int, float] | None = None,
    drift: float = 0.0,
) -> Regions:
    """Draw the domains of a tissue.

    ``private`` gives, for each slice with a domain of its own, its width as a share of the tissue's.
    """
    private = private or {}
    names, n_layers = domain_names(layout, n_domains)
    layers = draw_layers(rng, n_layers, outline, drift)
    n_islands, n_patches = n_domains - n_layers, _PATCHES.get(layout, 1)
    centres = _spread_points(rng, outline, n_islands * n_patches) if n_islands else np.empty((0, 2))
    area = np.pi * outline.radius**2 * _ISLAND_AREA.get(layout, 0.0)
    radius = np.sqrt(area / max(1, np.pi * len(centres)))
    islands = [draw_island(rng, centres[i::n_islands], radius, drift) for i in range(n_islands)]
    for reach in private.values():
        centre = _spread_points(rng, outline, 1) * 0.5 * reach
        islands.append(draw_island(rng, centre, outline.radius * reach * np.sqrt(_PRIVATE_AREA), drift))
    return Regions(names + [f"Private_{i + 1}" for i in private], layers, islands)


def domain_names(layout: str, n_domains: int) -> tuple[list[str], int]:
    """The names of the domains that slices have in common, in natural order, and how many of them are layers."""
    n_layers = {"layers": n_domains, "islands": 1, "mixed": n_domains - max(1, round(0.3 * n_domains))}[layout]
    names = ["Background"] if layout == "islands" else [f"Layer_{i + 1}" for i in range(n_layers)]
    return names + [f"Island_{i + 1}" for i in range(n_domains - n_layers)], n_layers


def _spread_points(rng: np.random.Generator, outline: Outline, n_points: int) -> NDArray[np.float64]:
    """Points inside the tissue, each as far as possible from those before it (of random candidates)."""
    candidates = rng.uniform(-1, 1, (2000, 2)) * outline.semi_axes
    candidates = candidates[outline.level(candidates) < 0.8]
    chosen = [candidates[0]]
    distance = np.full(len(candidates), np.inf)
    for _ in range(n_points - 1):
        distance = np.minimum(distance, np.linalg.norm(candidates - chosen[-1], axis=1))
        chosen.append(candidates[distance.argmax()])
    return rng.permutation(np.array(chosen))[:n_points]


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
