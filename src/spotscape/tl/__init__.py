"""Tools: embeddings and what is read from them."""

from spotscape.tl._smoothed_pca import smoothed_pca
from spotscape.tl._spotscape import spotscape

__all__ = ["smoothed_pca", "spotscape"]
