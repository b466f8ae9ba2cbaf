"""Coordinates and slices as real files bring them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spotscape._core.geometry import lattice
from spotscape._core.places import coordinates
from spotscape._core.validation import slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable

PLACES = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 0.0]])


def holding(values: Any) -> ad.AnnData:
    adata = ad.AnnData(obs=pd.DataFrame(index=["s1", "s2", "s3"]))
    adata.obsm["spatial"] = values
    return adata


@pytest.mark.parametrize(
    "make",
    [
        lambda c: c.astype(np.int32),
        lambda c: c.astype(np.float32),
        lambda c: c.astype(str).astype(object),
        sparse.csr_matrix,
        lambda c: np.c_[c, np.full(3, 7.0)],
        lambda c: pd.DataFrame(c, columns=["x", "y"], index=["s1", "s2", "s3"]),
        lambda c: pd.DataFrame(c, columns=["a", "b"], index=["s1", "s2", "s3"]).astype("Int64"),
        lambda c: pd.DataFrame({"t": [1, 1, 0], "r": 1, "y": c[:, 1], "x": c[:, 0]}, index=["s1", "s2", "s3"]),
        lambda c: pd.DataFrame(
            c[:, ::-1], columns=["pxl_row_in_fullres", "pxl_col_in_fullres"], index=["s1", "s2", "s3"]
        ),
        lambda c: pd.DataFrame({"Y": c[:, 1], "z": 0, "X": c[:, 0]}, index=["s1", "s2", "s3"]),
    ],
    ids=["int", "float32", "text", "sparse", "constant z", "frame", "nullable", "wide frame", "row first", "z between"],
)
def test_any_table_of_numbers_is_taken(make: Callable[[np.ndarray], Any]) -> None:
    found = coordinates(holding(make(PLACES)))
    assert found.dtype == np.float64
    assert np.array_equal(found, PLACES)


def test_a_third_coordinate_stays_where_it_differs() -> None:
    assert coordinates(holding(np.c_[PLACES, [0, 0, 1]])).shape == (3, 3)


def test_space_rangers_five_columns() -> None:
    table = np.c_[[1, 1, 0], [0, 1, 2], [4, 5, 6], PLACES[:, ::-1]]
    with pytest.warns(UserWarning, match="5 columns, which look like those of tissue_positions.csv"):
        assert np.array_equal(coordinates(holding(table)), PLACES)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            np.array([["pxl_row_in_fullres", "pxl_col_in_fullres"], ["1", "2"], ["3", "4"]], object),
            r"obsm\['spatial'\] has text .* in 1 of 3 rows; the first is that of 's1': \['pxl_row.*index_col='barcode'",
        ),
        (np.array([[1, 2], ["AAAC-1", 5], ["AAAG-1", 6]], object), r"in 2 of 3 rows; the first is that of 's2'"),
        (np.array([[1, 2], [np.nan, 5], [3, 6]]), r"NaN or infinite coordinates in 1 of 3 spots \(first: 's2'\)"),
        (pd.DataFrame({"x": [1, pd.NA, 2], "y": 1}, index=["s1", "s2", "s3"]), r"in 1 of 3 spots \(first: 's2'\)"),
        (np.ones((3, 4)), "4 columns; expected x and y"),
        (np.ones((3, 1)), "1 columns; expected x and y"),
        (np.ones((3, 2), complex), "dtype complex128; expected numbers"),
        (PLACES * 1e200, r"values up to 8e\+200"),
    ],
)
def test_what_is_no_place_is_refused_by_its_name(values: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        coordinates(holding(values))


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (["y_centroid", "x_centroid"], r"adata.obs\[\['x_centroid', 'y_centroid'\]\].to_numpy\(\)\.\"$"),
        (["imagerow", "imagecol"], r"adata.obs\[\['imagecol', 'imagerow'\]\]"),
        (["SPATIAL_1", "SPATIAL_2"], r"adata.obs\[\['SPATIAL_1', 'SPATIAL_2'\]\]"),
        (["Centroid_X", "Centroid_Y"], r"adata.obs\[\['Centroid_X', 'Centroid_Y'\]\]"),
        (["center_rowcoord", "center_colcoord"], r"adata.obs\[\['center_colcoord', 'center_rowcoord'\]\]"),
        (["ROICoordinateX", "ROICoordinateY"], r"adata.obs\[\['ROICoordinateX', 'ROICoordinateY'\]\]"),
        (["X:X", "Y:Y"], r"adata.obs\[\['X:X', 'Y:Y'\]\]"),
        (["sdimx", "sdimy"], r"adata.obs\[\['sdimx', 'sdimy'\]\]"),
        (["x_slide_mm", "y_slide_mm"], r"adata.obs\[\['x_slide_mm', 'y_slide_mm'\]\]"),
        (["xcoord", "ycoord"], r"adata.obs\[\['xcoord', 'ycoord'\]\]"),
        (["x_tissue", "y_tissue", "x_atlas", "y_atlas"], "with your names of these columns"),
        (["umap_x", "umap_y"], "with your names of these columns"),
        (["min_x", "min_y"], "with your names of these columns"),
        (["horizontal", "vertical"], r"adata.obs\[\['x', 'y'\]\].to_numpy\(\), with your names of these columns"),
    ],
)
def test_the_hint_names_the_columns_that_hold_places(columns: list[str], hint: str) -> None:
    adata = ad.AnnData(obs=pd.DataFrame([[1.0] * len(columns)], columns=columns, index=["a"]))
    with pytest.raises(KeyError, match=hint):
        coordinates(adata)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (pd.array(["b", "a", "a"], "string"), ["a", "b"]),
        ([10, 9, 1], ["1", "9", "10"]),
        ([10.0, 9.0, 1.0], ["1", "9", "10"]),
        ([True, False, True], ["False", "True"]),
        (pd.Categorical(["10", "9", "9"], categories=["10", "9", "lost"]), ["9", "10"]),
        (pd.Categorical(["s2", "s1", "s1"], categories=["s2", "s1"]), ["s2", "s1"]),
        (pd.Categorical([10, 9, 1]), ["1", "9", "10"]),
        ([3, -1, -2], ["-2", "-1", "3"]),
        (["0.1", "-0.29", "-0.04"], ["-0.29", "-0.04", "0.1"]),
        (pd.Categorical(["0.1", "0.05", "0.26"]), ["0.05", "0.1", "0.26"]),
        (["-0.10", "-0.05", "0.05"], ["-0.10", "-0.05", "0.05"]),
        (["1.10", "1.9", "1.2"], ["1.2", "1.9", "1.10"]),
    ],
    ids=[
        *("text", "string", "int", "float", "bool", "sorted as text", "an order of one's own", "categories of int"),
        *("below zero", "heights as text", "categories of heights", "one number of decimals", "sections of a block"),
    ],
)
def test_slices_are_text_in_natural_order(column: Any, expected: list[str], caplog: pytest.LogCaptureFixture) -> None:
    adata = ad.AnnData(obs=pd.DataFrame({"lib": column}, index=["s1", "s2", "s3"]))
    with caplog.at_level(logging.INFO, logger="spotscape"):
        found = slice_labels(adata, "lib")
    assert list(found.categories) == expected
    given = [str(int(v)) if isinstance(v, float) else str(v) for v in column]
    assert list(found) == given
    # Every function reads them, and only other names than those in the table are news.
    assert ("is read as the slices" in caplog.text) == isinstance(column[0], float)


def test_sections_called_by_their_height_are_in_the_order_of_it() -> None:
    heights = np.repeat([0.5, -28.999999999999996, -0.5, 9.0], 20)
    adata = ad.AnnData(obs=pd.DataFrame({"Bregma": heights}, index=map(str, range(80))))
    found = slice_labels(adata, "Bregma")
    assert list(found.categories) == ["-29", "-0.5", "0.5", "9"]
    assert list(found[::20]) == ["0.5", "-29", "-0.5", "9"]


def test_spots_without_a_slice_are_counted() -> None:
    adata = ad.AnnData(obs=pd.DataFrame({"lib": ["a", None, "b"]}, index=["s1", "s2", "s3"]))
    with pytest.raises(ValueError, match=r"missing for 1 of 3 spots \(first: 's2'\)"):
        slice_labels(adata, "lib")
    with pytest.raises(ValueError, match="two groups that are both written '1'"):
        slice_labels(ad.AnnData(obs=pd.DataFrame({"lib": pd.Categorical([1, "1", 2])}, index=list("abc"))), "lib")
    with pytest.raises(TypeError, match=r"holds 3 different numbers.*\['lib'\].astype\(str\)"):
        slice_labels(ad.AnnData(obs=pd.DataFrame({"lib": [0.5, 1, 2]}, index=list("abc"))), "lib")


def test_coordinates_of_another_name_are_pointed_to() -> None:
    adata = ad.AnnData(np.zeros((2, 1)), obsm={"X_spatial": np.eye(2)})
    with pytest.raises(KeyError, match=r"adata\.obsm\['spatial'\] = adata\.obsm\['X_spatial'\]"):
        coordinates(adata)


def test_columns_of_text_are_made_numbers() -> None:
    """As the tables of the Single Cell Portal are read, which have a line of types below their header."""
    adata = ad.AnnData(obs=pd.DataFrame({"X": ["1.5", "2", "nan"], "Y": ["0", "4", "nan"]}, index=list("abc")))
    with pytest.raises(KeyError, match=r"to_numpy\(\)\.astype\(float\)\.\"") as caught:
        coordinates(adata)
    exec(caught.value.args[0].split("there: ")[1].rstrip("."), {"adata": adata})
    with pytest.raises(ValueError, match=r"NaN or infinite coordinates in 1 of 3 spots \(first: 'c'\)"):
        coordinates(adata)
    assert np.array_equal(coordinates(adata[:2].copy()), [[1.5, 0], [2, 4]])


VISIUM = np.array([[column, row] for row in range(8) for column in range(row % 2, 16, 2)])
SQUARE = np.array([[column, row] for row in range(8) for column in range(8)])


@pytest.mark.parametrize(("numbers", "stretched"), [(VISIUM, True), (SQUARE, False), (50 * SQUARE, False)])
def test_numbers_of_columns_and_rows_make_the_grid(numbers: np.ndarray, stretched: bool) -> None:
    table = pd.DataFrame(numbers[:, ::-1], columns=["array_row", "array_col"], index=[f"s{i}" for i in range(64)])
    adata = ad.AnnData(obs=table)
    with pytest.raises(KeyError, match=r"there: (adata\.obsm\['spatial'\] = .*)\.\"") as caught:
        coordinates(adata)
    exec(str(caught.value).split("there: ")[1].rstrip('."'), {"adata": adata})
    assert np.allclose(coordinates(adata), numbers * [1, np.sqrt(3) if stretched else 1])
    assert lattice(coordinates(adata)).kind == ("hexagonal" if stretched else "square")


@pytest.mark.parametrize("form", ["{x}x{y}", "{x}.0x{y}.250", "Layer1_BC_{x}x{y}", "{x}x{y}_1"])
def test_names_of_spots_that_hold_their_places(form: str) -> None:
    adata = ad.AnnData(obs=pd.DataFrame(index=[form.format(x=x, y=y) for x, y in SQUARE]))
    with pytest.raises(KeyError, match=r"str\.extract") as caught:
        coordinates(adata)
    line = caught.value.args[0].split("there: ")[1].rstrip(".")
    exec(line, {"adata": adata})
    assert np.array_equal(coordinates(adata), np.add(SQUARE, [0, 0.25 * ("250" in form)]))


@pytest.mark.parametrize("names", [["AAACx12", "AAAC-1"], ["1x2", "cell"], ["0xff12", "0xff13"]])
def test_other_names_hold_no_places(names: list[str]) -> None:
    with pytest.raises(KeyError, match="with your names of these columns"):
        coordinates(ad.AnnData(obs=pd.DataFrame(index=names)))
