"""Every name that the package reads from or writes to an AnnData by default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SPATIAL: Final = "spatial"
SPATIAL_ALIGNED: Final = "spatial_aligned"
SPATIAL_3D: Final = "spatial_3d"
COUNTS: Final = "counts"
PREPARE: Final = "prepare"
FACTOR: Final = "prepare_factor"
SPOTSCAPE: Final = "spotscape"
X_SPOTSCAPE: Final = "X_spotscape"
SPACROSS: Final = "spacross"
X_SPACROSS: Final = "X_spacross"
X_SMOOTHED_PCA: Final = "X_smoothed_pca"
CONSENSUS: Final = "consensus_domain"
N_DOMAINS: Final = "n_domains"
SCALE: Final = "scale"
MATCH: Final = "spotscape_match"
IMPUTED: Final = "imputed"
PSEUDOTIME: Final = "spotscape_pseudotime"
MARKERS: Final = "spotscape_markers"

# What a method reads if its user names nothing and has run one encoder.
ENCODERS: Final = (SPOTSCAPE, SPACROSS)
X_ENCODERS: Final = (X_SPOTSCAPE, X_SPACROSS)


def domain_of(use_rep: str) -> str:
    """Name of the column with the domains of an embedding."""
    return f"{use_rep.removeprefix('X_') or use_rep}_domain"


# Columns that, by the habits of the field, hold the slice of a spot, the likeliest first; letters only, so that
# sample_id, SampleID and Sample.ID are one.
SLICE_COLUMNS: Final = (
    "slice", "sliceid", "slicename", "section", "sectionid", "sectionlabel", "brainsectionlabel", "libraryid",
    "library", "sample", "sampleid", "samplename", "slide", "slideid", "slidename", "runtissuename", "puck", "puckid",
    "origident", "batch", "bregma", "animalid", "animal", "mouse", "mouseid", "embryo", "donor", "donorid", "patient",
    "patientid",
)  # fmt: skip


def slice_columns(table: Iterable[object]) -> list[str]:
    """Those of the columns of a table that, by their names, hold the slice of a spot, the likeliest first.

    >>> slice_columns(["Sample.ID", "area", "slice"])
    ['slice', 'Sample.ID']
    """
    plain = {re.sub("[^a-z]", "", str(name).lower()): str(name) for name in table}
    return [plain[name] for name in SLICE_COLUMNS if name in plain]


# Where a function that needs domains looks for them, if its user names none.
DOMAINS: Final = (*map(domain_of, (*X_ENCODERS, X_SMOOTHED_PCA)), CONSENSUS)


def confidence_of(key: str) -> str:
    """Name of the column with the confidence of the domains ``key``."""
    return f"{key}_confidence"


def entropy_of(key: str) -> str:
    """Name of the column that says how far several clusterings disagree on the domains ``key``."""
    return f"{key}_entropy"


def place_of(layer: str | None) -> str:
    """Where expression is taken from, as code."""
    return "adata.X" if layer is None else f"adata.layers[{layer!r}]"


def graph_keys(key_added: str) -> tuple[str, str, str]:
    """Names of a graph's record in ``uns`` and its connectivities and distances in ``obsp`` (squidpy's layout)."""
    return f"{key_added}_neighbors", f"{key_added}_connectivities", f"{key_added}_distances"
