"""Tools: embeddings and what is read from them."""

from __future__ import annotations

from spotscape.tl._domains import domains
from spotscape.tl._embed import embed
from spotscape.tl._integrate import integrate_slices
from spotscape.tl._match_slices import match_slices
from spotscape.tl._smoothed_pca import smoothed_pca
from spotscape.tl._spacross import spacross
from spotscape.tl._spotscape import spotscape
from spotscape.tl._transfer import transfer_domains

__all__ = [
    "domains",
    "embed",
    "integrate_slices",
    "match_slices",
    "smoothed_pca",
    "spacross",
    "spotscape",
    "transfer_domains",
]
