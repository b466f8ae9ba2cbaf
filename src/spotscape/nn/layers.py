"""Layers shared by the encoders: graph convolution on torch_geometric, fed with features of any storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.nn import GCNConv
from torch_geometric.nn.inits import glorot

from spotscape.nn.normalization import SpotNorm

if TYPE_CHECKING:
    from collections.abc import Callable

    from spotscape.nn.features import FeatureMatrix, MaskedFeatures
    from spotscape.nn.objectives.masking import MaskedSpots

    Features = FeatureMatrix | MaskedFeatures | MaskedSpots


M = TypeVar("M", bound=nn.Module)


class GraphConvolution(GCNConv):
    r"""``Â X W`` with an adjacency that is already normalised (Kipf & Welling 2017).

    Propagation stays in the precision of the adjacency under autocast: sums over neighbours are memory-bound, and
    rounding them gains nothing.

    Shapes: ``x`` is ``(N, F_in)``, a tensor or a feature matrix; ``edge_index`` the sparse CSR ``(N, N)`` from
    :meth:`~spotscape.nn.SpotGraph.normalized`; the output is ``(N, F_out)``.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        # No bias: batch normalisation follows and would remove it.
        super().__init__(in_features, out_features, normalize=False, bias=False)

    def forward(self, x: Tensor | FeatureMatrix | MaskedFeatures, edge_index: Tensor) -> Tensor:
        """``Â X W``, ``(N, F_out)``."""
        seen = None if isinstance(x, Tensor) else x.averaged(lambda values: _propagated(edge_index, values))
        if seen is None:
            return cast("Tensor", super().forward(x, edge_index))
        return cast("Tensor", self.lin(seen)).to(edge_index.dtype)

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        return _propagated(adj_t, x)


def _propagated(adjacency: Tensor, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return cast("Tensor", _Propagation.apply(adjacency, x.to(adjacency.dtype)))  # type: ignore[no-untyped-call]


class _Propagation(torch.autograd.Function):
    """Adjacency times dense; for the gradient an adjacency is transposed once, not by each layer in each step."""

    _transposed = WeakTensorKeyDictionary()

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, x: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        known = _Propagation._transposed
        if ctx.adjacency not in known:
            known[ctx.adjacency] = ctx.adjacency.t().to_sparse_csr()
        return None, known[ctx.adjacency] @ gradient.contiguous()


class FeatureProjection(nn.Module):
    """``X W`` for expression that need not be a tensor; the first weight of an encoder, ``(G, h)``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew (Glorot & Bengio 2010)."""
        glorot(self.weight)

    def forward(self, features: Features) -> Tensor:
        return features.matmul(self.weight)


class GraphBlock(nn.Module):
    """Graph convolution, batch normalisation and, unless ``linear``, ReLU: ``(N, F_in)`` to ``(N, F_out)``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        momentum: float,
        from_features: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.convolution = GraphConvolution(in_features, out_features)
        if from_features:
            self.convolution.lin = FeatureProjection(in_features, out_features)
        self.norm = SpotNorm(out_features, momentum=momentum)

    def forward(self, x: Tensor | Features, adjacency: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.convolution(x, adjacency))
        return normalised if self.linear else normalised.relu_()


@dataclass(frozen=True, eq=False)
class PartialDraws:
    """A generator for some rows of a tissue: they get the random numbers that are theirs among those of all rows.

    Attributes
    ----------
    generator
        In the same state in every process.
    rows
        The rows at hand, int64 ``(n,)``.
    n_rows
        How many there are in all.
    """

    generator: torch.Generator
    rows: Tensor
    n_rows: int


def drop_out(x: Tensor, rate: float, generator: torch.Generator | PartialDraws | None) -> Tensor:
    """Set a share of the entries of ``x`` to zero and scale up the others; nothing without a generator.

    torch's own dropout draws from the global generator, which belongs to the user.
    """
    if generator is None or rate == 0:
        return x
    if isinstance(generator, PartialDraws):
        whole = torch.rand((generator.n_rows, *x.shape[1:]), generator=generator.generator, device=x.device)
        keep = whole[generator.rows] >= rate
    else:
        keep = torch.rand(x.shape, generator=generator, device=x.device) >= rate
    return x * (keep / (1 - rate)).to(x.dtype)


def build_seeded(build: Callable[[], M], seed: int) -> M:
    """Call ``build`` with torch's CPU generator seeded, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def calibrate_batch_norm(module: nn.Module, forward: Callable[[], Tensor]) -> None:
    """Set every running statistic to that of one forward pass over the whole, unmasked tissue.

    Running averages over augmented views describe thinned graphs; embeddings are read from the full one.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm1d)]
    momenta = [layer.momentum for layer in norms]
    was_training = module.training
    try:
        module.train()
        for layer in norms:
            layer.momentum = 1.0
        with torch.no_grad():
            forward()
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        module.train(was_training)
