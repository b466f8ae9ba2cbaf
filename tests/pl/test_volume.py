"""Meshes of blocks and stacks: shapes with a known volume, colours, files and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 16
COLORS = {"ball": (255, 0, 0), "rest": (0, 0, 255)}


@pytest.fixture(scope="module")
def block() -> ad.AnnData:
    """Cells at random in a cube, and a ball of another domain in its middle."""
    coords = np.random.default_rng(0).uniform(0, SIDE, (SIDE**3, 3))
    adata = ad.AnnData(np.ones((len(coords), 1), np.float32), obsm={"spatial": coords})
    inside = np.linalg.norm(coords - SIDE / 2, axis=1) < 6
    adata.obs["domain"] = pd.Categorical(np.where(inside, "ball", "rest"))
    adata.obs["height"] = coords[:, 2]
    adata.uns["domain_colors"] = ["#ff0000", "#0000ff"]
    return adata


@pytest.fixture(scope="module")
def stack() -> ad.AnnData:
    """Five slices of a square, a quarter of an inch of which is another domain on all."""
    plane = np.array([[x, y] for x in range(20) for y in range(20)], float)
    adata = ad.AnnData(np.ones((2000, 1), np.float32), obsm={"spatial_aligned": np.tile(plane, (5, 1))})
    adata.obs["slice"] = pd.Categorical(np.repeat(list("abcde"), 400))
    adata.obs["domain"] = pd.Categorical(np.where(np.tile(plane[:, 0], 5) < 8, "left", "right"))
    return adata


def test_points_are_the_spots(block: ad.AnnData) -> None:
    pytest.importorskip("pyvista", reason="the extra 'volume' is not installed")
    mesh = sp.pl.volume(block, "domain", groups="ball")
    rows = np.flatnonzero(block.obs["domain"] == "ball")
    np.testing.assert_array_equal(mesh.point_data["row"], rows)
    np.testing.assert_allclose(mesh.points, block.obsm["spatial"][rows], rtol=1e-6)
    assert set(map(tuple, mesh.point_data["rgb"])) == {COLORS["ball"]}
    heights = sp.pl.volume(block, "height", cmap="gray", vmin=0, vmax=SIDE)
    np.testing.assert_allclose(heights.point_data["height"], block.obs["height"])
    np.testing.assert_allclose(heights.point_data["rgb"][:, 0], 255 * block.obs["height"] / SIDE, atol=2)


def test_the_surface_of_a_ball(block: ad.AnnData) -> None:
    pytest.importorskip("pyvista", reason="the extra 'volume' is not installed")
    mesh = sp.pl.volume(block, "domain", kind="surface", groups="ball")
    assert mesh.n_open_edges == 0
    # Spreading the cells takes a little off a ball: by their width squared over its radius.
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (6 - 1 / 6) ** 3, rel=0.05)
    np.testing.assert_allclose(mesh.points.mean(axis=0), SIDE / 2, atol=0.3)
    both = sp.pl.volume(block, "domain", kind="surface")
    assert list(both.field_data["categories"]) == ["ball", "rest"]
    drawn = {code: set(map(tuple, both.point_data["rgb"][both.point_data["domain"] == code])) for code in (0, 1)}
    assert drawn == {0: {COLORS["ball"]}, 1: {COLORS["rest"]}}


def test_slices_become_one_body(stack: ad.AnnData) -> None:
    pytest.importorskip("pyvista", reason="the extra 'volume' is not installed")
    mesh = sp.pl.volume(stack, "domain", kind="surface", library_key="slice", slice_gap=30, groups="left")
    assert mesh.n_open_edges == 0
    assert mesh.split_bodies().n_blocks == 1
    x0, x1, *_ = mesh.bounds
    middle = mesh.points[(np.abs(mesh.points[:, :2] - [4, 10]) < 1).all(axis=1)]
    assert x1 == pytest.approx(7.5, abs=0.4)
    assert x0 == pytest.approx(-0.5, abs=0.4)
    # Half of a gap beyond the outermost slices.
    assert (middle[:, 2].min(), middle[:, 2].max()) == pytest.approx((-15, 135), abs=3)


@pytest.mark.parametrize("suffix", [".ply", ".vtk", ".vtp"])
@pytest.mark.parametrize("kind", ["points", "surface"])
def test_files_hold_what_the_mesh_holds(block: ad.AnnData, tmp_path: Path, kind: str, suffix: str) -> None:
    pv = pytest.importorskip("pyvista", reason="the extra 'volume' is not installed")
    path = tmp_path / f"tissue{suffix}"
    mesh = sp.pl.volume(block, "domain", kind=kind, path=path)
    found = pv.read(path)
    np.testing.assert_allclose(found.points, mesh.points, rtol=1e-6)
    assert kind == "points" or found.n_cells == mesh.n_cells > 100
    if suffix == ".ply":
        np.testing.assert_array_equal(found.point_data["RGB"], mesh.point_data["rgb"])
    else:
        np.testing.assert_array_equal(found.point_data["rgb"], mesh.point_data["rgb"])
        np.testing.assert_array_equal(found.point_data["domain"], mesh.point_data["domain"])
        assert list(found.field_data["categories"]) == ["ball", "rest"]


def test_refuses(block: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvista", reason="the extra 'volume' is not installed")
    with pytest.raises(ValueError, match=r"'tissue\.obj' must end with one of"):
        sp.pl.volume(block, "domain", path="tissue.obj")
    with pytest.raises(ValueError, match="'height' holds numbers; take kind='points'"):
        sp.pl.volume(block, "height", kind="surface")
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(ImportError, match=r"pip install 'spotscape\[volume\]'"):
        sp.pl.volume(block, "domain")
