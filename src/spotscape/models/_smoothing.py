"""The linear baseline: what an encoder sees, averaged over neighbours, and read as the encoders are; not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spotscape._core.arguments import check_fields
from spotscape.models._reduction import Reduction
from spotscape.nn.components import PCA
from spotscape.nn.graph import smooth

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Smoothing:
    """How expression is reduced before it is smoothed, and how the result is scaled."""

    n_comps: int
    spatial_components: bool
    linear_scale: bool
    dispersion: float | None
    clip: float | None
    n_axes: int | None
    whitening: float

    def __post_init__(self) -> None:
        check_fields(self)

    def apply(
        self,
        matrix: Any,
        graph: sparse.csr_array,
        n_hops: int,
        *,
        is_expression: bool,
        slices: np.ndarray | None = None,
    ) -> np.ndarray:
        """Smoothed components, float32 ``(N, n_axes)``, centred in each of ``slices``; a representation as it is."""
        if not is_expression:
            return smooth(np.asarray(matrix, dtype=np.float32), graph, n_hops)
        reduction = Reduction.fit(matrix, graph, self)
        values = matrix if reduction is None else reduction.project(matrix)
        for code in () if slices is None or reduction is None else np.unique(slices):
            values[slices == code] -= values[slices == code].mean(axis=0)
        smoothed = smooth(np.asarray(values, dtype=np.float32), graph, n_hops)
        if self.n_axes is None and self.whitening == 0:
            return smoothed
        tensors = [torch.from_numpy(smoothed)]
        axes = PCA.of(tensors, self.n_axes or self.n_comps, whitening=self.whitening)
        return axes.project(tensors).numpy()
