"""All randomness comes from one ``random_state`` through local generators; global state is never touched."""

from __future__ import annotations

import numpy as np
import torch


class RandomSource:
    """Independent, named streams of random numbers from one seed.

    A stream depends on the seed and its own name only, so adding a consumer never shifts the numbers of another.

    Parameters
    ----------
    random_state
        The seed; ``None`` draws one from the operating system (kept in :attr:`seed`, so that the run can be repeated).
    """

    def __init__(self, random_state: int | None = 0) -> None:
        # 63 bits, so that h5ad and zarr can keep a drawn seed.
        drawn = int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1
        self.seed = drawn if random_state is None else int(random_state)
        if self.seed < 0:
            msg = f"random_state={random_state} is negative; give a non-negative integer or None."
            raise ValueError(msg)

    def _sequence(self, purpose: str) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, *purpose.encode()])

    def numpy(self, purpose: str) -> np.random.Generator:
        """A NumPy generator for ``purpose``."""
        return np.random.default_rng(self._sequence(purpose))

    def torch(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A torch generator for ``purpose`` on ``device``."""
        return torch.Generator(device).manual_seed(self.integer(purpose))

    def integer(self, purpose: str) -> int:
        """A 32-bit seed for a library that takes an integer ``random_state``."""
        return int(self._sequence(purpose).generate_state(1, np.uint32)[0])
