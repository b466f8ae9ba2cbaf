"""SpatialData wherever an AnnData is taken: the same results, in the table, and through zarr and back."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd

import spotscape as sp
from spotscape._core.spatial_data import to_spatialdata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

pytestmark = [
    # Of other packages, at import and when they write.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(?!spotscape)"),
]
IMAGE_SCALE = 0.5


def tissue(**options: Any) -> AnnData:
    adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=60, n_domains=3, random_state=0, **options)
    adata.obsm["spatial"] -= adata.obsm["spatial"].min(axis=0) - 5
    return adata


def with_images(adata: AnnData) -> AnnData:
    """Every slice has an image that is red in its left half and blue in its right."""
    names = adata.obs["slice"].unique() if "slice" in adata.obs else ["tissue"]
    size = np.ceil(adata.obsm["spatial"].max(axis=0) * 1.2 * IMAGE_SCALE).astype(int)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2, 0] = pixels[:, size[0] // 2 :, 2] = 255
    entry = {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": IMAGE_SCALE}}
    adata.uns["spatial"] = {str(name): entry for name in names}
    return adata


def run(data: Any, **options: Any) -> None:
    sp.pp.prepare(data, **options)
    sp.pp.spatial_neighbors_knn(data, **options)
    sp.tl.smoothed_pca(data, n_comps=10, **options)
    sp.tl.domains(data, n_domains=3, use_rep="X_smoothed_pca", **({"table_key": "table"} if options else {}))
    sp.tl.markers(data, key="smoothed_pca_domain")


@pytest.mark.slow
def test_results_are_those_of_the_table_also_through_zarr(tmp_path: Path) -> None:
    adata = tissue()
    sdata = to_spatialdata(adata)
    run(adata)
    run(sdata)
    sdata.write(tmp_path / "a.zarr")
    for table in (sdata["table"], sd.read_zarr(tmp_path / "a.zarr")["table"]):
        np.testing.assert_array_equal(table.obs["smoothed_pca_domain"], adata.obs["smoothed_pca_domain"])
        np.testing.assert_array_equal(table.obsm["X_smoothed_pca"], adata.obsm["X_smoothed_pca"])
        assert table.uns["spatialdata_attrs"]["instance_key"] == "instance_id"
    again = sd.read_zarr(tmp_path / "a.zarr")
    pd.testing.assert_frame_equal(sp.get.markers_df(again), sp.get.markers_df(adata), check_dtype=False)


def test_metrics_look_names_up_in_the_table() -> None:
    adata = tissue()
    sdata = to_spatialdata(adata)
    del sdata["table"].obsm["spatial"]
    adata.obs["found"] = sdata["table"].obs["found"] = adata.obs["domain"].to_numpy()[::-1]
    for metric, names in ((sp.metrics.ari, ("domain", "found")), (sp.metrics.pas, ("domain", "spatial"))):
        assert metric(sdata, *names) == metric(adata, *names) == metric(sdata, *names, table_key="table")
    with pytest.raises(KeyError, match="'none' is no table"):
        sp.metrics.ari(sdata, "domain", "found", table_key="none")


def test_a_copy_is_another_object_with_the_same_elements() -> None:
    sdata = to_spatialdata(with_images(tissue()))
    before = sdata["table"].X.copy()
    new = sp.pp.prepare(sdata, copy=True)
    assert isinstance(new, sd.SpatialData)
    assert "counts" in new["table"].layers
    assert (before != sdata["table"].X).nnz == 0
    assert next(iter(new.images.values())) is next(iter(sdata.images.values()))
    graph = sp.pp.spatial_neighbors_knn(sdata, copy=True)
    assert graph.connectivities.shape == (300, 300)
    assert not sdata["table"].obsp


def blobs() -> Any:
    from spatialdata.datasets import blobs as make

    sdata = make()
    table = sdata["table"]
    rng = np.random.default_rng(0)
    table.X = rng.poisson(5.0, table.shape).astype(np.float32)
    return sdata


def test_coordinates_are_centroids_of_what_the_table_annotates() -> None:
    from spatialdata.transformations import Scale, set_transformation

    sdata = blobs()
    set_transformation(sdata["blobs_labels"], Scale([2.0, 2.0], axes=("x", "y")), "micrometres")
    expected = sd.get_centroids(sdata["blobs_labels"]).compute()
    sp.pp.spatial_neighbors_knn(sdata, n_neighs=3)
    table = sdata["table"]
    np.testing.assert_allclose(table.obsm["spatial"], expected.loc[table.obs["instance_id"], ["x", "y"]])
    sp.pp.spatial_neighbors_knn(sdata, n_neighs=3, coordinate_system="micrometres", key_added="um")
    np.testing.assert_allclose(table.obsm["spatial_micrometres"], 2 * table.obsm["spatial"])
    np.testing.assert_allclose(table.obsp["um_distances"].data, 2 * table.obsp["spatial_distances"].data)


def test_a_plot_shows_the_image_of_the_system_and_leaves_the_table_alone() -> None:
    adata = tissue()
    sdata = to_spatialdata(with_images(adata))
    figure = sp.pl.domains(sdata, color="domain", return_fig=True)
    (image,) = figure.axes[0].images
    left, right, _, _ = image.get_extent()
    pixels = np.asarray(image.get_array())
    width = adata.obsm["spatial"][:, 0].max() * 1.2
    row = pixels[pixels.shape[0] // 2, :, :3].astype(float)
    at = lambda x: row[int((x - left) / (right - left) * len(row))]  # noqa: E731
    assert at(0.4 * width)[0] > 0.9 * row.max()
    assert at(0.6 * width)[2] > 0.9 * row.max()
    assert "spatial" not in sdata["table"].uns
    assert "domain_colors" in sdata["table"].uns


def test_registration_moves_the_elements() -> None:
    adata = with_images(tissue(n_slices=2, rotation=[0, 40]))
    adata.obs["slice"] = adata.obs["slice"].cat.rename_categories(["a", "b"])
    adata.uns["spatial"] = {name: next(iter(adata.uns["spatial"].values())) for name in "ab"}
    sdata = to_spatialdata(adata, library_key="slice")
    sp.pp.register_slices(sdata, library_key="slice")
    table = sdata["table"]
    matrix = table.uns["spatial_aligned"]["transforms"][1]
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) > 5
    for region in ("a_spots", "b_spots"):
        rows = (table.obs["region"] == region).to_numpy()
        moved = sd.get_centroids(sdata[region], coordinate_system="spatial_aligned").compute()
        expected = table.obsm["spatial_aligned"][rows]
        np.testing.assert_allclose(moved.loc[table.obs["instance_id"][rows], ["x", "y"]], expected, atol=1e-6)
    # A corner of the image goes where a spot at the same place would go.
    image = sd.transformations.get_transformation(sdata["b_hires_image"], "spatial_aligned")
    corner = image.to_affine_matrix(("x", "y"), ("x", "y")) @ [10, 20, 1]
    np.testing.assert_allclose(corner, matrix @ [10 / IMAGE_SCALE, 20 / IMAGE_SCALE, 1])


def test_several_tables_are_joined() -> None:
    a, b = to_spatialdata(tissue()), to_spatialdata(tissue())
    sdata = sd.concatenate({"a": a, "b": b}, concatenate_tables=False)
    names = list(sdata.tables)
    with pytest.raises(ValueError, match=r"has the tables 'table-a', 'table-b'; name one: table_key='table-a'"):
        sp.pp.prepare(sdata)
    with pytest.raises(ValueError, match="name the column that will tell them apart: library_key='slice'"):
        sp.pp.prepare(sdata, table_key=names)
    sp.pp.prepare(sdata, table_key=names, library_key="slice")
    sp.pp.spatial_neighbors_knn(sdata, table_key=names, library_key="slice")
    joined = sdata["joined"]
    assert joined.obs["slice"].value_counts().to_dict() == {"table-a": 300, "table-b": 300}
    assert list(joined.uns["spatialdata_attrs"]["region"]) == ["tissue_spots-a", "tissue_spots-b"]
    codes = joined.obs["slice"].cat.codes.to_numpy()
    rows, columns = joined.obsp["spatial_connectivities"].nonzero()
    assert (codes[rows] == codes[columns]).all()
    # The tables of the slices are as they were.
    assert "counts" not in sdata["table-a"].layers


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"table_key": "cells"}, KeyError, "'cells' is no table of the SpatialData, which has: 'table'"),
        ({"coordinate_system": "moon"}, KeyError, r"coordinate_system='moon' does not exist.*\['tissue'\]"),
    ],
)
def test_what_does_not_exist_is_said(options: dict[str, str], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        sp.pp.spatial_neighbors_knn(to_spatialdata(tissue()), **options)


def test_an_anndata_has_no_tables() -> None:
    with pytest.raises(TypeError, match="are for SpatialData; adata is an AnnData"):
        sp.pp.prepare(tissue(), table_key="table")


def functions() -> dict[str, Callable[..., Any]]:
    spaces = {"pp": sp.pp, "tl": sp.tl, "pl": sp.pl, "get": sp.get}
    named = {f"{space}.{name}": getattr(module, name) for space, module in spaces.items() for name in module.__all__}
    return {name: value for name, value in named.items() if inspect.isfunction(value)}


def test_every_function_says_that_it_takes_it() -> None:
    for name, function in functions().items():
        assert "table_key" in inspect.signature(function).parameters, name
        assert "SpatialData" in function.__doc__, name
