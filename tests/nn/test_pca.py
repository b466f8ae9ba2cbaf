"""Averaging distances over encoders."""

from __future__ import annotations

import pytest
import torch

from spotscape.nn import PCA


def embeddings(n: int = 100, d: int = 5, m: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator) * (k + 1) for k in range(m)]


def test_with_all_axes_squared_distances_are_the_mean() -> None:
    single = embeddings()
    joined = PCA.of(single, 15).project(single)
    expected = torch.stack([torch.cdist(z.double(), z.double()).square() for z in single]).mean(0)
    torch.testing.assert_close(torch.cdist(joined.double(), joined.double()).square(), expected, rtol=1e-4, atol=1e-4)


def test_axes_are_principal() -> None:
    single = embeddings()
    leading = PCA.of(single, 4)
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
    leading = PCA.of(single, 6)
    torch.testing.assert_close(leading.project([z[7:9] for z in single]), leading.project(single)[7:9])


class TestWhitening:
    """The standard deviations of the axes, to the power of one minus the whitening, times a constant."""

    @pytest.mark.parametrize("whitening", [0.0, 0.25, 0.5, 1.0])
    def test_spread_of_the_axes(self, whitening: float) -> None:
        single = embeddings()
        plain = PCA.of(single, 6).project(single).double()
        found = PCA.of(single, 6, whitening=whitening).project(single).double()
        expected = plain * plain.std(0) ** -whitening
        expected *= (plain.square().sum() / expected.square().sum()).sqrt()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.var(0).sum(), plain.var(0).sum(), rtol=1e-5, atol=0)

    def test_none_is_a_rotation(self) -> None:
        """Written out: centred, side by side, on the eigenvectors of the covariance."""
        single = embeddings()
        joined = torch.cat(single, dim=1).double() / 3**0.5
        joined -= joined.mean(0)
        axes = torch.linalg.svd(joined, full_matrices=False).Vh[:4].T
        found = PCA.of(single, 4, whitening=0.0).project(single)
        torch.testing.assert_close(found.double().abs(), (joined @ axes).abs(), rtol=1e-4, atol=1e-4)

    def test_all_makes_the_axes_alike(self) -> None:
        single = embeddings()
        spread = PCA.of(single, 8, whitening=1.0).project(single).std(0)
        torch.testing.assert_close(spread, spread.mean().expand(8), rtol=1e-4, atol=0)

    @pytest.mark.parametrize("whitening", [0.0, 0.25, 1.0])
    def test_dead_axes_are_zero(self, whitening: float) -> None:
        """Of ten axes two vary: the others are rounding, which no power may blow up."""
        (z,) = embeddings(d=2, m=1)
        mixed = z @ torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
        leading = PCA.of([mixed], 10, whitening=whitening)
        found = leading.project([mixed])
        assert (found[:, 2:] == 0).all()
        assert (found[:, :2].std(0) > 0.1).all()
        torch.testing.assert_close(found.var(0).sum(), mixed.var(0).sum(), rtol=1e-4, atol=0)
        elsewhere = leading.project([torch.full((3, 10), 7.0)])
        assert torch.isfinite(elsewhere).all()

    @pytest.mark.parametrize("whitening", [0.0, 0.25, 1.0])
    def test_spots_that_are_all_alike(self, whitening: float) -> None:
        alike = [torch.full((20, 3), value) for value in (0.3, 2.0)]
        found = PCA.of(alike, 4, whitening=whitening).project(alike)
        torch.testing.assert_close(found, torch.zeros(20, 4), atol=1e-12, rtol=0)

    def test_fewer_axes_than_asked_for(self) -> None:
        single = embeddings()
        assert PCA.of(single, 40, whitening=0.5).project(single).shape == (100, 15)
