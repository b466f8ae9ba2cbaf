"""The methods on arrays: configuration, network and objective. They take arrays and sparse matrices, not AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spotscape._core.arguments import public
from spotscape._core.settings import resolve_device
from spotscape.models._saving import Reference, TrainingRecord, read_model
from spotscape.models._spacross import SpaCross, SpaCrossConfig
from spotscape.models._spotscape import Spotscape, SpotscapeConfig

if TYPE_CHECKING:
    from pathlib import Path

    import torch

__all__ = ["Reference", "SpaCross", "SpaCrossConfig", "Spotscape", "SpotscapeConfig", "TrainingRecord", "load"]

METHODS: dict[str, Any] = {method.name: method for method in (Spotscape, SpaCross)}


@public
def load(directory: str | Path, *, device: str | torch.device | None = None) -> Spotscape | SpaCross:
    """Read a model that :meth:`~spotscape.models.Spotscape.save` has written.

    Nothing is unpickled and no code is run: ``config.json`` is text, and ``weights.safetensors`` holds numbers.

    Parameters
    ----------
    directory
        The directory that the model was saved to.

    Returns
    -------
    The trained model. On the same machine its embeddings have the same bits as before it was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such directory, or one of the two files is missing.
    ValueError
        If the directory holds a pickle; if the configuration does not belong to a model, was written by another
        version, or was changed; if the weights are truncated or damaged, or do not fit the configuration.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from scipy import sparse
    >>> from spotscape.models import SpaCross, SpaCrossConfig, load
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = SpaCross(SpaCrossConfig(max_epochs=5)).fit(expression, ring, progress_bar=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(Path(folder) / "model")
    ...     loaded = load(Path(folder) / "model", device="cpu")
    >>> bool((loaded.embed(expression, ring) == model.embed(expression, ring)).all())
    True
    """
    model: Spotscape | SpaCross = read_model(directory, METHODS, resolve_device(device))
    return model


def __dir__() -> list[str]:
    return sorted(__all__)
