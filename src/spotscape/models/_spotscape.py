"""Spotscape: a graph autoencoder whose similarities between all spots agree between two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, relu_

from spotscape._core.arguments import public
from spotscape.models._base import GraphEncoder
from spotscape.models._config import FIELDS, MODEL, EncoderConfig, shares
from spotscape.models._training import Network, Objective, Tissue
from spotscape.nn.batches import Batch, Reduce
from spotscape.nn.blocks import SpotNorm, WeightSource, in_rows, product
from spotscape.nn.features import apply_mask
from spotscape.nn.graph import propagate
from spotscape.nn.losses import (
    PrototypeBank,
    draw_meetings,
    l2_normalize,
    prototype_loss,
    reconstruction_errors,
    scaling_loss,
)
from spotscape.nn.losses.telescope import telescope_of_batch
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spotscape._core.randomness import Seed
    from spotscape.models._training import Draw
    from spotscape.nn.losses.scaling import Meeting

SpotscapePreset = Literal["default", "paper"]


@shares(FIELDS)
@dataclass(frozen=True, kw_only=True)
class SpotscapeConfig(EncoderConfig):
    """Hyper-parameters of :class:`Spotscape`. The defaults are meant for all data, without tuning.

    Attributes
    ----------
    hidden_size, latent_size
        Widths of the two graph convolutions (256 and 64 in the paper).
    latent_relu
        Whether the embedding passes through a ReLU, as in the paper. Without it, an embedding has positive and negative
        values and no dimension can become zero for all spots.
    edge_drop, feature_drop
        Share of directed edges and of genes left out of each view (0.2 in the paper). Genes are left out one by one,
        also where the encoder sees components of them.
    telescope_weight, reconstruction_weight
        Weights of the two objectives (1 and 0.1 in the paper).
    scaling_weight, scaling_neighbors
        Weight of similarity scaling and the number of best matches it looks at (1 and 5 in the paper). For several
        slices only.
    scaling_mutual
        Number of best matches among which a match must be mutual. Similarity scaling takes only spots whose best match
        in the other slice has them among this many best matches of its own, so a region that only one slice has keeps
        its place. ``None`` takes all spots, as in the paper.
    scaling_spots
        Number of spots over which similarity scaling is averaged in each step, drawn evenly from the slices. Each slice
        is compared with one other slice, drawn at random, so the cost does not grow with the number of pairs. ``None``
        takes all spots and pairs, as in the paper.
    prototype_weight, prototype_temperature
        Weight and temperature of prototypical contrast (0.01 and 0.75 in the paper). For several slices only.
    n_prototypes
        The smallest of three numbers of prototypes; the others are 1.5 and 2 times as large. The paper takes the number
        of annotated domains; here no annotation is used.
    prototype_warmup
        Share of the epochs before prototypical contrast starts (half in the paper), because prototypes of an untrained
        embedding have no meaning.
    {shared}

    Examples
    --------
    >>> from spotscape.models import SpotscapeConfig
    >>> SpotscapeConfig(latent_size=16).edge_drop
    0.2
    """

    SEVERAL: ClassVar[Mapping[str, Any]] = {"max_epochs": 50}

    lr: float = 4e-3
    latent_relu: bool = False
    edge_drop: float = 0.2
    feature_drop: float = 0.2
    telescope_weight: float = 1.0
    scaling_weight: float = 1.0
    scaling_neighbors: int = 5
    scaling_mutual: int | None = 10
    scaling_spots: int | None = 1024
    prototype_weight: float = 0.01
    prototype_temperature: float = 0.75
    n_prototypes: int = 10
    prototype_warmup: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.telescope_weight == 0 and self.reconstruction_weight == 0:
            msg = "telescope_weight and reconstruction_weight are both 0; there is nothing to train for."
            raise ValueError(msg)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The published setting: all genes, 1,000 epochs at a constant rate of 1e-4 (5e-4 for several slices)."""
        published = {
            "hidden_size": 256,
            "latent_size": 64,
            "n_encoders": 1,
            "latent_relu": True,
            "n_comps": None,
            "linear_scale": False,
            "spatial_components": False,
            "dispersion": 0.0,
            "clip": None,
            "n_axes": None,
            "whitening": 0.0,
            "reconstruction_weight": 0.1,
            "scaling_mutual": None,
            "scaling_spots": None,
            "integrate": False,
            "max_epochs": 1000,
            "lr": 1e-4,
            "schedule": "constant",
            "weight_decay": 1e-4,
        }
        return cls(**{**published, **changes})

    @classmethod
    @public
    def of_preset(cls, preset: SpotscapePreset, *, several_slices: bool = False, large_tissue: bool = False) -> Self:
        """The configuration of that name for one slice, for several, or for one of more than 10,000 spots."""
        return cls._choose(preset, several_slices=several_slices, large_tissue=large_tissue)

    @classmethod
    def presets(cls, *, several_slices: bool = False) -> dict[str, Self]:
        """The published setting, with the learning rate of the released runs."""
        return {"paper": cls.paper(lr=5e-4) if several_slices else cls.paper()}

    @property
    def granularities(self) -> tuple[int, ...]:
        """Numbers of prototypes: K, 1.5 K and 2 K, rounded up."""
        return tuple(-(-self.n_prototypes * factor // 2) for factor in (2, 3, 4))


class SpotscapeNetwork(Network):
    """Encoders of two graph convolutions and decoders of two linear layers, with batch normalisation between them.

    Shapes: features ``(N, p)`` → hidden ``(N, h)`` → embedding ``(N, d)`` → hidden ``(N, h)`` → features ``(N, p)``.
    """

    n_hops = 2

    def __init__(self, n_features: int, config: SpotscapeConfig, source: WeightSource) -> None:
        super().__init__(n_features)
        hidden, latent = config.hidden_size, config.latent_size
        self.latent_relu = config.latent_relu
        self.first, self.second = source.glorot(n_features, hidden), source.glorot(hidden, latent)
        self.expand, self.output = source.linear(latent, hidden), source.linear(hidden, n_features)
        self.output_shift = source.constant(0.0, 1, n_features)
        self.first_norm, self.second_norm, self.expand_norm = (
            SpotNorm(len(source), size) for size in (hidden, latent, hidden)
        )

    def encode(self, batch: Batch, weights: Tensor, mask: Tensor | None = None, reduce: Reduce | None = None) -> Tensor:
        """Embeddings of each view, ``(V, B, n, latent)``."""
        reduce = reduce or Reduce()
        first = apply_mask(mask, self.first)
        if batch.features.is_narrow:
            # Neighbours are averaged before the weights: what is averaged is data, and needs no gradient.
            seen = propagate(batch.graph, weights, batch.features.values.expand(len(weights), 1, -1, -1))
            weight, shift = self.first_norm.folded(first, seen, batch.n_inside, reduce)
            hidden = in_rows(lambda rows: product(product(rows, weight, shift, relu_), self.second[None]), seen)
        else:
            expanded = batch.features.multiply(first.expand(len(weights), -1, -1, -1))
            wide = self.first_norm(propagate(batch.graph, weights, expanded), batch.n_inside, reduce).relu()
            hidden = product(wide, self.second[None])
        embedding: Tensor = self.second_norm(propagate(batch.graph, weights, hidden), batch.n_inside, reduce)
        return embedding.relu() if self.latent_relu else embedding

    def decode_hidden(self, embedding: Tensor, n_inside: int, reduce: Reduce | None = None) -> Tensor:
        """Input of the decoder's last layer for the spots inside, ``(V, B, n, hidden)``."""
        inside = embedding[..., :n_inside, :]
        weight, shift = self.expand_norm.folded(self.expand[None], inside, n_inside, reduce or Reduce())
        return product(inside, weight, shift, relu_)

    def decode(self, embedding: Tensor, batch: Batch, reduce: Reduce | None = None) -> Tensor:
        """Decoded features, ``(V, B, n, p)``."""
        hidden = self.decode_hidden(embedding, batch.n_inside, reduce)
        return product(hidden, self.output[None], self.output_shift[None])


class Views(NamedTuple):
    """Random numbers of a step: weights of the graphs of both views ``(2, E)``, their masks, and pairs of slices."""

    weights: Tensor
    mask: Tensor | None
    meetings: list[Meeting]
    seed: int


class SpotscapeObjective(Objective):
    r"""The objective of Spotscape: the telescope on two random views, and reconstruction from both.

    Several slices add similarity scaling and prototypical contrast:

    .. math:: L = L_{telescope} + \lambda_r L_{reconstruction} + \lambda_s L_{scaling} + \lambda_p L_{prototypes} .
    """

    network: SpotscapeNetwork
    config: SpotscapeConfig

    def __init__(self, network: SpotscapeNetwork, tissue: Tissue, config: SpotscapeConfig, **how: Any) -> None:
        super().__init__(network, tissue, config, **how)
        self.prototypes = PrototypeBank(config.granularities, config.n_encoders, config.latent_size)

    def draw(self, batch: Batch, draw: Draw) -> Views:
        """Draw the edges and genes that each view leaves out."""
        config, slices = self.config, self.tissue.slices
        mask = None
        if config.feature_drop:
            mask = batch.features.mask(batch.features.draw_kept(2, config.feature_drop, draw.common))
        weights = batch.graph.draw_weights(2, config.edge_drop, draw.own)
        meetings: list[Meeting] = []
        if slices and config.scaling_weight:
            inside = None
            if not self.reduce.is_exact:
                inside = torch.zeros(batch.n_total, dtype=torch.bool, device=batch.spots.device)
                inside[batch.inside] = True
            meetings = draw_meetings(slices, config.scaling_spots, draw.seed, inside=inside)
        return Views(weights, mask, meetings, draw.seed)

    def forward(self, batch: Batch, drawn: Views, epoch: float) -> LossOutput:
        config, inside = self.config, slice(batch.n_inside)
        with torch.autocast(batch.spots.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            views = self.network.encode(batch, drawn.weights, drawn.mask, self.reduce)
            hidden = self.network.decode_hidden(views, batch.n_inside, self.reduce)
        first, second = l2_normalize(views[..., inside, :])
        weighted = {"telescope": (config.telescope_weight, telescope_of_batch(first, second, batch, self.reduce))}
        errors = reconstruction_errors(
            batch.features.first(batch.n_inside), hidden, self.network.output, self.network.output_shift
        )
        weighted["reconstruction"] = (config.reconstruction_weight, self.mean(errors, batch.n_inside))
        if self.tissue.slices:
            weighted["scaling"] = (config.scaling_weight, self._scaling(first, second, batch, drawn, epoch))
            sums = first.new_zeros(len(first))
            if config.prototype_weight and epoch >= config.prototype_warmup * self.max_epochs:
                labels = self.prototypes.update(second.detach(), batch, self.reduce, drawn.seed)
                centres, temperature = self.prototypes.centres, config.prototype_temperature
                sums = self.mean(prototype_loss(first, centres, labels, temperature=temperature), batch.n_inside)
            weighted["prototypes"] = (config.prototype_weight, sums)
        return LossOutput.weighted(weighted)

    def _scaling(self, first: Tensor, second: Tensor, batch: Batch, drawn: Views, epoch: float) -> Tensor:
        nothing = first.new_zeros(len(first))
        if not self.config.scaling_weight:
            return nothing
        one, other = (self.reduce.share(name, rows, batch) for name, rows in (("first", first), ("second", second)))
        if not self.reduce.knows_all(epoch) or not drawn.meetings:
            return nothing
        config = self.config
        return scaling_loss(
            one, other, drawn.meetings, n_neighbors=config.scaling_neighbors, mutual=config.scaling_mutual
        )


@shares(MODEL)
class Spotscape(GraphEncoder[SpotscapeConfig]):
    """Embed the spots of a tissue from their expression and their spatial graph.

    With several slices, similarity scaling and prototypical contrast are added to the objective.

    {shared}

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import Spotscape, SpotscapeConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = Spotscape(SpotscapeConfig(max_epochs=5, n_comps=10))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 12)

    References
    ----------
    Oh et al., *Global Context-aware Representation Learning for Spatially Resolved Transcriptomics*, ICML 2025,
    arXiv 2506.15698. Formulas, and what is different here: "How it works" in the documentation.
    """

    name = "Spotscape"
    _config_type, _network_type, _objective_type = SpotscapeConfig, SpotscapeNetwork, SpotscapeObjective

    @public
    def __init__(self, config: SpotscapeConfig | None = None, *, random_state: Seed = 0) -> None:
        super().__init__(SpotscapeConfig() if config is None else config, random_state)

    def _bytes_per_spot(self) -> int:
        # Two views and what their gradients need.
        return 8 * (4 * self.config.hidden_size + 12 * self.config.latent_size)
