"""The exact reconstruction loss against the error of a decoded matrix that is really built."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import sparse

from spotscape.nn import LowRankFeatures, as_features, reconstruction_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def dense_reconstruction(expression: Tensor, views: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    return torch.stack([(expression - hidden @ weight - bias).square().mean() for hidden in views]).mean()


def problem(
    *, n: int = 120, genes: int = 45, width: int = 9, noise: float = 1.0, seed: int = 0
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Sparse, non-negative expression as after log-normalisation, two views' hidden layers, and a last layer."""
    generator = torch.Generator().manual_seed(seed)
    hidden = [torch.rand(n, width, generator=generator, dtype=torch.float64) for _ in range(2)]
    weight = torch.randn(width, genes, generator=generator, dtype=torch.float64)
    bias = torch.randn(genes, generator=generator, dtype=torch.float64)
    exact = hidden[0] @ weight + bias
    expression = (exact + noise * torch.randn(n, genes, generator=generator, dtype=torch.float64)).clamp(min=0)
    return expression, hidden, weight, bias


def as_leaves(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [tensor.detach().to(dtype).clone().requires_grad_() for tensor in tensors]


def evaluate(
    loss: Callable[..., Tensor], hidden: Sequence[Tensor], weight: Tensor, bias: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    leaves = as_leaves([*hidden, weight, bias], dtype)
    value = loss(leaves[: len(hidden)], *leaves[len(hidden) :])
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def test_by_hand() -> None:
    """One spot, one gene: X = 3, decoded 2·1 + 0.5 and 2·2 + 0.5; errors 0.25 and 2.25."""
    features = as_features(np.array([[3.0]]), dtype=torch.float64)
    hidden = [torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64)]
    weight, bias = torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    assert reconstruction_loss(features, hidden, weight, bias).item() == pytest.approx((0.25 + 2.25) / 2)


@pytest.mark.parametrize("storage", ["dense", "csr", "csc"])
@pytest.mark.parametrize("n_views", [1, 2])
def test_equals_dense_in_float64(storage: str, n_views: int) -> None:
    expression, hidden, weight, bias = problem()
    wrap = {"dense": np.asarray, "csr": sparse.csr_array, "csc": sparse.csc_array}[storage]
    features = as_features(wrap(expression.numpy()), dtype=torch.float64)
    hidden = hidden[:n_views]
    ours = evaluate(partial(reconstruction_loss, features), hidden, weight, bias, torch.float64)
    dense = evaluate(partial(dense_reconstruction, expression), hidden, weight, bias, torch.float64)
    for found, expected in zip(ours, dense, strict=True):
        assert relative(found, expected) < 1e-12


def test_low_rank_equals_dense_of_its_product() -> None:
    _, hidden, weight, bias = problem()
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(120, 6, generator=generator, dtype=torch.float64)
    loadings = torch.linalg.qr(torch.randn(45, 6, generator=generator, dtype=torch.float64))[0]
    features, product = LowRankFeatures(scores, loadings), scores @ loadings.T
    ours = evaluate(partial(reconstruction_loss, features), hidden, weight, bias, torch.float64)
    dense = evaluate(partial(dense_reconstruction, product), hidden, weight, bias, torch.float64)
    for found, expected in zip(ours, dense, strict=True):
        assert relative(found, expected) < 1e-12


@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("noise", [3.0, 1.0, 0.3])
def test_float32_is_no_less_accurate_than_dense_float32(storage: str, noise: float) -> None:
    """At the width of the decoder, on expression with 85 % zeros, against the dense formula in float64."""
    ours, dense = [], []
    for seed in range(3):
        expression, hidden, weight, bias = problem(n=1000, genes=400, width=256, noise=noise, seed=seed)
        expression *= torch.rand(expression.shape, generator=torch.Generator().manual_seed(seed)) < 0.15
        # All rounded to float32 first: what is compared is the arithmetic, not the rounding of the input.
        expression, *hidden, weight, bias = (t.float().double() for t in (expression, *hidden, weight, bias))
        single = expression.float()
        features = as_features(single.numpy() if storage == "dense" else sparse.csr_array(single.numpy()))
        exact = evaluate(partial(dense_reconstruction, expression), hidden, weight, bias, torch.float64)
        for errors, loss in (
            (ours, partial(reconstruction_loss, features)),
            (dense, partial(dense_reconstruction, single)),
        ):
            found = evaluate(loss, hidden, weight, bias, torch.float32)
            errors.append([relative(f, e) for f, e in zip(found, exact, strict=True)])
    np.testing.assert_array_less(np.mean(ours, axis=0), np.mean(dense, axis=0))
