"""Load tissue for tests and examples: simulated with known domains, or real and downloaded once."""

from __future__ import annotations

from spotscape.datasets._real import dlpfc, starmap
from spotscape.datasets._simulate import simulate_tissue

__all__ = ["dlpfc", "simulate_tissue", "starmap"]


def __dir__() -> list[str]:
    return sorted(__all__)
