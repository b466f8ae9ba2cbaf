"""A trained model as two files: ``config.json``, which people can read, and ``weights.safetensors``, pure numbers.

Neither can hold code. The weights carry a fingerprint of the configuration they were written with, so that a gene list
or a parameter that was edited afterwards is noticed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spotscape._core.logging import logger

if TYPE_CHECKING:
    from torch import Tensor

    from spotscape.models._graph_encoder import GraphEncoder

FORMAT = "spotscape-model"
# To be raised when older releases could no longer read what is written, or would read it wrongly.
FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
FINGERPRINT = "config_sha256"
PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".ckpt"}


def save_model(model: GraphEncoder[Any, Any, Any], directory: str | Path, *, overwrite: bool) -> None:
    """Write a trained model into a directory that appears only once it is complete."""
    from safetensors.torch import save_file

    model._require_trained()
    target = Path(directory)
    _require_room(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        tensors, transposed = _row_major(_tensors(model))
        text = json.dumps(_description(model, transposed), indent=1, allow_nan=False).encode()
        (partial / CONFIG).write_bytes(text)
        save_file(tensors, partial / WEIGHTS, metadata={FINGERPRINT: fingerprint(text)})
        _move(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("Saved the model in %s.", target)


def fingerprint(text: bytes) -> str:
    """The hash of a configuration that its weights carry."""
    return hashlib.sha256(text).hexdigest()


def pickles_in(directory: Path) -> list[str]:
    """Names of files that could hold code."""
    return sorted(path.name for path in directory.iterdir() if path.suffix.lower() in PICKLES)


def _require_room(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        msg = f"{target} is a file; name a directory."
        raise FileExistsError(msg)
    if pickles := pickles_in(target):
        msg = f"{target} holds {pickles[0]!r}, a pickle, beside which no model is loaded; name another directory."
        raise FileExistsError(msg)
    found = sorted(path.name for path in target.iterdir())
    if found and not overwrite:
        msg = f"{target} is not empty (it holds {found[0]!r}); name another directory or give overwrite=True."
        raise FileExistsError(msg)


def _move(partial: Path, target: Path) -> None:
    """A new directory at once; into an old one file by file, where the fingerprint tells a half from a whole."""
    if target.exists() and any(target.iterdir()):
        for name in (WEIGHTS, CONFIG):
            (partial / name).replace(target / name)
        return
    if target.exists():
        target.rmdir()
    partial.rename(target)


def _description(model: GraphEncoder[Any, Any, Any], transposed: list[str]) -> dict[str, Any]:
    reduction, known = model._reduction, model.training
    training = None
    if known is not None:
        training = {
            "genes": list(known.genes),
            "scale": known.scale,
            "prepare": _plain(known.prepare),
            "graph": _plain(known.graph),
            "mean_degree": known.mean_degree,
        }
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "spotscape_version": version("spotscape"),
        "method": model.name,
        "config": asdict(model.config),
        "random_state": model.random_source.seed,
        "n_genes": model._n_genes,
        "n_features": model._n_features,
        "undo_logarithm": None if reduction is None else reduction.is_log,
        "transposed": transposed,
        "training": training,
    }


def _tensors(model: GraphEncoder[Any, Any, Any]) -> dict[str, Tensor]:
    named: dict[str, Any] = {f"history.{name}": values for name, values in model.history.items()}
    for number, network in enumerate(model.networks):
        named |= {f"network.{number}.{name}": tensor for name, tensor in network.state_dict().items()}
    parts = {
        "reduction": None if model._reduction is None else model._reduction.components,
        "leading": model._leading,
        "training": model.training,
        "reference": model.reference,
    }
    for part, values in parts.items():
        held = {} if values is None else vars(values)
        named |= {
            f"{part}.{name}": value for name, value in held.items() if isinstance(value, np.ndarray | torch.Tensor)
        }
    return {name: torch.as_tensor(value).detach().cpu() for name, value in named.items()}


def _row_major(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """What is stored, and which of it is transposed: products of a matrix in another order may round otherwise."""
    columns = [
        name
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and not tensor.is_contiguous() and tensor.T.is_contiguous()
    ]
    # A copy of each: no two of them may share memory in the file.
    return {name: (t.T if name in columns else t).contiguous().clone() for name, t in tensors.items()}, columns


def _plain(value: Any) -> Any:
    """Records as they come back from h5ad, with NumPy's scalars and arrays, in the types that JSON has."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else str(value)
