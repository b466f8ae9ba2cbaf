"""The loaders of real tissue on the real files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from spotscape._core.validation import looks_like_counts
from spotscape.datasets import _real, dlpfc, starmap

pytestmark = pytest.mark.skipif(
    "SPOTSCAPE_DATA" not in os.environ, reason="SPOTSCAPE_DATA does not name a folder with real tissue"
)


def test_starmap_is_the_published_slice() -> None:
    adata = starmap()
    assert adata.shape == (1207, 1020)
    assert looks_like_counts(adata.X)
    assert adata.obs["domain"].cat.categories.to_list() == ["L1", "L2/3", "L4", "L5", "L6", "CC", "HPC"]
    assert adata.obs["domain_banksy"].cat.categories.to_list() == ["L1", "L2/3", "L4", "L5", "L6", "cc", "HPC"]


def test_the_published_starmap_files_give_the_prepared_counts_positions_and_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream = Path(os.environ["SPOTSCAPE_DATA"]) / "upstream"
    if not upstream.is_dir():
        pytest.skip("SPOTSCAPE_DATA has no folder `upstream` with the published files")
    prepared = starmap()
    monkeypatch.setattr(_real, "fetch", lambda _url, file, **_: upstream / Path(file).name)
    assembled = _real._starmap_from_upstream()

    assert (assembled.X != prepared.X).nnz == 0
    assert assembled.obs_names.equals(prepared.obs_names)
    assert assembled.var_names.equals(prepared.var_names)
    np.testing.assert_array_equal(assembled.obsm["spatial"], prepared.obsm["spatial"])
    for column in ("slice", "cell_type", "domain_banksy"):
        assert assembled.obs[column].astype(str).equals(prepared.obs[column].astype(str))


@pytest.mark.parametrize(
    ("sample", "shape"), [("151673", (3639, 8513)), ("151674", (3673, 3851)), ("151676", (3460, 3851))]
)
def test_dlpfc_slices_have_layers_at_their_place_in_the_array(sample: str, shape: tuple[int, int]) -> None:
    adata = dlpfc(sample)
    assert adata.shape == shape
    assert looks_like_counts(adata.X)
    assert adata.obs["slice"].unique().tolist() == [sample]
    assert adata.obs["domain"].cat.categories.to_list() == [*(f"Layer_{i}" for i in range(1, 7)), "WM"]
    assert np.corrcoef(adata.obsm["spatial"][:, 0], adata.obs["array_col"])[0, 1] > 0.99
    assert np.corrcoef(adata.obsm["spatial"][:, 1], adata.obs["array_row"])[0, 1] > 0.99


def test_dlpfc_slices_join_over_shared_genes() -> None:
    adata = dlpfc(["151673", "151675"])
    assert adata.shape == (3639 + 3592, 3851)
    assert adata.obs["slice"].cat.categories.to_list() == ["151673", "151675"]
