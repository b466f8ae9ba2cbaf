"""What the encoders are trained to do: one idea of the papers a file, in its exact linear form."""

from spotscape.nn.objectives.reconstruction import reconstruction_loss
from spotscape.nn.objectives.telescope import TelescopeGrams, telescope_loss

__all__ = ["TelescopeGrams", "reconstruction_loss", "telescope_loss"]
