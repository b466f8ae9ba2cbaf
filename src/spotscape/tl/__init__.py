"""Tools: embeddings and what is read from them."""

from __future__ import annotations

from spotscape.tl._choose_n_domains import choose_n_domains
from spotscape.tl._consensus_domains import consensus_domains
from spotscape.tl._domains import domains
from spotscape.tl._embed import embed
from spotscape.tl._impute import impute
from spotscape.tl._integrate import integrate_slices
from spotscape.tl._markers import markers
from spotscape.tl._match_slices import match_slices
from spotscape.tl._refine_domains import refine_domains
from spotscape.tl._smoothed_pca import smoothed_pca
from spotscape.tl._spacross import spacross
from spotscape.tl._spotscape import spotscape
from spotscape.tl._trajectory import trajectory
from spotscape.tl._transfer import transfer_domains

__all__ = [
    "choose_n_domains",
    "consensus_domains",
    "domains",
    "embed",
    "impute",
    "integrate_slices",
    "markers",
    "match_slices",
    "refine_domains",
    "smoothed_pca",
    "spacross",
    "spotscape",
    "trajectory",
    "transfer_domains",
]


def __dir__() -> list[str]:
    return sorted(__all__)
