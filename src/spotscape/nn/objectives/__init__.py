"""What the encoders are trained to do: one idea of the papers a file, in its exact linear form."""

from spotscape.nn.objectives.prototypes import PrototypeBank, prototype_loss
from spotscape.nn.objectives.reconstruction import reconstruction_loss
from spotscape.nn.objectives.scaling import scaling_loss
from spotscape.nn.objectives.telescope import TelescopeGrams, telescope_loss

__all__ = [
    "PrototypeBank",
    "TelescopeGrams",
    "prototype_loss",
    "reconstruction_loss",
    "scaling_loss",
    "telescope_loss",
]
