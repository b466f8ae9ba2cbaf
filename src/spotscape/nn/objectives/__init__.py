"""What the encoders are trained to do: one idea of the papers a file, in its exact linear form."""

from spotscape.nn.objectives.consistency import consistency_loss
from spotscape.nn.objectives.contrast import NeighborhoodContrast
from spotscape.nn.objectives.cosine import cosine_reconstruction_loss
from spotscape.nn.objectives.masking import MaskedSpots, MaskToken, draw_masked
from spotscape.nn.objectives.others import draw_others
from spotscape.nn.objectives.prototypes import PrototypeBank, prototype_loss
from spotscape.nn.objectives.reconstruction import reconstruction_loss
from spotscape.nn.objectives.scaling import scaling_loss
from spotscape.nn.objectives.telescope import TelescopeGrams, telescope_loss

__all__ = [
    "MaskToken",
    "MaskedSpots",
    "NeighborhoodContrast",
    "PrototypeBank",
    "TelescopeGrams",
    "consistency_loss",
    "cosine_reconstruction_loss",
    "draw_masked",
    "draw_others",
    "prototype_loss",
    "reconstruction_loss",
    "scaling_loss",
    "telescope_loss",
]
