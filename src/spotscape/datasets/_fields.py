"""Smooth random fields over the plane, from which outlines, boundaries and gradients are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_WAVES = 6


@dataclass(frozen=True)
class SmoothField:
    """A sum of plane waves with unit variance over the plane.

    Attributes
    ----------
    wave_vectors
        Shape ``(n_waves, 2)``, radians per unit of length.
    phases
        Shape ``(n_waves,)``.
    drift
        Change of each phase from one slice to the next, shape ``(n_waves,)``.
    """

    wave_vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    drift: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength: float, *, drift: float = 0.0) -> SmoothField:
        """Draw a field with wavelengths around ``wavelength`` whose phases move by about ``drift`` per slice."""
        angles = rng.uniform(0, 2 * np.pi, _N_WAVES)
        lengths = wavelength * rng.uniform(0.6, 1.6, _N_WAVES)
        directions = np.column_stack([np.cos(angles), np.sin(angles)])
        phases = rng.uniform(0, 2 * np.pi, _N_WAVES)
        return cls(2 * np.pi * directions / lengths[:, None], phases, drift * rng.standard_normal(_N_WAVES))

    def __call__(self, points: NDArray[np.float64], slice_index: int = 0) -> NDArray[np.float64]:
        """The value at each of ``points``, shape ``(n, 2)`` to ``(n,)``."""
        phases = self.phases + slice_index * self.drift
        value = np.zeros(len(points))
        for wave_vector, phase in zip(self.wave_vectors, phases, strict=True):
            value += np.cos(points @ wave_vector + phase)
        return np.asarray(value * np.sqrt(2 / len(phases)))
