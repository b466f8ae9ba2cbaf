from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp
from spotscape._core.anndata_io import write

RED, LIME, BLUE = "#ff0000", "#00ff00", "#0000ff"


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.zeros((90, 1), np.float32))
    adata.obsm["X_spotscape"] = rng.normal(size=(90, 3)) + 9 * np.eye(3)[np.arange(90) // 30]
    adata.obs["found"] = pd.Categorical(np.repeat(["a", "b", "c"], 30))
    adata.uns["found_colors"] = [RED, LIME, BLUE]
    return adata


def put(adata: ad.AnnData, values: np.ndarray) -> list[str]:
    write(adata, {"obs": {"found": pd.Categorical(values)}})
    return adata.uns.get("found_colors")


def test_colours_follow_their_domains_under_new_names(adata: ad.AnnData) -> None:
    assert put(adata, np.repeat(["2", "0", "1"], 30)) == [LIME, BLUE, RED]


def test_a_domain_that_was_not_there_gets_a_colour_of_its_own(adata: ad.AnnData) -> None:
    values = np.repeat(["0", "1", "2"], 30)
    values[:10] = "3"
    *known, new = put(adata, values)
    assert known == [RED, LIME, BLUE]
    assert new not in known


def test_domains_that_went_take_their_colours_with_them(adata: ad.AnnData) -> None:
    assert put(adata, np.repeat(["0", "1", "1"], 30)) in ([RED, LIME], [RED, BLUE])


@pytest.mark.parametrize("stale", [[RED], {"a": RED}, [RED, LIME, BLUE, RED]], ids=["few", "mapping", "many"])
def test_colours_of_something_else_are_taken_out(adata: ad.AnnData, stale: object) -> None:
    adata.uns["found_colors"] = stale
    assert put(adata, np.repeat(["0", "1", "2"], 30)) is None


def test_the_same_domains_keep_their_colours_as_they_are(adata: ad.AnnData) -> None:
    adata.uns["found_colors"] = stored = np.array([RED, LIME, BLUE])
    assert put(adata, np.repeat(["a", "b", "c"], 30)) is stored


def test_domains_found_again_look_the_same(adata: ad.AnnData) -> None:
    adata.uns["found_colors"] = [RED, LIME, BLUE]
    for n_domains in (2, 3, 4):
        sp.tl.domains(adata, n_domains=n_domains, method="kmeans", key_added="found")
        colors = dict(zip(adata.obs["found"].cat.categories, adata.uns["found_colors"], strict=True))
        assert len(set(colors.values())) == n_domains
        assert adata.obs["found"].map(colors).value_counts()[colors[adata.obs["found"].iloc[0]]] >= 10
