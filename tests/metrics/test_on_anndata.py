"""Metrics take names of an AnnData where they take arrays."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import spotscape as sp
from spotscape._core.arguments import _HOMES, homes_of

if TYPE_CHECKING:
    from anndata import AnnData

NAMES = {name: example for name, (_, example) in _HOMES.items()}


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=120, n_genes=40, n_domains=3, n_slices=2, random_state=1)
    rng = np.random.default_rng(0)
    sp.pp.spatial_neighbors_knn(adata, library_key="slice", n_neighs=6)
    adata.obsm["X_spotscape"] = rng.normal(size=(240, 4))
    adata.obs["spotscape_domain"] = pd.Categorical(rng.integers(0, 3, 240).astype(str))
    adata.obs["spotscape_match_label"] = adata.obs["domain"].to_numpy()[rng.permutation(240)]
    adata.layers["counts"] = adata.X.copy()
    adata.layers["imputed"] = np.asarray(adata.X.todense()) + rng.normal(size=adata.shape) ** 2
    return adata


def array_of(adata: AnnData, name: str) -> Any:
    home, key = _HOMES[name]
    return getattr(adata, home)[key]


@pytest.mark.parametrize("metric", sp.metrics.__all__)
def test_names_give_what_arrays_give(tissue: AnnData, metric: str) -> None:
    function = getattr(sp.metrics, metric)
    parameters = [name for name in inspect.signature(function).parameters if name in homes_of(function)]
    assert parameters
    expected = function(**{name: array_of(tissue, name) for name in parameters})
    found = function(tissue, **{name: NAMES[name] for name in parameters})
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("metric", sp.metrics.__all__)
def test_the_call_in_the_docstring_runs(tissue: AnnData, metric: str) -> None:
    (call,) = re.findall(rf"``(sp\.metrics\.{metric}\(adata, .*\))``", getattr(sp.metrics, metric).__doc__)
    assert eval(call, {"sp": sp, "adata": tissue}) is not None


def test_docstrings_score_known_domains_and_transferred_labels() -> None:
    """Domains that were found in an embedding are always separate in it; names of spots are no labels."""
    for metric in ("clisi", "f1_lisi", "label_asw", "batch_asw", "graph_connectivity"):
        assert f'sp.metrics.{metric}(adata, "domain", ' in getattr(sp.metrics, metric).__doc__
    for metric in ("label_transfer_accuracy", "label_transfer_ari"):
        assert f'sp.metrics.{metric}(adata, "domain", "spotscape_match_label")' in getattr(sp.metrics, metric).__doc__


def test_names_by_position_and_beside_arrays(tissue: AnnData) -> None:
    expected = sp.metrics.ari(tissue.obs["domain"], tissue.obs["spotscape_domain"])
    assert sp.metrics.ari(tissue, "domain", "spotscape_domain") == expected
    assert sp.metrics.ari(tissue, "domain", tissue.obs["spotscape_domain"]) == expected
    assert sp.metrics.evaluate(tissue, None, "spotscape_domain", coordinates="spatial")["chaos"] > 0


def test_a_name_that_does_not_exist(tissue: AnnData) -> None:
    with pytest.raises(KeyError, match=r"'layer' not found in adata.obs, which has: 'slice', 'domain'"):
        sp.metrics.ari(tissue, "layer", "spotscape_domain")
    with pytest.raises(TypeError, match="missing a required argument: 'labels_pred'"):
        sp.metrics.ari(tissue, "domain")


def test_columns_in_another_order_are_not_compared_row_by_row(tissue: AnnData) -> None:
    """The same labels, of an AnnData that was sorted, would agree as if by chance."""
    mixed = tissue[np.random.default_rng(0).permutation(tissue.n_obs)].copy()
    for first in ((tissue.obs["domain"],), (tissue, "domain")):
        with pytest.raises(ValueError, match=r"labels_pred has the spots of .*labels_pred.loc\[labels_true.index\]"):
            sp.metrics.ari(*first, mixed.obs["domain"])
    assert sp.metrics.ari(tissue.obs["domain"], mixed.obs["domain"].loc[tissue.obs.index]) == 1
    truth, imputed = tissue.to_df(), tissue.to_df().iloc[:, ::-1]
    with pytest.raises(ValueError, match=r"imputed has the genes of truth .*imputed\[truth.columns\]"):
        sp.metrics.imputation_scores(truth, imputed)
    assert (sp.metrics.imputation_scores(truth, imputed[truth.columns])["rmse"] == 0).all()
    # Other names say nothing: numbers of rows, or those of another file.
    assert sp.metrics.ari(tissue.obs["domain"], tissue.obs["domain"].reset_index(drop=True)) == 1


def test_the_docstring_shows_the_call() -> None:
    summary, call, *_ = (sp.metrics.ari.__doc__ or "").split("\n\n")
    assert "\n" not in summary
    assert call.splitlines()[1] == '``sp.metrics.ari(adata, "domain", "spotscape_domain")``.'
