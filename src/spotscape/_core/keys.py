"""Every name that the package reads from or writes to an AnnData by default."""

from __future__ import annotations

from typing import Final

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


# Columns that, by the habits of the field, hold the slice of a spot, the likeliest first.
SLICE_COLUMNS: Final = (
    "slice", "slice_id", "section", "library_id", "library", "sample", "sample_id", "slide", "puck", "batch",
)  # fmt: skip

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
