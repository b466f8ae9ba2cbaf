"""Components and genes: products, masks and sums of what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from spotscape.nn import Features
from spotscape.nn.features import apply_mask

RNG = np.random.default_rng(0)
DENSE = RNG.poisson(0.7, (40, 12)).astype(np.float64)
LOADINGS = np.linalg.qr(RNG.normal(size=(50, 12)))[0]


def features(kind: str, device: torch.device) -> tuple[Features, torch.Tensor]:
    """Features, and the dense matrix that is multiplied with weights."""
    matrix = sparse.csr_array(DENSE) if kind == "sparse" else DENSE
    options = {"loadings": LOADINGS, "unit": None} if kind == "components" else {}
    found = Features.of(matrix, device=device, dtype=torch.float64, **options)
    return found, torch.tensor(DENSE, device=device) / found.unit


@pytest.mark.parametrize("kind", ["dense", "sparse", "components"])
def test_products_and_sums(kind: str, device: torch.device) -> None:
    found, dense = features(kind, device)
    weight = torch.rand(2, 3, 12, 5, dtype=torch.float64, device=device)
    torch.testing.assert_close(found.multiply(weight), dense @ weight)
    hidden = torch.rand(40, 5, dtype=torch.float64, device=device)
    torch.testing.assert_close(found.multiply_transposed(hidden), dense.T @ hidden)
    torch.testing.assert_close(found.column_means, dense.mean(0))
    torch.testing.assert_close(found.spread, (dense - dense.mean(0)).square().sum())
    rows = torch.tensor([7, 0, 31], device=device)
    torch.testing.assert_close(found.take(rows).multiply(weight), dense[rows] @ weight)
    torch.testing.assert_close(found.first(9).multiply(weight), dense[:9] @ weight)


def test_dropping_genes_is_exact_in_components(device: torch.device) -> None:
    """The matrix between scores and weights is what dropping genes from the expression comes to."""
    found, scores = features("components", device)
    loadings = torch.tensor(LOADINGS, device=device)
    kept = found.draw_kept(2, 0.3, torch.Generator(device).manual_seed(0))
    assert kept.shape == (2, 50)
    weight = torch.rand(3, 12, 4, dtype=torch.float64, device=device)
    seen = found.multiply(apply_mask(found.mask(kept), weight))
    for view in range(2):
        genes = (scores @ loadings.T) * kept[view]
        torch.testing.assert_close(seen[view], genes @ (loadings @ weight))


def test_dropping_columns_without_loadings() -> None:
    found, dense = features("sparse", torch.device("cpu"))
    kept = torch.arange(12)[None] % 3 > 0
    weight = torch.rand(1, 12, 4, dtype=torch.float64)
    torch.testing.assert_close(found.multiply(apply_mask(found.mask(kept), weight))[0, 0], (dense * kept) @ weight[0])


def test_the_unit_is_the_root_mean_square() -> None:
    found = Features.of(DENSE.astype(np.float32) * 8, unit=None)
    assert float(found.values.square().mean()) == pytest.approx(1, abs=1e-6)
    assert Features.of(np.zeros((3, 2), np.float32), unit=None).unit == 1
