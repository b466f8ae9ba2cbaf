"""The demonstration leaves what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad

from spotscape import demo

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_leaves_a_picture_and_readable_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    demo.main(["--output", str(folder), "--n-spots", "300", "--n-domains", "3"])
    said = capsys.readouterr().out
    assert (folder / "domains.png").read_bytes().startswith(b"\x89PNG")
    adata = ad.read_h5ad(folder / "tissue.h5ad")
    assert adata.n_obs == 300
    for use_rep, key in demo.EMBEDDINGS.items():
        assert use_rep in adata.obsm
        assert adata.obs[key].cat.categories.size == 3
        assert use_rep in said
    assert str(folder / "domains.png") in said
    assert str(folder / "tissue.h5ad") in said
