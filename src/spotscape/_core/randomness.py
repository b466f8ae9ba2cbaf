"""All randomness comes from one ``random_state`` through local generators; global state is never touched."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.validation import described

if TYPE_CHECKING:
    import pandas as pd
    import torch

# What a public function takes as ``random_state``.
Seed = int | np.random.Generator | np.random.RandomState | None


def seed_of(random_state: Any, name: str = "random_state") -> int | None:
    """The seed that ``random_state`` is, or one drawn from a generator of NumPy; ``None`` stays."""
    if random_state is None:
        return None
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    if isinstance(random_state, (bool, np.bool_)) or not isinstance(random_state, (int, np.integer)):
        msg = f"{name} must be an integer, None or a generator of NumPy, not {described(random_state)}."
        raise TypeError(msg)
    if not 0 <= random_state < 2**63:
        what = "is negative" if random_state < 0 else "needs more than 63 bits"
        msg = f"{name}={random_state} {what}; give a non-negative integer or None."
        raise ValueError(msg)
    return int(random_state)


class RandomSource:
    """Independent, named streams of random numbers from one seed.

    A stream depends on the seed and its own name only, so adding a consumer never shifts the numbers of another. A
    seed of ``None`` is drawn from the operating system; :attr:`seed` keeps it, so that the run can be repeated.
    """

    def __init__(self, random_state: Seed = 0) -> None:
        seed = seed_of(random_state)
        self.seed = secrets.randbits(32) if seed is None else seed

    def _sequence(self, purpose: str) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, *purpose.encode()])

    def numpy(self, purpose: str) -> np.random.Generator:
        """A NumPy generator for ``purpose``."""
        return np.random.default_rng(self._sequence(purpose))

    def torch(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A torch generator for ``purpose`` on ``device``."""
        import torch

        return torch.Generator(device).manual_seed(self.integer(purpose))

    def integer(self, purpose: str) -> int:
        """A 32-bit seed for a library that takes an integer ``random_state``."""
        return int(self._sequence(purpose).generate_state(1, np.uint32)[0])


def hash_names(names: pd.Index) -> np.ndarray:
    """One uint64 for each name, the same in every session."""
    import pandas as pd

    return np.asarray(pd.util.hash_array(np.asarray(names.astype(str), dtype=object)))


def drawn_by_name(names: pd.Index, seed: int) -> np.ndarray:
    """Place of each name in a random order, int64 from 0, which follows the names when they are sorted differently."""
    bits = mix_bits(hash_names(names) ^ np.uint64(seed))
    return np.asarray(bits.argsort(kind="stable").argsort())


def mix_bits(values: np.ndarray) -> np.ndarray:
    """Scramble the bits of uint64 (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
