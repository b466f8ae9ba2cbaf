"""Spotscape: a graph autoencoder trained so that all spot-to-spot similarities agree between two views."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from spotscape._core.device import resolve_device
from spotscape._core.logging import logger
from spotscape._core.randomness import RandomSource
from spotscape._core.settings import settings
from spotscape._core.validation import require_choice, require_finite, require_in_range, require_positive_int
from spotscape.nn.augment import random_view
from spotscape.nn.ensemble import LeadingAxes
from spotscape.nn.features import FeatureMatrix, MaskedFeatures, as_features, low_rank_basis, project
from spotscape.nn.graph import SpotGraph
from spotscape.nn.layers import GraphBlock, build_seeded, calibrate_batch_norm
from spotscape.nn.objectives import reconstruction_loss, telescope_loss
from spotscape.nn.trainer import LossOutput, Schedule, Trainer, TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from scipy import sparse


@dataclass(frozen=True)
class SpotscapeConfig:
    """Hyper-parameters of :class:`Spotscape`; the defaults are meant to need no tuning.

    Attributes
    ----------
    hidden_size, latent_size
        Widths of the two graph convolutions (256 and 64 in the paper).
    n_encoders
        Encoders trained from different random weights. Distances between spots are averaged over them and the result is
        rotated onto its ``latent_size`` leading axes. Steadier over seeds on layered Visium tissue, no different on
        STARmap, and as many times slower; the paper trains one.
    latent_relu
        Whether the embedding passes through a ReLU, as in the paper. Without it an embedding uses both halves of each
        axis, no dimension can die, and the decoder loses nothing.
    n_components
        The encoder sees expression through its leading singular directions; genes are still dropped one by one,
        exactly. It denoises, and makes a step many times cheaper. ``None`` trains on all of the expression, as the
        paper does.
    edge_drop, feature_drop
        Share of directed edges and of genes left out of each view (0.2 in the paper).
    telescope_weight, reconstruction_weight
        Weights of the two objectives (1 and 0.1 in the paper).
    max_epochs, lr, schedule, weight_decay
        Training. The paper runs 1,000 epochs at a constant rate that is retuned for each data set,
        with a weight decay of 1e-4.
    max_grad_norm, patience, min_delta, precision
        See :class:`spotscape.nn.TrainingPlan`.
    batch_norm_momentum
        Weight of the newest batch in running statistics. They do not influence the embedding: after training the
        statistics are set from the whole, unmasked tissue.

    Examples
    --------
    >>> from spotscape.models import SpotscapeConfig
    >>> SpotscapeConfig(latent_size=32).hidden_size
    256
    """

    hidden_size: int = 256
    latent_size: int = 64
    n_encoders: int = 4
    latent_relu: bool = False
    n_components: int | None = 50
    edge_drop: float = 0.2
    feature_drop: float = 0.2
    telescope_weight: float = 1.0
    reconstruction_weight: float = 1.0
    max_epochs: int = 100
    lr: float = 1e-3
    schedule: Schedule = "one_cycle"
    weight_decay: float = 1e-3
    max_grad_norm: float | None = None
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        for name in ("hidden_size", "latent_size", "n_encoders", "max_epochs", "n_components", "patience"):
            if getattr(self, name) is not None:
                require_positive_int(getattr(self, name), name)
        for name in ("edge_drop", "feature_drop"):
            require_in_range(getattr(self, name), name, low=0, high=1, below_high=True)
        for name in ("telescope_weight", "reconstruction_weight", "weight_decay", "min_delta"):
            require_in_range(getattr(self, name), name, low=0)
        for name in ("lr", "batch_norm_momentum"):
            require_in_range(getattr(self, name), name, low=0, above_low=True)
        require_choice(self.schedule, "schedule", get_args(Schedule))
        require_choice(self.precision, "precision", ("float32", "bfloat16"))
        if self.telescope_weight == 0 and self.reconstruction_weight == 0:
            msg = "telescope_weight and reconstruction_weight are both 0; there is nothing to train for."
            raise ValueError(msg)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The published single-slice setting: all genes, 1,000 epochs at a constant rate of 1e-4."""
        published = {
            "n_encoders": 1,
            "latent_relu": True,
            "n_components": None,
            "reconstruction_weight": 0.1,
            "max_epochs": 1000,
            "lr": 1e-4,
            "schedule": "constant",
            "weight_decay": 1e-4,
        }
        return cls(**{**published, **changes})

    def training_plan(self) -> TrainingPlan:
        """The part of the configuration that the trainer reads."""
        names = {item.name for item in dataclasses.fields(TrainingPlan)}
        return TrainingPlan(**{name: value for name, value in dataclasses.asdict(self).items() if name in names})


class SpotscapeNetwork(nn.Module):
    """Encoder of two graph convolutions and a decoder of two linear layers.

    Shapes: expression ``(N, G)`` → hidden ``(N, 256)`` → embedding ``(N, 64)`` → hidden ``(N, 256)`` → ``(N, G)``.
    """

    def __init__(self, n_genes: int, config: SpotscapeConfig) -> None:
        super().__init__()
        hidden, latent, momentum = config.hidden_size, config.latent_size, config.batch_norm_momentum
        self.first = GraphBlock(n_genes, hidden, momentum=momentum, from_features=True)
        self.second = GraphBlock(hidden, latent, momentum=momentum, linear=not config.latent_relu)
        self.expand = nn.Linear(latent, hidden)
        self.expand_norm = nn.BatchNorm1d(hidden, momentum=momentum)
        self.output = nn.Linear(hidden, n_genes)

    def encode(self, features: FeatureMatrix | MaskedFeatures, adjacency: Tensor) -> Tensor:
        """Embeddings, ``(N, latent)``."""
        return self.second(self.first(features, adjacency), adjacency)  # type: ignore[no-any-return]

    def decode_hidden(self, embedding: Tensor) -> Tensor:
        """Input of the decoder's last layer, ``(N, hidden)``."""
        return torch.relu(self.expand_norm(self.expand(embedding)))

    def forward(self, features: FeatureMatrix | MaskedFeatures, adjacency: Tensor) -> Tensor:
        """Decoded expression, ``(N, G)``."""
        return self.output(self.decode_hidden(self.encode(features, adjacency)))  # type: ignore[no-any-return]


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
        device: str | torch.device | None = None,
        progress_bar: bool | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train on one tissue.

        Parameters
        ----------
        expression
            Log-normalised expression, dense or sparse, ``(N, G)``.
        adjacency
            Spatial graph, sparse ``(N, N)``; row i holds the neighbours of spot i. Block-diagonal over slices.
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
        loadings = self._basis(expression, chosen)
        features = _features(expression, loadings, chosen)
        graph = SpotGraph.from_adjacency(adjacency, chosen)
        self._announce(features, chosen)
        bar = settings.progress_bar if progress_bar is None else progress_bar
        fits = [
            self._fit_encoder(number, features, graph, progress_bar=bar, checkpoint=checkpoint)
            for number in range(self.config.n_encoders)
        ]
        self._loadings, self.networks = loadings, tuple(network for network, _ in fits)
        self.history = _mean_history([history for _, history in fits])
        if len(self.networks) > 1:
            self._leading = LeadingAxes.of(self._encode(features, graph), self.config.latent_size)
        return self

    def embed(
        self,
        expression: np.ndarray | sparse.spmatrix | sparse.sparray,
        adjacency: sparse.spmatrix | sparse.sparray,
    ) -> np.ndarray:
        """Embeddings of the spots of this or another tissue with the same genes, float32 ``(N, latent_size)``."""
        embeddings = self._encode(*self._inputs(expression, adjacency))
        joined = embeddings[0] if self._leading is None else self._leading.project(embeddings)
        return joined.float().cpu().numpy()

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
        features: FeatureMatrix,
        graph: SpotGraph,
        *,
        progress_bar: bool,
        checkpoint: str | Path | None,
    ) -> tuple[SpotscapeNetwork, dict[str, np.ndarray]]:
        seed = self.random_source.integer(f"weights {number}")
        network = build_seeded(lambda: SpotscapeNetwork(features.shape[1], self.config), seed).to(features.device)
        generator = self.random_source.torch(f"views {number}", features.device)
        trainer = Trainer(
            self.config.training_plan(),
            progress_bar=progress_bar,
            checkpoint=f"{checkpoint}.{number}" if checkpoint and number else checkpoint,
            description=f"encoder {number + 1} of {self.config.n_encoders}",
        )
        objective = _Objective(network, features, graph, self.config, generator)
        history = trainer.fit(network, objective, generator=generator)
        whole = graph.normalized()
        calibrate_batch_norm(network, lambda: network.decode_hidden(network.encode(features, whole)))
        return network, history

    def _encode(self, features: FeatureMatrix, graph: SpotGraph) -> list[Tensor]:
        whole = graph.normalized()
        with torch.no_grad():
            return [network.encode(features, whole) for network in self.networks]

    def _announce(self, features: FeatureMatrix, device: torch.device) -> None:
        logger.info(
            "Training Spotscape on %s spots and %s genes: %d encoder(s), %d epochs each, on %s.",
            f"{features.shape[0]:,}",
            f"{features.shape[1]:,}",
            self.config.n_encoders,
            self.config.max_epochs,
            device,
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
class _Objective:
    """One evaluation of the loss: two random views, their telescope, and how well both explain the expression."""

    network: SpotscapeNetwork
    features: FeatureMatrix
    graph: SpotGraph
    config: SpotscapeConfig
    generator: torch.Generator

    def __call__(self) -> LossOutput:
        views = [self._embed_view() for _ in range(2)]
        telescope = telescope_loss(*(view.float() for view in views))
        hidden = [self.network.decode_hidden(view).float() for view in views]
        output = self.network.output
        reconstruction = reconstruction_loss(self.features, hidden, output.weight.T, output.bias)
        total = self.config.telescope_weight * telescope + self.config.reconstruction_weight * reconstruction
        return LossOutput(total, {"telescope": telescope, "reconstruction": reconstruction})

    def _embed_view(self) -> Tensor:
        config = self.config
        masked, adjacency = random_view(
            self.features,
            self.graph,
            edge_drop=config.edge_drop,
            feature_drop=config.feature_drop,
            generator=self.generator,
        )
        return self.network.encode(masked, adjacency)


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
