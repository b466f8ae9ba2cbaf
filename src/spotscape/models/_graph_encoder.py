"""What every model is: encoders of a spatial graph, trained from different weights, read as one embedding."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn

from spotscape._core.arguments import public
from spotscape._core.device import resolve_device
from spotscape._core.logging import logger
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.rows import RowSource
from spotscape._core.settings import settings
from spotscape._core.validation import require_finite
from spotscape.models._reduction import Reduction, ReductionConfig
from spotscape.models._storage import save_model
from spotscape.models._tiling import RegionReader, TilePlan, choose_batch_size
from spotscape.nn.ensemble import LeadingAxes
from spotscape.nn.graph import SpotGraph
from spotscape.nn.integration import integrate, place
from spotscape.nn.layers import build_seeded, calibrate_batch_norm
from spotscape.nn.tiles import graph_tiles
from spotscape.nn.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from torch import Tensor

    from spotscape.models._record import Reference, TrainingRecord
    from spotscape.nn.features import FeatureMatrix
    from spotscape.nn.trainer import LossOutput, TrainingPlan


class EncoderConfig(ReductionConfig, Protocol):
    """The part of a configuration that all models read."""

    @property
    def n_encoders(self) -> int: ...
    @property
    def n_axes(self) -> int | None: ...
    @property
    def latent_size(self) -> int: ...
    @property
    def max_epochs(self) -> int: ...
    @property
    def integrate(self) -> bool: ...
    @property
    def reconstruction_weight(self) -> float: ...
    def training_plan(self) -> TrainingPlan:
        """The part that the trainer reads."""


C = TypeVar("C", bound=EncoderConfig)
N = TypeVar("N", bound=nn.Module)
F = TypeVar("F", bound="FeatureMatrix")


@dataclass(frozen=True)
class Tissue(Generic[F]):
    """What is trained on; ``slices`` holds the rows of each, and is empty for a single slice."""

    features: F
    graph: SpotGraph
    slices: tuple[Tensor, ...]


class Objective(nn.Module, Generic[N, F]):
    """The loss of an epoch; holds the network, and what only training needs."""

    def __init__(self, network: N, tissue: Tissue[F], generator: torch.Generator) -> None:
        super().__init__()
        self.network, self.tissue, self.generator = network, tissue, generator

    @abstractmethod
    def forward(self, epoch: int) -> LossOutput:
        """The weighted sum of the losses and its parts."""


class GraphEncoder(ABC, Generic[C, N, F]):
    """Fit, embed and reconstruct; a method adds its features, its network and its objective.

    The type variables: configuration, network and features.
    """

    name: str
    config: C
    # Graph convolutions of the encoder.
    n_hops = 2

    def __init__(self, config: C, random_state: Seed) -> None:
        self.config = config
        self.random_source = RandomSource(random_state)
        self.networks: tuple[N, ...] = ()
        self.history: dict[str, np.ndarray] = {}
        self.training: TrainingRecord | None = None
        self.reference: Reference | None = None
        self._n_genes = self._n_features = 0
        self._reduction: Reduction | None = None
        self._leading: LeadingAxes | None = None
        self._batch_size: int | None = None

    @abstractmethod
    def _features(self, expression: Any, reduction: Reduction | None, device: torch.device) -> F:
        """What the encoder sees, ``(N, G)`` or narrower."""

    @abstractmethod
    def _network(self, n_features: int) -> N:
        """A network of random weights."""

    @abstractmethod
    def _objective(self, tissue: Tissue[F], generator: torch.Generator) -> Objective[N, F]:
        """The loss of an epoch, with a network of random weights."""

    @abstractmethod
    def _tiled_objective(self, tissue: Tissue[F], generator: torch.Generator, plan: TilePlan) -> Objective[N, F]:
        """The loss of a step over tiles, with a network of random weights."""

    @abstractmethod
    def _bytes_per_spot(self) -> int:
        """About what a step holds for each spot that it sees."""

    @abstractmethod
    def _forward(self, network: N, features: F, adjacency: Tensor) -> Tensor:
        """Everything up to what the decoder's last layer sees, for the statistics of normalisation."""

    @abstractmethod
    def _decode(self, expression: Any, features: F, adjacency: Tensor) -> np.ndarray:
        """Decoded expression, float32 ``(N, G)``: the mean over encoders."""

    @public
    def fit(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        progress_bar: bool | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train on one slice, or on several together.

        Parameters
        ----------
        expression
            Log-normalised expression, dense or sparse, ``(N, G)``.
        adjacency
            Spatial graph, sparse ``(N, N)``; row i holds the neighbours of spot i.
        slices
            Slice of each spot, any labels, ``(N,)``; at least two spots of each. Two slices or more switch on what the
            method does across slices. ``None`` for a single slice.
        batch_size
            Spots of a step, which are then tiles drawn from all over the tissue, each with its exact halo. ``None``
            takes all spots in every step if that needs less than about 0.8 GB, else 16,384; the log says which.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``None`` takes ``spotscape.settings.device``.
        progress_bar
            ``None`` takes ``spotscape.settings.progress_bar``.
        checkpoint
            File to write the state of training to, and to resume from if it exists; one of other data, another
            configuration or another seed is refused. Each further encoder has its own: the name with ``.1``, ``.2`` and
            so on.

        Returns
        -------
        The model itself.
        """
        check_input(expression, adjacency)
        chosen = resolve_device(device)
        rows = slice_rows(slices, expression.shape[0], chosen)
        seed = self.random_source.integer("basis")
        reduction = Reduction.fit(expression, adjacency, self.config, seed=seed)
        features = self._features(expression, reduction, chosen)
        tissue = Tissue(features, SpotGraph.from_adjacency(adjacency, chosen), rows)
        self._announce(tissue, expression.shape[1])
        bar = settings.progress_bar if progress_bar is None else progress_bar
        self._batch_size = choose_batch_size(batch_size, tissue.graph.n_spots, self._bytes_per_spot())
        identity = "" if checkpoint is None else self._identity(expression, tissue)
        plan = self._plan(adjacency, slices if rows else None)
        reader = self._reader(features, tissue.graph, adjacency, self._batch_size)
        fits = [
            self._fit_encoder(number, tissue, plan, reader, progress_bar=bar, checkpoint=checkpoint, identity=identity)
            for number in range(self.config.n_encoders)
        ]
        self._n_genes, self._n_features, self._reduction = expression.shape[1], features.shape[1], reduction
        self.training = self.reference = None
        self.networks = tuple(network for network, _ in fits)
        self.history = mean_history([history for _, history in fits])
        self._leading = self._find_axes(self._encode(features, tissue.graph, reader))
        return self

    @public
    def embed(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
        batch_size: int | None = None,
        align: bool = False,
    ) -> np.ndarray:
        """Embeddings of the spots of this or another tissue with the same genes, float32 ``(N, n_axes)``.

        With the slice of each spot in ``slices``, offsets between the slices that are embedded here are taken off
        (unless ``config.integrate`` is off); without, every spot is embedded by itself and its surroundings. With
        ``align`` it is the offset of each slice to the training, :attr:`reference`, that is taken off, slice by slice
        (:func:`spotscape.nn.place`).

        ``batch_size`` spots are in memory at a time, with all that they depend on, so the numbers are the same for any;
        ``None`` decides as for training.
        """
        features, graph = self._inputs(expression, adjacency)
        size = choose_batch_size(batch_size, graph.n_spots, self._bytes_per_spot(), log=False)
        embeddings = self._encode(features, graph, self._reader(features, graph, adjacency, size))
        joined = embeddings[0] if self._leading is None else self._leading.project(embeddings)
        if align:
            return self._align(joined.float(), slices)
        if slices is None or not self.config.integrate:
            return joined.float().cpu().numpy()
        slice_rows(slices, len(joined), joined.device)
        return integrate(joined.float().cpu().numpy(), np.asarray(slices), device=joined.device)

    @public
    def reconstruct(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
    ) -> np.ndarray:
        """Decoded expression in the units of the input, float32 ``(N, G)``; a dense array as large as that says."""
        features, graph = self._inputs(expression, adjacency)
        if self.config.reconstruction_weight == 0:
            msg = "the decoder was not trained, because reconstruction_weight is 0; give it a weight and fit again."
            raise ValueError(msg)
        whole = expression.in_memory() if isinstance(expression, RowSource) else expression
        with torch.no_grad():
            return self._decode(whole, features, graph.normalized())

    @public
    def neutral_values(self, expression: Any) -> np.ndarray:
        """For each gene the value that tells the encoder nothing, in the units of the input, float32 ``(G,)``.

        It is the mean of the training, where means are taken: on the linear scale, if logarithms are undone.
        """
        if self._reduction is None:
            return np.asarray(expression.sum(axis=0) / expression.shape[0], dtype=np.float32).ravel()
        mean = self._reduction.components.mean
        return np.log1p(mean) if self._reduction.is_log else mean

    @public
    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained model into a directory: ``config.json`` and ``weights.safetensors``, nothing pickled.

        Parameters
        ----------
        directory
            A new or empty directory. It appears once it is complete, so an interruption leaves no half of a model.
        overwrite
            Also write into a directory that is not empty; files of other names stay there.

        Raises
        ------
        FileExistsError
            If the directory is not empty and ``overwrite`` is off, is a file, or holds a pickle.
        ValueError
            If the model is not trained.

        See Also
        --------
        spotscape.models.load : The way back.
        """
        save_model(self, directory, overwrite=overwrite)

    def _fit_encoder(
        self,
        number: int,
        tissue: Tissue[F],
        plan: TilePlan | None,
        reader: RegionReader | None,
        *,
        progress_bar: bool,
        checkpoint: str | Path | None,
        identity: str,
    ) -> tuple[N, dict[str, np.ndarray]]:
        features = tissue.features
        seed = self.random_source.integer(f"weights {number}")
        generator = self.random_source.torch(f"views {number}", features.device)
        training = self.config.training_plan()
        if plan is None:
            objective = build_seeded(lambda: self._objective(tissue, generator), seed).to(features.device)
        else:
            training = replace(training, max_epochs=plan.n_steps(training.max_epochs))
            objective = build_seeded(lambda: self._tiled_objective(tissue, generator, plan), seed).to(features.device)
        trainer = Trainer(
            training,
            progress_bar=progress_bar,
            checkpoint=f"{checkpoint}.{number}" if checkpoint and number else checkpoint,
            description=f"encoder {number + 1} of {self.config.n_encoders}",
            identity=identity,
            writes=self._writes(),
        )
        history = trainer.fit(objective, self._loss(objective), generator=generator)
        network = objective.network
        if reader is not None:
            reader.calibrate(network, lambda part, adjacency: self._forward(network, part, adjacency))  # type: ignore[arg-type]
            return network, history
        whole = tissue.graph.normalized()
        calibrate_batch_norm(network, lambda: self._forward(network, features, whole))
        return network, history

    def _plan(self, adjacency: Any, slices: np.ndarray | None) -> TilePlan | None:
        """The tiles to train on; ``None`` if steps see all spots."""
        if self._batch_size is None:
            return None
        return TilePlan.of(adjacency, self._batch_size, slices=slices, seed=self.random_source.integer("tiles"))

    def _loss(self, objective: Objective[N, F]) -> Callable[[int], LossOutput]:
        """What the trainer calls for the loss."""
        return objective

    def _writes(self) -> bool:
        """Whether this process writes checkpoints."""
        return True

    def _reader(self, features: F, graph: SpotGraph, adjacency: Any, batch_size: int | None) -> RegionReader | None:
        if batch_size is None or batch_size >= graph.n_spots:
            return None
        return RegionReader(features, graph, graph_tiles(adjacency, batch_size), self.n_hops)

    def _find_axes(self, embeddings: list[Tensor]) -> LeadingAxes | None:
        """How the encoders become one embedding; ``None`` if a single one is taken as it is."""
        n_axes, whitening = self.config.n_axes, self.config.whitening
        if len(embeddings) == 1 and n_axes is None and whitening == 0:
            return None
        return LeadingAxes.of(embeddings, n_axes or self.config.latent_size, whitening=whitening)

    def _identity(self, expression: Any, tissue: Tissue[F]) -> str:
        """A hash of all that the numbers depend on; of the epochs only if they shape the schedule."""
        settings_of = asdict(self.config)  # type: ignore[call-overload]
        if self.config.training_plan().schedule == "constant":
            del settings_of["max_epochs"]
        digest = hashlib.sha256(repr((self.name, settings_of, self.random_source.seed, expression.shape)).encode())
        if self._batch_size is not None:
            digest.update(repr(self._batch_size).encode())
        values: Iterable[np.ndarray]
        if isinstance(expression, RowSource):
            values = (part for block in expression.blocks() for part in stored_parts(block))
        else:
            values = stored_parts(expression)
        layout = (tissue.graph.indptr, tissue.graph.indices, *tissue.slices)
        for part in (*values, *(tensor.cpu().numpy() for tensor in layout)):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def _encode(self, features: F, graph: SpotGraph, reader: RegionReader | None = None) -> list[Tensor]:
        with torch.no_grad():
            if reader is not None:
                return [reader.encode(network.encode) for network in self.networks]  # type: ignore[arg-type]
            whole = graph.normalized()
            return [network.encode(features, whole) for network in self.networks]  # type: ignore[operator]

    def _announce(self, tissue: Tissue[F], n_genes: int) -> None:
        logger.info(
            "Training %s on %s spots%s and %s genes: %d encoder(s), %d epochs each, on %s.",
            self.name,
            f"{tissue.graph.n_spots:,}",
            f" in {len(tissue.slices)} slices" if tissue.slices else "",
            f"{n_genes:,}",
            self.config.n_encoders,
            self.config.max_epochs,
            tissue.features.device,
        )

    def _align(self, embedding: Tensor, slices: np.ndarray | None) -> np.ndarray:
        if self.reference is None:
            msg = "the model does not know where its training lies; set model.reference, or embed with align=False."
            raise ValueError(msg)
        return place(
            embedding.cpu().numpy(),
            self.reference.embedding,
            slices=slices,
            reference_slices=self.reference.slices,
            device=embedding.device,
        )

    def _require_trained(self) -> None:
        if not self.networks:
            msg = "the model is not trained yet; call fit(expression, adjacency) first."
            raise ValueError(msg)

    def _inputs(self, expression: Any, adjacency: Any) -> tuple[F, SpotGraph]:
        self._require_trained()
        check_input(expression, adjacency)
        if expression.shape[1] != self._n_genes:
            msg = f"the model was trained on {self._n_genes} genes, this expression has {expression.shape[1]}."
            raise ValueError(msg)
        device = next(self.networks[0].parameters()).device
        return self._features(expression, self._reduction, device), SpotGraph.from_adjacency(adjacency, device)


def stored_parts(matrix: Any) -> tuple[np.ndarray, ...]:
    """The arrays that a dense or sparse matrix consists of."""
    if not sparse.issparse(matrix):
        return (matrix,)
    csr = matrix.tocsr()
    return csr.data, csr.indices


def slice_rows(slices: np.ndarray | None, n_spots: int, device: torch.device) -> tuple[Tensor, ...]:
    """Rows of each slice; empty for a single slice."""
    if slices is None:
        return ()
    if np.shape(slices) != (n_spots,):
        msg = f"slices has shape {np.shape(slices)}; expected one label for each of the {n_spots} spots."
        raise ValueError(msg)
    names, codes, sizes = np.unique(np.asarray(slices), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return ()
    if sizes.min() < 2:
        msg = f"slice {str(names[sizes.argmin()])!r} has a single spot; remove it, or leave slices out."
        raise ValueError(msg)
    return tuple(torch.from_numpy(np.flatnonzero(codes == code)).to(device) for code in range(len(names)))


def check_input(expression: Any, adjacency: Any) -> None:
    """Refuse a graph of other spots, and expression that is not finite."""
    if adjacency.shape != (expression.shape[0], expression.shape[0]):
        msg = f"the graph is {adjacency.shape}, the expression has {expression.shape[0]} spots; build the graph anew."
        raise ValueError(msg)
    require_finite(expression, "expression")


def mean_history(histories: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean over encoders; early stopping may end some before others, and an epoch counts those that trained in it."""
    frames = [pd.DataFrame(history) for history in histories]
    mean = pd.concat(frames).groupby(level=0).mean()
    return {str(name): mean[name].to_numpy() for name in mean}
