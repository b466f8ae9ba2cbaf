"""Whatever a function writes comes back from a file, and every function works on what came back as before."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp

from .conftest import same, snapshot  # noqa: TID252
from .test_arguments import EXTRAS, FUNCTIONS  # noqa: TID252

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")


def through_file(adata: ad.AnnData, folder: Path, suffix: str) -> ad.AnnData:
    path = folder / f"tissue.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    found: ad.AnnData = getattr(ad, f"read_{suffix}")(path)
    return found


@pytest.fixture(scope="session")
def stored(good: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ad.AnnData]:
    return cache(lambda suffix: through_file(good, tmp_path_factory.mktemp("good"), suffix))


def alike(one: Any, other: Any) -> bool:
    """Whether values are the same but for the containers that a file knows: arrays for lists, texts of NumPy."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, pd.DataFrame):
        return list(one) == list(other) and all(alike(one[name], other[name]) for name in one)
    if sparse.issparse(one):
        return one.shape == other.shape and one.dtype == other.dtype and (one != other).nnz == 0
    first, second = np.asarray(one), np.asarray(other)
    if first.dtype.kind in "fiub":
        return first.dtype.kind == second.dtype.kind and np.array_equal(
            first, second, equal_nan=first.dtype.kind == "f"
        )
    return list(map(str, first.ravel())) == list(map(str, second.ravel()))


def only(written: dict[tuple[str, str], Any], adata: ad.AnnData) -> ad.AnnData:
    """An AnnData of these entries alone."""
    bare = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=adata.var_names))
    for (slot, key), value in written.items():
        if slot == "X":
            bare.X = value
        else:
            getattr(bare, slot)[key] = value
    return bare


# Plots write hardly anything: one format will do.
CASES = [pytest.param((name, "h5ad"), id=f"{name}-h5ad") for name in FUNCTIONS] + [
    pytest.param((name, "zarr"), id=f"{name}-zarr", marks=pytest.mark.slow)
    for name in FUNCTIONS
    if not name.startswith("pl.")
]


@pytest.mark.parametrize("case", CASES)
def test_results_come_back_and_files_are_worked_with(
    case: tuple[str, str],
    good: ad.AnnData,
    stored: Callable[[str], ad.AnnData],
    calls: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    name, suffix = case
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    here, there = good.copy(), stored(suffix).copy()
    with sp.settings.override(verbosity="error", progress_bar=False):
        results = [FUNCTIONS[name](adata, **calls[name]) for adata in (here, there)]
    before, from_file = snapshot(good), snapshot(there)
    written = {place: value for place, value in snapshot(here).items() if not same(value, before.get(place))}
    assert [place for place, value in written.items() if not alike(value, from_file[place])] == []
    back = snapshot(through_file(only(written, here), tmp_path, suffix))
    assert [place for place, value in written.items() if not alike(value, back[place])] == []
    if isinstance(results[0], pd.DataFrame | np.ndarray):
        assert alike(*results)
