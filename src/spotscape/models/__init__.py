"""The methods as models: configuration, network, objective; arrays and sparse matrices in, arrays out."""

from spotscape.models._load import load
from spotscape.models._record import Reference, TrainingRecord
from spotscape.models._spacross import SpaCross
from spotscape.models._spacross_config import SpaCrossConfig
from spotscape.models._spotscape import Spotscape
from spotscape.models._spotscape_config import SpotscapeConfig

__all__ = ["Reference", "SpaCross", "SpaCrossConfig", "Spotscape", "SpotscapeConfig", "TrainingRecord", "load"]
