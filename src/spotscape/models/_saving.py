"""What a model stores of its training, and a trained model as files.

The two files cannot hold code: ``config.json``, and ``weights.safetensors``.

Each contains a checksum of the other, so that edited parameters, changed bits and files of different models are
noticed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from spotscape._core.logging import logger
from spotscape._stats.components import PrincipalComponents
from spotscape.models._reduction import Reduction
from spotscape.nn.blocks import WeightSource
from spotscape.nn.pca import PCA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from spotscape.models._base import GraphEncoder


# A megabyte of positions; offsets are smooth, so more of them would add nothing.
MOST_SPOTS = 20_000


@dataclass(frozen=True)
class TrainingRecord:
    """The genes that a model was trained on, and how expression and graph were made.

    Attributes
    ----------
    genes
        Names in the order of the model's columns.
    scale
        ``"logarithm"``, ``"linear"`` or ``"counts"``: scale of the values.
    prepare
        Parameters of :func:`spotscape.pp.prepare`; ``None`` if it was not used.
    graph
        Parameters of the spatial graph, as in ``adata.uns``.
    mean_degree
        Mean number of neighbours of a spot.
    means
        Mean of each gene in the units of the input, float32 ``(G,)``. It fills genes that a new slice lacks.
    detected
        Share of the spots in which each gene is not zero, float32 ``(G,)``.
    """

    genes: tuple[str, ...]
    scale: str
    prepare: Mapping[str, Any] | None
    graph: Mapping[str, Any]
    mean_degree: float
    means: np.ndarray
    detected: np.ndarray


@dataclass(frozen=True)
class Reference:
    """Spots of the training with which new slices are aligned.

    Attributes
    ----------
    embedding
        Float32 ``(R, d)``.
    slices
        Slice number of each spot, int64 ``(R,)``; all 0 for a single slice.
    inputs
        Components that the encoders saw, as means over neighbourhoods, float32 ``(R, p)``; ``None`` if they are not
        aligned.
    """

    embedding: np.ndarray
    slices: np.ndarray
    inputs: np.ndarray | None = None

    @classmethod
    def of(
        cls, embedding: np.ndarray, slices: np.ndarray | None, inputs: np.ndarray | None = None, *, seed: int
    ) -> Self:
        """All spots, or 20,000 of them, drawn at random."""
        rows = np.arange(len(embedding))
        if len(rows) > MOST_SPOTS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_SPOTS, replace=False))
        codes = np.zeros(len(embedding)) if slices is None else np.unique(slices, return_inverse=True)[1]
        seen = None if inputs is None else np.ascontiguousarray(inputs[rows], dtype=np.float32)
        return cls(np.ascontiguousarray(embedding[rows], dtype=np.float32), codes[rows].astype(np.int64), seen)


FORMAT, FORMAT_VERSION = "spotscape-model", 2
CONFIG, WEIGHTS, FINGERPRINT = "config.json", "weights.safetensors", "config_sha256"
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".ckpt"}
# A configuration with the names of all genes of a genome has a megabyte or two.
_MOST_BYTES = 2**26


def save_model(model: GraphEncoder[Any], directory: str | Path, *, overwrite: bool) -> None:
    """Write a trained model into a directory that appears, or is replaced, only once it is complete."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    described, tensors = _taken_apart(model)
    target = Path(directory)
    _require_room(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir()
        # What is not of JSON's types are NumPy's scalars and arrays, and paths.
        text = json.dumps(
            described, indent=1, allow_nan=False, default=lambda value: getattr(value, "tolist", value.__str__)()
        ).encode()
        (partial / CONFIG).write_bytes(text)
        save_file(tensors, partial / WEIGHTS, metadata={FINGERPRINT: hashlib.sha256(text).hexdigest()})
        _swap(partial, target)
    except (OSError, SafetensorError) as error:
        msg = f"the model {target} could not be written ({error}); is the disk full?"
        raise OSError(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("Saved the model in %s.", target)


def read_model(directory: str | Path, methods: Mapping[str, Any], device: torch.device) -> Any:
    """Read what :func:`save_model` wrote; ``methods`` has the class of each method by name."""
    folder = Path(directory)
    _require_files(folder)
    text = (folder / CONFIG).read_bytes()
    described = _read_config(text, folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS, hashlib.sha256(text).hexdigest(), described.get("tensors_sha256"))
    method = methods.get(str(described.get("method")))
    if method is None:
        msg = f"{folder / CONFIG} is of the method {described.get('method')!r}; known are {sorted(methods)}."
        raise ValueError(msg)
    try:
        return _put_together(described, tensors, method, device)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        msg = f"{folder} does not hold a complete model ({error}); save it again with model.save(directory)."
        raise ValueError(msg) from error


def _taken_apart(model: GraphEncoder[Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The parts of a model that go into the configuration, and those that go into the weights."""
    network, reduction, training = model.require_trained(), model._reduction, model.training
    named: dict[str, Any] = {f"history.{name}": values for name, values in model.history.items()}
    named |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    components = None if reduction is None else reduction.components
    parts = {"reduction": components, "pca": model._pca, "training": training, "reference": model.reference}
    words: dict[str, Any] = {}
    for part, holder in parts.items():
        for name, value in ({} if holder is None else vars(holder)).items():
            if isinstance(value, np.ndarray | torch.Tensor):
                named[f"{part}.{name}"] = value
            elif part == "training":
                words[name] = value
    # A copy of each: no two of them may share memory in the file.
    tensors = {name: torch.as_tensor(value).detach().cpu().contiguous().clone() for name, value in named.items()}
    described = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "spotscape_version": version("spotscape"),
        "method": model.name,
        "config": asdict(model.config),
        "random_state": model.random_source.seed,
        "n_genes": model._n_genes,
        "n_features": network.n_features,
        "unit": model._unit,
        "undo_logarithm": None if reduction is None else reduction.is_log,
        "training": None if training is None else words,
        "tensors_sha256": _digest(tensors),
    }
    return described, tensors


def _put_together(described: dict[str, Any], tensors: dict[str, Tensor], method: Any, device: torch.device) -> Any:
    model = method(method._config_type(**described["config"]), random_state=described["random_state"])
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, own = name.partition(".")
        parts.setdefault(part, {})[own] = tensor
    arrays: dict[str, dict[str, Any]] = {
        part: {name: tensor.numpy() for name, tensor in named.items()} for part, named in parts.items()
    }
    # Without memory: the weights are those of the file, of the shapes that the configuration says.
    with torch.device("meta"):
        source = WeightSource([0] * model.config.n_encoders, device="meta")
        network = model._network_type(described["n_features"], model.config, source)
    network.load_state_dict(parts["network"], assign=True)
    model.network = network.eval().to(device)
    model.history = arrays["history"]
    model._n_genes, model._unit = described["n_genes"], described["unit"]
    if "reduction" in parts:
        model._reduction = Reduction(PrincipalComponents(**arrays["reduction"]), described["undo_logarithm"])
    if "pca" in parts:
        model._pca = PCA(**{name: tensor.to(device) for name, tensor in parts["pca"].items()})
    if (words := described["training"]) is not None:
        model.training = TrainingRecord(**{**words, "genes": tuple(words["genes"])}, **arrays["training"])
    if "reference" in parts:
        model.reference = Reference(**arrays["reference"])
    return model


def _require_room(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        msg = f"{target} is a file; name a directory."
        raise FileExistsError(msg)
    found = sorted(path.name for path in target.iterdir())
    if found and not overwrite:
        msg = f"{target} is not empty (it holds {found[0]!r}); name another directory or give overwrite=True."
        raise FileExistsError(msg)
    if others := [name for name in found if name not in {CONFIG, WEIGHTS}]:
        msg = f"{target} also holds {others[0]!r}, which is no part of a model; name another directory."
        raise FileExistsError(msg)


def _swap(partial: Path, target: Path) -> None:
    """Replace a directory by a complete one. The old directory is afterwards where the new one was."""
    try:
        # In one step, if there is no directory of that name or an empty one.
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        exchange = 2
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
        names = (os.fsencode(partial.absolute()), os.fsencode(target.absolute()))
        if call is None or call(-100, names[0], -100, names[1], exchange) != 0:
            # A system that cannot exchange two names in one step: the old model goes away first.
            old = partial.with_suffix(".old")
            target.rename(old)
            partial.rename(target)
            shutil.rmtree(old)


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].numpy()
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.data if values.ndim else values.tobytes())
    return digest.hexdigest()


def _require_files(folder: Path) -> None:
    if not folder.is_dir():
        msg = f"there is no directory {folder}."
        raise FileNotFoundError(msg)
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLES):
        msg = (
            f"{folder} holds {pickles[0]!r}, a pickle: opening one runs the code in it, so it is not read. A model "
            f"that model.save(directory) has written is {CONFIG} and {WEIGHTS}."
        )
        raise ValueError(msg)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            found = sorted(path.name for path in folder.iterdir()) or "nothing"
            msg = f"{folder} has no {name}, it holds: {found}. Save a model with model.save(directory)."
            raise FileNotFoundError(msg)
    if (folder / CONFIG).stat().st_size > _MOST_BYTES:
        msg = f"{folder / CONFIG} is larger than any configuration; expected is what model.save(directory) writes."
        raise ValueError(msg)


def _read_config(text: bytes, path: Path) -> dict[str, Any]:
    try:
        described = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}); save the model again."
        raise ValueError(msg) from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        msg = f"{path} does not describe a model of spotscape; expected is what model.save(directory) writes."
        raise ValueError(msg)
    if (number := described.get("format_version")) != FORMAT_VERSION:
        is_newer = isinstance(number, int) and number > FORMAT_VERSION
        mend = "Install a newer version of spotscape." if is_newer else "Train the model again."
        msg = (
            f"{path} has format {number}, written by spotscape {described.get('spotscape_version')}; this version "
            f"reads format {FORMAT_VERSION}. {mend}"
        )
        raise ValueError(msg)
    return described


def _read_weights(path: Path, fingerprint: str, digest: str | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            written_with = (file.metadata() or {}).get(FINGERPRINT)
            # Copies begin at an address of torch's choice, as in training; sums may round otherwise elsewhere.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        msg = f"{path} is truncated or is no safetensors file ({error}); save the model again."
        raise ValueError(msg) from error
    if written_with != fingerprint:
        msg = (
            f"{path.with_name(CONFIG)} is not the one that the weights beside it were saved with: its gene list or "
            "another entry was changed, or the two files belong to different models. Save the model again."
        )
        raise ValueError(msg)
    if _digest(tensors) != digest:
        msg = f"{path} has other numbers than those that were saved: the file is damaged. Save the model again."
        raise ValueError(msg)
    return tensors
