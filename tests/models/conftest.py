"""A tissue of two halves that both models should find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 16


@pytest.fixture(scope="session")
def tissue() -> Callable[..., tuple[np.ndarray, sparse.csr_array, np.ndarray]]:
    """Return a function that makes log expression, a graph and the truth, anew at each call."""
    return _tissue


def _tissue(seed: int = 0, n_genes: int = 60) -> tuple[np.ndarray, sparse.csr_array, np.ndarray]:
    """Two halves of a 16×16 grid that differ in a third of the genes, under noise that hides it from single spots."""
    rng = np.random.default_rng(seed)
    x, y = np.divmod(np.arange(SIDE * SIDE), SIDE)
    truth = (x >= SIDE // 2).astype(int)
    means = np.ones((2, n_genes))
    means[1, : n_genes // 3] = 1.7
    expression = np.log1p(rng.poisson(means[truth])).astype(np.float32)
    distance = np.abs(x[:, None] - x) + np.abs(y[:, None] - y)
    return expression, sparse.csr_array((distance == 1).astype(np.float32)), truth
