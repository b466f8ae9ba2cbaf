"""A trained model as two files: ``config.json``, which people can read, and ``weights.safetensors``, pure numbers.

Neither can hold code. The configuration has the checksum of the numbers and the weights that of the configuration, so
that a parameter that was edited, a bit that has turned, or files of two models are noticed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, fields
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

# A megabyte of positions; offsets are smooth, so more of them would say nothing new.
MOST_SPOTS = 20_000


@dataclass(frozen=True)
class TrainingRecord:
    """The genes a model was trained on, and how expression and graph were made.

    Attributes
    ----------
    genes
        Names in the order of the model's columns.
    scale
        ``"logarithm"``, ``"linear"`` or ``"counts"``: what the values look like.
    prepare
        Parameters of :func:`spotscape.pp.prepare`; ``None`` if it was not used.
    graph
        Parameters of the spatial graph as they stand in ``adata.uns``.
    mean_degree
        Neighbours of a spot, on average.
    means
        Mean of each gene in the units of the input, float32 ``(G,)``; fills genes that a new slice lacks.
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
    """Spots of the training, with which new slices are aligned.

    Attributes
    ----------
    embedding
        Float32 ``(R, d)``.
    slices
        Number of the slice of each, int64 ``(R,)``; all 0 for a single slice.
    inputs
        Components that the encoders saw, as means over neighbourhoods, float32 ``(R, p)``; ``None`` if they are not
        aligned.
    """

    embedding: np.ndarray
    slices: np.ndarray
    inputs: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        embedding: np.ndarray,
        slices: np.ndarray | None,
        inputs: np.ndarray | None = None,
        *,
        seed: int,
        at_most: int = MOST_SPOTS,
    ) -> Self:
        """All spots, or ``at_most`` of them drawn at random."""
        rows = np.arange(len(embedding))
        if len(rows) > at_most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, at_most, replace=False))
        codes = np.zeros(len(embedding)) if slices is None else np.unique(slices, return_inverse=True)[1]
        seen = None if inputs is None else np.ascontiguousarray(inputs[rows], dtype=np.float32)
        return cls(np.ascontiguousarray(embedding[rows], dtype=np.float32), codes[rows].astype(np.int64), seen)


FORMAT, FORMAT_VERSION = "spotscape-model", 2
CONFIG, WEIGHTS, FINGERPRINT = "config.json", "weights.safetensors", "config_sha256"
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".ckpt"}
# A configuration with the names of all genes of a genome has a megabyte or two.
_MOST_BYTES = 2**26
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "format_version": (int,),
    "spotscape_version": (str,),
    "method": (str,),
    "config": (dict,),
    "random_state": (int,),
    "n_genes": (int,),
    "n_features": (int,),
    "unit": (float, int),
    "undo_logarithm": (bool, type(None)),
    "training": (dict, type(None)),
    "tensors_sha256": (str,),
}
_TRAINING: dict[str, tuple[type, ...]] = {
    "genes": (list,),
    "scale": (str,),
    "prepare": (dict, type(None)),
    "graph": (dict,),
    "mean_degree": (float, int),
}


def save_model(model: GraphEncoder[Any], directory: str | Path, *, overwrite: bool) -> None:
    """Write a trained model into a directory that appears, or is replaced, only once it is complete."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    model.require_trained()
    target = Path(directory)
    _require_room(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir()
        tensors = _tensors(model)
        described = {**_description(model), "tensors_sha256": _digest(tensors)}
        text = json.dumps(described, indent=1, allow_nan=False, default=_plain).encode()
        (partial / CONFIG).write_bytes(text)
        save_file(tensors, partial / WEIGHTS, metadata={FINGERPRINT: hashlib.sha256(text).hexdigest()})
        _swap(partial, target)
    except (OSError, SafetensorError) as error:
        msg = f"the model {target} could not be written ({error}); is the disk full?"
        raise OSError(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("Saved the model in %s.", target)


def read_model(directory: str | Path, methods: dict[str, tuple[Any, Any]], device: torch.device) -> Any:
    """Read what :func:`save_model` wrote; ``methods`` has class and configuration of each method by name."""
    folder = Path(directory)
    _require_files(folder)
    text = (folder / CONFIG).read_bytes()
    described = _read_config(text, folder / CONFIG)
    kind, config = _method(described, folder / CONFIG, methods)
    tensors = _read_weights(folder / WEIGHTS, text, described)
    model = kind(config, random_state=described["random_state"])
    shapes = _Shapes(folder / WEIGHTS, tensors)
    _fill(model, described, shapes, device)
    shapes.require_all_used()
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
    """Put a complete directory in place of another one, which is afterwards where the new one was."""
    try:
        # On the place of an empty directory, or of none, at once.
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


def _description(model: GraphEncoder[Any]) -> dict[str, Any]:
    reduction, known = model._reduction, model.training
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "spotscape_version": version("spotscape"),
        "method": model.name,
        "config": asdict(model.config),
        "random_state": model.random_source.seed,
        "n_genes": model._n_genes,
        "n_features": model.require_trained().n_features,
        "unit": model._unit,
        "undo_logarithm": None if reduction is None else reduction.is_log,
        "training": None if known is None else {name: getattr(known, name) for name in _TRAINING},
    }


def _tensors(model: GraphEncoder[Any]) -> dict[str, Tensor]:
    named: dict[str, Any] = {f"history.{name}": values for name, values in model.history.items()}
    named |= {f"network.{name}": tensor for name, tensor in model.require_trained().state_dict().items()}
    parts = {
        "reduction": None if model._reduction is None else model._reduction.components,
        "pca": model._pca,
        "training": model.training,
        "reference": model.reference,
    }
    for part, values in parts.items():
        held = {} if values is None else vars(values)
        named |= {
            f"{part}.{name}": value for name, value in held.items() if isinstance(value, np.ndarray | torch.Tensor)
        }
    # A copy of each: no two of them may share memory in the file.
    return {name: torch.as_tensor(value).detach().cpu().contiguous().clone() for name, value in named.items()}


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].numpy()
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.data if values.ndim else values.tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON has no type for: NumPy's scalars and arrays in records that come back from h5ad."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


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
    number = described.get("format_version")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        msg = f"{path} has format_version {number!r}; expected is a whole number, up to {FORMAT_VERSION}."
        raise ValueError(msg)
    if number != FORMAT_VERSION:
        mend = "Update it: pip install --upgrade spotscape." if number > FORMAT_VERSION else "Train the model again."
        msg = (
            f"{path} has format {number}, written by spotscape {described.get('spotscape_version')}; this version "
            f"reads format {FORMAT_VERSION}. {mend}"
        )
        raise ValueError(msg)
    _require_fields(described, _FIELDS, path)
    if described["training"] is not None:
        _require_fields(described["training"], _TRAINING, path)
    return described


def _require_fields(found: dict[str, Any], expected: dict[str, tuple[type, ...]], path: Path) -> None:
    _refuse_unknown(found, expected, path)
    if missing := sorted(expected.keys() - found.keys()):
        msg = f"{path} lacks the fields {missing}; save the model again."
        raise ValueError(msg)
    for name, kinds in expected.items():
        value = found[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            msg = f"{path} has {name}={value!r}; expected is {' or '.join(kind.__name__ for kind in kinds)}."
            raise ValueError(msg)


def _refuse_unknown(found: Any, expected: Any, path: Path) -> None:
    if unknown := sorted(set(found) - set(expected)):
        msg = f"{path} has fields that this version does not know: {unknown}; it may need a newer spotscape."
        raise ValueError(msg)


def _method(described: dict[str, Any], path: Path, methods: dict[str, tuple[Any, Any]]) -> tuple[Any, Any]:
    if described["method"] not in methods:
        msg = f"{path} is of the method {described['method']!r}; known are {sorted(methods)}."
        raise ValueError(msg)
    kind, config = methods[described["method"]]
    _refuse_unknown(described["config"], [field.name for field in fields(config)], path)
    try:
        return kind, config(**described["config"])
    except (TypeError, ValueError) as error:
        msg = f"{path} has a configuration that makes no sense: {error}"
        raise ValueError(msg) from error


def _read_weights(path: Path, config: bytes, described: dict[str, Any]) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            written_with = (file.metadata() or {}).get(FINGERPRINT)
            # Copies begin at an address of torch's choice, as in training; sums may round otherwise elsewhere.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        msg = f"{path} is truncated or is no safetensors file ({error}); save the model again."
        raise ValueError(msg) from error
    if written_with != hashlib.sha256(config).hexdigest():
        msg = (
            f"{path.with_name(CONFIG)} is not the one that the weights beside it were saved with: its gene list or "
            "another entry was changed, or the two files belong to different models. Save the model again."
        )
        raise ValueError(msg)
    if _digest(tensors) != described["tensors_sha256"]:
        msg = f"{path} has other numbers than those that were saved: the file is damaged. Save the model again."
        raise ValueError(msg)
    return tensors


class _Shapes:
    """The tensors of a file, handed out by name if they have the shape that is expected of them."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path, self.tensors, self.used = path, tensors, set[str]()

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor; ``None`` stands for any length."""
        if name not in self.tensors:
            msg = f"{self.path} lacks {name!r}; the file is not complete or of another model. Save the model again."
            raise ValueError(msg)
        tensor = self.tensors[name]
        if tensor.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
            wanted = tuple("any" if n is None else n for n in shape)
            msg = f"{self.path} has {name!r} of shape {tuple(tensor.shape)}; {CONFIG} says {wanted}."
            raise ValueError(msg)
        if tensor.is_floating_point() and not tensor.isfinite().all():
            msg = f"{self.path} has NaN or infinite values in {name!r}; train the model again."
            raise ValueError(msg)
        self.used.add(name)
        return tensor

    def array(self, name: str, *shape: int | None) -> np.ndarray:
        return self.take(name, *shape).numpy()

    def require_all_used(self) -> None:
        if unknown := sorted(self.tensors.keys() - self.used):
            msg = f"{self.path} has tensors that the model does not know: {unknown[:3]}; the file is of another model."
            raise ValueError(msg)


def _fill(model: Any, described: dict[str, Any], shapes: _Shapes, device: torch.device) -> None:
    config, n_genes = model.config, described["n_genes"]
    model._n_genes, model._unit = n_genes, float(described["unit"])
    # Of one weight each, drawn for nothing, but of the shapes that the configuration says.
    with torch.device("meta"):
        network = model._network(described["n_features"], WeightSource([0] * config.n_encoders, device="meta"))
    expected = network.state_dict()
    state = {name: shapes.take(f"network.{name}", *tensor.shape) for name, tensor in expected.items()}
    network.load_state_dict({name: state[name].to(expected[name].dtype) for name in state}, assign=True)
    model.network = network.eval().to(device)
    names = [name for name in shapes.tensors if name.startswith("history.")]
    model.history = {name.removeprefix("history."): shapes.array(name, None) for name in names}
    if described["undo_logarithm"] is not None:
        mean, scale = (shapes.array(f"reduction.{name}", n_genes) for name in ("mean", "scale"))
        ceiling = shapes.array("reduction.ceiling", n_genes) if shapes.has("reduction.ceiling") else None
        components = PrincipalComponents(mean, scale, shapes.array("reduction.loadings", n_genes, None), ceiling)
        model._reduction = Reduction(components, described["undo_logarithm"])
    if shapes.has("pca."):
        width = config.n_encoders * config.latent_size
        axes = shapes.take("pca.axes", width, None)
        mean_of, scale_of = shapes.take("pca.mean", width), shapes.take("pca.scale", axes.shape[1])
        model._pca = PCA(mean_of.to(device), axes.to(device), scale_of.to(device))
    if described["training"] is not None:
        model.training = _training(described["training"], n_genes, shapes)
    if shapes.has("reference."):
        width = config.latent_size if model._pca is None else len(model._pca.scale)
        points = shapes.array("reference.embedding", None, width)
        seen = None
        if shapes.has("reference.inputs"):
            seen = shapes.array("reference.inputs", len(points), described["n_features"])
        model.reference = Reference(points, shapes.array("reference.slices", len(points)), seen)


def _training(described: dict[str, Any], n_genes: int, shapes: _Shapes) -> TrainingRecord:
    if len(described["genes"]) != n_genes or not all(isinstance(gene, str) for gene in described["genes"]):
        msg = f"{shapes.path.with_name(CONFIG)} names {len(described['genes'])} genes for the {n_genes} of the model."
        raise ValueError(msg)
    means, detected = (shapes.array(f"training.{name}", n_genes) for name in ("means", "detected"))
    return TrainingRecord(**{**described, "genes": tuple(described["genes"])}, means=means, detected=detected)
