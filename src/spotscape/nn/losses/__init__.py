"""The objectives of the encoders: the idea of each paper, its formulas, and how they are computed."""

from spotscape.nn.losses.reconstruction import cosine_reconstruction_loss, l2_normalize, reconstruction_errors
from spotscape.nn.losses.spacross import (
    Masking,
    consistency_loss,
    contrast_loss,
    draw_masked,
    draw_masking,
    sample_negatives,
)
from spotscape.nn.losses.spotscape import PrototypeBank, draw_meetings, prototype_loss, scaling_loss, telescope_loss

__all__ = [
    "Masking",
    "PrototypeBank",
    "consistency_loss",
    "contrast_loss",
    "cosine_reconstruction_loss",
    "draw_masked",
    "draw_masking",
    "draw_meetings",
    "l2_normalize",
    "prototype_loss",
    "reconstruction_errors",
    "sample_negatives",
    "scaling_loss",
    "telescope_loss",
]
