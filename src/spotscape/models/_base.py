"""The base of both models: encoders of a spatial graph that are trained side by side and give one embedding.

A method adds a configuration, a network and an objective, all in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.rows import ChunkedMatrix
from spotscape._core.settings import resolve_device
from spotscape.models._reduction import Reduction, slice_offsets, smooth_within
from spotscape.models._saving import MOST_SPOTS, Reference, save_model
from spotscape.models._training import Tissue, check_input, checkpoint_of, digest_of, slice_rows, train
from spotscape.nn.batches import Batch, join_group
from spotscape.nn.features import Features
from spotscape.nn.graph import SpotGraph
from spotscape.nn.integration import integrate, place
from spotscape.nn.pca import PCA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spotscape.models._config import EncoderConfig
    from spotscape.models._saving import TrainingRecord
    from spotscape.models._training import Network, Objective

C = TypeVar("C", bound="EncoderConfig")


class GraphEncoder(ABC, Generic[C]):
    """Fit, embed and reconstruct. The type variable is the configuration."""

    # The parts of a method: a network is made of a number of features, a configuration and a source of weights.
    name: ClassVar[str]
    _config_type: ClassVar[type[EncoderConfig]]
    _network_type: ClassVar[Callable[..., Network]]
    _objective_type: ClassVar[type[Objective]]
    # What components are divided by, found from them if ``None``; whether all genes have to be dense.
    unit: ClassVar[float | None] = None
    needs_dense: ClassVar[bool] = False

    def __init__(self, config: C, random_state: Seed) -> None:
        self.config: C = config
        self.random_source = RandomSource(random_state)
        self.network: Network | None = None
        self.history: dict[str, np.ndarray] = {}
        self.training: TrainingRecord | None = None
        self.reference: Reference | None = None
        self._n_genes = 0
        self._unit = 1.0
        self._reduction: Reduction | None = None
        self._pca: PCA | None = None

    def __repr__(self) -> str:
        told = f"{self.name}: {self.config.n_encoders} encoder(s)"
        if self.network is None:
            return f"<{told}, not trained>"
        told += f" trained for {len(self.history['lr']):,} epochs on {self._n_genes:,} genes"
        if self.reference is not None:
            n_spots, n_slices = len(self.reference.embedding), len(np.unique(self.reference.slices))
            told += f" of {'at least ' if n_spots >= MOST_SPOTS else ''}{n_spots:,} spots in {n_slices} slice(s)"
        if self.training is not None:
            first = ", ".join(self.training.genes[:3])
            told += f" ({first}, ...; {self.training.scale}; {self.training.mean_degree:.1f} neighbours a spot)"
        return f"<{told}>"

    @abstractmethod
    def _bytes_per_spot(self) -> int:
        """Approximate memory of a step for each spot, in bytes."""

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

        Under torchrun, call it with the same arguments in every process. Each process then trains on its part of the
        tissue, and all end with the same model; every step sees all
        spots.

        Parameters
        ----------
        expression
            Log-normalised expression, dense or sparse, ``(N, G)``.
        adjacency
            Spatial graph, sparse ``(N, N)``; row i holds the neighbours of spot i.
        slices
            Slice of each spot, any labels, ``(N,)``; at least two spots of each. With two slices or more, the parts of
            the method for several slices are used. ``None`` for a single slice.

        Returns
        -------
        The model itself.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        check_input(expression, adjacency, slices)
        self._fit_embed(**given)
        return self

    def _fit_embed(
        self,
        expression: Any,
        adjacency: Any,
        *,
        restarts: tuple[GraphEncoder[C], ...] = (),
        remember: bool = False,
        **training: Any,
    ) -> list[np.ndarray]:
        """Train as :meth:`fit` does, and return the embeddings of this model and of each restart, ``(N, n_axes)``.

        ``restarts`` are models of the same configuration and other seeds, each of which ends as if trained alone. With
        ``remember`` this model keeps positions of spots (:attr:`reference`), so that new slices can be aligned.
        """
        slices, batch_size = training.get("slices"), training.get("batch_size")
        device = join_group(resolve_device(training.get("device")))
        reduction = Reduction.fit(expression, adjacency, self.config)
        features, _ = self._features(expression, adjacency, slices, reduction, device=device, unit=self.unit)
        whole = Batch.whole(features, SpotGraph.from_adjacency(adjacency, device))
        tissue = Tissue(whole, slice_rows(slices, device), reduction, expression.shape[1])
        checkpoint, bar = training.get("checkpoint"), training.get("progress_bar")
        digest = "" if checkpoint is None else digest_of(expression, adjacency, slices, batch_size)
        found = []
        for number, model in enumerate((self, *restarts)):
            if number:
                logger.info("Restart %d of %d.", number + 1, len(restarts) + 1)
            name = f"{checkpoint}.restart{number}" if number and checkpoint else checkpoint
            file = None if name is None else checkpoint_of(model, name, digest)
            model.network, model.history = train(model, tissue, adjacency, batch_size, file, progress_bar=bar)
            model.training = model.reference = None
            joined = model._finish(tissue)
            if tissue.slices and self.config.integrate:
                joined = integrate(joined, np.asarray(slices), device=device)
            found.append(joined)
        if remember:
            seen = None
            if self.config.integrate and tissue.reduction is not None:
                components = tissue.whole.features.values.cpu().numpy() * np.float32(self._unit)
                seen = smooth_within(components, adjacency, slices)
            self.reference = Reference.of(found[0], slices, seen, seed=self.random_source.integer("reference"))
        return found

    @public
    def embed(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
        align: bool = False,
    ) -> np.ndarray:
        """Embed the spots of this or another tissue with the same genes; float32 ``(N, n_axes)``.

        With the slice of each spot in ``slices``, offsets between these slices are subtracted from the components that
        the encoders see and from the embedding, unless ``config.integrate`` is off. With ``align``, the offset of each
        slice from the training (:attr:`reference`) is subtracted instead, for each slice by itself
        (:func:`spotscape.nn.place`).
        """
        network, batch, _ = self._inputs(expression, adjacency, slices, align=align)
        with torch.no_grad():
            embedding = network.encode(batch, batch.graph.whole_weights)[0]
        joined, device, known = self._joined(embedding), self._device(), self.reference
        if not align:
            several = self.config.integrate and len(slice_rows(slices, device)) > 1
            return integrate(joined, np.asarray(slices), device=device) if several else joined
        if known is None:
            msg = "the model has no positions of its training spots; set model.reference, or embed with align=False."
            raise ValueError(msg)
        return place(joined, known.embedding, slices=slices, reference_slices=known.slices, device=device)

    @public
    def reconstruct(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decoded expression in the units of the input, a dense float32 array ``(N, G)``.

        With the slice of each spot in ``slices``, offsets are subtracted as in :meth:`embed`, and the offset of a slice
        is added to its decoded expression.
        """
        network, batch, offsets = self._inputs(expression, adjacency, slices)
        if self.config.reconstruction_weight == 0:
            msg = "the decoder was not trained, because reconstruction_weight is 0; give it a weight and fit again."
            raise ValueError(msg)
        whole = expression.in_memory() if isinstance(expression, ChunkedMatrix) else expression
        with torch.no_grad():
            embedding = network.encode(batch, batch.graph.whole_weights)
            decoded = self._to_scale(network.decode(embedding, batch)[0], batch.features)
        mean = (decoded.mean(0) * self._unit).float().cpu().numpy()
        if offsets is not None:
            mean += offsets
        return self._to_genes(mean, whole)

    @public
    def neutral_values(self, expression: Any) -> np.ndarray:
        """The value of each gene that replaces missing genes, in the units of the input, float32 ``(G,)``.

        It is the mean over the training, so it favours no domain. If logarithms are undone for the encoder, it is the
        mean on the linear scale.
        """
        if self._reduction is None:
            return np.asarray(expression.sum(axis=0) / expression.shape[0], dtype=np.float32).ravel()
        mean = self._reduction.components.mean
        return np.log1p(mean) if self._reduction.is_log else mean

    @public
    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained model into a directory: ``config.json`` and ``weights.safetensors``, without pickle.

        Parameters
        ----------
        directory
            A new or empty directory. It appears once it is complete, so an interruption leaves no incomplete model.
        overwrite
            Also replace a directory that is not empty, if it holds only a model.

        Raises
        ------
        FileExistsError
            If the directory is not empty and ``overwrite`` is off, is a file, or holds anything but a model.
        ValueError
            If the model is not trained.

        See Also
        --------
        spotscape.models.load : Reads the model.
        """
        save_model(self, directory, overwrite=overwrite)

    def _to_scale(self, decoded: Tensor, features: Features) -> Tensor:
        """Decoded features ``(B, N, p)`` on the scale of the features."""
        del features
        return decoded

    def _to_genes(self, decoded: np.ndarray, expression: Any) -> np.ndarray:
        return decoded if self._reduction is None else self._reduction.restore(decoded, expression)

    def _features(
        self,
        expression: Any,
        adjacency: Any,
        slices: np.ndarray | None,
        reduction: Reduction | None,
        *,
        device: torch.device,
        unit: float | None = None,
        align: bool = False,
    ) -> tuple[Features, np.ndarray | None]:
        """Features for the encoders, and the offsets that were subtracted. A ``unit`` of ``None`` is computed."""
        if reduction is None:
            whole = expression.in_memory() if isinstance(expression, ChunkedMatrix) else expression
            dense = self.needs_dense and sparse.issparse(whole)
            return Features.of(whole.toarray() if dense else whole, device=device), None
        scores, offsets = reduction.project(expression), None
        if self.config.integrate:
            known = self.reference if align else None
            offsets = slice_offsets(scores, adjacency, slices, reference=known, device=device)
        if offsets is not None:
            scores -= offsets
        return Features.of(scores, loadings=reduction.components.loadings, unit=unit, device=device), offsets

    def _finish(self, tissue: Tissue) -> np.ndarray:
        """Store the statistics and axes of the whole tissue, and return its embedding."""
        if self.network is None:
            raise AssertionError
        whole = tissue.whole
        self._n_genes, self._reduction, self._unit = tissue.n_genes, tissue.reduction, whole.features.unit
        self.network.train()
        with torch.no_grad():
            views = self.network.encode(whole, whole.graph.whole_weights)
            self.network.decode(views, whole)
        self.network.eval()
        embedding = views[0]
        n_axes, whitening = self.config.n_axes, self.config.whitening
        self._pca = None
        if len(embedding) > 1 or n_axes is not None or whitening != 0:
            self._pca = PCA.of(embedding, n_axes or self.config.latent_size, whitening=whitening)
        return self._joined(embedding)

    def _joined(self, embedding: Tensor) -> np.ndarray:
        """One embedding ``(N, d)`` from those of all encoders, ``(B, N, latent)``."""
        joined = embedding[0] if self._pca is None else self._pca.project(embedding)
        return np.asarray(joined.float().cpu().numpy())

    def _device(self) -> torch.device:
        return next(self.require_trained().parameters()).device

    def require_trained(self) -> Network:
        """The trained network. If there is none, raise an error that names the call to make."""
        if self.network is None:
            msg = "the model is not trained yet; call fit(expression, adjacency) first."
            raise ValueError(msg)
        return self.network

    def _inputs(
        self, expression: Any, adjacency: Any, slices: np.ndarray | None, *, align: bool = False
    ) -> tuple[Network, Batch, np.ndarray | None]:
        network = self.require_trained()
        check_input(expression, adjacency, slices)
        if expression.shape[1] != self._n_genes:
            msg = f"the model was trained on {self._n_genes} genes, this expression has {expression.shape[1]}."
            raise ValueError(msg)
        features, offsets = self._features(
            expression, adjacency, slices, self._reduction, device=self._device(), unit=self._unit, align=align
        )
        return network, Batch.whole(features, SpotGraph.from_adjacency(adjacency, self._device())), offsets
