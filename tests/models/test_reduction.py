"""What encoders see, and the way back: logarithms, representations, scales, graphs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse

from spotscape.models import SpaCrossConfig, SpotscapeConfig
from spotscape.models._reduction import Reduction, to_units
from spotscape.nn import PrincipalComponents

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = SpotscapeConfig(
    n_comps=8, linear_scale=True, spatial_components=True, dispersion=0.5, clip=3.0, whitening=0.25
)
STORAGES = pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array, sparse.csr_matrix])


def fit(expression: Any, adjacency: Any, **changes: Any) -> Reduction:
    reduction = Reduction.fit(expression, adjacency, dataclasses.replace(CONFIG, **changes))
    assert reduction is not None
    return reduction


def same(found: PrincipalComponents, expected: PrincipalComponents) -> None:
    for field in dataclasses.fields(PrincipalComponents):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))


@STORAGES
@pytest.mark.parametrize("spatial", [True, False])
def test_components_are_those_of_the_configuration(
    spatial: bool, storage: Callable[[np.ndarray], Any], tissue: Callable[..., Any]
) -> None:
    """Of counts on a linear scale, of means over neighbours or of single spots, with dispersion and clip."""
    expression, adjacency, _ = tissue()
    found = fit(storage(expression), adjacency, spatial_components=spatial)
    assert found.is_log
    graph = adjacency if spatial else None
    linear = storage(expression).expm1() if storage is not np.asarray else np.expm1(expression)
    expected = PrincipalComponents.fit(linear, 8, graph=graph, dispersion=0.5, clip=3.0)
    same(found.components, expected)
    scores = found.project(storage(expression))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, expected.project(linear))


def test_each_field_is_heard(tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    changes = [{}, {"linear_scale": False}, {"spatial_components": False}, {"dispersion": 0.0}, {"clip": None}]
    loadings = [fit(expression, adjacency, **change).components.loadings.tobytes() for change in changes]
    assert len(set(loadings)) == len(changes)


def test_without_a_dispersion_genes_are_not_scaled(tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    found = fit(expression, adjacency, dispersion=None).components
    same(found, PrincipalComponents.fit(np.expm1(expression), 8, graph=adjacency, scale=False, clip=3.0))
    np.testing.assert_array_equal(found.scale, 1)


@pytest.mark.parametrize("config", [SpotscapeConfig(n_comps=None), SpaCrossConfig(n_comps=None)])
def test_none_leaves_expression_as_it_is(config: Any, tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    assert Reduction.fit(expression, adjacency, config) is None


@pytest.mark.parametrize("case", ["large", "whole", "integers"])
def test_what_is_no_logarithm_is_not_exponentiated(case: str, tissue: Callable[..., Any]) -> None:
    expression, adjacency, _ = tissue()
    linear = np.expm1(expression)
    values = {"large": linear * 30, "whole": linear.round(), "integers": linear.round().astype(np.int64)}[case]
    found = fit(values, adjacency)
    assert not found.is_log
    same(found.components, PrincipalComponents.fit(values, 8, graph=adjacency, dispersion=0.5, clip=3.0))


@STORAGES
def test_a_representation_is_centred_and_rotated(
    storage: Callable[[np.ndarray], Any], tissue: Callable[..., Any]
) -> None:
    """Negative values: nothing is exponentiated, scaled, weighted or cut off."""
    _, adjacency, _ = tissue()
    scores = np.random.default_rng(0).normal(size=(256, 12)) * np.arange(12, 0, -1) + 1
    found = fit(storage(scores), adjacency)
    assert not found.is_log
    assert found.components.ceiling is None
    np.testing.assert_array_equal(found.components.scale, 1)
    same(found.components, PrincipalComponents.fit(storage(scores), 8, graph=adjacency, scale=False))
    whole = fit(storage(scores), adjacency, n_comps=12).project(storage(scores))
    distances, expected = (np.square(z[:, None] - z[None]).sum(2) for z in (whole, scores))
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-2)


class TestTheWayBack:
    @STORAGES
    @pytest.mark.parametrize("linear_scale", [True, False])
    def test_all_components_restore_the_expression(
        self, linear_scale: bool, storage: Callable[[np.ndarray], Any], tissue: Callable[..., Any]
    ) -> None:
        expression, adjacency, _ = tissue()
        found = fit(storage(expression), adjacency, n_comps=60, clip=None, linear_scale=linear_scale)
        assert found.is_log is linear_scale
        restored = found.restore(found.project(storage(expression)), storage(expression))
        assert restored.dtype == np.float32
        np.testing.assert_allclose(restored, expression, atol=2e-3)

    def test_components_of_other_spots(self, tissue: Callable[..., Any]) -> None:
        (expression, adjacency, _), (other, _, _) = tissue(), tissue(seed=1)
        found = fit(expression, adjacency, n_comps=60, clip=None)
        np.testing.assert_allclose(found.restore(found.project(other), other), other, atol=2e-3)

    def test_a_few_are_closer_than_the_mean(self, tissue: Callable[..., Any]) -> None:
        """And each gene keeps its mean; float64 does not leak."""
        expression, adjacency, _ = tissue()
        expression = expression.astype(np.float64)
        found = fit(expression, adjacency)
        restored = found.restore(found.project(expression), expression)
        assert restored.dtype == np.float32
        np.testing.assert_allclose(restored.mean(0), expression.mean(0), atol=1e-4)
        missed, varies = np.square(restored - expression).sum(), np.square(expression - expression.mean(0)).sum()
        assert missed < 0.95 * varies

    def test_genes_that_do_not_vary(self, tissue: Callable[..., Any]) -> None:
        expression, adjacency, _ = tissue()
        expression[:, 3], expression[:, 8] = 0, 1.3
        found = fit(expression, adjacency)
        restored = found.restore(found.project(expression), expression)
        np.testing.assert_allclose(restored[:, [3, 8]], expression[:, [3, 8]], atol=1e-5)

    @STORAGES
    def test_each_gene_on_its_line(self, storage: Callable[[np.ndarray], Any]) -> None:
        """Least squares by hand; a gene that is decoded the wrong way round, or as constant, is at its mean."""
        expression = np.array([[1.0, 5.0, 0.0], [2.0, 3.0, 0.0], [6.0, 1.0, 3.0]])
        decoded = np.array([[0.0, 0.0, 7.0], [1.0, 1.0, 7.0], [2.0, 2.0, 7.0]], dtype=np.float32)
        expected = [[0.5, 3.0, 1.0], [3.0, 3.0, 1.0], [5.5, 3.0, 1.0]]
        np.testing.assert_allclose(to_units(decoded, storage(expression)), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 40), (40, 3), (2, 2), (1, 7)])
@STORAGES
def test_fewer_spots_or_genes_than_components(storage: Callable[[np.ndarray], Any], shape: tuple[int, int]) -> None:
    expression = storage(np.log1p(np.random.default_rng(0).poisson(1.0, shape)).astype(np.float32))
    graph = sparse.csr_array(sparse.eye_array(shape[0], k=1))
    found = fit(expression, graph, n_comps=30)
    scores = found.project(expression)
    assert scores.shape == (shape[0], min(shape))
    restored = found.restore(scores, expression)
    assert restored.shape == shape
    assert np.isfinite(restored).all()
