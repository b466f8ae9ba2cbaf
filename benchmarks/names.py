"""What tissues, methods and settings are called in the tables of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TISSUES = {
    "starmap": "STARmap",
    "dlpfc_151673": "DLPFC 151673",
    "dlpfc_donor3": "DLPFC, four slices",
    "sim_layers_hexagonal": "simulated layers",
    "sim_islands_hexagonal": "simulated islands",
    "simulated_private": "simulated, unequal regions",
    "her2st": "HER2+ tumours",
    "embryo": "mouse embryos",
    "molcart": "mouse cortex",
    "molcart_mouse_cortex_3slices": "mouse cortex",
    "st_breast_cancer": "ST breast cancer",
    "seqfish": "mouse embryos",
}
INTEGRATION = {
    "pca": "PCA",
    "pca_harmony": "PCA, Harmony",
    "pca_integrated": "PCA, integrated",
    "floor_3": "smoothed PCA",
    "floor_3_harmony": "smoothed PCA, Harmony",
    "floor_3_integrated": "smoothed PCA, integrated",
    "default": "Spotscape",
    "no_integration": "Spotscape without integration",
    "no_prototypes": "Spotscape without prototypes",
    "all_matches": "Spotscape, similarity scaling with all matches",
    "no_scaling": "Spotscape without similarity scaling",
    "none": "Spotscape without all three",
    "spacross_2d": "SpaCross, graphs within slices",
    "spacross_3d": "SpaCross, 3-D graph",
    "spacross_2d_no_integration": "SpaCross, graphs within slices, without integration",
    "spacross_3d_no_integration": "SpaCross, 3-D graph, without integration",
}
OFFSETS = {"none": "no offset", "mean": "means", "mutual": "mutual neighbours", "near": "within a radius"}
EMBEDDINGS = {"pca": "PCA", "smoothed_pca": "smoothed PCA", "spotscape": "Spotscape", "spacross": "SpaCross"}
MATCHING = {
    **{f"{key}_{offset}": f"{name}, {words}" for key, name in EMBEDDINGS.items() for offset, words in OFFSETS.items()},
    "registered": "nearest spot, registered",
    "registered_truth": "nearest spot, true transforms",
}
NEW_SLICES = {
    "new": "embedded",
    "new_unaligned": "embedded, align=False",
    **{f"missing_{share / 100:g}": f"embedded, {share} % of the genes missing" for share in (5, 10, 20, 40)},
    "joint": "trained together",
}
REGISTRATION = {"guided": "with an embedding", "icp": "coordinates alone", "paste2": "PASTE2"}
NAMES = {**TISSUES, **EMBEDDINGS, **REGISTRATION}


def named(table: pd.DataFrame, names: dict[str, str] = NAMES) -> pd.DataFrame:
    """The table with readable names in its index, its columns, and its cells of text."""
    header = table.rename_axis(table.index.name).rename(index=names, columns=names)
    return header.map(lambda value: names.get(value, value) if isinstance(value, str) else value)
