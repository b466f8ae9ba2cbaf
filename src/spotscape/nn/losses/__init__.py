"""The objectives of the encoders. Each file has one: the idea of the paper, its formula, and how it is computed."""

from spotscape.nn.losses.consistency import consistency_loss
from spotscape.nn.losses.contrast import contrast_loss
from spotscape.nn.losses.cosine import cosine_reconstruction_loss, l2_normalize
from spotscape.nn.losses.masking import Masking, draw_masked, draw_masking, sample_negatives
from spotscape.nn.losses.prototypes import PrototypeBank, prototype_loss
from spotscape.nn.losses.reconstruction import reconstruction_errors
from spotscape.nn.losses.scaling import draw_meetings, scaling_loss
from spotscape.nn.losses.telescope import telescope_loss

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
