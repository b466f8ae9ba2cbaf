"""Expression to components for the encoders, and decoded components back to expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse

from spotscape._core.graphs import within_groups
from spotscape._core.rows import LARGEST_LOGARITHM, expm1
from spotscape._core.validation import looks_like_counts
from spotscape._stats.components import PrincipalComponents, smooth
from spotscape.nn.integration import integrate
from spotscape.nn.matching import mutual_share, some_of_each

if TYPE_CHECKING:
    import torch

    from spotscape.models._config import EncoderConfig
    from spotscape.models._saving import Reference

# A slice's offset is a mean, which more spots hardly change. Single spots are noisy: their neighbourhoods are compared.
_SPOTS_PER_SLICE, _HOPS = 2_000, 2
# Least variance of noise in a direction, relative to the largest: directions without noise would outweigh all others.
_LEAST_NOISE = 0.01


@dataclass(frozen=True)
class Reduction:
    """Expression to components and back. If ``is_log``, logarithms are undone first and taken again at the end."""

    components: PrincipalComponents
    is_log: bool

    @classmethod
    def fit(cls, expression: Any, adjacency: Any, config: EncoderConfig) -> Self | None:
        """Compute the components; ``None`` if the configuration takes all of the expression.

        Negative values show a representation that is already centred, which is neither scaled nor clipped.
        """
        if config.n_comps is None:
            return None
        is_expression = bool(expression.min() >= 0)
        is_log = config.linear_scale and is_expression and bool(expression.max() <= LARGEST_LOGARITHM)
        is_log = is_log and not looks_like_counts(expression)
        components = PrincipalComponents.fit(
            expm1(expression) if is_log else expression,
            config.n_comps,
            graph=adjacency if config.spatial_components else None,
            scale=is_expression and config.dispersion is not None,
            dispersion=(config.dispersion or 0.0) if is_expression else 0.0,
            clip=config.clip if is_expression else None,
        )
        return cls(components, is_log)

    def project(self, expression: Any) -> np.ndarray:
        """Components of spots, float32 ``(N, p)``."""
        return self.components.project(expm1(expression) if self.is_log else expression)

    def restore(self, decoded: np.ndarray, expression: Any) -> np.ndarray:
        """Expression in the units of the input, float32 ``(N, G)``, from decoded components ``(N, p)``."""
        linear = self.components.restore(decoded)
        restored = np.log1p(np.maximum(linear, 0, out=linear), out=linear) if self.is_log else linear
        return to_units(restored, expression)


def smooth_within(scores: np.ndarray, adjacency: Any, slices: np.ndarray | None) -> np.ndarray:
    """Means over neighbourhoods, ``(N, p)``. Edges of a 3-D graph that join slices are ignored."""
    if slices is not None:
        adjacency = within_groups(adjacency, np.asarray(slices))
    return smooth(scores, adjacency, _HOPS)


def slice_offsets(
    scores: np.ndarray,
    adjacency: Any,
    slices: np.ndarray | None,
    *,
    reference: Reference | None = None,
    device: torch.device | str = "cpu",
) -> np.ndarray | None:
    """Offset of the components of each spot's slice from those of all slices, or from the reference, ``(N, p)``.

    With a strong batch effect, the encoder would learn to distinguish slices instead of regions. ``None`` if there is
    nothing to compare a slice with.
    """
    known = None if reference is None else reference.inputs
    codes = np.zeros(len(scores), int) if slices is None else np.unique(slices, return_inverse=True)[1]
    if known is None and codes.max() == 0:
        return None
    smoothed = smooth_within(scores, adjacency, slices)
    rows = some_of_each(codes, _SPOTS_PER_SLICE)
    if known is None or reference is None:
        held = np.zeros(len(rows), dtype=bool)
        return _offsets(smoothed[rows], codes[rows], held, scores[rows] - smoothed[rows], device)[codes]
    kept = some_of_each(reference.slices, _SPOTS_PER_SLICE)
    others = 1 + np.unique(reference.slices[kept], return_inverse=True)[1]
    offsets = []
    for code in range(codes.max() + 1):
        own = rows[codes[rows] == code]
        values, both = np.concatenate([smoothed[own], known[kept]]), np.concatenate([np.zeros(len(own), int), others])
        offsets.append(_offsets(values, both, both > 0, scores[own] - smoothed[own], device)[0])
    return np.stack(offsets)[codes]


def _offsets(
    values: np.ndarray, codes: np.ndarray, held: np.ndarray, noise: np.ndarray, device: torch.device | str
) -> np.ndarray:
    """Offset of each slice from all slices, or from those that are held, ``(S, p)``: the best of three estimates.

    They are the mixture of :func:`~spotscape.nn.integrate`, which allows for other proportions of the regions in each
    slice; the same in components in which ``noise`` ``(n, p)``, the deviations of spots from their neighbourhoods, is
    equal in all directions; and no offset, right if slices have one region in common. Most spots then have a mutual
    match elsewhere.
    """
    first = np.unique(codes, return_index=True)[1]
    noise = noise.astype(np.float64)
    variances, directions = np.linalg.eigh(noise.T @ noise / len(noise))
    scales = np.sqrt(np.maximum(variances, _LEAST_NOISE * variances.max()))
    if scales[-1] == 0:
        scales[:] = 1
    estimates = []
    for scale in (scales, np.ones_like(scales)):
        turned = values @ (directions / scale)
        moved = integrate(turned, codes, held=held, ridge=np.inf, device=device)
        estimates.append(((turned - moved)[first] * scale) @ directions.T)
    estimates.append(np.zeros((len(first), values.shape[1])))
    return max(estimates, key=lambda offsets: mutual_share(values - offsets[codes], codes))


def to_units(decoded: np.ndarray, expression: Any) -> np.ndarray:
    """Map each gene of decoded expression ``(N, G)`` onto its least-squares line to the given values, in place.

    Neither a mean of logarithms nor a direction determines the contrast of a gene; a line keeps the order of spots.
    """
    means = np.asarray(expression.mean(0)).ravel()
    decoded -= decoded.mean(0, dtype=np.float64)
    products = expression.multiply(decoded) if sparse.issparse(expression) else expression * decoded
    squares = np.einsum("ij,ij->j", decoded, decoded, dtype=np.float64)
    covariance = np.asarray(products.sum(0, dtype=np.float64)).ravel()
    # A negative slope would turn a gene round; a gene decoded as constant has none.
    decoded *= np.divide(np.maximum(covariance, 0), squares, out=np.zeros_like(squares), where=squares > 0)
    decoded += means
    return decoded
