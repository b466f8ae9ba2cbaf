"""Averaging distances over encoders."""

from __future__ import annotations

import torch

from spotscape.nn import LeadingAxes


def embeddings(n: int = 100, d: int = 5, m: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator) * (k + 1) for k in range(m)]


def test_with_all_axes_squared_distances_are_the_mean() -> None:
    single = embeddings()
    joined = LeadingAxes.of(single, 15).project(single)
    expected = torch.stack([torch.cdist(z.double(), z.double()).square() for z in single]).mean(0)
    torch.testing.assert_close(torch.cdist(joined.double(), joined.double()).square(), expected, rtol=1e-4, atol=1e-4)


def test_axes_are_principal() -> None:
    single = embeddings()
    leading = LeadingAxes.of(single, 4)
    joined = leading.project(single)
    assert joined.shape == (100, 4)
    assert joined.dtype == torch.float32
    torch.testing.assert_close(joined.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    covariance = joined.T @ joined
    torch.testing.assert_close(covariance, torch.diag(covariance.diag()), atol=1e-2, rtol=0)
    assert (covariance.diag().diff() < 0).all()
    torch.testing.assert_close(leading.axes.T @ leading.axes, torch.eye(4, dtype=torch.float64))
    assert (leading.axes.gather(0, leading.axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_other_spots_go_to_the_same_axes() -> None:
    single = embeddings()
    leading = LeadingAxes.of(single, 6)
    torch.testing.assert_close(leading.project([z[7:9] for z in single]), leading.project(single)[7:9])
