"""Spotscape: a graph autoencoder trained so that all spot-to-spot similarities agree between two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch

from spotscape._core.device import resolve_device
from spotscape._core.logging import logger
from spotscape._core.randomness import RandomSource
from spotscape._core.settings import settings
from spotscape._core.validation import require_finite
from spotscape.models._spotscape_config import SpotscapeConfig
from spotscape.models._spotscape_network import SpotscapeNetwork, SpotscapeObjective
from spotscape.nn.ensemble import LeadingAxes
from spotscape.nn.features import FeatureMatrix, as_features, low_rank_basis, project
from spotscape.nn.graph import SpotGraph
from spotscape.nn.integration import integrate
from spotscape.nn.layers import build_seeded, calibrate_batch_norm
from spotscape.nn.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from scipy import sparse
    from torch import Tensor


class Spotscape:
    """Embed the spots of a tissue from their expression and their spatial graph.

    Parameters
    ----------
    config
        Hyper-parameters; ``None`` takes the defaults.
    random_state
        Seed of everything random; the same seed gives the same bits on the same CPU.

    Attributes
    ----------
    networks
        The trained encoders with their decoders, each a :class:`torch.nn.Module`; empty before :meth:`fit`.
    history
        Losses and learning rate, one float64 array per name, one value per epoch: the mean over encoders.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import Spotscape, SpotscapeConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = Spotscape(SpotscapeConfig(max_epochs=5, n_components=None))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 64)

    References
    ----------
    Oh et al., *Global Context-aware Representation Learning for Spatially Resolved Transcriptomics*, ICML 2025,
    arXiv 2506.15698. Formulas, and what is different here: "How it works" in the documentation.
    """

    def __init__(self, config: SpotscapeConfig | None = None, *, random_state: int | None = 0) -> None:
        self.config = config or SpotscapeConfig()
        self.random_source = RandomSource(random_state)
        self.networks: tuple[SpotscapeNetwork, ...] = ()
        self.history: dict[str, np.ndarray] = {}
        self._loadings: Tensor | None = None
        self._leading: LeadingAxes | None = None

    def fit(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
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
            Spatial graph, sparse ``(N, N)``; row i holds the neighbours of spot i. Block-diagonal over slices.
        slices
            Slice of each spot, any labels, ``(N,)``; at least two spots of each. With two slices or more, similarity
            scaling and prototypical contrast join the objective. ``None`` for a single slice.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``None`` takes ``spotscape.settings.device``.
        progress_bar
            ``None`` takes ``spotscape.settings.progress_bar``.
        checkpoint
            File to write the state of training to, and to resume from if it exists. Each further encoder has its own:
            the name with ``.1``, ``.2`` and so on.

        Returns
        -------
        The model itself.
        """
        _check_input(expression, adjacency)
        chosen = resolve_device(device)
        rows = _slice_rows(slices, expression.shape[0], chosen)
        loadings = self._basis(expression, chosen)
        features = _features(expression, loadings, chosen)
        tissue = _Tissue(features, SpotGraph.from_adjacency(adjacency, chosen), rows)
        self._announce(tissue)
        bar = settings.progress_bar if progress_bar is None else progress_bar
        fits = [
            self._fit_encoder(number, tissue, progress_bar=bar, checkpoint=checkpoint)
            for number in range(self.config.n_encoders)
        ]
        self._loadings, self.networks = loadings, tuple(network for network, _ in fits)
        self.history = _mean_history([history for _, history in fits])
        if len(self.networks) > 1:
            self._leading = LeadingAxes.of(self._encode(features, tissue.graph), self.config.latent_size)
        return self

    def embed(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
        *,
        slices: np.ndarray | None = None,
    ) -> np.ndarray:
        """Embeddings of the spots of this or another tissue with the same genes, float32 ``(N, latent_size)``.

        With the slice of each spot in ``slices``, offsets between the slices that are embedded here are taken off
        (unless ``config.integrate`` is off); without, every spot is embedded by itself and its surroundings.
        """
        embeddings = self._encode(*self._inputs(expression, adjacency))
        joined = embeddings[0] if self._leading is None else self._leading.project(embeddings)
        if slices is None or not self.config.integrate:
            return joined.float().cpu().numpy()
        _slice_rows(slices, len(joined), joined.device)
        seed = self.random_source.integer("integrate")
        return integrate(joined.float().cpu().numpy(), np.asarray(slices), seed=seed, device=joined.device)

    def reconstruct(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
    ) -> np.ndarray:
        """Decoded expression in the units of the input, float32 ``(N, G)``; a dense array as large as that says."""
        features, graph = self._inputs(expression, adjacency)
        whole = graph.normalized()
        with torch.no_grad():
            decoded: Tensor = self.networks[0](features, whole)
            for network in self.networks[1:]:
                decoded += network(features, whole)
        return (decoded / len(self.networks)).float().cpu().numpy()

    def _fit_encoder(
        self,
        number: int,
        tissue: _Tissue,
        *,
        progress_bar: bool,
        checkpoint: str | Path | None,
    ) -> tuple[SpotscapeNetwork, dict[str, np.ndarray]]:
        features, graph = tissue.features, tissue.graph
        seed = self.random_source.integer(f"weights {number}")
        network = build_seeded(lambda: SpotscapeNetwork(features.shape[1], self.config), seed).to(features.device)
        generator = self.random_source.torch(f"views {number}", features.device)
        trainer = Trainer(
            self.config.training_plan(),
            progress_bar=progress_bar,
            checkpoint=f"{checkpoint}.{number}" if checkpoint and number else checkpoint,
            description=f"encoder {number + 1} of {self.config.n_encoders}",
        )
        objective = SpotscapeObjective(network, features, graph, self.config, generator, tissue.slices)
        history = trainer.fit(network, objective, generator=generator)
        whole = graph.normalized()
        calibrate_batch_norm(network, lambda: network.decode_hidden(network.encode(features, whole)))
        return network, history

    def _encode(self, features: FeatureMatrix, graph: SpotGraph) -> list[Tensor]:
        whole = graph.normalized()
        with torch.no_grad():
            return [network.encode(features, whole) for network in self.networks]

    def _announce(self, tissue: _Tissue) -> None:
        n_spots, n_genes = tissue.features.shape
        logger.info(
            "Training Spotscape on %s spots%s and %s genes: %d encoder(s), %d epochs each, on %s.",
            f"{n_spots:,}",
            f" in {len(tissue.slices)} slices" if tissue.slices else "",
            f"{n_genes:,}",
            self.config.n_encoders,
            self.config.max_epochs,
            tissue.features.device,
        )

    def _basis(self, expression: Any, device: torch.device) -> Tensor | None:
        rank = self.config.n_components
        # Below twice the rank the products would not get cheaper.
        if rank is None or min(expression.shape) < 2 * rank:
            return None
        basis = low_rank_basis(expression, rank, seed=self.random_source.integer("basis"))
        return torch.from_numpy(basis).to(device)

    def _inputs(self, expression: Any, adjacency: Any) -> tuple[FeatureMatrix, SpotGraph]:
        if not self.networks:
            msg = "the model is not trained yet; call fit(expression, adjacency) first."
            raise ValueError(msg)
        _check_input(expression, adjacency)
        output = self.networks[0].output
        if expression.shape[1] != output.out_features:
            msg = f"the model was trained on {output.out_features} genes, this expression has {expression.shape[1]}."
            raise ValueError(msg)
        device = output.weight.device
        return _features(expression, self._loadings, device), SpotGraph.from_adjacency(adjacency, device)


@dataclass(frozen=True)
class _Tissue:
    """What is trained on; ``slices`` holds the rows of each, and is empty for a single slice."""

    features: FeatureMatrix
    graph: SpotGraph
    slices: tuple[Tensor, ...]


def _slice_rows(slices: np.ndarray | None, n_spots: int, device: torch.device) -> tuple[Tensor, ...]:
    if slices is None:
        return ()
    if np.shape(slices) != (n_spots,):
        msg = f"slices has shape {np.shape(slices)}; expected one label for each of the {n_spots} spots."
        raise ValueError(msg)
    names, codes, sizes = np.unique(np.asarray(slices), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return ()
    if sizes.min() < 2:
        msg = f"slice {names[sizes.argmin()]!r} has a single spot; remove it, or leave slices out."
        raise ValueError(msg)
    return tuple(torch.from_numpy(np.flatnonzero(codes == code)).to(device) for code in range(len(names)))


def _check_input(expression: Any, adjacency: Any) -> None:
    if adjacency.shape != (expression.shape[0], expression.shape[0]):
        msg = f"the graph is {adjacency.shape}, the expression has {expression.shape[0]} spots; build the graph anew."
        raise ValueError(msg)
    require_finite(expression, "expression")


def _features(expression: Any, loadings: Tensor | None, device: torch.device) -> FeatureMatrix:
    return as_features(expression, device=device) if loadings is None else project(expression, loadings)


def _mean_history(histories: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean over encoders; early stopping may end some before others, and an epoch counts those that trained in it."""
    frames = [pd.DataFrame(history) for history in histories]
    mean = pd.concat(frames).groupby(level=0).mean()
    return {str(name): mean[name].to_numpy() for name in mean}
