"""Trained models out of a directory, every file of which is checked before it is believed."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spotscape._core.arguments import public
from spotscape._core.device import resolve_device
from spotscape.models._record import Reference, TrainingRecord
from spotscape.models._reduction import Reduction
from spotscape.models._spacross import SpaCross
from spotscape.models._spacross_config import SpaCrossConfig
from spotscape.models._spotscape import Spotscape
from spotscape.models._spotscape_config import SpotscapeConfig
from spotscape.models._storage import CONFIG, FINGERPRINT, FORMAT, FORMAT_VERSION, WEIGHTS, fingerprint, pickles_in
from spotscape.nn.components import PrincipalComponents
from spotscape.nn.ensemble import LeadingAxes
from spotscape.nn.layers import build_seeded

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

_METHODS: dict[str, tuple[Any, Any]] = {
    "Spotscape": (Spotscape, SpotscapeConfig),
    "SpaCross": (SpaCross, SpaCrossConfig),
}
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "format_version": (int,),
    "spotscape_version": (str,),
    "method": (str,),
    "config": (dict,),
    "random_state": (int,),
    "n_genes": (int,),
    "n_features": (int,),
    "undo_logarithm": (bool, type(None)),
    "transposed": (list,),
    "training": (dict, type(None)),
}
_TRAINING: dict[str, tuple[type, ...]] = {
    "genes": (list,),
    "scale": (str,),
    "prepare": (dict, type(None)),
    "graph": (dict,),
    "mean_degree": (float, int),
}


@public
def load(directory: str | Path, *, device: str | torch.device | None = None) -> Spotscape | SpaCross:
    """Read a model that :meth:`~spotscape.models.Spotscape.save` has written.

    Nothing is unpickled and no code is run: ``config.json`` is text, ``weights.safetensors`` holds numbers.

    Parameters
    ----------
    directory
        The directory that was saved to.
    device
        Where the model is to run: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``None`` takes
        ``spotscape.settings.device``. It need not be that of the training.

    Returns
    -------
    The trained model. On the same machine it embeds to the same bits as before it was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such directory, or one of the two files is missing.
    ValueError
        If the directory holds a pickle; if the configuration was written by a newer version, is no model's, has fields
        that are unknown or lacks some, or has been changed since; if the weights are truncated, or do not have the
        names and shapes that the configuration says.

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
    folder = Path(directory)
    _require_files(folder)
    text = (folder / CONFIG).read_bytes()
    described = _read_config(text, folder / CONFIG)
    kind, config = _method(described, folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS, text)
    model = kind(config, random_state=described["random_state"])
    shapes = _Shapes(folder / WEIGHTS, tensors, described)
    _fill(model, described, shapes, resolve_device(device))
    shapes.require_all_used()
    loaded: Spotscape | SpaCross = model
    return loaded


def _require_files(folder: Path) -> None:
    if not folder.is_dir():
        msg = f"there is no directory {folder}."
        raise FileNotFoundError(msg)
    if pickles := pickles_in(folder):
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


def _read_config(text: bytes, path: Path) -> dict[str, Any]:
    try:
        described = json.loads(text)
    except ValueError as error:
        msg = f"{path} is not JSON ({error}); save the model again."
        raise ValueError(msg) from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        msg = f"{path} does not describe a model of spotscape; expected is what model.save(directory) writes."
        raise ValueError(msg)
    number = described.get("format_version")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        msg = f"{path} has format_version {number!r}; expected is a whole number, up to {FORMAT_VERSION}."
        raise ValueError(msg)
    if number > FORMAT_VERSION:
        msg = (
            f"{path} has format {number}, written by spotscape {described.get('spotscape_version')}; this version "
            f"reads up to {FORMAT_VERSION}. Update it: pip install --upgrade spotscape."
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


def _method(described: dict[str, Any], path: Path) -> tuple[Any, Any]:
    if described["method"] not in _METHODS:
        msg = f"{path} is of the method {described['method']!r}; known are {sorted(_METHODS)}."
        raise ValueError(msg)
    kind, config = _METHODS[described["method"]]
    _refuse_unknown(described["config"], [field.name for field in fields(config)], path)
    try:
        return kind, config(**described["config"])
    except (TypeError, ValueError) as error:
        msg = f"{path} has a configuration that makes no sense: {error}"
        raise ValueError(msg) from error


def _read_weights(path: Path, config: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            written_with = (file.metadata() or {}).get(FINGERPRINT)
            # Copies begin at an address of torch's choice, as in training; sums may round otherwise elsewhere.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        msg = f"{path} is truncated or is no safetensors file ({error}); save the model again."
        raise ValueError(msg) from error
    if written_with != fingerprint(config):
        msg = (
            f"{path.with_name(CONFIG)} is not the one that the weights beside it were saved with: its gene list or "
            "another entry was changed, or the two files belong to different models. Save the model again."
        )
        raise ValueError(msg)
    return tensors


class _Shapes:
    """The tensors of a file, handed out by name if they have the shape that is expected of them."""

    def __init__(self, path: Path, tensors: dict[str, Tensor], described: dict[str, Any]) -> None:
        self.path, self.tensors, self.used = path, tensors, set[str]()
        self.transposed = set(described["transposed"])

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor; ``None`` stands for any length."""
        if name not in self.tensors:
            msg = f"{self.path} lacks {name!r}; the file is not complete or of another model. Save the model again."
            raise ValueError(msg)
        tensor = self.tensors[name]
        tensor = tensor.T if name in self.transposed and tensor.ndim == 2 else tensor
        fits = tensor.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if not fits:
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
    config = model.config
    model._n_genes, model._n_features = described["n_genes"], described["n_features"]
    model.networks = tuple(_network(model, number, shapes).to(device) for number in range(config.n_encoders))
    names = [name for name in shapes.tensors if name.startswith("history.")]
    model.history = {name.removeprefix("history."): shapes.array(name, None) for name in names}
    if described["undo_logarithm"] is not None:
        model._reduction = Reduction(_components(model._n_genes, shapes), described["undo_logarithm"])
    if shapes.has("leading."):
        model._leading = _leading(config.n_encoders * config.latent_size, shapes, device)
    if described["training"] is not None:
        model.training = _training(described["training"], model._n_genes, shapes)
    if shapes.has("reference."):
        width = config.latent_size if model._leading is None else len(model._leading.scale)
        points = shapes.array("reference.embedding", None, width)
        model.reference = Reference(points, shapes.array("reference.slices", len(points)))


def _network(model: Any, number: int, shapes: _Shapes) -> nn.Module:
    # On no device at all: nothing is drawn or allocated before the shapes are known to be right.
    with torch.device("meta"):
        network: nn.Module = build_seeded(lambda: model._network(model._n_features), 0)
    expected = network.state_dict()
    state = {name: shapes.take(f"network.{number}.{name}", *tensor.shape) for name, tensor in expected.items()}
    network.load_state_dict({name: state[name].to(expected[name].dtype) for name in state}, assign=True)
    return network.eval()


def _components(n_genes: int, shapes: _Shapes) -> PrincipalComponents:
    mean, scale = (shapes.array(f"reduction.{name}", n_genes) for name in ("mean", "scale"))
    loadings = shapes.array("reduction.loadings", n_genes, None)
    ceiling = shapes.array("reduction.ceiling", n_genes) if shapes.has("reduction.ceiling") else None
    return PrincipalComponents(mean, scale, loadings, ceiling)


def _leading(width: int, shapes: _Shapes, device: torch.device) -> LeadingAxes:
    axes = shapes.take("leading.axes", width, None)
    mean, scale = shapes.take("leading.mean", width), shapes.take("leading.scale", axes.shape[1])
    return LeadingAxes(mean.to(device), axes.to(device), scale.to(device))


def _training(described: dict[str, Any], n_genes: int, shapes: _Shapes) -> TrainingRecord:
    if len(described["genes"]) != n_genes or not all(isinstance(gene, str) for gene in described["genes"]):
        msg = f"{shapes.path.with_name(CONFIG)} names {len(described['genes'])} genes for the {n_genes} of the model."
        raise ValueError(msg)
    means, detected = (shapes.array(f"training.{name}", n_genes) for name in ("means", "detected"))
    return TrainingRecord(**{**described, "genes": tuple(described["genes"])}, means=means, detected=detected)
